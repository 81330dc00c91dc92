//! `GET /api/v1/health`: no token needed.

use serde::Serialize;

use super::Api;
use super::reply::Reply;

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
