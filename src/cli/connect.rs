//! The options every command that talks to a daemon shares: where it is and as whom to ask.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::exit::UsageError;
use super::settings::{Place, jwt_secret};
use crate::api::auth::{self, Subject};
use crate::client::{Client, ClientError, DEFAULT_SERVER, Route};

/// How long a token minted for one command is good.
const OWN_TOKEN_TTL: Duration = Duration::from_secs(3600);

/// Where the daemon is, and as whom to ask.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connect {
    /// Address of the daemon
    #[arg(long, value_name = "URL", env = "POSTHASTE_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Token to ask with; without one, the secret in the data folder is used if it can be read
    #[arg(long, env = "POSTHASTE_TOKEN", hide_env_values = true, hide_default_value = true)]
    pub token: Option<String>,
    /// Data folder whose secret makes the token [default: $STATE_DIRECTORY or ./posthaste-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Proxy to go through; none is taken from the environment
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
    /// Print JSON as the daemon sent it
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl Connect {
    /// A client that has a token.
    ///
    /// # Errors
    /// Bad addresses, no token to be had, or (then) no daemon either.
    pub fn client(&self, now_secs: u64) -> anyhow::Result<Client> {
        // An empty variable counts as not set, because that is how compose files spell it.
        if let Some(token) = self.token.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
            return Ok(self.client_with(Some(token))?);
        }
        match self.own_token(now_secs) {
            Ok(token) => Ok(self.client_with(Some(&token))?),
            Err(error) => {
                // Without a daemon the token is the lesser problem: say that first.
                let unreachable = self.client_with(None)?.get(&Route::new(&["health"])).err();
                if let Some(unreachable) = unreachable.filter(ClientError::is_unreachable) {
                    return Err(unreachable.into());
                }
                let way_out = "no token: pass one with --token or POSTHASTE_TOKEN, or the \
                               daemon's data folder with --data";
                Err(UsageError(format!("{way_out} ({error:#})")).into())
            }
        }
    }

    /// A client for what answers without a token.
    ///
    /// # Errors
    /// Bad addresses.
    pub fn client_with(&self, token: Option<&str>) -> Result<Client, ClientError> {
        let server = if self.server.is_empty() { DEFAULT_SERVER } else { &self.server };
        Client::new(server, token, self.proxy.as_deref())
    }

    /// A short-lived operator's token made with the configured secret.
    fn own_token(&self, now_secs: u64) -> anyhow::Result<String> {
        let loaded = Place { data: self.data.clone(), config: None }.load()?;
        let secret = jwt_secret(&loaded.config).context("no secret to make one with")?;
        let subject = Subject::Org(auth::DEFAULT_ORG.to_owned());
        Ok(auth::mint(&secret, &subject, now_secs, OWN_TOKEN_TTL))
    }
}
