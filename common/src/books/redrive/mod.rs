//! Dead letters through the queue again, each once: noted in one transaction, then published through a lane of its own,
//! whose cursor says how far it got. Whoever is interrupted goes on by wishing the same again, and of two who wish at once
//! each letter is with one.

mod pack;
mod understand;

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::pack::{Packed, Packer};
pub use self::understand::{Eyes, Obstacle, understand};
use super::letters::{self, Payload, Selection};
use super::returns::{self, Return};
use super::sending::{Error, Sending, Sent};
use crate::domain::Reject;
use crate::queue::{Body, Lane};

/// Letters read at once: a message may have a mebibyte.
const PAGE: i64 = 64;

/// Which letters are to be sent, and how.
pub struct Wish<'a> {
    /// Which.
    pub selection: Selection,
    /// Those that were redriven before, too.
    pub again: bool,
    /// What rows that were not understood are read with; without it they are left.
    pub header: Option<Eyes<'a>>,
    /// The most letters of one return. Ten times as many are looked at.
    pub most: usize,
}

/// What of the selected letters can be sent: each with its rows; and what cannot.
#[derive(Debug, Default)]
pub struct Plan {
    /// Letters and the rows that will be published for them.
    pub fits: Vec<(i64, i64)>,
    /// How many letters are left, by why.
    pub left: BTreeMap<Obstacle, i64>,
    /// There may be more than could be looked at: the same wish goes on with them.
    pub more: bool,
}

impl Plan {
    /// Rows that will be published.
    pub fn rows(&self) -> i64 {
        self.fits.iter().map(|(_, rows)| rows).sum()
    }

    /// Letters that somebody still has to deal with.
    pub fn undone(&self) -> i64 {
        self.left.iter().filter(|(obstacle, _)| !obstacle.is_settled()).map(|(_, letters)| letters).sum()
    }
}

/// How far a redrive got: kept in the cursor of its lane.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Position {
    /// When the return was noted, in microseconds since 1970: a PostgreSQL that was restored gives a number twice.
    begun_us: i64,
    /// The last letter that was published.
    letter: i64,
}

impl Position {
    /// Where a lane whose cursor says this stands in this return; at its start where the cursor speaks of another one.
    fn of(position: Value, of: &Return) -> Result<Position, Error> {
        let position: Position = serde_json::from_value(position)?;
        let begun_us = of.created_at.0;
        Ok(if position.begun_us == begun_us { position } else { Position { begun_us, letter: 0 } })
    }
}

/// Looks at every selected letter, page by page, and changes nothing. Returns that were `resumed` just now are done,
/// whatever the wish says.
///
/// # Errors
/// As PostgreSQL answers; [`Error::NoLetter`] where one was named that there is not.
pub async fn plan(client: &Client, cluster: i32, wish: &Wish<'_>, resumed: &[i64]) -> Result<Plan, Error> {
    let (selection, mut plan, mut after, mut looked) = (&wish.selection, Plan::default(), i64::MIN, 0);
    let mut unseen: BTreeSet<i64> = selection.ids.iter().flatten().copied().collect();
    loop {
        let page = letters::payloads(client, cluster, selection, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.letter.id;
        for payload in &page {
            if plan.fits.len() == wish.most || looked == wish.most.saturating_mul(10) {
                plan.more = true;
                return Ok(plan);
            }
            looked += 1;
            unseen.remove(&payload.letter.id);
            if payload.letter.return_id.is_some_and(|of| resumed.contains(&of)) {
                continue;
            }
            match understand(payload, wish.header, wish.again) {
                Ok(body) => plan.fits.push((payload.letter.id, body.rows() as i64)),
                Err(obstacle) => *plan.left.entry(obstacle).or_default() += 1,
            }
        }
    }
    unseen.first().map_or(Ok(plan), |id| Err(Error::NoLetter(*id)))
}

/// Publishes the letters of a return that are not published yet, and notes that it is done. Returns the rows it has
/// published in all.
///
/// # Errors
/// See [`Error`]; the return stays unfinished then, and can be gone on with.
pub async fn send(client: &Client, sending: &mut Sending, of: &Return, header: Option<Eyes<'_>>) -> Result<i64, Error> {
    loop {
        let mut lane = sending.open(of).await?;
        if publish_rest(client, sending, &mut lane, of, header).await? == Sent::Again {
            continue;
        }
        let rows = i64::try_from(lane.cursor().rows).unwrap_or(i64::MAX);
        returns::finish(client, of, rows).await?;
        return Ok(rows);
    }
}

/// Why [`send`] without a header cannot go on with a return that somebody began; `None`: it can. What is published already
/// is not read again. Nothing is changed, and nobody who goes on with it now is fenced.
///
/// # Errors
/// As etcd and PostgreSQL answer.
pub async fn hindrance(client: &Client, sending: &Sending, of: &Return) -> Result<Option<Error>, Error> {
    let mut after = match sending.position(&of.lane()).await? {
        Some(position) => Position::of(position, of)?.letter,
        None => Position::default().letter,
    };
    loop {
        let page = letters::of_return(client, of.id, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.letter.id;
        if let Some(error) = page.iter().find_map(|payload| once_more(payload, None).err()) {
            return Ok(Some(error));
        }
    }
}

async fn publish_rest(
    client: &Client,
    sending: &mut Sending,
    lane: &mut Lane,
    of: &Return,
    header: Option<Eyes<'_>>,
) -> Result<Sent, Error> {
    let position = Position::of(lane.cursor().position.clone(), of)?;
    let (mut after, mut packer) = (position.letter, Packer::new(sending.bounds));
    loop {
        let page = letters::of_return(client, of.id, after, PAGE).await?;
        let mut packed: Vec<Packed> = Vec::new();
        for payload in &page {
            after = payload.letter.id;
            let body = once_more(payload, header)?;
            packed.extend(packer.push(&payload.letter, payload.shift_us.unwrap_or(0), body));
        }
        if page.is_empty() {
            packed.extend(packer.flush());
        }
        for (draft, letter) in packed {
            let position = serde_json::to_value(Position { letter, ..position })?;
            if sending.publish(lane, draft, &position).await? == Sent::Again {
                return Ok(Sent::Again);
            }
            sending.tell(of, lane.cursor().rows);
        }
        if page.is_empty() {
            return Ok(Sent::Yes);
        }
    }
}

/// What is published of a letter that is in a return: nothing of it may be left out. A row that is not understood after
/// all, because the header is another one now, dies once more.
fn once_more(payload: &Payload, header: Option<Eyes<'_>>) -> Result<Body, Error> {
    let letter = &payload.letter;
    match understand(payload, header, true) {
        Ok(body) => Ok(body),
        Err(Obstacle::NotUnderstood(reason)) => {
            let (line, byte) = (letter.line.unwrap_or(0).unsigned_abs(), letter.byte.unwrap_or(0).unsigned_abs());
            let raw_bytes = letter.raw_bytes.unsigned_abs();
            let sha256 = letter.sha256.clone().unwrap_or_default();
            Ok(Body::Dead { line, byte, reject: Reject { reason, raw: payload.raw.clone(), raw_bytes, sha256 } })
        }
        Err(Obstacle::NoHeader) => Err(Error::NeedsHeader(letter.return_id.unwrap_or_default())),
        Err(obstacle) => Err(Error::Stuck { id: letter.id, why: obstacle.words() }),
    }
}
