//! Taking a request's body in: under limits of size, of time, and of memory over all requests.
//!
//! Strangers cannot make the daemon hold much: a body larger than [`STRANGERS_BYTES`] is not read
//! before its sender has shown a good token. Called by [`super::serve`] alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::request::Request;

/// Bytes of a body that are taken from anybody.
pub const STRANGERS_BYTES: usize = 16 * 1024;
/// Bytes a body may have beside its payload: the JSON around it.
pub const BODY_SLACK: usize = 64 * 1024;
/// Bytes that larger bodies may hold together; more of them wait for their turn unread.
pub const ALL_BODIES_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of a refused body that are read and dropped, so that its sender, who is still sending,
/// sees the answer and not a broken connection.
pub const LINGER_BYTES: u64 = 16 * 1024 * 1024;
/// And the time that may take.
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// What one permit of the memory stands for.
const PERMIT_BYTES: usize = 1024;

/// The memory that bodies share, and the time each may take.
#[derive(Clone)]
pub(super) struct Intake {
    memory: Arc<Semaphore>,
    timeout: Duration,
}

/// A body, and its share of the memory: given back when the request is answered.
pub(super) struct Taken {
    pub(super) body: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Why a body is refused.
pub(super) enum Refusal {
    TooLate,
    TooLarge,
    Stranger(ApiError),
    Broken(String),
}

impl Intake {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { memory: Arc::new(Semaphore::new(ALL_BODIES_BYTES / PERMIT_BYTES)), timeout }
    }

    /// The body of `head` whole, or why not: the connection is of no use after that.
    pub(super) async fn take(
        &self,
        api: &Api,
        head: &Request,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    ) -> Result<Taken, ApiError> {
        let most = api.settings.max_payload + BODY_SLACK;
        let known = || Caller::of(api, head).map(drop).map_err(Refusal::Stranger);
        let taken = self.take_up_to(most, head, &known, body).await;
        taken.map_err(|refusal| refusal.into_error(api, self.timeout))
    }

    /// The body of `head`, if it has at most `most` bytes. `known` says whether its sender may have
    /// more than what strangers have.
    pub(super) async fn take_up_to(
        &self,
        most: usize,
        head: &Request,
        known: &(dyn Fn() -> Result<(), Refusal> + Sync),
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    ) -> Result<Taken, Refusal> {
        let mut body = std::pin::pin!(body);
        let collected = self.collect(most, head, known, body.as_mut());
        match tokio::time::timeout(self.timeout, collected).await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(refusal)) => {
                if !matches!(refusal, Refusal::Broken(_)) && announced(head) <= LINGER_BYTES {
                    drop(tokio::time::timeout(LINGER_TIME, drain(body)).await);
                }
                Err(refusal)
            }
            Err(_) => Err(Refusal::TooLate),
        }
    }

    async fn collect<B: Buf>(
        &self,
        most: usize,
        head: &Request,
        known: &(dyn Fn() -> Result<(), Refusal> + Sync),
        mut body: impl Stream<Item = Result<B, warp::Error>> + Unpin + Send,
    ) -> Result<Taken, Refusal> {
        let announced = announced(head);
        if announced > most as u64 {
            return Err(Refusal::TooLarge);
        }
        let is_large = announced > STRANGERS_BYTES as u64;
        let mut share = None;
        if is_large {
            share = Some(self.reserve(known, head, most).await?);
        }
        let Some(first) = next(&mut body).await? else {
            return Ok(Taken::new(Bytes::new(), share));
        };
        let mut first = first;
        if first.remaining() > most {
            return Err(Refusal::TooLarge);
        }
        // Most bodies come in one piece, which is not copied.
        let first = first.copy_to_bytes(first.remaining());
        let Some(second) = next(&mut body).await? else { return Ok(Taken::new(first, share)) };
        let mut whole = BytesMut::from(first);
        let mut piece = second;
        loop {
            let length = whole.len() + piece.remaining();
            if length > most {
                return Err(Refusal::TooLarge);
            }
            if length > STRANGERS_BYTES && share.is_none() {
                share = Some(self.reserve(known, head, most).await?);
            }
            while piece.has_remaining() {
                let chunk = piece.chunk();
                whole.extend_from_slice(chunk);
                let length = chunk.len();
                piece.advance(length);
            }
            match next(&mut body).await? {
                Some(next) => piece = next,
                None => return Ok(Taken::new(whole.freeze(), share)),
            }
        }
    }

    /// Memory for a body of up to `most` bytes, for those who may send one.
    async fn reserve(
        &self,
        known: &(dyn Fn() -> Result<(), Refusal> + Sync),
        head: &Request,
        most: usize,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        known()?;
        let length = usize::try_from(announced(head)).unwrap_or(most);
        let length = if length == 0 { most } else { length.min(most) };
        let permits = u32::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.memory).acquire_many_owned(permits).await;
        permit.map_err(|_| Refusal::Broken("the daemon is stopping".to_owned()))
    }
}

impl Taken {
    fn new(body: Bytes, share: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, _share: share }
    }
}

impl Refusal {
    fn into_error(self, api: &Api, timeout: Duration) -> ApiError {
        match self {
            Self::TooLarge => too_large(api),
            Self::TooLate => {
                let detail = format!("the body of the request did not arrive within {timeout:?}");
                ApiError::new(408, "body_timeout", detail)
            }
            Self::Stranger(error) => error,
            Self::Broken(detail) => {
                ApiError::bad_request(format!("the body of the request ended too early: {detail}"))
            }
        }
    }
}

/// 413, with the setting.
pub(super) fn too_large(api: &Api) -> ApiError {
    let most = api.settings.max_payload;
    let detail = format!("the payload is larger than {most} bytes (server.max_payload)");
    ApiError::new(413, "payload_too_large", detail)
}

/// The length the sender announced; 0 for none.
fn announced(head: &Request) -> u64 {
    let length = head.headers.get("content-length").and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn next<B>(
    body: &mut (impl Stream<Item = Result<B, warp::Error>> + Unpin),
) -> Result<Option<B>, Refusal> {
    let piece = body.next().await.transpose();
    piece.map_err(|err| Refusal::Broken(err.to_string()))
}

/// Reads and drops what comes, up to [`LINGER_BYTES`].
async fn drain<B: Buf>(mut body: impl Stream<Item = Result<B, warp::Error>> + Unpin) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(piece)) = body.next().await {
        left = left.saturating_sub(piece.remaining() as u64);
        if left == 0 {
            return;
        }
    }
}
