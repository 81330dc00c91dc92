//! Signing what goes out and verifying what comes in. Pure: no I/O, no clock.
//!
//! The verifier is one engine driven by a table of providers (`data/providers.toml`); a user can
//! add rows of their own. It is also a small library for receivers written in Rust:
//!
//! ```
//! use posthaste::signature::{Providers, Request};
//! use std::collections::BTreeMap;
//!
//! let github = Providers::builtin().get("github").ok_or("no such provider")?;
//! // Once, at start: a secret that can never match is an error now.
//! let secrets = [github.secret("It's a Secret to Everybody")?];
//!
//! let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
//! let headers = [
//!     ("x-github-event".to_owned(), b"push".to_vec()),
//!     ("x-hub-signature-256".to_owned(), signature.into()),
//! ];
//! let request = Request {
//!     method: "POST",
//!     // Your own public address, never what the request says about itself.
//!     url: "https://hooks.example.com/github",
//!     headers: &headers,
//!     // The exact bytes, before any parsing.
//!     body: b"Hello, World!",
//! };
//! let now_ms = 1_767_225_600_000;
//! let verified = github.verify(&request, &secrets, &BTreeMap::new(), now_ms)?;
//! assert_eq!(verified.event_type.as_deref(), Some("push"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A receiver asks [`Profile::handshake`] first, verifies, looks [`Verified::dedupe_key`] up, and
//! asks for handshakes again. Refusals carry a stable code, [`Reason::code`]; [`Profile::explain`]
//! looks closer at one, for a person.

mod asymmetric;
mod diagnose;
pub(crate) mod digest;
mod extract;
#[cfg(test)]
pub(crate) mod fuzzed;
mod handshake;
mod key;
mod pointer;
mod profile;
mod providers;
mod raw;
mod reader;
mod reason;
mod reencode;
mod request;
mod sign;
mod sns;
mod source;
mod table;
mod template;
mod time;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use diagnose::MAX_DIAGNOSED_BYTES;
pub use extract::MAX_SIGNATURES;
pub use handshake::{Handshake, MAX_ANSWER_BYTES, Stage};
pub use key::{KeyError, Secret};
pub use profile::{OkResponse, Profile, TOLERANCE_SETTING};
pub use providers::{Providers, Trial};
pub use raw::{MAX_RAW_HEADERS, RawProblem, RawRequest};
pub use reader::Problem;
pub use reason::{Hint, Reason, Rejection};
pub use request::{MAX_FIELDS, Request};
pub use sign::sign;
pub use sns::TOPIC_SETTING;
pub use table::{MAX_NAME_BYTES, MAX_TOLERANCE_SECS};
pub use verify::{MAX_EVENT_TYPE_BYTES, MAX_ID_BYTES, Verified};
