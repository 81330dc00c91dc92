//! Tokens for programs: each can do its one thing, and ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::House;

const ROUTES: [(&str, &str); 9] = [
    ("GET", "/app/shop"),
    ("GET", "/app/shop/msg"),
    ("POST", "/app/shop/endpoint"),
    ("POST", "/app"),
    ("GET", "/event-type"),
    ("GET", "/app/shop/events"),
    ("GET", "/auth/whoami"),
    ("POST", "/auth/app/shop/create-message-token"),
    ("GET", "/auth/app/shop/poller/log/token"),
];

fn text(token: &Value) -> String {
    token["token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn can_do_nothing_else(house: &House, token: &str) {
    for (method, path) in ROUTES {
        house.call_as(token, method, path, &json!({})).refused(403, "insufficient access");
    }
}

#[test]
fn a_message_token_creates_messages_of_its_application_and_does_nothing_else() {
    let house = House::new();
    let (shop, other) = (house.app("shop"), house.app("other"));
    let path = "/auth/app/shop/create-message-token";
    let made = house.post(path, &json!({ "name": "till", "expiry": 3600 })).is(200);
    assert_eq!(made["name"], "till");
    let token = text(&made);
    let message = json!({ "eventType": "a", "payload": {} });
    let send = |token: &str, app: &str, body: &Value| {
        house.call_as(token, "POST", &format!("/app/{app}/msg"), body)
    };
    let answer = send(&token, "shop", &message).is(202);
    let id = answer["id"].as_str().unwrap();
    house.get(&format!("/app/shop/msg/{id}")).is(200);
    for app in ["other", &other] {
        send(&token, app, &message).refused(404, "not_found");
    }
    let inline = json!({
        "eventType": "a", "payload": {}, "application": { "name": "n", "uid": "new" }
    });
    send(&token, "new", &inline).refused(404, "not_found");
    house.get("/app/new").refused(404, "not_found");
    house
        .call_as(&token, "GET", "/app/shop/poller/log", &Value::Null)
        .refused(403, "insufficient access");
    can_do_nothing_else(&house, &token);
    // A portal's token cannot, whatever it asks to be limited to.
    send(&house.app_token(&shop), "shop", &message).refused(403, "insufficient access");
    for name in ["CreateMessages", "Poll"] {
        let asked = json!({ "capabilities": [name] });
        house.post("/auth/app-portal-access/shop", &asked).invalid(&["body", "capabilities"]);
    }
    for (input, field) in [
        (json!({}), "name"),
        (json!({ "name": "a", "expiry": 0 }), "expiry"),
        (json!({ "name": "a", "expiry": 31_536_001 }), "expiry"),
        (json!({ "name": "n".repeat(257) }), "name"),
    ] {
        house.post(path, &input).invalid(&["body", field]);
    }
    house.post(path, &json!({ "name": "n".repeat(256), "expiry": 31_536_000 })).is(200);
    // By its id it ends before its time, and no other with it.
    let second = text(&house.post(path, &json!({ "name": "" })).is(200));
    while house.api.store.now().to_string() == made["createdAt"].as_str().unwrap() {}
    let end = json!({ "sessionIds": [made["id"]] });
    house.post("/auth/app/shop/expire-all", &end).is(204);
    send(&token, "shop", &message).refused(401, "authentication_failed");
    send(&second, "shop", &message).is(202);
}

#[test]
fn a_poller_token_polls_its_sink_until_it_is_rotated() {
    let house = House::new();
    let app = house.app("shop");
    house.app("other");
    house.message(&app, "a");
    let path = "/auth/app/shop/poller/log/token";
    let rotate = |old: u64| {
        let body = json!({ "oldTokenExpiry": old });
        house.post(&format!("{path}/rotate"), &body).is(201)
    };
    let polls = |token: &str| {
        let got = house.call_as(token, "GET", "/app/shop/poller/log", &Value::Null);
        if got.status == 200 {
            assert_eq!(got.body["data"].as_array().unwrap().len(), 1);
        }
        got.status
    };
    let first = text(&house.get(path).is(200));
    assert_eq!(polls(&first), 200);
    can_do_nothing_else(&house, &first);
    let consumer = "/app/shop/poller/log/consumer/c";
    house.call_as(&first, "GET", consumer, &Value::Null).is(200);
    for (method, path) in [
        ("GET", "/app/shop/poller/log2"),
        ("GET", "/app/shop/poller/lo%67%32"),
        ("POST", "/app/shop/msg"),
    ] {
        house.call_as(&first, method, path, &json!({})).refused(403, "insufficient access");
    }
    house.call_as(&first, "GET", "/app/other/poller/log", &Value::Null).refused(404, "not_found");
    // The old goes on for as long as is said, the new one works at once.
    let second = text(&rotate(300));
    assert_eq!((polls(&first), polls(&second)), (200, 200));
    let third = rotate(0);
    assert_eq!([&first, &second, &text(&third)].map(|t| polls(t)), [200, 401, 200]);
    let same = house.get(path).is(200);
    assert_eq!(same["id"], third["id"], "until the next rotation");
    house.post("/auth/app/shop/expire-all", &json!({ "sessionIds": ["of_nobody"] })).is(204);
    let fourth = text(&rotate(60));
    assert_eq!([&text(&third), &text(&same), &fourth].map(|t| polls(t)), [200; 3]);
    let session = crate::api::auth::session_digest(third["id"].as_str().unwrap());
    let ended = house.api.store.ended(app.parse().unwrap(), &session).unwrap().unwrap();
    let now = house.api.store.now();
    let holds = |seconds| ended.holds(Some(now.0), now.plus(Duration::from_secs(seconds)));
    assert_eq!((holds(50), holds(61)), (false, true));
    for (input, field) in [
        (json!({ "oldTokenExpiry": 86_401 }), "oldTokenExpiry"),
        (json!({ "expiry": 0 }), "expiry"),
        (json!({ "expiry": 31_536_001 }), "expiry"),
    ] {
        house.post(&format!("{path}/rotate"), &input).invalid(&["body", field]);
    }
}
