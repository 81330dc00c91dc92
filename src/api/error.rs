//! What a caller is told when something is refused. One type, one table of codes.
//!
//! Two shapes, both svix's: `{"code", "detail"}`, and for input that breaks a rule 422
//! `{"detail": [{"loc", "msg", "type"}]}`. What the log gets is another string.

use std::fmt::Display;

use serde_json::{Value, json};

use super::reply::Reply;
use crate::store::Error;

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    body: Value,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u32>,
    /// What went wrong on our side, for the log alone.
    pub internal: Option<String>,
}

impl ApiError {
    /// A refusal with a stable code and a text for people.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let body = json!({ "code": code, "detail": detail.into() });
        Self { status, body, retry_after: None, internal: None }
    }

    /// 400: something is wrong with the request as a whole.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "generic_error", detail)
    }

    /// 401: who asks is not known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "authentication_failed", detail)
    }

    /// 403: who asks may not.
    pub fn forbidden() -> Self {
        Self::new(403, "insufficient access", "this token may not do that: use an operator token")
    }

    /// 403: the token is limited, and not to this.
    pub fn lacks(capability: &str) -> Self {
        let detail = format!("this token lacks the capability {capability}");
        Self::new(403, "insufficient access", detail)
    }

    /// 429: too many bad tokens from one address.
    pub fn too_many_failures(wait: std::time::Duration) -> Self {
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let detail = format!(
            "too many requests with a bad token came from this address; try again in {seconds} s"
        );
        Self::new(429, "too_many_failures", detail).later(seconds)
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "Entity not found")
    }

    /// 500: our fault. The cause goes to the log.
    pub fn internal(cause: impl Display) -> Self {
        let detail = "something went wrong here; the log of the daemon says what";
        let mut error = Self::new(500, "internal_error", detail);
        error.internal = Some(cause.to_string());
        error
    }

    /// 422: one field of the input breaks a rule. `place` is `body`, `query` or `path`; `message`
    /// names the value and the way out.
    pub fn invalid(place: &str, field: &str, message: impl Display) -> Self {
        Self::invalid_as("value_error", place, field, message)
    }

    /// 422: several things are wrong with the body.
    pub fn all_invalid(problems: &[String]) -> Self {
        let problem = |text| json!({ "loc": ["body"], "msg": text, "type": "value_error" });
        let detail: Vec<Value> = problems.iter().map(problem).collect();
        Self { body: json!({ "detail": detail }), ..Self::invalid("body", "", "") }
    }

    /// Like [`ApiError::invalid`], with a `type` of its own.
    pub fn invalid_as(kind: &str, place: &str, field: &str, message: impl Display) -> Self {
        let fields = field.split('.').filter(|part| !part.is_empty());
        let loc: Vec<String> = std::iter::once(place).chain(fields).map(str::to_owned).collect();
        Self::problem(kind, &loc, message)
    }

    /// Like [`ApiError::invalid`], with the whole way to the value.
    pub fn invalid_at(loc: &[String], message: impl Display) -> Self {
        Self::problem("value_error", loc, message)
    }

    fn problem(kind: &str, loc: &[String], message: impl Display) -> Self {
        let problem = json!({ "loc": loc, "msg": message.to_string(), "type": kind });
        Self {
            status: 422,
            body: json!({ "detail": [problem] }),
            retry_after: None,
            internal: None,
        }
    }

    /// The same with a word by which the request is found in the log.
    #[must_use]
    pub fn with_request_id(mut self, id: &str) -> Self {
        if let Some(Value::String(detail)) = self.body.get_mut("detail") {
            for part in [" (request ", id, ")"] {
                detail.push_str(part);
            }
        }
        self
    }

    /// Whether a name was taken.
    pub fn is_conflict(&self) -> bool {
        self.status == 409 && self.body.get("code").is_some_and(|code| code == "conflict")
    }

    /// The answer.
    pub fn into_reply(self) -> Reply {
        let reply = Reply::json(self.status, &self.body);
        match self.retry_after {
            Some(seconds) => reply.with_header("retry-after", &seconds.to_string()),
            None => reply,
        }
    }

    fn later(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<Error> for ApiError {
    fn from(err: Error) -> Self {
        let text = err.to_string();
        match err {
            Error::NotFound(_) => Self::not_found(),
            Error::Conflict { field, value } => {
                let detail = format!("{field} {value:?} is already in use; choose another");
                Self::new(409, "conflict", detail)
            }
            Error::IdempotencyMismatch => Self::new(409, "idempotency_conflict", text),
            Error::Limit(text) => Self::new(400, "limit_reached", text),
            Error::PayloadGone => Self::new(400, "missing_payload", text),
            Error::Busy => Self::new(503, "busy", text).later(1),
            Error::DiskFull { .. } | Error::StoreFull { .. } => {
                Self::new(507, "storage_full", text).later(30)
            }
            Error::Closing => Self::new(503, "stopping", "the daemon is stopping").later(5),
            Error::Locked(_)
            | Error::NoRoom(_)
            | Error::Newer { .. }
            | Error::NoKey { .. }
            | Error::WrongKey { .. }
            | Error::Corrupt { .. }
            | Error::Io { .. } => Self::internal(text),
        }
    }
}
