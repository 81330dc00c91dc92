//! Pages: `limit`, `iterator`, and the answer around the rows.
//!
//! `iterator` is the id of the last row of a page; going back, `-` and the id of its first row.
//! Callers take both as opaque.

use serde::Serialize;

use super::error::ApiError;
use super::query::{Query, bad};
use crate::model::id::ID_BYTES;
use crate::model::limits::PAGE_ROWS;
use crate::store::pages::{Page, Range};

/// Rows on a page when nothing is said.
const DEFAULT_ROWS: u64 = 50;

/// Which page is asked for.
#[derive(Debug, Clone)]
pub(super) struct PageRequest {
    /// Rows on it.
    pub(super) limit: usize,
    /// Where it begins: after this row, in the list's own order.
    pub(super) iterator: Option<String>,
    /// It ends before `iterator` rather than beginning after it.
    pub(super) backwards: bool,
    /// Greatest first.
    pub(super) descending: bool,
}

impl PageRequest {
    /// Reads `limit`, `iterator` and, where the list has one, `order`.
    pub(super) fn of(query: &Query, default_descending: bool) -> Result<Self, ApiError> {
        let limit = Self::limit_of(query)?;
        let (iterator, backwards) = match query.get("iterator").map(|i| (i, i.strip_prefix('-'))) {
            None => (None, false),
            Some((_, Some(rest))) => (Some(rest.to_owned()), true),
            Some((iterator, None)) => (Some(iterator.to_owned()), false),
        };
        let descending = match query.get("order") {
            None => default_descending,
            Some("ascending") => false,
            Some("descending") => true,
            Some(other) => return Err(bad("order", other, "must be `ascending` or `descending`")),
        };
        Ok(Self { limit, iterator, backwards, descending })
    }

    /// Of a list that goes backwards in time, with what a body says.
    pub(super) fn newest_first(
        limit: Option<u64>,
        iterator: Option<String>,
    ) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_ROWS);
        let rows = usize::try_from(limit).unwrap_or(usize::MAX);
        if rows == 0 || rows > PAGE_ROWS {
            let message = format!("limit is {limit}, but must be between 1 and {PAGE_ROWS}");
            return Err(ApiError::invalid("body", "limit", message));
        }
        Ok(Self { limit: rows, iterator, backwards: false, descending: true })
    }

    /// Reads `limit` alone.
    pub(super) fn limit_of(query: &Query) -> Result<usize, ApiError> {
        let limit = query.number("limit")?.unwrap_or(DEFAULT_ROWS);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit == 0 || limit > PAGE_ROWS {
            let way_out = format!("must be between 1 and {PAGE_ROWS}");
            return Err(bad("limit", &limit.to_string(), &way_out));
        }
        Ok(limit)
    }

    /// The range of ids this page is in. `parse` reads an id's text.
    pub(super) fn range<E>(
        &self,
        parse: impl Fn(&str) -> Result<[u8; ID_BYTES], E>,
    ) -> Result<Range, ApiError> {
        let id = match &self.iterator {
            None => None,
            Some(text) => Some(parse(text).map_err(|_| {
                bad("iterator", text, "must be the `iterator` or `prevIterator` of another page")
            })?),
        };
        let descending = self.descending != self.backwards;
        let (after, before) = if descending { (None, id) } else { (id, None) };
        Ok(Range { after, before, descending, limit: self.limit })
    }

    /// The answer: rows in the list's own order, whichever way they were read.
    pub(super) fn answer<R, T: Serialize>(
        &self,
        mut page: Page<R>,
        id: impl Fn(&R) -> String,
        more_id: impl Fn([u8; ID_BYTES]) -> String,
        out: impl FnMut(R) -> T,
    ) -> ListOut<T> {
        let more = page.more.map(more_id);
        if self.backwards {
            page.rows.reverse();
        }
        let first = page.rows.first().map(&id);
        let last = page.rows.last().map(&id);
        // `more` is usually the last row that was read; when a page looked at its fill of rows
        // without finding enough, it is where that ended.
        let (iterator, prev_iterator) = if self.backwards {
            (last, more.clone())
        } else {
            (more.clone().or(last), self.iterator.as_ref().and(first))
        };
        ListOut {
            data: page.rows.into_iter().map(out).collect(),
            iterator,
            prev_iterator: prev_iterator.map(|id| format!("-{id}")),
            done: more.is_none() && !self.backwards,
        }
    }
}

/// A page on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListOut<T> {
    data: Vec<T>,
    iterator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_iterator: Option<String>,
    done: bool,
}

impl<T> ListOut<T> {
    /// A page of rows that are found by name rather than by id, in the direction they were read.
    pub(super) fn by_name<R>(
        request: &PageRequest,
        mut rows: Vec<R>,
        has_more: bool,
        name: impl Fn(&R) -> String,
        out: impl FnMut(R) -> T,
    ) -> Self {
        if request.backwards {
            rows.reverse();
        }
        let prev = if request.backwards { has_more } else { request.iterator.is_some() };
        Self {
            iterator: rows.last().map(&name),
            prev_iterator: rows.first().filter(|_| prev).map(|row| format!("-{}", name(row))),
            done: !has_more && !request.backwards,
            data: rows.into_iter().map(out).collect(),
        }
    }
}

/// A page cut out of rows that are all at hand, in ascending order of `id`.
pub(super) fn cut<R>(
    request: &PageRequest,
    rows: Vec<R>,
    id: impl Fn(&R) -> [u8; ID_BYTES],
    range: &Range,
) -> Page<R> {
    let inside = |row: &R| {
        let id = id(row);
        range.after.is_none_or(|after| id > after) && range.before.is_none_or(|before| id < before)
    };
    let mut rows: Vec<R> = rows.into_iter().filter(inside).collect();
    if range.descending {
        rows.reverse();
    }
    let has_more = rows.len() > request.limit;
    rows.truncate(request.limit);
    let more = rows.last().map(&id).filter(|_| has_more);
    Page { rows, more }
}
