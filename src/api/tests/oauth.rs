//! An endpoint's client credentials: taken, shown without the secret, refused, taken away.

use serde_json::{Value, json};

use super::{House, fields};

const URL: &str = "https://id.example/token";

fn input() -> Value {
    json!({ "tokenUrl": URL, "clientId": "shop", "clientSecret": "the-secret" })
}

#[test]
fn settings_are_taken_shown_and_taken_away_by_operator_and_application() {
    let house = House::new();
    let app = house.app("shop");
    let endpoint = house.endpoint("shop");
    let path = format!("/app/shop/endpoint/{endpoint}/oauth");
    for token in [house.operator.clone(), house.app_token(&app)] {
        let call = |method, body: &Value| house.call_as(&token, method, &path, body);
        call("GET", &Value::Null).refused(404, "not_found");
        call("PUT", &input()).is(204);
        let shown = call("GET", &Value::Null).is(200);
        let names = ["audience", "authMethod", "clientId", "scope", "tokenUrl"];
        assert_eq!(fields(&shown), names, "and no secret");
        assert_eq!((&shown["tokenUrl"], &shown["clientId"]), (&json!(URL), &json!("shop")));
        assert_eq!(shown["authMethod"], "clientSecretBasic");
        let other = json!({ "tokenUrl": URL, "clientId": "b", "clientSecret": "c", "scope": "s t",
            "audience": "a", "authMethod": "clientSecretPost" });
        call("PUT", &other).is(204);
        let shown = call("GET", &Value::Null).is(200);
        assert_eq!((&shown["scope"], &shown["audience"]), (&json!("s t"), &json!("a")));
        assert_eq!(shown["authMethod"], "clientSecretPost");
        // A change of the endpoint leaves them as they are.
        let body = json!({ "url": "https://receiver.example/2" });
        house.call("PUT", &format!("/app/shop/endpoint/{endpoint}"), &body).is(200);
        assert_eq!(call("GET", &Value::Null).is(200), shown);
        call("DELETE", &Value::Null).is(204);
        call("DELETE", &Value::Null).is(204);
        call("GET", &Value::Null).refused(404, "not_found");
    }
    let portal = house.get(&format!("/app/shop/endpoint/{endpoint}")).is(200);
    assert!(!portal.to_string().contains("the-secret"));
}

#[test]
fn what_breaks_a_rule_is_named_and_the_secret_is_not_repeated() {
    let house = House::with(|settings| settings.https_only = true);
    house.app("shop");
    let endpoint = house.endpoint("shop");
    let path = format!("/app/shop/endpoint/{endpoint}/oauth");
    for (field, value) in [
        ("tokenUrl", "http://id.example/token".to_owned()),
        ("tokenUrl", "https://10.0.0.1/token".to_owned()),
        ("tokenUrl", "https://169.254.169.254/".to_owned()),
        ("tokenUrl", "https://localhost/".to_owned()),
        ("tokenUrl", "https://a:b@id.example/".to_owned()),
        ("tokenUrl", "nonsense".to_owned()),
        ("clientId", String::new()),
        ("clientId", "a\nb".to_owned()),
        ("clientSecret", "repeated".repeat(65)),
        ("clientSecret", "répété".to_owned()),
        ("scope", "s".repeat(1025)),
        ("audience", "\u{0}".to_owned()),
    ] {
        let mut body = input();
        body[field] = json!(value);
        let got = house.call("PUT", &path, &body);
        assert!(!got.body.to_string().contains("repeated"), "{}", got.body);
        got.invalid(&["body", field]);
    }
    let mut body = input();
    body["authMethod"] = json!("none");
    assert_eq!(house.call("PUT", &path, &body).status, 422);
    house.get(&path).refused(404, "not_found");
    house.call("PUT", "/app/shop/endpoint/nobody/oauth", &input()).refused(404, "not_found");
}
