//! Every operation of the open-source surface is there, and what is not there says so in JSON.

use serde_json::Value;

use super::House;

/// The operations of svix's open-source server, with names that exist nowhere.
const OPERATIONS: &[(&str, &str)] = &[
    ("GET", "/app"),
    ("POST", "/app"),
    ("GET", "/app/a"),
    ("PUT", "/app/a"),
    ("PATCH", "/app/a"),
    ("DELETE", "/app/a"),
    ("GET", "/app/a/attempt/endpoint/e"),
    ("GET", "/app/a/attempt/msg/m"),
    ("GET", "/app/a/endpoint"),
    ("POST", "/app/a/endpoint"),
    ("GET", "/app/a/endpoint/e"),
    ("PUT", "/app/a/endpoint/e"),
    ("PATCH", "/app/a/endpoint/e"),
    ("DELETE", "/app/a/endpoint/e"),
    ("GET", "/app/a/endpoint/e/headers"),
    ("PUT", "/app/a/endpoint/e/headers"),
    ("PATCH", "/app/a/endpoint/e/headers"),
    ("GET", "/app/a/endpoint/e/msg"),
    ("POST", "/app/a/endpoint/e/recover"),
    ("GET", "/app/a/endpoint/e/secret"),
    ("POST", "/app/a/endpoint/e/secret/rotate"),
    ("POST", "/app/a/endpoint/e/send-example"),
    ("GET", "/app/a/endpoint/e/stats"),
    ("GET", "/app/a/msg"),
    ("POST", "/app/a/msg"),
    ("GET", "/app/a/msg/m"),
    ("GET", "/app/a/msg/m/attempt/t"),
    ("DELETE", "/app/a/msg/m/attempt/t/content"),
    ("DELETE", "/app/a/msg/m/content"),
    ("GET", "/app/a/msg/m/endpoint"),
    ("POST", "/app/a/msg/m/endpoint/e/resend"),
    ("POST", "/auth/app-portal-access/a"),
    ("POST", "/auth/logout"),
    ("GET", "/event-type"),
    ("POST", "/event-type"),
    ("GET", "/event-type/t"),
    ("PUT", "/event-type/t"),
    ("PATCH", "/event-type/t"),
    ("DELETE", "/event-type/t"),
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("GET", "/health/ping"),
    ("HEAD", "/health/ping"),
    // In no document of its, but there.
    ("POST", "/auth/dashboard-access/a"),
    ("POST", "/admin/redrive-dlq"),
    ("GET", "/app/a/msg/m/attempt"),
    ("GET", "/app/a/msg/m/endpoint/e/attempt"),
];

#[test]
fn every_operation_is_routed() {
    let house = House::new();
    for (method, path) in OPERATIONS {
        let got = house.call(method, path, &Value::Null);
        let code = got.body["code"].as_str().unwrap_or_default();
        assert!(got.status < 500, "{method} {path}: {}", got.body);
        assert_ne!(code, "unknown_operation", "{method} {path}");
    }
}

#[test]
fn what_is_not_built_or_not_known_says_so() {
    let house = House::new();
    for (method, path, status, code) in [
        ("GET", "/app/a/msg/m/attempt/t/headers", 501, "not_implemented"),
        ("POST", "/app/a/endpoint/e/msg/test-attempt", 501, "not_implemented"),
        ("GET", "/nonsense", 404, "unknown_operation"),
        ("DELETE", "/app", 404, "unknown_operation"),
        ("GET", "/app/a/b/c/d/e/f/g", 404, "unknown_operation"),
        ("TRACE", "/app", 404, "unknown_operation"),
    ] {
        house.call(method, path, &Value::Null).refused(status, code);
    }
    let root = house.raw("GET", "/", &[], b"").reply;
    assert_eq!((root.status, root.headers), (307, vec![("location", "/docs".to_owned())]));
    house.raw("GET", "", &[], b"").refused(404, "unknown_operation");
}

#[test]
fn health_needs_no_token() {
    let house = House::new();
    let got = house.raw("GET", "/api/v1/health", &[], b"").is(200);
    for part in ["database", "queue", "cache"] {
        assert_eq!(got[part]["status"], "ok", "{got}");
    }
    let head = house.raw("HEAD", "/api/v1/health", &[], b"").reply;
    assert_eq!((head.status, head.body.len()), (200, 0));
    house.raw("GET", "/api/v1/health/ping", &[], b"").is(204);
}

#[test]
fn a_browser_may_ask_from_anywhere() {
    let house = House::new();
    let got = house.raw("OPTIONS", "/api/v1/app", &[], b"").reply;
    assert_eq!(got.status, 204);
    let allowed = got.headers.iter().find(|(name, _)| *name == "access-control-allow-headers");
    for header in ["authorization", "idempotency-key", "svix-req-id", "svix-retry-count"] {
        assert!(allowed.unwrap().1.contains(header), "{header}");
    }
}

#[test]
fn a_closed_store_answers_for_now_and_says_when_to_come_back() {
    let house = House::new();
    house.app("shop");
    house.api.store.close().unwrap();
    let input = serde_json::json!({ "eventType": "t", "payload": {} });
    let got = house.post("/app/shop/msg", &input);
    assert!(got.reply.headers.iter().any(|(name, _)| *name == "retry-after"));
    got.refused(503, "stopping");
}
