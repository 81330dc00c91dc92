//! `posthaste plan`: what a folder of files would change.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::connect::Connect;
use super::table::field;
use super::{now_secs, out};
use crate::client::Route;
use crate::config::load::from_process_env;
use crate::daemon::files::Declaration;
use crate::daemon::files::read::{folder_of, read};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste plan deploy/webhooks                     # one line for each change
  posthaste plan deploy/webhooks --json              # for programs
  posthaste plan . --server https://hooks.internal   # of another daemon";

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Folder with the files, or one that has them in conf.d
    dir: PathBuf,
    #[command(flatten)]
    connect: Connect,
}

/// Does it.
///
/// # Errors
/// The files have problems, or the request failed.
pub fn run(args: &Plan) -> anyhow::Result<()> {
    let wanted = declaration(&args.dir)?;
    let client = args.connect.client(now_secs())?;
    let answer = client.post(&Route::new(&["files", "plan"]), &wanted)?;
    show(&answer, args.connect.json, "no changes")
}

/// What a folder describes, with its references followed.
///
/// # Errors
/// Every problem that can be seen here.
pub(super) fn declaration(dir: &Path) -> anyhow::Result<Declaration> {
    anyhow::ensure!(dir.is_dir(), "{} is no folder", dir.display());
    let (wanted, _) = read(&folder_of(dir), &from_process_env())?;
    Ok(wanted)
}

/// Shows changes, a line each.
pub(super) fn show(answer: &Value, as_json: bool, none: &str) -> anyhow::Result<()> {
    if as_json {
        return Ok(out::json(answer)?);
    }
    let changes = answer.get("changes").and_then(Value::as_array);
    let changes = changes.map(Vec::as_slice).unwrap_or_default();
    if changes.is_empty() {
        out::line(none)?;
    }
    let paint = out::Paint::for_stdout();
    for change in changes {
        let fields = field(change, "fields");
        let action = field(change, "action");
        let what = format!("{} {}", field(change, "kind"), out::clean(&field(change, "name"), 300));
        let more = if fields.is_empty() { String::new() } else { format!(" ({fields})") };
        out::line(&match action.as_str() {
            "create" => paint.good(&format!("+ {what}{more}")),
            "delete" => paint.bad(&format!("- {what}{more}")),
            "adopt" => paint.warn(&format!("= {what}{more}")),
            _ => paint.warn(&format!("~ {what}{more}")),
        })?;
    }
    Ok(())
}
