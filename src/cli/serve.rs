//! `posthaste serve`: runs the daemon until it is told to stop.

use std::process::ExitCode;

use clap::Args;

use super::out;
use super::settings::Flags;
use crate::daemon::{self, Daemon};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste serve                                   # 127.0.0.1:8071, data in ./posthaste-data
  posthaste serve --dev                             # may deliver to this machine, quick retries
  posthaste serve --data /var/lib/posthaste         # another data folder
  posthaste serve --listen 0.0.0.0:8071             # reachable from outside
  posthaste serve --config /etc/posthaste.toml      # everything else; see `posthaste config show`
  posthaste serve --allow-network 10.0.0.0/8        # deliver into a private network";

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Does it.
///
/// # Errors
/// The configuration has problems, or the daemon cannot start.
pub fn run(args: &Serve) -> anyhow::Result<ExitCode> {
    let loaded = args.flags.load()?;
    for warning in &loaded.warnings {
        out::note(&format!("posthaste: warning: {warning}"));
    }
    // Whatever is written from here on is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    daemon::serve(&loaded, &args.flags.overrides(), |daemon| {
        let token = if args.flags.dev {
            daemon.token()
        } else {
            how_to_get_a_token(&args.flags, &loaded.config.storage.path.display().to_string())
        };
        // A closed stdout must not keep the daemon from running.
        drop(out::line(&banner(daemon, &token)));
    })
}

/// What `serve` prints when it is ready. Tests and scripts read the first line.
fn banner(daemon: &Daemon, token: &str) -> String {
    let url = format!("http://{}", daemon.address());
    format!(
        "posthaste {version} listening on {url}\n\
         ├─ API    {url}/api/v1\n\
         ├─ Token  {token}\n\
         └─ Store  {summary}",
        version = env!("CARGO_PKG_VERSION"),
        summary = daemon.summary(),
    )
}

/// The command that prints a token for this daemon.
fn how_to_get_a_token(flags: &Flags, data: &str) -> String {
    match &flags.place.config {
        Some(config) => format!("posthaste token --config {} --data {data}", config.display()),
        None => format!("posthaste token --data {data}"),
    }
}
