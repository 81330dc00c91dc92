//! The published Rust library of svix on Posthaste.
//!
//! Started by `tests/it/clients.rs` with `SERVER_URL` and `TOKEN` in the environment:
//!
//! ```text
//! posthaste-clients run BODIES     the whole life of a webhook, then every operation of the
//!                                  library; prints one JSON object as its last line
//! posthaste-clients verify FILE    verifies deliveries that other libraries made
//! ```

mod life;
mod receiver;
mod surface;
mod world;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svix::api::{Svix, SvixOptions};
use svix::webhooks::Webhook;

use receiver::{Arrival, Receiver};

/// Nothing is waited for longer than this.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the daemon under test. `retries` is how often it tries again.
pub fn client(token: String, retries: u32) -> Svix {
    let server_url = Some(std::env::var("SERVER_URL").expect("SERVER_URL"));
    let options = SvixOptions { server_url, num_retries: Some(retries), ..SvixOptions::default() };
    Svix::new(token, Some(options))
}

/// The operator's token.
pub fn token() -> String {
    std::env::var("TOKEN").expect("TOKEN")
}

/// Verifies by the library's own verifier, which must refuse other bytes.
pub fn verify(secret: &str, arrival: &Arrival) {
    let headers = arrival.headers.iter().filter_map(|(name, value)| {
        let name = http::HeaderName::try_from(name).ok()?;
        Some((name, http::HeaderValue::try_from(value).ok()?))
    });
    let headers: http::HeaderMap = headers.collect();
    let verifier = Webhook::new(secret).expect("a secret");
    verifier.verify(arrival.body.as_bytes(), &headers).expect("what was delivered verifies");
    let other = format!("{} ", arrival.body);
    verifier.verify(other.as_bytes(), &headers).expect_err("other bytes do not");
}

/// Asks until there is an answer: for states that can only be asked for.
pub async fn ask<T>(what: &str, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        // sleep: the pause between two questions, within the limit.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let printed = match *arguments.as_slice() {
        ["run", bodies] => {
            let receiver = Receiver::start();
            let deliveries = runtime.block_on(life::run(&receiver));
            let operations = runtime.block_on(surface::run(&receiver, bodies));
            json!({ "deliveries": deliveries, "operations": operations })
        }
        ["verify", file] => verify_all(file),
        _ => panic!("usage: posthaste-clients run BODIES | verify FILE"),
    };
    println!("{printed}");
}

fn verify_all(file: &str) -> Value {
    let text = std::fs::read_to_string(file).expect("the deliveries");
    let deliveries: Vec<Value> = serde_json::from_str(&text).expect("a list of deliveries");
    for delivery in &deliveries {
        let arrival = serde_json::from_value(delivery.clone()).expect("a delivery");
        verify(delivery["secret"].as_str().expect("a secret"), &arrival);
    }
    json!({ "verified": deliveries.len() })
}
