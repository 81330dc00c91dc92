//! The API without a socket: requests go straight to the router, over a real store in a temporary
//! folder. [`House`] is the helper of all files here; one file per resource.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

mod access;
mod api_token;
mod application;
mod attempt;
mod document;
mod endpoint;
mod event_openapi;
mod event_type;
mod foreign;
mod matching;
mod message;
mod oauth;
mod operational;
mod paging;
mod poller;
mod replay;
mod routes;
mod serve;
mod session;
mod usage;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::auth::{self, DEFAULT_ORG, Secret, Subject};
use super::reply::Reply;
use super::request::Request;
use super::{Api, ApiSettings, router};
use crate::delivery::AddressPolicy;
use crate::model::clock::{Clock as _, SystemClock};
use crate::model::delivery::{QueueRow, Trigger, Verdict};
use crate::model::id::{AppId, EndpointId};
use crate::scheduler::shell::Board;
use crate::store::attempts::AttemptResult;
use crate::store::tasks::Step;
use crate::store::{Options, Store};

/// Bytes a payload may have here.
const MAX_PAYLOAD: usize = 64 * 1024;

/// An API over a new store.
struct House {
    api: Arc<Api>,
    runtime: Runtime,
    operator: String,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
struct Got {
    status: u16,
    body: Value,
    reply: Reply,
}

impl Got {
    /// The body, if the status is the expected one.
    #[track_caller]
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Checks a refusal of the first shape.
    #[track_caller]
    fn refused(self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert!(self.body["detail"].as_str().is_some_and(|text| !text.is_empty()));
    }

    /// Checks a refusal of the second shape: the rule, and where it was broken.
    #[track_caller]
    fn invalid(self, place: &[&str]) {
        assert_eq!(self.status, 422, "{}", self.body);
        let problem = &self.body["detail"][0];
        assert_eq!(problem["loc"], json!(place), "{}", self.body);
        assert!(problem["msg"].is_string() && problem["type"].is_string(), "{}", self.body);
    }
}

impl House {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            threaded: true,
            ..Options::trial(
                folder.path().join("store"),
                Arc::new(SystemClock),
                Box::new(|buffer| getrandom::fill(buffer).unwrap()),
            )
        };
        let store = Arc::new(Store::open(options, Box::new(drop)).unwrap());
        let mut settings = ApiSettings {
            jwt_secret: Secret::from_text("a secret of enough bytes", "test").unwrap(),
            max_payload: MAX_PAYLOAD,
            https_only: false,
            policy: AddressPolicy::default(),
            ed25519_by_default: false,
            base_url: "http://posthaste.example".to_owned(),
        };
        change(&mut settings);
        let api = Arc::new(Api::new(store, Arc::new(Board::default()), settings));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut house = Self { api, runtime, operator: String::new(), _folder: folder };
        house.operator = house.token(&Subject::Org(DEFAULT_ORG.to_owned()));
        house
    }

    fn token(&self, subject: &Subject) -> String {
        let now = SystemClock.now().seconds();
        auth::mint(&self.api.settings.jwt_secret, subject, now, Duration::from_secs(60))
    }

    /// A token of the application with this id.
    fn app_token(&self, app: &str) -> String {
        self.token(&Subject::App { app: app.to_owned(), org: DEFAULT_ORG.to_owned() })
    }

    /// A request below `/api/v1` with the operator's token.
    fn call(&self, method: &str, path: &str, body: &Value) -> Got {
        self.call_as(&self.operator, method, path, body)
    }

    fn call_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Got {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = format!("Bearer {token}");
        let base = if path.starts_with("/ingest/") { "" } else { "/api/v1" };
        self.raw(method, &format!("{base}{path}"), &[("authorization", &token)], body.as_bytes())
    }

    /// With an idempotency key.
    fn call_once(&self, key: &str, method: &str, path: &str, body: &Value) -> Got {
        let token = format!("Bearer {}", self.operator);
        let headers = [("authorization", token.as_str()), ("idempotency-key", key)];
        self.raw(method, &format!("/api/v1{path}"), &headers, body.to_string().as_bytes())
    }

    fn raw(
        &self,
        method: &str,
        target: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Got {
        let reply = self
            .runtime
            .block_on(router::answer(&self.api, request(method, target, headers, body)));
        if reply.status != 501 {
            document::check(method, target, &reply);
        }
        got(reply)
    }

    fn get(&self, path: &str) -> Got {
        self.call("GET", path, &Value::Null)
    }

    fn post(&self, path: &str, body: &Value) -> Got {
        self.call("POST", path, body)
    }

    /// A new application; its id.
    fn app(&self, uid: &str) -> String {
        let app = self.post("/app", &json!({ "name": uid, "uid": uid })).is(201);
        app["id"].as_str().unwrap().to_owned()
    }

    /// A new endpoint that wants everything; its id.
    fn endpoint(&self, app: &str) -> String {
        let body = json!({ "url": "https://receiver.example/hook" });
        let endpoint = self.post(&format!("/app/{app}/endpoint"), &body).is(201);
        endpoint["id"].as_str().unwrap().to_owned()
    }

    /// A new message; its id.
    fn message(&self, app: &str, event_type: &str) -> String {
        let body = json!({ "eventType": event_type, "payload": { "n": 1 } });
        let message = self.post(&format!("/app/{app}/msg"), &body).is(202);
        message["id"].as_str().unwrap().to_owned()
    }

    /// Rows of an endpoint's queue that are due.
    fn due(&self, endpoint: &str) -> Vec<QueueRow> {
        let id: EndpointId = endpoint.parse().unwrap();
        let now = self.api.store.now();
        self.api.store.queue_head(id, now, &HashSet::new(), false, 1000).unwrap().rows
    }

    /// Takes the steps of every task that has something to do now.
    fn run_tasks(&self) {
        for (org, id) in self.api.store.running_tasks().unwrap() {
            while self.api.store.step_task(org, id).unwrap() == Step::More {}
        }
    }

    /// Records an attempt for the first due row of the endpoint's queue, as the scheduler would;
    /// its id.
    fn attempt(&self, app: &str, endpoint: &str, status: u16) -> String {
        let succeeded = (200..300).contains(&status);
        let verdict = if succeeded { Verdict::Succeeded } else { Verdict::Exhausted };
        let row = *self.due(endpoint).first().expect("something is due");
        self.record(self.attempted(app, row, status, verdict))
    }

    /// What came of an attempt for a row.
    fn attempted(&self, app: &str, row: QueueRow, status: u16, verdict: Verdict) -> AttemptResult {
        let succeeded = (200..300).contains(&status);
        AttemptResult {
            row,
            app: app.parse::<AppId>().unwrap(),
            url: "https://receiver.example/hook".to_owned(),
            started_at: self.api.store.now(),
            duration_ms: 12,
            status: Some(status),
            response: format!("answer {status}").into_bytes(),
            failure_code: if succeeded { "" } else { "status" },
            verdict,
            keeps_place: false,
            gone: false,
            blames_endpoint: row.trigger == Trigger::Scheduled,
        }
    }

    /// Writes what came of an attempt; its id.
    fn record(&self, result: AttemptResult) -> String {
        let id = self.api.store.write_and_wait(move |writer| writer.record(&result)).unwrap();
        let id = id.expect("the message is there");
        id.to_string()
    }
}

fn request(method: &str, target: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Request {
        method: method.parse::<Method>().unwrap(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: map,
        body: Bytes::copy_from_slice(body),
    }
}

fn got(reply: Reply) -> Got {
    let body = if reply.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&reply.body).unwrap_or(Value::Null)
    };
    Got { status: reply.status, body, reply }
}

/// The names of a JSON object's fields, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// The ids of a page's rows.
fn ids(page: &Value) -> Vec<String> {
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
