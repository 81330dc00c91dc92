//! Messages: accepted byte for byte, once per key and event id, found, listed, emptied.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{House, MAX_PAYLOAD, fields, ids};
use crate::store::messages::Payload;

fn payload_of(house: &House, app: &str, id: &str) -> Vec<u8> {
    let found =
        house.api.store.message(app.parse().unwrap(), id.parse().unwrap()).unwrap().unwrap();
    match found.1 {
        Payload::Here(bytes) => bytes.to_vec(),
        Payload::Gone => panic!("the payload is gone"),
    }
}

#[test]
fn a_message_is_shown_with_every_field() {
    let house = House::new();
    let app = house.app("shop");
    let input = json!({ "eventType": "order.paid", "payload": { "a": 1 } });
    let made = house.post("/app/shop/msg", &input).is(202);
    assert_eq!(fields(&made), ["channels", "eventId", "eventType", "id", "payload", "timestamp"]);
    assert_eq!((&made["eventId"], &made["channels"]), (&Value::Null, &Value::Null));
    assert_eq!(made["payload"], json!({ "a": 1 }));
    let id = made["id"].as_str().unwrap();
    assert_eq!(house.get(&format!("/app/{app}/msg/{id}")).is(200), made);
    let without = house.get(&format!("/app/shop/msg/{id}?with_content=false")).is(200);
    assert_eq!(without["payload"], json!({}));
    let without = house.post("/app/shop/msg?with_content=false", &input).is(202);
    assert_eq!(without["payload"], json!({}));
    let full =
        json!({ "eventType": "t", "data": { "b": 2 }, "eventId": "e-1", "channels": ["x", "y"] });
    let made = house.post("/app/shop/msg", &full).is(202);
    assert_eq!((&made["eventId"], &made["channels"]), (&json!("e-1"), &json!(["x", "y"])));
    assert_eq!(made["payload"], json!({ "b": 2 }), "`data` is another name of `payload`");
    assert_eq!(house.get("/app/shop/msg/e-1").is(200), made, "an event id is as good as an id");
}

#[test]
fn a_payload_is_kept_byte_for_byte() {
    let house = House::new();
    let app = house.app("shop");
    let token = format!("Bearer {}", house.operator);
    for payload in [
        r#"{ "z" : 1.0,  "a":1e2, "dup":1,"dup":2 }"#,
        "{\"text\":\"\\u00e9 é \\\" \\/ 𝄞\",\n\t\"big\":123456789012345678901234567890}",
        "{}",
        &format!("{{\"long\":\"{}\"}}", "x".repeat(20_000)),
    ] {
        let body = format!(" {{\"eventType\" : \"t\",\n \"payload\": {payload} }}\n");
        let got = house.raw(
            "POST",
            "/api/v1/app/shop/msg",
            &[("authorization", &token)],
            body.as_bytes(),
        );
        let answer = String::from_utf8(got.reply.body.to_vec()).unwrap();
        assert!(answer.contains(payload), "{answer}");
        let id = got.is(202)["id"].as_str().unwrap().to_owned();
        assert_eq!(payload_of(&house, &app, &id), payload.as_bytes());
    }
}

#[test]
fn input_that_breaks_a_rule_names_the_field() {
    let house = House::new();
    house.app("shop");
    let six: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    for (input, field) in [
        (json!({ "payload": {} }), "eventType"),
        (json!({ "eventType": "t" }), "payload"),
        (json!({ "eventType": "a b", "payload": {} }), "eventType"),
        (json!({ "eventType": "t".repeat(257), "payload": {} }), "eventType"),
        (json!({ "eventType": "t", "payload": [1] }), "payload"),
        (json!({ "eventType": "t", "payload": "x" }), "payload"),
        (json!({ "eventType": "t", "payload": null }), "payload"),
        (json!({ "eventType": "t", "payload": {}, "eventId": "a b" }), "eventId"),
        (json!({ "eventType": "t", "payload": {}, "channels": [] }), "channels"),
        (json!({ "eventType": "t", "payload": {}, "channels": six }), "channels"),
        (json!({ "eventType": "t", "payload": {}, "channels": ["c".repeat(129)] }), "channels"),
        (
            json!({ "eventType": "t", "payload": {}, "payloadRetentionPeriod": 4 }),
            "payloadRetentionPeriod",
        ),
        (
            json!({ "eventType": "t", "payload": {}, "payloadRetentionPeriod": 91 }),
            "payloadRetentionPeriod",
        ),
    ] {
        house.post("/app/shop/msg", &input).invalid(&["body", field]);
    }
    let input = json!({ "eventType": "t", "payload": {}, "payloadRetentionPeriod": 5, "channels": ["c".repeat(128)] });
    house.post("/app/shop/msg", &input).is(202);
    house.post("/app/none/msg", &input).refused(404, "not_found");
    let token = format!("Bearer {}", house.operator);
    for body in [
        &b"{"[..],
        b"",
        b"[]",
        b"{\"eventType\":\"t\",\"payload\":{\"a\":}}",
        b"\xff\xfe",
        b"{\"eventType\":\"t\",\"payload\":{\"a\":\"\xff\"}}",
    ] {
        let got = house.raw("POST", "/api/v1/app/shop/msg", &[("authorization", &token)], body);
        assert_eq!(got.status, 422, "{body:?}: {}", got.body);
    }
    assert_eq!(ids(&house.get("/app/shop/msg").is(200)).len(), 1, "nothing refused was kept");
}

#[test]
fn a_payload_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let house = House::new();
    house.app("shop");
    let of = |bytes: usize| json!({ "eventType": "t", "payload": { "p": "x".repeat(bytes - 8) } });
    house.post("/app/shop/msg", &of(MAX_PAYLOAD)).is(202);
    house.post("/app/shop/msg", &of(MAX_PAYLOAD + 1)).refused(413, "payload_too_large");
}

#[test]
fn a_raw_payload_is_sent_as_it_is_and_shown_as_an_object() {
    let house = House::new();
    let app = house.app("shop");
    for (raw, content_type, shown, sent_as) in [
        ("{\"a\":1}", None, json!({ "a": 1 }), None),
        ("{\"a\":1}", Some("application/json"), json!({ "a": 1 }), None),
        ("{\"a\":", None, json!({ "rawPayload": "{\"a\":" }), Some("application/json")),
        ("[1]", None, json!({ "rawPayload": "[1]" }), Some("application/json")),
        (
            "<a b=\"c\"/>",
            Some("text/xml"),
            json!({ "rawPayload": "<a b=\"c\"/>" }),
            Some("text/xml"),
        ),
    ] {
        let headers = content_type.map(|content_type| json!({ "Content-Type": content_type }));
        let input = json!({
            "eventType": "t", "payload": {},
            "transformationsParams": { "rawPayload": raw, "headers": headers }
        });
        let made = house.post("/app/shop/msg", &input).is(202);
        assert_eq!(made["payload"], shown, "{raw}");
        let id = made["id"].as_str().unwrap();
        assert_eq!(payload_of(&house, &app, id), raw.as_bytes());
        let kept =
            house.api.store.message(app.parse().unwrap(), id.parse().unwrap()).unwrap().unwrap();
        assert_eq!(kept.0.content_type.as_deref(), sent_as, "{raw}");
        assert_eq!(house.get(&format!("/app/shop/msg/{id}")).is(200), made);
    }
    assert_eq!(house.get("/app/shop/msg").is(200)["data"].as_array().unwrap().len(), 5);
    let bad = json!({ "eventType": "t", "payload": {}, "transformationsParams": { "rawPayload": "x", "headers": { "content-type": "a\r\nb" } } });
    house.post("/app/shop/msg", &bad).invalid(&["body", "transformationsParams", "headers"]);
}

#[test]
fn an_event_id_is_taken_once_per_application() {
    let house = House::new();
    house.app("shop");
    house.app("other");
    let input = json!({ "eventType": "t", "payload": {}, "eventId": "e" });
    house.post("/app/shop/msg", &input).is(202);
    house.post("/app/shop/msg", &input).refused(409, "conflict");
    house.post("/app/other/msg", &input).is(202);
}

#[test]
fn a_key_is_answered_as_the_first_time() {
    let house = House::new();
    house.app("shop");
    house.app("other");
    let input = json!({ "eventType": "t", "payload": { "a": 1 }, "eventId": "e" });
    let first = house.call_once("key-1", "POST", "/app/shop/msg", &input).is(202);
    assert_eq!(house.call_once("key-1", "POST", "/app/shop/msg", &input).is(202), first);
    let changed = json!({ "eventType": "t", "payload": { "a": 2 } });
    house
        .call_once("key-1", "POST", "/app/shop/msg", &changed)
        .refused(409, "idempotency_conflict");
    house.call_once("key-1", "POST", "/app/other/msg", &changed).is(202);
    house.call_once("key-2", "POST", "/app/shop/msg", &input).refused(409, "conflict");
    assert_eq!(ids(&house.get("/app/shop/msg").is(200)).len(), 1);
    // A refusal is not kept: the same key may be used for the corrected request.
    let bad = json!({ "eventType": "t" });
    house.call_once("key-3", "POST", "/app/shop/msg", &bad).invalid(&["body", "payload"]);
    house.call_once("key-3", "POST", "/app/shop/msg", &changed).is(202);
    house
        .call_once(&"k".repeat(257), "POST", "/app/shop/msg", &changed)
        .refused(400, "generic_error");
}

#[test]
fn many_at_once_with_one_key_make_one_message() {
    let house = House::new();
    house.app("shop");
    let bodies = house.runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let api = Arc::clone(&house.api);
                let token = format!("Bearer {}", house.operator);
                tokio::spawn(async move {
                    let headers = [("authorization", token.as_str()), ("idempotency-key", "one")];
                    let body = br#"{"eventType":"t","payload":{}}"#;
                    let request = super::request("POST", "/api/v1/app/shop/msg", &headers, body);
                    super::got(super::router::answer(&api, request).await).is(202)
                })
            })
            .collect();
        let mut bodies = Vec::new();
        for task in tasks {
            bodies.push(task.await.unwrap());
        }
        bodies
    });
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(ids(&house.get("/app/shop/msg").is(200)).len(), 1);
}

#[test]
fn a_message_may_bring_its_application() {
    let house = House::new();
    let with = |uid: Value| json!({ "eventType": "t", "payload": {}, "application": { "name": "New", "uid": uid } });
    for (uid, kind) in
        [(json!("other"), "application_uid_mismatch"), (Value::Null, "application_uid_missing")]
    {
        let got = house.post("/app/new/msg", &with(uid));
        assert_eq!(got.body["detail"][0]["type"], kind);
        got.invalid(&["body", "application", "uid"]);
    }
    house.get("/app/new").refused(404, "not_found");
    house.post("/app/new/msg", &with(json!("new"))).is(202);
    house.post("/app/new/msg", &with(json!("new"))).is(202);
    assert_eq!(house.get("/app/new").is(200)["name"], "New");
    assert_eq!(ids(&house.get("/app/new/msg").is(200)).len(), 2);
}

#[test]
fn lists_are_narrowed_down() {
    let house = House::new();
    let app = house.app("shop");
    let send = |event_type: &str, channel: Option<&str>| {
        let mut input = json!({ "eventType": event_type, "payload": { "t": event_type } });
        if let Some(channel) = channel {
            input["channels"] = json!([channel]);
        }
        house.post("/app/shop/msg", &input).is(202)["id"].as_str().unwrap().to_owned()
    };
    let (a, b, c) = (send("a", None), send("b", Some("x")), send("c", Some("x")));
    for (query, expected) in [
        ("", vec![&c, &b, &a]),
        ("event_types=a,b", vec![&b, &a]),
        ("event_types=a&event_types=c", vec![&c, &a]),
        ("event_types[]=b", vec![&b]),
        ("event_types[0]=b&event_types[1]=c", vec![&c, &b]),
        ("channel=x", vec![&c, &b]),
        ("channel=x&event_types=b", vec![&b]),
        ("channel=none", vec![]),
        ("before=2020-01-01T00:00:00Z", vec![]),
        ("after=2020-01-01T00:00:00Z", vec![&c, &b, &a]),
        ("after=2100-01-01T00:00:00Z", vec![]),
    ] {
        let list = house.get(&format!("/app/{app}/msg?{query}")).is(200);
        assert_eq!(ids(&list).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let list = house.get("/app/shop/msg?with_content=false&limit=1").is(200);
    assert_eq!(list["data"][0]["payload"], json!({}));
    house.get("/app/shop/msg?before=yesterday").invalid(&["query", "before"]);
    house.get("/app/shop/msg?limit=251").invalid(&["query", "limit"]);
    house.get("/app/shop/msg?limit=x").invalid(&["query", "limit"]);
    house.get("/app/shop/msg?iterator=nonsense").invalid(&["query", "iterator"]);
}

#[test]
fn content_can_be_removed() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let id = house.message(&app, "t");
    house.call("DELETE", &format!("/app/shop/msg/{id}/content"), &Value::Null).is(204);
    assert_eq!(
        house.get(&format!("/app/shop/msg/{id}")).is(200)["payload"],
        json!({ "expired": true })
    );
    let resend = format!("/app/shop/msg/{id}/endpoint/{endpoint}/resend");
    house.post(&resend, &Value::Null).refused(400, "missing_payload");
    house.call("DELETE", "/app/shop/msg/none/content", &Value::Null).refused(404, "not_found");
}
