//! The benchmark: load generator, receiver and report in one program.
//!
//! It measures any server that speaks the svix API, or a posthaste that it starts itself, beside a
//! relay that keeps nothing. Everything shares one machine, so load generator and receiver are
//! cheap: a thread each, prepared requests, hand-written framing. `bench --help` has examples.
//!
//! Exit codes: 0 done, 1 failed or a delivery is missing, 2 usage, 130 interrupted.
#![allow(missing_docs, reason = "a program, nothing is published")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's report")]
#![cfg_attr(
    test,
    allow(clippy::indexing_slicing, reason = "tests may panic, also in their helpers")
)]

mod api;
mod args;
mod backlog;
mod book;
mod churn;
mod guard;
mod load;
mod mark;
mod plain;
mod process;
mod receiver;
mod relay;
mod relay_out;
mod report;
mod run;
mod server;
mod sick;
mod stats;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use serde::Serialize;

use crate::args::{Args, Hidden};
use crate::run::{Bench, Run};

/// The daemon's allocator, so that the relay has no worse one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = args.check() {
        eprintln!("bench: {error:#}");
        return ExitCode::from(2);
    }
    match start(args) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in faults {
                eprintln!("bench: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, prints the report, and says what was wrong with it.
fn start(args: Args) -> Result<Vec<String>> {
    guard::raise_file_limit();
    if let Some(Hidden::Relay { threads }) = args.hidden {
        return relay::serve(threads).map(|()| Vec::new());
    }
    guard::watch(Duration::from_secs(args.deadline))?;
    let json = args.json;
    let mut bench = Bench::new(args)?;
    if let Some(messages) = bench.args.backlog {
        let report = backlog::run(&mut bench, messages)?;
        print(json, &report, report::backlog)?;
        let short = u64::from(messages) - report.accepted;
        return Ok((short > 0)
            .then(|| format!("{short} messages were not accepted"))
            .into_iter()
            .collect());
    }
    if let Some(sick) = bench.args.sick {
        let report = sick::run(&mut bench, sick)?;
        print(json, &report, report::sick)?;
        return Ok(faults(&[&report.healthy, &report.sick]));
    }
    if let Some(small) = bench.args.churn {
        let report = churn::run(&mut bench, small)?;
        print(json, &report, report::churn)?;
        return Ok(report.faults());
    }
    let report = plain::run(&mut bench)?;
    print(json, &report, report::plain)?;
    Ok(faults(&report.runs.iter().collect::<Vec<_>>()))
}

fn print<T: Serialize>(json: bool, report: &T, text: fn(&T) -> String) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", text(report));
    }
    Ok(())
}

fn faults(runs: &[&Run]) -> Vec<String> {
    runs.iter().filter_map(|run| run.fault()).collect()
}
