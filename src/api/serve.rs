//! Taking connections and requests in, under limits. warp is here and nowhere else in the API.
//!
//! One filter takes every request; [`super::router`] finds the operation. warp has no knob for a
//! header time-out or a connection limit, so its service runs under hyper-util's builder.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use warp::Filter as _;
use warp::path::FullPath;

use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::{Api, door, router};

/// Bytes of a request's line and headers.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Header fields of a request.
pub const MAX_HEADERS: usize = 100;
/// Bytes a body may have beside its payload: the JSON around it.
const BODY_SLACK: usize = 64 * 1024;

/// What an operator sets about connections.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Connections at once; one more is closed at once.
    pub max_connections: usize,
    /// The time a request's headers may take, and an idle connection may live.
    pub header_timeout: Duration,
    /// The time a request's body may take.
    pub body_timeout: Duration,
    /// The time running requests get when the daemon stops.
    pub grace: Duration,
}

/// Answers requests on `listener` until `shutdown`, then lets running ones end.
pub async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let service = TowerToHyperService::new(warp::service(routes(api, limits.body_timeout)));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .pipeline_flush(true);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: let some close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let connection = http.serve_connection(TokioIo::new(quick(stream)), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whatever broke the connection is the other side's affair.
            drop(connection.await);
            drop(place);
        });
    }
    drop(listener);
    drop(tokio::time::timeout(limits.grace, graceful.shutdown()).await);
}

/// Answers are small: they must not wait for more.
fn quick(stream: TcpStream) -> TcpStream {
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(%err, "no TCP_NODELAY");
    }
    stream
}

/// The one filter.
fn routes(
    api: Arc<Api>,
    body_timeout: Duration,
) -> impl warp::Filter<Extract = (http::Response<Bytes>,), Error = std::convert::Infallible> + Clone
{
    let query = warp::query::raw()
        .or_else(|_| async { Ok::<_, std::convert::Infallible>((String::new(),)) });
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, body| {
            let api = Arc::clone(&api);
            async move {
                if path.as_str().starts_with(door::PREFIX) {
                    let head =
                        door::Head { method, path: path.as_str().to_owned(), query, headers };
                    return door::answer(&api, head, body, body_timeout).await;
                }
                let reply = answer(&api, method, path, query, headers, body, body_timeout).await;
                response(reply)
            }
        })
        .or_else(|_| async {
            // Nothing above rejects, but for a body that cannot be had.
            let error = ApiError::bad_request("the body of the request cannot be read");
            Ok::<_, std::convert::Infallible>((response(error.into_reply()),))
        })
}

async fn answer(
    api: &Arc<Api>,
    method: Method,
    path: FullPath,
    query: String,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    body_timeout: Duration,
) -> Reply {
    let most = api.settings.max_payload + BODY_SLACK;
    let length = headers.get("content-length").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most as u64) {
        return too_large(api).into_reply().with_header("connection", "close");
    }
    let body = match tokio::time::timeout(body_timeout, collect(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Body::TooLarge)) => {
            return too_large(api).into_reply().with_header("connection", "close");
        }
        Ok(Err(Body::Broken(err))) => {
            let detail = format!("the body of the request ended too early: {err}");
            return ApiError::bad_request(detail).into_reply().with_header("connection", "close");
        }
        Err(_) => {
            let detail = format!("the body of the request did not arrive within {body_timeout:?}");
            return ApiError::new(408, "body_timeout", detail)
                .into_reply()
                .with_header("connection", "close");
        }
    };
    let path = path.as_str();
    let path = path.strip_suffix('/').filter(|p| !p.is_empty()).unwrap_or(path).to_owned();
    router::answer(api, Request { method, path, query, headers, body }).await
}

pub(super) fn too_large(api: &Api) -> ApiError {
    let most = api.settings.max_payload;
    let detail = format!("the payload is larger than {most} bytes (server.max_payload)");
    ApiError::new(413, "payload_too_large", detail)
}

/// Why there is no body.
pub(super) enum Body {
    TooLarge,
    Broken(warp::Error),
}

/// The body whole, or as soon as it is larger than `most` not at all.
pub(super) async fn collect(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    most: usize,
) -> Result<Bytes, Body> {
    let mut body = std::pin::pin!(body);
    let Some(first) = body.next().await else { return Ok(Bytes::new()) };
    let mut first = first.map_err(Body::Broken)?;
    if first.remaining() > most {
        return Err(Body::TooLarge);
    }
    // Most bodies come in one piece, which is not copied.
    let first = first.copy_to_bytes(first.remaining());
    let Some(second) = body.next().await else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    let mut piece = second.map_err(Body::Broken)?;
    loop {
        if whole.len() + piece.remaining() > most {
            return Err(Body::TooLarge);
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            whole.extend_from_slice(chunk);
            let length = chunk.len();
            piece.advance(length);
        }
        match body.next().await {
            Some(next) => piece = next.map_err(Body::Broken)?,
            None => return Ok(whole.freeze()),
        }
    }
}

fn response(reply: Reply) -> http::Response<Bytes> {
    let mut builder =
        http::Response::builder().status(reply.status).header("access-control-allow-origin", "*");
    if !reply.body.is_empty() {
        builder = builder
            .header("content-type", reply.content_type)
            .header("x-content-type-options", "nosniff");
    }
    for (name, value) in &reply.headers {
        builder = builder.header(*name, value);
    }
    builder.body(reply.body).unwrap_or_else(|_| {
        let mut broken = http::Response::new(Bytes::new());
        *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}
