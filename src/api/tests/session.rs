//! Who a token speaks for, and its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::House;

#[test]
fn whoami_tells_operators_from_applications() {
    let house = House::new();
    let app = house.app("shop");
    let me = house.get("/auth/whoami").is(200);
    assert_eq!((&me["appId"], &me["envId"]), (&Value::Null, &json!(crate::api::auth::DEFAULT_ORG)));
    let token = house.app_token(&app);
    let me = house.call_as(&token, "GET", "/auth/whoami", &Value::Null).is(200);
    assert_eq!(me["appId"], json!(app));
    house.call_as(&token, "POST", "/auth/logout", &Value::Null).is(204);
    house.raw("POST", "/api/v1/auth/logout", &[], b"").refused(401, "authentication_failed");
}

#[test]
fn expire_all_ends_old_tokens_at_once_and_not_new_ones() {
    let house = House::new();
    house.app("shop");
    let access =
        |path: &str| house.post(path, &json!({})).is(200)["token"].as_str().unwrap().to_owned();
    let works = |token: &str| house.call_as(token, "GET", "/app/shop", &Value::Null).status;
    let old = access("/auth/app-portal-access/shop");
    assert_eq!(works(&old), 200);
    // Milliseconds apart is enough.
    let made = house.api.store.now();
    while house.api.store.now() == made {}
    house.post("/auth/app/shop/expire-all", &json!({})).is(204);
    let new = access("/auth/app-portal-access/shop");
    assert_eq!((works(&old), works(&new)), (401, 200));
    assert_eq!(house.get("/app/shop").status, 200, "operators stay");
}

#[test]
fn expire_all_can_give_time() {
    let house = House::new();
    let app = house.app("shop");
    let token = house.app_token(&app);
    let works = || house.call_as(&token, "GET", "/app/shop", &Value::Null).status;
    house.post("/auth/app/shop/expire-all", &json!({ "expiry": 259_200 })).is(204);
    house.run_tasks();
    assert_eq!(works(), 200);
    let tasks = house.api.store.running_tasks().unwrap();
    let (org, id) = tasks[0];
    let crate::model::task::Work::ExpireTokens { at, issued_before, .. } =
        house.api.store.task(org, id).unwrap().unwrap().work
    else {
        panic!("another task")
    };
    assert_eq!(at.since(issued_before), Duration::from_secs(259_200));
    for (input, field) in [
        (json!({ "expiry": 259_201 }), "expiry"),
        (json!({ "expiry": -1 }), ""),
        (json!({ "sessionIds": ["s"] }), "sessionIds"),
    ] {
        let place: &[&str] = if field.is_empty() { &["body"] } else { &["body", field] };
        house.post("/auth/app/shop/expire-all", &input).invalid(place);
    }
    house
        .call_as(&token, "POST", "/auth/app/shop/expire-all", &json!({}))
        .refused(403, "insufficient access");
    house.post("/auth/app/none/expire-all", &json!({})).refused(404, "not_found");
}
