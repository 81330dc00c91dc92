//! What one thread knows about the attempt it is making: its deadline, and how far it got.
//!
//! The HTTP client calls our connector and transport without saying for which request. All of
//! an attempt runs on one thread, so the thread itself is the place to keep it. `attempt` begins
//! and reads a trace; `connect` and `wire` keep it up to date.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::model::outcome::Phase;

thread_local! {
    static CURRENT: Cell<Trace> = const { Cell::new(Trace::NONE) };
}

/// The state of the running attempt.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// When the attempt ends at the latest. `None` outside an attempt.
    deadline: Option<Instant>,
    /// How far it got.
    pub phase: Phase,
    /// True when its connection was opened for it, false when it came from the pool.
    pub fresh: bool,
    /// True when at least one byte of an answer arrived.
    pub answered: bool,
    /// How many header sections were taken, interim (1xx) ones included.
    pub heads: u32,
}

impl Trace {
    const NONE: Self =
        Self { deadline: None, phase: Phase::Resolve, fresh: false, answered: false, heads: 0 };
}

/// Starts an attempt on this thread, or starts its request over when `deadline` is the old one.
pub fn begin(deadline: Instant) {
    CURRENT.set(Trace { deadline: Some(deadline), ..Trace::NONE });
}

/// Ends the attempt on this thread: whatever would wait now fails at once.
pub fn end() {
    CURRENT.set(Trace::NONE);
}

/// The state of the attempt on this thread.
pub fn current() -> Trace {
    CURRENT.get()
}

/// Changes the state of the attempt on this thread.
pub fn update(change: impl FnOnce(&mut Trace)) {
    let mut trace = CURRENT.get();
    change(&mut trace);
    CURRENT.set(trace);
}

/// How long the attempt may still take; zero when its deadline passed, or when there is none.
pub fn time_left() -> Duration {
    match CURRENT.get().deadline {
        Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        None => Duration::ZERO,
    }
}
