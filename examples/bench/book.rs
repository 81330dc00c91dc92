//! The receiver's book: what arrived, how often and how late, against what was accepted.
//!
//! Pure but for the clock's readings it is handed. Only the receiver's thread writes, so one byte
//! for each delivery is enough.
use std::sync::Arc;

use crate::mark::Mark;
use crate::stats::{Histogram, Timeline};

/// Deliveries a run can hold in its book, one byte each.
pub const MAX_SLOTS: usize = 200_000_000;

/// Which endpoints a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// Every message to every endpoint.
    All,
    /// Message `n` to endpoint `n mod endpoints` alone, by its channel.
    Spread,
}

/// How an endpoint of the receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers 200 at once.
    Good,
    /// Accepts, reads, and never answers.
    Dead,
    /// Answers 200 after [`crate::receiver::SLOW`].
    Slow,
    /// Answers 503 at once.
    Refusing,
    /// Not created at all: the same run without the sick ones.
    Absent,
}

/// What a run is going to look like from the receiver.
#[derive(Debug, Clone)]
pub struct Expect {
    pub run: u32,
    pub fan: Fan,
    pub manners: Arc<Vec<Manner>>,
    /// Signing keys by endpoint; empty when nothing is verified.
    pub keys: Arc<Vec<Vec<u8>>>,
    /// When it began.
    pub began: u64,
}

impl Expect {
    fn slot(&self, endpoint: usize, seq: usize) -> Option<usize> {
        let endpoints = self.manners.len();
        let slot = match self.fan {
            Fan::All => (endpoint < endpoints).then(|| seq * endpoints + endpoint)?,
            Fan::Spread => (seq % endpoints.max(1) == endpoint).then_some(seq)?,
        };
        (slot < MAX_SLOTS).then_some(slot)
    }

    fn good(&self, endpoint: usize) -> bool {
        self.manners.get(endpoint) == Some(&Manner::Good)
    }

    /// Endpoints that must get message `seq`.
    fn wanted(&self, seq: u32) -> impl Iterator<Item = usize> + '_ {
        let endpoints = self.manners.len();
        let seq = seq as usize;
        let range = match self.fan {
            Fan::All => 0..endpoints,
            Fan::Spread => (seq % endpoints.max(1))..(seq % endpoints.max(1) + 1),
        };
        range.filter(|endpoint| self.good(*endpoint))
    }
}

/// Counts of one run, only of endpoints that behave.
#[derive(Debug)]
pub struct Book {
    pub expect: Expect,
    seen: Vec<u8>,
    /// Deliveries that arrived, each counted once.
    pub arrived: u64,
    /// Deliveries that arrived again.
    pub duplicates: u64,
    /// Requests at endpoints that misbehave.
    pub sick: u64,
    /// Requests of another run, without a mark, or where they do not belong.
    pub strays: u64,
    /// Requests whose signature did not verify.
    pub forged: u64,
    /// From sending the POST to its arrival here, first arrivals only.
    pub latency: Histogram,
    pub timeline: Timeline,
    pub last: u64,
}

/// The book closed against the list of accepted messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub delivered: u64,
    pub missing: u64,
    /// Arrived though the load generator never saw it accepted.
    pub unasked: u64,
}

impl Book {
    pub fn open(expect: Expect) -> Self {
        Self {
            expect,
            seen: Vec::new(),
            arrived: 0,
            duplicates: 0,
            sick: 0,
            strays: 0,
            forged: 0,
            latency: Histogram::new(),
            timeline: Timeline::default(),
            last: 0,
        }
    }

    /// Notes one request and says how to answer it.
    pub fn note(&mut self, endpoint: usize, mark: Option<Mark>, now: u64) -> Manner {
        let manner = self.expect.manners.get(endpoint).copied().unwrap_or(Manner::Good);
        if manner != Manner::Good {
            self.sick += 1;
            return manner;
        }
        let mark = mark.filter(|mark| mark.run == self.expect.run);
        let slot = mark.and_then(|mark| {
            Some((mark, self.expect.slot(endpoint, usize::try_from(mark.seq).ok()?)?))
        });
        let Some((mark, slot)) = slot else {
            self.strays += 1;
            return manner;
        };
        if slot >= self.seen.len() {
            self.seen.resize((slot + 1).next_power_of_two().min(MAX_SLOTS), 0);
        }
        let Some(seen) = self.seen.get_mut(slot) else {
            return manner;
        };
        if *seen == 0 {
            self.arrived += 1;
            self.latency.add(now.saturating_sub(mark.sent));
            self.timeline.add(now.saturating_sub(self.expect.began));
        } else {
            self.duplicates += 1;
        }
        *seen = seen.saturating_add(1);
        self.last = now;
        manner
    }

    /// How many deliveries `accepted` messages cause at endpoints that behave.
    pub fn due(&self, accepted: &[u32]) -> u64 {
        match self.expect.fan {
            Fan::All => {
                let good = self.expect.manners.iter().filter(|manner| **manner == Manner::Good);
                good.count() as u64 * accepted.len() as u64
            }
            Fan::Spread => {
                let good = accepted.iter().filter(|seq| self.expect.wanted(**seq).next().is_some());
                good.count() as u64
            }
        }
    }

    pub fn tally(&self, accepted: &[u32]) -> Tally {
        let mut delivered = 0;
        for seq in accepted {
            for endpoint in self.expect.wanted(*seq) {
                let slot = self.expect.slot(endpoint, *seq as usize);
                let seen = slot.and_then(|slot| self.seen.get(slot)).copied().unwrap_or(0);
                delivered += u64::from(seen > 0);
            }
        }
        Tally {
            delivered,
            missing: self.due(accepted) - delivered,
            unasked: self.arrived - delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(fan: Fan, manners: &[Manner]) -> Book {
        let manners = Arc::new(manners.to_vec());
        Book::open(Expect { run: 3, fan, manners, keys: Arc::default(), began: 0 })
    }

    #[allow(clippy::unnecessary_wraps, reason = "shaped like what the book takes")]
    fn mark(seq: u32) -> Option<Mark> {
        Some(Mark { run: 3, seq, sent: 10 })
    }

    #[test]
    fn missing_duplicates_and_strays_are_told_apart() {
        let mut book = book(Fan::All, &[Manner::Good, Manner::Good]);
        for (endpoint, seq) in [(0, 0), (1, 0), (0, 1), (0, 1), (1, 9)] {
            book.note(endpoint, mark(seq), 20);
        }
        book.note(0, Some(Mark { run: 2, seq: 0, sent: 0 }), 20);
        book.note(0, None, 20);
        book.note(2, mark(0), 20);
        assert_eq!(book.tally(&[0, 1]), Tally { delivered: 3, missing: 1, unasked: 1 });
        assert_eq!((book.duplicates, book.strays, book.sick), (1, 3, 0));
        assert_eq!(book.latency.quantiles().count, 4);
    }

    #[test]
    fn only_the_healthy_are_waited_for() {
        let manners = [Manner::Good, Manner::Dead, Manner::Slow, Manner::Absent];
        let mut all = book(Fan::All, &manners);
        assert_eq!(all.note(1, mark(0), 20), Manner::Dead);
        assert_eq!(all.note(0, mark(0), 20), Manner::Good);
        assert_eq!(all.tally(&[0]), Tally { delivered: 1, missing: 0, unasked: 0 });
        assert_eq!((all.due(&[0, 1]), all.sick), (2, 1));
        let mut spread = book(Fan::Spread, &manners);
        spread.note(0, mark(4), 20);
        spread.note(0, mark(5), 20);
        assert_eq!(spread.due(&[4, 5, 6, 7, 8]), 2);
        assert_eq!(spread.tally(&[4, 5, 8]), Tally { delivered: 1, missing: 1, unasked: 0 });
        assert_eq!(spread.strays, 1);
    }

    #[test]
    fn a_book_has_a_last_page() {
        let mut book = book(Fan::All, &[Manner::Good]);
        let last = u32::try_from(MAX_SLOTS - 1).expect("fits");
        assert!(book.expect.slot(0, last as usize).is_some());
        book.note(0, mark(last + 1), 20);
        assert_eq!((book.arrived, book.strays), (0, 1));
    }
}
