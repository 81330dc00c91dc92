//! `posthaste source`: doors for other people's events, and what they refused.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::app::{made, removed, show};
use super::body::{Body, pair};
use super::connect::Connect;
use super::exit::UsageError;
use super::listing::Listing;
use super::table::{Table, field};
use super::{Exit, now_secs, out};
use crate::client::{Client, Route};
use crate::config::load::from_process_env;
use crate::config::secret::resolve;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste source create Shop --provider stripe --secret env:STRIPE_SECRET --app shop
  posthaste source ls                                       # every source and its URL
  posthaste source get src_ID                               # with the URL to give to the provider
  posthaste source update src_ID --secret NEW --secret OLD  # both match until the old one goes
  posthaste source rotate src_ID --grace 86400              # a new URL, the old one lives a day
  posthaste source refused src_ID                           # what was refused and why
  posthaste source refused src_ID --id cap_ID --verify      # with the secret as it is now
  posthaste source rm src_ID                                # its URL answers 404 from now on";

/// What to do with sources.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List sources
    Ls(List),
    /// Show one source and its URL
    Get(One),
    /// Make a source; prints the URL to give to the provider
    Create(Create),
    /// Change a source
    Update(Update),
    /// Remove a source, and its application if that was made for it
    Rm(One),
    /// Give a source a new URL; prints it
    Rotate(Rotate),
    /// What a source refused: list, look into, verify again, accept
    Refused(RefusedArgs),
}

/// `ls`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    connect: Connect,
}

/// One source.
#[derive(Debug, Args)]
pub struct One {
    /// Its id or uid
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    connect: Connect,
}

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Shown to people
    name: String,
    /// Provider profile, such as github or stripe; generic for senders that sign nothing
    #[arg(long, value_name = "NAME")]
    provider: String,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    connect: Connect,
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Its id or uid
    #[arg(value_name = "SOURCE")]
    source: String,
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
    /// The provider's secret, or env:NAME or file:PATH; may be repeated, any may match
    #[arg(long = "secret", value_name = "SECRET", allow_hyphen_values = true)]
    secrets: Vec<String>,
    /// Application to deliver to [default: one made for the source]
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// A value for a setting of the profile; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// The provider's event type and ours; may be repeated
    #[arg(long = "map", value_name = "THEIRS=OURS", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Put before every event type that no --map names
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Event type that is wanted (patterns such as order.*); may be repeated, '' for every one
    #[arg(long = "only", value_name = "TYPE")]
    filter: Vec<String>,
    /// Header that goes along with the message; may be repeated, '' for the usual ones
    #[arg(long = "keep-header", value_name = "NAME")]
    keep_headers: Vec<String>,
    /// The public URL as the provider has it, when it is not the daemon's own
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Bytes of the largest body
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u32>,
    /// Requests a second at most
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// How long a repetition is recognised; 0 for never
    #[arg(long, value_name = "SECONDS")]
    dedupe: Option<u64>,
    /// Whether it takes anything
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// A name of your own, usable in place of the id
    #[arg(long)]
    uid: Option<String>,
    /// A note kept with it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

impl Fields {
    fn body(&self) -> anyhow::Result<Body> {
        let environment = from_process_env();
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for written in &self.secrets {
            let secret = resolve(written, &environment).map_err(|fault| {
                UsageError(format!("--secret: {}; {}", fault.what, fault.way_out))
            })?;
            secrets.push(secret.reveal().to_owned());
        }
        Ok(Body::default()
            .set_list("secrets", &secrets)
            .set_if("app", self.app.as_deref())
            .set_pairs("settings", &self.settings)
            .set_pairs("eventTypes", &self.map)
            .set_if("eventTypePrefix", self.prefix.as_deref())
            .set_list_or_clear("filter", &self.filter)
            .set_list_or_clear("keepHeaders", &self.keep_headers)
            .set_or_clear("url", self.public_url.as_deref())
            .set_if("maxBody", self.max_body)
            .set_if("rate", self.rate)
            .set_if("dedupeSeconds", self.dedupe)
            .set_if("enabled", self.enabled)
            .set_or_clear("uid", self.uid.as_deref())
            .set_pairs("metadata", &self.metadata))
    }
}

/// `rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    one: One,
    /// How long the old URL goes on working, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u64,
}

/// `refused`.
#[derive(Debug, Args)]
pub struct RefusedArgs {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    listing: Listing,
    /// One refused request
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print it as raw HTTP, for `posthaste verify`
    #[arg(long, requires = "id", conflicts_with_all = ["verify", "accept"])]
    raw: bool,
    /// Verify it again, as of the moment it came
    #[arg(long, requires = "id", conflicts_with = "accept")]
    verify: bool,
    /// Make a message of it, if it verifies now
    #[arg(long, requires = "id")]
    accept: bool,
}

impl One {
    fn client(&self) -> anyhow::Result<Client> {
        self.connect.client(now_secs())
    }

    fn route(&self, more: &[&str]) -> Route {
        let mut segments = vec!["source", &self.source];
        segments.extend(more);
        Route::ingest(&segments)
    }
}

/// Does it. Failed when a refused request is refused again.
///
/// # Errors
/// The request failed, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(args) => list(args)?,
        Verb::Get(args) => show(&args.client()?.get(&args.route(&[]))?, args.connect.json)?,
        Verb::Create(args) => {
            let body = args.fields.body()?.set("name", args.name.as_str());
            let kind = if args.provider == "generic" { "generic-webhook" } else { &args.provider };
            let body = body.set("type", kind).into_value();
            let client = args.connect.client(now_secs())?;
            let source = client.post(&Route::ingest(&["source"]), &body)?;
            made(&source, "ingestUrl", args.connect.json)?;
        }
        Verb::Update(args) => {
            let body = args.fields.body()?.set_if("name", args.name.as_deref());
            if body.is_empty() {
                return Err(UsageError("nothing to change was given".to_owned()).into());
            }
            let client = args.connect.client(now_secs())?;
            let route = Route::ingest(&["source", &args.source]);
            show(&client.patch(&route, &body.into_value())?, args.connect.json)?;
        }
        Verb::Rm(args) => {
            args.client()?.delete(&args.route(&[]))?;
            removed(&args.source, args.connect.json)?;
        }
        Verb::Rotate(args) => {
            let body = Body::default().set("gracePeriodSeconds", args.grace).into_value();
            let rotated = args.one.client()?.post(&args.one.route(&["token", "rotate"]), &body)?;
            made(&rotated, "ingestUrl", args.one.connect.json)?;
        }
        Verb::Refused(args) => return refused(args),
    }
    Ok(Exit::Done)
}

fn list(args: &List) -> anyhow::Result<()> {
    let client = args.connect.client(now_secs())?;
    let headings = ["ID", "UID", "NAME", "PROVIDER", "STATE", "URL"];
    let route = Route::ingest(&["source"]);
    args.listing.show(&client, &route, args.connect.json, &headings, |source| {
        let enabled = source.get("enabled").and_then(Value::as_bool) != Some(false);
        vec![
            field(source, "id"),
            field(source, "uid"),
            field(source, "name"),
            field(source, "provider"),
            if enabled { "enabled" } else { "disabled" }.to_owned(),
            field(source, "ingestUrl"),
        ]
    })
}

fn refused(args: &RefusedArgs) -> anyhow::Result<Exit> {
    let client = args.one.client()?;
    let json = args.one.connect.json;
    let Some(id) = &args.id else {
        let headings = ["ID", "WHEN", "STATUS", "CODE", "HINT", "BYTES"];
        let route = args.one.route(&["refused"]);
        args.listing.show(&client, &route, json, &headings, |row| {
            ["id", "createdAt", "status", "code", "hint", "bodyBytes"]
                .map(|name| field(row, name))
                .to_vec()
        })?;
        return Ok(Exit::Done);
    };
    if args.raw {
        let bytes = client.get_bytes(&args.one.route(&["refused", id, "raw"]))?;
        out::bytes(&bytes)?;
    } else if args.verify {
        let verdict = client
            .post(&args.one.route(&["refused", id, "verify"]), &Value::Object(<_>::default()))?;
        show(&verdict, json)?;
        if field(&verdict, "verdict") != "accepted" {
            return Ok(Exit::Failed);
        }
    } else if args.accept {
        let accepted = client
            .post(&args.one.route(&["refused", id, "accept"]), &Value::Object(<_>::default()))?;
        made(&accepted, "message", json)?;
    } else {
        let one = client.get(&args.one.route(&["refused", id]))?;
        if json {
            out::json(&one)?;
        } else {
            let mut table = Table::new(&["FIELD", "VALUE"]);
            for name in ["id", "createdAt", "status", "code", "hint", "bodyBytes"] {
                table.row([name.to_owned(), field(&one, name)]);
            }
            out::line(&table.render())?;
            out::line(&out::clean(&field(&one, "detail"), 1000))?;
            out::note("--raw prints the request itself");
        }
    }
    Ok(Exit::Done)
}
