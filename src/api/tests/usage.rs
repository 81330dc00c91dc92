//! Counting, and the options of messages that nothing else is about.

use std::time::Duration;

use serde_json::{Value, json};

use super::{House, ids};

#[test]
fn usage_is_counted_in_the_background() {
    let house = House::new();
    let app = house.app("shop");
    house.app("idle");
    house.endpoint(&app);
    house.endpoint(&app);
    house.message(&app, "a");
    house.message(&app, "b");
    let until = house.api.store.now().plus(Duration::from_secs(1)).to_string();
    let input =
        json!({ "since": "2020-01-01T00:00:00Z", "until": until, "appIds": ["shop", "none"] });
    let started = house.post("/stats/usage/app", &input).is(202);
    assert_eq!(started["unresolvedAppIds"], json!(["none"]));
    house.run_tasks();
    let id = started["id"].as_str().unwrap();
    let done = house.get(&format!("/background-task/{id}")).is(200);
    let expected = json!([{ "appId": app, "appUid": "shop", "messageDestinations": 4 }]);
    assert_eq!(
        (&done["task"], &done["data"]["appStats"]),
        (&json!("application.stats"), &expected)
    );
    let started = house.call("PUT", "/stats/usage/event-types", &Value::Null).is(202);
    house.run_tasks();
    let done = house.get(&format!("/background-task/{}", started["id"].as_str().unwrap())).is(200);
    let expected = json!([{ "name": "a", "messages": 1 }, { "name": "b", "messages": 1 }]);
    assert_eq!(done["data"]["eventTypes"], expected);
    for (input, field) in [
        (json!({ "until": until }), "since"),
        (json!({ "since": until, "until": "2020-01-01T00:00:00Z" }), "until"),
        (json!({ "since": until, "until": until, "appIds": ["none"] }), "appIds"),
        (json!({ "since": until, "until": until, "appIds": vec!["shop"; 251] }), "appIds"),
    ] {
        house.post("/stats/usage/app", &input).invalid(&["body", field]);
    }
}

#[test]
fn applications_with_endpoints_are_active() {
    let house = House::new();
    house.app("idle");
    let app = house.app("shop");
    let count = |query: &str| {
        house.get(&format!("/app/stats/count-active{query}")).is(200)["count"].clone()
    };
    assert_eq!(count(""), 0);
    let endpoint = house.endpoint(&app);
    assert_eq!(count(""), 1);
    house
        .call("PATCH", &format!("/app/shop/endpoint/{endpoint}"), &json!({ "disabled": true }))
        .is(200);
    assert_eq!((count(""), count("?exclude_disabled=false")), (json!(0), json!(1)));
    assert_eq!(count("?exclude_svix_play=false&exclude_disabled=true"), 0);
    house
        .get("/app/stats/count-active?exclude_svix_play=x")
        .invalid(&["query", "exclude_svix_play"]);
}

#[test]
fn attempts_are_counted_by_event_type_and_by_filter() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    for (event_type, status) in [("a", 200), ("a", 500), ("b", 200)] {
        house.message(&app, event_type);
        house.attempt(&app, &endpoint, status);
    }
    house.message(&app, "c");
    let later = house.api.store.now().plus(Duration::from_secs(1)).to_string();
    let cancel = format!("/app/shop/endpoint/{endpoint}/cancel-msgs");
    house.post(&cancel, &json!({ "createdBefore": later })).is(204);
    let stats = house.get("/app/shop/stats/attempts").is(200);
    assert_eq!(
        stats["by_event_type"],
        json!({
            "a": { "success": 1, "failure": 1, "canceled": 0 },
            "b": { "success": 1, "failure": 0, "canceled": 0 },
            "c": { "success": 0, "failure": 0, "canceled": 1 },
        })
    );
    assert_eq!(
        (&stats["total_success"], &stats["total_failure"], &stats["total_canceled"]),
        (&json!(2), &json!(1), &json!(1))
    );
    let only = house.get("/app/shop/stats/attempts?event_types=b").is(200);
    assert_eq!((&only["total_success"], &only["total_failure"]), (&json!(1), &json!(0)));
    house.get("/app/shop/stats/attempts?since=2020-01-01T00:00:00Z").refused(400, "invalid_range");
    let own = house.get(&format!("/app/shop/endpoint/{endpoint}/attempt-stats")).is(200);
    assert_eq!(own, json!({ "success": 2, "fail": 1, "canceled": 1 }));
    let path = format!("/app/shop/attempt/endpoint/{endpoint}/count");
    for (query, expected) in [
        ("", 3),
        ("?status=2", 1),
        ("?status_code_class=200", 2),
        ("?event_types=a", 2),
        ("?before=2020-01-01T00:00:00Z", 0),
    ] {
        let got = house.get(&format!("{path}{query}")).is(200);
        assert_eq!(got, json!({ "count": expected, "approximated": false }), "{query}");
    }
}

#[test]
fn a_throttle_that_holds_something_back_shows() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let path = format!("/app/shop/endpoint/{endpoint}/rate-limit-status");
    let change = format!("/app/shop/endpoint/{endpoint}");
    house.message(&app, "a");
    assert_eq!(house.get(&path).is(200), json!({ "status": "Ok", "throttledSince": null }));
    house.call("PATCH", &change, &json!({ "throttleRate": 1 })).is(200);
    // Overdue is what was due in an earlier millisecond.
    let made = house.api.store.now();
    while house.api.store.now() == made {}
    let got = house.get(&path).is(200);
    assert_eq!(got["status"], "RateLimited");
    assert!(got["throttledSince"].is_string());
    house.call("PATCH", &change, &json!({ "disabled": true })).is(200);
    assert_eq!(house.get(&path).is(200)["status"], "Ok");
}

#[test]
fn tags_delay_and_retention_of_messages() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let at = house.api.store.now().plus(Duration::from_secs(3600));
    let send = |more: Value| {
        let mut body = json!({ "eventType": "a", "payload": {} });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        house.post("/app/shop/msg", &body)
    };
    let made = send(
        json!({ "tags": ["vip", "a/b"], "deliverAt": at.to_string(), "payloadRetentionHours": 1 }),
    )
    .is(202);
    assert_eq!(
        (&made["tags"], &made["deliverAt"]),
        (&json!(["vip", "a/b"]), &json!(at.to_string()))
    );
    assert!(house.due(&endpoint).is_empty(), "not before its moment");
    assert_eq!(house.api.store.queue_first(endpoint.parse().unwrap(), false).unwrap(), Some(at));
    let plain = send(json!({})).is(202);
    assert!(plain.get("tags").is_none() && plain.get("deliverAt").is_none());
    assert_eq!(ids(&house.get("/app/shop/msg?tag=vip").is(200)), [made["id"].as_str().unwrap()]);
    let found = house.post("/app/shop/msg/search", &json!({ "tag": "vip", "limit": 1 })).is(200);
    assert_eq!(
        (ids(&found), &found["data"][0]["payload"]),
        (vec![made["id"].as_str().unwrap().to_owned()], &json!({}))
    );
    let soon = |seconds: u64| house.api.store.now().plus(Duration::from_secs(seconds)).to_string();
    for (more, field) in [
        (json!({ "tags": vec!["t"; 9] }), "tags"),
        (json!({ "tags": ["a b"] }), "tags"),
        (json!({ "tags": [""] }), "tags"),
        (json!({ "tags": ["t".repeat(129)] }), "tags"),
        (json!({ "deliverAt": soon(58) }), "deliverAt"),
        (json!({ "deliverAt": soon(24 * 3600 + 5) }), "deliverAt"),
        (json!({ "deliverAt": "soon" }), "deliverAt"),
        (json!({ "payloadRetentionHours": 0 }), "payloadRetentionHours"),
        (json!({ "payloadRetentionHours": 2161 }), "payloadRetentionHours"),
    ] {
        send(more).invalid(&["body", field]);
    }
    for more in [
        json!({ "tags": vec!["t"; 8] }),
        json!({ "tags": ["t".repeat(128)] }),
        json!({ "deliverAt": soon(62) }),
        json!({ "deliverAt": soon(24 * 3600 - 5) }),
        json!({ "payloadRetentionHours": 2160 }),
    ] {
        send(more).is(202);
    }
    house.post("/app/shop/msg/search", &json!({ "limit": 251 })).invalid(&["body", "limit"]);
}
