//! The data folder every test's PostgreSQL starts from: made once per build folder, then copied, because initdb takes
//! longer than everything else a test does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::folder;
use crate::servers::{Account, OnDrop, Postgres, PostgresOptions, copy_tree, postgres_version};

/// How a test's server runs: fast, forgetful and gone afterwards.
pub(super) fn options(folder: PathBuf) -> PostgresOptions {
    let mut options = PostgresOptions::new(folder);
    (options.durable, options.on_drop) = (false, OnDrop::Remove);
    options
}

/// Puts the data of a server that has the usual role and database into `folder`.
pub(super) async fn copy_into(folder: &Path) {
    let template = template().await;
    let account = Account::for_postgres().unwrap_or_else(|error| panic!("{error}"));
    for entry in fs::read_dir(&template).expect("the template") {
        let entry = entry.expect("the template");
        copy_tree(&entry.path(), &folder.join(entry.file_name()), &account).expect("a copy of the template");
    }
}

/// The template's folder. The first process that comes makes it; the others wait for its lock.
async fn template() -> PathBuf {
    let version = postgres_version().unwrap_or_else(|error| panic!("{error}"));
    let version = version.split_whitespace().nth(2).unwrap_or("unknown");
    let owner = nix::unistd::geteuid();
    let template = build_folder().join(format!("test-postgres-{version}-user{owner}"));
    if template.exists() {
        return template;
    }
    let lock = File::create(beside(&template, ".lock")).expect("the template's lock");
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.expect("a thread");
    let _held = lock.expect("the template's lock");
    if !template.exists() {
        make(&template).await;
    }
    template
}

fn beside(template: &Path, ending: &str) -> PathBuf {
    let mut name = template.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn make(template: &Path) {
    let folder = folder();
    let options = options(folder.path().to_owned());
    let mut server = Postgres::start(&options).await.unwrap_or_else(|error| panic!("{error}"));
    server.stop().await.unwrap_or_else(|error| panic!("{error}"));
    let (account, ours) = (Account::for_postgres().unwrap_or_else(|error| panic!("{error}")), Account::ourselves());
    let half = beside(template, ".half");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir(&half).expect("the template");
    for name in ["data", "nexus_admin"] {
        let owner = if name == "data" { &account } else { &ours };
        copy_tree(&options.folder.join(name), &half.join(name), owner).expect("the template");
    }
    fs::rename(&half, template).expect("the template");
}

/// The folder of this build, `target/debug` or the like: found from the test's own program.
fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the test's own path");
    let folder = program.parent().expect("a folder");
    let above = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    above.expect("a folder").to_owned()
}
