//! Over a real socket: limits on headers, bodies, time and connections; an ordered stop.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::{House, MAX_PAYLOAD};
use crate::api::serve::{ServeLimits, serve};

const WAIT: Duration = Duration::from_secs(20);

struct Served {
    house: House,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    stopped: tokio::task::JoinHandle<()>,
}

fn served(change: impl FnOnce(&mut ServeLimits)) -> Served {
    let house = House::new();
    let mut limits =
        ServeLimits { max_connections: 100, header_timeout: WAIT, body_timeout: WAIT, grace: WAIT };
    change(&mut limits);
    let listener = house.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = oneshot::channel();
    let api = std::sync::Arc::clone(&house.api);
    let stopped =
        house.runtime.spawn(serve(listener, api, limits, async move { drop(stopping.await) }));
    Served { house, address, stop, stopped }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

/// Reads one answer: status, headers in lower case, body.
fn answer(stream: &mut TcpStream) -> (u16, String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "closed after {:?}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (status, head, body)
}

fn code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// Whether the other side has closed: at the end, or with a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 1]), Ok(0)) || stream.take_error().unwrap().is_some()
}

#[test]
fn answers_on_one_connection_with_json_and_cors() {
    let s = served(|_| {});
    let mut stream = connect(s.address);
    for path in ["/api/v1/health", "/api/v1/health/", "/api/v1/app"] {
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let (status, head, body) = answer(&mut stream);
        assert_eq!(status, if path.ends_with("app") { 401 } else { 200 });
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        assert!(serde_json::from_slice::<Value>(&body).is_ok());
    }
    let body = r#"{"name":"x"}"#;
    let token = &s.house.operator;
    write!(
        stream,
        "POST /api/v1/app?get_if_exists=false HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\n{}\r\n7\r\n{}\r\n0\r\n\r\n",
        &body[..5],
        &body[5..]
    )
    .unwrap();
    assert_eq!(answer(&mut stream).0, 201);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let s = served(|_| {});
    let length = MAX_PAYLOAD + 64 * 1024;
    let mut stream = connect(s.address);
    // Nothing of the body is sent, and there is no token.
    write!(
        stream,
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        length + 1
    )
    .unwrap();
    let (status, _, body) = answer(&mut stream);
    assert_eq!((status, code(&body).as_str()), (413, "payload_too_large"));
    assert!(is_closed(&mut stream));

    // Where the length is not known beforehand, a token is asked for first.
    let mut stream = connect(s.address);
    write!(
        stream,
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        s.house.operator
    )
    .unwrap();
    write!(stream, "{:x}\r\n{}\r\n", length + 1, "x".repeat(length + 1)).unwrap();
    let (status, _, body) = answer(&mut stream);
    assert_eq!((status, code(&body).as_str()), (413, "payload_too_large"));

    let mut stream = connect(s.address);
    write!(
        stream,
        "POST /api/v1/app HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{}",
        "x".repeat(length)
    )
    .unwrap();
    assert_eq!(answer(&mut stream).0, 401, "a body of the limit is not too large");
}

#[test]
fn a_body_that_stops_half_way_is_given_up() {
    let s = served(|limits| limits.body_timeout = Duration::from_millis(200));
    let mut stream = connect(s.address);
    write!(stream, "POST /api/v1/app HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{")
        .unwrap();
    let (status, _, body) = answer(&mut stream);
    assert_eq!((status, code(&body).as_str()), (408, "body_timeout"));
    assert!(is_closed(&mut stream));
}

#[test]
fn headers_that_do_not_come_or_do_not_end_are_given_up() {
    let s = served(|limits| limits.header_timeout = Duration::from_millis(200));
    let mut silent = connect(s.address);
    let mut slow = connect(s.address);
    write!(slow, "GET /api/v1/health HTTP/1.1\r\nhost: ").unwrap();
    let began = Instant::now();
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
    assert!(began.elapsed() < WAIT);
    let mut large = connect(s.address);
    drop(write!(large, "GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(80 * 1024)));
    let mut rest = Vec::new();
    drop(large.read_to_end(&mut rest));
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
}

#[test]
fn one_connection_too_many_is_closed_and_the_others_work() {
    let s = served(|limits| limits.max_connections = 2);
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(s.address)).collect();
    for stream in &mut held {
        write!(stream, "GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_eq!(answer(stream).0, 200);
    }
    assert!(is_closed(&mut connect(s.address)));
    drop(held.pop());
    let deadline = Instant::now() + WAIT;
    loop {
        let mut next = connect(s.address);
        drop(write!(next, "GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n"));
        let mut first = [0; 12];
        if next.read_exact(&mut first).is_ok() {
            assert_eq!(&first, b"HTTP/1.1 200");
            break;
        }
        assert!(Instant::now() < deadline, "the place was not given back");
    }
}

#[test]
fn a_stop_ends_idle_connections_and_takes_no_more() {
    let s = served(|_| {});
    let mut idle = connect(s.address);
    write!(idle, "GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_eq!(answer(&mut idle).0, 200);
    s.stop.send(()).unwrap();
    s.house
        .runtime
        .block_on(async { tokio::time::timeout(WAIT, s.stopped).await })
        .unwrap()
        .unwrap();
    assert!(is_closed(&mut idle));
    assert!(TcpStream::connect(s.address).is_err());
}
