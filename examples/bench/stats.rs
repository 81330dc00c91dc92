//! Latencies and rates: a histogram of fixed size, arrivals over time, and the two divisions.
//!
//! Pure. Durations are nanoseconds since the program's epoch unless a name says otherwise.
use std::time::Instant;

use serde::Serialize;

/// Buckets per doubling; 128 keep the error under 0.8 %.
const SUB_BITS: u32 = 7;
const SUB: usize = 1 << SUB_BITS;
/// 2^40 ns is 18 minutes: nothing here lasts longer.
const DOUBLINGS: usize = 41;

/// The program's clock: every time in a run is counted from the same instant.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Log-linear histogram of nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; SUB * DOUBLINGS], total: 0, max: 0 }
    }

    pub fn add(&mut self, nanos: u64) {
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket(nanos).min(last)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// The value that `share` (0 to 1) of all stay at or under; 0 when there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = share * float(self.total);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && float(seen) >= wanted {
                return upper(index).min(self.max);
            }
        }
        self.max
    }

    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.total,
            p50: micros(self.quantile(0.5)),
            p90: micros(self.quantile(0.9)),
            p99: micros(self.quantile(0.99)),
            max: micros(self.max),
        }
    }
}

/// Latencies as reported, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

fn bucket(nanos: u64) -> usize {
    let doubling = (u64::BITS - nanos.leading_zeros()).saturating_sub(SUB_BITS + 1);
    let sub = usize::try_from(nanos >> doubling).unwrap_or(usize::MAX);
    // Above the first two rows `sub` is between SUB and 2 * SUB.
    (doubling as usize) * SUB + sub
}

/// The largest value that falls into bucket `index`.
fn upper(index: usize) -> u64 {
    let doubling = (index / SUB).saturating_sub(1);
    let sub = index - doubling * SUB;
    ((sub as u64 + 1) << doubling) - 1
}

/// How many arrived in each ten milliseconds since the run began.
#[derive(Debug, Clone, Default)]
pub struct Timeline(Vec<u32>);

impl Timeline {
    const STEP: u64 = 10_000_000;
    /// An hour; later arrivals fall into the last step.
    const MAX_STEPS: usize = 360_000;

    pub fn add(&mut self, since_start: u64) {
        let step = usize::try_from(since_start / Self::STEP).unwrap_or(usize::MAX);
        let step = step.min(Self::MAX_STEPS - 1);
        if step >= self.0.len() {
            self.0.resize(step + 1, 0);
        }
        if let Some(count) = self.0.get_mut(step) {
            *count += 1;
        }
    }

    /// Arrivals a second until `share` of all had arrived.
    ///
    /// The tail is left out: one retry five seconds later says nothing about the speed.
    pub fn rate(&self, share: f64) -> f64 {
        let total: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = share * float(total);
        let mut seen = 0;
        for (steps, count) in (1_u64..).zip(&self.0) {
            seen += u64::from(*count);
            if total > 0 && float(seen) >= wanted {
                return per_second(seen, steps * Self::STEP);
            }
        }
        0.0
    }
}

pub fn per_second(count: u64, nanos: u64) -> f64 {
    if nanos == 0 { 0.0 } else { float(count) * 1e9 / float(nanos) }
}

/// `None` where there is nothing to divide by.
pub fn ratio(value: f64, base: f64) -> Option<f64> {
    (base > 0.0).then_some(value / base)
}

pub fn micros(nanos: u64) -> f64 {
    float(nanos) / 1e3
}

pub fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / (1024.0 * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people; 2^53 is far away")]
pub fn float(value: u64) -> f64 {
    value as f64
}

/// The middle one; of an even number the lower of the two.
pub fn median_by<T>(mut items: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    items.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = items.len().checked_sub(1)? / 2;
    items.into_iter().nth(middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let mut histogram = Histogram::new();
        for value in 1..=100_000 {
            histogram.add(value * 1_000);
        }
        for (share, want) in [(0.5, 5e7), (0.99, 9.9e7), (1.0, 1e8)] {
            let got = float(histogram.quantile(share));
            assert!((got - want).abs() / want < 0.01, "{share}: {got} against {want}");
        }
        assert_eq!(Histogram::new().quantile(0.99), 0);
    }

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut last = 0;
        for value in (0..5_000).chain([1 << 20, (1 << 20) + 1, (1 << 39) + 12_345]) {
            let index = bucket(value);
            assert!(upper(index) >= value, "{value}");
            assert!(index == 0 || upper(index - 1) < value, "{value}");
            assert!(index >= last, "{value}");
            last = index;
        }
        // One past the last doubling is kept, in the last bucket.
        let mut histogram = Histogram::new();
        histogram.add(u64::MAX);
        assert_eq!(histogram.quantiles().count, 1);
    }

    #[test]
    fn a_late_straggler_does_not_slow_the_rate() {
        let mut timeline = Timeline::default();
        for ms in 0..1_000 {
            timeline.add(ms * 1_000_000);
        }
        assert!((timeline.rate(0.99) - 1_000.0).abs() < 1.0);
        timeline.add(60_000_000_000);
        assert!((timeline.rate(0.99) - 1_000.0).abs() < 20.0);
        assert!(timeline.rate(1.0) < 20.0);
        assert!(Timeline::default().rate(0.99).abs() < f64::EPSILON);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median_by(vec![3.0, 1.0, 2.0], |value| *value), Some(2.0));
        assert_eq!(median_by(vec![4.0, 1.0], |value| *value), Some(1.0));
        assert_eq!(median_by(Vec::<f64>::new(), |value| *value), None);
    }
}
