//! PLACEHOLDER with the interface of the daemon, so that the command line compiles. The real module
//! replaces this file.
#![allow(missing_docs, clippy::unused_self, reason = "to be replaced")]

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::Config;
use crate::config::load::{Loaded, Overrides};

pub struct Daemon {}

impl Daemon {
    pub fn start(_config: &Config) -> anyhow::Result<Self> {
        anyhow::bail!("there is no daemon yet")
    }
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }
    pub fn token(&self) -> String {
        String::new()
    }
    pub fn summary(&self) -> String {
        String::new()
    }
    pub fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}

pub fn serve(
    loaded: &Loaded,
    _overrides: &Overrides,
    ready: impl FnOnce(&Daemon),
) -> anyhow::Result<ExitCode> {
    ready(&Daemon::start(&loaded.config)?);
    Ok(ExitCode::SUCCESS)
}
