//! A receiver that verifies with this project's own library: straight from a provider, or behind a
//! daemon's door.
//!
//! `PROVIDER=github SECRET=… cargo run --example verify` takes GitHub's own requests;
//! `PROVIDER=standard_webhooks SECRET=whsec_…` takes what a daemon delivers. `PORT` is 9105 unless
//! set; `PUBLIC_URL` is needed by providers that sign the URL.
#![allow(clippy::print_stdout, reason = "an example")]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use posthaste::signature::{Profile, Providers, Request, Secret, Stage};
use warp::Filter as _;
use warp::http::{HeaderMap, Method, Response};

struct Receiver {
    profile: &'static Profile,
    secrets: Vec<Secret>,
    settings: BTreeMap<String, String>,
    url: String,
    /// A real receiver keeps these where they survive a restart.
    handled: Mutex<HashSet<String>>,
}

impl Receiver {
    fn take(&self, method: &Method, headers: &HeaderMap, body: &[u8]) -> Response<Vec<u8>> {
        let headers: Vec<(String, Vec<u8>)> = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        // The exact bytes, before any parsing; the URL from configuration, never from the request.
        let request = Request { method: method.as_str(), url: &self.url, headers: &headers, body };
        let (secrets, settings) = (&self.secrets, &self.settings);
        let before = Stage::BeforeVerify { secret_pending: false };
        if let Ok(Some(answer)) = self.profile.handshake(&request, secrets, settings, before) {
            return reply(answer.status, answer.body);
        }
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let verified = match self.profile.verify(&request, secrets, settings, now_ms) {
            Ok(verified) => verified,
            Err(rejection) => {
                println!("refused: {}", rejection.reason.code());
                return reply(self.profile.fail_status, Vec::new());
            }
        };
        let mut handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        if handled.insert(verified.dedupe_key) {
            let event = verified.event_type.unwrap_or_default();
            println!("verified {event}: {}", String::from_utf8_lossy(body));
        }
        match &self.profile.ok_response {
            Some(ok) => reply(ok.status, ok.body.clone().into_bytes()),
            None => reply(204, Vec::new()),
        }
    }
}

fn reply(status: u16, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap_or_default();
    response
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = std::env::var("PROVIDER")?;
    let profile = Providers::builtin().get(&provider).ok_or("no such provider")?;
    let receiver = Arc::new(Receiver {
        profile,
        // A secret that can never match is an error now, not a refused request later.
        secrets: vec![profile.secret(&std::env::var("SECRET")?)?],
        settings: BTreeMap::new(),
        url: std::env::var("PUBLIC_URL").unwrap_or_default(),
        handled: Mutex::default(),
    });
    let routes = warp::method()
        .and(warp::header::headers_cloned())
        .and(warp::body::content_length_limit(8 * 1024 * 1024))
        .and(warp::body::bytes())
        .map(move |method: Method, headers: HeaderMap, body: bytes::Bytes| {
            receiver.take(&method, &headers, &body)
        });
    let port: u16 = std::env::var("PORT").map_or(Ok(9105), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}
