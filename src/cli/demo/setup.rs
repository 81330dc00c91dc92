//! What leads to the deliveries: a receiver, subscriptions, and the events themselves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Event;
use super::ledger::{Expected, Ledger, Subscription};
use super::sample::{Endpoint, Sample};
use crate::cli::receiver::{Behaviour, Door, Doors, Failing, Receiver};
use crate::cli::table::field;
use crate::client::{Client, Route};
use crate::model::secret::SigningKey;

/// What a receiver that fails on purpose answers.
const FAILURE: u16 = 503;

/// A receiver without doors yet, that reports everything it takes.
pub(super) fn receiver(send: Sender<Event>) -> anyhow::Result<(Receiver, Doors)> {
    let doors = Doors::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to listen")?;
    let receiver = Receiver::start(listener, doors.clone(), move |received| {
        // After the demo nobody listens any more.
        drop(send.send(Event::Received(Box::new(received))));
    });
    Ok((receiver.context("failed to start the receiver")?, doors))
}

/// Makes applications, event types and endpoints, and opens a door for each endpoint with the
/// secret that the daemon made for it.
pub(super) fn subscribe(
    client: &Client,
    samples: &[Sample],
    receiver: SocketAddr,
    doors: &Doors,
) -> anyhow::Result<Ledger> {
    let mut ledger = Ledger::default();
    for sample in samples {
        let made = client.post(&Route::new(&["app"]), &sample.application)?;
        let app = field(&made, "id");
        for event_type in &sample.event_types {
            client.post(&Route::new(&["event-type"]), event_type)?;
        }
        for endpoint in &sample.endpoints {
            let id = make_endpoint(client, &app, endpoint, receiver)?;
            let secret = client.get(&Route::new(&["app", &app, "endpoint", &id, "secret"]))?;
            let key = SigningKey::parse(&field(&secret, "key"))?;
            doors.open(door(endpoint, key));
            ledger.subscribe(Subscription {
                app: app.clone(),
                app_name: field(&made, "name"),
                endpoint: id,
                name: endpoint.name.clone(),
                path: endpoint.path.clone(),
                event_types: endpoint.event_types.clone(),
                failures: endpoint.behaviour.failures(),
            });
        }
        ledger.end_of_application(&app);
    }
    Ok(ledger)
}

fn make_endpoint(
    client: &Client,
    app: &str,
    endpoint: &Endpoint,
    receiver: SocketAddr,
) -> anyhow::Result<String> {
    let body = json!({
        "url": format!("http://{receiver}{}", endpoint.path),
        "description": endpoint.description,
        "eventTypes": endpoint.event_types,
    });
    Ok(field(&client.post(&Route::new(&["app", app, "endpoint"]), &body)?, "id"))
}

fn door(endpoint: &Endpoint, key: SigningKey) -> Door {
    let failing = match endpoint.behaviour.failures() {
        0 => Failing::Never,
        times => Failing::First(times),
    };
    let behaviour = Behaviour::new(failing, Some(FAILURE), Duration::ZERO);
    Door { path: endpoint.path.clone(), key, behaviour }
}

/// Sends every sample event and notes which deliveries it must lead to.
pub(super) fn send(client: &Client, samples: &[Sample], ledger: &mut Ledger) -> anyhow::Result<()> {
    for (sample, app) in samples.iter().zip(ledger.applications()) {
        for message in &sample.messages {
            let event_type = field(&serde_json::from_str::<Value>(message.get())?, "eventType");
            let sent = Instant::now();
            let accepted = client.post(&Route::new(&["app", &app, "msg"]), message)?;
            let message = field(&accepted, "id");
            ledger.expect(&Expected { app: app.clone(), message, event_type, sent });
        }
    }
    Ok(())
}
