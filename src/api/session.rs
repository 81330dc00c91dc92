//! Who a token speaks for, and the end of tokens.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use crate::model::application::Application;
use crate::model::task::Work;

/// Seconds tokens may live on after they were told to end: 3 days.
const MOST_GRACE: u64 = 259_200;

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
            // Tokens carry all there is to a session.
            session_id: None,
        },
    ))
}

/// `POST /auth/logout`: tokens carry all there is to a session, so there is nothing to end here.
/// What ends an application's tokens before their time is `expire-all`.
pub(super) fn logout(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    Caller::of(api, request)?;
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

/// `POST /auth/app/{app}/expire-all`: ends every token of the application made until now, at once or
/// after `expiry` seconds.
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
    if input.session_ids.is_some_and(|ids| !ids.is_empty()) {
        let message = "tokens have no sessions here; leave sessionIds out to end all of them";
        return Err(ApiError::invalid("body", "sessionIds", message));
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
