//! Applications that are held to a rate over all their endpoints.
//!
//! Only applications with a rate are here, so for all others it costs nothing. Endpoints whose
//! application has used up its rate wait in line, and as many come back as there are tokens.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::throttle::Throttle;
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, EndpointId};

#[derive(Debug)]
struct Rate {
    throttle: Throttle,
    waiting: VecDeque<EndpointId>,
    wake: Option<Timestamp>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Rates {
    apps: HashMap<AppId, Rate>,
    wakes: BTreeSet<(Timestamp, AppId)>,
}

impl Rates {
    /// An application's rate was set, changed or taken away. Gives those who waited for it.
    pub(super) fn set(&mut self, app: AppId, rate: Option<u32>) -> VecDeque<EndpointId> {
        let throttle = Throttle::new(rate);
        let Some(known) = self.apps.get_mut(&app) else {
            if !throttle.is_off() {
                let waiting = VecDeque::new();
                self.apps.insert(app, Rate { throttle, waiting, wake: None });
            }
            return VecDeque::new();
        };
        known.throttle.set_rate(rate);
        let freed = std::mem::take(&mut known.waiting);
        if let Some(at) = known.wake.take() {
            self.wakes.remove(&(at, app));
        }
        if throttle.is_off() {
            self.apps.remove(&app);
        }
        freed
    }

    /// Whether the application may send one more now.
    pub(super) fn allows(&self, app: AppId, now: Timestamp) -> bool {
        self.apps.is_empty()
            || self.apps.get(&app).is_none_or(|rate| rate.throttle.next_token(now).is_none())
    }

    /// It sends one.
    pub(super) fn take(&mut self, app: AppId, now: Timestamp) {
        if !self.apps.is_empty()
            && let Some(rate) = self.apps.get_mut(&app)
        {
            rate.throttle.take(now);
        }
    }

    /// An endpoint waits for its application's next token.
    pub(super) fn wait(&mut self, app: AppId, id: EndpointId, now: Timestamp) {
        let Some(rate) = self.apps.get_mut(&app) else { return };
        rate.waiting.push_back(id);
        if rate.wake.is_none() {
            let at = rate.throttle.next_token(now).unwrap_or(now);
            rate.wake = Some(at);
            self.wakes.insert((at, app));
        }
    }

    /// Endpoints that there is a token for again, one for each token.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(AppId, EndpointId)> {
        let mut freed = Vec::new();
        while let Some((at, app)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, app));
            let Some(rate) = self.apps.get_mut(&app) else { continue };
            let tokens = rate.throttle.whole_tokens(now);
            let some = rate.waiting.len().min(tokens);
            freed.extend(rate.waiting.drain(..some).map(|id| (app, id)));
            rate.wake = None;
            if !rate.waiting.is_empty() {
                // Those who come back take what there is.
                let at = rate.throttle.when(tokens + 1, now).max(Timestamp(now.0 + 1));
                rate.wake = Some(at);
                self.wakes.insert((at, app));
            }
        }
        freed
    }

    /// When [`Rates::due`] has to be asked next.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId([1; 20]);

    fn endpoint(n: u8) -> EndpointId {
        EndpointId([n; 20])
    }

    #[test]
    fn as_many_come_back_as_there_are_tokens() {
        let mut rates = Rates::default();
        let mut now = Timestamp(1_000_000);
        assert!(rates.set(APP, Some(10)).is_empty());
        for _ in 0..10 {
            assert!(rates.allows(APP, now));
            rates.take(APP, now);
        }
        assert!(!rates.allows(APP, now));
        (0..10).for_each(|n| rates.wait(APP, endpoint(n), now));
        assert_eq!(rates.next_wake(), Some(Timestamp(1_000_100)));
        assert!(rates.due(Timestamp(1_000_099)).is_empty());
        now = Timestamp(1_000_250);
        assert_eq!(rates.due(now), [(APP, endpoint(0)), (APP, endpoint(1))]);
        (0..2).for_each(|_| rates.take(APP, now));
        assert_eq!(rates.next_wake(), Some(Timestamp(1_000_300)));
        now = Timestamp(1_000_300);
        assert_eq!(rates.due(now), [(APP, endpoint(2))]);
    }

    #[test]
    fn nobody_waits_for_a_rate_that_is_gone() {
        let mut rates = Rates::default();
        let now = Timestamp(1_000_000);
        rates.set(APP, Some(1));
        rates.take(APP, now);
        rates.wait(APP, endpoint(1), now);
        assert_eq!(rates.set(APP, None), [endpoint(1)]);
        assert_eq!(rates.next_wake(), None);
        assert!((0..100).all(|_| rates.allows(APP, now)));
        assert!(rates.set(APP, Some(0)).is_empty(), "0 means no limit");
        assert!(rates.apps.is_empty());
    }
}
