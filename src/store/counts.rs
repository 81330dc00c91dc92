//! Counting what was done for an endpoint. The work grows with what is counted: callers do it on
//! a thread that may take its time.

use std::ops::Bound;

use super::error::Result;
use super::records::{self, AttemptRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::clock::Timestamp;
use crate::model::id::{AttemptId, EndpointId, first_at};

/// What was done for an endpoint in a span of time, and what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointCounts {
    /// Attempts a 2xx came back for.
    pub succeeded: u64,
    /// The other attempts.
    pub failed: u64,
    /// Deliveries that wait in its queue now.
    pub waiting: u64,
}

impl Store {
    /// Counts the attempts recorded from `since` to before `until`, and the rows of the queue.
    pub fn count_endpoint(
        &self,
        endpoint: EndpointId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<EndpointCounts> {
        let mut counts = EndpointCounts::default();
        let key = |at| keys::attempt(endpoint, AttemptId(first_at(at)));
        let span = (Bound::Included(key(since)), Bound::Excluded(key(until.max(since))));
        for row in self.shared.trees.tree(Tree::Attempts).range(span) {
            let (record, _): (AttemptRecord, _) = records::read_with_tail(Tree::Attempts, &row?.1)?;
            if record.succeeded {
                counts.succeeded += 1;
            } else {
                counts.failed += 1;
            }
        }
        for row in self.shared.queue(keys::queue_of(endpoint), usize::MAX) {
            row?;
            counts.waiting += 1;
        }
        Ok(counts)
    }
}
