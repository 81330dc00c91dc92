//! `posthaste message`: what was accepted, and what became of it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::app::show;
use super::connect::Connect;
use super::listing::Listing;
use super::send::{self, Send};
use super::table::{Table, field, properties};
use super::{now_secs, out};
use crate::client::{Client, Route};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste message ls --app shop --type order.paid            # newest first
  posthaste message get msg_ID --app shop                      # the message and its deliveries
  posthaste message attempts msg_ID --app shop                 # every try, with its answer
  posthaste message attempts msg_ID --app shop --json          # the same with response bodies
  posthaste message resend msg_ID --app shop --endpoint ep_ID  # one more try, now
  posthaste message create --app shop --type order.paid '{}'   # the same as `posthaste send`";

/// Rows of a message's endpoints shown.
const MAX_DELIVERIES: usize = 10_000;

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List an application's messages
    Ls(List),
    /// Show one message and its deliveries
    Get(One),
    /// Accept a message: the same as `posthaste send`
    Create(Send),
    /// List the attempts made for a message
    Attempts(Attempts),
    /// Try one endpoint once more, now
    Resend(Resend),
}

/// `ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Id or uid of the application
    #[arg(long)]
    app: String,
    /// Event type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Channel
    #[arg(long)]
    channel: Option<String>,
    /// Accepted before this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Accepted after this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connect: Connect,
}

/// One message.
#[derive(Debug, Args)]
pub struct One {
    /// Its id, or the event id it was sent with
    #[arg(value_name = "MESSAGE")]
    message: String,
    /// Id or uid of the application
    #[arg(long)]
    app: String,
    #[command(flatten)]
    connect: Connect,
}

/// `attempts`.
#[derive(Debug, Args)]
pub struct Attempts {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    listing: Listing,
}

/// `resend`.
#[derive(Debug, Args)]
pub struct Resend {
    #[command(flatten)]
    one: One,
    /// Id or uid of the endpoint
    #[arg(long)]
    endpoint: String,
}

/// Does it.
///
/// # Errors
/// The request failed, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => list(args),
        Verb::Get(args) => get(args),
        Verb::Create(args) => send::run(args),
        Verb::Attempts(args) => attempts(args),
        Verb::Resend(args) => {
            let One { message, app, connect } = &args.one;
            let client = connect.client(now_secs())?;
            let segments = ["app", app, "msg", message, "endpoint", &args.endpoint, "resend"];
            let answer = client.post(&Route::new(&segments), &json!({}))?;
            if connect.json {
                return show(&answer, true);
            }
            out::line(&format!("scheduled {message} for {}", args.endpoint))?;
            Ok(())
        }
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    let client = args.connect.client(now_secs())?;
    // A table has no room for payloads; JSON carries them.
    let with_content = if args.connect.json { "true" } else { "false" };
    let mut route = Route::new(&["app", &args.app, "msg"])
        .query("with_content", with_content)
        .query_if("channel", args.channel.as_deref())
        .query_if("before", args.before.as_deref())
        .query_if("after", args.after.as_deref());
    for event_type in &args.types {
        route = route.query("event_types", event_type);
    }
    let names = ["id", "eventType", "eventId", "channels", "timestamp"];
    let headings = ["ID", "EVENT TYPE", "EVENT ID", "CHANNELS", "ACCEPTED"];
    args.listing.show(&client, &route, args.connect.json, &headings, |message| {
        names.map(|name| field(message, name)).to_vec()
    })
}

fn get(args: &One) -> anyhow::Result<()> {
    let client = args.connect.client(now_secs())?;
    let message = client.get(&Route::new(&["app", &args.app, "msg", &args.message]))?;
    let deliveries = deliveries(&client, &args.app, &args.message)?;
    if args.connect.json {
        let mut whole = message;
        if let Some(fields) = whole.as_object_mut() {
            fields.insert("endpoints".to_owned(), deliveries.into());
        }
        return Ok(out::json(&whole)?);
    }
    out::line(&properties(&message))?;
    if deliveries.is_empty() {
        return Ok(out::line("\nno endpoint wanted it")?);
    }
    let mut table = Table::new(&["ENDPOINT", "STATE", "NEXT ATTEMPT", "URL"]);
    for delivery in &deliveries {
        table.row(["id", "statusText", "nextAttempt", "url"].map(|name| field(delivery, name)));
    }
    out::line(&format!("\n{}", table.render()))?;
    Ok(())
}

/// The endpoints a message was scheduled for, each with its delivery's state.
pub(super) fn deliveries(client: &Client, app: &str, message: &str) -> anyhow::Result<Vec<Value>> {
    let route = Route::new(&["app", app, "msg", message, "endpoint"]);
    Ok(client.list(&route, MAX_DELIVERIES)?.data)
}

fn attempts(args: &Attempts) -> anyhow::Result<()> {
    let One { message, app, connect } = &args.one;
    let client = connect.client(now_secs())?;
    let route = Route::new(&["app", app, "attempt", "msg", message]);
    let headings = ["ID", "ENDPOINT", "RESULT", "CODE", "MS", "BY HAND", "AT"];
    args.listing.show(&client, &route, connect.json, &headings, |attempt| {
        let manual = attempt.get("triggerType").and_then(Value::as_u64) == Some(1);
        vec![
            field(attempt, "id"),
            field(attempt, "endpointId"),
            field(attempt, "statusText"),
            field(attempt, "responseStatusCode"),
            field(attempt, "responseDurationMs"),
            if manual { "yes" } else { "no" }.to_owned(),
            field(attempt, "timestamp"),
        ]
    })
}
