//! What every `ls` shares: how many rows, and how rows are shown.

use clap::Args;
use serde_json::json;

use super::out;
use super::table::Table;
use crate::client::{Client, Route, Rows};

/// Rows shown when nothing is said.
const DEFAULT_ROWS: usize = 50;

/// How much of a list to show.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct Listing {
    /// Rows to show at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ROWS,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
    /// Show every row there is
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

impl Listing {
    /// Reads the rows and shows them, as JSON or through `row` as a table.
    ///
    /// # Errors
    /// The request failed, or stdout is gone.
    pub fn show(
        &self,
        client: &Client,
        route: &Route,
        as_json: bool,
        headings: &[&str],
        row: impl Fn(&serde_json::Value) -> Vec<String>,
    ) -> anyhow::Result<()> {
        let at_most = if self.all { usize::MAX } else { self.limit };
        let Rows { data, done } = client.list(route, at_most)?;
        if as_json {
            return Ok(out::json(&json!({"data": data, "done": done}))?);
        }
        let mut table = Table::new(headings);
        for value in &data {
            table.row(row(value));
        }
        out::line(&table.render())?;
        if !done {
            out::note(&format!("{} rows shown, there are more: --all, or --limit", data.len()));
        }
        Ok(())
    }
}
