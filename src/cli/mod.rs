//! The command line: what was typed, in one file per subcommand, and the exit code it ends with.
//!
//! Commands talk to a running daemon over HTTP; only `serve`, `demo` and the offline ones (`config`,
//! `store check`) work without one. `main.rs` calls [`run`], nobody else does. Text leaves the
//! process through `out`, exit codes come from `exit`.

#![allow(clippy::doc_markdown, reason = "clap prints doc comments as they are, backticks too")]

mod app;
mod apply;
mod body;
mod config;
mod connect;
mod demo;
mod doctor;
mod endpoint;
mod event_type;
mod exit;
mod interrupt;
mod listen;
mod listing;
mod message;
mod out;
mod payload;
mod plan;
mod receiver;
mod send;
mod serve;
mod settings;
mod source;
mod store;
mod table;
mod token;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

use crate::config::units::parse_duration;
use crate::model::clock::{Clock as _, SystemClock};

/// Shown below the long help of the whole program.
const EXAMPLES: &str = "\
Examples:
  posthaste demo                                          # see the whole job done in seconds
  posthaste serve                                         # on 127.0.0.1:8071, data in ./posthaste-data
  posthaste app create Shop --uid shop                    # an application
  posthaste listen --app shop --type order.paid           # a receiver, subscribed
  posthaste send --app shop --type order.paid '{\"n\":1}'   # a message for it

Exit codes: 0 done, 1 failed, 2 usage or config, 3 daemon not reachable, 130 interrupted.";

/// Sends and receives webhooks: one binary, a port and a data folder
///
/// Messages are accepted over a small HTTP API, kept on disk, signed, delivered to every endpoint
/// that wants them, and tried again until they arrive. `posthaste serve` runs the daemon; the other
/// commands talk to it.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Every subcommand, in the order of the help.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    ///
    /// Works without any configuration: it listens on 127.0.0.1:8071 and keeps its data in
    /// ./posthaste-data. It ends on SIGTERM or Ctrl-C once running deliveries are done, and reads
    /// its configuration again on SIGHUP.
    #[command(after_long_help = serve::EXAMPLES)]
    Serve(serve::Serve),
    /// See the whole job done on sample events
    ///
    /// Starts a daemon in a temporary folder and a receiver, sends the events of a shop, a project
    /// tracker, a build server and a CMS, and shows every signed delivery being verified as it
    /// arrives. One endpoint fails twice and is retried, others filter. Ends with a table, and with
    /// exit code 1 if anything did not happen as it should.
    #[command(after_long_help = demo::EXAMPLES)]
    Demo(demo::Demo),
    /// Print a token for the API, alone on stdout
    ///
    /// Made with the secret in the data folder, so it works whether a daemon runs or not. Without
    /// --app it is an operator's: it may do everything. With --app it is good for one application
    /// only, as a customer of yours may have it.
    #[command(after_long_help = token::EXAMPLES)]
    Token(token::Token),
    /// Send one message to one application; prints its id
    ///
    /// When this returns, the message and its deliveries are on the daemon's disk.
    #[command(after_long_help = send::EXAMPLES)]
    Send(send::Send),
    /// Receive webhooks here: verify, print, and fail when told to
    ///
    /// A receiver for trying things out. It checks every signature as a real receiver should,
    /// prints one line per delivery, and can be told to fail so that retries can be seen. With
    /// --app it subscribes itself on the running daemon and unsubscribes when it ends.
    #[command(after_long_help = listen::EXAMPLES)]
    Listen(listen::Listen),
    /// Applications: the tenants, whoever owns a set of endpoints
    ///
    /// An application is usually a customer of yours. Each has its own endpoints and messages, and
    /// sees nothing of the others.
    #[command(after_long_help = app::EXAMPLES, arg_required_else_help = true)]
    App {
        #[command(subcommand)]
        verb: app::Verb,
    },
    /// Endpoints: where an application's messages go
    ///
    /// An endpoint is a URL, what it wants (event types, channels) and a secret that its receiver
    /// verifies with.
    #[command(after_long_help = endpoint::EXAMPLES, arg_required_else_help = true)]
    Endpoint {
        #[command(subcommand)]
        verb: endpoint::Verb,
    },
    /// Event types: the registered names of what happens
    ///
    /// An endpoint subscribes to event types; registering them lets it be checked that it names
    /// ones that exist.
    #[command(after_long_help = event_type::EXAMPLES, arg_required_else_help = true)]
    EventType {
        #[command(subcommand)]
        verb: event_type::Verb,
    },
    /// Messages: what was accepted, and what became of it
    ///
    /// A message goes to every endpoint that wants it. Each of those deliveries is tried until it
    /// arrives or the retry schedule ends; every try is kept as an attempt.
    #[command(after_long_help = message::EXAMPLES, arg_required_else_help = true)]
    Message {
        #[command(subcommand)]
        verb: message::Verb,
    },
    /// Sources: doors for other people's events
    ///
    /// A source is a URL to give to a provider such as GitHub or Stripe. What comes in there is
    /// verified with the provider's secret and becomes a message of the source's application.
    #[command(after_long_help = source::EXAMPLES, arg_required_else_help = true)]
    Source {
        #[command(subcommand)]
        verb: source::Verb,
    },
    /// Verify a captured inbound request, and say why it would be refused
    ///
    /// Works without a daemon, on the exact bytes of the file. Prints the event's id and type, or
    /// the reason code and exits with 1.
    #[command(after_long_help = verify::EXAMPLES)]
    Verify(verify::Verify),
    /// Show what a folder of files would change on a running daemon
    ///
    /// The files describe event types, applications, endpoints and sources (TOML, see the
    /// reference of conf.d). References to secrets are followed here, not on the daemon.
    #[command(after_long_help = plan::EXAMPLES)]
    Plan(plan::Plan),
    /// Make a running daemon as a folder of files describes it
    ///
    /// All of it or, if anything is wrong, nothing. What files described before and describe no
    /// longer is removed; what was made through the API is left alone. A daemon with a conf.d beside
    /// its configuration follows that folder by itself, and refuses this.
    #[command(after_long_help = apply::EXAMPLES)]
    Apply(apply::Apply),
    /// Configuration: what a daemon would be told, and whether it makes sense
    ///
    /// Flags come before POSTHASTE_* variables, those before the file, that before the built-in
    /// default. Every key is in the commented default file, data/posthaste.toml.
    #[command(after_long_help = config::EXAMPLES, arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        verb: config::Verb,
    },
    /// The data folder itself, while no daemon runs on it
    ///
    /// A daemon holds its store for itself, so stop it first. Checking reads only; a store of an
    /// older version is brought up to date as a daemon would.
    #[command(after_long_help = store::EXAMPLES, arg_required_else_help = true)]
    Store {
        #[command(subcommand)]
        verb: store::Verb,
    },
    /// Look at everything an operator would, and say what to do about it
    ///
    /// Configuration, data folder, clock, disk, port, daemon and token, each with a way out if it
    /// is not as it should be. Nothing is changed.
    #[command(after_long_help = doctor::EXAMPLES)]
    Doctor(doctor::Doctor),
}

/// Runs the program with these arguments (the first is its own name).
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version end here too, with code 0; a closed stdout is no error.
            drop(error.print());
            return u8::try_from(error.exit_code()).unwrap_or(2).into();
        }
    };
    match dispatch(&cli.command) {
        Ok(code) => code,
        Err(error) => match exit::of_error(&error) {
            None => Exit::Done.into(),
            Some(exit) => {
                out::note(&format!("posthaste: {error:#}"));
                exit.into()
            }
        },
    }
}

fn dispatch(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => return serve::run(args),
        Command::Demo(args) => return Ok(demo::run(args)?.into()),
        Command::Token(args) => token::run(args)?,
        Command::Send(args) => send::run(args)?,
        Command::Listen(args) => return Ok(listen::run(args)?.into()),
        Command::App { verb } => app::run(verb)?,
        Command::Endpoint { verb } => endpoint::run(verb)?,
        Command::EventType { verb } => event_type::run(verb)?,
        Command::Message { verb } => message::run(verb)?,
        Command::Source { verb } => return Ok(source::run(verb)?.into()),
        Command::Verify(args) => return Ok(verify::run(args)?.into()),
        Command::Plan(args) => plan::run(args)?,
        Command::Apply(args) => apply::run(args)?,
        Command::Config { verb } => config::run(verb)?,
        Command::Store { verb } => return Ok(store::run(verb)?.into()),
        Command::Doctor(args) => return Ok(doctor::run(args)?.into()),
    }
    Ok(Exit::Done.into())
}

/// Unix seconds now, for tokens.
fn now_secs() -> u64 {
    SystemClock.now().seconds()
}

/// A length of time as people write it: `200ms`, `3s`, `28d`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    parse_duration(text).map_err(|e| format!("{}; {}", e.what, e.way_out))
}

#[cfg(test)]
mod tests;
