//! The throttle: a token bucket that holds an endpoint to its messages a second.

use crate::model::clock::Timestamp;

/// A bucket of at most one second's tokens.
#[derive(Debug, Clone)]
pub(super) struct Throttle {
    rate: Option<u32>,
    tokens: f64,
    filled_at: Option<Timestamp>,
}

impl Throttle {
    /// `rate` messages a second; `None` or 0 = as fast as they come.
    pub(super) fn new(rate: Option<u32>) -> Self {
        let rate = rate.filter(|rate| *rate > 0);
        Self { rate, tokens: rate.map_or(0.0, f64::from), filled_at: None }
    }

    /// The rate was changed; what was saved up is kept up to the new rate.
    pub(super) fn set_rate(&mut self, rate: Option<u32>) {
        let rate = rate.filter(|rate| *rate > 0);
        if rate != self.rate {
            *self = Self::new(rate);
        }
    }

    /// Nothing is held back by it.
    pub(super) fn is_off(&self) -> bool {
        self.rate.is_none()
    }

    fn tokens_at(&self, rate: u32, now: Timestamp) -> f64 {
        let since = self.filled_at.map_or(0.0, |at| now.since(at).as_secs_f64());
        (self.tokens + since * f64::from(rate)).min(f64::from(rate).max(1.0))
    }

    /// Takes a token. `false` when there is none yet.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        let Some(rate) = self.rate else { return true };
        self.tokens = self.tokens_at(rate, now);
        self.filled_at = Some(now);
        // Half a nanotoken of slack: waiting for exactly one must be enough.
        let has_one = self.tokens >= 1.0 - 1e-9;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// When the next token is there; `None` when one is there now, or none is needed.
    pub(super) fn next_token(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.when(1, now);
        (at > now).then_some(at)
    }

    /// When there are so many tokens; `now` when there are.
    pub(super) fn when(&self, tokens: usize, now: Timestamp) -> Timestamp {
        let Some(rate) = self.rate else { return now };
        #[expect(clippy::cast_precision_loss, reason = "a few more than the rate, which is a u32")]
        let missing = tokens as f64 - self.tokens_at(rate, now);
        if missing <= 1e-9 {
            return now;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at least 1, and a second for each token at most: the rate is at least 1"
        )]
        let ms = (missing / f64::from(rate) * 1000.0).ceil() as u64;
        Timestamp(now.0 + ms.max(1))
    }

    /// Tokens there are now, as many as can be counted where there is no rate.
    pub(super) fn whole_tokens(&self, now: Timestamp) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the rate, which is a u32"
        )]
        let tokens = |rate| (self.tokens_at(rate, now) + 1e-9) as usize;
        self.rate.map_or(usize::MAX, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_to_the_rate_after_the_first_burst() {
        let mut throttle = Throttle::new(Some(10));
        let mut sent = 0;
        for ms in 0..5000 {
            while throttle.take(Timestamp(1_000_000 + ms)) {
                sent += 1;
            }
        }
        assert!((58..=60).contains(&sent), "10 saved up and 5 s at 10 a second: {sent}");
    }

    #[test]
    fn says_when_the_next_token_is_there() {
        let mut throttle = Throttle::new(Some(4));
        let now = Timestamp(1_000_000);
        (0..4).for_each(|_| assert!(throttle.take(now)));
        assert!(!throttle.take(now));
        let next = throttle.next_token(now).unwrap();
        assert_eq!(next, Timestamp(1_000_250));
        assert!(!throttle.take(Timestamp(next.0 - 1)) && throttle.take(next));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut throttle = Throttle::new(None);
        assert!((0..1000).all(|_| throttle.take(Timestamp(0))));
        assert_eq!(throttle.next_token(Timestamp(0)), None);
        assert!(Throttle::new(Some(0)).take(Timestamp(0)), "0 means no limit");
    }
}
