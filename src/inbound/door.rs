//! The door: from a request at a source's URL to an answer.
//!
//! The order is fixed: known source, rate, size (all before the body is read); handshakes that
//! need no signature; the signature and its time, on the exact bytes; handshakes that need a
//! signature, unless they are repetitions; the commit, which knows repetitions. A 2xx for an event
//! goes out only after the commit.

use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use tokio::sync::oneshot;

use super::answer::Answer;
use super::cloud_event::CloudEvent;
use super::compiled::{Check, Compiled};
use super::{Inbound, cloud_event, headers, names};
use crate::model::message::NewMessage;
use crate::model::source::{DIGEST_BYTES, Source, SourceSecret};
use crate::signature::{Handshake, OkResponse, Profile, Reason, Rejection, Request, Secret, Stage};
use crate::store::sources::{Dedupe, Inbound as Kept};
use crate::store::{Error, Writer};

/// Bytes of a content type that goes along.
const CONTENT_TYPE_BYTES: usize = 256;

/// A request that may send its body.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Whose door it knocked at.
    pub source: Arc<Source>,
}

impl Admitted {
    /// Bytes its body may have.
    pub fn max_body(&self) -> usize {
        usize::try_from(self.source.max_body).unwrap_or(usize::MAX)
    }

    /// The refusal of a larger body.
    pub fn too_large(&self) -> Answer {
        let detail = format!("the body is larger than {} bytes", self.source.max_body);
        Answer::refused(413, "body_too_large", &detail)
    }
}

/// A request whose body has arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// `POST`.
    pub method: String,
    /// The path as it came.
    pub path: String,
    /// The query as it came, without the `?`; empty when there is none.
    pub query: String,
    /// All header fields, repeated ones included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The exact bytes.
    pub body: Bytes,
}

impl Arrived {
    fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// A request that is what it says it is.
pub(super) struct Event<'c> {
    /// The provider's name for what happened.
    name: Option<String>,
    dedupe: Option<Dedupe>,
    profile: Option<&'c Profile>,
    secrets: &'c [Secret],
    /// Amazon SNS asks whether its subscription is wanted: yes is said by fetching this.
    confirm_url: Option<String>,
}

impl Event<'_> {
    fn ok(&self) -> Option<&OkResponse> {
        self.profile.and_then(|p| p.ok_response.as_ref())
    }
}

impl Inbound {
    /// Finds the source of a path and decides whether the request may send its body.
    ///
    /// # Errors
    /// The answer to one that may not: no such door, disabled, too many.
    pub fn admit(&self, path: &str) -> Result<Admitted, Answer> {
        let unknown = || {
            let detail = "there is no such source, or its token was changed";
            Answer::refused(404, "unknown_source", detail)
        };
        let mut parts = path.trim_end_matches('/').split('/').skip(1);
        let (Some("in"), Some(name), Some(token), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(unknown());
        };
        let found = self.store.directory().source_by_token(token);
        let source = found.map_err(|err| Answer::store_error(&err))?;
        let now = self.store.now();
        let is_its = |source: &Arc<Source>| {
            let named = source.uid.as_deref() == Some(name) || source.id.to_string() == name;
            let old = source.previous_token.as_ref().filter(|(_, until)| *until > now);
            named && (source.token == token || old.is_some_and(|(old, _)| old == token))
        };
        let source = source.filter(is_its).ok_or_else(unknown)?;
        if !source.enabled {
            let detail = "the source is disabled for the time being";
            return Err(Answer::later(503, "source_disabled", detail, 60));
        }
        if let Some(rate) = source.rate
            && !self.rates.take(source.id, rate, now)
        {
            let detail = format!("more than {rate} requests a second");
            return Err(Answer::later(429, "rate_limited", &detail, 1));
        }
        Ok(Admitted { source })
    }

    /// Answers an admitted request. An event is on disk when its 2xx is returned.
    pub async fn answer(&self, admitted: &Admitted, request: &Arrived) -> Answer {
        let mut answer = self.decide(&admitted.source, request).await;
        if request.method == "HEAD" {
            answer.body = Bytes::new();
        }
        answer
    }

    async fn decide(&self, source: &Arc<Source>, request: &Arrived) -> Answer {
        let compiled = match self.compiled(source) {
            Ok(compiled) => compiled,
            Err(fault) => {
                tracing::error!(source = %source.id, %fault, "a source cannot be used");
                let detail = "the source is not set up properly; its operator's log says why";
                return Answer::later(503, "source_misconfigured", detail, 60);
            }
        };
        let url = self.signed_url(source, request);
        let lent = lend(request, &url);
        match before_verify(&compiled, &lent) {
            Ok(None) => {}
            Ok(Some(handshake)) => return self.shake(source, &handshake).await,
            Err(rejection) => return self.refuse(&compiled, request, &lent, rejection),
        }
        if request.method != "POST" {
            let detail = "events are sent with POST, and this is no handshake of the provider";
            let answer = Answer::refused(405, "method_not_allowed", detail);
            return answer.with("allow", "POST");
        }
        let now = self.store.now().0;
        let event = match verify(&compiled, &lent, now) {
            Ok(event) => event,
            Err(rejection) => return self.refuse(&compiled, request, &lent, rejection),
        };
        let handshake = after_verify(&compiled, &event, &lent);
        if event.confirm_url.is_some() || !matches!(handshake, Ok(None)) {
            // Nothing is done twice. What only becomes a message is told apart in its commit.
            if let Some(answer) = self.repeated(source, &event, request) {
                return answer;
            }
        }
        if let Some(answer) = self.confirmed(source, event.confirm_url.as_deref()).await {
            return answer;
        }
        match handshake {
            Ok(None) => self.accept(source, &event, request).await,
            Ok(Some(handshake)) => Answer::handshake(&handshake),
            Err(rejection) => self.refuse(&compiled, request, &lent, rejection),
        }
    }

    /// The URL as the provider signs it: from configuration, never from what the request says of
    /// itself, but for the query, which is part of the address that was registered.
    pub(super) fn signed_url(&self, source: &Source, request: &Arrived) -> String {
        let base = match &source.url {
            Some(url) => url.split('?').next().unwrap_or_default().to_owned(),
            None => format!("{}{}", self.base_url(), request.path),
        };
        if request.query.is_empty() { base } else { format!("{base}?{}", request.query) }
    }

    /// Answers a handshake, and keeps the secret that came with it first.
    async fn shake(&self, source: &Arc<Source>, handshake: &Handshake) -> Answer {
        if let Some(secret) = handshake.learn_secret.clone() {
            let (org, id) = (source.org, source.id.to_string());
            let learned = self.write(move |writer| {
                let source = writer.source(org, &id)?;
                // Somebody else may have been first.
                if !source.secret_pending {
                    return Ok(false);
                }
                let mut source = Source::clone(&source);
                source.secrets = vec![SourceSecret(secret)];
                source.secret_pending = false;
                source.updated_at = writer.now();
                writer.put_source(source).map(|_| true)
            });
            match learned.await {
                Ok(true) => tracing::info!(source = %source.id, "a source has its secret now"),
                Ok(false) => {
                    let detail = "this source has its secret already";
                    return Answer::refused(409, "secret_not_pending", detail);
                }
                Err(error) => return Answer::store_error(&error),
            }
        }
        Answer::handshake(handshake)
    }

    /// The answer to a repetition, if the event is one.
    fn repeated(&self, source: &Source, event: &Event<'_>, request: &Arrived) -> Option<Answer> {
        let known = self.store.known(source.id, event.dedupe.as_ref()?).transpose()?;
        Some(self.told(source, event, request, known))
    }

    /// The answer to what became of an event.
    fn told(
        &self,
        source: &Source,
        event: &Event<'_>,
        request: &Arrived,
        kept: Result<Kept, Error>,
    ) -> Answer {
        match kept {
            Ok(Kept::Accepted(message)) => Answer::accepted(event.ok(), message.id),
            Ok(Kept::Repeated(seen)) => {
                Answer::accepted(event.ok(), seen.message).with("posthaste-repeated", "true")
            }
            Ok(Kept::Altered(_)) => self.altered(source, event.profile, request),
            Err(error) => Answer::store_error(&error),
        }
    }

    fn altered(&self, source: &Source, profile: Option<&Profile>, request: &Arrived) -> Answer {
        let status = 409;
        let detail = "this id came before with another body, and the signature does not cover the \
                      body, so nothing says which one is genuine";
        let kept = super::capture::Why { status, code: "id_reused".to_owned(), detail, hint: None };
        self.capture(source, profile, request, &kept);
        Answer::refused(status, "id_reused", detail)
    }

    /// Makes a message of it. Answers once it is on disk.
    pub(super) async fn accept(
        &self,
        source: &Arc<Source>,
        event: &Event<'_>,
        request: &Arrived,
    ) -> Answer {
        let event_type = names::event_type(source, event.name.as_deref());
        if !names::is_wanted(source, &event_type) {
            return Answer::ok(event.ok()).with("posthaste-dropped", "filter");
        }
        let new = NewMessage {
            // By this its messages are found.
            tags: vec![source.id.to_string()],
            content_type: content_type(request),
            ..NewMessage::new(event_type, request.body.clone())
        };
        let kept = headers::kept(source, event.profile, &request.headers);
        let (source_now, dedupe) = (Arc::clone(source), event.dedupe);
        let result = self
            .write(move |writer| writer.accept_inbound(&source_now, dedupe.as_ref(), new, kept))
            .await;
        self.told(source, event, request, result)
    }

    /// Refuses, and keeps what was refused.
    fn refuse(
        &self,
        compiled: &Compiled,
        request: &Arrived,
        lent: &Request<'_>,
        rejection: Rejection,
    ) -> Answer {
        let malformed = matches!(
            rejection.reason,
            Reason::HandshakeMalformed(_) | Reason::CloudEventMalformed(_)
        );
        let profile = match &compiled.check {
            Check::Profile(profile, _) => Some(&**profile),
            Check::Token => None,
        };
        let status = if malformed { 400 } else { profile.map_or(401, |p| p.fail_status) };
        // A stranger hears the reason, but no hint about the secret.
        let answer =
            Answer::refused(status, &rejection.reason.code(), &rejection.reason.to_string());
        self.capture_rejection(compiled, request, lent, status, rejection);
        answer
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        // The sender may have hung up; the work is done all the same.
        self.store.write(work, move |result| drop(sender.send(result)));
        receiver.await.unwrap_or(Err(Error::Closing))
    }
}

pub(super) fn lend<'a>(request: &'a Arrived, url: &'a str) -> Request<'a> {
    Request { method: &request.method, url, headers: &request.headers, body: &request.body }
}

fn before_verify(compiled: &Compiled, lent: &Request<'_>) -> Result<Option<Handshake>, Rejection> {
    let Check::Profile(profile, secrets) = &compiled.check else { return Ok(None) };
    let stage = Stage::BeforeVerify { secret_pending: compiled.source.secret_pending };
    profile.handshake(lent, secrets, &compiled.source.settings, stage)
}

fn after_verify(
    compiled: &Compiled,
    event: &Event<'_>,
    lent: &Request<'_>,
) -> Result<Option<Handshake>, Rejection> {
    let Some(profile) = event.profile else { return Ok(None) };
    profile.handshake(lent, event.secrets, &compiled.source.settings, Stage::AfterVerify)
}

pub(super) fn verify<'c>(
    compiled: &'c Compiled,
    lent: &Request<'_>,
    now_ms: u64,
) -> Result<Event<'c>, Rejection> {
    let window = compiled.source.dedupe;
    let dedupe = |key: &str, body: &[u8], accept_other_body| {
        let made = Dedupe {
            key: short_digest(key.as_bytes()),
            body: short_digest(body),
            window,
            accept_other_body,
        };
        (!window.is_zero()).then_some(made)
    };
    match &compiled.check {
        Check::Profile(profile, secrets) => {
            let verified = profile.verify(lent, secrets, &compiled.source.settings, now_ms)?;
            let event = cloud_event(compiled, lent)?;
            let signed = verified.signed_digest.as_deref().unwrap_or(lent.body);
            let (name, key) = match event {
                Some(event) => (Some(event.kind.clone()), event.key()),
                None => (verified.event_type, verified.dedupe_key),
            };
            Ok(Event {
                name,
                dedupe: dedupe(&key, signed, verified.covers_body),
                profile: Some(profile),
                secrets,
                confirm_url: verified.confirm_url,
            })
        }
        Check::Token => {
            let event = cloud_event(compiled, lent)?;
            let (name, key) = match event {
                Some(event) => (Some(event.kind.clone()), Some(event.key())),
                None => (plain_type(lent.body), plain_id(lent)),
            };
            // Whoever knows the token may send what they like, so another body is another event.
            let dedupe = key.and_then(|key| dedupe(&key, lent.body, true));
            Ok(Event { name, dedupe, profile: None, secrets: &[], confirm_url: None })
        }
    }
}

/// The event that a request is, when its source takes nothing else. What an `OPTIONS` or another
/// handshake asks was answered before.
fn cloud_event(compiled: &Compiled, lent: &Request<'_>) -> Result<Option<CloudEvent>, Reason> {
    cloud_event::is_wanted(&compiled.source).then(|| cloud_event::read(lent)).transpose()
}

/// The id in a header that senders use for it, when they sign nothing.
fn plain_id(lent: &Request<'_>) -> Option<String> {
    let names = ["webhook-id", "idempotency-key"];
    let found = names
        .iter()
        .find_map(|wanted| lent.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)));
    let value = found.and_then(|(_, value)| std::str::from_utf8(value).ok());
    value.filter(|id| !id.is_empty()).map(|id| format!("id:{id}"))
}

/// The `type` of a JSON object, when it has one.
fn plain_type(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        event_type: String,
    }
    serde_json::from_slice::<Typed>(body).ok().map(|typed| typed.event_type)
}

/// What the payload is sent as. `None`, which is JSON, only when it is a JSON object: then it may
/// stand in answers of the API as it is.
fn content_type(request: &Arrived) -> Option<String> {
    let given = request.header("content-type").filter(|text| {
        text.len() <= CONTENT_TYPE_BYTES && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    });
    let is_object = || {
        request.body.first() == Some(&b'{')
            && std::str::from_utf8(&request.body).is_ok()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&request.body).is_ok()
    };
    match given {
        Some("application/json") | None if is_object() => None,
        Some(given) => Some(given.to_owned()),
        None => Some("application/octet-stream".to_owned()),
    }
}

/// The beginning of the SHA-256.
fn short_digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}
