//! `nexus keys`: the gateway's API keys. What is kept is a line with a key's SHA-256; the key is shown once.

mod file;
mod shown;

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nexus_common::config::{Invalid, duration};
use nexus_common::domain::Timestamp;
use nexus_common::identity::{self, Holder, Key, Role};
use serde_json::json;

use self::file::File;
pub(crate) use self::shown::Shown;

/// Makes, lists and revokes the gateway's API keys.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  nexus keys new --name alice --role reader               the key, and the line for the gateway's API_KEYS_FILE
  nexus keys new --name bob --role operator --expires 90days --file /etc/nexus/keys
  nexus keys list --file /etc/nexus/keys                  who has one
  nexus keys revoke alice --file /etc/nexus/keys          it is worth nothing a second later")]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Make a key: it is shown this once
    New(New),
    /// List who has a key
    List(List),
    /// Take a key back; gateways notice within a second
    Revoke(Revoke),
}

#[derive(Debug, Clone, Args)]
struct New {
    /// What logs and the audit log call whoever uses it
    #[arg(long)]
    name: String,

    /// reader, or operator (who may redrive and purge dead letters, too)
    #[arg(long)]
    role: Role,

    /// When it expires: 90days (from now), 2027-01-31 or 2027-01-31T12:00:00Z; without it never
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Timestamp>,

    /// Write the line into this file; one that is made is readable for its owner alone
    #[arg(long, env = "API_KEYS_FILE", value_name = "PATH")]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct List {
    /// The gateway's file of keys
    #[arg(long, env = "API_KEYS_FILE", value_name = "PATH")]
    file: PathBuf,

    /// Print one JSON object a line, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct Revoke {
    /// Whose
    name: String,

    /// The gateway's file of keys
    #[arg(long, env = "API_KEYS_FILE", value_name = "PATH")]
    file: PathBuf,
}

/// Runs a command.
///
/// # Errors
/// [`Invalid`] where the file cannot be read or written, or has no such name.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::New(asked) => new(asked),
        Command::List(asked) => list(asked),
        Command::Revoke(asked) => revoke(asked),
    }
}

fn new(asked: &New) -> anyhow::Result<()> {
    let key = Key::new(asked.role);
    let holder = Holder::new(&asked.name, asked.role, &key, asked.expires);
    let holder = holder.map_err(|reason| Invalid(format!("--name: {reason}")))?;
    let mut out = stdout().lock();
    if let Some(path) = &asked.file {
        File::of(path)?.add(&holder)?;
        writeln!(out, "{}", key.reveal())?;
        eprintln!("nexus: {} may use this key as a {}; it is not shown again", holder.name, holder.role);
        return Ok(());
    }
    writeln!(out, "{}", key.reveal())?;
    writeln!(out, "{holder}")?;
    eprintln!("nexus: above, the key, which is not shown again, and below it the line for the gateway's API_KEYS_FILE");
    Ok(())
}

fn list(asked: &List) -> anyhow::Result<()> {
    let (holders, now) = (File::of(&asked.file)?.holders, Timestamp::now());
    let mut out = stdout().lock();
    for holder in &holders {
        let (name, role, good) = (&holder.name, holder.role, holder.is_good(now));
        let expires = holder.expires.map(|expires| expires.to_string());
        if asked.json {
            let document = json!({ "name": name, "role": role.name(), "expires": expires, "expired": !good });
            writeln!(out, "{document}")?;
            continue;
        }
        let until = match (expires, good) {
            (None, _) => String::new(),
            (Some(expires), true) => format!("until {expires}"),
            (Some(expires), false) => format!("expired {expires}"),
        };
        writeln!(out, "{}", format!("{name:<24}  {role:<8}  {until}").trim_end())?;
    }
    if holders.is_empty() && !asked.json {
        writeln!(out, "nobody has a key")?;
    }
    Ok(())
}

fn revoke(asked: &Revoke) -> anyhow::Result<()> {
    File::of(&asked.file)?.remove(&asked.name)?;
    writeln!(stdout(), "{} has no key any more", asked.name)?;
    Ok(())
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    match duration(text) {
        Ok(from_now) => {
            let micros = i64::try_from(from_now.as_micros()).unwrap_or(i64::MAX);
            Ok(Timestamp::now().shifted(micros))
        }
        Err(_) => identity::moment(text),
    }
}
