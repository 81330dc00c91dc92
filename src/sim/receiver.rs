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
    /// Answers 500.
    Broken,
    /// Never answers.
    Silent,
    /// Answers 503 and asks for so many seconds.
    Busy(u64),
    /// Answers 410.
    Gone,
    /// Its name cannot be resolved.
    Unknown,
}

impl Manner {
    pub(super) fn any(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0..=4 => Self::Well,
            5 | 6 => Self::Moody,
            7 => Self::Broken,
            8 => Self::Silent,
            9 => Self::Busy(7),
            10 => Self::Unknown,
            _ if dice.one_in(6) => Self::Gone,
            _ => Self::Well,
        }
    }

    /// What comes of an attempt.
    pub(super) fn answer(self, dice: &mut Dice) -> Outcome {
        let failed = |failure| Outcome::failed(failure, Duration::from_millis(5));
        let status = |code| Outcome { status: Some(code), ..failed(Failure::Status(code)) };
        match self {
            Self::Moody if dice.one_in(2) => status(500),
            Self::Well | Self::Moody => Outcome {
                status: Some(204),
                body: Vec::new(),
                retry_after: None,
                failure: None,
                duration: Duration::from_millis(3),
            },
            Self::Broken => Outcome { body: vec![b'x'; dice.below(16_384)], ..status(500) },
            Self::Silent => failed(Failure::Timeout { phase: Phase::Headers }),
            Self::Busy(seconds) => {
                Outcome { retry_after: Some(Duration::from_secs(seconds)), ..status(503) }
            }
            Self::Gone => status(410),
            Self::Unknown => failed(Failure::Dns { detail: "no such name".to_owned() }),
        }
    }
}
