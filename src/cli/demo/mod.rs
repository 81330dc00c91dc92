//! `posthaste demo`: the whole job on sample events, in one command, with nothing left out.
//!
//! A real daemon in a temporary folder, a real receiver, the real API through the real client.
//! It checks what it shows and fails if anything did not happen as it should have. `sample` holds
//! the events, `ledger` what was expected and what came, `setup` the calls that lead there.

mod ledger;
mod sample;
mod setup;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver as Events, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::exit::Exit;
use super::interrupt;
use super::listen::verdict;
use super::out::{self, Paint, clean};
use super::receiver::Received;
use crate::client::Client;
use crate::config::LogLevel;
use crate::config::load::{Environment, Overrides, assemble};
use crate::daemon::Daemon;
use ledger::Ledger;

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste demo                                    # a few seconds; exit code 1 if anything is amiss
  posthaste demo --keep                             # leave it running to look around
  posthaste demo --keep --listen 127.0.0.1:8071     # at the usual address";

/// Longest wait for all deliveries. The slowest are the ones that fail twice on purpose and come
/// through after waits of 1 s and 2 s with a fifth of jitter.
const PATIENCE: Duration = Duration::from_secs(15);

/// Characters of a body shown: what is left of a line of 120.
const BODY_CHARS: usize = 28;

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the daemon and the receiver running until interrupted
    #[arg(long)]
    keep: bool,
    /// Address and port of the daemon; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
}

/// What wakes the demo.
enum Event {
    Received(Box<Received>),
    Interrupted,
}

/// Does it.
///
/// # Errors
/// Something could not even be started, or stdout is gone.
pub fn run(args: &Demo) -> anyhow::Result<Exit> {
    let (send, events) = channel();
    let caught = send.clone();
    interrupt::catch(move || drop(caught.send(Event::Interrupted)))?;
    let folder = Folder::make()?;
    let daemon = start(args, &folder)?;
    let outcome = show(args, &daemon, send, &events);
    let stopped = daemon.stop().context("failed to stop the daemon");
    let exit = outcome?;
    stopped?;
    Ok(exit)
}

/// A daemon that may deliver to this machine and tries again after 1 s, 2 s, 5 s. The environment
/// is left out, so that the demo is the same everywhere.
fn start(args: &Demo, folder: &Folder) -> anyhow::Result<Daemon> {
    let overrides = Overrides {
        listen: Some(args.listen.clone()),
        data: Some(folder.0.join("data")),
        dev: true,
        ..Overrides::default()
    };
    let mut config = assemble(None, &overrides, &Environment::default())?.config;
    config.log.level = LogLevel::Error;
    Daemon::start(&config).context("failed to start the daemon")
}

fn show(
    args: &Demo,
    daemon: &Daemon,
    send: Sender<Event>,
    events: &Events<Event>,
) -> anyhow::Result<Exit> {
    let paint = Paint::for_stdout();
    let url = format!("http://{}", daemon.address());
    let client = Client::new(&url, Some(&daemon.token()), None)?;
    let samples = sample::read()?;
    let (receiver, doors) = setup::receiver(send)?;
    let mut ledger = setup::subscribe(&client, &samples, receiver.address(), &doors)?;
    out::line(&paint.bold(&format!("daemon at {url}, receiver at http://{}", receiver.address())))?;
    out::line(&ledger.describe_subscriptions())?;
    out::line("")?;
    let started = Instant::now();
    setup::send(&client, &samples, &mut ledger)?;
    out::line(&paint.bold(&format!("sent {}; each delivery as it arrives:", ledger.sent())))?;
    if watch(&mut ledger, events, started, paint)? == Exit::Interrupted {
        return Ok(Exit::Interrupted);
    }
    let faults = ledger.faults(&client)?;
    out::line(&format!("\n{}\n", ledger.table()))?;
    let exit = conclude(&ledger, &faults, started.elapsed(), paint)?;
    if args.keep {
        keep(&url, &daemon.token(), events)?;
    }
    Ok(exit)
}

/// Prints deliveries until every expected one arrived, or patience ends.
fn watch(
    ledger: &mut Ledger,
    events: &Events<Event>,
    started: Instant,
    paint: Paint,
) -> anyhow::Result<Exit> {
    while !ledger.is_complete() {
        let left = PATIENCE.saturating_sub(started.elapsed());
        match events.recv_timeout(left) {
            Ok(Event::Received(received)) => {
                let event_type = ledger.arrived(&received);
                out::line(&describe(&received, &event_type, started, paint))?;
            }
            Ok(Event::Interrupted) => return Ok(Exit::Interrupted),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(Exit::Done)
}

/// One delivery on one line: when, what, where to, how it went, and the beginning of its body.
fn describe(received: &Received, event_type: &str, started: Instant, paint: Paint) -> String {
    let at = received.at.saturating_duration_since(started).as_secs_f64();
    let path = clean(received.request.path(), 24);
    let verdict = verdict(received, paint);
    let body = clean(&String::from_utf8_lossy(&received.request.body), BODY_CHARS);
    format!("{at:6.3} s  {event_type:<19}  {path:<16}  {verdict}  {}", paint.faint(&body))
}

fn conclude(
    ledger: &Ledger,
    faults: &[String],
    took: Duration,
    paint: Paint,
) -> anyhow::Result<Exit> {
    out::line(&ledger.summary(took))?;
    if faults.is_empty() {
        out::line(&paint.good("everything arrived as it should"))?;
        return Ok(Exit::Done);
    }
    out::note(&paint.bad("not as it should be:"));
    for fault in faults {
        out::note(&format!("  {fault}"));
    }
    Ok(Exit::Failed)
}

/// Leaves everything running until interrupted. Deliveries go on being taken, unseen.
fn keep(url: &str, token: &str, events: &Events<Event>) -> anyhow::Result<()> {
    out::line("\nstill running; Ctrl-C ends it and removes its data. In another terminal:")?;
    out::line(&format!("  export POSTHASTE_SERVER={url}"))?;
    out::line(&format!("  export POSTHASTE_TOKEN={token}"))?;
    out::line("  posthaste app ls")?;
    while let Ok(Event::Received(_)) = events.recv() {}
    Ok(())
}

/// A temporary folder of the demo's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|e| anyhow::anyhow!("failed to read random bytes: {e}"))?;
        let name = format!("posthaste-demo-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            out::note(&format!("posthaste: failed to remove {}: {error}", self.0.display()));
        }
    }
}
