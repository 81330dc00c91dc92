//! `GET /api/v1/health`, which needs no token, and what an operator may ask for beside it.

use serde::Serialize;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;

#[derive(Serialize)]
struct Part {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
struct HealthOut {
    database: Part,
    queue: Part,
    cache: Part,
}

/// `POST /admin/redrive-dlq`: sends dead letters on their way again. There are none here: what a broken
/// worker leaves is due again by itself.
pub(super) fn redrive(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    Caller::of(api, request)?.operator()?;
    Ok(Reply::no_content())
}

/// 200 while messages are accepted and delivered, 500 with the reason while they are not.
pub(super) fn get(api: &Api) -> Reply {
    let ok = || Part { status: "ok", detail: None };
    let database = match api.store.space().check() {
        Ok(()) => ok(),
        Err(err) => Part { status: "error", detail: Some(err.to_string()) },
    };
    let queue = if api.board.counts().offline {
        let detail = "no endpoint can be reached: this machine seems to have no network";
        Part { status: "ok", detail: Some(detail.to_owned()) }
    } else {
        ok()
    };
    let status = if database.status == "ok" { 200 } else { 500 };
    Reply::json(status, &HealthOut { database, queue, cache: ok() })
}
