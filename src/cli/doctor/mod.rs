//! `posthaste doctor`: looks at everything an operator would, and says what to do about it.
//!
//! It only looks: nothing is made, changed or sent.

mod daemon;
mod machine;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::out::{self, Paint};
use super::settings::Place;
use crate::config::load::Loaded;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste doctor                                  # this machine, ./posthaste-data, port 8071
  posthaste doctor --config /etc/posthaste.toml     # as the service sees it
  posthaste doctor --json                           # for a monitoring script; exit code 1 if not well";

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Address of the daemon [default: the configured one]
    #[arg(long, value_name = "URL", env = "POSTHASTE_SERVER")]
    server: Option<String>,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Works, and may not for long.
    Warning,
    Bad,
    /// Only the daemon is missing: exit code 3, not 1.
    Down,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    /// What: one or two words.
    about: &'static str,
    state: State,
    /// What was found, with its value.
    found: String,
    /// What to do; empty when there is nothing to do.
    way_out: String,
}

impl Finding {
    fn good(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, state: State::Good, found: found.into(), way_out: String::new() }
    }

    fn not(
        state: State,
        about: &'static str,
        found: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self { about, state, found: found.into(), way_out: way_out.into() }
    }
}

/// Does it.
///
/// # Errors
/// Stdout is gone.
pub fn run(args: &Doctor) -> anyhow::Result<Exit> {
    let findings = match args.place.load() {
        Ok(loaded) => look(args, &loaded),
        Err(problems) => {
            // Nothing else can be trusted to be where it looks.
            let found = |problem: crate::config::problem::Problem| {
                let way_out = "see `posthaste config check`";
                Finding::not(State::Bad, "config", problem.to_string(), way_out)
            };
            problems.0.into_iter().map(found).collect()
        }
    };
    if args.json {
        out::json(&as_json(&findings))?;
    } else {
        let paint = Paint::for_stdout();
        findings.iter().try_for_each(|finding| out::line(&describe(finding, paint)))?;
    }
    Ok(exit(&findings))
}

fn look(args: &Doctor, loaded: &Loaded) -> Vec<Finding> {
    let mut findings = vec![Finding::good(
        "config",
        match &loaded.file {
            Some(file) => format!("{} is sound", file.display()),
            None => "no file, all defaults and environment".to_owned(),
        },
    )];
    for warning in &loaded.warnings {
        let found = warning.to_string();
        findings.push(Finding::not(State::Warning, "config", found, "see `posthaste config show`"));
    }
    findings.extend(machine::look(&loaded.config));
    findings.extend(daemon::look(&loaded.config, args.server.as_deref()));
    findings
}

fn exit(findings: &[Finding]) -> Exit {
    let any = |state| findings.iter().any(|finding| finding.state == state);
    match (any(State::Bad), any(State::Down)) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Unreachable,
        (false, false) => Exit::Done,
    }
}

fn describe(finding: &Finding, paint: Paint) -> String {
    let state = match finding.state {
        State::Good => paint.good("ok  "),
        State::Warning => paint.warn("warn"),
        State::Bad => paint.bad("BAD "),
        State::Down => paint.warn("down"),
    };
    let mut line = format!("{state}  {:<12}  {}", finding.about, finding.found);
    if !finding.way_out.is_empty() {
        line = format!("{line}\n{:20}→ {}", "", finding.way_out);
    }
    line
}

fn as_json(findings: &[Finding]) -> serde_json::Value {
    let rows = findings.iter().map(|finding| {
        let state = match finding.state {
            State::Good => "ok",
            State::Warning => "warning",
            State::Bad => "bad",
            State::Down => "down",
        };
        json!({
            "about": finding.about,
            "state": state,
            "found": finding.found,
            "wayOut": Some(&finding.way_out).filter(|text| !text.is_empty()),
        })
    });
    json!({"well": exit(findings) == Exit::Done, "findings": rows.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let check = |states: &[State], expected| {
            let findings: Vec<Finding> =
                states.iter().map(|&state| Finding::not(state, "x", "", "")).collect();
            assert_eq!(exit(&findings), expected, "{states:?}");
            assert_eq!(as_json(&findings)["well"], (expected == Exit::Done), "{states:?}");
        };
        check(&[State::Good, State::Warning], Exit::Done);
        check(&[State::Good, State::Down], Exit::Unreachable);
        check(&[State::Down, State::Bad], Exit::Failed);
    }

    #[test]
    fn a_finding_shows_its_way_out() {
        let finding = Finding::not(State::Bad, "clock", "it is 1970", "set it");
        let text = describe(&finding, Paint::plain());
        assert_eq!(text, "BAD   clock         it is 1970\n                    → set it");
    }
}
