//! `posthaste config`: what a daemon would be told, and whether it makes sense.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::out;
use super::settings::Flags;
use super::table::Table;
use crate::config::load::{Loaded, from_process_env};
use crate::config::problem::Problems;
use crate::config::watch::conf_d;
use crate::daemon::files;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste config check --config posthaste.toml    # every problem at once; exit code 2 if any
  posthaste config check --strict --config p.toml   # warnings too, and conf.d beside it: for CI
  posthaste config show                             # every key, its value and where it comes from
  posthaste config show --config posthaste.toml     # the same with a file
  posthaste config show --json                      # for programs; secrets are masked
  POSTHASTE_DELIVERY_TIMEOUT=5s posthaste config show";

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say whether a daemon would start with it
    Check(Check),
    /// Show every key, its value and where it comes from
    Show(Look),
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    look: Look,
    /// Count warnings as problems, and check the files in conf.d beside the configuration file
    #[arg(long)]
    strict: bool,
}

/// `check` and `show`.
#[derive(Debug, Args)]
pub struct Look {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Does it.
///
/// # Errors
/// The configuration has problems, or stdout is gone.
pub fn run(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Check(args) => check(args)?,
        Verb::Show(args) => {
            let loaded = args.flags.load()?;
            if args.json {
                return Ok(out::json(&settings(&loaded))?);
            }
            warn(&loaded);
            let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
            for setting in &loaded.settings {
                let value = setting.value.clone().unwrap_or_default();
                table.row([setting.key.to_owned(), value, setting.origin.to_string()]);
            }
            out::line(&table.render())?;
        }
    }
    Ok(())
}

fn check(args: &Check) -> anyhow::Result<()> {
    let loaded = args.look.flags.load()?;
    if args.strict {
        if !loaded.warnings.is_empty() {
            return Err(Problems(loaded.warnings).into());
        }
        if let Some(folder) = loaded.file.as_deref().map(conf_d) {
            let (wanted, lines) = files::read::read(&folder, &from_process_env())?;
            let policy = files::policy(&loaded.config)?;
            files::check_alone(&wanted, &lines, loaded.config.delivery.https_only, &policy)?;
        }
    }
    if args.look.json {
        return Ok(out::json(&json!({"sound": true, "warnings": warnings(&loaded)}))?);
    }
    warn(&loaded);
    let file = loaded.file.map_or_else(String::new, |f| format!(" with {}", f.display()));
    Ok(out::line(&format!("a daemon would start{file}"))?)
}

fn warn(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| out::note(&format!("warning: {warning}")));
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn settings(loaded: &Loaded) -> Value {
    let settings = loaded.settings.iter().map(|setting| {
        json!({"key": setting.key, "value": setting.value, "from": setting.origin.to_string()})
    });
    json!({"settings": settings.collect::<Vec<_>>(), "warnings": warnings(loaded)})
}
