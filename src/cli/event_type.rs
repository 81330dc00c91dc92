//! `posthaste event-type`: the registered names of what happens.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::app::{made, removed, show};
use super::body::Body;
use super::connect::Connect;
use super::exit::UsageError;
use super::listing::Listing;
use super::now_secs;
use super::payload;
use super::table::field;
use crate::client::Route;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste event-type ls                                             # by name
  posthaste event-type create order.paid --description 'Money came'   # prints the name
  posthaste event-type create order.paid --schema @order-paid.json    # with a JSON schema
  posthaste event-type update order.paid --deprecated true            # still works, no longer offered
  posthaste event-type rm order.paid                                  # archive; create brings it back
  posthaste event-type rm order.paid --expunge                        # for good";

/// What to do with event types.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List event types
    Ls(List),
    /// Show one event type
    Get(One),
    /// Register an event type; prints its name
    Create(Create),
    /// Change an event type
    Update(Update),
    /// Archive an event type, or remove it for good
    Rm(Remove),
}

/// `ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Archived ones too
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connect: Connect,
}

/// One event type.
#[derive(Debug, Args)]
pub struct One {
    /// Its name
    name: String,
    #[command(flatten)]
    connect: Connect,
}

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name, groups separated by dots: `order.paid`
    name: String,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    connect: Connect,
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Its name
    name: String,
    /// Take it out of the archive, or put it there
    #[arg(long, value_name = "true|false")]
    archived: Option<bool>,
    /// Whether it should no longer be used
    #[arg(long, value_name = "true|false")]
    deprecated: Option<bool>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    connect: Connect,
}

/// `rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Its name
    name: String,
    /// Remove it for good instead of archiving it
    #[arg(long)]
    expunge: bool,
    #[command(flatten)]
    connect: Connect,
}

/// What `create` and `update` share.
#[derive(Debug, Args)]
struct Fields {
    /// Shown to people
    #[arg(long)]
    description: Option<String>,
    /// JSON schema of its payload
    #[arg(long, value_name = "JSON | @FILE | -")]
    schema: Option<String>,
}

impl Fields {
    fn body(&self) -> anyhow::Result<Body> {
        let schema = self.schema.as_deref().map(payload::read).transpose()?;
        let schema: Option<Value> =
            schema.map(|schema| serde_json::from_str(schema.get())).transpose()?;
        Ok(Body::default()
            .set_if("description", self.description.as_deref())
            .set_if("schemas", schema.map(|schema| json!({"1": schema}))))
    }
}

/// Does it.
///
/// # Errors
/// The request failed, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => {
            let client = args.connect.client(now_secs())?;
            let archived = args.archived.then_some("true");
            let route = Route::new(&["event-type"]).query_if("include_archived", archived);
            let headings = ["NAME", "STATE", "DESCRIPTION"];
            args.listing.show(&client, &route, args.connect.json, &headings, row)
        }
        Verb::Get(args) => {
            let client = args.connect.client(now_secs())?;
            show(&client.get(&Route::new(&["event-type", &args.name]))?, args.connect.json)
        }
        Verb::Create(args) => {
            let mut body = args.fields.body()?.set("name", args.name.as_str());
            if args.fields.description.is_none() {
                body = body.set("description", "");
            }
            let client = args.connect.client(now_secs())?;
            let created = client.post(&Route::new(&["event-type"]), &body.into_value())?;
            made(&created, "name", args.connect.json)
        }
        Verb::Update(args) => {
            let body = args.fields.body()?.set_if("archived", args.archived);
            let body = body.set_if("deprecated", args.deprecated);
            if body.is_empty() {
                return Err(UsageError("nothing to change was given".to_owned()).into());
            }
            let client = args.connect.client(now_secs())?;
            let route = Route::new(&["event-type", &args.name]);
            show(&client.patch(&route, &body.into_value())?, args.connect.json)
        }
        Verb::Rm(args) => {
            let client = args.connect.client(now_secs())?;
            let route = Route::new(&["event-type", &args.name]);
            client.delete(&route.query_if("expunge", args.expunge.then_some("true")))?;
            removed(&args.name, args.connect.json)
        }
    }
}

fn row(event_type: &Value) -> Vec<String> {
    let is = |name: &str| event_type.get(name).and_then(Value::as_bool) == Some(true);
    let state = match (is("archived"), is("deprecated")) {
        (true, _) => "archived",
        (false, true) => "deprecated",
        (false, false) => "in use",
    };
    vec![field(event_type, "name"), state.to_owned(), field(event_type, "description")]
}
