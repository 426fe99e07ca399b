//! Which program this is: its version, and the commit it was built from.

use std::sync::OnceLock;

/// The commit of the program that runs; `nexus_build_info` tells it too.
static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// What `--version` shows: `0.1.0 (7bd87c0)`, `0.1.0 (7bd87c0-dirty)` where something was changed since, and `0.1.0` where
/// nobody said what was built. Called once, by the program's `main`, with `option_env!("NEXUS_COMMIT")`: who builds says so
/// (the Makefile, the images), and a new commit compiles that one file anew and links, instead of everything that a build
/// script would belong to.
pub fn version(commit: Option<&'static str>) -> &'static str {
    let commit = COMMIT.get_or_init(|| commit.map(str::trim).unwrap_or_default());
    shown(commit)
}

/// Empty where it is not known.
pub(crate) fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or_default()
}

/// Leaked: a command line wants it for as long as the process lives, and there is one.
fn shown(commit: &str) -> &'static str {
    match commit {
        "" => env!("CARGO_PKG_VERSION"),
        commit => format!("{} ({commit})", env!("CARGO_PKG_VERSION")).leak(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_stands_behind_the_version_where_it_is_known() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(shown("7bd87c0-dirty"), format!("{version} (7bd87c0-dirty)"));
        assert_eq!(shown(""), version);
    }
}
