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
    house.raw("POST", "/api/v1/auth/logout", &[], b"").refused(401, "authentication_failed");
}

#[test]
fn a_token_that_is_logged_out_is_at_an_end_and_no_other() {
    let house = House::new();
    house.app("shop");
    let access = || {
        // In another millisecond, so that it is another token.
        let made = house.api.store.now();
        while house.api.store.now() == made {}
        let access = house.post("/auth/app-portal-access/shop", &json!({})).is(200);
        access["token"].as_str().unwrap().to_owned()
    };
    let (token, other) = (access(), access());
    assert_ne!(token, other);
    let call = |token: &str, path| house.call_as(token, "GET", path, &Value::Null);
    call(&token, "/app/shop").is(200);
    house.call_as(&token, "POST", "/auth/logout", &Value::Null).is(204);
    for path in ["/app/shop", "/auth/whoami", "/app/shop/endpoint"] {
        call(&token, path).refused(401, "authentication_failed");
    }
    house
        .call_as(&token, "POST", "/auth/logout", &Value::Null)
        .refused(401, "authentication_failed");
    call(&other, "/app/shop").is(200);
    house.post("/auth/logout", &Value::Null).refused(400, "generic_error");
    house.get("/app/shop").is(200);
}

#[test]
fn a_session_is_ended_with_all_its_tokens() {
    let house = House::new();
    house.app("shop");
    let access = |input: &Value| {
        let access = house.post("/auth/app-portal-access/shop", input).is(200);
        access["token"].as_str().unwrap().to_owned()
    };
    let works = |token: &str| house.call_as(token, "GET", "/app/shop", &Value::Null).status;
    let tick = || {
        let made = house.api.store.now();
        while house.api.store.now() == made {}
    };
    let ours = access(&json!({ "sessionId": "s@1" }));
    let read_only = access(&json!({ "sessionId": "s@1", "readOnly": true }));
    let theirs = access(&json!({ "sessionId": "s@2" }));
    let none = access(&json!({}));
    let me = house.call_as(&ours, "GET", "/auth/whoami", &Value::Null).is(200);
    assert_eq!(me["sessionId"], "s@1");
    tick();
    let later = json!({ "sessionIds": ["s@2"], "expiry": 60 });
    house.post("/auth/app/shop/expire-all", &later).is(204);
    house.post("/auth/app/shop/expire-all", &json!({ "sessionIds": ["s@1", "s@9"] })).is(204);
    let all = [&ours, &read_only, &theirs, &none].map(|token| works(token));
    assert_eq!(all, [401, 401, 200, 200]);
    assert_eq!(works(&access(&json!({ "sessionId": "s@1" }))), 200, "a new login under that name");
    house.post("/auth/app/shop/expire-all", &json!({ "sessionIds": ["s@2"] })).is(204);
    assert_eq!(works(&theirs), 401, "sooner than was said first");
    let many = |count: usize| json!({ "sessionIds": vec!["s"; count] });
    house.post("/auth/app/shop/expire-all", &many(1_000)).is(204);
    for input in [many(1_001), json!({ "sessionIds": ["a b"] }), json!({ "sessionIds": [""] })] {
        house.post("/auth/app/shop/expire-all", &input).invalid(&["body", "sessionIds"]);
    }
    let name = |length: usize| json!({ "sessionId": "x".repeat(length) });
    access(&name(64));
    house.post("/auth/app-portal-access/shop", &name(65)).invalid(&["body", "sessionId"]);
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
    for (input, field) in
        [(json!({ "expiry": 259_201 }), "expiry"), (json!({ "expiry": -1 }), "expiry")]
    {
        house.post("/auth/app/shop/expire-all", &input).invalid(&["body", field]);
    }
    house
        .call_as(&token, "POST", "/auth/app/shop/expire-all", &json!({}))
        .refused(403, "insufficient access");
    house.post("/auth/app/none/expire-all", &json!({})).refused(404, "not_found");
}
