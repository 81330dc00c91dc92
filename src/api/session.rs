//! Who a token speaks for, and the end of tokens.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use super::api_token::MOST_TTL;
use super::auth::{self, LEEWAY_SECS};
use super::caller::{self, Caller};
use super::edit::shown;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use crate::model::application::Application;
use crate::model::id::AppId;
use crate::model::task::Work;
use crate::store::ended::Ended;

/// Seconds tokens may live on after they were told to end: 3 days.
const MOST_GRACE: u64 = 259_200;
/// Sessions that one request ends.
const SESSIONS: usize = 1_000;
/// And one commit.
const SESSIONS_AT_ONCE: usize = 250;
/// Characters of a session's name.
const SESSION_CHARS: usize = 64;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WhoamiOut {
    app_id: Option<String>,
    env_id: String,
    permission_source: &'static str,
    session_id: Option<String>,
}

/// `GET /auth/whoami`
pub(super) fn whoami(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    Ok(Reply::json(
        200,
        &WhoamiOut {
            app_id: caller.app.map(|app| app.to_string()),
            env_id: caller.org.to_string(),
            permission_source: "SvixJwt",
            session_id: caller.session,
        },
    ))
}

/// `POST /auth/logout`: ends the token that asks for it. An operator's token is no session: what ends
/// it is another secret.
pub(super) async fn logout(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let Some(app) = Caller::of(api, request)?.app else {
        let detail = "only an application's token can be logged out, this is an operator's";
        return Err(ApiError::bad_request(detail));
    };
    let (token, claims) = caller::shown(api, request)?;
    let digest = auth::token_digest(token);
    let dies = claims.expires_at.map(|end| end.saturating_add(LEEWAY_SECS).saturating_mul(1000));
    let kept_until = dies.unwrap_or(u64::MAX);
    api.write(move |writer| {
        let from = writer.now().0;
        writer.end(app, &digest, Ended { made_before: u64::MAX, from, kept_until })
    })
    .await?;
    Ok(Reply::no_content())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpireIn {
    /// Seconds.
    #[serde(default)]
    expiry: Option<u64>,
    #[serde(default)]
    session_ids: Option<Vec<String>>,
}

/// `POST /auth/app/{app}/expire-all`: ends every token of the application made until now, or of some
/// sessions of it, at once or after `expiry` seconds.
pub(super) async fn expire_all(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let tenant = caller.tenant(api, app)?;
    let input: ExpireIn = request.json()?;
    let grace = input.expiry.unwrap_or(0);
    if grace > MOST_GRACE {
        let message = format!("expiry is {grace}, but must be 0 to {MOST_GRACE} seconds");
        return Err(ApiError::invalid("body", "expiry", message));
    }
    if let Some(sessions) = input.session_ids.filter(|ids| !ids.is_empty()) {
        end_sessions(api, tenant.app.id, &sessions, grace).await?;
        return Ok(Reply::no_content());
    }
    let (org, app) = (tenant.app.org, tenant.app.id);
    if grace > 0 {
        api.write(move |writer| {
            let issued_before = writer.now();
            let at = issued_before.plus(Duration::from_secs(grace));
            writer.start_task(org, Work::ExpireTokens { app, issued_before, at })
        })
        .await?;
        api.store.ring_for_tasks();
        return Ok(Reply::no_content());
    }
    api.write(move |writer| {
        let mut app = Application::clone(&*writer.application(org, &app.to_string())?);
        app.tokens_valid_from = writer.now();
        writer.put_application(app)
    })
    .await?;
    Ok(Reply::no_content())
}

/// Ends the tokens of these sessions that were made until now.
async fn end_sessions(
    api: &Arc<Api>,
    app: AppId,
    sessions: &[String],
    grace: u64,
) -> Result<(), ApiError> {
    if sessions.len() > SESSIONS {
        let message =
            format!("sessionIds has {} entries, at most {SESSIONS} are taken", sessions.len());
        return Err(ApiError::invalid("body", "sessionIds", message));
    }
    sessions.iter().try_for_each(|session| check_session("sessionIds", session))?;
    for some in sessions.chunks(SESSIONS_AT_ONCE) {
        let digests: Vec<_> = some.iter().map(|session| auth::session_digest(session)).collect();
        api.write(move |writer| {
            let now = writer.now();
            let from = now.plus(Duration::from_secs(grace));
            let kept_until = from.plus(Duration::from_secs(MOST_TTL + LEEWAY_SECS)).0;
            let ended = Ended { made_before: now.0, from: from.0, kept_until };
            digests.iter().try_for_each(|digest| writer.end(app, digest, ended))
        })
        .await?;
    }
    Ok(())
}

/// Checks a session's name.
pub(super) fn check_session(field: &str, session: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"@_-".contains(&byte);
    if session.is_empty() || session.len() > SESSION_CHARS || !session.bytes().all(fits) {
        let message = format!(
            "{field} has {}, but a session is 1 to {SESSION_CHARS} letters, digits and @_-",
            shown(session)
        );
        return Err(ApiError::invalid("body", field, message));
    }
    Ok(())
}
