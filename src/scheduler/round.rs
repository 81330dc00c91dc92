//! The round: whose turn it is. Applications take turns, and within each its endpoints do, so that
//! an application with a thousand endpoints that have a backlog gets no more of the threads than
//! one that has a single message.

use std::collections::{HashMap, VecDeque};

use crate::model::id::{AppId, EndpointId};

/// Endpoints that are ready. Each stands in it at most once; the caller sees to that.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Their turn had come already; the latest first.
    first: Vec<EndpointId>,
    /// Applications that have somebody ready.
    turns: VecDeque<AppId>,
    ready: HashMap<AppId, VecDeque<EndpointId>>,
    len: usize,
}

impl Round {
    /// Who is next.
    pub(super) fn pop(&mut self) -> Option<EndpointId> {
        if let Some(id) = self.first.pop() {
            self.len -= 1;
            return Some(id);
        }
        let app = self.turns.pop_front()?;
        let ready = self.ready.get_mut(&app)?;
        let next = ready.pop_front();
        if ready.is_empty() {
            self.ready.remove(&app);
        } else {
            self.turns.push_back(app);
        }
        self.len -= usize::from(next.is_some());
        next
    }

    /// Its turn comes after that of all others of its application.
    pub(super) fn push(&mut self, app: AppId, id: EndpointId) {
        let ready = self.ready.entry(app).or_default();
        if ready.is_empty() {
            self.turns.push_back(app);
        }
        ready.push_back(id);
        self.len += 1;
    }

    /// Its turn had come already: it is next.
    pub(super) fn push_first(&mut self, id: EndpointId) {
        self.first.push(id);
        self.len += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(n: u8) -> AppId {
        AppId([n; 20])
    }

    fn endpoint(n: u8) -> EndpointId {
        EndpointId([n; 20])
    }

    fn drain(round: &mut Round) -> Vec<u8> {
        std::iter::from_fn(|| round.pop()).map(|id| id.0[0]).collect()
    }

    #[test]
    fn applications_take_turns_and_then_their_endpoints() {
        let mut round = Round::default();
        for (owner, n) in [(1, 11), (1, 12), (1, 13), (2, 21), (3, 31), (3, 32)] {
            round.push(app(owner), endpoint(n));
        }
        assert_eq!(round.len(), 6);
        assert_eq!(drain(&mut round), [11, 21, 31, 12, 32, 13]);
        assert_eq!(round.len(), 0);
        round.push(app(1), endpoint(11));
        assert_eq!(drain(&mut round), [11], "empty is as new");
    }

    #[test]
    fn whose_turn_had_come_goes_first() {
        let mut round = Round::default();
        for (owner, n) in [(1, 11), (2, 21), (2, 22)] {
            round.push(app(owner), endpoint(n));
        }
        round.push_first(endpoint(23));
        round.push_first(endpoint(31));
        assert_eq!(round.len(), 5);
        assert_eq!(drain(&mut round), [31, 23, 11, 21, 22]);
        assert_eq!(round.len(), 0);
    }
}
