//! The checker: re-derives every index by full scan and says what does not fit.
//!
//! Tests call it after every step; `posthaste store check` offers it to the operator.

use super::error::Result;
use super::messages::{Rows as _, assemble};
use super::records::{self, AttemptRecord, DeliveryRecord, MessageRecord, QueueRecord};
use super::trees::Tree;
use super::{Store, keys};
use crate::model::delivery::{QueueKey, State, Trigger};
use crate::model::id::{
    AppId, CaptureId, EndpointId, ID_BYTES, MessageId, OrgId, SourceId, TaskId,
};
use crate::model::task::TaskState;

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
        self.check_tasks(&mut report)?;
        self.check_inbound(&mut report)?;
        self.check_chunks(&mut report)?;
        self.check_ended()?.into_iter().for_each(|fault| report.fault(fault));
        self.check_blobs(&mut report);
        Ok(report)
    }

    fn scan(
        &self,
        tree: Tree,
        report: &mut Report,
        look: impl FnMut(&[u8], &[u8], &mut Report) -> Result<()>,
    ) -> Result<()> {
        let rows = self.shared.trees.tree(tree).iter();
        look_at(tree, rows.map(|row| Ok(row?)), report, look)
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

    /// Every queue row belongs to a message, and a scheduled one to a pending delivery; and what has no
    /// row of its own is in a batch.
    fn check_queue(&self, report: &mut Report) -> Result<()> {
        for fault in super::fresh::faults(&self.shared)? {
            report.fault(fault);
        }
        let rows = self.shared.queue(.., usize::MAX);
        look_at(Tree::Queue, rows, report, |key, value, report| {
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
            match self.delivery(key.message, key.endpoint)?.filter(|_| scheduled) {
                Some(delivery) if delivery.state != State::Pending => {
                    report.fault(format!("queue: {key:?} is scheduled but its delivery has ended"));
                }
                Some(delivery) if delivery.queued_due.is_some_and(|due| due != key.due) => {
                    report.fault(format!("queue: {key:?} is scheduled but its delivery stands in another place: it would be sent twice"));
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Every delivery has its message and its attempts, and a pending one its queue row.
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
            for attempt in [delivery.first_attempt, delivery.last_attempt].into_iter().flatten() {
                if !self.has(Tree::Attempts, &keys::attempt(endpoint, attempt))? {
                    report.fault(format!("delivery of {message} to {endpoint}: its attempt {attempt} is not kept"));
                }
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

    /// No chunk is left of what was removed: those that have an owner are all there are.
    fn check_chunks(&self, report: &mut Report) -> Result<()> {
        let count = |tree, id: &[u8]| self.shared.trees.tree(tree).scan_prefix(id).count();
        let (mut payloads, mut endpoints, mut responses) = (0, 0, 0);
        self.scan(Tree::Messages, report, |key, value, _| {
            let (record, _): (MessageRecord, _) = records::read_with_tail(Tree::Messages, value)?;
            let id = key.get(ID_BYTES..).unwrap_or_default();
            if record.payload_elsewhere > 0 {
                payloads += count(Tree::Payloads, id);
            }
            if record.endpoints_elsewhere > 0 {
                endpoints += count(Tree::MessageEndpoints, id);
            }
            Ok(())
        })?;
        self.scan(Tree::Attempts, report, |key, value, _| {
            let (record, _): (AttemptRecord, _) = records::read_with_tail(Tree::Attempts, value)?;
            if record.response_elsewhere > 0 {
                responses += count(Tree::Responses, key.get(ID_BYTES..).unwrap_or_default());
            }
            Ok(())
        })?;
        for (tree, owned) in [
            (Tree::Payloads, payloads),
            (Tree::MessageEndpoints, endpoints),
            (Tree::Responses, responses),
        ] {
            let left = self.shared.trees.tree(tree).len().saturating_sub(owned);
            if left > 0 {
                report.fault(format!("{}: {left} rows belong to nothing", tree.name()));
            }
        }
        Ok(())
    }

    /// Event ids and moments of expiry lead to messages, health to endpoints.
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
        self.scan(Tree::PayloadExpiry, report, |key, _, report| {
            let message = keys::split_timed(key).map(|(_, app, id)| keys::message(app, id));
            if message.is_none_or(|key| !matches!(self.has(Tree::Messages, &key), Ok(true))) {
                report.fault("payload_expiry: a row leads to no message".to_owned());
            }
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

    /// Tasks that run, and no others, are in the list of those that do.
    fn check_tasks(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::TasksRunning, report, |key, org, report| {
            let (id, org) = (key.try_into().map(TaskId), org.try_into().map(OrgId));
            if let (Ok(id), Ok(org)) = (id, org)
                && self.task(org, id)?.is_some_and(|task| task.state == TaskState::Running)
            {
                return Ok(());
            }
            report.fault("tasks_running: a row leads to no running task".to_owned());
            Ok(())
        })?;
        self.scan(Tree::Tasks, report, |key, _, report| {
            let Some((org, id)) = keys::split_pair(key) else {
                report.fault("tasks: a key has the wrong length".to_owned());
                return Ok(());
            };
            let task = self.task(OrgId(org), TaskId(id))?;
            if task.is_some_and(|task| task.state == TaskState::Running)
                && !self.has(Tree::TasksRunning, &id)?
            {
                let id = TaskId(id);
                report.fault(format!("task {id} runs but is not listed: nobody would step it"));
            }
            Ok(())
        })
    }

    /// Every source, what was seen and what was refused can be read; a source has its application,
    /// a refused request all of its bytes.
    fn check_inbound(&self, report: &mut Report) -> Result<()> {
        self.scan(Tree::Sources, report, |key, _, report| {
            let id = keys::split_pair(key).map(|(_, id)| SourceId(id));
            let source = id.and_then(|id| self.directory().source(id).ok().flatten());
            let Some(source) = source else {
                report.fault("sources: a row leads to no source".to_owned());
                return Ok(());
            };
            if self.directory().tenant(source.app)?.is_none() {
                report.fault(format!("source {} has no application", source.id));
            }
            Ok(())
        })?;
        self.scan(Tree::Seen, report, |key, value, _| super::sources::check_seen(key, value))?;
        self.scan(Tree::Refused, report, |key, _, report| {
            let Some((source, id)) = keys::split_pair(key) else {
                report.fault("refused: a key has the wrong length".to_owned());
                return Ok(());
            };
            let (source, id) = (SourceId(source), CaptureId(id));
            if self.refused_request(source, id)?.is_none() {
                report.fault(format!("refused request {id} of {source} has lost bytes"));
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
        Ok(self.row(tree, key)?.is_some())
    }
}

fn look_at(
    tree: Tree,
    rows: impl Iterator<Item = Result<(sled::IVec, sled::IVec)>>,
    report: &mut Report,
    mut look: impl FnMut(&[u8], &[u8], &mut Report) -> Result<()>,
) -> Result<()> {
    for row in rows {
        let (key, value) = row?;
        if let Err(err) = look(&key, &value, report) {
            report.fault(format!("{}: {err}", tree.name()));
        }
    }
    Ok(())
}
