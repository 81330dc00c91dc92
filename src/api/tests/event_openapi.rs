//! Event types out of documents and into them, their schedules, and whole environments.

use serde_json::{Value, json};

use super::House;

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "webhooks": {
            "order.paid": { "post": {
                "description": "An order was paid.",
                "requestBody": { "$ref": "#/components/requestBodies/Order" },
                "x-svix-group-name": "orders",
            } },
            "user.left": { "post": { "summary": "Gone.", "deprecated": true } },
        },
        "components": {
            "requestBodies": { "Order": { "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Order" },
                "example": { "n": 1 },
            } } } },
            "schemas": {
                "Order": { "type": "object", "properties": { "lines": { "type": "array", "items": { "$ref": "#/components/schemas/Line" } } } },
                "Line": { "type": "object", "properties": { "order": { "$ref": "#/components/schemas/Order" } } },
                "Unused": { "type": "string" },
            },
        },
    })
}

#[test]
fn webhooks_of_a_document_become_event_types() {
    let house = House::new();
    let path = "/event-type/import/openapi";
    let dry = house.post(path, &json!({ "spec": document(), "dryRun": true })).is(200);
    assert_eq!(dry["data"]["modified"], json!([]));
    assert_eq!(dry["data"]["to_modify"].as_array().unwrap().len(), 2);
    house.get("/event-type/order.paid").refused(404, "not_found");
    house.post("/event-type", &json!({ "name": "old", "description": "" })).is(201);
    let done = house.post(path, &json!({ "specRaw": document().to_string() })).is(200);
    assert_eq!(done["data"]["modified"], json!(["order.paid", "user.left"]));
    let paid = house.get("/event-type/order.paid").is(200);
    assert_eq!(
        (&paid["description"], &paid["groupName"]),
        (&json!("An order was paid."), &json!("orders"))
    );
    let schema = &paid["schemas"]["1"];
    assert_eq!(schema["allOf"][0]["$ref"], "#/$defs/Order");
    assert_eq!(schema["$defs"]["Line"]["properties"]["order"]["$ref"], "#/$defs/Order");
    assert!(schema["$defs"].get("Unused").is_none());
    assert_eq!(schema["examples"], json!([{ "n": 1 }]));
    assert_eq!(house.get("/event-type/user.left").is(200)["deprecated"], true);
    assert_eq!(house.get("/event-type/old").is(200)["archived"], false);
    house.post(path, &json!({ "spec": document(), "replaceAll": true })).is(200);
    assert_eq!(house.get("/event-type/old").is(200)["archived"], true);
}

#[test]
fn documents_that_are_none_are_refused_with_the_place() {
    let house = House::new();
    let many: serde_json::Map<_, _> =
        (0..1001).map(|n| (format!("e{n}"), json!({ "post": {} }))).collect();
    for (input, field) in [
        (json!({}), "spec"),
        (json!({ "spec": {}, "specRaw": "{}" }), "spec"),
        (json!({ "specRaw": "openapi: 3.1.0" }), "specRaw"),
        (json!({ "spec": {} }), "spec"),
        (json!({ "spec": { "webhooks": { "a": {} } } }), "spec"),
        (json!({ "spec": { "webhooks": many } }), "spec"),
    ] {
        house.post("/event-type/import/openapi", &input).invalid(&["body", field]);
    }
    let bad = json!({ "spec": { "webhooks": { "a b": { "post": {} } } } });
    house.post("/event-type/import/openapi", &bad).invalid(&["body", "spec", "webhooks"]);
}

#[test]
fn what_is_exported_can_be_imported() {
    let house = House::new();
    house.post("/event-type/import/openapi", &json!({ "spec": document() })).is(200);
    let started = house.post("/event-type/export/openapi", &Value::Null).is(202);
    assert_eq!(started["status"], "finished");
    let path = format!("/background-task/{}", started["id"].as_str().unwrap());
    let exported = house.get(&path).is(200)["data"]["openapi"].clone();
    let before = house.get("/event-type/order.paid").is(200);
    for name in ["order.paid", "user.left"] {
        house.call("DELETE", &format!("/event-type/{name}?expunge=true"), &Value::Null).is(204);
    }
    house.post("/event-type/import/openapi", &json!({ "spec": exported })).is(200);
    let after = house.get("/event-type/order.paid").is(200);
    for field in ["description", "groupName", "schemas", "deprecated"] {
        assert_eq!(before[field], after[field], "{field}");
    }
}

#[test]
fn an_environment_is_carried_over() {
    let house = House::new();
    let made = json!({ "name": "a", "description": "x", "schemas": { "1": { "type": "object" } } });
    house.post("/event-type", &made).is(201);
    let exported = house.post("/environment/export", &Value::Null).is(200);
    assert_eq!((&exported["version"], &exported["connectors"]), (&json!(1), &json!([])));
    let other =
        house.token(&crate::api::auth::Subject::Org("org_2srLjEbSzWSv1YCLXZ6wZcSnB0F".to_owned()));
    house.call_as(&other, "POST", "/environment/import", &exported).is(204);
    let there = house.call_as(&other, "GET", "/event-type/a", &Value::Null).is(200);
    assert_eq!(there["schemas"], made["schemas"]);
    for (input, place) in [
        (json!({ "connectors": [{}] }), "connectors"),
        (json!({ "eventTypes": [{ "description": "" }] }), "name"),
        (json!({ "eventTypes": [{ "name": "a b", "description": "" }] }), "name"),
    ] {
        house.post("/environment/import", &input).invalid(&["body", place]);
    }
}

#[test]
fn an_event_type_may_have_its_own_schedule() {
    let house = House::new();
    house.post("/event-type", &json!({ "name": "a", "description": "" })).is(201);
    let path = "/event-type/a/retry-schedule";
    assert_eq!(house.get(path).is(200), json!({ "retrySchedule": null }));
    let schedule = json!({ "retrySchedule": [{ "secs": 1, "nanos": 500_000_000 }, { "secs": 604_800, "nanos": 0 }] });
    assert_eq!(house.call("PUT", path, &schedule).is(200), schedule);
    assert_eq!(house.get(path).is(200), schedule);
    // Another change of the event type leaves it alone.
    house.call("PATCH", "/event-type/a", &json!({ "description": "y" })).is(200);
    assert_eq!(house.get(path).is(200), schedule);
    let one = json!({ "secs": 1 });
    for bad in [
        json!({ "retrySchedule": [{ "secs": 604_801 }] }),
        json!({ "retrySchedule": [{ "secs": 1, "nanos": 1_000_000_000 }] }),
        json!({ "retrySchedule": vec![one.clone(); 51] }),
    ] {
        house.call("PUT", path, &bad).invalid(&["body", "retrySchedule"]);
    }
    house.call("PUT", path, &json!({ "retrySchedule": vec![one; 50] })).is(200);
    assert_eq!(house.call("PUT", path, &json!({})).is(200), json!({ "retrySchedule": null }));
    house.get("/event-type/none/retry-schedule").refused(404, "not_found");
}
