//! A provider profile: everything the engine needs to know about how one provider signs.
//!
//! Plain data. `table` reads it from TOML, `verify` and `handshake` interpret it.

use super::digest::{Encoding, Hash};
use super::handshake::HandshakeRule;
use super::key::KeyEncoding;
use super::pointer::Pointer;
use super::sns::TOPIC_SETTING;
use super::source::{Joined, Source};
use super::template::Template;
use super::time::Format;
use std::collections::BTreeMap;

/// Settings that every profile understands, besides those in its templates.
pub const TOLERANCE_SETTING: &str = "tolerance";

/// How one provider signs its requests.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The name it is configured by, `github`.
    pub name: String,
    /// The name people know, `GitHub`.
    pub title: String,
    /// Whether a valid signature says anything about the body. When not, only the id protects
    /// against replays with another body, so duplicates must be refused by it.
    pub covers_body: bool,
    /// The status to refuse with, 401 unless the provider wants another.
    pub fail_status: u16,
    /// The answer the provider expects, where a bare 2xx will not do.
    pub ok_response: Option<OkResponse>,
    pub(crate) scheme: Scheme,
    pub(crate) key_encoding: KeyEncoding,
    pub(crate) key_strip: Option<String>,
    pub(crate) signature: SignatureSpec,
    pub(crate) signed: Template,
    pub(crate) url_variants: Vec<UrlVariant>,
    pub(crate) timestamp: Option<TimestampSpec>,
    pub(crate) id: Vec<Joined>,
    pub(crate) event_type: Vec<Joined>,
    pub(crate) body_digest: Option<BodyDigest>,
    pub(crate) each: Option<Pointer>,
    pub(crate) require: Vec<(Source, String)>,
    pub(crate) payload_field: Option<String>,
    pub(crate) handshakes: Vec<HandshakeRule>,
    pub(crate) defaults: BTreeMap<String, String>,
    pub(crate) reads_form: bool,
}

/// What to answer an accepted request with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OkResponse {
    /// The status, 2xx.
    pub status: u16,
    /// The value of `content-type`.
    pub content_type: String,
    /// The whole body.
    pub body: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scheme {
    Hmac(HashChoice),
    Ed25519,
    EcdsaP256,
    Rsa(Hash),
    /// A shared token, compared as it is.
    Token,
    /// `Authorization: Basic`, the secret being `user:password`.
    Basic,
    /// Amazon SNS, whose signed text depends on the type of the message.
    AwsSns,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HashChoice {
    Fixed(Hash),
    /// The field name of the signature says which, out of these.
    FromHeader(Vec<(String, Hash)>),
}

/// How signatures are found and taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureSpec {
    pub(crate) sources: Vec<Source>,
    pub(crate) item_sep: Option<String>,
    pub(crate) kv_sep: Option<String>,
    /// The field that holds signatures; `*` takes every one.
    pub(crate) field: Option<String>,
    pub(crate) encoding: Encoding,
    /// Removed from the front of the value if it is there, in any case: `Bearer `.
    pub(crate) strip: Option<String>,
}

/// Spellings of the URL that are tried in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UrlVariant {
    AsIs,
    /// With the scheme's default port added, or removed.
    ToggleDefaultPort,
    /// With the percent-escapes that `HubSpot` undoes before it signs.
    HubspotDecoded,
}

impl UrlVariant {
    pub(crate) const NAMES: &'static str = "as_is, toggle_default_port, hubspot_decoded";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "as_is" => Some(Self::AsIs),
            "toggle_default_port" => Some(Self::ToggleDefaultPort),
            "hubspot_decoded" => Some(Self::HubspotDecoded),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimestampSpec {
    pub(crate) source: Source,
    pub(crate) format: Format,
    /// In seconds, either way.
    pub(crate) tolerance: u64,
}

/// A digest of the body that stands, signed, somewhere else in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BodyDigest {
    pub(crate) source: Source,
    pub(crate) hash: Hash,
    pub(crate) encoding: Encoding,
}

impl Profile {
    /// Whether the provider sends the secret itself, when the source is new (Asana): only such a
    /// source may be made without one.
    pub fn learns_secret(&self) -> bool {
        self.handshakes.iter().any(|rule| rule.learn_secret.is_some())
    }

    /// Whether this header carries the secret itself rather than a signature made with it, so
    /// that it must go no further.
    pub fn has_secret_in(&self, header: &str) -> bool {
        let plain = matches!(self.scheme, Scheme::Token | Scheme::Basic);
        let names = |source: &Source| matches!(source, Source::Header(name) if name.eq_ignore_ascii_case(header));
        plain && self.signature.sources.iter().any(names)
    }

    /// The settings without which this profile cannot verify or answer a handshake, such as
    /// the `webhook_id` of `paypal`. Those with a default are not listed.
    pub fn settings(&self) -> Vec<&str> {
        let handshakes = self.handshakes.iter().flat_map(HandshakeRule::settings);
        let mut names: Vec<_> = self.signed.settings().chain(handshakes).collect();
        names.retain(|name| !self.defaults.contains_key(*name));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every setting that means something to this profile, needed or not, by name.
    pub fn known_settings(&self) -> Vec<&str> {
        let mut names = self.settings();
        names.extend(self.defaults.keys().map(String::as_str));
        names.extend(self.handshakes.iter().flat_map(HandshakeRule::switches));
        names.extend(self.timestamp.iter().map(|_| TOLERANCE_SETTING));
        names.extend((self.scheme == Scheme::AwsSns).then_some(TOPIC_SETTING));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the URL is part of what is signed, so that it has to be the provider's to a letter.
    pub fn signs_url(&self) -> bool {
        self.signed.has_url()
    }

    /// Checks a source's settings when they are loaded: every sentence is a problem.
    ///
    /// `tolerance` (seconds) is understood by every profile with a timestamp and replaces the
    /// profile's own.
    pub fn check_settings(&self, cfg: &BTreeMap<String, String>) -> Vec<String> {
        let mut problems = Vec::new();
        for name in self.signed.settings() {
            let set = cfg.get(name).or_else(|| self.defaults.get(name));
            if set.is_none_or(String::is_empty) {
                problems.push(format!(
                    "profile `{}` signs the setting `{name}`, which has no value; set it",
                    self.name
                ));
            }
        }
        if let Some(value) = cfg.get(TOLERANCE_SETTING) {
            if self.timestamp.is_none() {
                problems.push(format!(
                    "profile `{}` has no timestamp, so `tolerance` does nothing; remove it",
                    self.name
                ));
            } else if value.parse::<u32>().is_err() {
                problems.push(format!("`tolerance = {value:?}` is no number of seconds"));
            }
        }
        problems
    }
}
