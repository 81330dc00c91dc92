//! Which endpoints a message is for, before and after.

use serde_json::{Value, json};

use super::House;

fn endpoint(house: &House, uid: &str, more: &Value) -> String {
    let mut body = json!({ "url": "https://a.example", "uid": uid });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    house.post("/app/shop/endpoint", &body).is(201)["id"].as_str().unwrap().to_owned()
}

/// All, by type, by channel, disabled.
fn scene() -> House {
    let house = House::new();
    house.app("shop");
    house.post("/event-type", &json!({ "name": "order.paid", "description": "" })).is(201);
    endpoint(&house, "all", &json!({}));
    endpoint(&house, "orders", &json!({ "eventTypes": ["order.*"] }));
    endpoint(&house, "eu", &json!({ "channels": ["eu"] }));
    endpoint(&house, "off", &json!({ "disabled": true }));
    house
}

fn reasons(page: &Value) -> Vec<(&str, bool, &str)> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| {
        let [uid, reason] = ["endpointUid", "reason"].map(|name| row[name].as_str().unwrap());
        (uid, row["matches"].as_bool().unwrap(), reason)
    })
    .collect()
}

#[test]
fn the_dry_run_says_of_every_endpoint_why() {
    let house = scene();
    let got = house.post("/app/shop/match", &json!({ "eventType": "user.left" })).is(200);
    let expected = [
        ("all", true, "matches"),
        ("orders", false, "event_type"),
        ("eu", false, "channel"),
        ("off", false, "disabled"),
    ];
    assert_eq!(reasons(&got), expected);
    let got = house
        .post("/app/shop/match?limit=3", &json!({ "eventType": "order.x", "channels": ["eu"] }))
        .is(200);
    let expected = [("all", true, "matches"), ("orders", true, "matches"), ("eu", true, "matches")];
    assert_eq!(reasons(&got), expected);
    assert_eq!(got["done"], false);
    assert!(house.get("/app/shop/msg").is(200)["data"].as_array().unwrap().is_empty());
    house.post("/app/shop/match", &json!({})).invalid(&["body", "eventType"]);
    let empty = json!({ "eventType": "a", "channels": [] });
    house.post("/app/shop/match", &empty).invalid(&["body", "channels"]);
}

#[test]
fn precheck_says_whether_anybody_would_get_it() {
    let house = House::new();
    house.app("shop");
    let active =
        |body: Value| house.post("/app/shop/msg/precheck/active", &body).is(200)["active"].clone();
    assert_eq!(active(json!({ "eventType": "a" })), false);
    endpoint(&house, "eu", &json!({ "channels": ["eu"] }));
    assert_eq!(active(json!({ "eventType": "a" })), false);
    assert_eq!(active(json!({ "eventType": "a", "channels": ["eu"] })), true);
}

#[test]
fn explain_tells_of_each_endpoint_what_became_of_it() {
    let house = scene();
    let app = house.get("/app/shop").is(200)["id"].as_str().unwrap().to_owned();
    let msg = house.message(&app, "order.paid");
    let id = |uid: &str| {
        house.get(&format!("/app/shop/endpoint/{uid}")).is(200)["id"].as_str().unwrap().to_owned()
    };
    house.attempt(&app, &id("all"), 200);
    house.attempt(&app, &id("orders"), 503);
    endpoint(&house, "late", &json!({}));
    let got = house.get(&format!("/app/shop/msg/{msg}/explain")).is(200);
    let row = |uid: &str| {
        let rows = got["data"].as_array().unwrap();
        rows.iter().find(|row| row["endpointUid"] == uid).unwrap().clone()
    };
    assert_eq!(row("all")["statusText"], "success");
    assert_eq!(row("orders")["statusText"], "fail");
    let attempt = &row("orders")["attempts"][0];
    assert_eq!(
        (&attempt["responseStatusCode"], &attempt["failure"]),
        (&json!(503), &json!("status"))
    );
    let says = |uid: &str, words: &str| {
        let row = row(uid);
        assert!(row["remedy"].as_str().unwrap().contains(words), "{row}");
    };
    says("all", "nothing has to change");
    says("orders", "recover starts the schedule anew");
    says("eu", "add one of the message's channels");
    says("off", "enable the endpoint; then replay-missing");
    says("late", "made after the message");
    for uid in ["eu", "off", "late"] {
        let row = row(uid);
        assert_eq!((&row["scheduled"], &row["status"]), (&json!(false), &Value::Null));
    }
    house.get("/app/shop/msg/none/explain").refused(404, "not_found");
}

#[test]
fn explain_tells_what_waits_and_what_is_gone() {
    let house = scene();
    let app = house.get("/app/shop").is(200)["id"].as_str().unwrap().to_owned();
    let msg = house.message(&app, "order.paid");
    house.call("PATCH", "/app/shop/endpoint/all", &json!({ "disabled": true })).is(200);
    let remedy = || {
        let got = house.get(&format!("/app/shop/msg/{msg}/explain?limit=1")).is(200);
        got["data"][0]["remedy"].as_str().unwrap().to_owned()
    };
    assert!(remedy().contains("sent once it is enabled"), "{}", remedy());
    house.call("PATCH", "/app/shop/endpoint/all", &json!({ "disabled": false })).is(200);
    assert!(remedy().starts_with("it is tried at 20"), "{}", remedy());
    house.call("DELETE", &format!("/app/shop/msg/{msg}/content"), &Value::Null).is(204);
    let got = house.get(&format!("/app/shop/msg/{msg}/explain")).is(200);
    assert_eq!(got["expired"], true);
    let off = got["data"].as_array().unwrap().iter().find(|r| r["endpointUid"] == "off").unwrap();
    assert!(off["remedy"].as_str().unwrap().contains("payload is gone"), "{off}");
}
