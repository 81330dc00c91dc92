//! From a method and a path to an operation.
//!
//! The hottest route stands first, the table of all is in [`routes`]. What is not found is either
//! an operation that is not built (501, with its name) or nothing we know (404): always JSON, never
//! an empty body.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::Method;

use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;
use super::{Api, declared, message, operations, routes};

/// Answers a request, whatever happens while it is answered.
pub async fn answer(api: &Arc<Api>, request: Request) -> Reply {
    let is_head = request.method == Method::HEAD;
    let (method, path) = (request.method.clone(), request.path.clone());
    let result = AssertUnwindSafe(route(api, request)).catch_unwind().await;
    let result = result.unwrap_or_else(|panic| {
        Err(ApiError::internal(crate::store::spine::panic_text(panic.as_ref())))
    });
    let mut reply = result.unwrap_or_else(|error| {
        let Some(cause) = &error.internal else { return error.into_reply() };
        let id = request_id();
        tracing::error!(id, %method, path, cause, "a request failed");
        error.with_request_id(&id).into_reply()
    });
    if is_head {
        reply.body = bytes::Bytes::new();
    }
    reply
}

/// A word to find a failed request by in the log.
fn request_id() -> String {
    let mut random = [0; 4];
    // Without chance every id is the same: a pity, and nothing worse.
    getrandom::fill(&mut random).unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(random))
}

async fn route(api: &Arc<Api>, request: Request) -> Answer {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    declared::guard(api, &request, &segments)?;
    if let ("POST", ["api", "v1", "app", app, "msg"]) =
        (request.method.as_str(), segments.as_slice())
    {
        return message::create(api, &request, app).await;
    }
    if request.method == Method::OPTIONS {
        return Ok(preflight());
    }
    // Whatever can be read can be asked for without its body.
    let method = if request.method == Method::HEAD { "GET" } else { request.method.as_str() };
    // Boxed, so that the hot route does not carry the others' size about.
    let answer: Option<Answer> = match segments.as_slice() {
        ["api", "v1", "app", rest @ ..] => {
            let answer = Box::pin(routes::apps(api, &request, method, rest)).await;
            match answer {
                None => Box::pin(routes::endpoints(api, &request, method, rest)).await,
                some => some,
            }
        }
        ["api", "v1", "event-type", rest @ ..] => {
            Box::pin(routes::event_types(api, &request, method, rest)).await
        }
        ["api", "v1", "operational-webhook", "endpoint", rest @ ..] => {
            Box::pin(routes::operational_webhooks(api, &request, method, rest)).await
        }
        ["api", "v1", rest @ ..] => Box::pin(routes::others(api, &request, method, rest)).await,
        ["ingest", "api", "v1", "source", rest @ ..] => {
            Box::pin(routes::sources(api, &request, method, rest)).await
        }
        rest => Box::pin(routes::for_people(api, &request, method, rest)).await,
    };
    answer.unwrap_or_else(|| Err(unknown(api, &request, &segments)))
}

/// 501 for what the libraries know and we have not built, 404 for the rest. Only to those who
/// have a token: others learn nothing of what is here.
fn unknown(api: &Api, request: &Request, segments: &[&str]) -> ApiError {
    if let Some(operation) = operations::not_built(request.method.as_str(), segments) {
        return match Caller::of(api, request) {
            Err(error) => error,
            Ok(_) => ApiError::new(501, "not_implemented", format!("{operation} is not built yet")),
        };
    }
    let shown: String = request.path.chars().take(200).collect();
    let detail = format!("there is no {} {shown}; the API is under /api/v1", request.method);
    ApiError::new(404, "unknown_operation", detail)
}

/// What a browser asks before it sends a request from another origin.
fn preflight() -> Reply {
    Reply::no_content()
        .with_header("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE")
        .with_header(
            "access-control-allow-headers",
            "authorization, content-type, idempotency-key, svix-req-id, svix-retry-count",
        )
        .with_header("access-control-max-age", "3600")
}
