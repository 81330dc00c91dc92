//! Scripted receivers.

use std::time::Duration;

use super::Dice;
use crate::model::outcome::{Failure, Outcome, Phase};

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Takes everything.
    Well,
    /// Answers 500 every other time or so.
    Moody,
    /// Answers 500 so many times, then takes everything.
    Fails(u8),
    /// Answers 500.
    Broken,
    /// Never answers.
    Silent,
    /// Answers 503 and asks for so many seconds.
    Busy(u64),
    /// Answers 410.
    Gone,
    /// The resolver says that there is no such name.
    Unknown,
    /// The resolver cannot say whether there is such a name.
    Unresolved,
}

impl Manner {
    pub(super) fn any(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0..=4 => Self::Well,
            5 => Self::Moody,
            6 => Self::Fails(u8::try_from(dice.below(12)).unwrap()),
            7 => Self::Broken,
            8 => Self::Silent,
            9 => Self::Busy([7, 4000, 200_000][dice.below(3)]),
            10 if dice.one_in(2) => Self::Unknown,
            10 => Self::Unresolved,
            _ if dice.one_in(6) => Self::Gone,
            _ => Self::Well,
        }
    }

    /// What comes of an attempt.
    pub(super) fn answer(&mut self, dice: &mut Dice) -> Outcome {
        let failed = |failure| Outcome::failed(failure, Duration::from_millis(5));
        let status = |code| Outcome { status: Some(code), ..failed(Failure::Status(code)) };
        match self {
            Self::Moody if dice.one_in(2) => status(500),
            Self::Fails(left) if *left > 0 => {
                *left -= 1;
                status(500)
            }
            Self::Well | Self::Moody | Self::Fails(_) => Outcome {
                status: Some(204),
                body: Vec::new(),
                retry_after: None,
                failure: None,
                duration: Duration::from_millis(3),
            },
            Self::Broken => Outcome { body: vec![b'x'; dice.below(16_384)], ..status(500) },
            Self::Silent => failed(Failure::Timeout { phase: Phase::Headers }),
            Self::Busy(seconds) => {
                Outcome { retry_after: Some(Duration::from_secs(*seconds)), ..status(503) }
            }
            Self::Gone => status(410),
            Self::Unknown | Self::Unresolved => failed(Failure::Dns {
                detail: "look-up".to_owned(),
                is_answer: *self == Self::Unknown,
            }),
        }
    }
}

/// What comes of an attempt while our own network is gone.
pub(super) fn no_network(keeps_route: bool) -> Outcome {
    let failure = if keeps_route {
        Failure::Dns { detail: "look-up".to_owned(), is_answer: false }
    } else {
        Failure::NetworkUnreachable
    };
    Outcome::failed(failure, Duration::from_millis(1))
}
