//! Counting attempts: by event type over an application, by a filter over an endpoint. The work
//! grows with what is counted: callers do it on a thread that may take its time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::error::{Error, Result};
use super::messages::assemble;
use super::pages::Range;
use super::records::{self, AttemptRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::attempt::Attempt;
use crate::model::clock::Timestamp;
use crate::model::delivery::State;
use crate::model::id::{AppId, AttemptId, EndpointId, ID_BYTES, MessageId, first_at};

/// Attempts that are looked at for one count; past it the count is a lower bound.
pub const COUNT_SCAN: usize = 200_000;
/// Event types of messages that are remembered while counting.
const REMEMBERED: usize = 10_000;

/// What came of messages of one event type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeCounts {
    /// Attempts a 2xx came back for.
    pub succeeded: u64,
    /// The other attempts.
    pub failed: u64,
    /// Deliveries given up before their schedule ended.
    pub cancelled: u64,
}

impl Store {
    /// Attempts recorded from `since` to before `until` for the application's endpoints, and
    /// cancelled deliveries of messages accepted in that time, by event type.
    pub fn count_by_event_type(
        &self,
        app: AppId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<BTreeMap<String, TypeCounts>> {
        let tenant = self.directory().tenant(app)?.ok_or(Error::NotFound("application"))?;
        let mut counts: BTreeMap<String, TypeCounts> = BTreeMap::new();
        let mut types: HashMap<MessageId, String> = HashMap::new();
        for endpoint in tenant.endpoints.keys() {
            let key = |at| keys::attempt(*endpoint, AttemptId(first_at(at)));
            let span = (Bound::Included(key(since)), Bound::Excluded(key(until.max(since))));
            for row in self.shared.trees.tree(Tree::Attempts).range(span) {
                let (record, _): (AttemptRecord, _) =
                    records::read_with_tail(Tree::Attempts, &row?.1)?;
                let Some(event_type) = self.event_type_of(app, record.message_id(), &mut types)?
                else {
                    continue;
                };
                let of_type = counts.entry(event_type).or_default();
                if record.succeeded {
                    of_type.succeeded += 1;
                } else {
                    of_type.failed += 1;
                }
            }
        }
        self.count_cancelled(app, since, until, &mut counts)?;
        Ok(counts)
    }

    fn event_type_of(
        &self,
        app: AppId,
        id: MessageId,
        known: &mut HashMap<MessageId, String>,
    ) -> Result<Option<String>> {
        if let Some(found) = known.get(&id) {
            return Ok(Some(found.clone()));
        }
        let Some(row) = self.shared.trees.tree(Tree::Messages).get(keys::message(app, id))? else {
            return Ok(None);
        };
        let (message, _) = assemble(self, app, id, &row, false)?;
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id, message.event_type.clone());
        Ok(Some(message.event_type))
    }

    fn count_cancelled(
        &self,
        app: AppId,
        since: Timestamp,
        until: Timestamp,
        counts: &mut BTreeMap<String, TypeCounts>,
    ) -> Result<()> {
        let key = |at| keys::message(app, MessageId(first_at(at)));
        let span = (Bound::Included(key(since)), Bound::Excluded(key(until.max(since))));
        for row in self.shared.trees.tree(Tree::Messages).range(span) {
            let (key, value) = row?;
            let damaged = || Error::corrupt("messages", "a key has the wrong length");
            let (_, id) = keys::split_pair(&key).ok_or_else(damaged)?;
            let deliveries = self.deliveries_of_message(MessageId(id))?;
            let cancelled = deliveries.iter().filter(|d| d.state == State::Cancelled).count();
            if cancelled > 0 {
                let (message, _) = assemble(self, app, MessageId(id), &value, false)?;
                counts.entry(message.event_type).or_default().cancelled += cancelled as u64;
            }
        }
        Ok(())
    }

    /// Deliveries to an endpoint that were given up, of messages accepted from `since` to before
    /// `until`.
    pub fn count_cancelled_for(
        &self,
        app: AppId,
        endpoint: EndpointId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<u64> {
        let key = |at| keys::message(app, MessageId(first_at(at)));
        let span = (Bound::Included(key(since)), Bound::Excluded(key(until.max(since))));
        let mut count = 0;
        for row in self.shared.trees.tree(Tree::Messages).range(span).keys() {
            let damaged = || Error::corrupt("messages", "a key has the wrong length");
            let (_, id) = keys::split_pair(&row?).ok_or_else(damaged)?;
            let delivery = self.delivery(MessageId(id), endpoint)?;
            count += u64::from(delivery.is_some_and(|d| d.state == State::Cancelled));
        }
        Ok(count)
    }

    /// Counts the attempts for an endpoint in `range` that `wanted` lets through. The flag says
    /// that there were more than [`COUNT_SCAN`] to look at: then the count is a lower bound.
    pub fn count_attempts(
        &self,
        endpoint: EndpointId,
        range: &Range,
        mut wanted: impl FnMut(&Attempt) -> Result<bool>,
    ) -> Result<(u64, bool)> {
        let start = range.after.map_or([0; ID_BYTES], |id| id);
        let end = range.before.map_or([255; ID_BYTES], |id| id);
        if start >= end {
            return Ok((0, false));
        }
        let key = |id| keys::attempt(endpoint, AttemptId(id));
        let mut count = 0;
        let rows = self.shared.trees.tree(Tree::Attempts).range(key(start)..key(end));
        for (seen, row) in rows.enumerate() {
            if seen >= COUNT_SCAN {
                return Ok((count, true));
            }
            let (raw, value) = row?;
            let damaged = || Error::corrupt("attempts", "a key has the wrong length");
            let (_, id) = keys::split_pair(&raw).ok_or_else(damaged)?;
            let (record, _): (AttemptRecord, _) = records::read_with_tail(Tree::Attempts, &value)?;
            let attempt = record.into_domain(endpoint, AttemptId(id), Vec::new())?;
            count += u64::from(wanted(&attempt)?);
        }
        Ok((count, false))
    }
}
