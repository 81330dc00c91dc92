//! Expiry: what is older than the retention goes, from the front, in small steps.
//!
//! Ids carry their time, so the oldest message of an application is its first row. One step
//! removes at most [`STEP_MESSAGES`] messages with all that hangs on them; the janitor takes steps
//! as long as there is something to remove.

use super::error::Result;
use super::events::Recorded;
use super::idempotency::{BUCKET_MS, KEPT_MS};
use super::trees::Tree;
use super::writer::Writer;
use super::{Store, keys};
use crate::model::clock::Timestamp;
use crate::model::delivery::QueueKey;
use crate::model::id::{AppId, EndpointId, ID_BYTES, MessageId};

/// Messages one step removes.
pub const STEP_MESSAGES: usize = 128;
/// Queue rows of a deleted endpoint, or answers, one step removes.
pub const STEP_ROWS: usize = 1024;

impl Store {
    /// One step for one application. `true` when there may be more to remove. When the application
    /// is deleted, all of it goes.
    pub fn expire_messages(&self, app: AppId) -> Result<bool> {
        let horizon = match self.directory().tenant(app)? {
            Some(_) => self.now().minus(self.shared.retention),
            None => Timestamp(u64::MAX),
        };
        let oldest = self.oldest_messages(app, horizon)?;
        let mut full = oldest.len() == STEP_MESSAGES;
        if !oldest.is_empty() {
            full |= self.write_and_wait(move |writer| {
                writer.reclaim_each(oldest, |writer, id| writer.remove_message(app, id))
            })?;
        }
        Ok(full)
    }

    fn oldest_messages(&self, app: AppId, horizon: Timestamp) -> Result<Vec<MessageId>> {
        let mut found = Vec::new();
        for row in self.shared.trees.tree(Tree::Messages).scan_prefix(app.0).take(STEP_MESSAGES) {
            let (key, _) = row?;
            let Some((_, id)) = keys::split_pair(&key) else { break };
            let id = MessageId(id);
            if id.made_at() >= horizon {
                break;
            }
            found.push(id);
        }
        Ok(found)
    }

    /// One step over payloads that go before their message does.
    pub fn expire_payloads(&self) -> Result<bool> {
        let mut due = Vec::new();
        for row in self.shared.trees.tree(Tree::PayloadExpiry).iter().take(STEP_ROWS) {
            let (key, _) = row?;
            match keys::split_timed(&key) {
                Some((at, app, message)) if at <= self.now() => due.push((key, app, message)),
                _ => break,
            }
        }
        let mut full = due.len() == STEP_ROWS;
        if !due.is_empty() {
            full |= self.write_and_wait(move |writer| {
                writer.reclaim_each(due, |writer, (key, app, message)| {
                    writer.remove(Tree::PayloadExpiry, &key);
                    if writer.message(app, message)?.is_some() {
                        writer.expunge_payload(app, message)?;
                    }
                    Ok(())
                })
            })?;
        }
        Ok(full)
    }

    /// One step over answers that were kept for idempotency keys.
    pub fn expire_answers(&self) -> Result<bool> {
        let oldest_kept = self.now().0.saturating_sub(KEPT_MS) / BUCKET_MS;
        let mut old = Vec::new();
        let end = oldest_kept.to_be_bytes().to_vec();
        for row in self.shared.trees.tree(Tree::Idempotency).range(..end).take(STEP_ROWS) {
            old.push(row?.0);
        }
        let mut full = old.len() == STEP_ROWS;
        if !old.is_empty() {
            full |= self.write_and_wait(move |writer| {
                writer.reclaim_each(old, |writer, key| writer.reclaim(Tree::Idempotency, &key))
            })?;
        }
        Ok(full)
    }

    /// One step over the queue of an endpoint that was deleted. `true` when there is more.
    pub fn drain_deleted(&self, endpoint: EndpointId) -> Result<bool> {
        if self.directory().endpoint(endpoint)?.is_some() {
            return Ok(false);
        }
        let mut rows = Vec::new();
        for row in self.shared.queue(keys::queue_of(endpoint), STEP_ROWS).take(STEP_ROWS) {
            rows.push(row?.0);
        }
        let full = rows.len() == STEP_ROWS;
        if !rows.is_empty() {
            self.write_and_wait(move |writer| {
                rows.iter().for_each(|key| writer.remove(Tree::Queue, key));
                Ok(())
            })?;
        }
        Ok(full)
    }

    /// Endpoints that have queue rows but are deleted.
    pub fn orphaned_queues(&self) -> Result<Vec<EndpointId>> {
        let mut queues = self.shared.fresh.endpoints();
        queues.extend(self.first_ids(Tree::Queue)?.into_iter().map(EndpointId));
        queues.sort_unstable();
        queues.dedup();
        let mut found = Vec::new();
        for id in queues {
            if self.directory().endpoint(id)?.is_none() {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Applications that have messages but are deleted.
    pub fn orphaned_messages(&self) -> Result<Vec<AppId>> {
        let mut found = Vec::new();
        for id in self.first_ids(Tree::Messages)? {
            if self.directory().tenant(AppId(id))?.is_none() {
                found.push(AppId(id));
            }
        }
        Ok(found)
    }

    /// The ids that keys of `tree` begin with, each once: one look-up for each.
    fn first_ids(&self, tree: Tree) -> Result<Vec<[u8; ID_BYTES]>> {
        let mut found = Vec::new();
        let mut from = Vec::new();
        while let Some(row) = self.shared.trees.tree(tree).range(from..).next() {
            let (key, _) = row?;
            let Some(id) = key.first_chunk::<ID_BYTES>() else { break };
            found.push(*id);
            let Some(next) = keys::after_prefix(id) else { break };
            from = next;
        }
        Ok(found)
    }
}

impl Writer<'_> {
    /// Removes one thing after the other. `true` when not all of them fit into a group: some are many
    /// rows, and large ones.
    pub(super) fn reclaim_each<T>(
        &mut self,
        things: Vec<T>,
        remove: impl Fn(&mut Self, T) -> Result<()>,
    ) -> Result<bool> {
        for thing in things {
            if self.is_full() {
                return Ok(true);
            }
            remove(self, thing)?;
        }
        Ok(false)
    }

    /// Removes a message and all that hangs on it, whatever its state.
    fn remove_message(&mut self, app: AppId, id: MessageId) -> Result<()> {
        let Some(message) = self.message(app, id)? else { return Ok(()) };
        // A replay may have added endpoints the message was not scheduled for at first.
        let mut endpoints = message.endpoints.clone();
        let mut attempts = Vec::new();
        for (key, _) in self.scan(Tree::Deliveries, &id.0, usize::MAX)? {
            let Some((_, endpoint)) = keys::split_pair(&key) else { continue };
            endpoints.push(EndpointId(endpoint));
            let delivery = self.delivery(id, EndpointId(endpoint))?;
            attempts.extend(delivery.and_then(|d| Some((endpoint, d.first_attempt?.0))));
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        for endpoint in endpoints {
            if let Some(key) = self.scheduled_key(app, id, endpoint)? {
                self.remove(Tree::Queue, &keys::queue(&key));
                self.events().changed.push(endpoint);
            }
        }
        for (key, endpoint) in self.scan(Tree::AttemptsByMessage, &id.0, usize::MAX)? {
            let pair = keys::split_pair(&key);
            if let (Some((_, attempt)), Ok(endpoint)) = (pair, endpoint.as_ref().try_into()) {
                attempts.push((endpoint, attempt));
            }
            self.remove(Tree::AttemptsByMessage, &key);
        }
        for (endpoint, attempt) in attempts {
            self.reclaim(Tree::Attempts, &keys::pair(&endpoint, &attempt))?;
            self.reclaim_prefix(Tree::Responses, &attempt)?;
        }
        self.reclaim_prefix(Tree::Deliveries, &id.0)?;
        self.reclaim_prefix(Tree::Payloads, &id.0)?;
        self.reclaim_prefix(Tree::MessageEndpoints, &id.0)?;
        if let Some(event_id) = &message.event_id {
            self.remove(Tree::EventIds, &keys::named(&app.0, event_id));
        }
        let expiry = keys::timed(message.payload_expires_at, app, id);
        if self.get(Tree::PayloadExpiry, &expiry)?.is_some() {
            self.remove(Tree::PayloadExpiry, &expiry);
        }
        self.reclaim(Tree::Messages, &keys::message(app, id))
    }

    /// Removes a queue row that leads to no message: a resend that outlived what it was to send.
    pub fn drop_queue_row(&mut self, key: &QueueKey) {
        self.remove(Tree::Queue, &keys::queue(key));
        self.events().recorded.push(Recorded { key: *key, next: None });
    }
}
