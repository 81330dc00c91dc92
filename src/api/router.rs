//! From a method and a path to an operation.
//!
//! The hottest route stands first. What is not found is either an operation that is not built
//! (501, with its name) or nothing we know (404): always JSON, never an empty body.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::Method;

use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::{
    Api, application, attempt, declared, endpoint, event_type, health, ingest, message, operations,
    portal,
};

pub(super) type Answer = Result<Reply, ApiError>;

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
    match (&request.method, segments.as_slice()) {
        (&Method::POST, ["api", "v1", "app", app, "msg"]) => {
            message::create(api, &request, app).await
        }
        (&Method::OPTIONS, _) => Ok(preflight()),
        (&Method::GET | &Method::HEAD, ["api", "v1", "health"]) => Ok(health::get(api)),
        (&Method::GET | &Method::HEAD, ["api", "v1", "health", "ping"]) => Ok(Reply::no_content()),
        (_, ["api", "v1", "app", rest @ ..]) => app(api, &request, rest, &segments).await,
        (_, ["api", "v1", "event-type", rest @ ..]) => types(api, &request, rest, &segments).await,
        (&Method::POST, ["api", "v1", "auth", "app-portal-access" | "dashboard-access", app]) => {
            portal::access(api, &request, app).await
        }
        (&Method::GET | &Method::HEAD, ["portal"]) => Ok(portal::page()),
        (&Method::POST, ["api", "v1", "files", verb @ ("plan" | "apply")]) => {
            declared::take(api, &request, verb).await
        }
        (_, ["ingest", "api", "v1", "source", rest @ ..]) => {
            let answer = ingest::route(api, &request, rest).await;
            answer.unwrap_or_else(|| Err(unknown(api, &request, &segments)))
        }
        _ => Err(unknown(api, &request, &segments)),
    }
}

async fn app(api: &Arc<Api>, request: &Request, rest: &[&str], whole: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => application::list(api, request),
        ("POST", []) => application::create(api, request).await,
        ("GET", [app]) => application::get(api, request, app),
        ("PUT", [app]) => application::update(api, request, app).await,
        ("PATCH", [app]) => application::patch(api, request, app).await,
        ("DELETE", [app]) => application::delete(api, request, app).await,
        (_, [app, "endpoint", rest @ ..]) => endpoints(api, request, app, rest, whole).await,
        ("GET", [app, "msg"]) => message::list(api, request, app),
        ("GET", [app, "msg", msg]) => message::get(api, request, app, msg),
        ("DELETE", [app, "msg", msg, "content"]) => message::expunge(api, request, app, msg).await,
        ("GET", [app, "msg", msg, "endpoint"]) => attempt::destinations(api, request, app, msg),
        ("POST", [app, "msg", msg, "endpoint", endpoint, "resend"]) => {
            attempt::resend(api, request, app, msg, endpoint).await
        }
        ("GET", [app, "msg", msg, "endpoint", endpoint, "attempt"]) => {
            attempt::list_by_message(api, request, app, msg, Some(endpoint))
        }
        ("GET", [app, "attempt", "endpoint", endpoint]) => {
            attempt::list_by_endpoint(api, request, app, endpoint)
        }
        ("GET", [app, "attempt", "msg", msg] | [app, "msg", msg, "attempt"]) => {
            attempt::list_by_message(api, request, app, msg, None)
        }
        ("GET", [app, "msg", msg, "attempt", attempt]) => {
            attempt::get(api, request, app, msg, attempt)
        }
        ("DELETE", [app, "msg", msg, "attempt", attempt, "content"]) => {
            attempt::expunge(api, request, app, msg, attempt).await
        }
        _ => Err(unknown(api, request, whole)),
    }
}

async fn endpoints(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    rest: &[&str],
    whole: &[&str],
) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => endpoint::list(api, request, app),
        ("POST", []) => endpoint::create(api, request, app).await,
        ("GET", [id]) => endpoint::get(api, request, app, id),
        ("PUT", [id]) => endpoint::update(api, request, app, id).await,
        ("PATCH", [id]) => endpoint::patch(api, request, app, id).await,
        ("DELETE", [id]) => endpoint::delete(api, request, app, id).await,
        ("GET", [id, "secret"]) => endpoint::secret::get(api, request, app, id),
        ("POST", [id, "secret", "rotate"]) => endpoint::secret::rotate(api, request, app, id).await,
        ("GET", [id, "headers"]) => endpoint::headers::get(api, request, app, id),
        ("PUT", [id, "headers"]) => endpoint::headers::set(api, request, app, id).await,
        ("PATCH", [id, "headers"]) => endpoint::headers::patch(api, request, app, id).await,
        ("GET", [id, "stats"]) => endpoint::stats::get(api, request, app, id).await,
        ("POST", [id, "send-example"]) => endpoint::example::send(api, request, app, id).await,
        ("GET", [id, "msg"]) => attempt::attempted_messages(api, request, app, id),
        ("POST", [id, "recover"]) => attempt::recover(api, request, app, id).await,
        _ => Err(unknown(api, request, whole)),
    }
}

async fn types(api: &Arc<Api>, request: &Request, rest: &[&str], whole: &[&str]) -> Answer {
    match (request.method.as_str(), rest) {
        ("GET", []) => event_type::list(api, request),
        ("POST", []) => event_type::create(api, request).await,
        ("GET", [name]) => event_type::get(api, request, name),
        ("PUT", [name]) => event_type::update(api, request, name).await,
        ("PATCH", [name]) => event_type::patch(api, request, name).await,
        ("DELETE", [name]) => event_type::delete(api, request, name).await,
        _ => Err(unknown(api, request, whole)),
    }
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
