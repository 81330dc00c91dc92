//! What can go wrong between the command line and the daemon, in words.

use serde_json::Value;

/// Longest piece of a daemon's own words shown in an error, in characters.
const MAX_DETAIL_CHARS: usize = 400;

/// Why a request did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `--server` is not an address.
    #[error("server address {server:?} cannot be used: {why}")]
    BadServer {
        /// As given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// `--proxy` is not an address.
    #[error("proxy address cannot be used: {why}")]
    BadProxy {
        /// What is wrong with it; the address itself may hold a password.
        why: String,
    },
    /// A name that cannot stand in a path.
    #[error("{name:?} is not an id, a uid or a name")]
    BadName {
        /// As given.
        name: String,
    },
    /// The request could not even be built, for example with a line break in the token.
    #[error("request cannot be sent: {why}")]
    Unsendable {
        /// What is wrong.
        why: String,
    },
    /// Nobody answered: wrong address, daemon down, or too slow.
    #[error(
        "no posthaste answers at {server} ({why}); start one with `posthaste serve`, or say where it is with --server or POSTHASTE_SERVER"
    )]
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What the network said.
        why: String,
    },
    /// The daemon said no.
    #[error("{request} was refused with {status}: {text}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// The contract's `code`, if there was one.
        code: Option<String>,
        /// Code and detail, or every validation error, as one text.
        text: String,
    },
    /// An answer that is not JSON: most likely another program listens there.
    #[error("{request} was answered with {status} but not in JSON; is it a posthaste?")]
    NotJson {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
    },
    /// A list without `data`.
    #[error("answer to {route} is not a list")]
    NotAPage {
        /// The path.
        route: String,
    },
}

impl ClientError {
    /// Whether the daemon could not be reached at all (exit code 3).
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the fault lies in what was typed (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::BadServer { .. } | Self::BadProxy { .. } | Self::BadName { .. })
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::BadServer { .. }
            | Self::BadProxy { .. }
            | Self::BadName { .. }
            | Self::Unsendable { .. }
            | Self::Unreachable { .. }
            | Self::NotJson { .. }
            | Self::NotAPage { .. } => None,
        }
    }

    pub(super) fn from_ureq(server: &str, error: ureq::Error) -> Self {
        if let ureq::Error::BadUri(why) = error {
            return Self::BadServer { server: server.to_owned(), why };
        }
        if let ureq::Error::Http(why) = error {
            return Self::Unsendable { why: why.to_string() };
        }
        let why =
            if let ureq::Error::Io(why) = error { why.to_string() } else { error.to_string() };
        Self::Unreachable { server: server.to_owned(), why: lower_first(&why) }
    }

    pub(super) fn from_answer(status: u16, body: &[u8], request: &str) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return Self::NotJson { request: request.to_owned(), status };
        };
        let code = body.get("code").and_then(Value::as_str).map(str::to_owned);
        let mut text = match (&code, body.get("detail")) {
            (_, Some(Value::Array(errors))) => {
                errors.iter().map(validation).collect::<Vec<_>>().join("; ")
            }
            (Some(code), Some(Value::String(detail))) => format!("{detail} ({code})"),
            (None, Some(Value::String(detail))) => detail.clone(),
            (Some(code), _) => code.clone(),
            (None, _) => "no reason given".to_owned(),
        };
        if let Some(hint) = hint(status) {
            text = format!("{text}; {hint}");
        }
        Self::Refused { request: request.to_owned(), status, code, text: shorten(&text) }
    }
}

/// One entry of a validation answer: `{"loc":["body","url"],"msg":"…","type":"…"}`.
fn validation(error: &Value) -> String {
    let place: Vec<String> = error
        .get("loc")
        .and_then(Value::as_array)
        .map(|loc| loc.iter().map(plain).collect())
        .unwrap_or_default();
    let message = error.get("msg").map_or_else(|| error.to_string(), plain);
    if place.is_empty() { message } else { format!("{}: {message}", place.join(".")) }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The way out of the refusals that have one.
fn hint(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("make a token with `posthaste token` and pass it with --token"),
        403 => Some("this needs an operator's token, not an application's"),
        _ => None,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Chain text starts in lower case; what the system says does not.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
}
