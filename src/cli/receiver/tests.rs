//! The receiver over real sockets: good requests, bad ones, and limits.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::signature::sign;

const WAIT: Duration = Duration::from_secs(10);

fn key() -> SigningKey {
    SigningKey::symmetric_from_random([7; 32])
}

fn start(behaviour: Behaviour) -> (Receiver, mpsc::Receiver<Received>) {
    let doors = Doors::default();
    doors.open(Door { path: "/in".to_owned(), key: key(), behaviour });
    let (deliver, inbox) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Receiver::start(listener, doors, move |r| deliver.send(r).unwrap()).unwrap();
    (receiver, inbox)
}

fn delivery(path: &str, body: &str) -> String {
    let now = SystemClock.now().seconds();
    let signature = sign(&[&key()], "msg_1", now, body.as_bytes());
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nWebhook-Id: msg_1\r\nwebhook-timestamp: {now}\r\n\
         webhook-signature: {signature}\r\nposthaste-attempt: 2\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends text and gives back everything that is answered until the receiver closes.
fn exchange(receiver: &Receiver, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(receiver.address()).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // The receiver may answer and close before everything is written: that is an answer too.
    drop(stream.write_all(text));
    drop(stream.shutdown(std::net::Shutdown::Write));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer
}

#[test]
fn deliveries_on_one_connection_are_verified_and_answered() {
    let (receiver, inbox) = start(Behaviour::default());
    let both = delivery("/in?x=1", r#"{"n":1}"#) + &delivery("/in", "");
    let answer = exchange(&receiver, both.as_bytes());
    assert_eq!(answer, "HTTP/1.1 204 No Content\r\n\r\n".repeat(2));
    let first = inbox.recv_timeout(WAIT).unwrap();
    assert_eq!((first.verified.clone(), first.status), (Ok(()), 204));
    assert_eq!((first.id(), first.attempt()), (Some("msg_1"), Some("2")));
    assert_eq!(first.request.body, br#"{"n":1}"#);
    assert_eq!(inbox.recv_timeout(WAIT).unwrap().request.body, b"");
}

#[test]
fn chunked_bodies_are_joined() {
    let (receiver, inbox) = start(Behaviour::default());
    let body = r#"{"n":1}"#;
    let text = delivery("/in", body);
    let (head, _) = text.split_once("content-length").unwrap();
    let text = format!(
        "{head}transfer-encoding: chunked\r\n\r\n3;x=y\r\n{{\"n\r\n4\r\n\":1}}\r\n0\r\n\r\n"
    );
    assert!(exchange(&receiver, text.as_bytes()).starts_with("HTTP/1.1 204 "));
    let first = inbox.recv_timeout(WAIT).unwrap();
    assert_eq!((first.verified.clone(), first.request.body), (Ok(()), body.as_bytes().to_vec()));
}

#[test]
fn what_does_not_verify_is_refused() {
    let (receiver, inbox) = start(Behaviour::default());
    let good = delivery("/in", r#"{"n":1}"#);
    let check = |text: String, status: u16, expected: Unverified| {
        let answer = exchange(&receiver, text.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let found = inbox.recv_timeout(WAIT).unwrap();
        assert_eq!((found.verified, found.status), (Err(expected), status));
    };
    check(good.replace("{\"n\":1}", "{\"n\":2}"), 400, Unverified::Signature);
    check(good.replace("Webhook-Id", "other-id"), 400, Unverified::Missing("webhook-id"));
    check(delivery("/elsewhere", "{}"), 404, Unverified::NoDoor);
}

#[test]
fn it_fails_as_told_but_only_what_verifies() {
    let (receiver, inbox) = start(Behaviour::new(Failing::First(1), Some(503), Duration::ZERO));
    for status in [503, 204] {
        exchange(&receiver, delivery("/in", "{}").as_bytes());
        let found = inbox.recv_timeout(WAIT).unwrap();
        assert_eq!((found.verified, found.status), (Ok(()), status));
    }
}

#[test]
fn bad_http_is_answered_or_dropped_and_never_delivered() {
    let (receiver, inbox) = start(Behaviour::default());
    let check = |text: &[u8], expected: &str| {
        let answer = exchange(&receiver, text);
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        assert!(answer.starts_with(expected), "{shown:?}: {answer:?}");
        assert_eq!(answer.is_empty(), expected.is_empty(), "{shown:?}: {answer:?}");
    };
    check(b"", "");
    check(b"nonsense\r\n\r\n", "HTTP/1.1 400 ");
    check(b"GET / HTTP/2\r\n\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\nno colon\r\n\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\nx: \xff\r\n\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400 ");
    check(b"POST /in HTTP/1.1\r\ncontent-length: 5\r\n\r\n123", "HTTP/1.1 408 ");
    check(b"POST /in HTTP/1.1\r\nhost: x", "HTTP/1.1 408 ");
    let past = http::MAX_BODY_BYTES + 1;
    check(
        format!("POST /in HTTP/1.1\r\ncontent-length: {past}\r\n\r\n").as_bytes(),
        "HTTP/1.1 413 ",
    );
    for chunks in ["ffffffffffffffff\r\n", "1\r\nx\r\nffffffffffffffff\r\n"] {
        let head = "POST /in HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        check(format!("{head}{chunks}").as_bytes(), "HTTP/1.1 413 ");
    }
    let head = format!("POST /in HTTP/1.1\r\nx: {}", "y".repeat(40_000));
    assert!(matches!(exchange(&receiver, head.as_bytes()).get(..12), None | Some("HTTP/1.1 413")));
    assert!(inbox.try_recv().is_err());
}

#[test]
fn connections_are_limited() {
    let (receiver, _inbox) = start(Behaviour::default());
    let held: Vec<TcpStream> =
        (0..MAX_CONNECTIONS).map(|_| TcpStream::connect(receiver.address()).unwrap()).collect();
    let answer = exchange(&receiver, delivery("/in", "{}").as_bytes());
    assert_eq!(answer, "", "one past the limit is closed unanswered");
    drop(held);
}
