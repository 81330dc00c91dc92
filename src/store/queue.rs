//! The endpoints' queues, as the scheduler reads them.
//!
//! One durable queue per endpoint, ordered by due time. The scheduler keeps only the head of each
//! in memory, so a million waiting deliveries cost nothing.

use std::collections::HashSet;

use super::error::{Error, Result};
use super::records::{self, QueueRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow};
use crate::model::id::EndpointId;

/// Rows of a queue that may be tried, and when the next one after them may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Due rows, in order.
    pub rows: Vec<QueueRow>,
    /// When the first row that is not in `rows` may be tried; `None` when there is none.
    pub next: Option<Timestamp>,
}

impl Store {
    /// Up to `limit` rows of an endpoint's queue that may be tried at `now` and are not `held`.
    /// `ordered`: a row that has to wait makes all behind it wait.
    pub fn queue_head(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        held: &HashSet<QueueKey>,
        ordered: bool,
        limit: usize,
    ) -> Result<Head> {
        let mut found = Head { rows: Vec::new(), next: None };
        let fresh = limit.saturating_add(held.len()).saturating_add(1);
        for row in self.shared.queue(keys::queue_of(endpoint), fresh) {
            let (key, value) = row?;
            let key = keys::split_queue(&key)
                .ok_or_else(|| Error::corrupt("queue", "a key has the wrong length"))?;
            if held.contains(&key) {
                continue;
            }
            let record: QueueRecord = records::read(Tree::Queue, &value)?;
            let row = record.into_domain(key)?;
            let may = key.due.max(row.not_before);
            if may <= now && found.rows.len() < limit {
                found.rows.push(row);
                continue;
            }
            found.next = Some(found.next.map_or(may, |next| next.min(may)));
            if ordered || key.due > now || found.rows.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// When an endpoint's queue has to be looked at first; `None` when it is empty.
    pub fn queue_first(&self, endpoint: EndpointId, ordered: bool) -> Result<Option<Timestamp>> {
        if ordered {
            return Ok(self.queue_head(endpoint, Timestamp(0), &HashSet::new(), true, 0)?.next);
        }
        // The first row may have kept its place from when the endpoint was an ordered one, and
        // have to wait longer than those behind it: none of them is due before its place says.
        let first = self.shared.queue(keys::queue_of(endpoint), 1).next().transpose()?;
        let key = first.map(|(key, _)| keys::split_queue(&key));
        let damaged = || Error::corrupt("queue", "a key has the wrong length");
        key.map(|key| key.map(|key| key.due).ok_or_else(damaged)).transpose()
    }

    /// Rows in all queues, by a full scan: for tests and the command line.
    pub fn queue_length(&self) -> usize {
        self.shared.queue(.., usize::MAX).count()
    }
}
