//! Event types: registered, archived and taken up again, changed, removed; flags hide them.

use serde_json::{Value, json};

use super::{House, fields};
use crate::api::auth::{DEFAULT_ORG, Grant, Subject, mint_grant};

fn names(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn made_shown_and_listed_by_name() {
    let house = House::new();
    let schemas = json!({ "1": { "type": "object" } });
    let input = json!({ "name": "order.paid", "description": "Paid", "schemas": schemas });
    let made = house.post("/event-type", &input).is(201);
    for field in
        ["archived", "createdAt", "deprecated", "description", "featureFlag", "name", "updatedAt"]
    {
        assert!(fields(&made).contains(&field), "{field}: {made}");
    }
    assert_eq!(made["schemas"], schemas);
    house.post("/event-type", &input).refused(409, "event_type_exists");
    house.post("/event-type", &json!({ "name": "a", "description": "" })).is(201);
    let list = house.get("/event-type").is(200);
    assert_eq!(names(&list), ["a", "order.paid"]);
    assert!(list["data"][1].get("schemas").is_none_or(Value::is_null), "{list}");
    let list = house.get("/event-type?with_content=true&order=descending").is(200);
    assert_eq!(names(&list), ["order.paid", "a"]);
    assert_eq!(list["data"][0]["schemas"], schemas);
    assert_eq!(house.get("/event-type/order.paid").is(200)["schemas"], schemas);
}

#[test]
fn input_that_breaks_a_rule_names_the_field() {
    let house = House::new();
    for (input, field) in [
        (json!({ "description": "x" }), "name"),
        (json!({ "name": "a" }), "description"),
        (json!({ "name": "a b", "description": "" }), "name"),
        (json!({ "name": "a".repeat(257), "description": "" }), "name"),
        (json!({ "name": "a", "description": "", "schemas": [] }), "schemas"),
        (json!({ "name": "a", "description": "", "featureFlag": "a b" }), "featureFlag"),
        (json!({ "name": "a", "description": "", "featureFlags": ["a b"] }), "featureFlags"),
        (json!({ "name": "a", "description": "", "featureFlags": vec!["a"; 33] }), "featureFlags"),
        (json!({ "name": "a", "description": "", "groupName": "a b" }), "groupName"),
    ] {
        house.post("/event-type", &input).invalid(&["body", field]);
    }
    let most = json!({ "name": "a", "description": "", "featureFlags": vec!["a"; 32] });
    house.post("/event-type", &most).is(201);
    for (patch, field) in [
        (json!({ "featureFlag": "a b" }), "featureFlag"),
        (json!({ "featureFlags": ["ok", "a b"] }), "featureFlags"),
        (json!({ "featureFlags": vec!["a"; 33] }), "featureFlags"),
        (json!({ "groupName": "a".repeat(257) }), "groupName"),
        (json!({ "description": null }), "description"),
    ] {
        house.call("PATCH", "/event-type/a", &patch).invalid(&["body", field]);
    }
}

#[test]
fn archived_is_hidden_and_can_be_made_again() {
    let house = House::new();
    let input = json!({ "name": "a", "description": "x" });
    house.post("/event-type", &input).is(201);
    house.call("DELETE", "/event-type/a", &Value::Null).is(204);
    assert!(names(&house.get("/event-type").is(200)).is_empty());
    assert_eq!(names(&house.get("/event-type?include_archived=true").is(200)), ["a"]);
    assert_eq!(house.get("/event-type/a").is(200)["archived"], true);
    assert_eq!(house.post("/event-type", &input).is(201)["archived"], false);
    house.call("DELETE", "/event-type/a?expunge=true", &Value::Null).is(204);
    house.get("/event-type/a").refused(404, "not_found");
    house.call("DELETE", "/event-type/a", &Value::Null).refused(404, "not_found");
}

#[test]
fn put_makes_or_replaces_and_patch_changes() {
    let house = House::new();
    let first = json!({ "description": "x", "schemas": { "1": {} }, "deprecated": true });
    house.call("PUT", "/event-type/a", &first).is(201);
    let second = house.call("PUT", "/event-type/a", &json!({ "description": "y" })).is(200);
    assert_eq!((&second["deprecated"], &second["description"]), (&json!(false), &json!("y")));
    assert!(second.get("schemas").is_none_or(Value::is_null));
    let patched = house.call("PATCH", "/event-type/a", &json!({ "schemas": { "2": {} } })).is(200);
    assert_eq!((&patched["description"], &patched["schemas"]), (&json!("y"), &json!({ "2": {} })));
    let cleared = house.call("PATCH", "/event-type/a", &json!({ "schemas": null })).is(200);
    assert!(cleared.get("schemas").is_none_or(Value::is_null), "{cleared}");
    house.call("PATCH", "/event-type/b", &json!({})).refused(404, "not_found");
}

#[test]
fn a_flag_hides_from_portals_that_lack_it() {
    let house = House::new();
    let app = house.app("shop");
    house
        .post("/event-type", &json!({ "name": "beta", "description": "", "featureFlag": "new" }))
        .is(201);
    house.post("/event-type", &json!({ "name": "plain", "description": "" })).is(201);
    let token = |flags: Option<Vec<String>>| {
        let subject = Subject::App { app: app.clone(), org: DEFAULT_ORG.to_owned() };
        let ttl = std::time::Duration::from_secs(60);
        let grant = Grant {
            subject,
            millis: 0,
            ttl,
            feature_flags: flags,
            capabilities: None,
            session: None,
        };
        mint_grant(&house.api.settings.jwt_secret, &grant, house.api.store.now().seconds())
    };
    for (flags, expected) in [
        (None, vec!["plain"]),
        (Some(vec!["other".to_owned()]), vec!["plain"]),
        (Some(vec!["new".to_owned()]), vec!["beta", "plain"]),
    ] {
        let token = token(flags);
        let list = house.call_as(&token, "GET", "/event-type", &Value::Null).is(200);
        assert_eq!(names(&list), expected);
        let sees = expected.len() == 2;
        let status = house.call_as(&token, "GET", "/event-type/beta", &Value::Null).status;
        assert_eq!(status, if sees { 200 } else { 404 });
        // Nor can it be named: the answer is the same as for one that is not there.
        let path = format!("/app/{app}/endpoint");
        let wants = |name: &str| json!({ "url": "https://example.com/", "eventTypes": [name] });
        let calls = |name| {
            let made = house.call_as(&token, "POST", &path, &wants(name)).status;
            let uid = format!("{path}/{}", if sees { "seen" } else { "unseen" });
            let put = house.call_as(&token, "PUT", &uid, &wants(name)).status;
            let mine = format!("{path}/{}", house.endpoint(&app));
            let types = json!({ "eventTypes": [name] });
            [made, put, house.call_as(&token, "PATCH", &mine, &types).status]
        };
        assert_eq!(calls("beta"), if sees { [201, 201, 200] } else { [422; 3] });
        assert_eq!(calls("nowhere"), [422; 3]);
        assert_eq!(calls("plain")[0], 201);
        // What an operator has put there may stay when something else is changed.
        let theirs = house.post(&path, &wants("beta")).is(201);
        let theirs = format!("{path}/{}", theirs["id"].as_str().unwrap());
        house.call_as(&token, "PUT", &theirs, &wants("beta")).is(200);
        let both = json!({ "eventTypes": ["beta", "plain"] });
        house.call_as(&token, "PATCH", &theirs, &both).is(200);
    }
}

#[test]
fn pages_by_name_forward_and_back() {
    let house = House::new();
    for name in ["a", "b", "c", "d", "e"] {
        house.post("/event-type", &json!({ "name": name, "description": "" })).is(201);
    }
    let first = house.get("/event-type?limit=2").is(200);
    assert_eq!((names(&first), &first["done"]), (vec!["a", "b"], &json!(false)));
    let next = |page: &Value| page["iterator"].as_str().unwrap().to_owned();
    let second = house.get(&format!("/event-type?limit=2&iterator={}", next(&first))).is(200);
    assert_eq!((names(&second), &second["done"]), (vec!["c", "d"], &json!(false)));
    let third = house.get(&format!("/event-type?limit=2&iterator={}", next(&second))).is(200);
    assert_eq!((names(&third), &third["done"]), (vec!["e"], &json!(true)));
    let back = third["prevIterator"].as_str().unwrap();
    let back = house.get(&format!("/event-type?limit=2&iterator={back}")).is(200);
    assert_eq!(names(&back), ["c", "d"]);
}

/// Long values would go into files that the store's engine neither syncs nor removes.
#[test]
fn large_schemas_come_back_and_keep_the_store_sound() {
    let house = House::new();
    let schemas = json!({ "1": { "description": "x".repeat(200_000) } });
    for round in 0..3 {
        for n in 0..8 {
            let body = json!({ "description": round.to_string(), "schemas": schemas });
            house.call("PUT", &format!("/event-type/t{n}"), &body);
        }
    }
    let made = json!({ "name": "new", "description": "", "schemas": schemas });
    let first = house.call_once("k", "POST", "/event-type", &made).is(201);
    assert_eq!(house.call_once("k", "POST", "/event-type", &made).is(201), first);
    assert_eq!(first["schemas"], schemas);
    assert_eq!(house.get("/event-type/t3").is(200)["schemas"], schemas);
    let report = house.api.store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
}
