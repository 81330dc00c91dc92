//! Receivers that misbehave: each attempt ends as the right failure, inside its deadline, with a
//! bounded answer, and its connection is gone.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::delivery::url::tests::REFUSED;
use crate::model::outcome::{MAX_KEPT_BODY, Phase};

/// How far past its deadline an attempt may end, on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

type Script = fn(&mut TcpStream) -> io::Result<()>;

/// Runs one attempt against the script (after it has read the request) and checks all that must
/// hold whatever the script does.
fn attempt(name: &str, script: Script, deadline: Duration) -> Outcome {
    let receiver = Scripted::start(move |stream, _| {
        read_request(stream)?;
        script(stream)?;
        // Most scripts are cut off while they write. The others wait for the end here.
        drain(stream)
    });
    let outcome = send(&deliverer(deadline), &receiver.url());
    assert!(outcome.duration < deadline + SLACK, "{name} took {:?}", outcome.duration);
    assert!(outcome.body.len() <= MAX_KEPT_BODY, "{name} kept {}", outcome.body.len());
    assert_eq!(receiver.connections(), 1, "{name} was asked again");
    if !outcome.is_success() {
        receiver.wait_for_end();
    }
    outcome
}

fn check(name: &str, script: Script, status: Option<u16>, failure: Failure) {
    let outcome = attempt(name, script, SHORT);
    assert_eq!(outcome.failure, Some(failure), "{name}");
    assert_eq!(outcome.status, status, "{name}");
}

fn check_code(name: &str, script: Script, code: &str) {
    let outcome = attempt(name, script, LONG);
    assert_eq!(outcome.failure.map(|it| it.code()), Some(code), "{name}");
}

/// A byte every 20 ms, until the other side is gone.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    for byte in bytes.iter().cycle() {
        stream.write_all(&[*byte])?;
        if stream.read(&mut [0]).is_ok() {
            break;
        }
    }
    Ok(())
}

fn forever(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

fn closed(phase: Phase) -> Failure {
    Failure::ConnectionClosed { phase }
}

fn timeout(phase: Phase) -> Failure {
    Failure::Timeout { phase }
}

#[test]
fn silence_and_dripping_end_at_the_deadline() {
    check("silence", |_| Ok(()), None, timeout(Phase::Headers));
    check("dripped status line", |it| drip(it, b"HTTP/1.1 200 OK"), None, timeout(Phase::Headers));
    check(
        "dripped headers",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\n")?;
            drip(it, b"x-a: b\r\n")
        },
        None,
        timeout(Phase::Headers),
    );
    check(
        "dripped body",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
            drip(it, b"x")
        },
        Some(200),
        timeout(Phase::Body),
    );
    check(
        "stalled body of 100 MB",
        |it| it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\nsome"),
        Some(200),
        timeout(Phase::Body),
    );
    check(
        "stalled body of a failure",
        |it| it.write_all(b"HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\n"),
        Some(503),
        Failure::Status(503),
    );
}

#[test]
fn a_receiver_that_does_not_read_ends_at_the_deadline() {
    let (_release, held) = channel::<()>();
    let held = Mutex::new(held);
    let receiver = Scripted::start(move |_, _| {
        held.lock().unwrap().recv().ok();
        Ok(())
    });
    let body = vec![b'x'; 16 << 20];
    let url = receiver.url();
    let outcome = deliverer(SHORT).attempt(&Job { body: &body, ..job(&url) });
    assert_eq!(outcome.failure, Some(timeout(Phase::Send)));
    assert!(outcome.duration < SHORT + SLACK);
}

#[test]
fn an_endless_body_is_cut_and_its_connection_dropped() {
    let chunked = |it: &mut TcpStream| {
        it.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        forever(it, format!("1000\r\n{}\r\n", "y".repeat(4096)).as_bytes())
    };
    let until_closed = |it: &mut TcpStream| {
        it.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        forever(it, &[b'y'; 4096])
    };
    let long = |it: &mut TcpStream| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")?;
        forever(it, &[b'y'; 4096])
    };
    for (name, script) in
        [("chunked", chunked as Script), ("until closed", until_closed), ("long", long)]
    {
        let receiver = Scripted::start(move |stream, _| {
            read_request(stream)?;
            script(stream)
        });
        let outcome = send(&deliverer(LONG), &receiver.url());
        assert_eq!(outcome.failure, None, "{name}");
        assert!(outcome.body == vec![b'y'; MAX_KEPT_BODY], "{name}: {} bytes", outcome.body.len());
        receiver.wait_for_end();
    }
}

#[test]
fn headers_are_limited_in_number_and_size() {
    fn fields(stream: &mut TcpStream, count: usize) -> io::Result<()> {
        let fields = (0..count - 1).fold(String::new(), |all, i| all + &format!("x-{i}: y\r\n"));
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n")
    }
    fn bytes(stream: &mut TcpStream, count: usize) -> io::Result<()> {
        let start = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-long: ";
        let value = "v".repeat(count - start.len() - 4);
        write!(stream, "{start}{value}\r\n\r\n")
    }
    assert_eq!(attempt("64 fields", |it| fields(it, 64), LONG).failure, None);
    check_code("65 fields", |it| fields(it, 65), "headers_too_large");
    check_code("10,000 fields", |it| fields(it, 10_000), "headers_too_large");
    assert_eq!(attempt("16 KiB", |it| bytes(it, 16 * 1024), LONG).failure, None);
    check_code("16 KiB and a byte", |it| bytes(it, 16 * 1024 + 1), "headers_too_large");
    check_code(
        "endless header value",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            forever(it, &[b'v'; 4096])
        },
        "headers_too_large",
    );
    check_code(
        "endless headers",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\n")?;
            forever(it, b"x-a: b\r\n")
        },
        "headers_too_large",
    );
}

#[test]
fn interim_answers_are_limited() {
    let few = |it: &mut TcpStream| {
        it.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        it.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")?;
        it.write_all(b"HTTP/1.1 102 Processing\r\n\r\n")?;
        it.write_all(OK)
    };
    assert_eq!(attempt("three interim answers", few, LONG).failure, None);
    check_code("flood of 100", |it| forever(it, b"HTTP/1.1 100 Continue\r\n\r\n"), "protocol");
    check_code(
        "flood of 103",
        |it| forever(it, b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n"),
        "protocol",
    );
    check_code("switch of protocols", |it| it.write_all(b"HTTP/1.1 101 x\r\n\r\n"), "status");
}

#[test]
fn what_is_not_http_is_refused() {
    let cases: [(&str, Script); 9] = [
        ("garbage", |it| it.write_all(b"\x00\x01\x02\xff garbage\r\n\r\n")),
        ("endless garbage", |it| forever(it, b"garbage ")),
        ("garbage before the status line", |it| it.write_all(b"x\r\nHTTP/1.1 200 OK\r\n\r\n")),
        ("HTTP/0.9", |it| it.write_all(b"<html>hello</html>\n")),
        ("HTTP/2", |it| it.write_all(b"HTTP/2 200 OK\r\n\r\n")),
        ("status 000", |it| it.write_all(b"HTTP/1.1 000 x\r\n\r\n")),
        ("bad header", |it| it.write_all(b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n")),
        ("two lengths", |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
        }),
        ("length that is no number", |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab")
        }),
    ];
    for (name, script) in cases {
        check_code(name, script, "protocol");
    }
    let bodies: [(&str, Script); 3] = [
        ("bad chunk length", |it| it.write_all(b"zz\r\nab\r\n")),
        ("chunk without an end", |it| it.write_all(b"2\r\nabcdef\r\n")),
        ("endless chunk extension", |it| forever(it, b"1;xxxxxxxxxxxxxxxxxxxxxxxxx")),
    ];
    for (name, script) in bodies {
        let receiver = Scripted::start(move |stream, _| {
            read_request(stream)?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            script(stream)?;
            drain(stream)
        });
        let outcome = send(&deliverer(SHORT), &receiver.url());
        assert_eq!(outcome.failure.map(|it| it.code()), Some("protocol"), "{name}");
        receiver.wait_for_end();
    }
}

#[test]
fn closing_at_every_stage_is_told_apart() {
    let cases: [(&str, Script, Option<u16>, Phase); 6] = [
        ("after the request", |_| Ok(()), None, Phase::Headers),
        ("in the status line", |it| it.write_all(b"HTTP/1.1 20"), None, Phase::Headers),
        ("in the headers", |it| it.write_all(b"HTTP/1.1 200 OK\r\nx: "), None, Phase::Headers),
        (
            "after the headers",
            |it| it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            Some(200),
            Phase::Body,
        ),
        (
            "in the body",
            |it| it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"),
            Some(200),
            Phase::Body,
        ),
        (
            "in a chunk",
            |it| it.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc"),
            Some(200),
            Phase::Body,
        ),
    ];
    for (name, script, status, phase) in cases {
        let receiver = Scripted::start(move |stream, _| {
            read_request(stream)?;
            script(stream)
        });
        let outcome = send(&deliverer(LONG), &receiver.url());
        assert_eq!(outcome.failure, Some(closed(phase)), "closed {name}");
        assert_eq!(outcome.status, status, "closed {name}");
        assert_eq!(receiver.connections(), 1, "closed {name}");
    }
    // With the request unread, closing resets the connection.
    let receiver = Scripted::start(|_, _| Ok(()));
    let outcome = send(&deliverer(LONG), &receiver.url());
    assert_eq!(outcome.failure.map(|it| it.code()), Some("connection_closed"));
    let receiver = Scripted::start(|stream, _| {
        stream.read_exact(&mut [0; 10])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    });
    let outcome = send(&deliverer(LONG), &receiver.url());
    assert_eq!(outcome.failure.map(|it| it.code()), Some("connection_closed"));
}

#[test]
fn bodies_are_kept_as_they_came() {
    let gzip = attempt(
        "gzip",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00")
        },
        LONG,
    );
    assert_eq!(gzip.body, b"\x1f\x8b\x08\x00");
    let escapes = attempt(
        "escapes",
        |it| it.write_all(b"HTTP/1.1 500 x\r\ncontent-length: 6\r\n\r\n\x1b[2J\0\xff"),
        LONG,
    );
    assert_eq!(escapes.body, b"\x1b[2J\0\xff");
    let longer = attempt(
        "longer than its length",
        |it| it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc"),
        LONG,
    );
    assert_eq!((longer.failure, longer.body), (None, b"a".to_vec()));
    let old = Scripted::start(|stream, _| {
        read_request(stream)?;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil closed")
    });
    let outcome = send(&deliverer(LONG), &old.url());
    assert_eq!((outcome.failure, outcome.body), (None, b"until closed".to_vec()));
}

#[test]
fn redirects_are_reported_and_never_followed() {
    let cases: [(Script, Option<&str>); 3] = [
        (
            |it| {
                let to = "http://169.254.169.254/latest/meta-data/";
                write!(it, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            },
            Some("http://169.254.169.254/latest/meta-data/"),
        ),
        (
            |it| {
                let own = it.local_addr()?;
                write!(
                    it,
                    "HTTP/1.1 307 x\r\nlocation: http://{own}/hook\r\ncontent-length: 0\r\n\r\n"
                )
            },
            None,
        ),
        (|it| it.write_all(b"HTTP/1.1 304 x\r\n\r\n"), None),
    ];
    for (script, location) in cases {
        let outcome = attempt("redirect", script, LONG);
        let Some(Failure::Redirect { location: seen }) = outcome.failure else {
            panic!("not a redirect: {outcome:?}");
        };
        if location.is_some() {
            assert_eq!(seen.as_deref(), location);
        }
    }
}

#[test]
fn retry_after_counts_on_failures_only() {
    let asked = |status: &'static str| {
        let receiver = Scripted::start(move |stream, _| {
            read_request(stream)?;
            write!(stream, "HTTP/1.1 {status} x\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n")
        });
        send(&deliverer(LONG), &receiver.url()).retry_after
    };
    for status in ["429", "503", "500", "400", "302"] {
        assert_eq!(asked(status), Some(Duration::from_secs(120)), "{status}");
    }
    assert_eq!(asked("200"), None);
}

#[test]
fn nobody_there_is_a_refused_connection() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = send(&deliverer(LONG), &format!("http://{free}/"));
    assert_eq!(outcome.failure, Some(Failure::ConnectionRefused));
}

#[test]
fn the_whole_table_of_disguises_is_refused_without_a_look_up() {
    let stub = Arc::new(Stub::default());
    let mut strict = config(SHORT);
    strict.policy = AddressPolicy::default();
    let deliverer = Deliverer::with_lookup(strict, Arc::clone(&stub) as Arc<dyn Lookup>).unwrap();
    for url in REFUSED {
        let outcome = send(&deliverer, url);
        let code = outcome.failure.as_ref().map(Failure::code);
        assert!(matches!(code, Some("address_refused" | "bad_url")), "{url}: {outcome:?}");
    }
    assert_eq!(stub.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn names_are_judged_by_every_address_at_every_connection() {
    let receiver = Scripted::start(|stream, _| {
        read_request(stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    });
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    let refused = |outcome: &Outcome| matches!(&outcome.failure, Some(Failure::AddressRefused { address, .. }) if address == "10.0.0.1");
    // Rebinding: allowed, then private, then allowed again.
    let stub = Stub::with("receiver.example", &[&["127.0.0.1"], &["10.0.0.1"], &["127.0.0.1"]]);
    let deliverer = Deliverer::with_lookup(config(LONG), stub).unwrap();
    assert!(send(&deliverer, &url).is_success());
    assert!(refused(&send(&deliverer, &url)));
    assert!(send(&deliverer, &url).is_success());
    // Mixed: never dialled, not even at the allowed address.
    let before = receiver.connections();
    let stub = Stub::with("receiver.example", &[&["127.0.0.1", "10.0.0.1"]]);
    let deliverer = Deliverer::with_lookup(config(LONG), stub).unwrap();
    assert!(refused(&send(&deliverer, &url)));
    assert_eq!(receiver.connections(), before);
    let outcome = send(&deliverer, "http://unknown.example/");
    assert_eq!(outcome.failure.map(|it| it.code()), Some("dns"));
}

#[test]
fn the_next_address_is_tried_when_the_first_is_dead() {
    let receiver = Scripted::start(|stream, _| answer_all(stream, OK));
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    // Nobody listens on 127.0.0.9.
    let stub = Stub::with("receiver.example", &[&["127.0.0.9", "127.0.0.1"]]);
    let deliverer = Deliverer::with_lookup(config(LONG), stub).unwrap();
    assert!(send(&deliverer, &url).is_success());
}

/// Many at once: the healthy receiver answers while they hang, and all end together.
#[test]
fn hanging_receivers_do_not_hold_up_a_healthy_one() {
    let silent = Scripted::start(|stream, _| drain(stream));
    let healthy = Scripted::start(|stream, _| answer_all(stream, OK));
    let (bad, good): (String, String) = (silent.url(), healthy.url());
    let deliverer = Arc::new(deliverer(Duration::from_secs(2)));
    let start = Instant::now();
    let hanging: Vec<_> = (0..32)
        .map(|_| {
            let (deliverer, bad) = (Arc::clone(&deliverer), bad.clone());
            thread::spawn(move || send(&deliverer, &bad))
        })
        .collect();
    for _ in 0..50 {
        assert!(send(&deliverer, &good).is_success());
    }
    assert!(start.elapsed() < Duration::from_secs(2), "the healthy one waited");
    for thread in hanging {
        let outcome = thread.join().unwrap();
        assert_eq!(outcome.failure, Some(timeout(Phase::Headers)));
    }
}

#[test]
fn slow_and_failing_look_ups_end_as_their_failures() {
    #[derive(Debug)]
    struct Slow(Mutex<Receiver<()>>);
    impl Lookup for Slow {
        fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().unwrap().recv().ok();
            Ok(vec![SocketAddr::new("127.0.0.1".parse().unwrap(), port)])
        }
    }
    let (_release, held) = channel();
    let deliverer =
        Deliverer::with_lookup(config(SHORT), Arc::new(Slow(Mutex::new(held)))).unwrap();
    let outcome = send(&deliverer, "http://slow.example/");
    assert_eq!(outcome.failure, Some(timeout(Phase::Resolve)));
    assert!(outcome.is_network_down() && outcome.duration < SHORT + SLACK);
}
