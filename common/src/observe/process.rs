//! What this process uses, as `/proc` tells it, under the names that Prometheus' own clients give it.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};

use super::Scrape;

#[derive(Debug)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: usize,
    /// `None`: as many as it likes.
    max_fds: Option<u64>,
    threads: i64,
    started: f64,
}

/// Writes it down; nothing where `/proc` cannot be read.
pub(super) fn tell(scrape: &mut Scrape<'_, '_>) -> fmt::Result {
    let Ok(usage) = Usage::now() else { return Ok(()) };
    scrape.counter("process_cpu_seconds", "Processor time of this process, user and system.", usage.cpu_seconds)?;
    scrape.gauge("process_resident_memory_bytes", "Memory this process has in RAM.", usage.resident_bytes)?;
    scrape.gauge("process_virtual_memory_bytes", "Address space of this process.", usage.virtual_bytes)?;
    scrape.gauge("process_open_fds", "Open files and connections of this process.", usage.open_fds)?;
    if let Some(max_fds) = usage.max_fds {
        scrape.gauge("process_max_fds", "The most files and connections this process may have open.", max_fds)?;
    }
    scrape.gauge("process_threads", "Threads of this process.", usage.threads)?;
    scrape.gauge("process_start_time_seconds", "When this process started, in seconds since 1970.", usage.started)
}

impl Usage {
    fn now() -> ProcResult<Usage> {
        let this = Process::myself()?;
        let stat = this.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        Ok(Usage {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: stat.rss * page_size(),
            virtual_bytes: stat.vsize,
            open_fds: this.fd_count()?,
            max_fds: match this.limits()?.max_open_files.soft_limit {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
            threads: stat.num_threads,
            started: boot_time_secs()? as f64 + seconds(stat.starttime),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn it_started_a_while_ago_and_has_used_something() {
        let usage = Usage::now().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 3600.0..now + 2.0).contains(&usage.started), "{usage:?} at {now}");
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes > usage.resident_bytes, "{usage:?}");
        assert!(usage.threads > 0 && usage.open_fds > 0, "{usage:?}");
    }
}
