//! `/in/…`: hands requests from the wire to `inbound`, and its answers back.
//!
//! Beside the router rather than below it: a door has limits of its own, which hold before a body
//! is read, and answers as its provider wants, not as our API does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{FutureExt as _, Stream};
use http::{HeaderMap, Method};

use super::Api;
use super::serve::{Body, collect};
use crate::inbound::{Answer, Arrived};

/// What paths of doors begin with.
pub(super) const PREFIX: &str = "/in/";

/// A request before its body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
}

/// Answers a request to a door, whatever happens meanwhile.
pub(super) async fn answer(
    api: &Arc<Api>,
    head: Head,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    body_timeout: Duration,
) -> http::Response<Bytes> {
    let caught = AssertUnwindSafe(take(api, head, body, body_timeout)).catch_unwind().await;
    let answer = caught.unwrap_or_else(|panic| {
        let cause = crate::store::spine::panic_text(panic.as_ref());
        tracing::error!(cause, "an inbound request failed");
        Answer::later(500, "internal_error", "something went wrong here", 30)
    });
    response(answer)
}

async fn take(
    api: &Arc<Api>,
    head: Head,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    body_timeout: Duration,
) -> Answer {
    let admitted = match api.inbound.admit(&head.path) {
        Ok(admitted) => admitted,
        // Nothing of the body is read, so the connection cannot go on.
        Err(answer) => return answer.with("connection", "close"),
    };
    let most = admitted.max_body();
    let length = head.headers.get("content-length");
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return admitted.too_large().with("connection", "close");
    }
    let body = match tokio::time::timeout(body_timeout, collect(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Body::TooLarge)) => return admitted.too_large().with("connection", "close"),
        Ok(Err(Body::Broken(_))) => {
            let detail = "the body ended too early";
            return Answer::refused(400, "body_broken", detail).with("connection", "close");
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {body_timeout:?}");
            return Answer::refused(408, "body_timeout", &detail).with("connection", "close");
        }
    };
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let request = Arrived {
        method: head.method.as_str().to_owned(),
        path: head.path,
        query: head.query,
        headers: head.headers.iter().map(header).collect(),
        body,
    };
    api.inbound.answer(&admitted, &request).await
}

fn response(answer: Answer) -> http::Response<Bytes> {
    let mut builder = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(answer.body).unwrap_or_else(|err| {
        tracing::error!(%err, "an answer to an inbound request could not be written");
        let mut broken = http::Response::new(Bytes::new());
        *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}
