//! Bad input from outside, against the real daemon: each is answered with an error of the contract
//! or has its connection closed. None makes it panic, hang or grow without bound.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile_tools::{
    House, Reply, connect, is_closed, push, raise_open_files, read_reply, request, talk,
};

/// What the daemon keeps of a body beside the payload: the limit of a whole body is that much more.
const SLACK: usize = 64 * 1024;

/// An error of the contract: JSON, with `detail`, and `code` unless the fields are listed.
#[track_caller]
fn check_error(name: &str, reply: &Reply, status: u16) -> Value {
    let start: String = reply.text().chars().take(300).collect();
    assert_eq!(reply.status, status, "{name:.80}: {start}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
    let body = reply.json();
    if status == 422 {
        let first = &body["detail"][0];
        for field in ["loc", "msg", "type"] {
            assert!(!first[field].is_null(), "{name}: {body}");
        }
    } else {
        assert!(body["code"].is_string() && body["detail"].is_string(), "{name}: {body}");
    }
    body
}

fn message(payload: &str) -> String {
    format!(r#"{{"eventType":"order.paid","payload":{payload}}}"#)
}

/// A payload of exactly `length` bytes.
fn payload(length: usize) -> String {
    format!(r#"{{"x":"{}"}}"#, "x".repeat(length - 8))
}

#[test]
fn wrong_bodies_are_named() {
    let house = House::start(&[]);
    let app = house.app("limits");
    let msg = format!("/api/v1/app/{app}/msg");
    let nested = |levels: usize| {
        let inner = levels - 1;
        format!(r#"{{"x":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
    };
    let cases: [(&str, &str, u16); 23] = [
        (&msg, "", 422),
        (&msg, "{", 422),
        (&msg, "null", 422),
        (&msg, "[]", 422),
        (&msg, "\"text\"", 422),
        (&msg, "\u{feff}{}", 422),
        (&msg, &message("1"), 422),
        (&msg, &message("null"), 422),
        (&msg, &message("[1]"), 422),
        (&msg, &message("{"), 422),
        (&msg, &message("{} x"), 422),
        (&msg, &message(&nested(100_000)), 422),
        (&msg, &message(&nested(129)), 422),
        (&msg, r#"{"eventType":1,"payload":{}}"#, 422),
        (&msg, r#"{"eventType":"a b","payload":{}}"#, 422),
        (&msg, r#"{"eventType":"a","eventType":"b","payload":{}}"#, 422),
        (&msg, r#"{"eventType":"a","payload":{},"channels":"x"}"#, 422),
        (&msg, r#"{"eventType":"a","payload":{},"channels":[1]}"#, 422),
        (&msg, r#"{"eventType":"a","payload":{},"eventId":{}}"#, 422),
        (&msg, r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":-1}"#, 422),
        (&msg, r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":1e99}"#, 422),
        ("/api/v1/app", r#"{"name":7}"#, 422),
        ("/api/v1/event-type", r#"{"name":"x","description":[]}"#, 422),
    ];
    for (path, body, status) in cases {
        let shown = &body[..body.len().min(80)];
        check_error(shown, &house.ask("POST", path, body), status);
    }
    let bytes = [
        request("POST", &msg, &[("authorization", &format!("Bearer {}", house.token))], "12345678")
            .trim_end_matches("12345678")
            .as_bytes(),
        b"{\"a\xff\xfe\": ",
    ]
    .concat();
    check_error("not UTF-8", &talk(house.port, &bytes), 422);
    assert_eq!(house.ask("POST", &msg, &message(&nested(128))).status, 202);
    assert_eq!(house.ask("POST", &msg, &message("{}")).status, 202);
    house.stop();
}

#[test]
fn too_large_is_refused_one_byte_past_the_limit() {
    for (setting, limit) in [("256KiB", 256 * 1024), ("8MiB", 8 * 1024 * 1024)] {
        let house = House::start(&[("POSTHASTE_SERVER_MAX_PAYLOAD", setting)]);
        let msg = format!("/api/v1/app/{}/msg", house.app("limits"));
        let at = house.ask("POST", &msg, &message(&payload(limit)));
        assert_eq!(at.status, 202, "{setting}: {}", at.text());
        let past = house.ask("POST", &msg, &message(&payload(limit + 1)));
        let past = check_error("one byte past the limit", &past, 413);
        assert_eq!(past["code"], "payload_too_large");
        let detail = past["detail"].as_str().unwrap();
        assert!(detail.contains("server.max_payload") && detail.contains(&limit.to_string()));
        // The whole body has a limit of its own: what is past it is not read.
        let filler = " ".repeat(SLACK);
        let whole = house.ask("POST", &msg, &format!("{}{filler}", message(&payload(limit))));
        check_error("a large body around it", &whole, 413);
        let auth = format!("Bearer {}", house.token);
        let chunked = [("authorization", auth.as_str()), ("transfer-encoding", "chunked")];
        let head = request("POST", &msg, &chunked, "").replace("content-length: 0\r\n", "");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let endless = format!("{head}{}", chunk.repeat(limit / 0x10000 + 3));
        let reply = push(house.port, endless.as_bytes());
        check_error("chunks without an end", &reply.unwrap(), 413);
        let mut claims = connect(house.port);
        let head = request("POST", &msg, &[("authorization", &auth)], "");
        let head = head.replace("content-length: 0", "content-length: 99999999999999");
        claims.write_all(head.as_bytes()).unwrap();
        check_error("claims to be huge", &read_reply(&mut claims).unwrap(), 413);
        assert!(is_closed(&mut claims), "the rest of the body is not waited for");
        house.stop();
    }
}

#[test]
fn strangers_cannot_make_it_hold_large_bodies() {
    let house = House::start(&[("POSTHASTE_SERVER_MAX_PAYLOAD", "8MiB")]);
    let msg = format!("/api/v1/app/{}/msg", house.app("limits"));
    let head =
        request("POST", &msg, &[], "").replace("content-length: 0", "content-length: 4000000");
    let mut stream = connect(house.port);
    stream.write_all(head.as_bytes()).unwrap();
    // Not a byte of the body is sent: the answer comes all the same.
    check_error("no token", &read_reply(&mut stream).unwrap(), 401);
    assert!(is_closed(&mut stream));
    let small = talk(house.port, request("POST", &msg, &[], &message("{}")).as_bytes());
    check_error("no token, small body", &small, 401);
    house.stop();
}

#[test]
fn ids_tokens_and_routes_that_are_none() {
    let house = House::start(&[]);
    let app = house.app("limits");
    let long = "x".repeat(20_000);
    for id in ["app_nothere", "%00", "..%2f..%2fetc", "%ff%fe", "💥", " ", &long] {
        let id = id.replace(' ', "%20");
        let path = format!("/api/v1/app/{id}");
        check_error(&id, &house.ask("GET", &path, ""), 404);
        for path in ["endpoint", "msg", "attempt/endpoint", "attempt/msg"] {
            let path = format!("/api/v1/app/{app}/{path}/{id}");
            check_error(&path, &house.ask("GET", &path, ""), 404);
        }
    }
    for query in
        ["limit=x", "limit=-1", "limit=0", "iterator=%00", "iterator=msg_x", "before=yesterday"]
    {
        let path = format!("/api/v1/app/{app}/msg?{query}");
        check_error(query, &house.ask("GET", &path, ""), 422);
    }
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/api/v2/app"),
        ("GET", "///"),
        ("PUT", "/api/v1/health"),
        ("BREW", "/api/v1/app"),
        ("TRACE", "/"),
        ("GET", "/..%2f..%2fetc/passwd"),
    ] {
        let body = check_error(path, &house.ask(method, path, ""), 404);
        assert_eq!(body["code"], "unknown_operation", "{path}");
    }
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcmdfMjNyYjhZZEdxTVQwcUl6cGdHd2RYZkhpck11In0.";
    for token in ["", "x", "a.b.c", "....", none, &long, "ü", &format!("{}x", house.token)] {
        check_error(token, &house.ask_as(token, "GET", "/api/v1/app", ""), 401);
    }
    let basic = request("GET", "/api/v1/app", &[("authorization", "Basic YTpi")], "");
    check_error("basic", &talk(house.port, basic.as_bytes()), 401);
    house.stop();
}

#[test]
fn a_body_that_stops_half_way() {
    let house = House::start(&[("POSTHASTE_SERVER_BODY_TIMEOUT", "1s")]);
    let msg = format!("/api/v1/app/{}/msg", house.app("limits"));
    let auth = format!("Bearer {}", house.token);
    let whole = request("POST", &msg, &[("authorization", &auth)], &message("{}"));
    let half = &whole.as_bytes()[..whole.len() - 5];
    // Stops, and stays: an answer after body_timeout.
    let mut stays = connect(house.port);
    stays.write_all(half).unwrap();
    let begun = Instant::now();
    let reply = check_error("stays", &read_reply(&mut stays).unwrap(), 408);
    assert_eq!(reply["code"], "body_timeout");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(is_closed(&mut stays));
    // Stops sending for good: closed at once, answered or not.
    let mut ends = connect(house.port);
    ends.write_all(half).unwrap();
    ends.shutdown(std::net::Shutdown::Write).unwrap();
    if let Some(reply) = read_reply(&mut ends) {
        check_error("ends", &reply, 400);
    }
    // Nothing of it was accepted.
    let page = house.expect(200, "GET", &msg, &Value::Null);
    assert_eq!(page["data"], json!([]));
    house.stop();
}

#[test]
fn heads_that_are_slow_huge_or_many() {
    let house = House::start(&[("POSTHASTE_SERVER_HEADER_TIMEOUT", "1s")]);
    let auth = format!("Bearer {}", house.token);
    let list = |extra: &str| {
        let text = request("GET", "/api/v1/app", &[("authorization", &auth)], "");
        text.replacen("content-length", &format!("{extra}content-length"), 1)
    };
    let fields = |count: usize| {
        (0..count).fold(String::new(), |mut all, n| {
            write!(all, "x-{n}: y\r\n").unwrap();
            all
        })
    };
    // host, authorization and content-length are three of the 128.
    assert_eq!(talk(house.port, list(&fields(125)).as_bytes()).status, 200);
    for (name, bytes) in [
        ("129 fields", list(&fields(126))),
        ("10,000 fields", list(&fields(10_000))),
        ("a huge field", list(&format!("x: {}\r\n", "v".repeat(140_000)))),
        ("a huge path", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(140_000))),
        ("an endless head", list(&"x: y\r\n".repeat(200_000))),
        ("no HTTP", "\u{0}\u{1}garbage\r\n\r\n".to_owned()),
        ("HTTP/0.9", "GET /\r\n\r\n".to_owned()),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("two lengths", list("content-length: 5\r\n")),
        ("length and chunks", list("transfer-encoding: chunked\r\n")),
        ("folded field", list("x: y\r\n z\r\n")),
        ("space before the colon", list("x : y\r\n")),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned()),
    ] {
        let mut stream = connect(house.port);
        drop(stream.write_all(bytes.as_bytes()));
        drop(stream.shutdown(std::net::Shutdown::Write));
        while let Some(reply) = read_reply(&mut stream) {
            assert!((400..500).contains(&reply.status), "{name}: {}", reply.head);
        }
    }
    slow_senders(&house);
    assert_eq!(house.ask("GET", "/api/v1/health", "").status, 200);
    house.stop();
}

/// One byte now and then, and nothing at all: both are closed when the time for the head is over.
fn slow_senders(house: &House) {
    let begun = Instant::now();
    let mut drips = connect(house.port);
    let mut silent = connect(house.port);
    let mut again = connect(house.port);
    again.write_all(request("GET", "/api/v1/health", &[], "").as_bytes()).unwrap();
    assert_eq!(read_reply(&mut again).unwrap().status, 200);
    let dripping = std::thread::spawn(move || {
        for byte in
            b"GET /api/v1/health HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        {
            if drips.write_all(&[*byte]).is_err() {
                break;
            }
            // sleep: being slow is what is played here.
            std::thread::sleep(Duration::from_millis(100));
        }
        while read_reply(&mut drips).is_some() {}
    });
    assert!(is_closed(&mut silent));
    assert!(is_closed(&mut again), "an idle connection is closed too");
    dripping.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = House::start(&[]);
    let auth = format!("Bearer {}", house.token);
    let good = request("GET", "/api/v1/app?limit=1", &[("authorization", &auth)], "");
    let bad = request("GET", "/nothing", &[], "");
    let mut stream = connect(house.port);
    let all = format!("{good}{bad}").repeat(500);
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(all.as_bytes()));
    for n in 0..1000 {
        let reply = read_reply(&mut stream).expect("1,000 answers");
        assert_eq!(reply.status, if n % 2 == 0 { 200 } else { 404 }, "answer {n}");
    }
    writer.join().unwrap().unwrap();
    house.stop();
}

/// 10,000 connections that say nothing, then more than are allowed.
#[test]
fn ten_thousand_idle_connections() {
    const WANTED: usize = 10_000;
    let files = raise_open_files();
    assert!(files > 10_500, "this test needs more than 10,500 open files, not {files} (ulimit -n)");
    let house = House::start(&[
        ("POSTHASTE_SERVER_HEADER_TIMEOUT", "5m"),
        ("POSTHASTE_SERVER_MAX_CONNECTIONS", "10001"),
    ]);
    let before = house.memory();
    let begun = Instant::now();
    let idle: Vec<TcpStream> = (0..WANTED).map(|_| connect(house.port)).collect();
    // The last place: it still answers, so all the others have been taken in.
    assert_eq!(house.ask("GET", "/api/v1/health", "").status, 200);
    let took = begun.elapsed();
    let grown = house.memory() - before;
    println!("10,000 idle connections in {took:?}: memory grew by {} KiB", grown / 1024);
    assert!(grown < 200 << 20, "memory grew by {grown} bytes");
    // Each of them is a connection like any other.
    let mut one = idle.last().unwrap().try_clone().unwrap();
    one.write_all(request("GET", "/api/v1/health", &[], "").as_bytes()).unwrap();
    assert_eq!(read_reply(&mut one).unwrap().status, 200);
    drop(idle);
    assert_eq!(house.ask("GET", "/api/v1/health", "").status, 200);
    house.stop();
}

#[test]
fn one_connection_too_many_is_closed_and_its_place_comes_back() {
    let house = House::start(&[("POSTHASTE_SERVER_MAX_CONNECTIONS", "3")]);
    let health = request("GET", "/api/v1/health", &[], "");
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect(house.port)).collect();
    for stream in &mut open {
        stream.write_all(health.as_bytes()).unwrap();
        assert_eq!(read_reply(stream).unwrap().status, 200);
    }
    let mut refused = connect(house.port);
    drop(refused.write_all(health.as_bytes()));
    assert!(read_reply(&mut refused).is_none_or(|reply| reply.status == 503));
    drop(open);
    crate::hostile_tools::until("a place", Duration::from_secs(10), || {
        push(house.port, health.as_bytes()).filter(|reply| reply.status == 200)
    });
    house.stop();
}

/// Guessing tokens is slowed down for the address that does it, and for nobody else.
#[test]
fn an_address_that_guesses_tokens_has_to_wait() {
    let house = House::start(&[]);
    let from = |address: &str, token: &str| {
        let auth = format!("Bearer {token}");
        let headers = [("authorization", auth.as_str()), ("x-forwarded-for", address)];
        talk(house.port, request("GET", "/api/v1/app", &headers, "").as_bytes())
    };
    for n in 0..30 {
        check_error("a guess", &from("192.0.2.1", &format!("guess.{n}.x")), 401);
    }
    let waits = from("192.0.2.1", "one.more.x");
    check_error("one too many", &waits, 429);
    let seconds: u64 = waits.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&seconds), "{seconds}");
    check_error("another address", &from("192.0.2.2", "guess.1.x"), 401);
    // The right token, seen for the first time, waits too; one that passed before does not.
    check_error("unseen", &from("192.0.2.1", &house.token), 429);
    assert_eq!(from("192.0.2.2", &house.token).status, 200);
    assert_eq!(from("192.0.2.1", &house.token).status, 200);
    house.stop();
}

/// Whatever is answered is data: no browser shows it as a page, puts it into a frame or keeps it.
#[test]
fn every_answer_says_that_it_is_no_page() {
    let house = House::start(&[]);
    let app = house.app("guards");
    for (token, method, path, status) in [
        (house.token.as_str(), "GET", "/api/v1/health".to_owned(), 200),
        (&house.token, "GET", format!("/api/v1/app/{app}"), 200),
        (&house.token, "GET", "/api/v1/nowhere/%3Cscript%3E".to_owned(), 404),
        ("guess", "GET", "/api/v1/app".to_owned(), 401),
        (&house.token, "DELETE", format!("/api/v1/app/{app}"), 204),
    ] {
        let reply = house.ask_as(token, method, &path, "");
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        if status != 204 {
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        }
    }
    house.stop();
}

/// What an idle daemon takes beside its binary: 7 MiB and more before sled got fresh zeros. One start in
/// 25 takes 2 MiB more, as sled's threads let go of the store that was just made.
#[test]
fn an_idle_daemon_takes_little() {
    let take = |_| {
        let house = House::start(&[]);
        let memory = house.memory_of_its_own();
        house.stop();
        memory
    };
    let least = (0..3).map(take).min().unwrap();
    assert!(least < 6 << 20, "{least} bytes");
}
