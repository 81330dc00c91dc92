//! An attempt: one HTTP request made for a delivery, and what came back.

use super::clock::Timestamp;
use super::delivery::Trigger;
use super::id::{AttemptId, EndpointId, MessageId};

/// One HTTP request and what came back. Never changed, but for its response being expunged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Set once.
    pub id: AttemptId,
    /// What was sent.
    pub message: MessageId,
    /// To whom.
    pub endpoint: EndpointId,
    /// The URL at that time.
    pub url: String,
    /// Which try of the delivery this was: 1 for the first.
    pub number: u16,
    /// Why it was made.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// Whether a 2xx came back.
    pub succeeded: bool,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// The answer's body, at most [`super::limits::RESPONSE_BYTES`]; or, when no answer came, what
    /// went wrong in words.
    pub response: Vec<u8>,
    /// A stable code for what went wrong, empty for a success.
    pub failure_code: String,
}
