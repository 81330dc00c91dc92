//! Messages: read one with its payload, send one again, remove what is inside.

use bytes::Bytes;

use super::accept::{CHUNK_BYTES, message_record};
use super::error::{Error, Result};
use super::records::{self, DeliveryRecord, MessageRecord};
use super::trees::Tree;
use super::writer::Writer;
use super::{Shared, Store, codec, keys};
use crate::model::delivery::{Delivery, QueueKey, QueueRow, State, Trigger};
use crate::model::id::{AppId, EndpointId, ID_BYTES, MessageId};
use crate::model::message::Message;

/// A message's payload, as far as it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The bytes that came.
    Here(Bytes),
    /// Removed by age or by request.
    Gone,
}

impl Payload {
    /// How many bytes of it were read.
    pub fn bytes(&self) -> usize {
        if let Self::Here(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Where rows are read from: the store alone, or a writer that sees its own group too.
pub(super) trait Rows {
    fn row(&self, tree: Tree, key: &[u8]) -> Result<Option<sled::IVec>>;
}

impl Rows for Shared {
    fn row(&self, tree: Tree, key: &[u8]) -> Result<Option<sled::IVec>> {
        if tree == Tree::Queue
            && let Some(row) = self.fresh.row(key)
        {
            return Ok(Some(row));
        }
        Ok(self.trees.tree(tree).get(key)?)
    }
}

impl Rows for Store {
    fn row(&self, tree: Tree, key: &[u8]) -> Result<Option<sled::IVec>> {
        self.shared.row(tree, key)
    }
}

impl Rows for Writer<'_> {
    fn row(&self, tree: Tree, key: &[u8]) -> Result<Option<sled::IVec>> {
        self.get(tree, key)
    }
}

/// Reads a message's row and puts it together: header, endpoints, payload.
pub(super) fn assemble(
    rows: &impl Rows,
    app: AppId,
    id: MessageId,
    row: &[u8],
    with_payload: bool,
) -> Result<(Message, Payload)> {
    let (record, tail): (MessageRecord, _) = records::read_with_tail(Tree::Messages, row)?;
    let (elsewhere, many) = (record.payload_elsewhere, record.endpoints_elsewhere);
    let mut message = record.into_domain(app, id);
    if many > 0 {
        let bytes = chunks(rows, Tree::MessageEndpoints, &id.0, many as usize * ID_BYTES)?;
        message.endpoints = bytes
            .chunks_exact(ID_BYTES)
            .filter_map(|raw| raw.try_into().ok().map(EndpointId))
            .collect();
    }
    let payload = if message.payload_gone {
        Payload::Gone
    } else if !with_payload {
        Payload::Here(Bytes::new())
    } else if elsewhere == 0 {
        Payload::Here(Bytes::copy_from_slice(tail))
    } else {
        Payload::Here(chunks(rows, Tree::Payloads, &id.0, elsewhere as usize)?.into())
    };
    Ok((message, payload))
}

/// Puts `length` bytes together from their chunks.
fn chunks(rows: &impl Rows, tree: Tree, id: &[u8; ID_BYTES], length: usize) -> Result<Vec<u8>> {
    // `length` is what a damaged row may say.
    let mut bytes = Vec::with_capacity(length.min(MOST_AT_ONCE));
    for n in 0..=u16::MAX {
        if bytes.len() >= length {
            break;
        }
        let chunk = rows.row(tree, &keys::chunk(id, n))?;
        let chunk =
            chunk.ok_or_else(|| Error::corrupt(tree.name(), format!("chunk {n} is missing")))?;
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() != length {
        let detail = format!("{} bytes where {length} were written", bytes.len());
        return Err(Error::corrupt(tree.name(), detail));
    }
    Ok(bytes)
}

/// The delivery's row; `None` while no attempt was recorded.
pub(super) fn delivery(
    rows: &impl Rows,
    message: MessageId,
    endpoint: EndpointId,
) -> Result<Option<Delivery>> {
    let Some(row) = rows.row(Tree::Deliveries, &keys::delivery(message, endpoint))? else {
        return Ok(None);
    };
    let record: DeliveryRecord = records::read(Tree::Deliveries, &row)?;
    record.into_domain(message, endpoint).map(Some)
}

impl Store {
    /// A message and its payload; `None` when there is no such message.
    pub fn message(&self, app: AppId, id: MessageId) -> Result<Option<(Message, Payload)>> {
        match self.row(Tree::Messages, &keys::message(app, id))? {
            Some(row) => assemble(self, app, id, &row, true).map(Some),
            None => Ok(None),
        }
    }

    /// A message without its payload.
    pub fn message_head(&self, app: AppId, id: MessageId) -> Result<Option<Message>> {
        match self.row(Tree::Messages, &keys::message(app, id))? {
            Some(row) => assemble(self, app, id, &row, false).map(|(message, _)| Some(message)),
            None => Ok(None),
        }
    }

    /// The id of the message with this `eventId`.
    pub fn message_of_event(&self, app: AppId, event_id: &str) -> Result<Option<MessageId>> {
        let row = self.row(Tree::EventIds, &keys::named(&app.0, event_id))?;
        Ok(row.and_then(|row| row.as_ref().try_into().ok()).map(MessageId))
    }

    /// Where a delivery stands; `None` while no attempt was recorded.
    pub fn delivery(&self, message: MessageId, endpoint: EndpointId) -> Result<Option<Delivery>> {
        delivery(self, message, endpoint)
    }

    /// Bytes of an attempt's response that lie in chunks.
    pub(super) fn response_chunks(&self, id: &[u8; ID_BYTES], length: usize) -> Result<Vec<u8>> {
        chunks(self, Tree::Responses, id, length)
    }
}

impl Writer<'_> {
    /// A message without its payload.
    pub fn message(&self, app: AppId, id: MessageId) -> Result<Option<Message>> {
        match self.get(Tree::Messages, &keys::message(app, id))? {
            Some(row) => Ok(Some(assemble(self, app, id, &row, false)?.0)),
            None => Ok(None),
        }
    }

    /// Queues one manual attempt, beside the schedule and without touching it.
    ///
    /// Errors: no such message or endpoint, the endpoint is disabled, the payload is gone.
    pub fn resend(
        &mut self,
        app: AppId,
        message: MessageId,
        endpoint: EndpointId,
    ) -> Result<QueueKey> {
        self.shared().space.check()?;
        let found = self.message(app, message)?.ok_or(Error::NotFound("message"))?;
        if found.payload_gone {
            return Err(Error::PayloadGone);
        }
        if self.shared().directory.endpoint(endpoint)?.is_none_or(|e| e.app != app) {
            return Err(Error::NotFound("endpoint"));
        }
        self.queue_at(endpoint, message, self.now(), 1, Trigger::Manual)
    }

    /// Starts the schedule anew for a delivery that is not pending. Does nothing for one that is.
    pub fn recover(&mut self, message: &Message, endpoint: EndpointId) -> Result<bool> {
        let old = self.delivery(message.id, endpoint)?;
        let waits = self.scheduled_key(message.app, message.id, endpoint)?.is_some();
        if waits || message.payload_gone {
            return Ok(false);
        }
        let key = self.queue_at(endpoint, message.id, self.now(), 1, Trigger::Scheduled)?;
        let (first_attempt, last_attempt) =
            old.map_or((None, None), |d| (d.first_attempt, d.last_attempt));
        self.put_delivery(&Delivery {
            message: message.id,
            endpoint,
            state: State::Pending,
            attempts: 0,
            next_due: Some(key.due),
            queued_due: Some(key.due),
            first_attempt,
            last_attempt,
            updated_at: self.now(),
        });
        Ok(true)
    }

    /// Puts a row into an endpoint's queue at `due`, or the first free millisecond after it.
    fn queue_at(
        &mut self,
        endpoint: EndpointId,
        message: MessageId,
        due: crate::model::clock::Timestamp,
        attempt: u16,
        trigger: Trigger,
    ) -> Result<QueueKey> {
        let mut key = QueueKey { endpoint, due, message };
        while self.get(Tree::Queue, &keys::queue(&key))?.is_some() {
            key.due.0 += 1;
        }
        self.put_queue_row(&QueueRow { key, attempt, trigger, not_before: key.due });
        self.events().queued.push(key);
        Ok(key)
    }

    /// Gives a pending delivery up. `false` when it was not pending.
    pub fn cancel(&mut self, message: &Message, endpoint: EndpointId) -> Result<bool> {
        let Some(key) = self.scheduled_key(message.app, message.id, endpoint)? else {
            return Ok(false);
        };
        self.remove(Tree::Queue, &keys::queue(&key));
        let old = self.delivery(message.id, endpoint)?;
        self.put_delivery(&Delivery {
            message: message.id,
            endpoint,
            state: State::Cancelled,
            attempts: old.as_ref().map_or(0, |d| d.attempts),
            next_due: None,
            queued_due: None,
            first_attempt: old.as_ref().and_then(|d| d.first_attempt),
            last_attempt: old.and_then(|d| d.last_attempt),
            updated_at: self.now(),
        });
        self.events().changed.push(endpoint);
        Ok(true)
    }

    /// Removes a message's payload. Deliveries that wait for it fail when they are due.
    pub fn expunge_payload(&mut self, app: AppId, id: MessageId) -> Result<()> {
        let message = self.message(app, id)?.ok_or(Error::NotFound("message"))?;
        if message.payload_gone {
            return Ok(());
        }
        self.reclaim_prefix(Tree::Payloads, &id.0)?;
        let message = Message { payload_gone: true, ..message };
        let record = codec::encode(&message_record(&message, 0));
        let key = keys::message(app, id);
        // A small payload goes with its row.
        let before = self.get(Tree::Messages, &key)?.map_or(0, |row| row.len());
        self.note_freed(before.saturating_sub(record.len()));
        self.put(Tree::Messages, &key, record);
        Ok(())
    }
}

/// The largest payload that fits: chunk numbers are `u16`.
/// Bytes that are taken for a payload before it is read.
const MOST_AT_ONCE: usize = 1 << 20;
const _: () = assert!(crate::model::message::MAX_PAYLOAD_BYTES / CHUNK_BYTES <= u16::MAX as usize);
