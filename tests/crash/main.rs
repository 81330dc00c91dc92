//! Crash test: the real binary under load, killed with SIGKILL at random moments and started again
//! on the same data, until the count of kills is reached. What the clients were told is then
//! compared with what the daemon kept and with what the receiver got:
//!
//! - no acknowledged message is lost: kept, byte for byte, and delivered;
//! - a message is delivered twice only when a kill came right after the first delivery;
//! - sending a request again with its idempotency key or `eventId` never makes a second message;
//! - `store check` is clean after each kill (on a copy, so that the restart has all the work);
//! - from the start of the process to its first `202` it takes less than a second (asserted in
//!   release builds).
//!
//! `POSTHASTE_KILLS` (25; 5 in a debug build), `POSTHASTE_CLIENTS` (8) and `POSTHASTE_SEED` steer
//! it. The seed fixes the choices made here, not how the system schedules threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::let_underscore_must_use,
    reason = "a test program: a broken assumption may end it"
)]

mod clients;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clients::{Clients, Stage};
use serde_json::json;
use support::daemon::{self, Daemon, say};
use support::http::Client;
use support::receiver::{Policy, Receiver};
use support::{Chance, is_release};

/// A daemon that does not listen after this long will not do so at all.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The promise: from the start of the process to the first `202`.
const ACCEPTING_LIMIT: Duration = Duration::from_secs(1);
/// Each so many kills one comes while the daemon is starting.
const KILL_IN_START: u64 = 5;
/// Such a kill comes at most so many milliseconds after the start of the process.
const LONGEST_START: u64 = 30;
/// The longest run between two kills, in milliseconds.
const LONGEST_RUN: u64 = 700;
/// Short, so that what failed is tried again within the test; never used up (see `POLICY`).
const RETRIES: &str = r#"["1s","1s","2s"]"#;
const POLICY: Policy = Policy {
    fail_percent: 4,
    fails_per_message: 2,
    slow_percent: 3,
    slow_max: Duration::from_millis(200),
};

/// What one run measured.
#[derive(Default)]
pub struct Measured {
    /// When each kill began and when the process was gone.
    pub kills: Vec<(Instant, Instant)>,
    /// How many of them came before the daemon listened.
    pub kills_in_start: usize,
    /// From the start of the process to the first `202`, for each start on old data.
    pub restarts: Vec<Duration>,
    /// How long each `store check` took.
    pub checks: Vec<Duration>,
}

fn main() {
    support::run(&[("no_acknowledged_message_is_lost_by_a_kill", &|| {
        let seed = support::seed();
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let outcome = Run::new(seed, folder.path()).and_then(Run::whole);
        outcome.map_err(|problem| {
            let kept = folder.keep();
            format!(
                "{problem}\nseed {seed} (POSTHASTE_SEED={seed}), data kept in {}",
                kept.display()
            )
        })
    })]);
}

struct Run {
    seed: u64,
    chance: Chance,
    folder: PathBuf,
    data: PathBuf,
    receiver: Receiver,
    measured: Measured,
}

impl Run {
    fn new(seed: u64, folder: &Path) -> Result<Self, String> {
        let receiver = Receiver::start(seed, POLICY).map_err(|error| error.to_string())?;
        Ok(Self {
            seed,
            chance: Chance::new(seed, 1),
            folder: folder.to_owned(),
            data: folder.join("data"),
            receiver,
            measured: Measured::default(),
        })
    }

    fn whole(mut self) -> Result<(), String> {
        let kills = support::number("POSTHASTE_KILLS", if is_release() { 25 } else { 5 });
        let count = support::number("POSTHASTE_CLIENTS", 8);
        say(&format!("crash: {kills} kills, {count} clients, seed {}", self.seed));
        let begun = Instant::now();

        let mut daemon = self.spawn()?;
        let port = daemon.port(START_LIMIT)?;
        let token = daemon::token(&self.data)?;
        let app = self.prepare(port, &token)?;
        let stage = Stage::new(token, app);
        let clients = Clients::start(&stage, count, self.seed);
        stage.open(port);
        let mut starting = false;
        for number in 1..=kills {
            self.kill_at_random(&mut daemon, &stage, starting)?;
            self.check_copy().map_err(|problem| format!("after kill {number}: {problem}"))?;
            daemon = self.spawn()?;
            // Then the next kill comes before anybody could talk to this one.
            starting = number % KILL_IN_START == 0 && number < kills;
            if !starting {
                let port = self.restarted(&mut daemon, &stage)?;
                stage.open(port);
            }
        }
        let loaded = begun.elapsed();
        let ledger = clients.finish(&stage)?;
        let port = stage.port().ok_or("the daemon is not up at the end")?;
        let mut client =
            Client::connect(port, &stage.token).map_err(|error| daemon.tell(&error.to_string()))?;
        let verdict =
            verdict::compare(&ledger, &mut client, &stage.app, &self.receiver, &self.measured);
        let verdict = verdict.map_err(|problem| daemon.tell(&problem))?;
        drop(client);
        daemon.stop()?;
        daemon::store_check(&self.data).map_err(|problem| format!("at the end: {problem}"))?;
        self.report(&verdict, loaded);
        self.judge(verdict.problems)
    }

    fn spawn(&self) -> Result<Daemon, String> {
        let env = [("POSTHASTE_DELIVERY_RETRY_SCHEDULE", RETRIES.as_ref())];
        Daemon::spawn(&self.data, &self.folder.join("stderr"), &env)
    }

    /// The application and its endpoint; the application's id.
    fn prepare(&self, port: u16, token: &str) -> Result<String, String> {
        let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
        let app = client.expect(201, "/api/v1/app", &json!({"name": "crash test"}))?;
        let app = app["id"].as_str().ok_or("the application has no id")?.to_owned();
        let endpoint = json!({"url": self.receiver.url()});
        client.expect(201, &format!("/api/v1/app/{app}/endpoint"), &endpoint)?;
        Ok(app)
    }

    /// SIGKILL at a random moment: while the daemon starts, or under load, then early ones as
    /// likely as late ones.
    fn kill_at_random(
        &mut self,
        daemon: &mut Daemon,
        stage: &Stage,
        starting: bool,
    ) -> Result<(), String> {
        let most = match self.chance.between(0, 2) {
            _ if starting => LONGEST_START,
            0 => 40,
            1 => 200,
            _ => LONGEST_RUN,
        };
        // sleep: the moment of the kill is drawn by chance.
        std::thread::sleep(Duration::from_millis(self.chance.between(1, most)));
        stage.close();
        let before = Instant::now();
        daemon.kill()?;
        self.measured.kills.push((before, Instant::now()));
        self.measured.kills_in_start += usize::from(starting);
        Ok(())
    }

    fn check_copy(&mut self) -> Result<(), String> {
        let copy = self.folder.join("copy");
        let outcome = daemon::copy_folder(&self.data, &copy).map_err(|error| error.to_string());
        outcome?;
        let begun = Instant::now();
        daemon::store_check(&copy)?;
        self.measured.checks.push(begun.elapsed());
        std::fs::remove_dir_all(&copy).map_err(|error| error.to_string())
    }

    /// Waits until the daemon listens, and measures how long it takes to its first `202`.
    fn restarted(&mut self, daemon: &mut Daemon, stage: &Stage) -> Result<u16, String> {
        let port = daemon.port(START_LIMIT)?;
        let probe = clients::probe(stage, port, self.measured.restarts.len());
        probe.map_err(|problem| daemon.tell(&format!("after a restart: {problem}")))?;
        self.measured.restarts.push(daemon.started.elapsed());
        Ok(port)
    }

    fn report(&self, verdict: &verdict::Verdict, loaded: Duration) {
        let measured = &self.measured;
        let mut rows = vec![
            ("seed", self.seed.to_string()),
            (
                "kills",
                format!("{}, {} while starting", measured.kills.len(), measured.kills_in_start),
            ),
        ];
        rows.extend(verdict.rows(loaded));
        rows.push(("start to first 202", spread(&measured.restarts)));
        rows.push((
            "store check",
            format!("{} clean, {}", measured.checks.len() + 1, spread(&measured.checks)),
        ));
        for (name, value) in rows {
            say(&format!("  {name:<34} {value}"));
        }
    }

    fn judge(&self, mut problems: Vec<String>) -> Result<(), String> {
        let slowest = self.measured.restarts.iter().max().copied().unwrap_or_default();
        if is_release() && slowest >= ACCEPTING_LIMIT {
            problems.push(format!("a restart took {slowest:?} to its first 202"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }
}

/// Median and maximum, in milliseconds.
fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let most = sorted.last().copied().unwrap_or_default();
    format!("median {} ms, at most {} ms", middle.as_millis(), most.as_millis())
}
