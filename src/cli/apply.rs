//! `posthaste apply`: makes a daemon as a folder of files describes it.

use std::path::PathBuf;

use clap::Args;

use super::connect::Connect;
use super::now_secs;
use super::plan::{declaration, show};
use crate::client::Route;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste apply deploy/webhooks                     # all of it, or nothing
  posthaste apply deploy/webhooks --json              # for programs
  posthaste apply . --server https://hooks.internal   # on another daemon";

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Folder with the files, or one that has them in conf.d
    dir: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

/// Does it.
///
/// # Errors
/// The files have problems, or the request failed. Then nothing was changed.
pub fn run(args: &Apply) -> anyhow::Result<()> {
    let wanted = declaration(&args.dir)?;
    let client = args.connect.client(now_secs())?;
    let answer = client.post(&Route::new(&["files", "apply"]), &wanted)?;
    show(&answer, args.connect.json, "nothing to change")
}
