//! Applications: made once, found by id and uid, replaced, changed, deleted.

use serde_json::{Value, json};

use super::{House, fields};

#[test]
fn an_application_is_shown_with_every_field() {
    let house = House::new();
    let input =
        json!({ "name": "Shop", "uid": "shop", "throttleRate": 5, "metadata": { "k": "v" } });
    let made = house.post("/app", &input).is(201);
    assert_eq!(
        fields(&made),
        ["createdAt", "id", "metadata", "name", "rateLimit", "throttleRate", "uid", "updatedAt"]
    );
    assert_eq!(made["throttleRate"], 5);
    assert_eq!(made["metadata"], json!({ "k": "v" }));
    for name in ["shop", made["id"].as_str().unwrap()] {
        assert_eq!(house.get(&format!("/app/{name}")).is(200), made);
    }
    let plain = house.post("/app", &json!({ "name": "x" })).is(201);
    // Libraries read these fields even when there is nothing in them.
    assert_eq!((&plain["uid"], &plain["throttleRate"]), (&Value::Null, &Value::Null));
    assert_eq!(plain["metadata"], json!({}));
}

#[test]
fn input_that_breaks_a_rule_names_the_field() {
    let house = House::new();
    for (input, field) in [
        (json!({}), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "x".repeat(1025) }), "name"),
        (json!({ "name": "x", "uid": "a b" }), "uid"),
        (json!({ "name": "x", "uid": "" }), "uid"),
        (json!({ "name": "x", "uid": "x".repeat(257) }), "uid"),
        (json!({ "name": "x", "uid": "app_2srLjEbSzWSv1YCLXZ6wZcSnB0F" }), "uid"),
        (json!({ "name": "x", "throttleRate": 0 }), "throttleRate"),
        (json!({ "name": "x", "metadata": { "k": "v".repeat(513) } }), "metadata"),
    ] {
        house.post("/app", &input).invalid(&["body", field]);
    }
    house.post("/app", &json!({ "name": "x", "uid": "x".repeat(256) })).is(201);
    house.post("/app", &json!({ "name": "x".repeat(1024) })).is(201);
    house.post("/app", &json!({ "name": 1 })).invalid(&["body", "name"]);
    house.post("/app", &json!(["x", null, null, null, null])).invalid(&["body"]);
    let token = format!("Bearer {}", house.operator);
    let got = house.raw("POST", "/api/v1/app", &[("authorization", &token)], b"{\"name\": \"x");
    assert_eq!(got.body["detail"][0]["type"], "value_error.jsondecode");
    got.invalid(&["body"]);
}

#[test]
fn a_uid_is_taken_once_and_free_again_after_deletion() {
    let house = House::new();
    let first = house.app("shop");
    let again = json!({ "name": "other", "uid": "shop" });
    house.post("/app", &again).refused(409, "conflict");
    let found = house.post("/app?get_if_exists=true", &again).is(200);
    assert_eq!((&found["id"], &found["name"]), (&json!(first), &json!("shop")));
    house.call("DELETE", "/app/shop", &Value::Null).is(204);
    house.get("/app/shop").refused(404, "not_found");
    house.get(&format!("/app/{first}")).refused(404, "not_found");
    house.call("DELETE", "/app/shop", &Value::Null).refused(404, "not_found");
    let second = house.post("/app?get_if_exists=true", &again).is(201);
    assert_ne!(second["id"], json!(first));
}

#[test]
fn put_makes_or_replaces() {
    let house = House::new();
    let full = json!({ "name": "one", "uid": "u", "throttleRate": 3, "metadata": { "a": "b" } });
    let made = house.call("PUT", "/app/u", &full).is(201);
    let replaced = house.call("PUT", "/app/u", &json!({ "name": "two", "uid": "u" })).is(200);
    assert_eq!(replaced["id"], made["id"]);
    assert_eq!(replaced["name"], "two");
    // What was not said again is gone.
    assert_eq!((&replaced["throttleRate"], &replaced["metadata"]), (&Value::Null, &json!({})));
    assert_eq!(replaced["createdAt"], made["createdAt"]);
    house.app("taken");
    let clash = json!({ "name": "x", "uid": "taken" });
    house.call("PUT", "/app/u", &clash).refused(409, "conflict");
    // A uid that is left out is the one in the path: the same again makes no other.
    let unnamed = json!({ "name": "three" });
    let made = house.call("PUT", "/app/v", &unnamed).is(201);
    let again = house.call("PUT", "/app/v", &unnamed).is(200);
    assert_eq!(
        (&made["uid"], &again["id"], &again["uid"]),
        (&json!("v"), &made["id"], &json!("v"))
    );
    let by_id = format!("/app/{}", made["id"].as_str().unwrap());
    let cleared = house.call("PUT", &by_id, &unnamed).is(200);
    assert_eq!((&cleared["id"], &cleared["uid"]), (&made["id"], &Value::Null));
}

#[test]
fn patch_changes_what_is_given_and_null_clears() {
    let house = House::new();
    let full = json!({ "name": "one", "uid": "u", "throttleRate": 3, "metadata": { "a": "b" } });
    house.post("/app", &full).is(201);
    let same = house.call("PATCH", "/app/u", &json!({})).is(200);
    assert_eq!(
        (&same["name"], &same["uid"], &same["throttleRate"]),
        (&json!("one"), &json!("u"), &json!(3))
    );
    let cleared =
        house.call("PATCH", "/app/u", &json!({ "uid": null, "throttleRate": null })).is(200);
    assert_eq!((&cleared["uid"], &cleared["throttleRate"]), (&Value::Null, &Value::Null));
    assert_eq!(cleared["metadata"], json!({ "a": "b" }));
    house.get("/app/u").refused(404, "not_found");
    let id = cleared["id"].as_str().unwrap();
    house.call("PATCH", &format!("/app/{id}"), &json!({ "name": "" })).invalid(&["body", "name"]);
    house.call("PATCH", &format!("/app/{id}"), &json!({ "name": null })).invalid(&["body", "name"]);
}

#[test]
fn many_at_once_want_the_same_uid_and_one_gets_it() {
    let house = House::new();
    let statuses = house.runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let api = std::sync::Arc::clone(&house.api);
                let token = format!("Bearer {}", house.operator);
                tokio::spawn(async move {
                    let body = json!({ "name": format!("n{n}"), "uid": "one" }).to_string();
                    let headers = [("authorization", token.as_str())];
                    let request = super::request("POST", "/api/v1/app", &headers, body.as_bytes());
                    super::router::answer(&api, request).await.status
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for task in tasks {
            statuses.push(task.await.unwrap());
        }
        statuses
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 63, "{statuses:?}");
}
