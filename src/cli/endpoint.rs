//! `posthaste endpoint`: where an application's messages go.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::app::{made, removed, show};
use super::body::{Body, pair};
use super::connect::Connect;
use super::exit::UsageError;
use super::listing::Listing;
use super::table::field;
use super::{now_secs, out};
use crate::client::{Client, Route};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste endpoint ls --app shop                                 # newest first
  posthaste endpoint create https://example.com/in --app shop      # every event type
  posthaste endpoint create URL --app shop --type order.paid       # this one only
  posthaste endpoint secret ep_ID --app shop                       # what its receiver verifies with
  posthaste endpoint rotate ep_ID --app shop                       # a new secret, the old one stays a day
  posthaste endpoint update ep_ID --app shop --disabled true       # stop sending, keep what is pending
  posthaste endpoint update ep_ID --app shop --type ''             # back to every event type
  posthaste endpoint rm ep_ID --app shop                           # with its pending deliveries";

/// What to do with endpoints.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List an application's endpoints
    Ls(List),
    /// Show one endpoint
    Get(One),
    /// Make an endpoint; prints its id
    Create(Create),
    /// Change an endpoint
    Update(Update),
    /// Remove an endpoint and its pending deliveries
    Rm(One),
    /// Print an endpoint's secret, alone
    Secret(One),
    /// Give an endpoint a new secret; the old one signs along for a while
    Rotate(Rotate),
}

/// `ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connect: Connect,
}

/// Whose endpoint it is.
#[derive(Debug, Args)]
struct Owner {
    /// Id or uid of the application
    #[arg(long)]
    app: String,
}

/// One endpoint.
#[derive(Debug, Args)]
pub struct One {
    /// Its id or uid
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    connect: Connect,
}

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Where deliveries go
    url: String,
    /// Secret to sign with (`whsec_…`, `whsk_…`); one is made if none is given
    #[arg(long)]
    secret: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    connect: Connect,
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Its id or uid
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Where deliveries go
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    connect: Connect,
}

/// `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    one: One,
    /// The new secret; one is made if none is given
    #[arg(long)]
    key: Option<String>,
    /// How long the old secret signs along, in seconds [default: a day]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u32>,
}

/// What `create` and `update` share.
#[derive(Debug, Args)]
struct Fields {
    /// Event type it wants; may be repeated, none means every one
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Channel it listens on; may be repeated, none means every one
    #[arg(long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// A name of your own, usable in place of the id
    #[arg(long)]
    uid: Option<String>,
    /// Shown to people
    #[arg(long)]
    description: Option<String>,
    /// Messages a second at most
    #[arg(long, value_name = "N")]
    throttle_rate: Option<u32>,
    /// Whether deliveries are held back for good
    #[arg(long, value_name = "true|false")]
    disabled: Option<bool>,
    /// A note kept with it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

impl Fields {
    fn body(&self) -> Body {
        Body::default()
            .set_list_or_clear("eventTypes", &self.types)
            .set_list_or_clear("channels", &self.channels)
            .set_or_clear("uid", self.uid.as_deref())
            .set_if("description", self.description.as_deref())
            .set_if("throttleRate", self.throttle_rate)
            .set_if("disabled", self.disabled)
            .set_pairs("metadata", &self.metadata)
    }
}

impl One {
    fn client(&self) -> anyhow::Result<Client> {
        self.connect.client(now_secs())
    }

    fn route(&self, more: &[&str]) -> Route {
        let mut segments = vec!["app", &self.owner.app, "endpoint", &self.endpoint];
        segments.extend(more);
        Route::new(&segments)
    }
}

/// Does it.
///
/// # Errors
/// The request failed, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => list(args),
        Verb::Get(args) => show(&args.client()?.get(&args.route(&[]))?, args.connect.json),
        Verb::Create(args) => {
            let client = args.connect.client(now_secs())?;
            let body = args.fields.body().set("url", args.url.as_str());
            let body = body.set_if("secret", args.secret.as_deref()).into_value();
            let route = Route::new(&["app", &args.owner.app, "endpoint"]);
            made(&client.post(&route, &body)?, "id", args.connect.json)
        }
        Verb::Update(args) => {
            let body = args.fields.body().set_if("url", args.url.as_deref());
            if body.is_empty() {
                return Err(UsageError("nothing to change was given".to_owned()).into());
            }
            let client = args.connect.client(now_secs())?;
            let route = Route::new(&["app", &args.owner.app, "endpoint", &args.endpoint]);
            show(&client.patch(&route, &body.into_value())?, args.connect.json)
        }
        Verb::Rm(args) => {
            args.client()?.delete(&args.route(&[]))?;
            removed(&args.endpoint, args.connect.json)
        }
        Verb::Secret(args) => {
            made(&args.client()?.get(&args.route(&["secret"]))?, "key", args.connect.json)
        }
        Verb::Rotate(args) => rotate(args),
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    let client = args.connect.client(now_secs())?;
    let route = Route::new(&["app", &args.owner.app, "endpoint"]);
    let headings = ["ID", "URL", "EVENT TYPES", "STATE", "DESCRIPTION"];
    args.listing.show(&client, &route, args.connect.json, &headings, row)
}

fn row(endpoint: &Value) -> Vec<String> {
    let types = field(endpoint, "eventTypes");
    let disabled = endpoint.get("disabled").and_then(Value::as_bool) == Some(true);
    vec![
        field(endpoint, "id"),
        field(endpoint, "url"),
        if types.is_empty() { "all".to_owned() } else { types },
        if disabled { "disabled" } else { "enabled" }.to_owned(),
        field(endpoint, "description"),
    ]
}

fn rotate(args: &Rotate) -> anyhow::Result<()> {
    let client = args.one.client()?;
    let body = Body::default()
        .set_if("key", args.key.as_deref())
        .set_if("gracePeriodSeconds", args.grace)
        .into_value();
    client.post(&args.one.route(&["secret", "rotate"]), &body)?;
    let secret = client.get(&args.one.route(&["secret"]))?;
    if args.one.connect.json {
        out::json(&json!({"key": secret.get("key")}))?;
    } else {
        out::line(&field(&secret, "key"))?;
    }
    Ok(())
}
