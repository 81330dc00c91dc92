//! A delivery: one message on its way to one endpoint.
//!
//! States, and every transition there is:
//!
//! ```text
//! pending ── attempt succeeded ──────────────────────▶ succeeded
//!    │  └─── attempt failed, tries are left ─▶ pending (due later)
//!    ├────── attempt failed, none are left ──────────▶ exhausted
//!    └────── a person, or the end of the endpoint ───▶ cancelled
//! exhausted, cancelled, succeeded ── resend, recover ▶ pending
//! ```
//!
//! There is no `running`: what runs is memory. After a crash whatever was not recorded as done is
//! simply due again.

use super::clock::Timestamp;
use super::id::{AttemptId, EndpointId, MessageId};

/// Where a delivery stands. The numbers are on disk and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Waiting to be tried, for the first time or again.
    Pending = 0,
    /// A 2xx came back.
    Succeeded = 1,
    /// Every try of the schedule failed.
    Exhausted = 2,
    /// Given up before its schedule ended.
    Cancelled = 3,
}

/// Why an attempt is made. The numbers are on disk and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Trigger {
    /// The schedule.
    Scheduled = 0,
    /// A person or a program asked for it: one attempt, beside the schedule.
    Manual = 1,
}

/// What a recorded attempt means for its delivery. Decided by the scheduler, done by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A 2xx came back: done.
    Succeeded,
    /// Failed and counted; tried again at this moment.
    Retry(Timestamp),
    /// Failed, and the schedule has no more tries.
    Exhausted,
    /// Failed, but not held against the delivery: a probe of a paused endpoint, or the daemon's
    /// own network is down. The queue row stays where it is.
    Hold,
}

/// One message on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message.
    pub message: MessageId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Where it stands.
    pub state: State,
    /// Attempts made by the schedule so far.
    pub attempts: u16,
    /// When it is tried next, while pending.
    pub next_due: Option<Timestamp>,
    /// The due time in its queue row's key, while pending. The same as `next_due`, but for an
    /// ordered endpoint, where a delivery keeps its place while it waits.
    pub queued_due: Option<Timestamp>,
    /// The first attempt there ever was.
    pub first_attempt: Option<AttemptId>,
    /// The latest attempt.
    pub last_attempt: Option<AttemptId>,
    /// When the state was last changed.
    pub updated_at: Timestamp,
}

impl Delivery {
    /// A delivery as it is before its first attempt is recorded.
    pub fn untried(message: MessageId, endpoint: EndpointId, now: Timestamp) -> Self {
        Self {
            message,
            endpoint,
            state: State::Pending,
            attempts: 0,
            next_due: None,
            queued_due: None,
            first_attempt: None,
            last_attempt: None,
            updated_at: now,
        }
    }

    /// Nothing more is to be tried.
    pub fn end(&mut self, state: State) {
        self.state = state;
        self.next_due = None;
        self.queued_due = None;
    }
}

/// A place in an endpoint's queue: the key of its durable row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Whose queue.
    pub endpoint: EndpointId,
    /// When it may be tried.
    pub due: Timestamp,
    /// What is to be delivered.
    pub message: MessageId,
}

/// A row of an endpoint's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRow {
    /// Its place.
    pub key: QueueKey,
    /// The attempt this will be: 1 for the first.
    pub attempt: u16,
    /// Why it is made.
    pub trigger: Trigger,
    /// Not to be tried before this moment. Later than `key.due` only for a delivery of an ordered
    /// endpoint that failed and keeps its place.
    pub not_before: Timestamp,
}

impl QueueRow {
    /// The row of a delivery that was scheduled at `key` and never tried.
    pub fn first(key: QueueKey) -> Self {
        Self { key, attempt: 1, trigger: Trigger::Scheduled, not_before: key.due }
    }
}
