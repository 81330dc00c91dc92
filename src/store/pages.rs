//! Lists, a page at a time, by key. No offsets, no totals by scan: the work of one page is bounded
//! by [`PAGE_SCAN`], [`PAGE_TIME`] and [`PAGE_BYTES`], so a page may come back short, or empty, with more
//! behind it.

use std::ops::Bound;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::messages::{Payload, Rows as _, assemble};
use super::records::{self, AttemptRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::attempt::Attempt;
use crate::model::delivery::Delivery;
use crate::model::id::{AppId, AttemptId, EndpointId, ID_BYTES, MessageId};
use crate::model::message::Message;

/// Rows that are looked at for one page.
pub const PAGE_SCAN: usize = 5_000;
/// A page that has passed rows over for so long ends where it is: what a row costs depends on its
/// size, on what it is asked, and on whether it is at hand.
pub const PAGE_TIME: Duration = Duration::from_millis(8);
/// Bytes of payload on a page; the row that goes past it is the last.
pub const PAGE_BYTES: usize = 4 << 20;
/// Rows that are passed over between two looks at the clock.
const CLOCK_ROWS: usize = 16;

/// Where a page begins and which way it goes. The bounds are ids of the listed kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Only ids greater than this.
    pub after: Option<[u8; ID_BYTES]>,
    /// Only ids less than this.
    pub before: Option<[u8; ID_BYTES]>,
    /// From the greatest down (newest first) rather than from the least up.
    pub descending: bool,
    /// Rows on the page.
    pub limit: usize,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in the order asked for.
    pub rows: Vec<T>,
    /// The id the next page goes on from; `None` when this was the last.
    pub more: Option<[u8; ID_BYTES]>,
}

/// Whether a page that has passed over so many rows ends where it is.
fn is_late(passed: usize, begun: Instant) -> bool {
    passed % CLOCK_ROWS == CLOCK_ROWS - 1 && begun.elapsed() >= PAGE_TIME
}

impl Store {
    /// Walks keys `prefix ‖ id` in `range`. `keep` turns a row into what is listed, or passes it
    /// over.
    pub(super) fn page<T>(
        &self,
        tree: Tree,
        prefix: &[u8; ID_BYTES],
        range: &Range,
        keep: impl FnMut([u8; ID_BYTES], &[u8]) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        self.weighed_page(tree, prefix, range, |_| 0, keep)
    }

    /// The same, of rows that are as many bytes as `weigh` says.
    fn weighed_page<T>(
        &self,
        tree: Tree,
        prefix: &[u8; ID_BYTES],
        range: &Range,
        weigh: impl Fn(&T) -> usize,
        mut keep: impl FnMut([u8; ID_BYTES], &[u8]) -> Result<Option<T>>,
    ) -> Result<Page<T>> {
        let start = match range.after {
            Some(id) => Bound::Excluded(keys::pair(prefix, &id)),
            None => Bound::Included(keys::pair(prefix, &[0; ID_BYTES])),
        };
        let end = match range.before {
            Some(id) => Bound::Excluded(keys::pair(prefix, &id)),
            None => Bound::Included(keys::pair(prefix, &[255; ID_BYTES])),
        };
        let mut page = Page { rows: Vec::with_capacity(range.limit.min(64)), more: None };
        if let (Some(after), Some(before)) = (range.after, range.before)
            && after >= before
        {
            return Ok(page);
        }
        let iter = self.shared.trees.tree(tree).range((start, end));
        let rows: Box<dyn Iterator<Item = _>> =
            if range.descending { Box::new(iter.rev()) } else { Box::new(iter) };
        let (mut last, mut passed, mut bytes) = (None, 0_usize, 0_usize);
        let begun = Instant::now();
        for (seen, row) in rows.enumerate() {
            if seen >= PAGE_SCAN || is_late(passed, begun) {
                page.more = last;
                break;
            }
            let (key, value) = row?;
            let (_, id) = keys::split_pair(&key)
                .ok_or_else(|| Error::corrupt(tree.name(), "a key has the wrong length"))?;
            let Some(kept) = keep(id, &value)? else {
                last = Some(id);
                passed += 1;
                continue;
            };
            if page.rows.len() >= range.limit || bytes >= PAGE_BYTES {
                // There is more only if there is a row to show: the last page has to say so.
                page.more = last;
                break;
            }
            last = Some(id);
            bytes += weigh(&kept);
            page.rows.push(kept);
        }
        Ok(page)
    }

    /// Messages of an application that `wanted` lets through.
    pub fn page_of_messages(
        &self,
        app: AppId,
        range: &Range,
        with_payload: bool,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Page<(Message, Payload)>> {
        let weigh = |(_, payload): &(Message, Payload)| payload.bytes();
        self.weighed_page(Tree::Messages, &app.0, range, weigh, |id, row| {
            let (message, _) = assemble(self, app, MessageId(id), row, false)?;
            if !wanted(&message) {
                return Ok(None);
            }
            assemble(self, app, MessageId(id), row, with_payload).map(Some)
        })
    }

    /// Messages of an application, each with what `wanted` found for it; those it found nothing for
    /// are passed over.
    pub fn page_of_messages_where<X>(
        &self,
        app: AppId,
        range: &Range,
        with_payload: bool,
        wanted: impl Fn(&Message) -> Result<Option<X>>,
    ) -> Result<Page<(Message, Payload, X)>> {
        let weigh = |(_, payload, _): &(Message, Payload, X)| payload.bytes();
        self.weighed_page(Tree::Messages, &app.0, range, weigh, |id, row| {
            let (message, _) = assemble(self, app, MessageId(id), row, false)?;
            let Some(found) = wanted(&message)? else { return Ok(None) };
            let (message, payload) = assemble(self, app, MessageId(id), row, with_payload)?;
            Ok(Some((message, payload, found)))
        })
    }

    /// Attempts made for an endpoint that `wanted` lets through.
    pub fn page_of_attempts_of_endpoint(
        &self,
        endpoint: EndpointId,
        range: &Range,
        wanted: impl Fn(&Attempt) -> Result<bool>,
    ) -> Result<Page<Attempt>> {
        self.page(Tree::Attempts, &endpoint.0, range, |id, row| {
            let attempt = self.read_attempt(endpoint, AttemptId(id), row)?;
            Ok(wanted(&attempt)?.then_some(attempt))
        })
    }

    /// Attempts made for a message that `wanted` lets through.
    pub fn page_of_attempts_of_message(
        &self,
        message: MessageId,
        range: &Range,
        wanted: impl Fn(&Attempt) -> Result<bool>,
    ) -> Result<Page<Attempt>> {
        let mut found = self.attempts_of_message(message)?;
        found.retain(|(id, _)| {
            range.after.is_none_or(|after| id.0 > after)
                && range.before.is_none_or(|before| id.0 < before)
        });
        if range.descending {
            found.reverse();
        }
        let mut page = Page { rows: Vec::new(), more: None };
        let (mut last, mut passed) = (None, 0_usize);
        let begun = Instant::now();
        for (id, endpoint) in found {
            if is_late(passed, begun) {
                page.more = last;
                break;
            }
            // It may just have been removed with its message: then it is not listed.
            let Some(attempt) = self.attempt(endpoint, id)? else { continue };
            if !wanted(&attempt)? {
                last = Some(id.0);
                passed += 1;
                continue;
            }
            if page.rows.len() >= range.limit {
                page.more = last;
                break;
            }
            last = Some(id.0);
            page.rows.push(attempt);
        }
        Ok(page)
    }

    /// Every attempt made for a message and the endpoint it went to, oldest first. As many as its
    /// endpoints have tries: thousands at the most.
    fn attempts_of_message(&self, message: MessageId) -> Result<Vec<(AttemptId, EndpointId)>> {
        let firsts = self.deliveries_of_message(message)?.into_iter();
        let mut found: Vec<_> =
            firsts.filter_map(|d| Some((d.first_attempt?, d.endpoint))).collect();
        for row in self.shared.trees.tree(Tree::AttemptsByMessage).scan_prefix(message.0) {
            let (key, endpoint) = row?;
            let damaged = || Error::corrupt("attempts_by_message", "not two ids and an endpoint");
            let (_, id) = keys::split_pair(&key).ok_or_else(damaged)?;
            let endpoint = endpoint.as_ref().try_into().map_err(|_| damaged())?;
            found.push((AttemptId(id), EndpointId(endpoint)));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Deliveries of a message whose rows are written, by endpoint.
    pub fn deliveries_of_message(&self, message: MessageId) -> Result<Vec<Delivery>> {
        let mut found = Vec::new();
        for row in self.shared.trees.tree(Tree::Deliveries).scan_prefix(message.0) {
            let (key, value) = row?;
            let (_, endpoint) = keys::split_pair(&key)
                .ok_or_else(|| Error::corrupt("deliveries", "a key has the wrong length"))?;
            let record: records::DeliveryRecord = records::read(Tree::Deliveries, &value)?;
            found.push(record.into_domain(message, EndpointId(endpoint))?);
        }
        Ok(found)
    }

    /// One attempt.
    pub fn attempt(&self, endpoint: EndpointId, id: AttemptId) -> Result<Option<Attempt>> {
        match self.row(Tree::Attempts, &keys::attempt(endpoint, id))? {
            Some(row) => self.read_attempt(endpoint, id, &row).map(Some),
            None => Ok(None),
        }
    }

    /// One attempt of a message, whatever its endpoint.
    pub fn attempt_of_message(&self, message: MessageId, id: AttemptId) -> Result<Option<Attempt>> {
        let found = self.attempts_of_message(message)?.into_iter().find(|(other, _)| *other == id);
        match found {
            Some((_, endpoint)) => self.attempt(endpoint, id),
            None => Ok(None),
        }
    }

    fn read_attempt(&self, endpoint: EndpointId, id: AttemptId, row: &[u8]) -> Result<Attempt> {
        let (record, tail): (AttemptRecord, _) = records::read_with_tail(Tree::Attempts, row)?;
        let response = match record.response_elsewhere {
            0 => tail.to_vec(),
            length => self.response_chunks(&id.0, length as usize)?,
        };
        record.into_domain(endpoint, id, response)
    }
}
