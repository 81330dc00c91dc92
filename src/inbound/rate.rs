//! Requests a second, by source: a bucket of tokens for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::clock::Timestamp;
use crate::model::id::SourceId;

/// Sources whose buckets are remembered; full ones are forgotten past it.
const REMEMBERED: usize = 1024;

/// Buckets by source. A source that was not seen has a full one.
#[derive(Default)]
pub(super) struct Rates {
    buckets: Mutex<HashMap<SourceId, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// In thousandths of a request, so that a millisecond adds the rate itself.
    level: u64,
    at: Timestamp,
}

impl Rates {
    /// Takes one request out of a bucket that fills with `rate` a second and holds one second's
    /// worth. `false` when it is empty.
    pub(super) fn take(&self, source: SourceId, rate: u32, now: Timestamp) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = u64::from(rate) * 1000;
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&source) {
            buckets.retain(|_, bucket| now.0.saturating_sub(bucket.at.0) < 1000);
        }
        let bucket = buckets.entry(source).or_insert(Bucket { level: full, at: now });
        let passed = now.0.saturating_sub(bucket.at.0);
        bucket.level =
            bucket.level.saturating_add(passed.saturating_mul(u64::from(rate))).min(full);
        // A clock that goes back adds nothing, and must not stop the bucket from filling.
        bucket.at = now;
        match bucket.level.checked_sub(1000) {
            Some(rest) => {
                bucket.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_the_rate_and_no_more() {
        let rates = Rates::default();
        let source = SourceId([1; 20]);
        let count = |ms, n| (0..n).filter(|_| rates.take(source, 5, Timestamp(ms))).count();
        assert_eq!(count(10_000, 20), 5, "a full bucket");
        assert_eq!(count(10_199, 20), 0, "a millisecond short of one");
        assert_eq!(count(10_200, 20), 1);
        assert_eq!(count(60_000, 20), 5, "it holds a second, however long the pause");
        assert_eq!(count(50_000, 20), 0, "the clock went back");
        assert_eq!(count(50_400, 20), 2, "and it fills all the same");
        assert!(rates.take(SourceId([2; 20]), 5, Timestamp(50_400)), "others have their own");
    }
}
