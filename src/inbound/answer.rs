//! What a sender is answered with.

use bytes::Bytes;

use crate::model::id::MessageId;
use crate::signature::{Handshake, OkResponse};
use crate::store::Error;

/// Seconds after which a sender may come again when the disk is full or the daemon stops.
const LATER: u32 = 30;

/// The header that names the message an event became: the one id from here to every attempt.
const MESSAGE: &str = "posthaste-message";

/// An answer: a status, headers, a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers but `content-length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    fn new(status: u16, content_type: Option<&str>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut answer = Self { status, headers: Vec::new(), body };
        if let Some(content_type) = content_type {
            answer.headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        answer
    }

    /// A refusal with a stable code and a sentence for people.
    pub fn refused(status: u16, code: &str, detail: &str) -> Self {
        let body = serde_json::json!({ "code": code, "detail": detail }).to_string();
        Self::new(status, Some("application/json"), body).with("x-content-type-options", "nosniff")
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Come again later.
    pub fn later(status: u16, code: &str, detail: &str, seconds: u32) -> Self {
        Self::refused(status, code, detail).with("retry-after", &seconds.to_string())
    }

    /// Accepted, now or before: what the provider expects to hear, or an empty 200.
    pub(super) fn ok(expected: Option<&OkResponse>) -> Self {
        match expected {
            None => Self::new(200, None, Bytes::new()),
            Some(ok) => Self::new(ok.status, Some(&ok.content_type), ok.body.clone()),
        }
    }

    /// Accepted as this message.
    pub(super) fn accepted(expected: Option<&OkResponse>, message: MessageId) -> Self {
        Self::ok(expected).with(MESSAGE, &message.to_string())
    }

    pub(super) fn handshake(handshake: &Handshake) -> Self {
        let content_type = handshake.content_type.as_deref();
        let mut answer = Self::new(handshake.status, content_type, handshake.body.clone());
        answer.headers.extend(handshake.headers.iter().cloned());
        answer
    }

    /// What an error of the store is to a sender: always something to come again for, because
    /// nothing is wrong with the request.
    pub(super) fn store_error(error: &Error) -> Self {
        match error {
            Error::Busy => Self::later(503, "busy", "too much waits to be written", 1),
            Error::DiskFull { .. } | Error::StoreFull { .. } => {
                Self::later(507, "storage_full", "there is no room to keep the event", LATER)
            }
            Error::Closing => Self::later(503, "stopping", "the daemon is stopping", LATER),
            Error::NotFound(_)
            | Error::Conflict { .. }
            | Error::IdempotencyMismatch
            | Error::Limit(_)
            | Error::PayloadGone
            | Error::Locked(_)
            | Error::NoRoom(_)
            | Error::Newer { .. }
            | Error::NoKey { .. }
            | Error::WrongKey { .. }
            | Error::Corrupt { .. }
            | Error::Io { .. } => {
                tracing::error!(%error, "an event could not be accepted");
                Self::later(500, "internal_error", "something went wrong here", LATER)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_pass_says_when_to_come_again() {
        for (error, status) in [
            (Error::Busy, 503),
            (Error::DiskFull { free: 1, needed: 2 }, 507),
            (Error::StoreFull { limit: 1 }, 507),
            (Error::Closing, 503),
            (Error::NotFound("application"), 500),
        ] {
            let answer = Answer::store_error(&error);
            assert_eq!(answer.status, status);
            assert!(answer.headers.iter().any(|(name, _)| name == "retry-after"), "{error}");
        }
    }
}
