//! The checker: re-derives every index by full scan and says what does not fit.
//!
//! Tests call it after every step; `posthaste store check` offers it to the operator.

use super::error::Result;
use super::messages::assemble;
use super::records::{self, AttemptRecord, DeliveryRecord, QueueRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::delivery::{QueueKey, State, Trigger};
use crate::model::id::{AppId, EndpointId, MessageId};

/// What a check found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Rows looked at, by tree.
    pub rows: Vec<(&'static str, usize)>,
    /// What does not fit, in words; at most [`MAX_FAULTS`].
    pub faults: Vec<String>,
}

/// Faults that are listed; a store with more is damaged enough.
pub const MAX_FAULTS: usize = 100;

impl Report {
    fn fault(&mut self, text: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Store {
    /// Reads everything and checks it against everything else. Reads only.
    pub fn check(&self) -> Result<Report> {
        let mut report = Report::default();
        for tree in Tree::ALL {
            report.rows.push((tree.name(), self.shared.trees.tree(*tree).len()));
        }
        self.check_messages(&mut report)?;
        self.check_queue(&mut report)?;
        self.check_deliveries(&mut report)?;
        self.check_attempts(&mut report)?;
        self.check_indexes(&mut report)?;
        self.check_blobs(&mut report);
        Ok(report)
    }

    fn scan(
        &self,
        tree: Tree,
        report: &mut Report,
        mut look: impl FnMut(&[u8], &[u8], &mut Report) -> Result<()>,
    ) -> Result<()> {
        for row in self.shared.trees.tree(tree) {
            let (key, value) = row?;
            if let Err(err) = look(&key, &value, report) {
                report.fault(format!("{}: {err}", tree.name()));
            }
        }
        Ok(())
    }

    /// Every message can be read whole, and each of its deliveries is queued or has a row.
    fn check_messages(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::Messages, report, |key, value, report| {
            let Some((app, id)) = keys::split_pair(key) else {
                report.fault("messages: a key has the wrong length".to_owned());
                return Ok(());
            };
            let (app, id) = (AppId(app), MessageId(id));
            let (message, _) = assemble(self, app, id, value, true)?;
            for endpoint in &message.endpoints {
                let due = super::accept::first_due(&message);
                let first = QueueKey { endpoint: *endpoint, due, message: id };
                let queued = self.has(Tree::Queue, &keys::queue(&first))?;
                let recorded = self.delivery(id, *endpoint)?.is_some();
                let deleted = self.directory().endpoint(*endpoint)?.is_none();
                if !queued && !recorded && !deleted {
                    report.fault(format!("message {id} to {endpoint} is neither queued nor recorded: it would never be sent"));
                }
            }
            if let Some(event_id) = &message.event_id
                && self.message_of_event(app, event_id)? != Some(id)
            {
                report.fault(format!("message {id}: its eventId {event_id:?} does not lead to it"));
            }
            Ok(())
        })
    }

    /// Every queue row belongs to a message, and a scheduled one to a pending delivery.
    fn check_queue(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::Queue, report, |key, value, report| {
            let Some(key) = keys::split_queue(key) else {
                report.fault("queue: a key has the wrong length".to_owned());
                return Ok(());
            };
            let record: QueueRecord = records::read(Tree::Queue, value)?;
            let trigger = records::trigger(record.trigger, Tree::Queue)?;
            let Some(endpoint) = self.directory().endpoint(key.endpoint)? else {
                return Ok(()); // The janitor has not come by yet.
            };
            // A resend may outlive its message; the scheduler drops it when it is due.
            let scheduled = trigger == Trigger::Scheduled;
            if scheduled && !self.has(Tree::Messages, &keys::message(endpoint.app, key.message))? {
                report.fault(format!("queue: {key:?} has no message"));
            }
            let delivery = self.delivery(key.message, key.endpoint)?;
            if scheduled && delivery.is_some_and(|d| d.state != State::Pending) {
                report.fault(format!("queue: {key:?} is scheduled but its delivery has ended"));
            }
            Ok(())
        })
    }

    /// Every delivery has its message, and a pending one its queue row.
    fn check_deliveries(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::Deliveries, report, |key, value, report| {
            let Some((message, endpoint)) = keys::split_pair(key) else {
                report.fault("deliveries: a key has the wrong length".to_owned());
                return Ok(());
            };
            let (message, endpoint) = (MessageId(message), EndpointId(endpoint));
            let record: DeliveryRecord = records::read(Tree::Deliveries, value)?;
            let delivery = record.into_domain(message, endpoint)?;
            let Some(found) = self.directory().endpoint(endpoint)? else { return Ok(()) };
            if !self.has(Tree::Messages, &keys::message(found.app, message))? {
                report.fault(format!("delivery of {message} to {endpoint} has no message"));
            }
            if let (State::Pending, Some(due)) = (delivery.state, delivery.queued_due)
                && !self.has(Tree::Queue, &keys::queue(&QueueKey { endpoint, due, message }))?
            {
                report.fault(format!("delivery of {message} to {endpoint} is pending but not queued: it would never be sent"));
            }
            Ok(())
        })
    }

    /// Every attempt is found by its message, and the other way round.
    fn check_attempts(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::Attempts, report, |key, value, report| {
            let Some((endpoint, attempt)) = keys::split_pair(key) else {
                report.fault("attempts: a key has the wrong length".to_owned());
                return Ok(());
            };
            let (record, tail): (AttemptRecord, _) =
                records::read_with_tail(Tree::Attempts, value)?;
            let elsewhere = record.response_elsewhere as usize;
            if elsewhere > 0 && tail.is_empty() {
                self.response_chunks(&attempt, elsewhere)?;
            }
            let id = crate::model::id::AttemptId(attempt);
            let found = record.into_domain(EndpointId(endpoint), id, Vec::new())?;
            if let Some(endpoint) = self.directory().endpoint(found.endpoint)?
                && !self.has(Tree::Messages, &keys::message(endpoint.app, found.message))?
            {
                report.fault(format!("attempt {id} has no message: nothing would remove it"));
            }
            let index = keys::attempt_of_message(found.message, id);
            let is_first = self
                .delivery(found.message, found.endpoint)?
                .is_some_and(|delivery| delivery.first_attempt == Some(id));
            if is_first == self.has(Tree::AttemptsByMessage, &index)? {
                report.fault(format!("attempt {id} is not found by its message, or twice"));
            }
            Ok(())
        })?;
        self.scan(Tree::AttemptsByMessage, report, |key, value, report| {
            let attempt = keys::split_pair(key).map(|(_, attempt)| attempt);
            let endpoint = value.try_into().ok();
            if let (Some(attempt), Some(endpoint)) = (attempt, endpoint)
                && self.has(Tree::Attempts, &keys::pair(&endpoint, &attempt))?
            {
                return Ok(());
            }
            report.fault("attempts_by_message: a row leads to no attempt".to_owned());
            Ok(())
        })
    }

    /// Event ids and payload chunks lead to messages.
    fn check_indexes(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::EventIds, report, |key, value, report| {
            let app = key.first_chunk::<20>();
            let id: Option<[u8; 20]> = value.try_into().ok();
            if let (Some(app), Some(id)) = (app, id)
                && self.has(Tree::Messages, &keys::pair(app, &id))?
            {
                return Ok(());
            }
            report.fault("event_ids: a row leads to no message".to_owned());
            Ok(())
        })?;
        self.scan(Tree::EndpointHealth, report, |key, _, report| {
            let id: Option<[u8; 20]> = key.try_into().ok();
            if id.is_none_or(|id| !matches!(self.directory().endpoint(EndpointId(id)), Ok(Some(_))))
            {
                report.fault("endpoint_health: a row leads to no endpoint".to_owned());
            }
            Ok(())
        })
    }

    /// sled keeps pages that outgrow it in files it neither syncs nor cleans: there must be none.
    fn check_blobs(&self, report: &mut Report) {
        let blobs = std::fs::read_dir(self.path().join("blobs"));
        let count = blobs.map_or(0, Iterator::count);
        if count > 0 {
            report.fault(format!("blobs/ holds {count} files: a value grew past a page"));
        }
    }

    fn has(&self, tree: Tree, key: &[u8]) -> Result<bool> {
        Ok(self.shared.trees.tree(tree).contains_key(key)?)
    }
}
