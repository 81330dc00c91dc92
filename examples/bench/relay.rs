//! The relay: warp in, ureq out, nothing kept. What this stack could do at the very best.
//!
//! It speaks as much of the API as a run needs. It signs, and it does no more: no store, no
//! retries, no guard, no isolation. It runs as a child of the bench, so that its CPU is its own.
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::reply::{Reply, Response};
use warp::{Filter, path};

use crate::relay_out::{Endpoint, Job, Outgoing};

/// Of a message; the daemon's default is a quarter of it.
const MAX_BODY: u64 = 1024 * 1024;

/// Serves on a free port until standard input ends.
pub fn serve(threads: usize) -> Result<()> {
    let relay = Arc::new(Relay {
        apps: RwLock::default(),
        ids: AtomicU64::new(0),
        outgoing: Outgoing::start(threads)?,
    });
    // The bench holds the other end for as long as it lives.
    thread::Builder::new().name("relay-stdin".into()).spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = tokio::net::TcpListener::bind(address).await.context("bind the relay")?;
        println!("listening on http://{}", listener.local_addr()?);
        warp::serve(routes(relay)).incoming(listener).run().await;
        Ok(())
    })
}

struct Relay {
    apps: RwLock<HashMap<String, App>>,
    ids: AtomicU64,
    outgoing: Outgoing,
}

#[derive(Default, Clone)]
struct App {
    /// Of endpoints without a channel.
    all: Arc<Vec<Arc<Endpoint>>>,
    by_channel: HashMap<String, Arc<Vec<Arc<Endpoint>>>>,
    by_id: HashMap<String, Arc<Endpoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageIn<'a> {
    event_type: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    channels: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageOut<'a> {
    id: &'a str,
    event_type: &'a str,
    payload: &'a RawValue,
    timestamp: String,
    event_id: Option<&'a str>,
    channels: Option<&'a [String]>,
}

#[derive(Deserialize)]
struct EndpointIn {
    url: String,
    #[serde(default)]
    channels: Vec<String>,
}

type Routes = warp::filters::BoxedFilter<(Response,)>;

fn routes(relay: Arc<Relay>) -> Routes {
    let given = move || {
        let relay = Arc::clone(&relay);
        warp::any().map(move || Arc::clone(&relay))
    };
    let body = || warp::body::content_length_limit(MAX_BODY).and(warp::body::bytes());
    // The hot route first.
    let message = path!("api" / "v1" / "app" / String / "msg")
        .and(warp::post())
        .and(warp::header::<String>("authorization"))
        .and(query())
        .and(body())
        .and(given())
        .then(post_message);
    let endpoint = path!("api" / "v1" / "app" / String / "endpoint")
        .and(warp::post())
        .and(body())
        .and(given())
        .map(|app: String, body: Bytes, relay: Arc<Relay>| relay.create_endpoint(&app, &body));
    let secret = path!("api" / "v1" / "app" / String / "endpoint" / String / "secret")
        .and(warp::get())
        .and(given())
        .map(|app: String, id: String, relay: Arc<Relay>| relay.secret(&app, &id));
    let app = path!("api" / "v1" / "app")
        .and(warp::post())
        .and(given())
        .map(|relay: Arc<Relay>| relay.create_app());
    let delete = path!("api" / "v1" / "app" / String).and(warp::delete()).and(given()).map(
        |app: String, relay: Arc<Relay>| {
            relay.apps.write().unwrap_or_else(PoisonError::into_inner).remove(&app);
            StatusCode::NO_CONTENT.into_response()
        },
    );
    message.or(endpoint).unify().or(secret).unify().or(app).unify().or(delete).unify().boxed()
}

/// The raw query, empty when there is none.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    let none = warp::any().map(String::new);
    warp::query::raw().or(none).unify()
}

async fn post_message(
    app: String,
    authorization: String,
    query: String,
    body: Bytes,
    relay: Arc<Relay>,
) -> Response {
    if !authorization.starts_with("Bearer ") {
        return refuse(StatusCode::UNAUTHORIZED, "authentication_failed", "Invalid token");
    }
    let message: MessageIn<'_> = match serde_json::from_slice(&body) {
        Ok(message) => message,
        Err(error) => {
            let error = error.to_string();
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, "value_error.jsondecode", &error);
        }
    };
    let Some(targets) = relay.targets(&app, &message.channels) else {
        return refuse(StatusCode::NOT_FOUND, "not_found", "Entity not found");
    };
    let id: Arc<str> = relay.next_id("msg").into();
    let payload = body.slice_ref(message.payload.get().as_bytes());
    for endpoint in targets.iter().flat_map(|endpoints| endpoints.iter()) {
        let job =
            Job { endpoint: Arc::clone(endpoint), id: Arc::clone(&id), payload: payload.clone() };
        relay.outgoing.push(job).await;
    }
    let lean = query.contains("with_content=false");
    let out = MessageOut {
        id: &id,
        event_type: message.event_type,
        payload: if lean { empty() } else { message.payload },
        timestamp: Timestamp::now().to_string(),
        event_id: None,
        channels: (!message.channels.is_empty()).then_some(message.channels.as_slice()),
    };
    answer(StatusCode::ACCEPTED, &out)
}

fn empty() -> &'static RawValue {
    serde_json::from_str("{}").unwrap_or(RawValue::NULL)
}

impl Relay {
    fn next_id(&self, prefix: &str) -> String {
        format!("{prefix}_{:027}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn create_app(&self) -> Response {
        let id = self.next_id("app");
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.insert(id.clone(), App::default());
        answer(StatusCode::CREATED, &json!({"id": id, "name": "bench", "metadata": {}}))
    }

    fn create_endpoint(&self, app: &str, body: &[u8]) -> Response {
        let new: EndpointIn = match serde_json::from_slice(body) {
            Ok(new) => new,
            Err(error) => {
                return refuse(StatusCode::UNPROCESSABLE_ENTITY, "value_error", &error.to_string());
            }
        };
        let id = self.next_id("ep");
        let shard = self.ids.fetch_add(1, Ordering::Relaxed);
        let Ok(endpoint) = Endpoint::new(new.url.clone(), shard) else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "generic_error", "no random bytes");
        };
        let endpoint = Arc::new(endpoint);
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        let Some(app) = apps.get_mut(app) else {
            return refuse(StatusCode::NOT_FOUND, "not_found", "Entity not found");
        };
        app.by_id.insert(id.clone(), Arc::clone(&endpoint));
        if new.channels.is_empty() {
            Arc::make_mut(&mut app.all).push(Arc::clone(&endpoint));
        }
        for channel in &new.channels {
            let on = app.by_channel.entry(channel.clone()).or_default();
            Arc::make_mut(on).push(Arc::clone(&endpoint));
        }
        answer(StatusCode::CREATED, &json!({"id": id, "url": new.url, "channels": new.channels}))
    }

    fn secret(&self, app: &str, id: &str) -> Response {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        match apps.get(app).and_then(|app| app.by_id.get(id)) {
            Some(endpoint) => answer(StatusCode::OK, &json!({"key": endpoint.key.to_text()})),
            None => refuse(StatusCode::NOT_FOUND, "not_found", "Entity not found"),
        }
    }

    /// Who gets a message; `None` when there is no such application.
    fn targets(&self, app: &str, channels: &[String]) -> Option<Vec<Arc<Vec<Arc<Endpoint>>>>> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        let app = apps.get(app)?;
        let on = channels.iter().filter_map(|channel| app.by_channel.get(channel)).cloned();
        Some(on.chain([Arc::clone(&app.all)]).collect())
    }
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let json = serde_json::to_vec(body).unwrap_or_default();
    let reply = warp::reply::with_header(json, "content-type", "application/json");
    warp::reply::with_status(reply, status).into_response()
}

fn refuse(status: StatusCode, code: &str, detail: &str) -> Response {
    answer(status, &json!({"code": code, "detail": Value::from(detail)}))
}
