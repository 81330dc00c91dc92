//! `posthaste send` (and `message create`): one message to one application.

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::app::made;
use super::connect::Connect;
use super::{now_secs, payload};
use crate::client::Route;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste send --app shop --type order.paid '{\"order\":7}'      # the payload as text
  posthaste send --app shop --type order.paid @order.json        # from a file
  jq -c . order.json | posthaste send --app shop --type t        # from a pipe
  posthaste send --app shop --type t --event-id o-7-paid '{}'    # a second one with it is refused
  posthaste send --app shop --type t --channel eu --json '{}'    # the whole answer";

/// `send`.
#[derive(Debug, Args)]
pub struct Send {
    /// Id or uid of the application
    #[arg(long)]
    app: String,
    /// Event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    /// Channel; may be repeated
    #[arg(long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Your own id for the event; a message with the same one is refused
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// The payload: JSON text, @FILE, or - for stdin (the default when something is piped in)
    #[arg(value_name = "JSON | @FILE | -")]
    payload: Option<String>,
    #[command(flatten)]
    connect: Connect,
}

/// The body of the request. The payload goes on as the bytes that were given.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageIn<'a> {
    event_type: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    channels: &'a [String],
}

/// Does it.
///
/// # Errors
/// The payload cannot be read, the request failed, or stdout is gone.
pub fn run(args: &Send) -> anyhow::Result<()> {
    let payload = match &args.payload {
        Some(argument) => payload::read(argument)?,
        None => payload::read_piped()?,
    };
    let message = MessageIn {
        event_type: &args.event_type,
        payload: &payload,
        event_id: args.event_id.as_deref(),
        channels: &args.channels,
    };
    let client = args.connect.client(now_secs())?;
    let accepted = client.post(&Route::new(&["app", &args.app, "msg"]), &message)?;
    made(&accepted, "id", args.connect.json)
}
