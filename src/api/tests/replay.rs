//! Replays, cancelling, expunging, broadcasting, and the tasks behind them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{House, fields, ids};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

fn start(house: &House, path: &str, body: &Value) -> String {
    let started = house.post(path, body).is(202);
    assert_eq!(started["status"], "running");
    started["id"].as_str().unwrap().to_owned()
}

fn task(house: &House, id: &str) -> Value {
    house.get(&format!("/background-task/{id}")).is(200)
}

#[test]
fn replay_missing_goes_through_a_task_that_can_be_watched() {
    let house = House::new();
    let app = house.app("shop");
    house.message(&app, "a");
    house.message(&app, "b");
    let body = json!({ "url": "https://a.example", "eventTypes": ["a*"] });
    house.post("/app/shop/endpoint", &body).invalid(&["body", "eventTypes"]);
    let endpoint = house.endpoint(&app);
    let path = format!("/app/shop/endpoint/{endpoint}/replay-missing");
    let id = start(&house, &path, &json!({ "since": LONG_AGO }));
    let before = task(&house, &id);
    assert_eq!(
        (&before["status"], &before["task"]),
        (&json!("running"), &json!("endpoint.replay"))
    );
    assert_eq!(house.due(&endpoint).len(), 0);
    house.run_tasks();
    let after = task(&house, &id);
    assert_eq!(after["status"], "finished");
    assert_eq!((&after["data"]["processed"], &after["data"]["affected"]), (&json!(2), &json!(2)));
    assert_eq!(house.due(&endpoint).len(), 2);
    assert_eq!(fields(&after), ["data", "id", "status", "task", "updatedAt"]);
    house.post(&path, &json!({})).invalid(&["body", "since"]);
    house.post("/app/shop/endpoint/none/replay-missing", &json!({})).refused(404, "not_found");
}

#[test]
fn a_task_is_started_once_for_one_idempotency_key() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let path = format!("/app/shop/endpoint/{endpoint}/recover");
    let since =
        json!({ "since": house.api.store.now().minus(Duration::from_secs(60)).to_string() });
    let first = house.call_once("k", "POST", &path, &since).is(202);
    assert_eq!(house.call_once("k", "POST", &path, &since).is(202), first);
    assert_eq!(ids(&house.get("/background-task").is(200)).len(), 1);
}

#[test]
fn bulk_replay_reads_its_filters() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    house.message(&app, "a");
    house.attempt(&app, &endpoint, 200);
    house.message(&app, "b");
    house.attempt(&app, &endpoint, 500);
    let path = format!("/app/shop/endpoint/{endpoint}/bulk-replay");
    let all =
        json!({ "since": LONG_AGO, "status": 0, "eventTypes": ["a"], "statusCodeClass": 200 });
    let id = start(&house, &path, &all);
    house.run_tasks();
    assert_eq!(task(&house, &id)["data"]["affected"], 1);
    assert_eq!(house.due(&endpoint).len(), 1);
    for (input, field) in [
        (json!({ "since": LONG_AGO, "status": 5 }), "status"),
        (json!({ "since": LONG_AGO, "statusCodeClass": 201 }), "statusCodeClass"),
        (json!({ "since": LONG_AGO, "channel": "a b" }), "channel"),
        (json!({ "since": LONG_AGO, "tag": "a b" }), "tags"),
        (json!({ "since": LONG_AGO, "eventTypes": ["a b"] }), "eventTypes"),
        (json!({ "since": LONG_AGO, "eventTypes": vec!["a"; 251] }), "eventTypes"),
        (json!({ "since": LONG_AGO, "until": "2019-01-01T00:00:00Z" }), "until"),
    ] {
        house.post(&path, &input).invalid(&["body", field]);
    }
    let most = json!({ "since": LONG_AGO, "eventTypes": vec!["a"; 250] });
    house.post(&path, &most).is(202);
}

#[test]
fn cancel_gives_up_what_is_older_and_shows_it() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let msg = house.message(&app, "a");
    let path = format!("/app/shop/endpoint/{endpoint}/cancel-msgs");
    house.post(&path, &json!({ "createdBefore": LONG_AGO })).is(204);
    assert_eq!(house.due(&endpoint).len(), 1);
    let later = house.api.store.now().plus(Duration::from_secs(1)).to_string();
    house.post(&path, &json!({ "createdBefore": later })).is(204);
    assert_eq!(house.due(&endpoint).len(), 0);
    let list = house.get(&format!("/app/shop/msg/{msg}/endpoint")).is(200);
    assert_eq!(
        (&list["data"][0]["status"], &list["data"][0]["statusText"]),
        (&json!(4), &json!("canceled"))
    );
    assert_eq!(list["data"][0]["nextAttempt"], Value::Null);
    assert_eq!(house.get("/background-task").is(200)["data"], json!([]), "it is nobody's business");
    house.post(&path, &json!({})).invalid(&["body", "createdBefore"]);
}

#[test]
fn payloads_go_by_name_and_all_at_once() {
    let house = House::new();
    let app = house.app("shop");
    let first = house.message(&app, "a");
    let body = json!({ "eventType": "a", "payload": {}, "eventId": "e1" });
    house.post("/app/shop/msg", &body).is(202);
    let third = house.message(&app, "a");
    let got = house.post("/app/shop/msg/bulk-expunge", &json!({ "ids": [first, "e1", "none"] }));
    let results = &got.is(200)["results"];
    assert_eq!(
        (&results[&first], &results["e1"], &results["none"]),
        (&json!("expunged"), &json!("expunged"), &json!("not-found"))
    );
    let payload = |id: &str| house.get(&format!("/app/shop/msg/{id}")).is(200)["payload"].clone();
    assert_eq!(payload(&first), json!({ "expired": true }));
    assert_eq!(payload(&third), json!({ "n": 1 }));
    house.get(&format!("/app/shop/msg/{third}/raw")).is(200);
    let id = start(&house, "/app/shop/msg/expunge-all-contents", &Value::Null);
    house.run_tasks();
    assert_eq!(payload(&third), json!({ "expired": true }));
    let done = task(&house, &id);
    assert_eq!(
        (&done["task"], &done["data"]["affected"]),
        (&json!("application.purge_content"), &json!(1))
    );
    house.get(&format!("/app/shop/msg/{third}/raw")).refused(400, "missing_payload");
    let many: Vec<String> = (0..1001).map(|n| format!("e{n}")).collect();
    house.post("/app/shop/msg/bulk-expunge", &json!({ "ids": many })).invalid(&["body", "ids"]);
    house.post("/app/shop/msg/bulk-expunge", &json!({ "ids": many[..1000] })).is(200);
}

#[test]
fn a_broadcast_reaches_everybody() {
    let house = House::new();
    let (one, two) = (house.app("one"), house.app("two"));
    let input = json!({ "eventType": "news", "payload": { "n": 7 }, "eventId": "n1" });
    let id = start(&house, "/msg/broadcast", &input);
    house.run_tasks();
    for app in [one, two] {
        assert_eq!(house.get(&format!("/app/{app}/msg/n1")).is(200)["payload"], json!({ "n": 7 }));
    }
    assert_eq!(task(&house, &id)["data"]["affected"], 2);
    house.post("/msg/broadcast", &json!({ "eventType": "a" })).invalid(&["body", "payload"]);
    let kept =
        |days: u32| json!({ "eventType": "a", "payload": {}, "payloadRetentionPeriod": days });
    for days in [0, 91] {
        let refused = house.post("/msg/broadcast", &kept(days));
        refused.invalid(&["body", "payloadRetentionPeriod"]);
    }
    house.post("/msg/broadcast", &kept(1)).is(202);
    let named = |count: usize| {
        let channels: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        json!({ "eventType": "a", "payload": {}, "channels": channels })
    };
    house.post("/msg/broadcast", &named(11)).invalid(&["body", "channels"]);
    house.post("/msg/broadcast", &named(10)).is(202);
    house.post("/app/one/msg/precheck/active", &named(11)).invalid(&["body", "channels"]);
    house.post("/app/one/msg/precheck/active", &named(10)).is(200);
    let list = json!({ "eventType": "a", "payload": [] });
    house.post("/msg/broadcast", &list).invalid(&["body", "payload"]);
}

#[test]
fn tasks_are_listed_newest_first_and_narrowed_down() {
    let house = House::new();
    let app = house.app("shop");
    let other = house.app("other");
    let endpoint = house.endpoint(&app);
    let path = format!("/app/shop/endpoint/{endpoint}/replay-missing");
    let first = start(&house, &path, &json!({ "since": LONG_AGO }));
    house.run_tasks();
    let second = start(&house, "/app/other/msg/expunge-all-contents", &Value::Null);
    let list = |query: &str| ids(&house.get(&format!("/background-task{query}")).is(200)).join(" ");
    assert_eq!(list(""), format!("{second} {first}"));
    assert_eq!(list("?order=ascending"), format!("{first} {second}"));
    assert_eq!(list("?status=running"), second);
    assert_eq!(list("?task=endpoint.replay"), first);
    assert_eq!(list("?limit=1"), second);
    assert_eq!(list(&format!("?iterator={second}")), first);
    house.get("/background-task?status=done").invalid(&["query", "status"]);
    house.get("/background-task?task=nothing").invalid(&["query", "task"]);
    house.get("/background-task/nothing").refused(404, "not_found");
    // An application's own people see what is done for it.
    let token = house.app_token(&app);
    let mine = house.call_as(&token, "GET", "/background-task", &Value::Null).is(200);
    assert_eq!(ids(&mine), [first]);
    let hidden = format!("/background-task/{second}");
    house.call_as(&token, "GET", &hidden, &Value::Null).refused(404, "not_found");
    house.call("DELETE", &format!("/app/{other}"), &Value::Null).is(204);
    house.run_tasks();
    let failed = task(&house, &second);
    assert_eq!(
        (&failed["status"], &failed["data"]["error"]),
        (&json!("failed"), &json!("the application was deleted"))
    );
}
