//! `posthaste listen`: a receiver that verifies, prints, and fails when told to.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver as Events, channel};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::body::Body;
use super::connect::Connect;
use super::exit::{Exit, UsageError};
use super::out::{Paint, clean};
use super::receiver::{Behaviour, Door, Doors, Failing, Received, Receiver};
use super::table::field;
use super::{interrupt, now_secs, out};
use crate::client::{Client, Route};
use crate::model::secret::{KEY_BYTES, SigningKey};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste listen --app shop                        # subscribe to everything, unsubscribe at the end
  posthaste listen --app shop --type order.paid      # to one event type
  posthaste listen --app shop --fail 2               # the first two attempts of each message fail
  posthaste listen --app shop --fail-rate 0.3        # three in ten fail
  posthaste listen --app shop --status 410           # every one is answered with 410
  posthaste listen --app shop --count 1 --json       # end after one that was taken
  posthaste listen --port 8072 --secret whsec_KEY    # for an endpoint that exists already

The daemon refuses private addresses by default: start it with --dev or with
--allow-network 127.0.0.0/8 so that it may deliver to this machine.";

/// Characters of a body shown.
const BODY_CHARS: usize = 100;

/// `listen`.
#[derive(Debug, Args)]
pub struct Listen {
    /// Port on 127.0.0.1; 0 takes any free one [default: 8072, or 0 with --app]
    #[arg(long)]
    port: Option<u16>,
    /// Secret of the endpoint (`whsec_…`, `whsk_…`); one is made if none is given
    #[arg(long)]
    secret: Option<String>,
    /// Subscribe in this application (id or uid) while running
    #[arg(long)]
    app: Option<String>,
    /// Event type to subscribe to; may be repeated, none means every one
    #[arg(long = "type", value_name = "TYPE", requires = "app")]
    types: Vec<String>,
    /// Channel to subscribe to; may be repeated
    #[arg(long = "channel", value_name = "CHANNEL", requires = "app")]
    channels: Vec<String>,
    /// Fail the first N attempts of every message
    #[arg(long, value_name = "N")]
    fail: Option<u32>,
    /// Fail this share of all attempts (0 to 1)
    #[arg(long, value_name = "P", conflicts_with = "fail")]
    fail_rate: Option<f64>,
    /// What to fail with (500); alone, fail every attempt
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..600))]
    status: Option<u16>,
    /// Wait this long before every answer: `200ms`, `3s`
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    delay: Option<Duration>,
    /// End after so many deliveries that verified and were answered with success
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    connect: Connect,
}

/// What wakes the command.
enum Event {
    Received(Box<Received>),
    Interrupted,
}

/// Does it: runs until interrupted or until `--count` is reached.
///
/// # Errors
/// The port is taken, the subscription failed, or stdout is gone.
pub fn run(args: &Listen) -> anyhow::Result<Exit> {
    let (send, events) = channel();
    let caught = send.clone();
    interrupt::catch(move || drop(caught.send(Event::Interrupted)))?;
    let port = args.port.unwrap_or(if args.app.is_some() { 0 } else { 8072 });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("failed to listen on 127.0.0.1:{port}"))?;
    let given = args.secret.as_deref().map(parse_key).transpose()?;
    let key = given.map_or_else(random_key, Ok)?;
    let doors = Doors::default();
    doors.open(Door { path: "/".to_owned(), key: key.clone(), behaviour: args.behaviour() });
    let receiver = Receiver::start(listener, doors, move |received| {
        drop(send.send(Event::Received(Box::new(received))));
    })?;
    let url = format!("http://{}/", receiver.address());
    let subscription =
        args.app.as_ref().map(|app| Subscription::make(args, app, &url, &key)).transpose()?;
    out::note(&format!("listening on {url}"));
    match &subscription {
        Some(it) => out::note(&format!("subscribed as {} until this ends", it.endpoint)),
        None => out::note(&format!("secret {}", key.to_text())),
    }
    let outcome = print_all(args, &events, subscription.as_ref());
    let removed = subscription.as_ref().map_or(Ok(()), Subscription::remove);
    let exit = outcome?;
    removed.context("failed to remove the endpoint")?;
    Ok(exit)
}

impl Listen {
    fn behaviour(&self) -> Behaviour {
        let failing = match (self.fail, self.fail_rate, self.status) {
            (Some(times), _, _) => Failing::First(times),
            (None, Some(share), _) => Failing::Share(share),
            (None, None, Some(_)) => Failing::Always,
            (None, None, None) => Failing::Never,
        };
        Behaviour::new(failing, self.status, self.delay.unwrap_or_default())
    }
}

fn print_all(
    args: &Listen,
    events: &Events<Event>,
    subscription: Option<&Subscription>,
) -> anyhow::Result<Exit> {
    let paint = Paint::for_stdout();
    let mut taken = 0;
    loop {
        let received = match events.recv() {
            Ok(Event::Received(received)) => received,
            Ok(Event::Interrupted) | Err(_) => return Ok(Exit::Interrupted),
        };
        let event_type = event_type(&received, subscription);
        if args.connect.json {
            out::line(&as_json(&received, &event_type).to_string())?;
        } else {
            out::line(&describe(&received, &event_type, paint))?;
        }
        if received.verified.is_ok() && (200..300).contains(&received.status) {
            taken += 1;
        }
        if args.count.is_some_and(|count| taken >= count) {
            return Ok(Exit::Done);
        }
    }
}

/// One delivery on one line.
fn describe(received: &Received, event_type: &str, paint: Paint) -> String {
    let id = clean(received.id().unwrap_or("no id"), 64);
    let event_type = clean(event_type, 64);
    let body = clean(&String::from_utf8_lossy(&received.request.body), BODY_CHARS);
    let verdict = verdict(received, paint);
    format!("{id}  {event_type:<18}  {verdict}  {}", paint.faint(&body))
}

/// Which attempt, whether it verified, and what was answered.
pub(super) fn verdict(received: &Received, paint: Paint) -> String {
    let attempt = clean(received.attempt().unwrap_or("?"), 6);
    let verdict = match &received.verified {
        Ok(()) => paint.good("verified"),
        Err(why) => paint.bad(&format!("NOT VERIFIED: {why}")),
    };
    let status = received.status.to_string();
    let status = if received.status < 300 { paint.good(&status) } else { paint.warn(&status) };
    format!("attempt {attempt}  {verdict}  answered {status}")
}

fn as_json(received: &Received, event_type: &str) -> Value {
    let body = &received.request.body;
    let body = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()));
    json!({
        "id": received.id(),
        "eventType": event_type,
        "attempt": received.attempt().and_then(|attempt| attempt.parse::<u32>().ok()),
        "path": received.request.target,
        "verified": received.verified.is_ok(),
        "reason": received.verified.as_ref().err().map(ToString::to_string),
        "answered": received.status,
        "body": body,
    })
}

/// A delivery does not carry its event type; many payloads do, and the daemon knows.
fn event_type(received: &Received, subscription: Option<&Subscription>) -> String {
    let payload = serde_json::from_slice::<Value>(&received.request.body).unwrap_or_default();
    let in_payload = field(&payload, "type");
    if !in_payload.is_empty() {
        return in_payload;
    }
    let known = subscription.zip(received.id()).and_then(|(it, id)| {
        let route = Route::new(&["app", &it.app, "msg", id]).query("with_content", "false");
        it.client.get(&route).ok()
    });
    known.map_or_else(|| "-".to_owned(), |message| field(&message, "eventType"))
}

/// An endpoint on the daemon that points here.
struct Subscription {
    client: Client,
    app: String,
    endpoint: String,
}

impl Subscription {
    fn make(args: &Listen, app: &str, url: &str, key: &SigningKey) -> anyhow::Result<Self> {
        let client = args.connect.client(now_secs())?;
        let body = Body::default()
            .set("url", url)
            .set("description", "posthaste listen")
            .set("secret", key.to_text())
            .set_list("eventTypes", &args.types)
            .set_list("channels", &args.channels)
            .into_value();
        let made = client.post(&Route::new(&["app", app, "endpoint"]), &body)?;
        let endpoint = field(&made, "id");
        Ok(Self { client, app: app.to_owned(), endpoint })
    }

    fn remove(&self) -> anyhow::Result<()> {
        self.client.delete(&Route::new(&["app", &self.app, "endpoint", &self.endpoint]))?;
        Ok(())
    }
}

fn parse_key(text: &str) -> anyhow::Result<SigningKey> {
    SigningKey::parse(text).map_err(|e| UsageError(format!("--secret: {e}")).into())
}

/// A new symmetric key.
///
/// # Errors
/// The system gives no random bytes.
fn random_key() -> anyhow::Result<SigningKey> {
    let mut random = [0; KEY_BYTES];
    getrandom::fill(&mut random)
        .map_err(|e| anyhow::anyhow!("failed to read random bytes: {e}"))?;
    Ok(SigningKey::symmetric_from_random(random))
}
