//! What a commit tells the rest of the house, once it is on disk.
//!
//! One value per group, sent by the commit thread in commit order: whoever hears of a recorded
//! attempt has heard of its message before.

use bytes::Bytes;

use std::sync::Arc;

use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow};
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::{AppId, EndpointId};
use crate::model::message::Message;

/// A message that was just accepted, with all that its deliveries need.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The message.
    pub message: Arc<Message>,
    /// Its payload.
    pub payload: Bytes,
    /// Its deliveries, each with the endpoint as it was.
    pub deliveries: Vec<(QueueRow, SharedEndpoint)>,
}

/// An attempt that was just recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The queue row it was made for.
    pub key: QueueKey,
    /// When the row that took its place may be tried.
    pub next: Option<Timestamp>,
}

/// All that one group did.
#[derive(Debug, Default)]
pub struct Events {
    /// Messages accepted.
    pub accepted: Vec<Accepted>,
    /// Attempts recorded.
    pub recorded: Vec<Recorded>,
    /// Rows put into queues otherwise: resend, recover.
    pub queued: Vec<QueueKey>,
    /// Endpoints made, changed, deleted, or whose queue was changed by hand.
    pub changed: Vec<EndpointId>,
    /// Applications made, changed or deleted, with the messages a second they may be sent now.
    pub rates: Vec<(AppId, Option<u32>)>,
}

impl Events {
    /// Whether nothing happened that anybody need hear of.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
            && self.recorded.is_empty()
            && self.queued.is_empty()
            && self.changed.is_empty()
            && self.rates.is_empty()
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.accepted.append(&mut other.accepted);
        self.recorded.append(&mut other.recorded);
        self.queued.append(&mut other.queued);
        self.changed.append(&mut other.changed);
        self.rates.append(&mut other.rates);
    }
}
