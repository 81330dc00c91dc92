//! Why a request was refused: stable codes for programs, sentences for people.
//!
//! The codes are a promise: they are kept with refused requests, printed by the command line and
//! counted in metrics. A code is never renamed; a new case gets a new code. No text here holds a
//! secret or a signature.

use std::borrow::Cow;
use std::fmt;

/// A refused request: the reason, and a hint at what may be behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", Hint::tail(*.hint))]
pub struct Rejection {
    /// What was wrong.
    pub reason: Reason,
    /// What would commonly explain it.
    pub hint: Option<Hint>,
}

/// What was wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No secret was given to verify with. Never "nothing to check, so accept".
    #[error("no secret is configured, so nothing can be verified; add the provider's secret")]
    NoSecret,
    /// A `{cfg:NAME}` of the profile has no value.
    #[error("the profile needs the setting `{0}`; set it on the source (or with --set {0}=…)")]
    ConfigMissing(String),
    /// None of the places where a signature may be holds one.
    #[error("no signature: nothing in {0}; is the secret set at the provider?")]
    SignatureMissing(String),
    /// There is something, but nothing that could be a signature.
    #[error("the signature cannot be read: {0}")]
    SignatureMalformed(String),
    /// Well formed, and of other bytes or by another secret.
    #[error("the signature does not match: another secret, or the request was changed on its way")]
    SignatureMismatch,
    /// The signature is right for the same JSON or text in another spelling.
    #[error(
        "the signature matches the body {0}: something between sender and here re-encoded it; \
         pass the bytes through untouched"
    )]
    BodyWasReencoded(&'static str),
    /// Signed, but the digest of the body is not the one that was signed.
    #[error("the body does not have the digest that was signed; it was changed on its way")]
    BodyDigestMismatch,
    /// The profile needs a signed digest of the body and there is none.
    #[error("no digest of the body in {0}, and without one the signature does not cover it")]
    BodyDigestMissing(String),
    /// The profile needs a timestamp and there is none.
    #[error("no timestamp in {0}")]
    TimestampMissing(String),
    /// Not a time in the provider's format.
    #[error("the timestamp is not {0}")]
    TimestampMalformed(&'static str),
    /// Outside the tolerance. `seconds` is our clock minus theirs: positive is an old request.
    #[error("the request is {} {}, and {tolerance} s are tolerated; a replay, or a wrong clock",
        Seconds(*.seconds), if *.seconds > 0 { "old" } else { "ahead of our clock" })]
    TimestampSkew {
        /// Our clock minus the request's time, in seconds, rounded away from zero.
        seconds: i64,
        /// What would have been accepted, in seconds either way.
        tolerance: u64,
    },
    /// The id is part of what is signed, and there is none.
    #[error("no id in {0}, and the id is part of what is signed")]
    IdMissing(String),
    /// A header that decides was sent more than once; which one counts is anyone's guess.
    #[error("the header `{0}` was sent more than once")]
    DuplicateHeader(String),
    /// A query parameter, form field or signature field that decides was sent more than once.
    #[error("`{0}` was sent more than once")]
    DuplicateParameter(String),
    /// A header that must have a certain value has another or none.
    #[error("`{name}` must be `{expected}`")]
    RequiredHeader {
        /// Where the value is looked for.
        name: String,
        /// What it must be.
        expected: String,
    },
    /// A part of the signed text is not in the request.
    #[error("`{0}` is part of what is signed, and the request has none")]
    SignedValueMissing(String),
    /// More fields, items or signatures than are ever looked at.
    #[error("the request has more {what} than the {limit} that are looked at")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A handshake that cannot be answered: its value is missing, or too long to be echoed.
    #[error("the handshake cannot be answered: {0}")]
    HandshakeMalformed(&'static str),
    /// The source takes CloudEvents, and this is none.
    #[error("the request is no CloudEvent: {0}")]
    CloudEventMalformed(String),
}

impl Reason {
    /// The stable code, with its figure where it has one: `signature_mismatch`,
    /// `timestamp_skew=+412s` (the request is 412 seconds old; `-` is ahead of our clock).
    pub fn code(&self) -> Cow<'static, str> {
        if let Self::TimestampSkew { seconds, .. } = self {
            return format!("{}={seconds:+}s", self.name()).into();
        }
        self.name().into()
    }

    /// The code without a figure, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::ConfigMissing(_) => "config_missing",
            Self::SignatureMissing(_) => "signature_missing",
            Self::SignatureMalformed(_) => "signature_malformed",
            Self::SignatureMismatch => "signature_mismatch",
            Self::BodyWasReencoded(_) => "body_was_reencoded",
            Self::BodyDigestMismatch => "body_digest_mismatch",
            Self::BodyDigestMissing(_) => "body_digest_missing",
            Self::TimestampMissing(_) => "timestamp_missing",
            Self::TimestampMalformed(_) => "timestamp_malformed",
            Self::TimestampSkew { .. } => "timestamp_skew",
            Self::IdMissing(_) => "id_missing",
            Self::DuplicateHeader(_) => "duplicate_header",
            Self::DuplicateParameter(_) => "duplicate_parameter",
            Self::RequiredHeader { .. } => "required_header",
            Self::SignedValueMissing(_) => "signed_value_missing",
            Self::TooMany { .. } => "too_many_values",
            Self::HandshakeMalformed(_) => "handshake_malformed",
            Self::CloudEventMalformed(_) => "cloud_event_malformed",
        }
    }
}

/// What would commonly explain a signature that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The secret is one that is printed in documentation, or a placeholder.
    SecretLooksLikeTestKey,
    /// The secret begins or ends with white space, as when it was read from a file.
    SecretHasWhitespace,
    /// The URL is part of what is signed, so the configured one must be the provider's to a letter.
    UrlIsSigned,
}

impl Hint {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::SecretLooksLikeTestKey => "secret_looks_like_test_key",
            Self::SecretHasWhitespace => "secret_has_whitespace",
            Self::UrlIsSigned => "url_is_signed",
        }
    }

    fn tail(hint: Option<Self>) -> &'static str {
        match hint {
            None => "",
            Some(Self::SecretLooksLikeTestKey) => {
                " (the secret looks like a placeholder or one from documentation)"
            }
            Some(Self::SecretHasWhitespace) => " (the secret begins or ends with white space)",
            Some(Self::UrlIsSigned) => {
                " (the URL is signed too: the configured one must be the provider's to a letter)"
            }
        }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, hint: None }
    }
}

struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_carry_their_figure() {
        let skew = |seconds| Reason::TimestampSkew { seconds, tolerance: 300 };
        assert_eq!(skew(412).code(), "timestamp_skew=+412s");
        assert_eq!(skew(-301).code(), "timestamp_skew=-301s");
        assert_eq!(skew(412).name(), "timestamp_skew");
        assert_eq!(Reason::SignatureMismatch.code(), "signature_mismatch");
        assert!(skew(412).to_string().starts_with("the request is 412 s old, and 300 s are"));
        assert!(skew(-301).to_string().contains("301 s ahead of our clock"));
    }

    #[test]
    fn a_hint_follows_the_sentence() {
        let hint = Some(Hint::SecretHasWhitespace);
        let rejection = Rejection { reason: Reason::SignatureMismatch, hint };
        assert!(
            rejection.to_string().ends_with("its way (the secret begins or ends with white space)")
        );
    }
}
