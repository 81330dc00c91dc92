//! An answer: a status, a JSON body, a few headers.

use bytes::Bytes;
use serde::Serialize;

use crate::store::idempotency::Answer;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; empty for 204.
    pub body: Bytes,
    /// Headers beside `content-type`, which is there when there is a body.
    pub headers: Vec<(&'static str, String)>,
    /// What the body is.
    pub content_type: &'static str,
}

impl Reply {
    /// A JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        // Our wire types are plain structs and maps with string keys: there is no error to have.
        Self::bytes(status, serde_json::to_vec(body).unwrap_or_default())
    }

    /// A body that is JSON already.
    pub fn bytes(status: u16, body: impl Into<Bytes>) -> Self {
        let content_type = "application/json";
        Self { status, body: body.into(), headers: Vec::new(), content_type }
    }

    /// An answer that was made by the commit thread.
    pub fn of(answer: Answer) -> Self {
        match answer {
            Answer::Body { status, body } => Self::bytes(status, body),
            // Only made by accepting a message, which renders it itself.
            Answer::Message { message, .. } => {
                Self::json(202, &serde_json::json!({ "id": message.to_string() }))
            }
        }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self::bytes(204, Bytes::new())
    }

    /// Elsewhere.
    pub fn redirect(to: &str) -> Self {
        Self { status: 307, ..Self::no_content() }.with_header("location", to)
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}
