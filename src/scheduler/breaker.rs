//! The breaker: pauses an endpoint that fails, and heals by itself.
//!
//! [`TRIP_IN_A_ROW`] failures in a row, and at least half of the last [`WINDOW`], pause it: its
//! messages keep collecting, no attempt is counted against them, and the oldest is tried as a
//! probe after [`FIRST_PROBE`], then after twice as long each time up to [`LAST_PROBE`]. Under a
//! schedule that is shorter than [`FIRST_PROBE`] as a whole, its own shortest and longest wait take
//! their place. One success resumes it. Disabling for good is the store's rule, by time alone.

use std::time::Duration;

use crate::model::clock::Timestamp;
use crate::model::retry::RetrySchedule;

/// Failures in a row that pause an endpoint.
pub const TRIP_IN_A_ROW: u32 = 5;
/// Results that are looked back at.
pub const WINDOW: u32 = 20;
/// The first probe comes so long after the pause began.
pub const FIRST_PROBE: Duration = Duration::from_secs(30);
/// Probes are never closer, however short the schedule.
pub const SHORTEST_PROBE: Duration = Duration::from_secs(1);
/// Probes are never further apart.
pub const LAST_PROBE: Duration = Duration::from_secs(600);

/// A pause, for people to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// When it began.
    pub since: Timestamp,
    /// The stable code of the failure that began it.
    pub why: &'static str,
    /// When the next probe may be made.
    pub next_probe: Timestamp,
    interval: Duration,
    longest: Duration,
}

/// The first wait before a probe, and the longest.
fn probe_waits(schedule: &RetrySchedule) -> (Duration, Duration) {
    let (shortest, longest) = (schedule.0.iter().min(), schedule.0.iter().max());
    match (shortest, longest) {
        (Some(shortest), Some(longest)) if *longest < FIRST_PROBE => {
            ((*shortest).max(SHORTEST_PROBE), (*longest).max(SHORTEST_PROBE))
        }
        _ => (FIRST_PROBE, LAST_PROBE),
    }
}

/// The state of one endpoint's breaker.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    /// The latest results, newest in the lowest bit, 1 = failed.
    window: u32,
    seen: u32,
    pause: Option<Pause>,
}

impl Breaker {
    /// Takes note of a success. `true` when that ended a pause.
    pub(super) fn succeeded(&mut self) -> bool {
        let was_paused = self.pause.take().is_some();
        if was_paused {
            *self = Self::default();
        }
        self.in_a_row = 0;
        self.shift(0);
        was_paused
    }

    /// Takes note of a failure under `schedule`. `true` when that began a pause.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        why: &'static str,
        schedule: &RetrySchedule,
    ) -> bool {
        if let Some(pause) = &mut self.pause {
            // Failures of attempts that were under way when the pause began do not prolong it.
            if now >= pause.next_probe {
                pause.interval = (pause.interval * 2).min(pause.longest);
                pause.next_probe = now.plus(pause.interval);
            }
            return false;
        }
        self.in_a_row += 1;
        self.shift(1);
        let failed = self.window.count_ones();
        if self.in_a_row < TRIP_IN_A_ROW || failed * 2 < self.seen {
            return false;
        }
        let (interval, longest) = probe_waits(schedule);
        let next_probe = now.plus(interval);
        self.pause = Some(Pause { since: now, why, next_probe, interval, longest });
        true
    }

    fn shift(&mut self, bit: u32) {
        self.window = ((self.window << 1) | bit) & ((1 << WINDOW) - 1);
        self.seen = (self.seen + 1).min(WINDOW);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    pub(super) fn pause(&self) -> Option<Pause> {
        self.pause
    }

    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        self.pause.map(|pause| pause.next_probe)
    }

    /// Nothing in it is worth keeping.
    pub(super) fn is_quiet(&self) -> bool {
        self.pause.is_none() && self.in_a_row == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &mut Breaker, now: Timestamp) -> bool {
        breaker.failed(now, "status", &RetrySchedule::default_schedule())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn five_in_a_row_pause_and_one_success_resumes() {
        let mut breaker = Breaker::default();
        let tripped: Vec<_> = (0..5).map(|_| fail(&mut breaker, at(0))).collect();
        assert_eq!(tripped, [false, false, false, false, true]);
        assert_eq!(breaker.next_probe(), Some(at(30)));
        assert!(breaker.succeeded());
        assert!(!breaker.is_paused());
        assert!(!fail(&mut breaker, at(40)), "it starts with a clean slate");
    }

    #[test]
    fn probes_double_up_to_ten_minutes() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            fail(&mut breaker, at(0));
        }
        assert!(!fail(&mut breaker, at(29)));
        assert_eq!(breaker.next_probe(), Some(at(30)), "a straggler does not prolong it");
        let mut now = 30;
        let mut waits = Vec::new();
        for _ in 0..6 {
            fail(&mut breaker, at(now));
            let next = breaker.next_probe().unwrap().0 / 1000;
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn a_mostly_healthy_endpoint_is_given_more_time() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            breaker.succeeded();
        }
        let tripped = (1..=20).find(|_| fail(&mut breaker, at(0)));
        assert_eq!(tripped, Some(10), "half of the last twenty");
    }

    #[test]
    fn a_short_schedule_is_probed_as_often() {
        let short = RetrySchedule([2, 5].map(Duration::from_secs).to_vec());
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(at(0), "status", &short);
        }
        let mut probes = Vec::new();
        for _ in 0..3 {
            let probe = breaker.next_probe().unwrap();
            probes.push(probe);
            breaker.failed(probe, "status", &short);
        }
        assert_eq!(probes, [at(2), at(6), at(11)]);
    }
}
