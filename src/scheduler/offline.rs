//! Offline: is it the receivers, or is it our own network?
//!
//! A network error (no route, no answer of the resolver) may be ours until somebody answers. It is
//! ours when nobody answered in the last [`QUIET`] and something else says so too: this machine has
//! lost its way out, or a second host fails in the same manner. Then the daemon itself is offline: it
//! holds the queues of all whose attempts failed so, counts no attempts, probes, and resumes. Who was
//! not tried since is tried once.
//!
//! One host alone, while there is a way out, is held for [`QUIET`] in case another says the same;
//! after that its failures are its own and are counted, until somebody answers or another fails too.
//! So a single name whose servers are broken is paused and disabled like any other endpoint. All
//! endpoints of one host are one host here.
//!
//! A name of which the resolver says that it does not exist is the receiver's fault, whoever else
//! is tried: the resolver was there to be asked. Only while other errors put our network in doubt
//! that is not believed, since a resolver that is cut off may say so too.

use std::time::Duration;

use crate::model::clock::Timestamp;

/// No answer from anybody for so long, and network errors instead: offline. For one host alone: its
/// own fault.
pub const QUIET: Duration = Duration::from_secs(30);
/// A delivery whose failure may be ours is tried again so much later.
pub const SUSPECT_WAIT: Duration = Duration::from_secs(5);
/// Network errors put our network in doubt for so long.
pub const DOUBT: Duration = Duration::from_secs(600);
/// While offline, one delivery is tried so often.
pub const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Hosts whose errors are remembered: a second one is all that has to be told from the first.
const SUSPECTS: usize = 2;

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
    /// Who failed since the latest contact, at most [`SUSPECTS`].
    suspects: Vec<Suspect>,
}

/// A host that could not be reached.
#[derive(Debug)]
struct Suspect {
    host: String,
    /// Since when nothing but its own errors speaks for a fault of ours.
    alone_since: Timestamp,
    latest: Timestamp,
    /// Others answered while it failed: it says nothing of our network.
    is_guilty: bool,
}

/// A network error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble<'a> {
    /// Whom it was to reach.
    pub(super) host: &'a str,
    /// When the lane's current run of network errors began.
    pub(super) since: Timestamp,
    /// This machine has lost its way out.
    pub(super) is_cut_off: bool,
}

/// What a network error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The receiver's name or route: others answer, or it alone fails.
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
        self.suspects.clear();
        self.offline_since.take().is_some()
    }

    /// The resolver says that there is no such name.
    pub(super) fn unknown_name(&mut self, trouble: &Trouble<'_>, now: Timestamp) -> Blame {
        if self.latest_failure.is_some_and(|at| now.since(at) < DOUBT) {
            return self.blame(trouble, now, None);
        }
        self.offline_since = None;
        self.first_failure = None;
        Blame::Receiver
    }

    /// Any other network error.
    pub(super) fn failure(&mut self, trouble: &Trouble<'_>, now: Timestamp) -> Blame {
        let before = self.latest_failure.replace(now);
        let at = self.suspect(trouble.host, now);
        let blame = self.blame(trouble, now, Some(at));
        // While it failed, somebody answered. That puts nothing in doubt that was not before.
        let is_guilty = self.was_reached_since(trouble);
        if is_guilty {
            self.latest_failure = before;
        }
        if let Some(suspect) = self.suspects.get_mut(at) {
            suspect.is_guilty = is_guilty;
        }
        blame
    }

    /// Whether anybody answered after it began.
    fn was_reached_since(&self, trouble: &Trouble<'_>) -> bool {
        self.contact.is_some_and(|contact| contact > trouble.since)
    }

    /// Remembers who failed; its place among the suspects.
    fn suspect(&mut self, host: &str, now: Timestamp) -> usize {
        let known = self.suspects.iter().position(|it| it.host == host);
        let at = known.unwrap_or_else(|| {
            if self.suspects.len() == SUSPECTS {
                self.suspects.sort_by_key(|it| std::cmp::Reverse(it.latest));
                self.suspects.pop();
            }
            let host = host.to_owned();
            self.suspects.push(Suspect { host, alone_since: now, latest: now, is_guilty: false });
            self.suspects.len() - 1
        });
        if let Some(suspect) = self.suspects.get_mut(at) {
            suspect.latest = now;
        }
        at
    }

    fn blame(&mut self, trouble: &Trouble<'_>, now: Timestamp, suspect: Option<usize>) -> Blame {
        let first = *self.first_failure.get_or_insert(now);
        if self.was_reached_since(trouble) {
            return Blame::Receiver;
        }
        let others = self
            .suspects
            .iter()
            .any(|it| it.host != trouble.host && !it.is_guilty && now.since(it.latest) < DOUBT);
        let suspect = suspect.and_then(|at| self.suspects.get_mut(at));
        if !trouble.is_cut_off && !others {
            self.offline_since = None;
            let is_proven = suspect.is_some_and(|it| now.since(it.alone_since) >= QUIET);
            if is_proven {
                // Nothing is in doubt any more.
                self.latest_failure = None;
                return Blame::Receiver;
            }
            return Blame::Unclear;
        }
        if let Some(suspect) = suspect {
            suspect.alone_since = now;
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

    /// An error of a lane whose run began at `since`, while the machine has lost its way out.
    fn cut_off(since: u64) -> Trouble<'static> {
        Trouble { host: "a.example", since: at(since), is_cut_off: true }
    }

    /// The same while it has one.
    fn of(host: &str, since: u64) -> Trouble<'_> {
        Trouble { host, since: at(since), is_cut_off: false }
    }

    #[test]
    fn others_answering_puts_the_blame_on_the_receiver() {
        let mut network = Network::default();
        network.contact(at(100));
        assert_eq!(network.failure(&cut_off(101), at(101)), Blame::Unclear);
        network.contact(at(103));
        assert_eq!(network.failure(&cut_off(101), at(106)), Blame::Receiver);
        assert_eq!(network.offline_since(), None);
    }

    #[test]
    fn nobody_answering_for_thirty_seconds_is_offline() {
        let mut network = Network::default();
        network.contact(at(100));
        assert_eq!(network.failure(&cut_off(110), at(129)), Blame::Unclear);
        assert_eq!(network.offline_since(), None);
        assert_eq!(network.failure(&cut_off(110), at(130)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(130)));
        assert!(!network.may_try(at(139)));
        assert!(network.may_try(at(140)));
        network.tried(at(140));
        assert!(!network.may_try(at(141)), "one at a time");
        assert!(network.contact(at(150)));
        assert!(network.may_try(at(150)));
    }

    #[test]
    fn one_host_alone_is_its_own_fault_after_a_while() {
        let mut network = Network::default();
        for (now, blame) in [
            (0, Blame::Unclear),
            (29, Blame::Unclear),
            (30, Blame::Receiver),
            (35, Blame::Receiver),
            (40_000, Blame::Receiver),
        ] {
            assert_eq!(network.failure(&of("a.example", 0), at(now)), blame, "after {now} s");
            assert_eq!(network.offline_since(), None, "after {now} s");
        }
        let unknown = network.unknown_name(&of("b.example", 40_001), at(40_001));
        assert_eq!(unknown, Blame::Receiver, "nothing is in doubt");
    }

    #[test]
    fn two_hosts_are_our_network_and_one_that_failed_long_ago_is_not() {
        let mut network = Network::default();
        assert_eq!(network.failure(&of("a.example", 0), at(0)), Blame::Unclear);
        assert_eq!(network.failure(&of("b.example", 1), at(1)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(1)));
        for now in (10..7200).step_by(20) {
            assert_eq!(network.failure(&of("a.example", 0), at(now)), Blame::Unclear);
            assert_eq!(network.failure(&of("b.example", 1), at(now + 10)), Blame::Unclear);
        }
        assert_eq!(network.offline_since(), Some(at(1)));
        let mut network = Network::default();
        network.failure(&of("a.example", 0), at(0));
        assert_eq!(network.failure(&of("b.example", 600), at(600)), Blame::Unclear);
        assert_eq!(network.offline_since(), None, "ten minutes later");
        assert_eq!(network.failure(&of("b.example", 600), at(630)), Blame::Receiver);
        // Who fails is known by its host, however many have failed before.
        for n in 0..5 {
            let host = format!("{n}.example");
            assert_eq!(network.failure(&of(&host, 700), at(700)), Blame::Unclear, "{host}");
        }
        assert!(network.suspects.len() <= SUSPECTS);
    }

    #[test]
    fn who_is_known_to_be_at_fault_says_nothing_of_our_network() {
        let mut network = Network::default();
        network.contact(at(100));
        assert_eq!(network.failure(&of("a.example", 50), at(110)), Blame::Receiver);
        assert_eq!(network.unknown_name(&of("unknown.example", 160), at(160)), Blame::Receiver);
        assert_eq!(network.failure(&of("b.example", 160), at(160)), Blame::Unclear);
        assert_eq!(network.failure(&of("a.example", 50), at(170)), Blame::Receiver);
        assert_eq!(network.failure(&of("b.example", 160), at(190)), Blame::Receiver);
        assert_eq!(network.offline_since(), None);
    }

    #[test]
    fn a_way_out_that_is_back_gives_a_host_its_time_anew() {
        let mut network = Network::default();
        for now in (0..7200).step_by(10) {
            assert_eq!(network.failure(&cut_off(0), at(now)), Blame::Unclear);
        }
        assert_eq!(network.offline_since(), Some(at(0)));
        assert_eq!(network.failure(&of("a.example", 0), at(7200)), Blame::Unclear);
        assert_eq!(network.offline_since(), None, "others may be tried");
        assert_eq!(network.failure(&of("a.example", 0), at(7219)), Blame::Unclear);
        assert_eq!(network.failure(&of("a.example", 0), at(7220)), Blame::Receiver);
    }

    #[test]
    fn a_name_that_does_not_exist_is_the_receivers_fault_but_for_doubt() {
        let mut network = Network::default();
        let unknown = |since| of("unknown.example", since);
        assert_eq!(network.unknown_name(&unknown(100), at(100)), Blame::Receiver);
        assert_eq!(network.offline_since(), None, "alone, and right after the start");
        assert_eq!(network.failure(&of("a.example", 200), at(200)), Blame::Unclear);
        assert_eq!(network.unknown_name(&unknown(201), at(201)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(201)));
        assert_eq!(network.unknown_name(&unknown(201), at(799)), Blame::Unclear);
        assert_eq!(network.unknown_name(&unknown(201), at(800)), Blame::Receiver);
        assert_eq!(network.offline_since(), None, "names are answered, and nothing else fails");
    }

    #[test]
    fn a_start_without_a_way_out_is_offline_at_once() {
        let mut network = Network::default();
        assert_eq!(network.failure(&cut_off(5), at(5)), Blame::Unclear);
        assert_eq!(network.offline_since(), Some(at(5)));
    }
}
