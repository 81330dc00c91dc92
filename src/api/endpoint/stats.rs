//! How an endpoint does: attempts by how they ended, in a span of time.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Whose, find};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, EndpointId};
use crate::store::Error;

/// The longest span, and the one taken when nothing is said: 28 days.
pub const MAX_SPAN: Duration = Duration::from_secs(28 * 24 * 3600);

#[derive(Debug, Serialize)]
struct StatsOut {
    success: u64,
    pending: u64,
    /// What is being sent is not told from what waits: running attempts are not on disk.
    sending: u64,
    fail: u64,
    canceled: u64,
}

/// Refuses spans that are too long or turned round.
pub(crate) fn check_span(since: Timestamp, until: Timestamp) -> Result<(), ApiError> {
    if since > until || until.since(since) > MAX_SPAN {
        let detail = format!(
            "since is {since} and until is {until}, but since must come first and lie at most 28 days before"
        );
        return Err(ApiError::new(400, "invalid_range", detail));
    }
    Ok(())
}

/// What is counted, and from when to before when.
struct Asked {
    app: AppId,
    endpoint: EndpointId,
    since: Timestamp,
    end: Timestamp,
}

fn asked(api: &Api, request: &Request, app: &str, id: &str) -> Result<Asked, ApiError> {
    let (tenant, endpoint) = find(api, request, Whose::App(app), id)?;
    let query = Query::parse(&request.query)?;
    let until = query.moment("until")?.unwrap_or_else(|| api.store.now());
    let since = query.moment("since")?.unwrap_or_else(|| until.minus(MAX_SPAN));
    check_span(since, until)?;
    // `until` is meant to be counted too.
    let end = until.plus(Duration::from_millis(4));
    Ok(Asked { app: tenant.app.id, endpoint: endpoint.id, since, end })
}

/// `GET /app/{app}/endpoint/{endpoint}/stats`
pub(crate) async fn get(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let Asked { endpoint, since, end, .. } = asked(api, request, app, id)?;
    let store = Arc::clone(&api.store);
    let count = move || store.count_endpoint(endpoint, since, end);
    let counts = tokio::task::spawn_blocking(count).await.map_err(ApiError::internal)??;
    let (success, fail, pending) = (counts.succeeded, counts.failed, counts.waiting);
    Ok(Reply::json(200, &StatsOut { success, pending, sending: 0, fail, canceled: 0 }))
}

#[derive(Debug, Serialize)]
struct AttemptStatsOut {
    success: u64,
    fail: u64,
    /// Deliveries given up, of messages accepted in that time.
    canceled: u64,
}

/// `GET /app/{app}/endpoint/{endpoint}/attempt-stats`
pub(crate) async fn attempts(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let Asked { app, endpoint, since, end } = asked(api, request, app, id)?;
    let store = Arc::clone(&api.store);
    let count = move || {
        let canceled = store.count_cancelled_for(app, endpoint, since, end)?;
        Ok::<_, Error>((store.count_endpoint(endpoint, since, end)?, canceled))
    };
    let (counts, canceled) =
        tokio::task::spawn_blocking(count).await.map_err(ApiError::internal)??;
    let (success, fail) = (counts.succeeded, counts.failed);
    Ok(Reply::json(200, &AttemptStatsOut { success, fail, canceled }))
}
