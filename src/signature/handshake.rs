//! Handshakes: requests by which a provider asks whether this address wants its events.
//!
//! Each is a rule of the profile: conditions, and an answer. Pure: the answer is returned, and a
//! secret to be learned is handed on, for the caller to keep. Answers are short, plain text or
//! JSON, and never to be sniffed as anything else: an echo must not become a page.

use super::digest;
use super::key::{Key, Secret};
use super::profile::Profile;
use super::reason::{Reason, Rejection};
use super::request::{Request, View};
use super::source::{Scope, Settings, Source};
use super::template::{Filling, Template};
use std::collections::BTreeMap;

/// Longest body, and longest header value, of an answer.
pub const MAX_ANSWER_BYTES: usize = 1024;

/// How to answer a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The status, 2xx.
    pub status: u16,
    /// The value of `content-type`; `None` when there is no body.
    pub content_type: Option<String>,
    /// Further header fields, `x-content-type-options: nosniff` among them.
    pub headers: Vec<(String, String)>,
    /// The whole body, at most [`MAX_ANSWER_BYTES`].
    pub body: Vec<u8>,
    /// A secret that the provider chose and that is to be kept for this source (Asana). Only
    /// offered while the caller said that a secret is pending.
    pub learn_secret: Option<String>,
}

/// When a handshake is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the signature is looked at. `secret_pending` says that the source was just made
    /// and waits for the provider to send its secret; at any other time a stranger who sends one
    /// must not replace it.
    BeforeVerify {
        /// Whether a secret may be learned now.
        secret_pending: bool,
    },
    /// The request was verified, and found not to be a repetition.
    AfterVerify,
}

impl Profile {
    /// The answer to `request` if it is a handshake at this stage, `None` if it is not.
    ///
    /// Call it before [`Profile::verify`], and again after it; an answer at either stage ends
    /// the request. An error is a handshake that cannot be answered.
    pub fn handshake(
        &self,
        request: &Request<'_>,
        secrets: &[Secret],
        cfg: &BTreeMap<String, String>,
        stage: Stage,
    ) -> Result<Option<Handshake>, Rejection> {
        let at_stage = |rule: &&HandshakeRule| rule.after_verify == (stage == Stage::AfterVerify);
        if !self.handshakes.iter().any(|rule| at_stage(&rule)) {
            return Ok(None);
        }
        let view = View::new(request, self.reads_form, self.payload_field.as_deref())?;
        let cfg = Settings { given: cfg, defaults: &self.defaults };
        let scope = Scope { view: &view, json: view.json(), fields: &[], cfg };
        for rule in self.handshakes.iter().filter(at_stage) {
            if rule.applies(&scope, stage)? {
                return Ok(Some(rule.answer(&scope, secrets)?));
            }
        }
        Ok(None)
    }
}

/// One handshake of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandshakeRule {
    pub(crate) when: Vec<Condition>,
    pub(crate) after_verify: bool,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Vec<(String, Template)>,
    pub(crate) body: Option<Template>,
    pub(crate) learn_secret: Option<Source>,
}

/// One term of `when`; all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// `GET`
    Method(String),
    /// `query:challenge`: it is there and not empty.
    Present(Source),
    /// `json:/type == url_verification`; the right side is a template.
    Equals(Source, Template),
    /// `query:hub.mode in (subscribe,unsubscribe)`; the list is a template.
    In(Source, Template),
    /// `cfg.interactions`: the setting is there and neither `false` nor `0`.
    Setting(String),
    /// `state.pending`: the source waits for its secret.
    SecretPending,
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];

impl Condition {
    /// Reads a whole `when`; the error says what is wrong with it.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        text.split("&&").map(|term| Self::parse(term.trim())).collect()
    }

    fn parse(term: &str) -> Result<Self, String> {
        if METHODS.contains(&term) {
            return Ok(Self::Method(term.to_owned()));
        }
        if term == "state.pending" {
            return Ok(Self::SecretPending);
        }
        if let Some(name) = term.strip_prefix("cfg.") {
            return Ok(Self::Setting(name.to_owned()));
        }
        if let Some((source, value)) = term.split_once(" == ") {
            return Ok(Self::Equals(Source::parse(source.trim())?, Template::parse(value.trim())?));
        }
        if let Some((source, list)) = term.split_once(" in ") {
            let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
            let list = list.ok_or(format!("`{term}` needs a list in parentheses"))?;
            return Ok(Self::In(Source::parse(source.trim())?, Template::parse(list)?));
        }
        Ok(Self::Present(Source::parse(term)?))
    }

    fn holds(&self, scope: &Scope<'_>, stage: Stage) -> Result<bool, Reason> {
        Ok(match self {
            Self::Method(method) => scope.view.request.method == method,
            Self::Present(source) => source.value(scope)?.is_some_and(|value| !value.is_empty()),
            Self::Equals(source, template) => {
                let expected = expected(template, scope)?;
                let value = source.value(scope)?;
                // The expected value may be a secret, as Meta's verify token is.
                value
                    .zip(expected)
                    .is_some_and(|(value, expected)| digest::same_token(&value, &expected))
            }
            Self::In(source, template) => {
                let list = expected(template, scope)?.unwrap_or_default();
                let mut items = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let value = source.value(scope)?.filter(|value| !value.is_empty());
                value.is_some_and(|value| items.any(|item| *item == *value))
            }
            Self::Setting(name) => {
                scope.cfg.get(name).is_some_and(|value| !matches!(value, "false" | "0"))
            }
            Self::SecretPending => stage == Stage::BeforeVerify { secret_pending: true },
        })
    }
}

/// The right side of a comparison; a setting that is missing equals nothing.
fn expected(template: &Template, scope: &Scope<'_>) -> Result<Option<Vec<u8>>, Reason> {
    match template.answer(scope, &filling(scope, None), false) {
        Err(Reason::ConfigMissing(_)) => Ok(None),
        text => text,
    }
}

fn filling<'s>(scope: &Scope<'s>, key: Option<&'s [u8]>) -> Filling<'s> {
    Filling { url: scope.view.request.url, ts: "", id: "", key }
}

impl HandshakeRule {
    fn applies(&self, scope: &Scope<'_>, stage: Stage) -> Result<bool, Reason> {
        for condition in &self.when {
            if !condition.holds(scope, stage)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn answer(&self, scope: &Scope<'_>, secrets: &[Secret]) -> Result<Handshake, Reason> {
        let key = secrets.first().and_then(|secret| match &secret.key {
            Key::Bytes(bytes) => Some(bytes.as_slice()),
            Key::Ed25519(_) | Key::Spki(_) => None,
        });
        let filling = filling(scope, key);
        let json = self.content_type.as_deref() == Some("application/json");
        let fill = |template: &Template, json| {
            let text = template.answer(scope, &filling, json)?;
            let text = text.ok_or(Reason::HandshakeMalformed("the value to answer is missing"))?;
            if text.len() > MAX_ANSWER_BYTES {
                return Err(Reason::HandshakeMalformed("the value to answer is too long"));
            }
            Ok(text)
        };
        let nosniff = ("x-content-type-options".to_owned(), "nosniff".to_owned());
        let mut headers = vec![nosniff];
        for (name, template) in &self.headers {
            let value = String::from_utf8(fill(template, false)?).ok();
            let value =
                value.filter(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let not_a_header = Reason::HandshakeMalformed("the value to answer fits no header");
            headers.push((name.clone(), value.ok_or(not_a_header)?));
        }
        let body = self.body.as_ref().map_or(Ok(Vec::new()), |body| fill(body, json))?;
        let learn_secret = match &self.learn_secret {
            Some(source) => source.text(scope)?.filter(|secret| !secret.trim().is_empty()),
            None => None,
        };
        let content_type = self.content_type.clone();
        Ok(Handshake { status: self.status, content_type, headers, body, learn_secret })
    }

    /// The settings that switch the rule on, and may be left out.
    pub(crate) fn switches(&self) -> impl Iterator<Item = &str> {
        self.when.iter().filter_map(|condition| match condition {
            Condition::Setting(name) => Some(name.as_str()),
            Condition::Method(_)
            | Condition::Present(_)
            | Condition::Equals(..)
            | Condition::In(..)
            | Condition::SecretPending => None,
        })
    }

    /// The settings that the rule reads.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &str> {
        let conditions = self.when.iter().filter_map(|condition| match condition {
            Condition::Equals(_, template) | Condition::In(_, template) => Some(template),
            Condition::Method(_)
            | Condition::Present(_)
            | Condition::Setting(_)
            | Condition::SecretPending => None,
        });
        let headers = self.headers.iter().map(|(_, template)| template);
        conditions.chain(headers).chain(&self.body).flat_map(Template::settings)
    }
}
