//! The configuration as a command sees it: flags, environment, file, defaults.

use std::path::PathBuf;

use clap::Args;

use crate::api::auth::{Secret, SecretError};
use crate::config::Config;
use crate::config::load::{Loaded, Overrides, from_process_env, load};
use crate::config::problem::Problems;

/// The file and the data folder: enough for the commands that only look.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct Place {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "POSTHASTE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data folder [default: $STATE_DIRECTORY or ./posthaste-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// All that `serve` and `config` take.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct Flags {
    #[command(flatten)]
    pub place: Place,
    /// Address and port to listen on [default: 127.0.0.1:8071]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Network that deliveries may go to although it is not public; may be repeated
    #[arg(long = "allow-network", value_name = "CIDR")]
    pub allow_networks: Vec<String>,
    /// For trying things out: loopback allowed, retries after 1 s, 2 s, 5 s, a token printed
    #[arg(long)]
    pub dev: bool,
}

impl Place {
    /// Reads the configuration of this place.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        Flags { place: self.clone(), ..Flags::default() }.load()
    }
}

impl Flags {
    /// What the flags say, as the configuration takes it.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.place.config.clone(),
            listen: self.listen.clone(),
            data: self.place.data.clone(),
            allow_networks: self.allow_networks.clone(),
            dev: self.dev,
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every problem in it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        load(&self.overrides(), &from_process_env())
    }
}

/// The secret tokens are made with: the configured one, or the one in the data folder, which must
/// exist.
///
/// # Errors
/// It cannot be read, others can read it, or it is too short.
pub fn jwt_secret(config: &Config) -> Result<Secret, SecretError> {
    match &config.server.jwt_secret {
        Some(secret) => Secret::from_text(secret.reveal(), "server.jwt_secret"),
        None => Secret::load(&config.storage.path),
    }
}

/// As [`jwt_secret`], but makes the one in the data folder if there is none.
///
/// # Errors
/// As [`jwt_secret`], and the file cannot be made.
pub fn jwt_secret_or_new(config: &Config) -> Result<Secret, SecretError> {
    match &config.server.jwt_secret {
        Some(_) => jwt_secret(config),
        None => Secret::load_or_create(&config.storage.path),
    }
}
