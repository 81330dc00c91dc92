//! How a receiver answers deliveries that verify: well, or as it was told to fail.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Request;

/// Messages remembered for [`Failing::First`]; past it everything succeeds, so memory is bounded.
const MAX_REMEMBERED: usize = 100_000;

/// The status of a success.
const SUCCESS: u16 = 204;

/// Which deliveries fail.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Failing {
    /// None.
    #[default]
    Never,
    /// The first so many attempts of every message.
    First(u32),
    /// This share of all attempts, 0 to 1, at random.
    Share(f64),
    /// All.
    Always,
}

/// How to answer.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Which fail.
    pub failing: Failing,
    /// What failures are answered with.
    pub failure_status: Option<u16>,
    /// How long every answer takes.
    pub delay: Duration,
    /// Attempts seen by message id.
    seen: Arc<Mutex<HashMap<String, u32>>>,
}

impl Behaviour {
    /// Answers with success, or as told.
    pub fn new(failing: Failing, failure_status: Option<u16>, delay: Duration) -> Self {
        Self { failing, failure_status, delay, seen: Arc::default() }
    }

    /// The status for this attempt.
    pub fn status(&self, request: &Request) -> u16 {
        let fails = match self.failing {
            Failing::Never => false,
            Failing::Always => true,
            Failing::Share(share) => random_share() < share,
            Failing::First(times) => self.count(request) <= times,
        };
        if fails { self.failure_status.unwrap_or(500) } else { SUCCESS }
    }

    /// Which attempt of its message this is, counted here: a sender may not say.
    fn count(&self, request: &Request) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let id = request.header("webhook-id").unwrap_or_default();
        if seen.len() >= MAX_REMEMBERED && !seen.contains_key(id) {
            return u32::MAX;
        }
        let count = seen.entry(id.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }
}

/// A number from 0 to 1. The standard library's hasher seed is random enough to choose failures.
fn random_share() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str) -> Request {
        let headers = vec![("webhook-id".to_owned(), id.to_owned())];
        Request { headers, ..Request::default() }
    }

    #[test]
    fn each_way_of_failing_fails_as_told() {
        let check = |failing, status, expected: &[u16]| {
            let behaviour = Behaviour::new(failing, status, Duration::ZERO);
            let found: Vec<u16> =
                expected.iter().map(|_| behaviour.status(&request("msg_1"))).collect();
            assert_eq!(found, expected, "{failing:?}");
        };
        check(Failing::Never, Some(500), &[204, 204]);
        check(Failing::Always, None, &[500, 500]);
        check(Failing::Always, Some(410), &[410]);
        check(Failing::First(2), Some(503), &[503, 503, 204, 204]);
        check(Failing::First(0), None, &[204]);
        check(Failing::Share(0.0), None, &[204, 204]);
        check(Failing::Share(1.1), None, &[500, 500]);
    }

    #[test]
    fn attempts_are_counted_by_message() {
        let behaviour = Behaviour::new(Failing::First(1), None, Duration::ZERO);
        let found = ["a", "b", "a", "b"].map(|id| behaviour.status(&request(id)));
        assert_eq!(found, [500, 500, 204, 204]);
    }

    #[test]
    fn a_share_of_one_half_fails_about_half() {
        let behaviour = Behaviour::new(Failing::Share(0.5), None, Duration::ZERO);
        let failed = (0..2000).filter(|_| behaviour.status(&request("a")) == 500).count();
        assert!((800..1200).contains(&failed), "{failed} of 2000");
    }
}
