//! CloudEvents in and out, and the question of Amazon SNS.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste::inbound::Confirm;
use posthaste::model::source::Source;
use posthaste::signature::{Providers, Request};
use serde_json::{Value, json};

use super::house::{House, owned};
use super::vectors::{Vector, vectors};
use crate::binary::{Running, posthaste, stdout};

fn takes_cloud_events(source: &mut Source) {
    source.settings.insert("cloudevents".to_owned(), "true".to_owned());
}

const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "a%20b"),
    ("ce-source", "/shop"),
    ("ce-type", "com.example.paid"),
    ("content-type", "text/xml"),
];

#[test]
fn cloud_events_come_in_both_modes_and_once() {
    let house = House::new();
    let source = house.source("generic", &[], takes_cloud_events);
    let got = house.post(&source, &BINARY, b"<paid/>");
    assert_eq!(got.status, 200, "{}", got.text());
    let id = got.message();
    let message = house.store.message(source.app, id).unwrap().unwrap().0;
    assert_eq!(message.event_type, "com.example.paid");
    assert_eq!(message.content_type.as_deref(), Some("text/xml"));
    let kept = ("ce-id".to_owned(), "a%20b".to_owned());
    assert!(message.headers.contains(&kept), "{:?}", message.headers);
    assert_eq!(house.payload(&source, id), b"<paid/>");

    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let event = json!({
        "specversion": "1.0", "id": "a b", "source": "/shop", "type": "com.example.paid", "data": 1
    });
    let again = house.post(&source, &structured, event.to_string().as_bytes());
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(house.count(&source), 2, "the same id with another body is told and kept");
    let mut other = event.clone();
    other["id"] = json!("c");
    let first = house.post(&source, &structured, other.to_string().as_bytes());
    let second = house.post(&source, &structured, other.to_string().as_bytes());
    assert_eq!(first.header("posthaste-message"), second.header("posthaste-message"));
    assert_eq!(second.header("posthaste-repeated"), Some("true"));
}

#[test]
fn what_is_no_cloud_event_is_refused_with_its_reason_and_kept() {
    let house = House::new();
    let source = house.source("generic", &[], takes_cloud_events);
    for (headers, body) in [
        (&BINARY[1..], &b"{}"[..]),
        (&[("content-type", "application/json")], br#"{"type":"plain"}"#),
        (&[("content-type", "application/cloudevents+json")], b"{"),
        (&[("content-type", "application/cloudevents-batch+json")], b"[]"),
    ] {
        let got = house.post(&source, headers, body);
        assert_eq!((got.status, got.code().as_str()), (400, "cloud_event_malformed"));
    }
    assert_eq!(house.refused(&source, 4), vec!["cloud_event_malformed"; 4]);
    assert_eq!(house.count(&source), 0);
    // The signature comes first: a stranger learns nothing of what is wanted.
    let signed = house.source("github", &["k".to_owned()], takes_cloud_events);
    let got = house.post(&signed, &[("x-hub-signature-256", "sha256=00")], b"{}");
    assert_eq!(got.status, 401, "{}", got.text());
}

#[derive(Default)]
struct Told {
    urls: Mutex<Vec<String>>,
    fails: bool,
}

impl Confirm for Told {
    fn confirm(&self, url: &str) -> Result<(), String> {
        self.urls.lock().unwrap().push(url.to_owned());
        if self.fails { Err("no route".to_owned()) } else { Ok(()) }
    }
}

fn confirmation() -> Vector {
    let asks = |v: &Vector| v.provider == "aws_sns" && v.note.contains("confirmation");
    vectors().into_iter().find(asks).expect("a subscription that is to be confirmed")
}

#[test]
fn a_subscription_is_confirmed_only_for_the_topic_that_is_named() {
    let vector = confirmation();
    let event: Value = serde_json::from_slice(&vector.bytes()).unwrap();
    let topic = event["TopicArn"].as_str().unwrap().to_owned();
    for (named, fails, expected) in [
        (Some(topic.clone()), false, (200, 1, 0)),
        (Some(topic), true, (503, 1, 0)),
        (Some("arn:aws:sns:us-east-1:1:other".to_owned()), false, (401, 0, 0)),
        (None, false, (200, 0, 1)),
    ] {
        let house = House::new();
        house.set_clock(vector.now);
        let told = Arc::new(Told { fails, ..Told::default() });
        house.api.inbound().set_confirmer(Arc::clone(&told) as Arc<dyn Confirm>);
        let setting = named.clone();
        let source = house.source("aws_sns", &vector.secrets, move |source| {
            source.settings.extend(setting.map(|topic| ("topic_arn".to_owned(), topic)));
        });
        let headers: Vec<(&str, &str)> =
            vector.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let got = house.send("POST", &source.path(), &owned(&headers), &vector.bytes());
        let urls = told.urls.lock().unwrap().clone();
        let found = (got.status, urls.len(), house.count(&source));
        assert_eq!(found, expected, "{named:?}: {}", got.text());
        if let [url] = urls.as_slice() {
            assert_eq!(event["SubscribeURL"], url.as_str());
        }
        assert_eq!(got.status == 503, got.header("retry-after").is_some());
    }
}

/// What Amazon does not sign may be changed by whoever saw an event, and makes no new one of it.
#[test]
fn another_field_that_is_not_signed_makes_no_other_event() {
    let notice = |v: &Vector| v.provider == "aws_sns" && v.note == "SignatureVersion 1";
    let vector = vectors().into_iter().find(notice).unwrap();
    let house = House::new();
    house.set_clock(vector.now);
    let source = house.source("aws_sns", &vector.secrets, |_| {});
    let text = String::from_utf8(vector.bytes()).unwrap();
    let altered = text.replacen('{', "{\"UnsubscribeURL\":\"https://evil.example/\",", 1);
    for (body, repeated) in [(&text, None), (&text, Some("true")), (&altered, Some("true"))] {
        let got = house.send("POST", &source.path(), &[], body.as_bytes());
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(got.header("posthaste-repeated"), repeated);
    }
    assert_eq!(house.count(&source), 1);
}

struct Delivered {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Delivered {
    fn header(&self, wanted: &str) -> &str {
        let found = self.headers.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| std::str::from_utf8(value).unwrap())
    }
}

/// Takes one request and answers it.
fn take(listener: &TcpListener) -> Delivered {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().as_bytes().to_vec()));
        }
    }
    let mut delivered = Delivered { headers, body: Vec::new() };
    delivered.body = vec![0; delivered.header("content-length").parse().unwrap()];
    reader.read_exact(&mut delivered.body).unwrap();
    reader
        .get_mut()
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .unwrap();
    delivered
}

const ENDPOINT_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn assert_signed(delivered: &Delivered) {
    let profile = Providers::builtin().get("standard_webhooks").unwrap();
    let secret = profile.secret(ENDPOINT_SECRET).unwrap();
    let sent: u64 = delivered.header("webhook-timestamp").parse().unwrap();
    let Delivered { headers, body } = delivered;
    let request = Request { method: "POST", url: "http://h.example/", headers, body };
    profile.verify(&request, &[secret], &<_>::default(), sent * 1000).unwrap();
}

#[test]
fn an_endpoint_gets_cloud_events_in_the_mode_it_asks_for_signed_as_they_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("posthaste.toml");
    std::fs::write(&config, "").unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let listeners = ["structured", "binary"].map(|mode| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (mode, listener)
    });
    let endpoint = |(mode, listener): &(&str, TcpListener)| {
        format!(
            "[applications.shop.endpoints.{mode}]\nurl = \"http://{}/\"\n\
             secret = \"{ENDPOINT_SECRET}\"\nmetadata = {{ cloudevents = \"{mode}\" }}\n",
            listener.local_addr().unwrap()
        )
    };
    let endpoints = listeners.each_ref().map(endpoint).concat();
    let text = format!("[event_types.\"order.paid\"]\n{endpoints}");
    std::fs::write(folder.path().join("conf.d/shop.toml"), text).unwrap();
    let data = folder.path().join("data");
    let mut command = posthaste(&["serve", "--dev", "--listen", "127.0.0.1:0", "--config"]);
    command.arg(&config).arg("--data").arg(&data);
    let mut daemon = Running::start(command);
    let banner = daemon.wait_for("listening on ");
    let url = banner.split_once("listening on ").unwrap().1.to_owned();
    let payload = r#"{"order": 7,"sum":1.50}"#;
    let mut command =
        posthaste(&["send", "--app", "shop", "--type", "order.paid", payload, "--server", &url]);
    let sent = command.arg("--data").arg(&data).output().unwrap();
    assert!(sent.status.success(), "{sent:?} {}", stdout(&sent));

    let [(_, structured), (_, binary)] = listeners;
    let whole = take(&structured);
    assert_eq!(whole.header("content-type"), "application/cloudevents+json; charset=utf-8");
    let event: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("order.paid")));
    assert_eq!(
        (&event["id"], &event["data"]),
        (&json!(whole.header("webhook-id")), &json!({"order": 7, "sum": 1.5}))
    );
    assert!(String::from_utf8_lossy(&whole.body).contains(payload), "byte for byte");
    assert_signed(&whole);

    let parts = take(&binary);
    assert_eq!(parts.body, payload.as_bytes());
    assert_eq!((parts.header("ce-type"), parts.header("ce-specversion")), ("order.paid", "1.0"));
    assert_eq!(
        (parts.header("ce-id"), parts.header("content-type")),
        (parts.header("webhook-id"), "application/json")
    );
    assert_eq!(event["source"], parts.header("ce-source"));
    assert_signed(&parts);
}
