//! `posthaste store`: the data folder itself, while no daemon runs on it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::exit::{Exit, UsageError};
use super::out;
use super::settings::Place;
use super::table::Table;
use crate::config::Config;
use crate::model::clock::SystemClock;
use crate::store::check::Report;
use crate::store::{Options, Store, Sync};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste store check                             # ./posthaste-data; exit code 1 if a fault is found
  posthaste store check --data /var/lib/posthaste   # another data folder
  posthaste store check --json                      # rows by tree and faults, for a script";

/// Where the store lies inside the data folder.
const STORE_FOLDER: &str = "store";

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Read everything and check it against everything else
    Check(Check),
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Does it.
///
/// # Errors
/// There is no store, a daemon holds it, it is damaged beyond reading, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<Exit> {
    let Verb::Check(args) = verb;
    let config = args.place.load()?.config;
    let folder = config.storage.path.join(STORE_FOLDER);
    if !folder.is_dir() {
        let what = format!("no store at {}; name another data folder", folder.display());
        return Err(UsageError(format!("{what} with --data")).into());
    }
    let report = check(&folder, &config).context("failed to check the store")?;
    if args.json {
        out::json(&as_json(&report))?;
    } else {
        show(&report, &folder)?;
    }
    Ok(if report.is_clean() { Exit::Done } else { Exit::Failed })
}

/// Opens the store as a daemon would, reads it and closes it again.
fn check(folder: &Path, config: &Config) -> anyhow::Result<Report> {
    let options = Options {
        path: folder.to_owned(),
        sync: Sync::Disk,
        cache: config.storage.cache,
        retention: config.storage.retention,
        // Nothing is written, so how full the disk is does not matter.
        min_free: 0,
        max_size: 0,
        keys: crate::daemon::keys(config),
        clock: Arc::new(SystemClock),
        entropy: Box::new(|_| {}),
        // Its commit thread makes last what reading makes sled write.
        threaded: true,
        answers: None,
    };
    let store = Store::open(options, Box::new(|_| {}))?;
    let report = store.check()?;
    store.close()?;
    Ok(report)
}

fn show(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let mut table = Table::new(&["TREE", "ROWS"]);
    for (tree, rows) in &report.rows {
        table.row([(*tree).to_owned(), rows.to_string()]);
    }
    out::line(&table.render())?;
    for fault in &report.faults {
        out::line(&format!("fault: {}", out::clean(fault, 1000)))?;
    }
    let verdict = match report.faults.len() {
        0 => "no fault".to_owned(),
        1 => "1 fault".to_owned(),
        faults => format!("{faults} faults"),
    };
    out::line(&format!("{verdict} in {}", folder.display()))?;
    Ok(())
}

fn as_json(report: &Report) -> Value {
    let rows: Map<String, Value> =
        report.rows.iter().map(|(tree, rows)| ((*tree).to_owned(), json!(rows))).collect();
    json!({"clean": report.is_clean(), "rows": rows, "faults": report.faults})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_store_is_clean_and_a_held_one_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::builtin();
        let report = check(dir.path(), &config).unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
        assert!(report.rows.len() > 5, "{:?}", report.rows);
        let held = sled::open(dir.path()).unwrap();
        let error = check(dir.path(), &config).unwrap_err().to_string();
        assert!(error.contains("in use by another posthaste"), "{error}");
        drop(held);
    }

    #[test]
    fn json_carries_rows_and_faults() {
        let report = Report { rows: vec![("meta", 2)], faults: vec!["it is wrong".to_owned()] };
        let expected = json!({"clean": false, "rows": {"meta": 2}, "faults": ["it is wrong"]});
        assert_eq!(as_json(&report), expected);
    }
}
