//! Who may do what: no token, bad tokens, operators, portals with and without limits.

use std::time::Duration;

use serde_json::{Value, json};

use super::House;
use crate::api::auth::{self, Subject};

#[test]
fn without_a_good_token_nothing_is_told() {
    let house = House::new();
    let bearer = format!("Bearer {}", house.operator);
    house.raw("GET", "/api/v1/app", &[("authorization", &bearer)], b"").is(200);
    let expired = auth::mint(
        &house.api.settings.jwt_secret,
        &Subject::Org(auth::DEFAULT_ORG.to_owned()),
        1_000_000,
        Duration::from_secs(1),
    );
    for header in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer x".to_owned()),
        Some(format!("Basic {}", house.operator)),
        Some(format!("Bearer {}x", house.operator)),
        Some(format!("Bearer {expired}")),
        Some("Bearer a secret of enough bytes".to_owned()),
    ] {
        let headers: Vec<_> = header.as_deref().map(|h| ("authorization", h)).into_iter().collect();
        for (method, path) in [
            ("GET", "/app"),
            ("POST", "/app/x/msg"),
            ("POST", "/app"),
            ("PUT", "/app/x/endpoint/y/headers"),
            ("GET", "/background-task"),
        ] {
            let got = house.raw(method, &format!("/api/v1{path}"), &headers, b"not json");
            got.refused(401, "authentication_failed");
        }
    }
}

#[test]
fn organisations_do_not_see_each_other() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint(&app);
    let msg = house.message(&app, "t");
    let stranger = house.token(&Subject::Org("org_2srLjEbSzWSv1YCLXZ6wZcSnB0F".to_owned()));
    for path in [
        format!("/app/{app}"),
        "/app/shop".to_owned(),
        format!("/app/{app}/endpoint"),
        format!("/app/{app}/endpoint/{endpoint}/secret"),
        format!("/app/{app}/msg/{msg}"),
        format!("/app/{app}/attempt/msg/{msg}"),
    ] {
        house.get(&path).is(200);
        house.call_as(&stranger, "GET", &path, &Value::Null).refused(404, "not_found");
    }
    assert_eq!(house.call_as(&stranger, "GET", "/app", &Value::Null).is(200)["data"], json!([]));
    house.call_as(&stranger, "POST", "/app", &json!({ "name": "x", "uid": "shop" })).is(201);
    // An endpoint or message of another application is not found either.
    let other = house.app("other");
    house.get(&format!("/app/{other}/endpoint/{endpoint}")).refused(404, "not_found");
    house.get(&format!("/app/{other}/msg/{msg}")).refused(404, "not_found");
    house.get(&format!("/app/{other}/attempt/msg/{msg}")).refused(404, "not_found");
    let resend = format!("/app/{other}/msg/{msg}/endpoint/{endpoint}/resend");
    house.post(&resend, &Value::Null).refused(404, "not_found");
}

#[test]
fn a_portal_manages_its_own_application_and_no_more() {
    let house = House::new();
    let (app, other) = (house.app("shop"), house.app("other"));
    let msg = house.message(&app, "t");
    let token = house.app_token(&app);
    let call = |method: &str, path: &str, body: Value| house.call_as(&token, method, path, &body);
    call("GET", "/app/shop", Value::Null).is(200);
    call("POST", "/app/shop/endpoint", json!({ "url": "https://a.example", "uid": "e" })).is(201);
    call("GET", "/app/shop/endpoint/e/secret", Value::Null).is(200);
    call("POST", "/app/shop/endpoint/e/secret/rotate", json!({})).is(200);
    call("GET", &format!("/app/shop/msg/{msg}"), Value::Null).is(200);
    call("GET", "/event-type", Value::Null).is(200);
    for (method, path) in [
        ("GET", "/app"),
        ("POST", "/app"),
        ("PUT", "/app/shop"),
        ("PATCH", "/app/shop"),
        ("DELETE", "/app/shop"),
        ("POST", "/app/shop/msg"),
        ("POST", "/event-type"),
        ("PUT", "/event-type/a"),
        ("PATCH", "/event-type/a"),
        ("DELETE", "/event-type/a"),
        ("POST", "/auth/app-portal-access/shop"),
    ] {
        call(method, path, json!({ "name": "x" })).refused(403, "insufficient access");
    }
    for path in [format!("/app/{other}"), "/app/other".to_owned(), "/app/other/endpoint".to_owned()]
    {
        call("GET", &path, Value::Null).refused(404, "not_found");
    }
    house.call("DELETE", "/app/shop", &Value::Null).is(204);
    call("GET", "/event-type", Value::Null).refused(401, "authentication_failed");
}

#[test]
fn access_is_handed_out() {
    let house = House::with(|settings| settings.base_url = "https://hooks.example".to_owned());
    let app = house.app("shop");
    let path = "/auth/app-portal-access/shop";
    let got = house.post(path, &json!({ "featureFlags": ["new"] })).is(200);
    let token = got["token"].as_str().unwrap();
    assert_eq!(got["url"], json!(format!("https://hooks.example/portal#key={token}")));
    assert_eq!(
        house.call_as(token, "GET", &format!("/app/{app}"), &Value::Null).is(200)["uid"],
        "shop"
    );
    let claims =
        auth::verify(&house.api.settings.jwt_secret, token, house.api.store.now().seconds())
            .unwrap();
    assert_eq!(claims.feature_flags, Some(vec!["new".to_owned()]));
    assert_eq!(claims.expires_at.unwrap() - claims.issued_at.unwrap(), 7 * 24 * 3600);
    house.post("/auth/dashboard-access/shop", &Value::Null).is(200);
    house.post("/auth/app-portal-access/none", &json!({})).refused(404, "not_found");
    let inline = json!({ "application": { "name": "Made", "uid": "made" } });
    house.post("/auth/app-portal-access/made", &inline).is(200);
    house.get("/app/made").is(200);
    for (input, field) in [
        (json!({ "expiry": 3599 }), "expiry"),
        (json!({ "expiry": 604_801 }), "expiry"),
        (json!({ "featureFlags": ["a b"] }), "featureFlags"),
        (json!({ "featureFlags": vec!["a"; 33] }), "featureFlags"),
        (json!({ "capabilities": ["Everything"] }), "capabilities"),
    ] {
        house.post(path, &input).invalid(&["body", field]);
    }
    let page = house.raw("GET", "/portal", &[], b"").reply;
    assert_eq!((page.status, page.content_type), (200, "text/html; charset=utf-8"));
}

/// What each limited token may do, request by request.
#[test]
fn limits_of_a_token_hold() {
    let house = House::new();
    let app = house.app("shop");
    // Names that look like operations must not open a way around.
    let input = |uid: &str| json!({ "url": "https://a.example", "uid": uid });
    for uid in ["e", "resend", "secret", "transformation"] {
        house.post("/app/shop/endpoint", &input(uid)).is(201);
    }
    let msg = house.message(&app, "t");
    let resend = format!("/app/shop/msg/{msg}/endpoint/e/resend");
    let requests = [
        ("GET", "/app/shop/endpoint/e", "ViewBase"),
        ("GET", "/app/shop/endpoint/e/secret", "ViewEndpointSecret"),
        ("GET", "/app/shop/endpoint/e/secre%74", "ViewEndpointSecret"),
        ("POST", "/app/shop/endpoint/e/secret/rotate", "ManageEndpointSecret"),
        ("POST", &resend, "CreateAttempts"),
        ("PATCH", "/app/shop/endpoint/e", "ManageEndpoint"),
        ("PATCH", "/app/shop/endpoint/resend", "ManageEndpoint"),
        ("PATCH", "/app/shop/endpoint/transformation", "ManageEndpoint"),
        ("PUT", "/app/shop/endpoint/secret/headers", "ManageEndpoint"),
    ];
    let all = [
        "ViewBase",
        "ViewEndpointSecret",
        "ManageEndpointSecret",
        "CreateAttempts",
        "ManageEndpoint",
    ];
    for capability in all {
        let input = json!({ "capabilities": [capability] });
        let got = house.post("/auth/app-portal-access/shop", &input).is(200);
        let token = got["token"].as_str().unwrap();
        for (method, path, needed) in requests {
            let body = if path.ends_with("headers") { json!({ "headers": {} }) } else { json!({}) };
            let got = house.call_as(token, method, path, &body);
            let may = needed == capability || needed == "ViewBase";
            assert_eq!(got.status != 403, may, "{capability}: {method} {path} {}", got.body);
        }
    }
    let with_secret = json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
    let got = house
        .post("/auth/app-portal-access/shop", &json!({ "capabilities": ["ManageEndpoint"] }))
        .is(200);
    let token = got["token"].as_str().unwrap();
    house
        .call_as(token, "PATCH", "/app/shop/endpoint/e", &with_secret)
        .refused(403, "insufficient access");
    for input in [json!({ "readOnly": true }), json!({ "readOnly": true, "capabilities": all })] {
        let got = house.post("/auth/app-portal-access/shop", &input).is(200);
        let token = got["token"].as_str().unwrap();
        for (method, path, needed) in requests {
            let status = house.call_as(token, method, path, &json!({})).status;
            assert_eq!(status != 403, needed == "ViewBase", "{method} {path}");
        }
    }
}
