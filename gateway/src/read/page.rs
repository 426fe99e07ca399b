use serde::Serialize;

use super::{Cursor, Error, Result};

/// Items of a page when nothing is asked.
pub const DEFAULT_LIMIT: usize = 100;
/// The most items of a page.
pub const MAX_LIMIT: usize = 10_000;

/// A part of a list, and where the next part starts.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Ask for this to go on; absent (null) at the end of the list.
    pub next_cursor: Option<Cursor>,
    /// The place of each item, for who goes on in the middle of a page.
    #[serde(skip)]
    pub places: Vec<Cursor>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Paging {
    /// How many items at most.
    pub limit: usize,
    /// Where to go on.
    pub cursor: Option<Cursor>,
}

impl Default for Paging {
    fn default() -> Self {
        Paging { limit: DEFAULT_LIMIT, cursor: None }
    }
}

impl Paging {
    /// A page of `limit` items after `cursor`.
    ///
    /// # Errors
    /// Where the limit is not from 1 to [`MAX_LIMIT`].
    pub fn new(limit: usize, cursor: Option<Cursor>) -> Result<Self> {
        if limit == 0 || limit > MAX_LIMIT {
            let reason = format!("must be from 1 to {MAX_LIMIT}; go on with next_cursor for more");
            return Err(Error::invalid("limit", reason));
        }
        Ok(Paging { limit, cursor })
    }

    /// One more row than is wanted, to see whether there is more.
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit + 1)
    }
}

impl<T> Page<T> {
    /// From one item more than is wanted, each with its place in the list.
    pub(super) fn of(mut found: Vec<(T, Cursor)>, limit: usize) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|(_, place)| place.clone());
        let (items, places) = found.into_iter().unzip();
        Page { items, next_cursor, places }
    }
}
