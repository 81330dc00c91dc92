//! When a delivery is tried again, and whether at all. Pure: chance is an argument.

use std::time::Duration;

use super::clock::Timestamp;
use super::limits::RETRY_AFTER_SECONDS;

/// Waits between tries. An empty list means one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(pub Vec<Duration>);

impl RetrySchedule {
    /// 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 10 h after the first try: 8 attempts, about 27 h 35 m.
    pub fn default_schedule() -> Self {
        Self([5, 300, 1800, 7200, 18_000, 36_000, 36_000].map(Duration::from_secs).to_vec())
    }

    /// How many attempts the schedule makes in all.
    pub fn attempts(&self) -> usize {
        self.0.len() + 1
    }
}

/// Receivers under load (429, 502, 503, 504, time-outs) are left alone for at least this long,
/// unless a schedule that is shorter as a whole was asked for.
pub const OVERLOAD_WAIT: Duration = Duration::from_secs(60);

/// What a failed attempt said about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// `Retry-After`, already in seconds from now. Only ever extends the wait, up to 24 h.
    pub retry_after: Option<Duration>,
    /// The receiver is under load or did not answer in time.
    pub overloaded: bool,
}

/// When to try again after failed attempt `number` (1 for the first) that ended at `now`; `None`
/// when the schedule has no more.
///
/// `chance` in 0..=1 becomes a jitter of +0–20 %: added only, a retry never fires early.
pub fn next_try(
    schedule: &RetrySchedule,
    number: u16,
    now: Timestamp,
    hints: Hints,
    chance: f64,
) -> Option<Timestamp> {
    let base = *schedule.0.get(usize::from(number.saturating_sub(1)))?;
    let short = schedule.0.iter().all(|wait| *wait < OVERLOAD_WAIT);
    let floor = if hints.overloaded && !short { base.max(OVERLOAD_WAIT) } else { base };
    let jittered = floor.mul_f64(1.0 + 0.2 * chance.clamp(0.0, 1.0));
    let asked = hints.retry_after.unwrap_or_default().min(Duration::from_secs(RETRY_AFTER_SECONDS));
    Some(now.plus(jittered.max(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(number: u16, hints: Hints, chance: f64) -> Option<u64> {
        let schedule = RetrySchedule::default_schedule();
        next_try(&schedule, number, Timestamp(0), hints, chance).map(|t| t.0 / 1000)
    }

    #[test]
    fn walks_the_schedule_and_ends() {
        let waits: Vec<_> = (1..=8).map(|n| wait(n, Hints::default(), 0.0)).collect();
        let expected = [5, 300, 1800, 7200, 18_000, 36_000, 36_000];
        assert_eq!(waits, expected.map(Some).into_iter().chain([None]).collect::<Vec<_>>());
        assert_eq!(RetrySchedule::default_schedule().attempts(), 8);
        assert_eq!(next_try(&RetrySchedule(vec![]), 1, Timestamp(0), Hints::default(), 0.0), None);
    }

    #[test]
    fn jitter_is_only_ever_added() {
        assert_eq!(wait(2, Hints::default(), 1.0), Some(360));
        assert_eq!(wait(2, Hints::default(), -5.0), Some(300));
        assert_eq!(wait(2, Hints::default(), 7.0), Some(360));
    }

    #[test]
    fn retry_after_extends_and_never_shortens() {
        let after = |s| Hints { retry_after: Some(Duration::from_secs(s)), overloaded: false };
        assert_eq!(wait(2, after(10), 0.0), Some(300));
        assert_eq!(wait(2, after(301), 0.0), Some(301));
        assert_eq!(wait(2, after(86_400), 0.0), Some(86_400));
        assert_eq!(wait(2, after(86_401), 0.0), Some(86_400));
    }

    #[test]
    fn overload_waits_a_minute_unless_the_schedule_is_short() {
        let overloaded = Hints { retry_after: None, overloaded: true };
        assert_eq!(wait(1, overloaded, 0.0), Some(60));
        let short = RetrySchedule(vec![Duration::from_secs(1); 3]);
        assert_eq!(next_try(&short, 1, Timestamp(0), overloaded, 0.0), Some(Timestamp(1000)));
    }
}
