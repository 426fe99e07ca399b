//! `nexus members`: who is alive, and what they hold.

use std::collections::HashMap;
use std::io::Write;

use clap::Args;
use nexus_common::domain::Timestamp;
use nexus_common::queue::{Alive, Role, Standing};
use serde::Serialize;

use super::servers::Servers;
use super::table::{self, Align};
use super::words::{Time, age_ms, counted, json, piped, span};

/// List who is alive, since when, and what they hold
///
/// A member is alive while its session stands: etcd forgets a process that died within 10 s.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  nexus members
  nexus members --json | jq -r 'select(.role == \"collector\") | .id'")]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten, next_help_heading = "Servers")]
    servers: Servers,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    role: &'static str,
    id: String,
    address: Option<String>,
    version: Option<String>,
    started_at: Option<Time>,
    up_ms: Option<i64>,
    /// What is left of its session if it fell silent now.
    session_ms: u64,
    claimed_batches: u64,
    claimed_rows: u64,
}

/// Asks etcd, and prints.
///
/// # Errors
/// Where etcd does not answer, or refuses.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let failed = |error| options.servers.etcd_failed(error);
    let inspector = options.servers.inspector().await?;
    let alive = inspector.members().await.map_err(failed)?;
    let standing = inspector.standing().await.map_err(failed)?;
    let mut rows = Vec::new();
    for (member, claims) in with_claims(alive, &standing) {
        let session = inspector.client().time_left(member.lease).await.map_err(failed)?;
        let session_ms = session.map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        rows.push(Row { session_ms, ..row(member, claims) });
    }
    let mut out = std::io::stdout().lock();
    let open = piped(|| match options.json {
        true => rows.iter().try_for_each(|row| json(&mut out, row)),
        false if rows.is_empty() => Ok(()),
        false => write(&mut out, &rows),
    })?;
    if open && !options.json {
        let of = |role: Role| {
            let alive = rows.iter().filter(|row| row.role == role.as_str()).count();
            counted(alive as u64, role.as_str())
        };
        let (streamers, collectors, gateways) = (of(Role::Streamer), of(Role::Collector), of(Role::Gateway));
        eprintln!("{streamers}, {collectors}, {gateways} alive in cluster {}", inspector.keys().cluster_id());
    }
    Ok(())
}

/// Batches and rows by holder.
fn with_claims(alive: Vec<Alive>, standing: &Standing) -> impl Iterator<Item = (Alive, (u64, u64))> {
    let mut held: HashMap<String, (u64, u64)> = HashMap::new();
    for standee in &standing.batches {
        if let Some(holder) = &standee.holder {
            let (batches, rows) = held.entry(holder.clone()).or_default();
            *batches += 1;
            *rows += standee.manifest.as_ref().map_or(0, |manifest| manifest.rows);
        }
    }
    alive.into_iter().map(move |member| {
        let claims = held.get(&member.id).copied().unwrap_or_default();
        (member, claims)
    })
}

fn row(alive: Alive, (claimed_batches, claimed_rows): (u64, u64)) -> Row {
    let member = alive.member;
    let started_ms = member.as_ref().map(|member| member.started_ms);
    Row {
        role: alive.role.as_str(),
        id: alive.id,
        started_at: started_ms.map(|ms| Time(Timestamp::from_millis(ms))),
        up_ms: started_ms.map(age_ms),
        session_ms: 0,
        claimed_batches,
        claimed_rows,
        version: member.as_ref().map(|member| member.version.clone()),
        address: member.map(|member| member.address),
    }
}

fn write(out: &mut impl Write, rows: &[Row]) -> std::io::Result<()> {
    let cells = |row: &Row| {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let holds = match row.role {
            "collector" => format!("{}, {}", counted(row.claimed_batches, "batch"), counted(row.claimed_rows, "row")),
            _ => "-".to_owned(),
        };
        [
            row.role.to_owned(),
            row.id.clone(),
            text(&row.address),
            text(&row.version),
            row.started_at.map_or_else(|| "?".to_owned(), |Time(time)| time.to_string()),
            row.up_ms.map_or_else(|| "?".to_owned(), span),
            holds,
        ]
    };
    table::write(
        out,
        [
            ("ROLE", Align::Left),
            ("ID", Align::Left),
            ("ADDRESS", Align::Left),
            ("VERSION", Align::Left),
            ("STARTED", Align::Left),
            ("UP", Align::Right),
            ("HOLDS", Align::Left),
        ],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    )
}
