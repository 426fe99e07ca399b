//! What operators do, as mutations: the desk of REST's routes, with its words, its bounds and its audit log.

use async_graphql::{Context, InputObject, Object};
use nexus_common::books::actions::Actor;

use super::error::{Failure, Result, code, field};
use super::execute::RequestId;
use crate::access::{Identity, Operator};
use crate::desk::{self, Desk, Purge, PurgeAnswer, Redrive, RedriveAnswer, Which};

/// What is done, one thing at a time; for operators, where ENABLE_OPERATOR_ROUTES lets them.
pub(super) struct Acts;

/// Which letters: those that every given word is true of.
#[derive(InputObject)]
#[graphql(name = "WhichLetters", rename_fields = "snake_case")]
struct WhichLetters {
    /// Letters by number; at most 10,000.
    ids: Option<Vec<i64>>,
    /// Those whose reason holds this text; case does not count.
    reason: Option<String>,
    /// Those of this file: its path as it is listed, or the end of it.
    file: Option<String>,
    /// Those written before this time, as 2025-07-18T20:00:00Z or now-30d.
    before: Option<String>,
    /// All of them, and nothing else said.
    #[graphql(default)]
    all: bool,
}

/// Each is noted with who did it, in the transaction that does it; asked for again, it does nothing twice.
#[Object(rename_fields = "snake_case", rename_args = "snake_case")]
impl Acts {
    /// Sends dead letters through the queue again, each once, as `nexus dlq redrive` does; in 20 seconds of publishing as many as go.
    async fn redrive_dead_letters(
        &self,
        context: &Context<'_>,
        which: WhichLetters,
        #[graphql(default, desc = "Those that were redriven before, too.")] again: bool,
        #[graphql(default, desc = "Tell what would be done, and do nothing.")] dry_run: bool,
        #[graphql(default = 1_000, desc = "The most letters; up to 10,000.")] limit: i32,
    ) -> Option<RedriveAnswer> {
        // Less than none is as wrong as none.
        let limit = Some(usize::try_from(limit).unwrap_or(0));
        let asked = Redrive { which: which.into(), again, dry_run, limit };
        let done = async {
            let (desk, by) = at_the_desk(context, "redrive_dead_letters")?;
            Ok(desk.redrive(asked, &by).await?)
        };
        field(context, done.await)
    }

    /// Gives up the payload of dead letters, as `nexus dlq purge` does. Place, reason and counts stay.
    async fn purge_dead_letters(
        &self,
        context: &Context<'_>,
        which: WhichLetters,
        #[graphql(default, desc = "Tell what would be done, and do nothing.")] dry_run: bool,
        #[graphql(
            desc = "As many letters as a dry run told: if there are others, nothing is done. Needed unless they are named."
        )]
        expect: Option<i64>,
    ) -> Option<PurgeAnswer> {
        let asked = Purge { which: which.into(), dry_run, expect };
        let done = async {
            let (desk, by) = at_the_desk(context, "purge_dead_letters")?;
            Ok(desk.purge(asked, &by).await?)
        };
        field(context, done.await)
    }
}

/// Where operators act, and who does: of anybody else the audit log has what he wanted.
fn at_the_desk<'a>(context: &Context<'a>, wanted: &str) -> Result<(&'a Desk, Actor)> {
    let Operator(who) = operator(context, wanted)?;
    let desk = context.data::<Desk>().map_err(|_| desk::Error::SwitchedOff)?;
    let request_id = context.data::<RequestId>().ok().map(|RequestId(id)| id.clone());
    Ok((desk, Actor { name: who.actor(), request_id }))
}

/// Who asks, where he may do or see what operators do and see.
pub(super) fn operator(context: &Context<'_>, wanted: &str) -> Result<Operator> {
    let known = context.data::<Identity>().ok().and_then(|identity| Operator::of(identity, wanted));
    known.ok_or_else(|| Failure::new(code::FORBIDDEN, "this needs the API key of an operator; yours may read"))
}

impl From<WhichLetters> for Which {
    fn from(which: WhichLetters) -> Self {
        let WhichLetters { ids, reason, file, before, all } = which;
        Which { ids, reason, file, before, all }
    }
}
