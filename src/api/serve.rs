//! Taking connections and requests in, under limits. warp is here and nowhere else in the API.
//!
//! One filter takes every request; [`super::router`] finds the operation. warp has no knob for a
//! header time-out or a connection limit, so its service runs under hyper-util's builder.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use warp::Filter as _;
use warp::path::FullPath;

use super::caller::Caller;
use super::doors::visitor;
use super::error::ApiError;
use super::intake::Intake;
use super::reply::Reply;
use super::request::Request;
use super::{Api, door, router};

/// Bytes of a request's line and headers. What arrives in one piece may be up to twice as long.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Header fields of a request. `DocuSign` may sign with a hundred keys, each in a header of its own.
pub const MAX_HEADERS: usize = 128;
/// Connections that may wait to be taken in. The system may allow fewer (`somaxconn`).
pub const BACKLOG: u32 = 4096;

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
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: let some close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (service, peer) = (service.clone(), Peer(peer.ip()));
        let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let connection = http.serve_connection(TokioIo::new(quick(stream)), service);
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

/// The other end of the connection a request came on.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// The one filter.
fn routes(
    api: Arc<Api>,
    body_timeout: Duration,
) -> impl warp::Filter<Extract = (http::Response<Bytes>,), Error = std::convert::Infallible> + Clone
{
    let intake = Intake::new(body_timeout);
    let query = warp::query::raw()
        .or_else(|_| async { Ok::<_, std::convert::Infallible>((String::new(),)) });
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, peer, body| {
            let (api, intake) = (Arc::clone(&api), intake.clone());
            async move {
                let path = path.as_str();
                let path = path.strip_suffix('/').filter(|p| !p.is_empty()).unwrap_or(path);
                let path = path.to_owned();
                let head = Request { method, path, query, headers, body: Bytes::new() };
                if head.path.starts_with(door::PREFIX) {
                    return door::answer(&api, &intake, head, body).await;
                }
                response(answer(&api, &intake, head, peer, body).await)
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
    intake: &Intake,
    mut request: Request,
    peer: Option<Peer>,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Reply {
    let shows_token = request.headers.contains_key("authorization");
    let visitor = peer.filter(|_| shows_token).map(|Peer(ip)| visitor(ip, &request.headers));
    if let Some(visitor) = visitor
        && let Some(wait) = api.doors.wait(visitor, Instant::now())
        && !Caller::is_known(api, &request)
    {
        let error = ApiError::too_many_failures(wait);
        return error.into_reply().with_header("connection", "close");
    }
    // The share of the memory is held until the request is answered.
    let (reply, _share) = match intake.take(api, &request, body).await {
        Ok(taken) => {
            request.body = taken.body.clone();
            (router::answer(api, request).await, Some(taken))
        }
        Err(error) => (error.into_reply().with_header("connection", "close"), None),
    };
    if let Some(visitor) = visitor.filter(|_| reply.status == 401) {
        api.doors.failed(visitor, Instant::now());
    }
    reply
}

/// Takes `address` with room for many connections that are not taken in yet: a burst of them must
/// not wait a second for its second try.
///
/// # Errors
/// The address cannot be used.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// On every answer that does not say otherwise: it is data and not a page, and nobody's to keep.
const GUARDS: &[(&str, &str)] = &[
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
];

fn response(reply: Reply) -> http::Response<Bytes> {
    let mut builder =
        http::Response::builder().status(reply.status).header("access-control-allow-origin", "*");
    if !reply.body.is_empty() {
        builder = builder
            .header("content-type", reply.content_type)
            .header("x-content-type-options", "nosniff");
    }
    for (name, value) in GUARDS {
        if !reply.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
            builder = builder.header(*name, *value);
        }
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
