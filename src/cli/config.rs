//! `posthaste config`: what a daemon would be told, and whether it makes sense.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::out;
use super::settings::Flags;
use super::table::Table;
use crate::config::load::Loaded;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste config check --config posthaste.toml    # every problem at once; exit code 2 if any
  posthaste config show                             # every key, its value and where it comes from
  posthaste config show --config posthaste.toml     # the same with a file
  posthaste config show --json                      # for programs; secrets are masked
  POSTHASTE_DELIVERY_TIMEOUT=5s posthaste config show";

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say whether a daemon would start with it
    Check(Look),
    /// Show every key, its value and where it comes from
    Show(Look),
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
        Verb::Check(args) => {
            let loaded = args.flags.load()?;
            if args.json {
                return Ok(out::json(&json!({"sound": true, "warnings": warnings(&loaded)}))?);
            }
            warn(&loaded);
            let file = loaded.file.map_or_else(String::new, |f| format!(" with {}", f.display()));
            out::line(&format!("a daemon would start{file}"))?;
        }
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
