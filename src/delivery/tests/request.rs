//! What a receiver gets to see.

use std::sync::mpsc::sync_channel;

use super::*;
use crate::signature::sign;

/// Makes an attempt and returns the request as it arrived.
fn sent(job: Job<'_>) -> (String, Vec<u8>) {
    let (sender, requests) = sync_channel(1);
    let receiver = Scripted::start(move |stream, _| {
        sender.send(read_request(stream)?).ok();
        stream.write_all(OK)
    });
    let url = format!("{}?a=b%20c", receiver.url());
    let outcome = deliverer(LONG).attempt(&Job { url: &url, ..job });
    assert!(outcome.is_success(), "{outcome:?}");
    requests.recv_timeout(LONG).unwrap()
}

fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn the_request_has_both_header_families_and_the_exact_body() {
    let keys = [
        SigningKey::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").unwrap(),
        SigningKey::ed25519_from_random([7; 32]),
    ];
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let payload = "{\"a\": \"ü\",  \"b\":1 }\n".as_bytes();
    let (head, body) = sent(Job {
        keys: &keys,
        body: payload,
        attempt: 3,
        next_retry: Some(1_767_225_905),
        ..job("")
    });
    assert!(head.starts_with("POST /hook?a=b%20c HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, payload);
    let signature = sign(&keys, "msg_1", 1_767_225_600, payload);
    assert!(signature.contains("v1,") && signature.contains(" v1a,"));
    let length = payload.len().to_string();
    let agent = concat!("Posthaste/", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", "1767225600"),
        ("webhook-signature", signature.as_str()),
        ("svix-id", "msg_1"),
        ("svix-timestamp", "1767225600"),
        ("svix-signature", signature.as_str()),
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
        ("user-agent", agent),
        ("accept-encoding", "identity"),
        ("posthaste-attempt", "3"),
        ("posthaste-next-retry", "1767225905"),
    ];
    for (name, value) in expected {
        assert_eq!(values(&head, name), [value], "{name} in {head}");
    }
    assert_eq!(values(&head, "host").len(), 1);
    assert!(values(&head, "transfer-encoding").is_empty());
}

#[test]
fn the_last_attempt_names_no_next_one_and_no_key_means_no_signature() {
    let (head, _) = sent(job(""));
    for name in ["posthaste-next-retry", "webhook-signature", "svix-signature"] {
        assert!(values(&head, name).is_empty(), "{name} in {head}");
    }
}

#[test]
fn custom_headers_come_first_and_replace_nothing() {
    let custom = [
        ("X-Team", "blue"),
        ("authorization", "Bearer t"),
        ("Host", "evil.example"),
        ("Webhook-Id", "msg_forged"),
        ("svix-signature", "v1,forged"),
        ("content-type", "text/html"),
        ("Content-Length", "0"),
        ("connection", "close"),
        ("user-agent", "other"),
        ("posthaste-attempt", "99"),
        ("x-split", "a\r\nx-injected: b"),
    ];
    let custom: Vec<_> = custom.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let (head, body) = sent(Job { headers: &custom, ..job("") });
    assert_eq!(body, b"{}");
    let expected = [
        ("x-team", vec!["blue"]),
        ("authorization", vec!["Bearer t"]),
        ("webhook-id", vec!["msg_1"]),
        ("content-type", vec!["application/json"]),
        ("content-length", vec!["2"]),
        ("connection", vec![]),
        ("posthaste-attempt", vec!["1"]),
        ("svix-signature", vec![]),
        ("x-split", vec![]),
        ("x-injected", vec![]),
    ];
    for (name, wanted) in expected {
        assert_eq!(values(&head, name), wanted, "{name} in {head}");
    }
    assert!(!head.contains("evil.example"));
    let position = |name| head.find(name).unwrap();
    assert!(position("x-team") < position("webhook-id"), "{head}");
}

#[test]
fn the_longest_url_and_headers_are_sent_whole() {
    let value = "v".repeat(crate::delivery::MAX_HEADER_VALUE);
    let custom: Vec<_> = (0..crate::model::limits::CUSTOM_HEADERS)
        .map(|i| {
            (format!("{}{i:02}", "n".repeat(crate::delivery::MAX_HEADER_NAME - 2)), value.clone())
        })
        .collect();
    let (head, _) = sent(Job { headers: &custom, ..job("") });
    for (name, value) in &custom {
        assert_eq!(values(&head, name), [value.as_str()], "{name}");
    }
    let (sender, requests) = sync_channel(1);
    let receiver = Scripted::start(move |stream, _| {
        sender.send(read_request(stream)?).ok();
        stream.write_all(OK)
    });
    let mut url = receiver.url();
    url.push_str(&"u".repeat(crate::delivery::MAX_URL - url.len()));
    assert!(send(&deliverer(LONG), &url).is_success());
    let (head, _) = requests.recv_timeout(LONG).unwrap();
    assert!(head.starts_with("POST /hookuuu"));
    url.push('u');
    let outcome = send(&deliverer(LONG), &url);
    assert_eq!(outcome.failure.map(|it| it.code()), Some("bad_url"));
}

/// However the pieces of a request fall into the buffer, the next one fits.
#[test]
fn header_values_of_every_length_arrive() {
    let receiver = Scripted::start(|stream, _| {
        loop {
            let (head, _) = read_request(stream)?;
            let seen = values(&head, "x-a")[0].len() + values(&head, "x-b")[0].len();
            let seen = seen.to_string();
            write!(stream, "HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{seen}", seen.len())?;
        }
    });
    let (deliverer, url) = (deliverer(LONG), receiver.url());
    let longest = "b".repeat(crate::delivery::MAX_HEADER_VALUE);
    for length in (2800..=longest.len()).step_by(48) {
        let headers = [("x-a".to_owned(), "a".repeat(length)), ("x-b".to_owned(), longest.clone())];
        let outcome = deliverer.attempt(&Job { headers: &headers, ..job(&url) });
        let wanted = (length + longest.len()).to_string();
        assert_eq!(String::from_utf8_lossy(&outcome.body), wanted, "{length}: {outcome:?}");
    }
}

#[test]
fn values_that_cannot_be_in_a_header_fail_the_attempt_and_nothing_is_sent() {
    let receiver = Scripted::start(|stream, _| answer_all(stream, OK));
    let url = receiver.url();
    let outcome = deliverer(LONG).attempt(&Job { message_id: "msg\r\nx: y", ..job(&url) });
    let Some(Failure::Internal { .. }) = outcome.failure else {
        panic!("{outcome:?}");
    };
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_fetch_is_guarded_and_wants_a_2xx() {
    let answering = |status: &'static str| {
        Scripted::start(move |stream, _| {
            let (head, _) = read_request(stream)?;
            assert!(head.starts_with("GET /yes?a=1 HTTP/1.1\r\n"), "{head}");
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
        })
    };
    for (status, is_yes) in
        [("200 OK", true), ("204 No Content", true), ("302 Found", false), ("403 No", false)]
    {
        let receiver = answering(status);
        let fetched = deliverer(LONG).fetch(&format!("http://{}/yes?a=1", receiver.address));
        assert_eq!(fetched.is_ok(), is_yes, "{status}: {fetched:?}");
    }
    let guarded = DeliveryConfig { policy: AddressPolicy::default(), ..config(LONG) };
    let receiver = answering("200 OK");
    let url = format!("http://{}/yes?a=1", receiver.address);
    let refused = Deliverer::new(guarded).unwrap().fetch(&url).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
    assert_eq!(receiver.connections(), 0);
}
