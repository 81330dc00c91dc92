//! Every route with tokens that have no business there: never another's data, never a change to
//! them, never a 500.

use serde_json::{Value, json};

use super::House;
use crate::api::auth::Subject;
use crate::api::routes;

/// What stands in the victim's data and nowhere else.
const MARK: &str = "victim-mark";

struct Victim {
    house: House,
    app: String,
    ids: Vec<(&'static str, String)>,
}

fn victim() -> Victim {
    let house = House::new();
    let app = house
        .post("/app", &json!({ "name": MARK, "uid": "shop", "metadata": { "k": MARK } }))
        .is(201)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({ "url": format!("https://{MARK}.example"), "headers": { "x-a": MARK } });
    let endpoint =
        house.post("/app/shop/endpoint", &body).is(201)["id"].as_str().unwrap().to_owned();
    let oauth = json!({ "tokenUrl": format!("https://{MARK}.example/token"), "clientId": MARK,
        "clientSecret": MARK, "scope": MARK });
    let path = format!("/app/shop/endpoint/{endpoint}/oauth");
    house.call("PUT", &path, &oauth).is(204);
    let body = json!({ "eventType": "t", "payload": { "secret": MARK }, "eventId": "e1" });
    let msg = house.post("/app/shop/msg", &body).is(202)["id"].as_str().unwrap().to_owned();
    let attempt = house.attempt(&app, &endpoint, 500);
    let since = json!({ "since": "2026-01-01T00:00:00Z" });
    let missing = format!("/app/shop/endpoint/{endpoint}/replay-missing");
    let task = house.post(&missing, &since).is(202)["id"].as_str().unwrap().to_owned();
    house.run_tasks();
    let own = json!({ "url": format!("https://{MARK}.example") });
    house.post("/operational-webhook/endpoint", &own).is(201);
    let hidden = json!({ "name": "secret", "description": MARK, "featureFlag": "hidden" });
    house.post("/event-type", &hidden).is(201);
    let door = json!({ "name": MARK, "uid": "door", "type": "github", "app": "shop",
        "secrets": ["a-secret-of-the-victim"] });
    let source =
        house.post("/ingest/api/v1/source", &door).is(201)["id"].as_str().unwrap().to_owned();
    let ids = vec![
        ("app", app.clone()),
        ("endpoint", endpoint),
        ("msg", msg),
        ("attempt", attempt),
        ("task", task),
        ("source", source),
        ("capture", "cap_2srLjEbSzWSv1YCLXZ6wZcSnB0F".to_owned()),
        ("name", "secret".to_owned()),
        ("sink", "log".to_owned()),
        ("consumer", "c".to_owned()),
    ];
    Victim { house, app, ids }
}

impl Victim {
    fn path(&self, template: &str) -> String {
        self.ids
            .iter()
            .fold(template.to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id))
    }

    /// All there is to see of the victim, as its operator sees it.
    fn seen(&self) -> Vec<Value> {
        let [endpoint, msg] = [&self.ids[1].1, &self.ids[2].1];
        [
            "/app?limit=250".to_owned(),
            format!("/app/{}/endpoint", self.app),
            format!("/app/{}/endpoint/{endpoint}/secret", self.app),
            format!("/app/{}/endpoint/{endpoint}/headers", self.app),
            format!("/app/{}/endpoint/{endpoint}/oauth", self.app),
            format!("/app/{}/msg", self.app),
            format!("/app/{}/msg/{msg}/endpoint", self.app),
            format!("/app/{}/attempt/msg/{msg}", self.app),
            "/event-type?with_content=true&include_archived=true".to_owned(),
            "/operational-webhook/endpoint".to_owned(),
            "/background-task".to_owned(),
        ]
        .map(|path| self.house.get(&path).is(200))
        .into_iter()
        .chain([self.house.get("/ingest/api/v1/source").is(200)])
        .collect()
    }
}

/// Fields that satisfy most operations, so that they get as far as they can.
fn body() -> Value {
    let moment = "2026-11-24T08:00:00Z";
    json!({
        "name": "x", "description": "x", "url": "https://other.example", "eventType": "t",
        "payload": {}, "since": moment, "until": moment, "createdBefore": moment, "after": moment,
        "headers": {}, "offset": 0, "ids": ["e1"], "spec": { "webhooks": {} }, "retrySchedule": [],
        "tokenUrl": "https://other.example", "clientId": "x", "clientSecret": "x",
    })
}

/// Walks every route with a token; `expected` says which statuses are right for a path.
fn walk(victim: &Victim, token: Option<&str>, expected: impl Fn(&str, &str, u16) -> bool) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.as_deref().map(|b| ("authorization", b)).into_iter().collect();
    let mut routes = routes::all();
    // It ends the token, so it comes last.
    routes.sort_by_key(|(_, template)| template.ends_with("/logout"));
    for (method, template) in routes {
        let path = victim.path(template);
        for body in [String::new(), body().to_string()] {
            let got = victim.house.raw(method, &path, &headers, body.as_bytes());
            let what = format!("{method} {path}: {} {}", got.status, got.body);
            assert!(got.status < 500, "{what}");
            assert!(expected(method, template, got.status), "{what}");
            let told = String::from_utf8_lossy(&got.reply.body);
            assert!(!told.contains(MARK), "{what}");
            for (_, id) in victim.ids.iter().take(6).filter(|(_, id)| !path.contains(id)) {
                assert!(!told.contains(id.as_str()), "{what}");
            }
        }
    }
}

/// Routes that need no token.
fn is_public(template: &str) -> bool {
    let public = ["/", "/docs", "/portal", "/api/v1/openapi.json"];
    public.contains(&template) || template.starts_with("/api/v1/health")
}

#[test]
fn without_a_token() {
    let victim = victim();
    let before = victim.seen();
    walk(&victim, None, |_, template, status| is_public(template) || status == 401);
    assert_eq!(victim.seen(), before);
}

#[test]
fn with_the_token_of_another_organisations_operator() {
    let victim = victim();
    let before = victim.seen();
    let token = victim.house.token(&Subject::Org("org_2srLjEbSzWSv1YCLXZ6wZcSnB0F".to_owned()));
    walk(&victim, Some(&token), |method, template, status| {
        let of_victim = ["{app}", "{task}", "{source}"].iter().any(|part| template.contains(part));
        // A PUT makes what is not there, in the stranger's own organisation.
        let makes = method == "PUT" && template == "/api/v1/app/{app}";
        !of_victim || makes || [400, 404, 422].contains(&status)
    });
    assert_eq!(victim.seen(), before);
}

#[test]
fn with_the_token_of_another_application() {
    let victim = victim();
    victim.house.app("other");
    let other = victim.house.get("/app/other").is(200)["id"].as_str().unwrap().to_owned();
    let before = victim.seen();
    let token = victim.house.app_token(&other);
    walk(&victim, Some(&token), |_, template, status| {
        let of_victim = ["{app}", "{task}", "{source}"].iter().any(|part| template.contains(part));
        !of_victim || [400, 403, 404, 422].contains(&status)
    });
    assert_eq!(victim.seen(), before);
}

#[test]
fn with_the_token_of_an_application_that_was_deleted() {
    let victim = victim();
    let gone = victim.house.app("gone");
    let token = victim.house.app_token(&gone);
    victim.house.call("DELETE", "/app/gone", &Value::Null).is(204);
    walk(&victim, Some(&token), |_, template, status| is_public(template) || status == 401);
}
