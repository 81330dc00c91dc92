//! Offline: is it the receivers, or is it our own network?
//!
//! When every endpoint tried in the last [`QUIET`] failed with a network error (no route, DNS
//! failure), the daemon itself is offline: it holds the queues of all whose attempts failed so,
//! counts no attempts, probes, and resumes. Who was not tried since is tried once: on a quiet day
//! one dead name may be all that was tried, and it must hold nobody else. A single failure does
//! not yet tell: until another endpoint answers, or does not, it is not counted either.
//!
//! A name of which the resolver says that it does not exist is the receiver's fault, whoever else
//! is tried: the resolver was there to be asked. Only while other errors put our network in doubt
//! that is not believed, since a resolver that is cut off may say so too.

use std::time::Duration;

use crate::model::clock::Timestamp;

/// No answer from anybody for so long, and network errors instead: offline.
pub const QUIET: Duration = Duration::from_secs(30);
/// A delivery whose failure may be ours is tried again so much later.
pub const SUSPECT_WAIT: Duration = Duration::from_secs(5);
/// Other network errors put our network in doubt for so long.
pub const DOUBT: Duration = Duration::from_secs(600);
/// While offline, one delivery is tried so often.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);

/// What is known of our own network.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The latest moment anybody answered anything.
    contact: Option<Timestamp>,
    /// Since when we are offline.
    offline_since: Option<Timestamp>,
    next_probe: Timestamp,
    first_failure: Option<Timestamp>,
    latest_failure: Option<Timestamp>,
}

/// What a network error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The receiver's name or route: others answer.
    Receiver,
    /// Perhaps our network.
    Unclear,
}

impl Network {
    /// Somebody answered: whatever it was, our network works. `true` when that ends being offline.
    pub(super) fn contact(&mut self, now: Timestamp) -> bool {
        self.contact = Some(now);
        self.first_failure = None;
        self.latest_failure = None;
        self.offline_since.take().is_some()
    }

    /// The resolver says that there is no such name, to a lane whose current run of network errors
    /// began at `since`.
    pub(super) fn unknown_name(&mut self, since: Timestamp, now: Timestamp) -> Blame {
        if self.latest_failure.is_some_and(|at| now.since(at) < DOUBT) {
            return self.failure_at(since, now, self.latest_failure);
        }
        self.offline_since = None;
        self.first_failure = None;
        Blame::Receiver
    }

    /// Any other network error of a lane whose current run of them began at `since`.
    pub(super) fn failure(&mut self, since: Timestamp, now: Timestamp) -> Blame {
        self.failure_at(since, now, Some(now))
    }

    fn failure_at(&mut self, since: Timestamp, now: Timestamp, latest: Option<Timestamp>) -> Blame {
        self.latest_failure = latest;
        let first = *self.first_failure.get_or_insert(now);
        if self.contact.is_some_and(|contact| contact > since) {
            return Blame::Receiver;
        }
        let quiet = now.since(self.contact.unwrap_or(first).max(Timestamp(0)));
        if self.offline_since.is_none() && (quiet >= QUIET || self.contact.is_none()) {
            self.offline_since = Some(now);
            self.next_probe = now.plus(PROBE_EVERY);
        }
        Blame::Unclear
    }

    pub(super) fn offline_since(&self) -> Option<Timestamp> {
        self.offline_since
    }

    /// Whether an attempt may be made at `now`: always while online, one a while otherwise.
    pub(super) fn may_try(&self, now: Timestamp) -> bool {
        self.offline_since.is_none() || now >= self.next_probe
    }

    /// An attempt was started for an endpoint that failed before.
    pub(super) fn tried(&mut self, now: Timestamp) {
        if self.offline_since.is_some() {
            self.next_probe = now.plus(PROBE_EVERY);
        }
    }

    /// When the next probe may be made, while offline.
    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        self.offline_since.map(|_| self.next_probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn others_answering_puts_the_blame_on_the_receiver() {
        let mut network = Network::default();
        network.contact(at(100));
        assert_eq!(network.failure(at(101), at(101)), Blame::Unclear);
        network.contact(at(103));
        assert_eq!(network.failure(at(101), at(106)), Blame::Receiver);
        assert_eq!(network.offline_since(), None);
    }

    #[test]
    fn nobody_answering_for_thirty_seconds_is_offline() {
        let mut network = Network::default();
        network.contact(at(100));
        assert_eq!(network.failure(at(110), at(129)), Blame::Unclear);
        assert_eq!(network.offline_since(), None);
        assert_eq!(network.failure(at(110), at(130)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(130)));
        assert!(!network.may_try(at(139)));
        assert!(network.may_try(at(140)));
        network.tried(at(140));
        assert!(!network.may_try(at(141)), "one at a time");
        assert!(network.contact(at(150)));
        assert!(network.may_try(at(150)));
    }

    #[test]
    fn a_name_that_does_not_exist_is_the_receivers_fault_but_for_doubt() {
        let mut network = Network::default();
        assert_eq!(network.unknown_name(at(100), at(100)), Blame::Receiver);
        assert_eq!(network.offline_since(), None, "alone, and right after the start");
        assert_eq!(network.failure(at(200), at(200)), Blame::Unclear);
        assert_eq!(network.unknown_name(at(201), at(201)), Blame::Unclear);
        assert_eq!(network.unknown_name(at(201), at(799)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(200)));
        assert_eq!(network.unknown_name(at(201), at(800)), Blame::Receiver);
        assert_eq!(network.offline_since(), None, "names are answered, and nothing else fails");
    }

    #[test]
    fn a_start_without_network_is_offline_at_once() {
        let mut network = Network::default();
        assert_eq!(network.failure(at(5), at(5)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(5)));
    }
}
