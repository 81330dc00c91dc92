//! `/in/…`: hands requests from the wire to `inbound`, and its answers back.
//!
//! Beside the router rather than below it: a door has limits of its own, which hold before a body
//! is read, and answers as its provider wants, not as our API does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::{FutureExt as _, Stream};

use super::Api;
use super::intake::{Intake, Refusal};
use super::request::Request;
use crate::inbound::{Answer, Arrived};

/// What paths of doors begin with.
pub(super) const PREFIX: &str = "/in/";

/// Answers a request to a door, whatever happens meanwhile.
pub(super) async fn answer(
    api: &Arc<Api>,
    intake: &Intake,
    head: Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> http::Response<Bytes> {
    let caught = AssertUnwindSafe(take(api, intake, head, body)).catch_unwind().await;
    let answer = caught.unwrap_or_else(|panic| {
        let cause = crate::store::spine::panic_text(panic.as_ref());
        tracing::error!(cause, "an inbound request failed");
        Answer::later(500, "internal_error", "something went wrong here", 30)
    });
    let counters = api.store.counters();
    let is_accepted = (200..300).contains(&answer.status);
    if is_accepted { &counters.inbound_accepted } else { &counters.inbound_refused }.add(1);
    response(answer)
}

async fn take(
    api: &Arc<Api>,
    intake: &Intake,
    head: Request,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Answer {
    let admitted = match api.inbound.admit(&head.path) {
        Ok(admitted) => admitted,
        // Nothing of the body is read, so the connection cannot go on.
        Err(answer) => return answer.with("connection", "close"),
    };
    // Whoever has the token of a door is no stranger; the signature is over the body, which has to
    // be read first.
    let taken = match intake.take_up_to(admitted.max_body(), &head, &|| Ok(()), body).await {
        Ok(taken) => taken,
        Err(refusal) => {
            let answer = match refusal {
                Refusal::TooLarge => admitted.too_large(),
                Refusal::TooLate => {
                    Answer::refused(408, "body_timeout", "the body did not arrive in time")
                }
                Refusal::Broken(_) | Refusal::Stranger(_) => {
                    Answer::refused(400, "body_broken", "the body ended too early")
                }
            };
            return answer.with("connection", "close");
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
        body: taken.body.clone(),
    };
    // The share of the memory is held until the request is answered.
    let answer = api.inbound.answer(&admitted, &request).await;
    drop(taken);
    answer
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
