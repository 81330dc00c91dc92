//! One real life over raw HTTP: what a service that sends webhooks does from its first application
//! on, against the real daemon and a receiver that verifies with the published package.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::binary::{WAIT, eventually};
use crate::hostile_tools::{House, Reply, request, talk};

/// Retries that come at once, so that a failure is over in a moment.
const QUICK_RETRIES: [(&str, &str); 1] =
    [("POSTHASTE_DELIVERY_RETRY_SCHEDULE", r#"["100ms","100ms"]"#)];

/// A delivery as it arrived.
struct Arrival {
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Arrival {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    /// Whether the published package takes it for `secret`.
    fn verifies(&self, secret: &str) -> bool {
        Webhook::new(secret).unwrap().verify(&self.body, &self.headers).is_ok()
    }
}

/// A receiver on a free port. It answers each delivery with the status it was told for it.
struct Receiver {
    url: String,
    arrivals: mpsc::Receiver<Arrival>,
    statuses: mpsc::Sender<u16>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (send, arrivals) = mpsc::channel();
        let (statuses, next) = mpsc::channel();
        std::thread::spawn(move || {
            // One connection at a time: each answer ends its own.
            for stream in listener.incoming().flatten() {
                let Some(arrival) = read_delivery(&stream) else { continue };
                let status = next.try_recv().unwrap_or(204);
                let said = if status == 204 { "" } else { "hello" };
                let length = said.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{said}"
                );
                (&stream).write_all(answer.as_bytes()).ok();
                if send.send(arrival).is_err() {
                    return;
                }
            }
        });
        Self { url, arrivals, statuses }
    }

    /// The next ones are answered with these.
    fn will_answer(&self, statuses: &[u16]) {
        statuses.iter().for_each(|status| self.statuses.send(*status).unwrap());
    }

    fn next(&self) -> Arrival {
        self.arrivals.recv_timeout(WAIT).expect("a delivery")
    }

    /// Everything that was sent so far has arrived: asks by one more delivery.
    fn has_nothing(&self) -> bool {
        self.arrivals.try_recv().is_err()
    }
}

fn read_delivery(stream: &TcpStream) -> Option<Arrival> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = http::HeaderMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name: http::HeaderName = name.parse().ok()?;
        headers.append(name, value.parse().ok()?);
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Arrival { headers, body })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn message(n: u32) -> Value {
    json!({ "eventType": "order.paid", "payload": { "n": n } })
}

/// Sends a request with an idempotency key.
fn once(house: &House, key: &str, path: &str, body: &Value) -> Reply {
    let auth = format!("Bearer {}", house.token);
    let headers = [("authorization", auth.as_str()), ("idempotency-key", key)];
    talk(house.port, request("POST", path, &headers, &body.to_string()).as_bytes())
}

#[test]
fn a_message_is_delivered_retried_resent_and_recovered() {
    let house = House::start(&QUICK_RETRIES);
    let receiver = Receiver::start();
    let app = house.app("Shop");
    house.expect(
        201,
        "POST",
        "/api/v1/event-type",
        &json!({ "name": "order.paid", "description": "" }),
    );
    let endpoint = house.endpoint(&app, &receiver.url);
    let (app, endpoint) = (format!("/api/v1/app/{app}"), endpoint.as_str());
    let secret =
        house.expect(200, "GET", &format!("{app}/endpoint/{endpoint}/secret"), &Value::Null);
    let secret = text(&secret["key"]).to_owned();

    // Delivered at the third try; every try verifies and has an id, the same each time.
    receiver.will_answer(&[500, 503]);
    let sent = house.expect(202, "POST", &format!("{app}/msg"), &message(1));
    let id = text(&sent["id"]);
    for number in 1..=3 {
        let arrival = receiver.next();
        assert!(arrival.verifies(&secret), "try {number}");
        assert_eq!(arrival.header("webhook-id"), id);
        assert_eq!(arrival.header("svix-id"), id);
        assert_eq!(arrival.header("posthaste-attempt"), number.to_string());
        assert_eq!(arrival.body, br#"{"n":1}"#, "the bytes that were sent");
    }
    let attempts = attempts_of(&house, &app, id, 3);
    let statuses: Vec<_> = attempts.iter().map(|a| a["responseStatusCode"].clone()).collect();
    assert_eq!(statuses, [204, 503, 500], "newest first");
    assert_eq!(attempts[2]["response"], "hello");
    assert_eq!(attempts[2]["endpointId"], endpoint);
    let one = format!("{app}/msg/{id}/attempt/{}", text(&attempts[0]["id"]));
    assert_eq!(house.expect(200, "GET", &one, &Value::Null)["msgId"], id);
    let failed = format!("{app}/attempt/msg/{id}?status=2");
    assert_eq!(rows(&house, &failed).len(), 2, "status 2 is failed");

    // Sent again by hand: one more attempt, of the other trigger.
    house.expect(202, "POST", &format!("{app}/msg/{id}/endpoint/{endpoint}/resend"), &Value::Null);
    assert_eq!(receiver.next().header("webhook-id"), id);
    let attempts = attempts_of(&house, &app, id, 4);
    assert_eq!(attempts[0]["triggerType"], 1);

    // Given up after three tries, and recovered.
    receiver.will_answer(&[500, 500, 500]);
    let lost = house.expect(202, "POST", &format!("{app}/msg"), &message(2));
    let lost_id = text(&lost["id"]);
    (0..3).for_each(|_| assert_eq!(receiver.next().header("webhook-id"), lost_id));
    attempts_of(&house, &app, lost_id, 3);
    let stands = rows(&house, &format!("{app}/msg/{lost_id}/endpoint"));
    assert_eq!((&stands[0]["status"], &stands[0]["nextAttempt"]), (&json!(2), &Value::Null));
    let since = json!({ "since": text(&sent["timestamp"]) });
    house.expect(202, "POST", &format!("{app}/endpoint/{endpoint}/recover"), &since);
    assert_eq!(receiver.next().header("webhook-id"), lost_id, "only what was lost");
    attempts_of(&house, &app, lost_id, 4);
    assert_eq!(rows(&house, &format!("{app}/msg/{lost_id}/endpoint"))[0]["status"], 0);
    assert!(receiver.has_nothing(), "no other delivery came");
    house.stop();
}

/// The attempts of a message, newest first, once there are `count`.
fn attempts_of(house: &House, app: &str, id: &str, count: usize) -> Vec<Value> {
    let path = format!("{app}/attempt/msg/{id}");
    eventually("the attempts are recorded", || {
        let found = rows(house, &path);
        assert!(found.len() <= count, "{found:#?}");
        (found.len() == count).then_some(found)
    })
}

fn rows(house: &House, path: &str) -> Vec<Value> {
    let page = house.expect(200, "GET", path, &Value::Null);
    page["data"].as_array().unwrap().clone()
}

#[test]
fn after_a_rotation_both_secrets_verify() {
    let house = House::start(&QUICK_RETRIES);
    let receiver = Receiver::start();
    let app = house.app("Shop");
    let endpoint = house.endpoint(&app, &receiver.url);
    let secret = format!("/api/v1/app/{app}/endpoint/{endpoint}/secret");
    let key =
        |house: &House| text(&house.expect(200, "GET", &secret, &Value::Null)["key"]).to_owned();
    let old = key(&house);
    let rotated = house.expect(200, "POST", &format!("{secret}/rotate"), &json!({}));
    let new = key(&house);
    assert_eq!(rotated["key"], new.as_str());
    assert_ne!(old, new);
    house.send(&app);
    let both = receiver.next();
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    assert!(both.verifies(&old) && both.verifies(&new));
    // No time of grace: from the next delivery on the one before is worth nothing.
    house.expect(200, "POST", &format!("{secret}/rotate"), &json!({ "gracePeriodSeconds": 0 }));
    house.send(&app);
    let after = receiver.next();
    assert!(after.verifies(&key(&house)) && after.verifies(&old) && !after.verifies(&new));
    house.stop();
}

#[test]
fn the_same_request_twice_is_one_message() {
    let house = House::start(&QUICK_RETRIES);
    let receiver = Receiver::start();
    let app = house.app("Shop");
    house.endpoint(&app, &receiver.url);
    let path = format!("/api/v1/app/{app}/msg");
    let first = once(&house, "key-1", &path, &message(1));
    let again = once(&house, "key-1", &path, &message(1));
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.text(), again.text());
    let other = once(&house, "key-1", &path, &message(2));
    assert_eq!((other.status, &other.json()["code"]), (409, &json!("idempotency_conflict")));
    // Other keys, and the same key of another path, are other requests.
    assert_ne!(once(&house, "key-2", &path, &message(1)).text(), first.text());
    let app_made = once(&house, "key-1", "/api/v1/app", &json!({ "name": "Other" }));
    assert_eq!(app_made.status, 201);

    let event = json!({ "eventType": "order.paid", "eventId": "evt-1", "payload": {} });
    let made = house.expect(202, "POST", &path, &event);
    let taken = house.ask("POST", &path, &event.to_string());
    assert_eq!(taken.status, 409, "{}", taken.text());
    let found = house.expect(200, "GET", &format!("{path}/evt-1"), &Value::Null);
    assert_eq!(found["id"], made["id"], "an eventId is as good as the id");

    // Three messages were accepted, and three are delivered.
    let ids: BTreeSet<_> =
        (0..3).map(|_| receiver.next().header("webhook-id").to_owned()).collect();
    let listed = rows(&house, &path).iter().map(|m| text(&m["id"]).to_owned()).collect();
    assert_eq!(ids, listed);
    house.stop();
}

#[test]
fn a_put_makes_or_changes_a_null_clears_and_a_deleted_uid_is_free() {
    let house = House::start(&QUICK_RETRIES);
    let none = Value::Null;
    let kind = json!({ "name": "order.paid", "description": "" });
    house.expect(201, "POST", "/api/v1/event-type", &kind);
    let shop = json!({ "name": "Shop", "uid": "shop" });
    let made = house.expect(201, "PUT", "/api/v1/app/shop", &shop);
    let renamed = json!({ "name": "Shop 2", "uid": "shop", "metadata": { "plan": "large" } });
    let changed = house.expect(200, "PUT", "/api/v1/app/shop", &renamed);
    assert_eq!((&changed["id"], &changed["name"]), (&made["id"], &json!("Shop 2")));
    house.expect(409, "POST", "/api/v1/app", &shop);
    assert_eq!(
        house.expect(200, "POST", "/api/v1/app?get_if_exists=true", &shop)["id"],
        made["id"]
    );

    let hooks = "/api/v1/app/shop/endpoint";
    let full = json!({
        "url": "http://127.0.0.1:1/", "uid": "main", "description": "x",
        "filterTypes": ["order.paid"], "channels": ["eu"], "rateLimit": 7,
    });
    let endpoint = house.expect(201, "POST", hooks, &full);
    let cleared = json!({ "filterTypes": null, "channels": null, "rateLimit": null, "uid": null });
    let patched = house.expect(200, "PATCH", &format!("{hooks}/main"), &cleared);
    for field in ["filterTypes", "channels", "rateLimit", "uid"] {
        assert!(patched[field].is_null(), "{field}: {patched}");
    }
    assert_eq!((&patched["description"], &patched["id"]), (&json!("x"), &endpoint["id"]));
    house.expect(404, "GET", &format!("{hooks}/main"), &none);
    let untouched =
        house.expect(200, "PATCH", &format!("{hooks}/{}", text(&endpoint["id"])), &json!({}));
    assert_eq!(untouched["url"], "http://127.0.0.1:1/");

    let again = house.expect(201, "POST", hooks, &full);
    assert_ne!(again["id"], endpoint["id"]);
    house.expect(204, "DELETE", &format!("{hooks}/main"), &none);
    house.expect(404, "GET", &format!("{hooks}/{}", text(&again["id"])), &none);
    house.expect(201, "POST", hooks, &full);
    house.expect(204, "DELETE", "/api/v1/app/shop", &none);
    house.expect(404, "GET", &format!("/api/v1/app/{}", text(&made["id"])), &none);
    house.expect(404, "GET", &format!("{hooks}/main"), &none);
    let anew = house.expect(201, "POST", "/api/v1/app", &shop);
    assert_ne!(anew["id"], made["id"]);
    assert_eq!(rows(&house, hooks), [none; 0], "a new one begins empty");
    house.stop();
}

/// Walks a list from end to end: forward by `iterator`, and back by `prevIterator`.
fn walk(house: &House, path: &str) -> Vec<String> {
    let ids = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().unwrap();
        data.iter().map(|row| text(&row["id"]).to_owned()).collect()
    };
    let mut pages = vec![house.expect(200, "GET", path, &Value::Null)];
    while pages.last().unwrap()["done"] == false {
        assert!(pages.len() < 200, "no end after 200 pages");
        let next = text(&pages.last().unwrap()["iterator"]);
        pages.push(house.expect(200, "GET", &format!("{path}&iterator={next}"), &Value::Null));
    }
    for pair in pages.windows(2).rev() {
        let back = text(&pair[1]["prevIterator"]);
        let page = house.expect(200, "GET", &format!("{path}&iterator={back}"), &Value::Null);
        assert_eq!(ids(&page), ids(&pair[0]), "back from {back}");
    }
    pages.iter().flat_map(ids).collect()
}

#[test]
fn a_hundred_and_twenty_messages_are_walked_both_ways_and_filtered() {
    let house = House::start(&QUICK_RETRIES);
    let app = house.app("Shop");
    let path = format!("/api/v1/app/{app}/msg");
    let mut sent = Vec::new();
    let mut middle = String::new();
    for n in 0..120 {
        let kind = if n % 3 == 0 { "order.paid" } else { "order.shipped" };
        let mut body = json!({ "eventType": kind, "payload": { "n": n } });
        if n % 10 == 0 {
            body["channels"] = json!(["eu"]);
        }
        let message = house.expect(202, "POST", &path, &body);
        sent.insert(0, text(&message["id"]).to_owned());
        if n == 60 {
            text(&message["timestamp"]).clone_into(&mut middle);
        }
    }
    for limit in [1, 7, 50, 120, 250] {
        assert_eq!(walk(&house, &format!("{path}?limit={limit}")), sent, "limit {limit}");
    }
    let paid = walk(&house, &format!("{path}?limit=9&event_types=order.paid"));
    assert_eq!((paid.len(), paid.first()), (40, sent.get(2)), "every third, newest first");
    assert_eq!(walk(&house, &format!("{path}?limit=5&channel=eu")).len(), 12);
    let both = format!("{path}?limit=5&channel=eu&event_types=order.paid");
    assert_eq!(walk(&house, &both).len(), 4);
    // Ids are exact to 4 ms, so what was sent around that moment may be on either side.
    let before = walk(&house, &format!("{path}?limit=50&before={middle}"));
    let after = walk(&house, &format!("{path}?limit=50&after={middle}"));
    assert_eq!([after, before].concat(), sent, "before and after make up the whole");
    let bare = rows(&house, &format!("{path}?limit=1&with_content=false"));
    assert_eq!(bare[0]["payload"], json!({}));
    house.stop();
}
