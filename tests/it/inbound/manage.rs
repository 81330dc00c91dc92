//! Sources over the API, in the shapes that the libraries send and read.
use serde_json::{Value, json};

use super::house::{Got, House};

const BASE: &str = "/ingest/api/v1/source";

fn is(got: &Got, status: u16) -> Value {
    assert_eq!(got.status, status, "{}", got.text());
    got.json()
}

#[test]
fn a_source_is_made_read_changed_rotated_and_deleted() {
    let house = House::new();
    let call =
        |method: &str, path: &str, body: Value| house.api(method, &format!("{BASE}{path}"), &body);
    let github = json!({
        "name": "CI", "uid": "ci", "type": "github",
        "config": { "secret": "wh_live_8f2c11" }, "metadata": { "team": "build" },
    });
    let made = is(&call("POST", "", github.clone()), 201);
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("src_"), "{made}");
    assert_eq!((&made["type"], &made["config"]), (&json!("github"), &json!({})));
    let url = made["ingestUrl"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("https://hooks.example.com/in/{id}/")), "{url}");
    assert!(!made.to_string().contains("8f2c11"), "secrets are never shown: {made}");
    assert_eq!(call("POST", "", github.clone()).status, 409, "the uid is taken");

    assert_eq!(is(&call("GET", "/ci", json!(null)), 200), made);
    assert_eq!(is(&call("GET", "", json!(null)), 200)["data"], json!([made]));
    let changed = is(&call("PATCH", "/ci", json!({ "name": "Builds", "uid": null })), 200);
    assert_eq!((&changed["name"], &changed["uid"]), (&json!("Builds"), &json!(null)));
    assert_eq!(changed["secretCount"], 1);
    let put = json!({ "name": "Builds 2", "type": "github", "config": {} });
    let replaced = is(&call("PUT", &format!("/{id}"), put), 200);
    assert_eq!((&replaced["metadata"], &replaced["secretCount"]), (&json!({}), &json!(1)));
    assert_eq!(replaced["ingestUrl"], json!(url), "the token stays");
    let upsert = json!({ "name": "Shop", "type": "stripe", "config": { "secret": "whsec_x1" } });
    let shop = is(&call("PUT", "/shop", upsert), 201);
    assert_eq!(shop["uid"], "shop");

    let path = |url: &str| url.trim_start_matches("https://hooks.example.com").to_owned();
    let knock = |url: &str| house.send("POST", &path(url), &[], b"{}").status;
    assert_eq!(knock(&url), 401);
    let new = is(&call("POST", &format!("/{id}/token/rotate"), json!({})), 200);
    let new = new["ingestUrl"].as_str().unwrap().to_owned();
    assert_eq!((knock(&url), knock(&new)), (404, 401), "the old URL is dead at once");
    let grace = json!({ "gracePeriodSeconds": 60 });
    let newer = is(&call("POST", &format!("/{id}/token/rotate"), grace), 200);
    let newer = newer["ingestUrl"].as_str().unwrap().to_owned();
    assert_eq!((knock(&new), knock(&newer)), (401, 401));
    house.set_clock(1_790_000_060);
    assert_eq!((knock(&new), knock(&newer)), (404, 401), "the time of grace is over");

    assert_eq!(call("DELETE", &format!("/{id}"), json!(null)).status, 204);
    assert_eq!((knock(&newer), call("GET", &format!("/{id}"), json!(null)).status), (404, 404));
    let app = format!("/api/v1/app/{}", made["appId"].as_str().unwrap());
    assert_eq!(house.api("GET", &app, &json!(null)).status, 404, "its application goes along");
    assert_eq!(house.api("GET", BASE, &json!(null)).json()["data"].as_array().unwrap().len(), 1);
}

#[test]
fn the_endpoints_of_a_source_are_those_of_its_application() {
    let house = House::new();
    let generic = json!({ "name": "In", "type": "generic-webhook" });
    let made = is(&house.api("POST", BASE, &generic), 201);
    let base = format!("{BASE}/{}/endpoint", made["id"].as_str().unwrap());
    let input = json!({ "url": "https://example.com/hook", "description": "d", "uid": "ep" });
    let endpoint = is(&house.api("POST", &base, &input), 201);
    assert_eq!(
        is(&house.api("GET", &base, &json!(null)), 200)["data"].as_array().unwrap().len(),
        1
    );
    let app = format!("/api/v1/app/{}/endpoint/ep", made["appId"].as_str().unwrap());
    assert_eq!(is(&house.api("GET", &app, &json!(null)), 200)["id"], endpoint["id"]);
    let headers = json!({ "headers": { "x-team": "a" } });
    assert_eq!(house.api("PUT", &format!("{base}/ep/headers"), &headers).status, 204);
    let got = is(&house.api("GET", &format!("{base}/ep/headers"), &json!(null)), 200);
    assert_eq!(got["headers"], headers["headers"]);
    let secret = || is(&house.api("GET", &format!("{base}/ep/secret"), &json!(null)), 200);
    let old = secret();
    assert_eq!(house.api("POST", &format!("{base}/ep/secret/rotate"), &json!({})).status, 204);
    assert_ne!(secret(), old);
    let put = json!({ "url": "https://example.com/other" });
    assert_eq!(is(&house.api("PUT", &format!("{base}/ep"), &put), 200)["url"], put["url"]);
    let id = endpoint["id"].as_str().unwrap();
    assert_eq!(house.api("DELETE", &format!("{base}/{id}"), &json!(null)).status, 204);
    assert_eq!(house.api("GET", &format!("{base}/{id}"), &json!(null)).status, 404);
    let portal = house.api("POST", &base.replace("/endpoint", "/dashboard"), &json!({}));
    assert!(is(&portal, 200)["token"].is_string());
    assert_eq!(
        is(&house.api("GET", &base.replace("/endpoint", "/log"), &json!(null)), 200)["data"],
        json!([])
    );
    let transformation = format!("{base}/ep/transformation");
    assert_eq!(house.api("GET", &transformation, &json!(null)).status, 501);
}

#[test]
fn what_could_never_verify_is_refused_when_it_is_made() {
    let house = House::new();
    for (input, field) in [
        (json!({ "name": "x", "type": "github" }), "secrets"),
        (json!({ "name": "x", "type": "github", "config": { "secret": " " } }), "secrets"),
        (json!({ "name": "x", "type": "cron" }), "type"),
        (json!({ "name": "x", "type": "paypal", "secrets": ["x"] }), "secrets"),
        (json!({ "name": "", "type": "generic-webhook" }), "name"),
        (json!({ "name": "x", "type": "generic-webhook", "maxBody": 0 }), "maxBody"),
        (json!({ "name": "x", "type": "generic-webhook", "rate": 0 }), "rate"),
        (json!({ "name": "x", "type": "generic-webhook", "filter": ["a*"] }), "filter"),
        (
            json!({ "name": "x", "type": "generic-webhook", "eventTypes": { "a": "b c" } }),
            "eventTypes",
        ),
        (json!({ "name": "x", "type": "generic-webhook", "url": "ftp://x" }), "url"),
        (json!({ "name": "x", "type": "generic-webhook", "dedupeSeconds": 1_209_601 }), "dedupe"),
        (json!({ "name": "x", "type": "generic-webhook", "app": "none" }), "app"),
        (
            json!({ "name": "x", "type": "meta", "secrets": ["s3"], "settings": { "verify_tokn": "v" } }),
            "settings",
        ),
        (
            json!({ "name": "x", "type": "generic-webhook", "settings": { "topic": "t" } }),
            "settings",
        ),
    ] {
        let got = house.api("POST", BASE, &input);
        assert_eq!(got.status, 422, "{input}: {}", got.text());
        let place = &got.json()["detail"][0]["loc"];
        assert_eq!(place, &json!(["body", field]), "{input}: {}", got.text());
    }
    assert_eq!(house.api("GET", BASE, &json!(null)).json()["data"], json!([]));
    assert_eq!(
        house.api("GET", "/api/v1/app", &json!(null)).json()["data"],
        json!([]),
        "no leftovers"
    );
    let last = json!({ "name": "x", "type": "generic-webhook", "dedupeSeconds": 1_209_600 });
    assert_eq!(house.api("POST", BASE, &last).status, 201);
}

#[test]
fn sources_are_for_operators() {
    let house = House::new();
    let got = house.send("GET", BASE, &[], b"");
    assert_eq!(got.status, 401);
    let made =
        is(&house.api("POST", BASE, &json!({ "name": "x", "type": "generic-webhook" })), 201);
    let access = house.api(
        "POST",
        &format!("{BASE}/{}/dashboard", made["id"].as_str().unwrap()),
        &json!({}),
    );
    let token = format!("Bearer {}", access.json()["token"].as_str().unwrap());
    let headers = super::house::owned(&[("authorization", &token)]);
    for path in [BASE.to_owned(), format!("{BASE}/{}", made["id"].as_str().unwrap())] {
        assert_eq!(house.send("GET", &path, &headers, b"").status, 403, "{path}");
    }
}
