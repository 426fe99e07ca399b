//! The set: every part measured by a `nexus bench` of its own, what it printed kept as JSON, the document rendered from what
//! is kept.
//!
//! A part that fails leaves what was kept of it before, and the others go on. So the document can be rendered again, and one
//! part measured again, without the rest.

mod document;
mod goals;
mod kept;
mod machine;
mod parts;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use nexus_common::config::Invalid;
use nexus_common::domain::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use self::kept::Kept;
use self::machine::Machine;
use self::parts::{PARTS, Part, Shown};
use super::{Options, say};

/// Measures what was asked for, and writes the document.
///
/// # Errors
/// Where a part that was measured failed; everything else is measured and written nevertheless.
pub(super) async fn make(options: &Options) -> anyhow::Result<()> {
    let document = options.report.clone().unwrap_or_else(|| PathBuf::from("docs/BENCHMARKS.md"));
    let folder = document.parent().map_or_else(|| PathBuf::from("bench"), |beside| beside.join("bench"));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    if let Some(unknown) = options.only.iter().find(|name| !PARTS.iter().any(|part| part.name == **name)) {
        let known = PARTS.map(|part| part.name).join(", ");
        return Err(Invalid(format!("there is no part {unknown}; there are {known}")).into());
    }
    let mut failed = Vec::new();
    if !options.render {
        let machine = Machine::look(options.dir.as_deref()).await?;
        let wanted = |part: &&Part| options.only.is_empty() || options.only.iter().any(|name| name == part.name);
        for part in PARTS.iter().filter(wanted) {
            if let Err(error) = measure(part, &machine, options, &folder).await {
                say(&format!("{}: {error:#}", part.name));
                failed.push(part.name);
            }
            // After each part: whoever stops this has what was measured.
            render(&document, &folder)?;
        }
    }
    render(&document, &folder)?;
    say(&format!("{} is written", document.display()));
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// Measures one part as often as it should be, and keeps what it printed.
async fn measure(part: &Part, machine: &Machine, options: &Options, folder: &Path) -> anyhow::Result<()> {
    let arguments = part.arguments(options.quick);
    let times = if part.several { options.times } else { 1 };
    let mut kept = Kept::new(part.name, &arguments, machine);
    for time in 1..=times {
        let begin = Instant::now();
        say(&format!("== {} ({time} of {times}): nexus bench {}", part.name, arguments.join(" ")));
        match child(&arguments, options.dir.as_deref()).await {
            Ok(figures) => kept.runs.push(figures),
            Err(error) => {
                say(&format!("{}: {error:#}", part.name));
                kept.failures.push(format!("{error:#}"));
            }
        }
        say(&format!("== {} took {:.0} s", part.name, begin.elapsed().as_secs_f64()));
    }
    if kept.runs.is_empty() {
        bail!("no run of it ended well");
    }
    kept.write(folder)
}

/// `nexus bench` with these arguments; what it printed. What it says meanwhile is said on; its last word tells why it failed.
async fn child(arguments: &[&str], dir: Option<&Path>) -> anyhow::Result<Value> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("bench")
        .args(arguments)
        .arg("--json")
        .args(dir.map(|dir| ["--dir".as_ref(), dir.as_os_str()]).into_iter().flatten())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (mut stdout, stderr) = (child.stdout.take().context("no output")?, child.stderr.take().context("no output")?);
    let mut printed = Vec::new();
    let said = async {
        let (mut lines, mut last) = (BufReader::new(stderr).lines(), String::new());
        while let Some(line) = lines.next_line().await? {
            say(&line);
            last = line;
        }
        std::io::Result::Ok(last)
    };
    let (read, said) = tokio::join!(stdout.read_to_end(&mut printed), said);
    read?;
    let (status, said) = (child.wait().await?, said?);
    ensure!(status.success(), "{status}: {said}");
    Ok(serde_json::from_slice(&printed)?)
}

/// Writes document and plots from what is kept in the folder.
fn render(document: &Path, folder: &Path) -> anyhow::Result<()> {
    let kept: Vec<_> =
        PARTS.iter().map(|part| Ok((part, Kept::read(folder, part.name)?))).collect::<anyhow::Result<_>>()?;
    let notes = std::fs::read_to_string(folder.join("NOTES.md")).unwrap_or_default();
    let kept: Vec<_> = kept.into_iter().filter_map(|(part, kept)| Some((part, kept?))).collect();
    for (part, kept) in &kept {
        if part.shown == Shown::Curve
            && let Some(curve) = document::curve(kept)
        {
            curve.draw(&folder.join(format!("{}.svg", part.name)))?;
        }
    }
    std::fs::write(document, document::document(&kept, &notes))
        .with_context(|| format!("writing {}", document.display()))
}

/// Today, as the document has it.
fn today() -> String {
    Timestamp::now().to_string()[..10].to_owned()
}
