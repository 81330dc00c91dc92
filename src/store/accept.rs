//! Accepting a message: it and every delivery it causes become durable in one commit.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::error::{Error, Result};
use super::events::Accepted;
use super::records::{MessageRecord, QueueRecord};
use super::trees::{ROW_BYTES, Tree};
use super::writer::Writer;
use super::{codec, keys};
use crate::model::clock::Timestamp;
use crate::model::delivery::{Delivery, QueueKey, QueueRow};
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::{AppId, EndpointId, ID_BYTES, MessageId};
use crate::model::message::{Message, NewMessage};

/// Bytes of one chunk of a payload, or of a response, that does not fit into its own row.
pub(super) const CHUNK_BYTES: usize = ROW_BYTES;
/// Endpoints in a message's header; more go into rows of their own. So many leave a header well
/// below [`ROW_BYTES`], whatever else is in it.
pub(super) const HEADER_ENDPOINTS: usize = 64;
/// Endpoints in one of those rows.
pub(super) const ENDPOINTS_PER_ROW: usize = ROW_BYTES / ID_BYTES;

impl Writer<'_> {
    /// Accepts a message for `app`: matches it, gives it an id, and stages it with every delivery
    /// it causes. It is accepted once the group is on disk, not before.
    ///
    /// Errors: no such application, `event_id` taken, no room on the disk.
    pub fn accept(&mut self, app: AppId, new: NewMessage) -> Result<Arc<Message>> {
        let tenant = self.shared().directory.tenant(app)?.ok_or(Error::NotFound("application"))?;
        let endpoints: Vec<SharedEndpoint> = tenant
            .matcher()
            .matches(&new.event_type, &new.channels)
            .into_iter()
            .map(Arc::clone)
            .collect();
        self.accept_to(app, endpoints, new, Vec::new())
    }

    /// Like [`Writer::accept`], with the headers that the event came with.
    pub(super) fn accept_with_headers(
        &mut self,
        app: AppId,
        new: NewMessage,
        headers: Vec<(String, String)>,
    ) -> Result<Arc<Message>> {
        let tenant = self.shared().directory.tenant(app)?.ok_or(Error::NotFound("application"))?;
        let endpoints = tenant.matcher().matches(&new.event_type, &new.channels);
        let endpoints = endpoints.into_iter().map(Arc::clone).collect();
        self.accept_to(app, endpoints, new, headers)
    }

    /// Accepts a message for one endpoint alone, whatever that subscribes to.
    ///
    /// Errors: as [`Writer::accept`], and no such endpoint.
    pub fn accept_for(
        &mut self,
        app: AppId,
        endpoint: EndpointId,
        new: NewMessage,
    ) -> Result<Arc<Message>> {
        let found = self.shared().directory.endpoint(endpoint)?.filter(|e| e.app == app);
        self.accept_to(app, vec![found.ok_or(Error::NotFound("endpoint"))?], new, Vec::new())
    }

    fn accept_to(
        &mut self,
        app: AppId,
        endpoints: Vec<SharedEndpoint>,
        new: NewMessage,
        headers: Vec<(String, String)>,
    ) -> Result<Arc<Message>> {
        if let Some(event_id) = &new.event_id {
            self.take_event_id(app, event_id)?;
        }
        let shared = self.shared();
        let room = shared.space.check_for(new.payload.len());
        room.inspect_err(|_| shared.counters.refused_for_room.add(1))?;
        let id = MessageId(self.new_id());
        if let Some(event_id) = &new.event_id {
            self.put(Tree::EventIds, &keys::named(&app.0, event_id), &id.0);
        }
        let payload = new.payload.clone();
        let message = self.new_message(app, id, new, &endpoints);
        let message = Arc::new(Message { headers, ..message });
        self.put_message(&message, &payload);
        let deliveries = self.schedule(&message, endpoints)?;
        self.events().accepted.push(Accepted {
            message: Arc::clone(&message),
            payload,
            deliveries,
        });
        Ok(message)
    }

    fn take_event_id(&self, app: AppId, event_id: &str) -> Result<()> {
        match self.get(Tree::EventIds, &keys::named(&app.0, event_id))? {
            None => Ok(()),
            Some(_) => Err(Error::Conflict { field: "eventId", value: event_id.to_owned() }),
        }
    }

    fn new_message(
        &self,
        app: AppId,
        id: MessageId,
        new: NewMessage,
        to: &[SharedEndpoint],
    ) -> Message {
        let now = self.now();
        let hours = |h: u32| Duration::from_secs(u64::from(h) * 3600);
        let kept = self.shared().retention;
        let kept = new.payload_retention_hours.map_or(kept, |h| hours(h).min(kept));
        Message {
            id,
            app,
            event_type: new.event_type,
            event_id: new.event_id,
            channels: new.channels,
            tags: new.tags,
            created_at: now,
            deliver_at: new.deliver_at,
            payload_expires_at: now.plus(kept),
            payload_gone: false,
            content_type: new.content_type,
            headers: Vec::new(),
            endpoints: to.iter().map(|e| e.id).collect(),
        }
    }

    fn put_message(&mut self, message: &Message, payload: &[u8]) {
        let mut row = codec::encode(&message_record(message, 0));
        if row.len() + payload.len() <= ROW_BYTES {
            row.extend_from_slice(payload);
        } else {
            let elsewhere = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            row = codec::encode(&message_record(message, elsewhere));
            for (n, chunk) in (0u16..).zip(payload.chunks(CHUNK_BYTES)) {
                self.put(Tree::Payloads, &keys::chunk(&message.id.0, n), chunk);
            }
        }
        if message.endpoints.len() > HEADER_ENDPOINTS {
            for (n, ids) in (0u16..).zip(message.endpoints.chunks(ENDPOINTS_PER_ROW)) {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
                self.put(Tree::MessageEndpoints, &keys::chunk(&message.id.0, n), bytes);
            }
        }
        if message.payload_expires_at < message.created_at.plus(self.shared().retention) {
            let key = keys::timed(message.payload_expires_at, message.app, message.id);
            self.put(Tree::PayloadExpiry, &key, &[]);
        }
        self.put(Tree::Messages, &keys::message(message.app, message.id), row);
    }

    fn schedule(
        &mut self,
        message: &Message,
        endpoints: Vec<SharedEndpoint>,
    ) -> Result<Vec<(QueueRow, SharedEndpoint)>> {
        let due = first_due(message);
        let mut deliveries = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let due = if endpoint.ordered { self.in_order(message, &endpoint, due)? } else { due };
            let key = QueueKey { endpoint: endpoint.id, due, message: message.id };
            let row = QueueRow::first(key);
            self.put_queue_row(&row);
            deliveries.push((row, endpoint));
        }
        Ok(deliveries)
    }

    /// When a message is due at an ordered endpoint: not before what was accepted before it, even
    /// if the clock was set back or that is to be delivered later.
    fn in_order(
        &mut self,
        message: &Message,
        endpoint: &SharedEndpoint,
        due: Timestamp,
    ) -> Result<Timestamp> {
        let (last, last_id) = self.last_in_queue(endpoint.id)?;
        // Ids grow within a process; after a restart with an earlier clock they may not.
        let in_order = match (due, message.id) {
            (due, _) if due > last => due,
            (_, id) if id > last_id => last,
            _ => Timestamp(last.0 + 1),
        };
        self.set_last_in_queue(endpoint.id, (in_order, message.id));
        if in_order != due {
            // The row's place can no longer be told from the message: the delivery says it.
            let mut delivery = Delivery::untried(message.id, endpoint.id, self.now());
            delivery.next_due = Some(in_order);
            delivery.queued_due = Some(in_order);
            self.put_delivery(&delivery);
        }
        Ok(in_order)
    }

    /// The last place in an ordered endpoint's queue, as far as it was ever asked for.
    fn last_in_queue(&self, endpoint: EndpointId) -> Result<(Timestamp, MessageId)> {
        let known = self.shared().last_in_queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.get(&endpoint) {
            return Ok(*last);
        }
        drop(known);
        let fresh = self.shared().fresh.last(keys::queue_of(endpoint));
        let tree = self.shared().trees.tree(Tree::Queue);
        let row = tree.scan_prefix(endpoint.0).next_back().transpose()?;
        let key = row.and_then(|(key, _)| keys::split_queue(&key)).max(fresh);
        Ok(key.map_or((Timestamp(0), MessageId([0; ID_BYTES])), |key| (key.due, key.message)))
    }

    fn set_last_in_queue(&self, endpoint: EndpointId, last: (Timestamp, MessageId)) {
        let mut known = self.shared().last_in_queue.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint, last);
    }

    /// The endpoint is no longer an ordered one: its last place means nothing any more.
    pub(super) fn forget_last_in_queue(&self, endpoint: EndpointId) {
        let mut known = self.shared().last_in_queue.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&endpoint);
    }

    /// Stages a queue row.
    pub(super) fn put_queue_row(&mut self, row: &QueueRow) {
        self.put(Tree::Queue, &keys::queue(&row.key), codec::encode(&QueueRecord::of(row)));
    }
}

/// When a message's deliveries are due first. Known without any row: this is how the queue row of
/// a delivery that was never attempted is found.
pub(super) fn first_due(message: &Message) -> Timestamp {
    message.deliver_at.unwrap_or(message.created_at)
}

/// The record of a message; `payload_elsewhere` is its payload's length if that lies in chunks.
pub(super) fn message_record(message: &Message, payload_elsewhere: u32) -> MessageRecord {
    let many = message.endpoints.len() > HEADER_ENDPOINTS;
    let ids = |list: &[EndpointId]| list.iter().map(|id| id.0).collect();
    MessageRecord {
        event_type: message.event_type.clone(),
        event_id: message.event_id.clone(),
        channels: message.channels.clone(),
        tags: message.tags.clone(),
        created_at: message.created_at.0,
        deliver_at: message.deliver_at.map(|t| t.0),
        payload_expires_at: message.payload_expires_at.0,
        payload_gone: message.payload_gone,
        content_type: message.content_type.clone(),
        payload_elsewhere,
        endpoints: if many { Vec::new() } else { ids(&message.endpoints) },
        endpoints_elsewhere: if many {
            u32::try_from(message.endpoints.len()).unwrap_or(u32::MAX)
        } else {
            0
        },
        headers: message.headers.clone(),
    }
}
