//! What an act came to, in the form of both REST and GraphQL.

use async_graphql::SimpleObject;
use nexus_common::books::letters::Tally;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Redriven, Sent};

/// What a redrive came to, or would.
#[derive(Debug, Serialize, ToSchema, SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(crate) struct RedriveAnswer {
    /// Nothing was done.
    dry_run: bool,
    /// Letters that are sent.
    letters: usize,
    /// Rows in them.
    rows: i64,
    /// There may be more than one request looks at: ask again.
    more: bool,
    /// The returns that were begun or gone on with; in a dry run those that are not finished.
    returns: Vec<Returned>,
    /// Letters that are not sent, and why.
    left: Vec<Left>,
}

/// Letters on their way through the queue: a lane of their own.
#[derive(Debug, Serialize, ToSchema, SimpleObject)]
#[graphql(rename_fields = "snake_case")]
struct Returned {
    /// Its number.
    id: i64,
    /// Its lane: the audit tells what became of its rows.
    #[schema(example = "redrive-7")]
    lane: String,
    /// Rows in it.
    rows: i64,
    /// Somebody had begun it before.
    resumed: bool,
    /// Every row is in the queue; where not, ask again: it goes on where it stopped.
    finished: bool,
    /// Why it does not go on, where something has to be done about it first; the others go on without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    why: Option<String>,
}

/// Letters that are not sent.
#[derive(Debug, Serialize, ToSchema, SimpleObject)]
#[graphql(rename_fields = "snake_case")]
struct Left {
    /// How many.
    letters: i64,
    /// Why, for programs: redriven, purged, cut, no_header, no_shift, newer or garbage.
    #[schema(example = "no_header")]
    code: &'static str,
    /// Why, in words. Rows that were not understood are redriven with `nexus dlq redrive --header-from`.
    why: String,
    /// Nothing is to be done about them.
    settled: bool,
}

/// What a purge came to, or would.
#[derive(Debug, Serialize, ToSchema, SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(crate) struct PurgeAnswer {
    /// Nothing was done.
    dry_run: bool,
    /// Letters whose payload is given up.
    letters: i64,
    /// Rows they stand for.
    rows: i64,
}

impl RedriveAnswer {
    pub(super) fn of(redriven: Redriven, dry_run: bool) -> Self {
        let Redriven { plan, returns } = redriven;
        let left = plan.left.iter().map(|(obstacle, letters)| Left {
            letters: *letters,
            code: obstacle.code(),
            why: obstacle.words(),
            settled: obstacle.is_settled(),
        });
        RedriveAnswer {
            dry_run,
            letters: plan.fits.len(),
            rows: plan.rows(),
            more: plan.more,
            returns: returns.into_iter().map(Returned::of).collect(),
            left: left.collect(),
        }
    }
}

impl Returned {
    fn of(sent: Sent) -> Self {
        let Sent { of, rows, resumed, why } = sent;
        let (finished, rows) = (rows.is_some(), rows.unwrap_or(of.rows));
        Returned { id: of.id, lane: of.lane(), rows, resumed, finished, why }
    }
}

impl PurgeAnswer {
    pub(super) fn of(tally: Tally, dry_run: bool) -> Self {
        let Tally { letters, rows } = tally;
        PurgeAnswer { dry_run, letters, rows }
    }
}
