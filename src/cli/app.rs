//! `posthaste app`: the tenants.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::body::{Body, pair};
use super::connect::Connect;
use super::exit::UsageError;
use super::listing::Listing;
use super::table::{field, properties};
use super::{now_secs, out};
use crate::client::Route;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste app ls                                 # every application, oldest first
  posthaste app create 'Corner shop' --uid shop    # prints the new id
  posthaste app create Shop --uid shop --if-new    # the same, and no error when it is there
  posthaste app get shop --json                    # one application, by uid or id
  posthaste app update shop --name 'Big shop'      # change what is named, keep the rest
  posthaste app update shop --uid ''               # an empty text clears a field
  posthaste app rm shop                            # with its endpoints and pending deliveries";

/// What to do with applications.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List applications
    Ls(List),
    /// Show one application
    Get(One),
    /// Make an application; prints its id
    Create(Create),
    /// Change an application
    Update(Update),
    /// Remove an application and all that belongs to it
    Rm(One),
}

/// `ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connect: Connect,
}

/// One application.
#[derive(Debug, Args)]
pub struct One {
    /// Its id or uid
    #[arg(value_name = "APP")]
    app: String,
    #[command(flatten)]
    connect: Connect,
}

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Shown to people
    name: String,
    /// Return the one with this uid if there is one already
    #[arg(long, requires = "uid")]
    if_new: bool,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    connect: Connect,
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Its id or uid
    #[arg(value_name = "APP")]
    app: String,
    /// Shown to people
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    connect: Connect,
}

/// What `create` and `update` share.
#[derive(Debug, Args)]
struct Fields {
    /// A name of your own, usable in place of the id
    #[arg(long)]
    uid: Option<String>,
    /// Messages a second over all its endpoints
    #[arg(long, value_name = "N")]
    throttle_rate: Option<u32>,
    /// A note kept with it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

impl Fields {
    fn body(&self) -> Body {
        Body::default()
            .set_or_clear("uid", self.uid.as_deref())
            .set_if("throttleRate", self.throttle_rate)
            .set_pairs("metadata", &self.metadata)
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
            let headings = ["ID", "UID", "NAME", "CREATED"];
            args.listing.show(&client, &Route::new(&["app"]), args.connect.json, &headings, |app| {
                ["id", "uid", "name", "createdAt"].map(|name| field(app, name)).to_vec()
            })
        }
        Verb::Get(args) => {
            let client = args.connect.client(now_secs())?;
            show(&client.get(&Route::new(&["app", &args.app]))?, args.connect.json)
        }
        Verb::Create(args) => {
            let client = args.connect.client(now_secs())?;
            let body = args.fields.body().set("name", args.name.as_str()).into_value();
            let if_new = args.if_new.then_some("true");
            let route = Route::new(&["app"]).query_if("get_if_exists", if_new);
            made(&client.post(&route, &body)?, "id", args.connect.json)
        }
        Verb::Update(args) => {
            let body = args.fields.body().set_if("name", args.name.as_deref());
            if body.is_empty() {
                return Err(UsageError("nothing to change was given".to_owned()).into());
            }
            let client = args.connect.client(now_secs())?;
            let changed = client.patch(&Route::new(&["app", &args.app]), &body.into_value())?;
            show(&changed, args.connect.json)
        }
        Verb::Rm(args) => {
            let client = args.connect.client(now_secs())?;
            client.delete(&Route::new(&["app", &args.app]))?;
            removed(&args.app, args.connect.json)
        }
    }
}

/// Shows one record.
pub(super) fn show(value: &Value, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        out::json(value)?;
    } else {
        out::line(&properties(value))?;
    }
    Ok(())
}

/// Shows what was made: the name to go on with alone, so that a script can keep it.
pub(super) fn made(value: &Value, name: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        out::json(value)?;
    } else {
        out::line(&field(value, name))?;
    }
    Ok(())
}

/// Says that something is gone.
pub(super) fn removed(name: &str, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        out::json(&serde_json::json!({"removed": name}))?;
    } else {
        out::line(&format!("removed {}", out::clean(name, 300)))?;
    }
    Ok(())
}
