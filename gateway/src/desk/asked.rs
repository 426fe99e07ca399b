//! What a request asks for: the same words and bounds by REST and by GraphQL, looked at before anything is done.

use nexus_common::books::letters::{Selection, State};
use nexus_common::books::redrive::Wish;
use nexus_common::domain::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Error;
use crate::read::moment;

/// Letters of one redrive where nothing is said, and the most.
const LETTERS: usize = 1_000;
const MOST_LETTERS: usize = 10_000;
/// Letters that are named one by one.
const MOST_IDS: usize = 10_000;

/// Which letters: those that every given word is true of.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Which {
    /// Letters by number; at most 10,000.
    #[schema(nullable = false, example = json!([17]))]
    pub(crate) ids: Option<Vec<i64>>,
    /// Those whose reason holds this text; case does not count.
    #[schema(nullable = false, example = "out of range")]
    pub(crate) reason: Option<String>,
    /// Those of this file: its path as it is listed, or the end of it.
    #[schema(nullable = false, example = "export.csv")]
    pub(crate) file: Option<String>,
    /// Those written before this time, as `2025-07-18T20:00:00Z` or `now-30d`.
    #[schema(nullable = false, example = "now-30d")]
    pub(crate) before: Option<String>,
    /// All of them, and nothing else said.
    pub(crate) all: bool,
}

/// Letters to be sent through the queue again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redrive {
    /// Which.
    pub(crate) which: Which,
    /// Those that were redriven before, too.
    #[serde(default)]
    pub(crate) again: bool,
    /// Tell what would be done, and do nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// The most letters; 1,000 without it.
    #[schema(nullable = false, minimum = 1, maximum = 10_000)]
    pub(crate) limit: Option<usize>,
}

/// Letters whose payload is to be given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    /// Which.
    pub(crate) which: Which,
    /// Tell what would be done, and do nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// As many letters as a dry run told: if there are more or fewer, nothing is done. Needed unless they are named by number.
    #[schema(nullable = false, minimum = 0)]
    pub(crate) expect: Option<i64>,
}

impl Which {
    fn selection(self) -> Result<Selection, Error> {
        let wrong = |parameter, reason: &str| Error::Wrong { parameter, reason: reason.to_owned() };
        let Which { ids, reason, file, before, all } = self;
        let narrowed = ids.is_some() || reason.is_some() || file.is_some() || before.is_some();
        if narrowed == all {
            return Err(wrong("which", "say ids, reason, file or before; or all, and none of these"));
        }
        if ids.as_ref().is_some_and(|ids| ids.len() > MOST_IDS) {
            return Err(Error::Wrong { parameter: "which.ids", reason: format!("at most {MOST_IDS}") });
        }
        if [&reason, &file].into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(wrong("which", "holds a NUL character, which no text has"));
        }
        let before = before.map(|text| moment(&text, Timestamp::now())).transpose();
        let before = before.map_err(|reason| Error::Wrong { parameter: "which.before", reason })?;
        Ok(Selection { ids, reason, file, before, ..Selection::default() })
    }
}

impl Redrive {
    /// As the books know it.
    pub(super) fn wish(self) -> Result<Wish<'static>, Error> {
        let most = self.limit.unwrap_or(LETTERS);
        if !(1..=MOST_LETTERS).contains(&most) {
            return Err(Error::Wrong { parameter: "limit", reason: format!("must be from 1 to {MOST_LETTERS}") });
        }
        let mut selection = self.which.selection()?;
        // Where letters are not named, those that nothing is to be done about are not looked at either.
        if selection.ids.is_none() && !self.again {
            selection.state = Some(State::Dead);
        }
        Ok(Wish { selection, again: self.again, header: None, most })
    }
}

impl Purge {
    /// As the books know it.
    pub(super) fn selection(self) -> Result<Selection, Error> {
        let selection = self.which.selection()?;
        if !self.dry_run && self.expect.is_none() && selection.ids.is_none() {
            let reason =
                "what is given up does not come back; say how many letters a dry run told (dry_run)".to_owned();
            return Err(Error::Wrong { parameter: "expect", reason });
        }
        Ok(selection)
    }
}
