//! Finding the servers' programs.

use std::path::{Path, PathBuf};
#[cfg(feature = "testing")]
use std::process::Command;

use super::Error;

/// Where Debian, Ubuntu, Red Hat and Homebrew keep PostgreSQL's server programs, outside of PATH; one folder a version.
const POSTGRES_HOMES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// What is missing on this machine to run both servers: one line each.
pub fn missing() -> Vec<String> {
    ["etcd", "initdb", "postgres"]
        .into_iter()
        .filter_map(|program| find(program).err())
        .map(|e| e.to_string())
        .collect()
}

/// The program's path: in PATH, or for PostgreSQL's also in its usual homes, the newest version first.
pub(crate) fn find(program: &'static str) -> Result<PathBuf, Error> {
    let on_path = path_folders().into_iter().map(|folder| folder.join(program)).find(|file| is_executable(file));
    if let Some(found) = on_path {
        return Ok(found);
    }
    if program == "etcd" {
        let install = "apt-get install etcd-server etcd-client, or run make setup-dev";
        return Err(Error::Missing { program, looked: "PATH".to_owned(), install });
    }
    let homes = postgres_folders().into_iter().map(|(_, folder)| folder.join(program));
    let found = homes.into_iter().find(|file| is_executable(file));
    found.ok_or_else(|| Error::Missing {
        program,
        looked: "PATH and /usr/lib/postgresql/*/bin".to_owned(),
        install: "apt-get install postgresql, or run make setup-dev",
    })
}

/// The `postgres` to run on data of this major version (the content of PG_VERSION): one of the same version if there is
/// any, for no other can read it.
pub(crate) fn find_postgres(version: Option<&str>) -> Result<PathBuf, Error> {
    let version = version.map(str::trim);
    let same = postgres_folders().into_iter().filter(|(found, _)| Some(found.to_string().as_str()) == version);
    let same = same.map(|(_, folder)| folder.join("postgres")).find(|file| is_executable(file));
    same.map_or_else(|| find("postgres"), Ok)
}

/// What `postgres --version` says, e.g. `postgres (PostgreSQL) 15.18`.
#[cfg(feature = "testing")]
pub(crate) fn postgres_version() -> Result<String, Error> {
    let program = find("postgres")?;
    let output = Command::new(&program)
        .arg("--version")
        .current_dir("/")
        .output()
        .map_err(Error::io(format!("running {} --version", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The folders of PATH. The one look at the environment in here, and not a setting of ours.
fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// The versions installed, newest first, with their folders of programs.
fn postgres_folders() -> Vec<(u32, PathBuf)> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for (home, prefix) in POSTGRES_HOMES {
        for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            if let Some(version) = version {
                versions.push((version, entry.path().join("bin")));
            }
        }
    }
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
