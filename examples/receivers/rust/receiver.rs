//! Receives webhooks: verifies each one, prints it, answers 204 or 400. SECRET is the endpoint's.
//!
//! `SECRET=whsec_… cargo run --example receiver`
#![allow(clippy::print_stdout, reason = "an example")]

use std::sync::Arc;

use standardwebhooks::Webhook;
use warp::Filter as _;
use warp::http::{HeaderMap, StatusCode};

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let webhook = Arc::new(Webhook::new(&std::env::var("SECRET")?)?);
    let receive = move |headers: HeaderMap, body: bytes::Bytes| {
        if webhook.verify(&body, &headers).is_err() {
            return StatusCode::BAD_REQUEST;
        }
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        println!("verified {id} {}", String::from_utf8_lossy(&body));
        StatusCode::NO_CONTENT
    };
    let routes = warp::post()
        .and(warp::header::headers_cloned())
        .and(warp::body::content_length_limit(8 * 1024 * 1024))
        .and(warp::body::bytes())
        .map(receive);
    let port: u16 = std::env::var("PORT").map_or(Ok(8072), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}
