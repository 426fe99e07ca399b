//! Parts of lists: plain ones by `limit`, and pages with a cursor behind every item.

use std::borrow::Cow;

use async_graphql::{OutputType, SimpleObject, TypeName};

use super::error::{Failure, Result};
use crate::read::{self, Cursor, MAX_LIMIT, Paging};

/// `limit`, `cursor`: the same as in REST.
pub(super) fn part(limit: i32, cursor: Option<&str>) -> Result<Paging> {
    paging("limit", limit, "cursor", cursor)
}

/// `first`, `after`.
pub(super) fn first(first: i32, after: Option<&str>) -> Result<Paging> {
    paging("first", first, "after", after)
}

fn paging(limit: &'static str, items: i32, cursor: &'static str, place: Option<&str>) -> Result<Paging> {
    let items = usize::try_from(items).ok().filter(|items| (1..=MAX_LIMIT).contains(items));
    let items = items.ok_or_else(|| Failure::argument(limit, format!("must be from 1 to {MAX_LIMIT}")))?;
    let place = place.filter(|place| !place.is_empty()).map(str::parse::<Cursor>).transpose();
    let place = place.map_err(|error| match error {
        read::Error::Invalid { reason, .. } => Failure::argument(cursor, reason),
        other => other.into(),
    })?;
    Ok(Paging::new(items, place)?)
}

/// Where a page ends.
#[derive(SimpleObject)]
#[graphql(rename_fields = "snake_case")]
pub(super) struct PageInfo {
    /// Whether there is more behind it.
    has_next_page: bool,
    /// Of the last item: give it as `after` to go on, or to REST as `cursor`. Null on an empty page.
    end_cursor: Option<String>,
}

/// An item and its place in the list.
#[derive(SimpleObject)]
#[graphql(name_type, rename_fields = "snake_case")]
pub(super) struct Edge<T: OutputType> {
    /// Give it as `after` to go on behind this item.
    cursor: String,
    /// The item.
    node: T,
}

/// `GpuEdge` and the like.
impl<T: OutputType> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", T::type_name()).into()
    }
}

/// A part of a list, and where the next part starts.
#[derive(SimpleObject)]
#[graphql(name_type, rename_fields = "snake_case")]
pub(super) struct Page<T: OutputType> {
    /// The items, in the order of the list.
    edges: Vec<Edge<T>>,
    /// Where it ends.
    page_info: PageInfo,
}

/// `GpuPage` and the like.
impl<T: OutputType> TypeName for Page<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Page", T::type_name()).into()
    }
}

impl<T: OutputType> Page<T> {
    pub(super) fn of<R: Into<T>>(page: read::Page<R>) -> Self {
        let end_cursor = page.places.last().map(Cursor::to_string);
        let page_info = PageInfo { has_next_page: page.next_cursor.is_some(), end_cursor };
        let items = page.items.into_iter().zip(page.places);
        let edges = items.map(|(item, place)| Edge { cursor: place.to_string(), node: item.into() });
        Page { edges: edges.collect(), page_info }
    }
}

/// The items alone.
pub(super) fn items<R: Into<T>, T>(page: read::Page<R>) -> Vec<T> {
    page.items.into_iter().map(Into::into).collect()
}
