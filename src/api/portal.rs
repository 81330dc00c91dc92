//! Access for an application's own people: a token of that application, and where to take it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Api;
use super::application::ApplicationIn;
use super::auth::{self, Grant, Subject};
use super::caller::{Caller, Capability};
use super::edit::check_name;
use super::error::ApiError;
use super::message;
use super::reply::Reply;
use super::request::Request;
use super::session::check_session;
use crate::model::limits::EVENT_TYPE_CHARS;

/// How long a token lasts at the most, and when nothing is said: 7 days.
const MOST_TTL: u64 = 7 * 24 * 3600;
/// The least and the most that may be asked for: an hour, 7 days.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 3600..=MOST_TTL;
/// Feature flags in one token. It travels with every request, so it has to stay short.
const FLAGS: usize = 32;
/// Where the portal is.
const PORTAL_PATH: &str = "/portal";

/// What stands at [`PORTAL_PATH`] as long as there is no portal.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Posthaste</title>\
<p>This link is valid, but the portal is not part of this version. Ask whoever sent it to you to \
manage your endpoints through the API.</p></html>\n";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccessIn {
    feature_flags: Option<Vec<String>>,
    application: Option<ApplicationIn>,
    /// Seconds.
    expiry: Option<u64>,
    read_only: Option<bool>,
    capabilities: Option<Vec<String>>,
    session_id: Option<String>,
}

#[derive(Serialize)]
struct AccessOut {
    url: String,
    token: String,
}

impl AccessIn {
    fn check(&self) -> Result<(), ApiError> {
        let flags = self.feature_flags.as_deref().unwrap_or_default();
        if flags.len() > FLAGS {
            let message = format!("featureFlags has {} entries, at most {FLAGS} fit", flags.len());
            return Err(ApiError::invalid("body", "featureFlags", message));
        }
        flags.iter().try_for_each(|flag| check_name("featureFlags", flag, EVENT_TYPE_CHARS))?;
        if let Some(seconds) = self.expiry.filter(|seconds| !TTL_SECONDS.contains(seconds)) {
            let message = format!("expiry is {seconds}, but must be 3600 to 604800 seconds");
            return Err(ApiError::invalid("body", "expiry", message));
        }
        if let Some(session) = &self.session_id {
            check_session("sessionId", session)?;
        }
        self.application.as_ref().map_or(Ok(()), ApplicationIn::check)
    }

    /// What the token is limited to; `None` = nothing within its application.
    fn capabilities(&self) -> Result<Option<Vec<&'static str>>, ApiError> {
        let mut names = match (&self.capabilities, self.read_only) {
            (None, None | Some(false)) => return Ok(None),
            (None, Some(true)) => Vec::new(),
            (Some(names), read_only) => {
                let known = names.iter().map(|name| {
                    Capability::ALL.into_iter().find(|c| c.name() == name).ok_or_else(|| {
                        let known: Vec<_> = Capability::ALL.iter().map(|c| c.name()).collect();
                        let message = format!("{name:?} is not one of {}", known.join(", "));
                        ApiError::invalid("body", "capabilities", message)
                    })
                });
                let known: Vec<Capability> = known.collect::<Result<_, _>>()?;
                let kept = known.into_iter().filter(|c| c.only_reads() || read_only != Some(true));
                kept.map(Capability::name).collect()
            }
        };
        names.push(Capability::ViewBase.name());
        names.sort_unstable();
        names.dedup();
        Ok(Some(names))
    }
}

/// `POST /auth/app-portal-access/{app}` and its old name, `dashboard-access`.
pub(super) async fn access(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let mut input: AccessIn = request.json()?;
    input.check()?;
    let capabilities = input.capabilities()?;
    let app = match (caller.tenant(api, app), input.application.take()) {
        (Ok(tenant), _) => tenant.app.id,
        (Err(_), Some(inline)) => message::make_inline(api, &caller, app, inline).await?,
        (Err(error), None) => return Err(error),
    };
    let grant = Grant {
        subject: Subject::App { app: app.to_string(), org: caller.org.to_string() },
        millis: api.store.now().millis(),
        ttl: Duration::from_secs(input.expiry.unwrap_or(MOST_TTL)),
        feature_flags: input.feature_flags,
        capabilities: capabilities.map(|names| names.into_iter().map(str::to_owned).collect()),
        session: input.session_id,
    };
    let token = auth::mint_grant(&api.settings.jwt_secret, &grant, api.store.now().seconds());
    // Behind `#`, so that it is in no server's log.
    let url = format!("{}{PORTAL_PATH}#key={token}", api.settings.base_url);
    Ok(Reply::json(200, &AccessOut { url, token }))
}

/// `GET /portal`
pub(super) fn page() -> Reply {
    let mut reply = Reply::bytes(200, PAGE);
    reply.content_type = "text/html; charset=utf-8";
    reply.with_header("content-security-policy", "default-src 'none'")
}
