//! A message: one event accepted for one application.

use super::clock::Timestamp;
use super::id::{AppId, EndpointId, MessageId};

/// The most a message may carry: 8 MiB. `server.max_payload` is 256 KiB unless raised to this.
pub const MAX_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

/// All of a message but its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Set once, when it is accepted. Also `webhook-id` on the wire, the same on every try.
    pub id: MessageId,
    /// Its application.
    pub app: AppId,
    /// The dotted name of what happened.
    pub event_type: String,
    /// The caller's own id of the event, unique in the application.
    pub event_id: Option<String>,
    /// Channels it was sent to.
    pub channels: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Not to be tried before this moment.
    pub deliver_at: Option<Timestamp>,
    /// When its payload is removed.
    pub payload_expires_at: Timestamp,
    /// The payload was removed, by age or by request.
    pub payload_gone: bool,
    /// Sent as this type of content, `application/json` when `None`.
    pub content_type: Option<String>,
    /// Headers it came with from a source and goes on with, under the endpoint's own.
    pub headers: Vec<(String, String)>,
    /// Endpoints it was scheduled for when it was accepted.
    pub endpoints: Vec<EndpointId>,
}

#[cfg(test)]
impl Message {
    /// A message for tests, with nothing but what it must have.
    pub(crate) fn trial(
        id: MessageId,
        app: AppId,
        event_type: &str,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            app,
            event_type: event_type.to_owned(),
            event_id: None,
            channels: Vec::new(),
            tags: Vec::new(),
            created_at,
            deliver_at: None,
            payload_expires_at: Timestamp(u64::MAX),
            payload_gone: false,
            content_type: None,
            headers: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

/// What a caller hands in to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The dotted name of what happened.
    pub event_type: String,
    /// The caller's own id of the event.
    pub event_id: Option<String>,
    /// Channels it is for.
    pub channels: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Not to be tried before this moment.
    pub deliver_at: Option<Timestamp>,
    /// Hours its payload is kept; `None` = the store's retention.
    pub payload_retention_hours: Option<u32>,
    /// Sent as this type of content, `application/json` when `None`.
    pub content_type: Option<String>,
    /// The bytes to deliver, exactly as they came.
    pub payload: bytes::Bytes,
}

impl NewMessage {
    /// A message with nothing but what it must have.
    pub fn new(event_type: impl Into<String>, payload: impl Into<bytes::Bytes>) -> Self {
        Self {
            event_type: event_type.into(),
            event_id: None,
            channels: Vec::new(),
            tags: Vec::new(),
            deliver_at: None,
            payload_retention_hours: None,
            content_type: None,
            payload: payload.into(),
        }
    }
}
