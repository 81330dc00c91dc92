//! Whether an endpoint's throttle holds messages back.

use serde::Serialize;

use super::{Whose, find};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reply::Reply;
use crate::api::request::Request;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThrottleOut {
    status: &'static str,
    throttled_since: Option<String>,
}

/// `GET /app/{app}/endpoint/{endpoint}/rate-limit-status`: limited while it has a rate, nothing else
/// holds it back, and something is overdue.
pub(crate) fn status(api: &Api, request: &Request, app: &str, id: &str) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, Whose::App(app), id)?;
    let is_held_otherwise = !endpoint.is_active() || api.board.pause(endpoint.id).is_some();
    let is_limited = endpoint.throttle_rate.is_some() && !is_held_otherwise;
    let overdue =
        if is_limited { api.store.queue_first(endpoint.id, endpoint.ordered)? } else { None };
    let since = overdue.filter(|due| *due < api.store.now());
    let status = if since.is_some() { "RateLimited" } else { "Ok" };
    let throttled_since = since.map(|due| due.to_string());
    Ok(Reply::json(200, &ThrottleOut { status, throttled_since }))
}
