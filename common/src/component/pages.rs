//! Memory in small pages.

/// From here on the kernel gives this process, and those it starts, no transparent huge pages.
///
/// The allocator asks for them where the kernel leaves that to programs (`madvise`); where it does not (`always`), all memory
/// is made of them. A page of 2 MiB is cleared by the thread that touches it first: on a virtual machine that took the gateway
/// some 10 ms, in which nobody got a frame of the live feed (docs/bench/NOTES.md, "live"). A kernel that does not know how to
/// go without them (Linux before 3.15) goes on as it was.
pub fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(errno) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%errno, "huge pages stay as the system has them");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use clap::Parser;

    use crate::config::Logging;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        logging: Logging,
    }

    #[tokio::test]
    async fn a_component_runs_without_huge_pages() {
        let program = Program::parse_from(["program"]);
        let mut huge = None;
        let exit = crate::component::run("program", &program.logging, async |_| {
            huge = Some(!nix::sys::prctl::get_thp_disable()?);
            Ok(())
        });
        exit.await;
        assert_eq!(huge, Some(false));
    }
}
