//! `posthaste token`: prints a token, alone, whether a daemon runs or not.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::exit::UsageError;
use super::settings::{Place, jwt_secret_or_new};
use super::table::field;
use super::{duration, now_secs, out};
use crate::api::auth::{self, DEFAULT_ORG, Secret, Subject, is_id};
use crate::client::{Client, DEFAULT_SERVER, Route};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste token                                  # an operator's, from ./posthaste-data
  posthaste token --data /var/lib/posthaste        # of another data folder
  export POSTHASTE_TOKEN=$(posthaste token)        # for the other commands
  posthaste token --app shop --expires 1h          # by uid: asks the daemon for the id
  posthaste token --app app_2srLjEbSzWSv1YCLXZ6wZcSnB0F";

/// How long an operator's token is good: ten years, as svix has it.
const OPERATOR_TTL: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How long an application's token is good.
const APPLICATION_TTL: Duration = Duration::from_secs(28 * 24 * 3600);

/// How long the token is good that asks for an application's id.
const LOOKUP_TTL: Duration = Duration::from_secs(60);

/// `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// Only for this application (id, or uid while the daemon runs)
    #[arg(long)]
    app: Option<String>,
    /// Organisation to speak for
    #[arg(long, default_value = DEFAULT_ORG)]
    org: String,
    /// How long it is good: `1h`, `28d` [default: 3650d, with --app 28d]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// Address of the daemon, to look up a uid
    #[arg(long, value_name = "URL", env = "POSTHASTE_SERVER", default_value = DEFAULT_SERVER)]
    server: String,
    #[command(flatten)]
    place: Place,
}

/// Does it.
///
/// # Errors
/// The secret cannot be had, or the application is not known.
pub fn run(args: &Token) -> anyhow::Result<()> {
    if !is_id("org_", &args.org) {
        let what = format!("--org {:?} is not an id: org_ and 27 letters and digits", args.org);
        return Err(UsageError(what).into());
    }
    let loaded = args.place.load()?;
    let secret = jwt_secret_or_new(&loaded.config)?;
    let org = args.org.clone();
    let (subject, ttl) = match &args.app {
        None => (Subject::Org(org), OPERATOR_TTL),
        Some(app) if is_id("app_", app) => {
            (Subject::App { app: app.clone(), org }, APPLICATION_TTL)
        }
        Some(uid) => (Subject::App { app: look_up(args, &secret, uid)?, org }, APPLICATION_TTL),
    };
    out::line(&auth::mint(&secret, &subject, now_secs(), args.expires.unwrap_or(ttl)))?;
    Ok(())
}

/// The id of an application known by its uid.
fn look_up(args: &Token, secret: &Secret, uid: &str) -> anyhow::Result<String> {
    let operator = Subject::Org(args.org.clone());
    let token = auth::mint(secret, &operator, now_secs(), LOOKUP_TTL);
    let client = Client::new(&args.server, Some(&token), None)?;
    let app = client.get(&Route::new(&["app", uid])).with_context(|| {
        format!("failed to look up the id of application {uid:?}; an id needs no daemon")
    })?;
    Ok(field(&app, "id"))
}
