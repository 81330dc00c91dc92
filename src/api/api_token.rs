//! Tokens for programs, each for one thing: to create an application's messages, or to poll one of
//! its sinks. They can do nothing else, and are ended by themselves.
//!
//! Nothing is kept of a token but its end. Each belongs to a session: a message token to one of its
//! own, which `expire-all` ends by the token's id; those of a sink to one that a rotation follows with
//! the next.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::{self, Grant, LEEWAY_SECS, Subject};
use super::caller::{Caller, Capability};
use super::edit::{check_length, check_path_name};
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, OrgId};
use crate::model::limits::UID_CHARS;
use crate::store::ended::{Digest, Ended};
use crate::store::idempotency::Answer;

/// Seconds such a token lasts at the most, and when nothing is said: a year.
pub(super) const MOST_TTL: u64 = 365 * 24 * 3600;
/// Seconds a rotated token goes on when nothing is said.
const OLD_TTL: u64 = 300;
/// And at the most: a day.
const MOST_OLD_TTL: u64 = 24 * 3600;

/// A token as it is given out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenOut {
    id: String,
    token: String,
    name: Option<String>,
    created_at: String,
    expires_at: String,
    scopes: Option<Vec<String>>,
}

/// Whose it is, and for what.
struct Wish {
    org: OrgId,
    app: AppId,
    capability: Capability,
    session: String,
    name: Option<String>,
    ttl: u64,
}

impl Wish {
    fn make(self, api: &Api, now: Timestamp) -> TokenOut {
        let ttl = Duration::from_secs(self.ttl);
        let grant = Grant {
            subject: Subject::App { app: self.app.to_string(), org: self.org.to_string() },
            millis: now.millis(),
            ttl,
            feature_flags: None,
            capabilities: Some(vec![self.capability.name().to_owned()]),
            session: Some(self.session.clone()),
        };
        TokenOut {
            id: self.session,
            token: auth::mint_grant(&api.settings.jwt_secret, &grant, now.seconds()),
            name: self.name,
            created_at: now.to_string(),
            expires_at: Timestamp(now.seconds() * 1000).plus(ttl).to_string(),
            scopes: None,
        }
    }
}

/// How long a token is to last.
fn ttl(
    field: &str,
    given: Option<u64>,
    usual: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ApiError> {
    let seconds = given.unwrap_or(usual);
    if range.contains(&seconds) {
        return Ok(seconds);
    }
    let message =
        format!("{field} is {seconds}, but must be {} to {} seconds", range.start(), range.end());
    Err(ApiError::invalid("body", field, message))
}

#[derive(Debug, Deserialize)]
struct CreateIn {
    name: String,
    /// Seconds.
    #[serde(default)]
    expiry: Option<u64>,
}

/// `POST /auth/app/{app}/create-message-token`: a token that can create messages of the application.
pub(super) fn for_messages(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let tenant = caller.tenant(api, app)?;
    let input: CreateIn = request.json()?;
    check_length("name", &input.name, UID_CHARS)?;
    let random = crate::inbound::new_token().map_err(ApiError::internal)?;
    let wish = Wish {
        org: tenant.app.org,
        app: tenant.app.id,
        capability: Capability::CreateMessages,
        session: format!("message_{random}"),
        name: Some(input.name),
        ttl: ttl("expiry", input.expiry, MOST_TTL, 1..=MOST_TTL)?,
    };
    Ok(Reply::json(200, &wish.make(api, api.store.now())))
}

/// What the sessions of a sink begin with. A sink's name may be longer than a session's may be.
pub(super) fn sink_session(sink: &str) -> String {
    format!("poller_{:.32}", crate::signature::digest::hex(&auth::session_digest(sink)))
}

/// The session that follows the rotation at `since`.
fn session_since(base: &str, since: u64) -> String {
    format!("{base}_{since}")
}

/// `GET /auth/app/{app}/poller/{sink}/token`: a token that can poll the sink, until the next rotation.
pub(super) fn for_poller(
    api: &Api,
    request: &Request,
    app: &str,
    sink: &str,
) -> Result<Reply, ApiError> {
    let (org, app, base) = sink_of(api, request, app, sink)?;
    let rotated = api.store.ended(app, &auth::session_digest(&base))?;
    let session = session_since(&base, rotated.map_or(0, |ended| ended.made_before));
    let capability = Capability::Poll;
    let wish = Wish { org, app, capability, session, name: None, ttl: MOST_TTL };
    Ok(Reply::json(200, &wish.make(api, api.store.now())))
}

fn sink_of(
    api: &Api,
    request: &Request,
    app: &str,
    sink: &str,
) -> Result<(OrgId, AppId, String), ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let tenant = caller.tenant(api, app)?;
    check_path_name("sink_id", sink)?;
    Ok((tenant.app.org, tenant.app.id, sink_session(sink)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateIn {
    /// Seconds.
    #[serde(default)]
    expiry: Option<u64>,
    /// Seconds.
    #[serde(default)]
    old_token_expiry: Option<u64>,
}

/// `POST /auth/app/{app}/poller/{sink}/token/rotate`: a new token; those before it end.
pub(super) async fn rotate_for_poller(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    sink: &str,
) -> Result<Reply, ApiError> {
    let (org, app, base) = sink_of(api, request, app, sink)?;
    let input: RotateIn = request.json()?;
    let seconds = ttl("expiry", input.expiry, MOST_TTL, 1..=MOST_TTL)?;
    let old = ttl("oldTokenExpiry", input.old_token_expiry, OLD_TTL, 0..=MOST_OLD_TTL)?;
    let inner = Arc::clone(api);
    let work = move |writer: &mut crate::store::Writer<'_>| {
        let now = writer.now();
        let kept_until = now.plus(Duration::from_secs(MOST_TTL + MOST_OLD_TTL + LEEWAY_SECS)).0;
        let digest: Digest = auth::session_digest(&base);
        let before = writer.ended(app, &digest)?.map_or(0, |ended| ended.made_before);
        let since = now.0.max(before + 1);
        // No token says it is of the base: this row only tells when the latest rotation was.
        writer.end(app, &digest, Ended { made_before: since, from: now.0, kept_until })?;
        let session = auth::session_digest(&session_since(&base, before));
        let from = now.plus(Duration::from_secs(old)).0;
        writer.end(app, &session, Ended { made_before: u64::MAX, from, kept_until })?;
        let session = session_since(&base, since);
        let capability = Capability::Poll;
        let wish = Wish { org, app, capability, session, name: None, ttl: seconds };
        let body = Reply::json(201, &wish.make(&inner, now)).body.to_vec();
        Ok(Answer::Body { status: 201, body })
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}
