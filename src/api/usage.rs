//! How much is used: applications, deliveries, event types, attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::Caller;
use super::edit::moment;
use super::endpoint::stats::MAX_SPAN;
use super::error::ApiError;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::task::{Start, start};
use crate::model::id::{AppId, OrgId};
use crate::model::task::Work;

/// Applications one request may name.
const NAMED_APPS: usize = 250;
/// Applications read from the directory at once.
const APPS_AT_ONCE: usize = 1_000;

#[derive(Debug, Serialize)]
struct CountOut {
    count: u64,
}

/// `GET /app/stats/count-active`: applications that have an endpoint.
pub(super) fn count_active(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let query = Query::parse(&request.query)?;
    let exclude_disabled = query.flag("exclude_disabled", true)?;
    // Applications of a playground are not counted; there is none here.
    query.flag("exclude_svix_play", true)?;
    let mut count = 0;
    for_each_app(api, caller.org, |app| {
        let tenant = api.store.directory().tenant(app)?;
        let mut endpoints = tenant.iter().flat_map(|t| t.endpoints.values());
        count += u64::from(endpoints.any(|e| !exclude_disabled || e.is_active()));
        Ok(())
    })?;
    Ok(Reply::json(200, &CountOut { count }))
}

fn for_each_app(
    api: &Api,
    org: OrgId,
    mut see: impl FnMut(AppId) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let mut from = None;
    loop {
        let apps = api.store.directory().applications(org, from, false, APPS_AT_ONCE)?;
        apps.iter().try_for_each(|app| see(app.id))?;
        match apps.last() {
            Some(last) if apps.len() == APPS_AT_ONCE => from = Some(last.id),
            _ => return Ok(()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppUsageIn {
    since: String,
    until: String,
    #[serde(default)]
    app_ids: Option<Vec<String>>,
}

/// `POST /stats/usage/app`: counts deliveries by application, in the background.
pub(super) async fn by_app(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: AppUsageIn = request.json()?;
    let (since, until) = (moment("since", &input.since)?, moment("until", &input.until)?);
    if until < since {
        return Err(ApiError::invalid("body", "until", "until is before since"));
    }
    let named = input.app_ids.unwrap_or_default();
    if named.len() > NAMED_APPS {
        let message = format!(
            "appIds has {} entries, at most {NAMED_APPS} are taken; leave it out for all",
            named.len()
        );
        return Err(ApiError::invalid("body", "appIds", message));
    }
    let (mut apps, mut unresolved) = (Vec::new(), Vec::new());
    for name in &named {
        match caller.tenant(api, name) {
            Ok(tenant) => apps.push(tenant.app.id),
            Err(_) => unresolved.push(name.clone()),
        }
    }
    if apps.is_empty() && !named.is_empty() {
        let message = "none of these applications is there; leave appIds out for all";
        return Err(ApiError::invalid("body", "appIds", message));
    }
    let work = Work::AppUsage { apps, since, until };
    let unresolved = Some(unresolved);
    start(api, request, Start { unresolved, ..Start::of(caller.org, work) }).await
}

/// `PUT /stats/usage/event-types`: counts messages by event type, in the background.
pub(super) async fn by_event_type(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    start(api, request, Start::of(caller.org, Work::EventTypeUsage)).await
}

/// Attempts of one application. The names are svix's, who writes these in snake case.
#[derive(Debug, Serialize)]
struct AttemptStatsOut {
    since: String,
    until: String,
    total_success: u64,
    total_failure: u64,
    total_canceled: u64,
    by_event_type: BTreeMap<String, TypeStatsOut>,
}

#[derive(Debug, Serialize)]
struct TypeStatsOut {
    success: u64,
    failure: u64,
    canceled: u64,
}

/// `GET /app/{app}/stats/attempts`
pub(super) async fn attempts(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let query = Query::parse(&request.query)?;
    let until = query.moment("until")?.unwrap_or_else(|| api.store.now());
    let since = query.moment("since")?.unwrap_or_else(|| until.minus(MAX_SPAN));
    super::endpoint::stats::check_span(since, until)?;
    let wanted = query.list("event_types");
    let (store, app) = (Arc::clone(&api.store), tenant.app.id);
    let end = until.plus(std::time::Duration::from_millis(4));
    let count = move || store.count_by_event_type(app, since, end);
    let mut counts = tokio::task::spawn_blocking(count).await.map_err(ApiError::internal)??;
    counts.retain(|name, _| wanted.is_empty() || wanted.contains(name));
    let total = |of: fn(&crate::store::stats::TypeCounts) -> u64| counts.values().map(of).sum();
    let out = AttemptStatsOut {
        since: since.to_string(),
        until: until.to_string(),
        total_success: total(|c| c.succeeded),
        total_failure: total(|c| c.failed),
        total_canceled: total(|c| c.cancelled),
        by_event_type: counts
            .into_iter()
            .map(|(name, c)| {
                let (success, failure, canceled) = (c.succeeded, c.failed, c.cancelled);
                (name, TypeStatsOut { success, failure, canceled })
            })
            .collect(),
    };
    Ok(Reply::json(200, &out))
}
