//! Operational webhooks: the organisation's own endpoints, and what they hear.

use serde_json::{Value, json};

use super::{House, fields, ids};
use crate::api::auth::{DEFAULT_ORG, Subject};
use crate::model::clock::Timestamp;
use crate::model::delivery::Verdict;
use crate::model::id::EndpointId;
use crate::store::attempts::AttemptResult;

const OWN: &str = "/operational-webhook/endpoint";

/// The events that the organisation's own application was sent, oldest first.
fn heard(house: &House) -> Vec<Value> {
    let token = house.token(&Subject::Org("org_00000000000SvixManagement00".to_owned()));
    let path = format!("/app/{DEFAULT_ORG}/msg");
    let page = house.call_as(&token, "GET", &path, &Value::Null).is(200);
    let mut events: Vec<Value> = page["data"].as_array().unwrap().clone();
    events.reverse();
    events
        .into_iter()
        .map(|event| {
            assert_eq!(event["eventType"], event["payload"]["type"]);
            event["payload"].clone()
        })
        .collect()
}

fn kinds(house: &House) -> Vec<String> {
    heard(house).iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_nine_operations_work() {
    let house = House::new();
    assert_eq!(house.get(OWN).is(200)["data"], json!([]));
    house.get(&format!("{OWN}/none")).refused(404, "not_found");
    let input = json!({ "url": "https://ops.example", "uid": "ops", "eventTypes": ["endpoint.disabled"], "headers": { "x-a": "b" } });
    let made = house.post(OWN, &input).is(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(house.get(&format!("{OWN}/ops")).is(200)["id"], json!(id));
    assert_eq!(ids(&house.get(OWN).is(200)), [id]);
    assert_eq!(house.get(&format!("{OWN}/{id}/headers")).is(200)["headers"], json!({ "x-a": "b" }));
    house.call("PUT", &format!("{OWN}/ops/headers"), &json!({ "headers": { "x-c": "d" } })).is(204);
    assert_eq!(house.get(&format!("{OWN}/{id}/headers")).is(200)["headers"], json!({ "x-c": "d" }));
    let key = house.get(&format!("{OWN}/ops/secret")).is(200)["key"].clone();
    house.post(&format!("{OWN}/ops/secret/rotate"), &json!({})).is(200);
    assert_ne!(house.get(&format!("{OWN}/ops/secret")).is(200)["key"], key);
    let changed = json!({ "url": "https://ops2.example", "uid": "ops" });
    let changed = house.call("PUT", &format!("{OWN}/ops"), &changed).is(200);
    assert_eq!(changed["url"], "https://ops2.example");
    house
        .call("PUT", &format!("{OWN}/new"), &json!({ "url": "https://n.example", "uid": "new" }))
        .is(201);
    house.call("DELETE", &format!("{OWN}/{id}"), &Value::Null).is(204);
    house.get(&format!("{OWN}/ops")).refused(404, "not_found");
    let unknown = json!({ "url": "https://ops.example", "eventTypes": ["order.paid"] });
    house.post(OWN, &unknown).invalid(&["body", "eventTypes"]);
}

#[test]
fn they_are_for_operators_and_in_no_list_of_applications() {
    let house = House::new();
    let app = house.app("shop");
    house.post(OWN, &json!({ "url": "https://ops.example" })).is(201);
    assert_eq!(ids(&house.get("/app").is(200)), [app.as_str()]);
    house.get(&format!("/app/{DEFAULT_ORG}")).refused(404, "not_found");
    let token = house.app_token(&app);
    for (method, path) in
        [("GET", OWN.to_owned()), ("POST", OWN.to_owned()), ("GET", format!("{OWN}/x/secret"))]
    {
        let got = house.call_as(&token, method, &path, &json!({ "url": "https://a.example" }));
        got.refused(403, "insufficient access");
    }
}

#[test]
fn what_happens_to_endpoints_is_told_in_order() {
    let house = House::new();
    house.post(OWN, &json!({ "url": "https://ops.example" })).is(201);
    let app = house.app("shop");
    let input = json!({ "url": "https://a.example", "uid": "e" });
    let id = house.post("/app/shop/endpoint", &input).is(201)["id"].clone();
    house.call("PATCH", "/app/shop/endpoint/e", &json!({ "description": "x" })).is(200);
    house.call("DELETE", "/app/shop/endpoint/e", &Value::Null).is(204);
    assert_eq!(kinds(&house), ["endpoint.created", "endpoint.updated", "endpoint.deleted"]);
    let data = &heard(&house)[0]["data"];
    assert_eq!(
        *data,
        json!({ "appId": app, "appUid": "shop", "endpointId": id, "endpointUid": "e" })
    );
    // Deleting an application is one thing, not one for each of its endpoints.
    house.post("/app/shop/endpoint", &input).is(201);
    house.call("DELETE", "/app/shop", &Value::Null).is(204);
    assert_eq!(kinds(&house).len(), 4);
}

#[test]
fn nothing_is_told_of_the_tellers_themselves() {
    let house = House::new();
    let own = house.post(OWN, &json!({ "url": "https://ops.example" })).is(201);
    let own = own["id"].as_str().unwrap();
    house.call("PUT", &format!("{OWN}/{own}"), &json!({ "url": "https://ops2.example" })).is(200);
    assert!(kinds(&house).is_empty());
    let app = house.app("shop");
    house.endpoint(&app);
    assert_eq!(kinds(&house).len(), 1);
    let listener = house.api.store.directory().management_tenant(DEFAULT_ORG.parse().unwrap());
    let listener = listener.unwrap().unwrap().app.id.to_string();
    record(&house, &listener, own, Verdict::Exhausted);
    assert_eq!(kinds(&house).len(), 1, "its own failure is not told");
    // Not even to whoever runs the management organisation.
    let management = "org_00000000000SvixManagement00";
    let token = house.token(&Subject::Org(management.to_owned()));
    let listener_of_all = json!({ "url": "https://all.example", "uid": "all" });
    house.call_as(&token, "POST", OWN, &listener_of_all).is(201);
    house.call("PUT", &format!("{OWN}/{own}"), &json!({ "url": "https://ops3.example" })).is(200);
    let path = format!("/app/{management}/msg");
    assert_eq!(house.call_as(&token, "GET", &path, &Value::Null).is(200)["data"], json!([]));
}

/// Records an attempt for whatever comes first in the queue.
fn record(house: &House, app: &str, endpoint: &str, verdict: Verdict) {
    let id: EndpointId = endpoint.parse().unwrap();
    let none = std::collections::HashSet::new();
    let rows = house.api.store.queue_head(id, Timestamp(u64::MAX), &none, false, 1).unwrap().rows;
    let status = if verdict == Verdict::Succeeded { 200 } else { 500 };
    house.record(house.attempted(app, rows[0], status, verdict));
}

#[test]
fn failing_exhausted_and_recovered_come_once_each() {
    let house = House::new();
    let types = json!(["message.attempt.*"]);
    house.post(OWN, &json!({ "url": "https://ops.example", "eventTypes": types })).is(201);
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let body = json!({ "eventType": "a", "payload": {}, "eventId": "e1" });
    let msg = house.post("/app/shop/msg", &body).is(202)["id"].clone();
    let later = |n: u64| Verdict::Retry(Timestamp(house.api.store.now().0 + n));
    for _ in 1..=6 {
        record(&house, &app, &endpoint, later(10));
    }
    record(&house, &app, &endpoint, Verdict::Succeeded);
    let messages = |house: &House| {
        let all = kinds(house).into_iter().filter(|kind| kind.starts_with("message"));
        all.collect::<Vec<_>>()
    };
    assert_eq!(messages(&house), ["message.attempt.failing", "message.attempt.recovered"]);
    let failing =
        heard(&house).into_iter().find(|e| e["type"] == "message.attempt.failing").unwrap();
    let data = &failing["data"];
    assert_eq!((&data["msgId"], &data["msgEventId"]), (&msg, &json!("e1")));
    assert_eq!(fields(&data["lastAttempt"]), ["id", "responseStatusCode", "timestamp"]);
    assert_eq!(data["lastAttempt"]["responseStatusCode"], 500);
    // The fourth success after three failures is nothing to tell.
    house.message(&app, "a");
    for _ in 1..=3 {
        record(&house, &app, &endpoint, later(10));
    }
    record(&house, &app, &endpoint, Verdict::Succeeded);
    assert_eq!(messages(&house).len(), 2);
    house.message(&app, "a");
    for _ in 1..=3 {
        record(&house, &app, &endpoint, later(10));
    }
    record(&house, &app, &endpoint, Verdict::Exhausted);
    assert_eq!(messages(&house).last().unwrap(), "message.attempt.exhausted");
    assert_eq!(messages(&house).len(), 3);
}

#[test]
fn an_endpoint_that_is_gone_is_told_of_with_the_moment_it_began_to_fail() {
    let house = House::new();
    house
        .post(OWN, &json!({ "url": "https://ops.example", "eventTypes": ["endpoint.disabled"] }))
        .is(201);
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    house.message(&app, "a");
    let again = Verdict::Retry(house.api.store.now());
    let row = house.due(&endpoint)[0];
    house.record(AttemptResult { gone: true, ..house.attempted(&app, row, 410, again) });
    let told = heard(&house);
    let disabled = told.iter().find(|e| e["type"] == "endpoint.disabled").unwrap();
    assert_eq!(disabled["data"]["endpointId"], json!(endpoint));
    let since = disabled["data"]["failSince"].as_str().unwrap();
    assert!(Timestamp::from_rfc3339(since).is_some());
}
