//! What `perf` sees: one line for every sample, which says who ran and in which function.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::Counts;

/// Looks a second at each processor: no divisor of what programs do every so often.
pub(super) const HERTZ: u64 = 499;

/// What the kernel does, told by the beginnings of its functions' names.
const KERNEL: [(&str, &str); 4] = [
    (
        "kernel: network",
        "tcp ip_ __ip sk_ skb __skb sock net_ __net __dev dev_ inet loopback nf_ process_backlog \
         simple_copy_to_iter __alloc_skb __tcp __sk",
    ),
    (
        "kernel: files and disk",
        "ext4 jbd2 blk bio __blk submit_bio virtio vring virtqueue iowrite iomap folio filemap copy_folio \
         generic_perform vfs ksys fsync writeback __folio xas_ find_get",
    ),
    (
        "kernel: memory",
        "clear_page exc_page_fault handle_mm __handle_mm do_anonymous get_page alloc_page __alloc_pages \
         free_ zap_ unmap lru_ mas_ pte_ lock_vma __rmqueue charge get_mem_cgroup vma_ do_user_addr_fault \
         kdamond damon",
    ),
    (
        "kernel: scheduler and locks",
        "schedule __schedule finish_task _raw_spin futex try_to_wake pick_ enqueue_ dequeue_ update_ \
         native_queued ep_ epoll do_epoll eventfd hrtimer sched select_task prepare_task __wake wake_ \
         mutex rcu __rcu",
    ),
];

/// What PostgreSQL does, told likewise: Debian's has the names of what extensions may call, and no others.
const POSTGRES: [(&str, &str); 6] = [
    ("index", "_bt_ bt index_"),
    ("heap", "heap Page table_ slot_ visibilitymap HeapTuple"),
    ("COPY", "NextCopy Copy BeginCopy pq_getmsg ReceiveFunction float8recv timestamptz_recv int4recv"),
    ("WAL", "XLog xlog pg_comp_crc"),
    ("executor", "Exec exec FunctionCall hash_search MemoryContext palloc pfree AllocSet tuplestore tuplesort"),
    (
        "planner and parser",
        "plan make_ create_ raw_parser Plan core_yy base_yy expression_tree eval_const SearchSysCache \
         SearchCat RelationGet Lock predicate",
    ),
];

/// Looks for so long.
pub(super) async fn record(file: &Path, long: Duration) -> anyhow::Result<()> {
    let recorded = Command::new("perf")
        .args(["record", "--all-cpus", "--event", "cpu-clock", "--freq", &HERTZ.to_string(), "--output"])
        .arg(file)
        .args(["--", "sleep", &long.as_secs().to_string()])
        .stdin(Stdio::null())
        .output()
        .await
        .context("perf (Debian: linux-perf)")?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    Ok(())
}

/// What each role did. Others on this machine are `others`, the bench itself is `bench`.
pub(super) async fn read(file: &Path, roles: &[(u32, String)]) -> anyhow::Result<BTreeMap<String, Counts>> {
    let told = Command::new("perf")
        .args(["script", "--fields", "comm,pid,ip,sym,dso", "--input"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(told.status.success(), "perf script: {}", String::from_utf8_lossy(&told.stderr));
    Ok(counts(&String::from_utf8_lossy(&told.stdout), roles, std::process::id()))
}

fn counts(script: &str, roles: &[(u32, String)], own: u32) -> BTreeMap<String, Counts> {
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    for Sample { comm, pid, symbol, object } in script.lines().filter_map(Sample::of) {
        let role = roles.iter().find(|(known, _)| *known == pid).map(|(_, role)| role.as_str());
        let process = match role {
            Some(role) => role,
            // Nobody ran.
            None if pid == 0 => continue,
            None if pid == own => "bench",
            // Its backends are children of the one that is known.
            None if comm == "postgres" => "postgres",
            None => "others",
        };
        *all.entry(process.to_owned()).or_default().entry(part(process, &symbol, &object)).or_default() += 1;
    }
    all
}

/// One line of `perf script`: the thread's name, in which there may be blanks, the process, an address, the function and what
/// it was loaded from in brackets.
#[derive(Debug, PartialEq)]
struct Sample {
    comm: String,
    pid: u32,
    symbol: String,
    object: String,
}

impl Sample {
    fn of(line: &str) -> Option<Self> {
        let (before, object) = line.trim().strip_suffix(')')?.rsplit_once(" (")?;
        let mut words = before.split_whitespace();
        let comm = words.next()?;
        let pid = words.find_map(|word| word.parse().ok())?;
        let symbol: Vec<_> = words.skip(1).collect();
        Some(Sample { comm: comm.to_owned(), pid, symbol: symbol.join(" "), object: object.to_owned() })
    }
}

/// What a function is part of: the crate, and of ours the room in it.
fn part(process: &str, symbol: &str, object: &str) -> String {
    let of = |known: &[(&str, &str)]| {
        let fits = known.iter().find(|(_, beginnings)| beginnings.split(' ').any(|begin| symbol.starts_with(begin)));
        fits.map(|(part, _)| (*part).to_owned())
    };
    // Its modules are in brackets, too: [ext4].
    if object.starts_with('[') && !["[vdso]", "[unknown]"].contains(&object) {
        return of(&KERNEL).unwrap_or_else(|| "kernel: the rest".to_owned());
    }
    if object.contains("libc.so") || object.contains("libm.so") || object == "[vdso]" {
        return "libc (copying, comparing, clock)".to_owned();
    }
    if process == "postgres" {
        return of(&POSTGRES).unwrap_or_else(|| "functions without a name".to_owned());
    }
    if symbol.starts_with("mi_") || symbol.starts_with("_mi_") {
        return "allocation (mimalloc)".to_owned();
    }
    // `<Type as crate::Trait>::function`: where the type is anybody's, the trait's crate.
    let owner = symbol.trim_start_matches(['<', '&', '*', '(']).trim_start_matches("mut ").trim_start_matches("dyn ");
    let (of_type, of_trait) = owner.split_once(" as ").unwrap_or((owner, ""));
    room(of_type).or_else(|| room(of_trait)).unwrap_or_else(|| "Rust's own library".to_owned())
}

/// The crate that a path begins with, and of ours the room in it; nothing of Rust's own, or of a type that is anybody's.
fn room(path: &str) -> Option<String> {
    let mut segments = path.split("::").map(|segment| segment.split(['<', ' ', '>', ',']).next().unwrap_or_default());
    let krate = segments.next().filter(|first| first.starts_with(|letter: char| letter.is_ascii_lowercase()))?;
    let next = segments.next();
    match krate {
        "core" | "alloc" | "std" | "hashbrown" => None,
        ours if ours.starts_with("nexus_") => match next {
            Some(room) if room.starts_with(|letter: char| letter.is_ascii_lowercase()) => {
                Some(format!("{ours}::{room}"))
            }
            _ => Some(ours.to_owned()),
        },
        // A primitive: `str`, `u64`.
        _ if next.is_none() => None,
        krate => Some(krate.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_ran_and_where() {
        let sample = |comm: &str, pid, symbol: &str, object: &str| {
            Some(Sample { comm: comm.to_owned(), pid, symbol: symbol.to_owned(), object: object.to_owned() })
        };
        assert_eq!(
            Sample::of("            etcd 25821            40fdd3 [unknown] (/usr/bin/etcd)"),
            sample("etcd", 25_821, "[unknown]", "/usr/bin/etcd")
        );
        assert_eq!(
            Sample::of("  two words 7  ffff81 <&mut W as io::Write>::write (/a b/nexus)"),
            sample("two", 7, "<&mut W as io::Write>::write", "/a b/nexus")
        );
        assert_eq!(Sample::of("no sample"), None);
    }

    #[test]
    fn a_function_is_part_of_the_crate_that_wrote_it() {
        let part = |symbol| part("gateway", symbol, "/bin/nexus");
        assert_eq!(part("<alloc::vec::Vec<T> as bytes::buf::BufMut>::put"), "bytes");
        assert_eq!(part("<T as tokio_postgres::types::ToSql>::to_sql"), "tokio_postgres");
        assert_eq!(part("<usize as core::fmt::Display>::fmt"), "Rust's own library");
        assert_eq!(part("[unknown]"), "Rust's own library");
        assert_eq!(part("nexus_gateway::memory::gpu::Gpu::signs::{{closure}}"), "nexus_gateway::memory");
        assert_eq!(super::part("etcd", "ext4_sync_file", "[ext4]"), "kernel: files and disk");
    }

    #[test]
    fn what_runs_is_counted_by_role_and_part() {
        let script = "tokio-rt-worker 7 ab <serde_json::ser::Serializer<W> as serde_core::Serializer>::x (/bin/nexus)\n\
                      reader 7 ab csv_core::reader::Reader::read_record (/bin/nexus)\n\
                      postgres 9 ab _bt_compare (/usr/lib/postgresql/15/bin/postgres)\n\
                      postgres 9 ab tcp_sendmsg ([kernel.kallsyms])\n\
                      swapper 0 ab default_idle ([kernel.kallsyms])\n\
                      nexus 3 ab nexus_common::queue::message::Body::encode (/bin/nexus)\n\
                      other 4 ab nexus_gateway::Board::new (/bin/nexus)\n";
        let told = counts(script, &[(7, "streamer".to_owned())], 3);
        let flat: Vec<_> =
            told.iter().flat_map(|(role, parts)| parts.keys().map(move |part| format!("{role}: {part}"))).collect();
        assert_eq!(
            flat,
            [
                "bench: nexus_common::queue",
                "others: nexus_gateway",
                "postgres: index",
                "postgres: kernel: network",
                "streamer: csv_core",
                "streamer: serde_json",
            ]
        );
    }
}
