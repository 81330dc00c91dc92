//! A lane: what the scheduler knows of one endpoint's queue while there is anything in it.
//!
//! Memory only. The queue itself is in the store; a lane holds at most [`LANE_BUFFER`] of its rows, or
//! [`WELL_BUFFER`], and the moment at which the next one may be tried.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::breaker::Breaker;
use super::throttle::Throttle;
use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow};
use crate::model::endpoint::SharedEndpoint;
use crate::model::message::Message;

/// Rows of one endpoint kept in memory.
pub const LANE_BUFFER: usize = 64;

/// Rows of one without a throttle that answers well, while less than half of the room for all is taken. Past
/// them all that comes goes by the store until it has caught up: with 64, of 25,000 deliveries a second to
/// ten endpoints so many did that each took 60 µs instead of 52.
pub const WELL_BUFFER: usize = 4 * LANE_BUFFER;

/// Attempts that may wait for a thread that is busy with the same endpoint.
pub const AHEAD: usize = 16;

/// An endpoint whose attempts take this long, or from which nothing has come back for so long, is
/// slow: 1 s. Whoever answers pays for nobody who is slower than most people would wait.
pub const SLOW: std::time::Duration = std::time::Duration::from_secs(1);

/// Attempts that an endpoint may have running from which nothing has come back yet, when many run
/// already.
pub const UNPROVEN: usize = 2;

/// An attempt that took no longer than this was quick.
pub const QUICK: std::time::Duration = std::time::Duration::from_millis(20);

/// What is sent, when it is at hand already.
pub type Content = (Arc<Message>, Bytes);

/// A delivery that is due, on its way to a worker.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its queue row.
    pub row: QueueRow,
    /// Message and payload; `None` = the worker reads them from the store.
    pub content: Option<Content>,
    /// The endpoint's latest attempt was quick.
    pub quick: bool,
}

impl Task {
    /// Bytes of payload it keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        self.content.as_ref().map_or(0, |(_, payload)| payload.len())
    }
}

/// How fast an endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nothing has come back yet.
    Unproven,
    /// Its latest answer took less than [`SLOW`].
    Well,
    /// Its latest answer took longer, or nothing has come back for so long.
    Slow,
    /// Its latest attempt timed out.
    Stuck,
}

impl Pace {
    /// It uses the slow lane.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Slow | Self::Stuck)
    }
}

/// How many of the places of all endpoints are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// More than half.
    Plenty,
    /// As many as those who have something running may have.
    Enough,
    /// More than a quarter.
    Some,
    /// What is left is kept for those who have nothing running.
    Little,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) endpoint: SharedEndpoint,
    /// Due rows, next first.
    pub(super) buffer: VecDeque<Task>,
    /// Rows that must not be read from the store again: buffered, running, or run and not yet
    /// recorded.
    pub(super) held: HashSet<QueueKey>,
    /// When the first row may be tried that is in the store and not held. `None` = there is none.
    pub(super) stored: Option<Timestamp>,
    /// Attempts that are being made.
    pub(super) running: usize,
    /// Its entry in the set of wake-ups.
    pub(super) wake: Option<Timestamp>,
    /// It stands in the round of those that are ready.
    pub(super) in_round: bool,
    /// A read of the store for it is under way, of so many rows.
    pub(super) loading: Option<usize>,
    /// Nothing before this moment, whatever is due.
    pub(super) blocked_until: Option<Timestamp>,
    /// How fast it answers.
    pub(super) pace: Pace,
    /// When something last came back, or the first of those that run was started.
    pub(super) heard_at: Timestamp,
    /// Its latest attempt succeeded within [`QUICK`].
    pub(super) quick: bool,
    /// When its current run of network errors began.
    pub(super) network_since: Option<Timestamp>,
    pub(super) breaker: Breaker,
    pub(super) throttle: Throttle,
}

impl Lane {
    pub(super) fn new(endpoint: SharedEndpoint) -> Self {
        Self {
            throttle: Throttle::new(endpoint.throttle_rate),
            endpoint,
            buffer: VecDeque::new(),
            held: HashSet::new(),
            stored: None,
            running: 0,
            wake: None,
            in_round: false,
            loading: None,
            blocked_until: None,
            pace: Pace::Unproven,
            heard_at: Timestamp(0),
            quick: false,
            network_since: None,
            breaker: Breaker::default(),
        }
    }

    /// Notes that the store has a row that may be tried at `at`.
    pub(super) fn note_stored(&mut self, at: Timestamp) {
        self.stored = Some(self.stored.map_or(at, |old| old.min(at)));
    }

    /// Whether rows that may be tried at `now` wait in the store.
    pub(super) fn is_spilled(&self, now: Timestamp) -> bool {
        self.stored.is_some_and(|at| at <= now)
    }

    /// Whether a fresh message is next when those in memory are gone: nothing in the store comes
    /// before it. To an ordered endpoint that includes what waits for another try, and what may
    /// have to.
    pub(super) fn takes_fresh(&self, now: Timestamp) -> bool {
        if self.endpoint.ordered {
            return self.stored.is_none() && !self.is_awaiting_record() && self.loading.is_none();
        }
        !self.is_spilled(now)
    }

    /// Whether one more fresh message is kept in memory. `ample`: there is much room for all.
    pub(super) fn has_room(&self, ample: bool) -> bool {
        let is_well = self.pace == Pace::Well && self.throttle.is_off();
        let most = if ample && is_well { WELL_BUFFER } else { LANE_BUFFER };
        self.buffer.len() < most && !self.breaker.is_paused()
    }

    /// Whether anything could be sent at `now`, but for limits.
    pub(super) fn has_work(&self, now: Timestamp) -> bool {
        self.endpoint.is_active() && (!self.buffer.is_empty() || self.is_spilled(now))
    }

    /// Whether it has to wait whatever is due: it is paused, or its network is in doubt.
    pub(super) fn is_gated(&self, now: Timestamp) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
            || self.breaker.next_probe().is_some_and(|probe| probe > now)
    }

    /// Attempts it may have handed out, of the `most` that any endpoint may have running. One that
    /// is known to be well gets some more ahead, for threads that are done to go on with, while
    /// there is room. The fuller the house, the less for those of whom less is known: whoever turns
    /// slow holds what it has.
    pub(super) fn allowed(&self, most: usize, room: Room) -> usize {
        if self.breaker.is_paused() || self.endpoint.ordered {
            return 1;
        }
        match (room, self.pace) {
            (Room::Plenty, Pace::Well)
                if self.breaker.is_quiet() && self.network_since.is_none() =>
            {
                most + most.min(AHEAD)
            }
            (Room::Some, Pace::Unproven) => most.min(UNPROVEN),
            (Room::Plenty | Room::Enough | Room::Some, _) => most,
            (Room::Little, _) => 1,
        }
    }

    /// Whether it has kept everything to itself that it was given for as long as a slow one would.
    pub(super) fn is_stalled(&self, now: Timestamp) -> bool {
        self.running > 0 && now.since(self.heard_at) >= SLOW
    }

    /// Its attempts that take places of the slow lane.
    pub(super) fn slow_running(&self) -> usize {
        if self.pace.is_slow() { self.running } else { 0 }
    }

    /// An ordered endpoint waits until the attempt before is recorded, not only made.
    pub(super) fn is_awaiting_record(&self) -> bool {
        self.endpoint.ordered && self.held.len() > self.buffer.len()
    }

    /// The moment at which it has to be looked at again, when nothing else happens.
    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.endpoint.is_active() {
            return None;
        }
        let due = if self.buffer.is_empty() { self.stored? } else { now };
        let gates = [self.blocked_until, self.breaker.next_probe(), self.throttle.next_token(now)];
        let at = gates.into_iter().flatten().fold(due, Timestamp::max);
        (at > now).then_some(at)
    }

    /// Nothing is known of it that the store does not know, or that anybody needs: an endpoint
    /// that takes nothing more is looked up again when it is enabled.
    pub(super) fn is_idle(&self) -> bool {
        let is_quiet = self.stored.is_none() && self.breaker.is_quiet() && self.throttle.is_off();
        self.buffer.is_empty()
            && self.held.is_empty()
            && self.running == 0
            && self.loading.is_none()
            && (is_quiet || !self.endpoint.is_active())
    }
}
