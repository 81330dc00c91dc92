//! Access tokens over real sockets: fetched, kept, refused, and servers that misbehave.

use std::time::Instant;

use super::*;
use crate::delivery::Client;
use crate::model::id::EndpointId;
use crate::model::oauth::{AuthMethod, ClientCredentials};

/// How far past its deadline an attempt may end, on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
const SECRET: &str = "the_secret";

fn settings(token_url: &str) -> Arc<ClientCredentials> {
    Arc::new(ClientCredentials {
        token_url: token_url.to_owned(),
        client_id: "shop".to_owned(),
        client_secret: SECRET.to_owned(),
        scope: Some("hooks".to_owned()),
        audience: None,
        auth_method: AuthMethod::ClientSecretBasic,
    })
}

/// Sends one attempt with a token of `credentials`.
fn attempt(deliverer: &Deliverer, url: &str, credentials: &Arc<ClientCredentials>) -> Outcome {
    let headers = [("Authorization".to_owned(), "Basic custom".to_owned())];
    let oauth = Some(Client { endpoint: EndpointId([7; 20]), credentials });
    deliverer.attempt(&Job { headers: &headers, oauth, ..job(url) })
}

fn json_answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Grants `token-0`, `token-1`, … each for an hour; what was asked goes to the channel.
fn token_server() -> (Scripted, Receiver<(String, String)>) {
    let (asked, requests) = channel();
    let granted = AtomicUsize::new(0);
    let server = Scripted::start(move |stream, _| {
        loop {
            let (head, body) = read_request(stream)?;
            asked.send((head, String::from_utf8(body).unwrap())).unwrap();
            let n = granted.fetch_add(1, Ordering::SeqCst);
            let body = format!(
                r#"{{"access_token":"token-{n}","token_type":"Bearer","expires_in":3600}}"#
            );
            stream.write_all(&json_answer(&body))?;
        }
    });
    (server, requests)
}

/// Answers each request with the next of `answers`, the last one for ever; the `authorization` of
/// each goes to the channel.
fn receiver(answers: &'static [&'static [u8]]) -> (Scripted, Receiver<Vec<String>>) {
    let (saw, seen) = channel();
    let count = AtomicUsize::new(0);
    let receiver = Scripted::start(move |stream, _| {
        loop {
            let (head, _) = read_request(stream)?;
            let shown = head.lines().filter_map(|line| line.strip_prefix("authorization: "));
            saw.send(shown.map(str::to_owned).collect()).unwrap();
            let n = count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(answers[n.min(answers.len() - 1)])?;
        }
    });
    (receiver, seen)
}

#[test]
fn a_token_is_fetched_once_and_takes_the_place_of_a_custom_header() {
    let (server, requests) = token_server();
    let (receiver, seen) = receiver(&[OK]);
    let (deliverer, settings) = (deliverer(LONG), settings(&server.url()));
    for _ in 0..3 {
        let outcome = attempt(&deliverer, &receiver.url(), &settings);
        assert_eq!(outcome.failure, None);
        assert_eq!(seen.recv_timeout(LONG).unwrap(), ["Bearer token-0"]);
    }
    let (head, form) = requests.recv_timeout(LONG).unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    // base64 of shop:the_secret
    assert!(head.contains("authorization: Basic c2hvcDp0aGVfc2VjcmV0\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
    assert_eq!(form, "grant_type=client_credentials&scope=hooks");
    assert!(requests.try_recv().is_err(), "asked again");
    assert!(!format!("{deliverer:?}").contains("token-0"), "shown by Debug");
    assert!(!format!("{deliverer:?}").contains(SECRET), "shown by Debug");
}

#[test]
fn a_token_that_is_not_taken_and_one_of_other_settings_are_not_used_again() {
    let (server, _requests) = token_server();
    let (receiver, seen) =
        receiver(&[OK, b"HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n", OK, OK, OK]);
    let (deliverer, first) = (deliverer(LONG), settings(&server.url()));
    let second = settings(&format!("{}?second", server.url()));
    for (settings, failure, token) in [
        (&first, None, "Bearer token-0"),
        (&first, Some(Failure::Status(401)), "Bearer token-0"),
        (&first, None, "Bearer token-1"),
        (&second, None, "Bearer token-2"),
        (&second, None, "Bearer token-2"),
    ] {
        assert_eq!(attempt(&deliverer, &receiver.url(), settings).failure, failure);
        assert_eq!(seen.recv_timeout(LONG).unwrap(), [token]);
    }
}

#[test]
fn an_endpoint_without_it_keeps_its_own_header() {
    let (receiver, seen) = receiver(&[OK]);
    let headers = [("Authorization".to_owned(), "Basic custom".to_owned())];
    let url = receiver.url();
    let outcome = deliverer(LONG).attempt(&Job { headers: &headers, ..job(&url) });
    assert_eq!(outcome.failure, None);
    assert_eq!(seen.recv_timeout(LONG).unwrap(), ["Basic custom"]);
}

type Script = fn(&mut TcpStream) -> io::Result<()>;

fn endless(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}

/// What a server does after it has read the request, the deadline, and the cause that is told.
const HOSTILE: [(&str, Script, Duration, &str); 14] = [
    ("silence", |_| Ok(()), SHORT, "the deadline passed while waiting for the answer"),
    (
        "a body that stalls",
        |it| it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
        SHORT,
        "the deadline passed while reading the answer's body",
    ),
    (
        "endless body",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"")?;
            endless(it, &[b'y'; 4096])
        },
        LONG,
        "its answer is 16 KiB or longer",
    ),
    (
        "endless headers",
        |it| {
            it.write_all(b"HTTP/1.1 200 OK\r\n")?;
            endless(it, b"x-a: b\r\n")
        },
        LONG,
        "headers are larger",
    ),
    ("no JSON", |it| it.write_all(&json_answer("<html>quoted</html>")), LONG, "not a JSON object"),
    ("wrong JSON", |it| it.write_all(&json_answer(r#"["quoted"]"#)), LONG, "not a JSON object"),
    ("deep JSON", |it| it.write_all(&json_answer(&"[".repeat(10_000))), LONG, "not a JSON object"),
    (
        "two headers in a token",
        |it| it.write_all(&json_answer(r#"{"access_token":"a\r\nquoted: 1"}"#)),
        LONG,
        "cannot be in a header",
    ),
    (
        "redirect to a metadata address",
        |it| {
            it.write_all(b"HTTP/1.1 307 x\r\nlocation: http://169.254.169.254/quoted\r\n")?;
            it.write_all(b"connection: close\r\ncontent-length: 0\r\n\r\n")
        },
        LONG,
        "the token server answered 307; redirects are not followed",
    ),
    (
        "refusal",
        |it| {
            let body = r#"{"error":"invalid_client","error_description":"quoted"}"#;
            write!(it, "HTTP/1.1 401 x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        },
        LONG,
        "the token server answered 401 (invalid_client)",
    ),
    (
        "the secret sent back",
        |it| {
            let body = format!(r#"{{"error":"{SECRET}"}}"#);
            write!(it, "HTTP/1.1 400 x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        },
        LONG,
        "the token server answered 400",
    ),
    (
        "gone",
        |it| it.write_all(b"HTTP/1.1 410 x\r\ncontent-length: 0\r\n\r\n"),
        LONG,
        "the token server answered 410",
    ),
    ("garbage", |it| it.write_all(b"\0\x01 garbage\r\n\r\n"), LONG, "not usable HTTP"),
    (
        "closed",
        |it| it.shutdown(std::net::Shutdown::Both),
        LONG,
        "the token server closed the connection while waiting for the answer",
    ),
];

/// Each ends inside its deadline as a failure that says what is wrong and nothing more; nothing is
/// sent to the receiver, and the connection is gone.
#[test]
fn a_hostile_token_server_costs_an_attempt_and_is_not_quoted() {
    for (name, script, deadline, text) in HOSTILE {
        let server = Scripted::start(move |stream, _| {
            read_request(stream)?;
            script(stream)?;
            drain(stream)
        });
        let (receiver, _seen) = receiver(&[OK]);
        let deliverer = deliverer(deadline);
        let begun = Instant::now();
        let outcome = attempt(&deliverer, &receiver.url(), &settings(&server.url()));
        assert!(begun.elapsed() < deadline + SLACK, "{name} took {:?}", begun.elapsed());
        let failure = outcome.failure.expect(name);
        assert_eq!((failure.code(), outcome.status), ("oauth_token", None), "{name}");
        assert!(outcome.body.is_empty(), "{name}");
        for shown in [failure.to_string(), failure.public_text()] {
            assert!(
                shown.starts_with("no access token") && shown.contains(text),
                "{name}: {shown}"
            );
            assert!(!shown.contains("quoted") && !shown.contains(SECRET), "{name}: {shown}");
        }
        assert_eq!(receiver.connections(), 0, "{name}: it was sent without a token");
        drop(deliverer);
        server.wait_for_end();
    }
}

#[test]
fn the_token_url_is_under_the_rules_of_an_endpoints_url() {
    let (receiver, _seen) = receiver(&[OK]);
    let url = receiver.url();
    for (https_only, token_url, part) in [
        (false, "http://10.0.0.1/token", "10.0.0.1 is refused: private network"),
        (false, "http://169.254.169.254/token", "cloud metadata"),
        (false, "http://[::1]/token", "loopback"),
        (false, "http://inside.example/token", "10.0.0.7 is refused"),
        (true, "http://127.0.0.1:1/token", "https"),
        (false, "ftp://127.0.0.1/token", "ftp"),
    ] {
        let config = DeliveryConfig { https_only, ..config(LONG) };
        let names = Stub::with("inside.example", &[&["10.0.0.7"]]);
        let deliverer = Deliverer::with_lookup(config, names).unwrap();
        // The receiver's own URL has to pass, or its refusal would be what is seen.
        let url = if https_only { "https://127.0.0.1:1/" } else { &url };
        let outcome = attempt(&deliverer, url, &settings(token_url));
        let failure = outcome.failure.unwrap();
        assert_eq!(failure.code(), "oauth_token", "{token_url}");
        assert!(failure.to_string().contains(part), "{token_url}: {failure}");
        let told = failure.public_text();
        assert!(!told.contains("10.0.0.7") && !told.contains("metadata"), "{token_url}: {told}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_lost_network_is_told_from_a_token_server_that_refuses() {
    let deliverer = deliverer(LONG);
    let names = Deliverer::with_lookup(config(LONG), Arc::new(Stub::default())).unwrap();
    let lost = attempt(&names, "http://127.0.0.1:1/", &settings("http://gone.example/"));
    assert!(lost.is_network_down(), "{lost:?}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = attempt(&deliverer, "http://127.0.0.1:1/", &settings(&format!("http://{free}/")));
    assert!(!refused.is_network_down() && !refused.is_timeout(), "{refused:?}");
    assert_eq!(
        refused.failure.unwrap().to_string(),
        "no access token: the token server refused the connection"
    );
}
