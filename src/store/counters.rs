//! What has happened since the process started, counted: for `GET /metrics`. Nothing is decided by
//! these figures, and nobody waits for them: they are relaxed atomics, added to by whoever does a
//! thing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::delivery::Verdict;

/// A figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// How many there have been.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages accepted.
    pub accepted: Counter,
    /// Writes refused for want of room.
    pub refused_for_room: Counter,
    /// Attempts that a 2xx came back for.
    pub succeeded: Counter,
    /// All other attempts, whether held against the delivery or not.
    pub failed: Counter,
    /// Deliveries whose last attempt failed.
    pub exhausted: Counter,
    /// Endpoints that were disabled by us.
    pub disabled: Counter,
    /// Endpoints that were paused.
    pub paused: Counter,
    /// Inbound requests that were answered with a 2xx.
    pub inbound_accepted: Counter,
    /// All other inbound requests.
    pub inbound_refused: Counter,
}

impl Counters {
    /// An attempt was made.
    pub(super) fn attempted(&self, verdict: Verdict) {
        match verdict {
            Verdict::Succeeded => self.succeeded.add(1),
            Verdict::Retry(_) | Verdict::Hold => self.failed.add(1),
            Verdict::Exhausted => {
                self.failed.add(1);
                self.exhausted.add(1);
            }
        }
    }
}
