//! Endpoints: what is taken and refused, secrets, headers, statistics, examples.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{House, fields};
use crate::model::secret::SigningKey;

const URL: &str = "https://receiver.example/hook";

fn with(mut base: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

#[test]
fn an_endpoint_is_shown_with_every_field() {
    let house = House::new();
    house.app("shop");
    let made = house.post("/app/shop/endpoint", &json!({ "url": URL })).is(201);
    for field in [
        "id",
        "metadata",
        "description",
        "url",
        "createdAt",
        "updatedAt",
        "uid",
        "throttleRate",
        "rateLimit",
        "disabled",
        "eventTypes",
        "filterTypes",
        "channels",
        "version",
    ] {
        assert!(fields(&made).contains(&field), "{field}: {made}");
    }
    assert_eq!(made["status"], "active");
    assert!(made.get("secret").is_none() && made.get("headers").is_none());
    assert_eq!((&made["description"], &made["disabled"]), (&json!(""), &json!(false)));
    for name in ["uid", "eventTypes", "channels", "throttleRate"] {
        assert_eq!(made[name], Value::Null, "{name}");
    }
    let id = made["id"].as_str().unwrap();
    assert_eq!(house.get(&format!("/app/shop/endpoint/{id}")).is(200), made);
}

#[test]
fn input_that_breaks_a_rule_names_the_field() {
    let house = House::new();
    house.app("shop");
    house.post("/event-type", &json!({ "name": "old", "description": "" })).is(201);
    house.call("DELETE", "/event-type/old", &Value::Null).is(204);
    let channels: Vec<String> = (0..11).map(|n| format!("c{n}")).collect();
    for (more, field) in [
        (json!({ "url": "ftp://receiver.example" }), "url"),
        (json!({ "url": "" }), "url"),
        (json!({ "url": "http://127.0.0.1/x" }), "url"),
        (json!({ "url": "http://user:pw@receiver.example/" }), "url"),
        (json!({ "uid": "a b" }), "uid"),
        (json!({ "uid": "ep_2srLjEbSzWSv1YCLXZ6wZcSnB0F" }), "uid"),
        (json!({ "eventTypes": [] }), "eventTypes"),
        (json!({ "eventTypes": ["never.heard.of"] }), "eventTypes"),
        (json!({ "eventTypes": ["old"] }), "eventTypes"),
        (json!({ "eventTypes": ["a*"] }), "eventTypes"),
        (json!({ "channels": [] }), "channels"),
        (json!({ "channels": channels }), "channels"),
        (json!({ "channels": ["a b"] }), "channels"),
        (json!({ "secret": "short" }), "secret"),
        (json!({ "throttleRate": 0 }), "throttleRate"),
        (json!({ "headers": { "host": "x" } }), "headers"),
        (json!({ "metadata": { "k": "v".repeat(513) } }), "metadata"),
    ] {
        let input = with(json!({ "url": URL }), &more);
        house.post("/app/shop/endpoint", &input).invalid(&["body", field]);
    }
    house.post("/app/shop/endpoint", &json!({})).invalid(&["body", "url"]);
    let patterns = json!({ "url": URL, "eventTypes": ["order.*", "*"] });
    house.post("/app/shop/endpoint", &patterns).is(201);
    house.post("/app/none/endpoint", &json!({ "url": URL })).refused(404, "not_found");
}

#[test]
fn https_only_refuses_http() {
    let house = House::with(|settings| settings.https_only = true);
    house.app("shop");
    let plain = json!({ "url": "http://receiver.example/hook" });
    house.post("/app/shop/endpoint", &plain).invalid(&["body", "url"]);
    house.post("/app/shop/endpoint", &json!({ "url": URL })).is(201);
}

#[test]
fn replaced_changed_and_deleted() {
    let house = House::new();
    house.app("shop");
    let full =
        json!({ "url": URL, "uid": "u", "description": "d", "channels": ["c"], "disabled": true });
    let made = house.call("PUT", "/app/shop/endpoint/u", &full).is(201);
    assert_eq!((&made["disabled"], &made["channels"]), (&json!(true), &json!(["c"])));
    assert_eq!((&made["status"], &made["disabledReason"]), (&json!("disabled"), &json!("manual")));
    let secret = house.get("/app/shop/endpoint/u/secret").is(200);
    let put = json!({ "url": URL, "uid": "u" });
    let replaced = house.call("PUT", "/app/shop/endpoint/u", &put).is(200);
    assert_eq!(replaced["id"], made["id"]);
    assert_eq!((&replaced["disabled"], &replaced["channels"]), (&json!(false), &Value::Null));
    assert_eq!(house.get("/app/shop/endpoint/u/secret").is(200), secret, "PUT leaves the secret");
    let same = house.call("PUT", "/app/shop/endpoint/u", &json!({ "url": URL })).is(200);
    assert_eq!((&same["id"], &same["uid"]), (&made["id"], &json!("u")), "named by the path");
    let other = house.call("PUT", "/app/shop/endpoint/v", &json!({ "url": URL })).is(201);
    assert_eq!(other["uid"], "v");
    let patch = json!({ "channels": ["x"], "description": "new" });
    let patched = house.call("PATCH", "/app/shop/endpoint/u", &patch).is(200);
    assert_eq!((&patched["channels"], &patched["url"]), (&json!(["x"]), &json!(URL)));
    let cleared = house.call("PATCH", "/app/shop/endpoint/u", &json!({ "channels": null })).is(200);
    assert_eq!((&cleared["channels"], &cleared["description"]), (&Value::Null, &json!("new")));
    house.post("/app/shop/endpoint", &put).refused(409, "conflict");
    house.call("DELETE", "/app/shop/endpoint/u", &Value::Null).is(204);
    house.get("/app/shop/endpoint/u").refused(404, "not_found");
    house.post("/app/shop/endpoint", &put).is(201);
}

#[test]
fn a_secret_is_given_shown_and_rotated() {
    let house = House::new();
    house.app("shop");
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    house.post("/app/shop/endpoint", &json!({ "url": URL, "uid": "u", "secret": key })).is(201);
    assert_eq!(house.get("/app/shop/endpoint/u/secret").is(200), json!({ "key": key }));
    let rotate = "/app/shop/endpoint/u/secret/rotate";
    house
        .post(rotate, &json!({ "gracePeriodSeconds": 604_801 }))
        .invalid(&["body", "gracePeriodSeconds"]);
    house.post(rotate, &json!({ "key": "nonsense" })).invalid(&["body", "key"]);
    // The libraries read the new secret from the answer.
    let answered = house.post(rotate, &json!({})).is(200);
    let new = house.get("/app/shop/endpoint/u/secret").is(200);
    assert_eq!(answered, new);
    assert_ne!(new["key"], json!(key));
    assert!(new["key"].as_str().unwrap().starts_with("whsec_"));
    // Ten old ones live; one more is one too many.
    for _ in 1..10 {
        house.post(rotate, &json!({})).is(200);
    }
    house.post(rotate, &json!({})).refused(400, "limit_reached");
}

#[test]
fn no_grace_drops_the_old_secret() {
    let house = House::new();
    let app = house.app("shop");
    let id = house.endpoint(&app);
    for _ in 0..12 {
        let path = format!("/app/shop/endpoint/{id}/secret/rotate");
        house.post(&path, &json!({ "gracePeriodSeconds": 0 })).is(200);
    }
    let now = house.api.store.now();
    let endpoint = house.api.store.directory().endpoint(id.parse().unwrap()).unwrap().unwrap();
    assert_eq!(endpoint.live_keys(now).len(), 1);
}

#[test]
fn of_an_asymmetric_secret_only_the_public_half_is_shown() {
    let house = House::with(|settings| settings.ed25519_by_default = true);
    house.app("shop");
    house.post("/app/shop/endpoint", &json!({ "url": URL, "uid": "u" })).is(201);
    let shown = house.get("/app/shop/endpoint/u/secret").is(200);
    assert!(shown["key"].as_str().unwrap().starts_with("whpk_"), "{shown}");
    let own = SigningKey::ed25519_from_random([7; 32]);
    let input = json!({ "url": URL, "uid": "own", "secret": own.to_text() });
    house.post("/app/shop/endpoint", &input).is(201);
    let shown = house.get("/app/shop/endpoint/own/secret").is(200);
    assert_eq!(shown["key"].as_str(), own.public_text().as_deref());
}

#[test]
fn headers_are_set_merged_and_partly_hidden() {
    let house = House::new();
    let app = house.app("shop");
    let path = format!("/app/shop/endpoint/{}/headers", house.endpoint(&app));
    assert_eq!(house.get(&path).is(200), json!({ "headers": {}, "sensitive": [] }));
    let set =
        json!({ "headers": { "x-one": "1", "Authorization": "Bearer secret", "x-api-key": "k" } });
    house.call("PUT", &path, &set).is(204);
    let shown = house.get(&path).is(200);
    assert_eq!(shown["headers"], json!({ "x-one": "1" }));
    assert_eq!(shown["sensitive"], json!(["Authorization", "x-api-key"]));
    house.call("PATCH", &path, &json!({ "headers": { "X-One": null, "x-two": "2" } })).is(204);
    let shown = house.get(&path).is(200);
    assert_eq!(shown["headers"], json!({ "x-two": "2" }));
    assert_eq!(shown["sensitive"].as_array().unwrap().len(), 2, "the rest stays");
    let proxy = json!({ "headers": { "Proxy-Authorization": "Basic eDp5" } });
    house.call("PATCH", &path, &proxy).is(204);
    let shown = house.get(&path).is(200);
    assert_eq!(shown["sensitive"].as_array().unwrap().len(), 3);
    assert_eq!(shown["headers"], json!({ "x-two": "2" }), "a credential is shown by name alone");
    for name in [
        "host",
        "content-length",
        "webhook-id",
        "svix-id",
        "x-amz-date",
        "x-amzn-trace-id",
        "proxy-connection",
        "bad name",
    ] {
        house
            .call("PUT", &path, &json!({ "headers": { name: "x" } }))
            .invalid(&["body", "headers"]);
        house
            .call("PATCH", &path, &json!({ "headers": { name: "x" } }))
            .invalid(&["body", "headers"]);
    }
    let many =
        |n: usize| -> BTreeMap<String, &str> { (0..n).map(|n| (format!("x-{n}"), "v")).collect() };
    house.call("PUT", &path, &json!({ "headers": many(21) })).invalid(&["body", "headers"]);
    house.call("PUT", &path, &json!({ "headers": many(20) })).is(204);
    house.call("PATCH", &path, &json!({ "headers": { "y": "1" } })).invalid(&["body", "headers"]);
}

#[test]
fn stats_count_attempts_in_a_span() {
    let house = House::new();
    let app = house.app("shop");
    let id = house.endpoint(&app);
    for status in [200, 500, 404] {
        house.message(&app, "order.paid");
        house.attempt(&app, &id, status);
    }
    house.message(&app, "order.paid");
    let path = format!("/app/shop/endpoint/{id}/stats");
    let expected = json!({ "success": 1, "fail": 2, "pending": 1, "sending": 0, "canceled": 0 });
    assert_eq!(house.get(&path).is(200), expected);
    let old =
        house.get(&format!("{path}?since=2020-01-01T00:00:00Z&until=2020-01-29T00:00:00Z")).is(200);
    assert_eq!((&old["success"], &old["fail"]), (&json!(0), &json!(0)));
    for query in [
        "since=2020-01-01T00:00:00Z&until=2020-01-29T00:00:01Z",
        "since=2020-01-02T00:00:00Z&until=2020-01-01T00:00:00Z",
    ] {
        house.get(&format!("{path}?{query}")).refused(400, "invalid_range");
    }
}

#[test]
fn an_example_goes_to_one_endpoint_whatever_it_wants() {
    let house = House::new();
    let app = house.app("shop");
    let schemas = json!({
        "2": { "examples": [{ "old": true }] },
        "10": { "examples": [{ "new": true }, { "second": 1 }] }
    });
    house
        .post("/event-type", &json!({ "name": "a", "description": "", "schemas": schemas }))
        .is(201);
    house.post("/event-type", &json!({ "name": "bare", "description": "" })).is(201);
    let other = house.endpoint(&app);
    house
        .post("/app/shop/endpoint", &json!({ "url": URL, "uid": "u", "eventTypes": ["bare"] }))
        .is(201);
    let path = "/app/shop/endpoint/u/send-example";
    let sent = house.call_once("k", "POST", path, &json!({ "eventType": "a" })).is(200);
    assert_eq!((&sent["payload"], &sent["eventType"]), (&json!({ "new": true }), &json!("a")));
    let again = house.call_once("k", "POST", path, &json!({ "eventType": "a" })).is(200);
    assert_eq!(again, sent, "the same key sends nothing more");
    let ping = house.post(path, &json!({ "eventType": "svix.ping" })).is(200);
    assert_eq!(ping["payload"], json!({ "success": true }));
    let id = house.get("/app/shop/endpoint/u").is(200)["id"].as_str().unwrap().to_owned();
    assert_eq!((house.due(&id).len(), house.due(&other).len()), (2, 0));
    house.post(path, &json!({ "eventType": "bare" })).refused(400, "invalid_scheme");
    house.post(path, &json!({ "eventType": "unknown" })).refused(400, "invalid_scheme");
    house.call("PATCH", "/app/shop/endpoint/u", &json!({ "disabled": true })).is(200);
    house.post(path, &json!({ "eventType": "a" })).refused(400, "generic_error");
}
