//! Making PostgreSQL's data folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use super::Error;
use super::account::Account;
use super::binaries::find;
use super::tree::give;

/// The superuser's name; its password is in the folder's file of the same name.
pub(super) const SUPERUSER: &str = "nexus_admin";

/// Makes the data folder. An initdb that was interrupted leaves `data.new`, never half a `data`.
pub(super) async fn initialise(folder: &Path, account: &Account) -> Result<(), Error> {
    let (fresh, data) = (folder.join("data.new"), folder.join("data"));
    let doing = || format!("making {}", fresh.display());
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(Error::io(doing()))?;
    }
    fs::DirBuilder::new().mode(0o700).create(&fresh).map_err(Error::io(doing()))?;
    give(&fresh, account).map_err(Error::io(doing()))?;
    let mut command = Command::new(find("initdb")?);
    command.arg("-D").arg(&fresh).arg("--pwfile").arg(folder.join(SUPERUSER)).current_dir(folder);
    command.args(["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    command.env_clear().env("LC_ALL", "C");
    if let Some((uid, gid)) = account.switch() {
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        std::os::unix::process::CommandExt::gid(&mut command, gid);
    }
    let output = tokio::process::Command::from(command).output().await.map_err(Error::io("running initdb"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ");
        return Err(Error::Setup(format!("initdb failed ({}): {said}", output.status)));
    }
    fs::rename(&fresh, &data).map_err(Error::io(doing()))
}

/// The superuser's password: random, made at the first start, readable by the server's user only.
pub(super) fn superuser_password(folder: &Path, account: &Account) -> Result<String, Error> {
    let file = folder.join(SUPERUSER);
    let doing = || format!("writing {}", file.display());
    if let Ok(password) = fs::read_to_string(&file) {
        return Ok(password.trim().to_owned());
    }
    let password = format!("{:032x}", rand::random::<u128>());
    let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    options.and_then(|mut file| file.write_all(password.as_bytes())).map_err(Error::io(doing()))?;
    give(&file, account).map_err(Error::io(doing()))?;
    Ok(password)
}
