//! Attempts and deliveries: listed by endpoint and by message, resent, recovered, emptied.

use std::time::Duration;

use serde_json::{Value, json};

use super::{House, fields, ids};
use crate::store::pages::PAGE_BYTES;

/// An application with two endpoints and a message, which the first took and the second refused.
struct Scene {
    house: House,
    app: String,
    good: String,
    bad: String,
    msg: String,
    good_attempt: String,
    bad_attempt: String,
}

fn scene() -> Scene {
    let house = House::new();
    let app = house.app("shop");
    let (good, bad) = (house.endpoint(&app), house.endpoint(&app));
    let msg = house.message(&app, "order.paid");
    let good_attempt = house.attempt(&app, &good, 204);
    let bad_attempt = house.attempt(&app, &bad, 503);
    Scene { house, app, good, bad, msg, good_attempt, bad_attempt }
}

#[test]
fn an_attempt_is_shown_with_every_field() {
    let s = scene();
    let path = format!("/app/shop/msg/{}/attempt/{}", s.msg, s.bad_attempt);
    let shown = s.house.get(&path).is(200);
    assert_eq!(
        fields(&shown),
        [
            "endpointId",
            "failureCode",
            "id",
            "msgId",
            "response",
            "responseDurationMs",
            "responseStatusCode",
            "status",
            "statusText",
            "timestamp",
            "triggerType",
            "url"
        ]
    );
    assert_eq!((&shown["status"], &shown["statusText"]), (&json!(2), &json!("fail")));
    assert_eq!((&shown["responseStatusCode"], &shown["triggerType"]), (&json!(503), &json!(0)));
    assert_eq!((&shown["msgId"], &shown["endpointId"]), (&json!(s.msg), &json!(s.bad)));
    assert_eq!(
        (&shown["response"], &shown["responseDurationMs"]),
        (&json!("answer 503"), &json!(12))
    );
    s.house.get(&format!("/app/shop/msg/{}/attempt/atmpt_none", s.msg)).refused(404, "not_found");
}

#[test]
fn lists_by_message_and_by_endpoint_are_narrowed_down() {
    let s = scene();
    let by_msg = format!("/app/shop/attempt/msg/{}", s.msg);
    let both = vec![s.bad_attempt.clone(), s.good_attempt.clone()];
    let (bad, good) = (vec![s.bad_attempt.clone()], vec![s.good_attempt.clone()]);
    for (path, expected) in [
        (by_msg.clone(), &both),
        (format!("/app/shop/msg/{}/attempt", s.msg), &both),
        (format!("/app/shop/msg/{}/endpoint/{}/attempt", s.msg, s.good), &good),
        (format!("{by_msg}?status=0"), &good),
        (format!("{by_msg}?status=2"), &bad),
        (format!("{by_msg}?status=1"), &vec![]),
        (format!("{by_msg}?status_code_class=500"), &bad),
        (format!("{by_msg}?status_code_class=200"), &good),
        (format!("{by_msg}?endpoint_id={}", s.bad), &bad),
        (format!("{by_msg}?event_types=order.paid"), &both),
        (format!("{by_msg}?event_types=other"), &vec![]),
        (format!("{by_msg}?channel=x"), &vec![]),
        (format!("/app/shop/attempt/endpoint/{}", s.good), &good),
        (format!("/app/shop/attempt/endpoint/{}?status=2", s.good), &vec![]),
        (format!("/app/shop/attempt/endpoint/{}?after=2100-01-01T00:00:00Z", s.bad), &vec![]),
    ] {
        assert_eq!(&ids(&s.house.get(&path).is(200)), expected, "{path}");
    }
    let quiet = s.house.get(&format!("{by_msg}?with_content=false")).is(200);
    assert_eq!(quiet["data"][0]["response"], "");
    s.house.get(&format!("{by_msg}?status=5")).invalid(&["query", "status"]);
    s.house
        .get(&format!("{by_msg}?status_code_class=250"))
        .invalid(&["query", "status_code_class"]);
    s.house.get("/app/shop/attempt/msg/none").refused(404, "not_found");
    s.house.get("/app/shop/attempt/endpoint/none").refused(404, "not_found");
}

#[test]
fn where_a_message_went_and_what_an_endpoint_got() {
    let s = scene();
    let late = s.house.message(&s.app, "late");
    let path = format!("/app/shop/msg/{}/endpoint", s.msg);
    let got = s.house.get(&path);
    let bytes = String::from_utf8_lossy(&got.reply.body).into_owned();
    assert_eq!(
        bytes.matches("\"status\":").count(),
        2,
        "the message's, not the endpoint's: {bytes}"
    );
    let list = got.is(200);
    assert_eq!(ids(&list), [s.good.clone(), s.bad.clone()]);
    let rows = list["data"].as_array().unwrap();
    assert_eq!((&rows[0]["status"], &rows[0]["statusText"]), (&json!(0), &json!("success")));
    assert_eq!((&rows[1]["status"], &rows[1]["statusText"]), (&json!(2), &json!("fail")));
    assert!(rows[0]["url"].is_string() && rows[0]["nextAttempt"].is_null());
    let pending = s.house.get(&format!("/app/shop/msg/{late}/endpoint")).is(200);
    assert_eq!(pending["data"][0]["statusText"], "pending");
    assert!(pending["data"][0]["nextAttempt"].is_string());

    let got = s.house.get(&format!("/app/shop/endpoint/{}/msg", s.bad)).is(200);
    assert_eq!(ids(&got), [s.msg.as_str()], "what was not attempted yet is not listed");
    let row = &got["data"][0];
    assert_eq!((&row["statusText"], &row["payload"]), (&json!("fail"), &json!({ "n": 1 })));
    assert!(fields(row).contains(&"nextAttempt"));
    let path = format!("/app/shop/endpoint/{}/msg?status=0", s.bad);
    assert!(ids(&s.house.get(&path).is(200)).is_empty());

    s.house.call("DELETE", &format!("/app/shop/endpoint/{}", s.good), &Value::Null).is(204);
    let list = s.house.get(&format!("/app/shop/msg/{}/endpoint", s.msg)).is(200);
    assert_eq!(ids(&list), [s.bad.as_str()], "a deleted endpoint is found by nobody");
}

#[test]
fn resend_queues_one_attempt_by_hand() {
    let s = scene();
    let path = format!("/app/shop/msg/{}/endpoint/{}/resend", s.msg, s.bad);
    assert_eq!(s.house.call_once("k", "POST", &path, &json!({})).is(202), json!({}));
    s.house.call_once("k", "POST", &path, &json!({})).is(202);
    assert_eq!(s.house.due(&s.bad).len(), 1, "the same key asks once");
    let attempt = s.house.attempt(&s.app, &s.bad, 200);
    let shown = s.house.get(&format!("/app/shop/msg/{}/attempt/{attempt}", s.msg)).is(200);
    assert_eq!((&shown["triggerType"], &shown["statusText"]), (&json!(1), &json!("success")));
    let list = s.house.get(&format!("/app/shop/msg/{}/endpoint", s.msg)).is(200);
    assert_eq!(list["data"][1]["statusText"], "success");
    s.house
        .post(&format!("/app/shop/msg/none/endpoint/{}/resend", s.bad), &Value::Null)
        .refused(404, "not_found");
    s.house
        .call("PATCH", &format!("/app/shop/endpoint/{}", s.bad), &json!({ "disabled": true }))
        .is(200);
    s.house.post(&path, &Value::Null).refused(400, "generic_error");
}

#[test]
fn recover_takes_up_what_failed() {
    let s = scene();
    let since = s.house.api.store.now().minus(Duration::from_secs(3600));
    let path = format!("/app/shop/endpoint/{}/recover", s.bad);
    let task = s.house.post(&path, &json!({ "since": since.to_string() })).is(202);
    assert_eq!(fields(&task), ["id", "status", "task", "updatedAt"]);
    assert!(task["id"].as_str().unwrap().starts_with("qtask_"));
    assert_eq!((&task["status"], &task["task"]), (&json!("running"), &json!("endpoint.recover")));
    s.house.run_tasks();
    assert_eq!(s.house.due(&s.bad).len(), 1);
    let list = s.house.get(&format!("/app/shop/msg/{}/endpoint", s.msg)).is(200);
    assert_eq!(list["data"][1]["statusText"], "pending");
    let old = s.house.api.store.now().minus(Duration::from_secs(14 * 24 * 3600 + 60));
    for (input, field) in [
        (json!({}), "since"),
        (json!({ "since": "yesterday" }), "since"),
        (json!({ "since": old.to_string() }), "since"),
        (json!({ "since": since.to_string(), "until": old.to_string() }), "until"),
    ] {
        s.house.post(&path, &input).invalid(&["body", field]);
    }
}

#[test]
fn a_response_can_be_removed() {
    let s = scene();
    let path = format!("/app/shop/msg/{}/attempt/{}", s.msg, s.bad_attempt);
    s.house.call("DELETE", &format!("{path}/content"), &Value::Null).is(204);
    assert_eq!(s.house.get(&path).is(200)["response"], "EXPUNGED");
}

#[test]
fn attempts_with_their_messages_end_a_page_behind_so_many_bytes() {
    let house = House::with(|settings| settings.max_payload = PAGE_BYTES);
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    for _ in 0..5 {
        let body = json!({ "eventType": "a", "payload": { "text": "x".repeat(PAGE_BYTES / 2) } });
        house.post("/app/shop/msg", &body).is(202);
        house.attempt(&app, &endpoint, 200);
    }
    let walk = |query: &str| {
        let (mut pages, mut iterator) = (Vec::new(), String::new());
        loop {
            let path = format!("/app/shop/attempt/endpoint/{endpoint}?{query}{iterator}");
            let page = house.get(&path).is(200);
            pages.push(page["data"].as_array().unwrap().len());
            if page["done"] == true {
                return pages;
            }
            iterator = format!("&iterator={}", page["iterator"].as_str().unwrap());
        }
    };
    assert_eq!((walk("with_msg=true"), walk("")), (vec![2, 2, 1], vec![5]));
}
