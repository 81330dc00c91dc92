//! One run: endpoints made, warmed up, loaded, drained, counted.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args::Args;
use crate::book::{Book, Expect, Fan, Manner};
use crate::churn::{LARGE_BYTES, LARGE_EVERY};
use crate::load::{self, Large, Load, Sent};
use crate::process::{self, Sampler};
use crate::receiver::Receiver;
use crate::server::Server;
use crate::stats::{Clock, Quantiles, float, mebibytes, per_second, ratio};

/// Between setting up and loading, for the idle figures.
const IDLE: Duration = Duration::from_secs(1);
/// After the last arrival, for what a server still has to write down.
const SETTLE: Duration = Duration::from_millis(200);
const DRAIN_POLL: Duration = Duration::from_millis(10);
/// No arrival for so long, and the rest counts as missing. A first retry comes after 5 s.
const STALL: Duration = Duration::from_secs(20);
/// Messages to warm up with, shared out over the endpoints, but no fewer than the second.
const WARM_UP: usize = 2_000;
const WARM_UP_LEAST: usize = 20;
const WARM_UP_LIMIT: Duration = Duration::from_secs(2);
/// Arrivals after this share do not count for the speed.
const SPEED_SHARE: f64 = 0.99;

/// What all runs share.
pub struct Bench {
    pub args: Args,
    pub clock: Clock,
    pub receiver: Receiver,
    last_run: u32,
}

/// An application with its endpoints.
pub struct Stage {
    pub app: String,
    /// The path of its door, when events are sent there.
    door: Option<String>,
    fan: Fan,
    manners: Arc<Vec<Manner>>,
    keys: Arc<Vec<Vec<u8>>>,
}

/// How messages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By `POST …/msg`.
    Messages,
    /// As signed events at the door of a source.
    Door,
}

/// How hard and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Messages a second; `None` is a closed loop.
    pub rate: Option<f64>,
    pub messages: u32,
    pub limit: Duration,
}

/// What came out of one run. Latencies in microseconds, memory and disk in MiB.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    pub server: &'static str,
    pub endpoints: usize,
    pub connections: u16,
    pub payload_bytes: usize,
    /// Messages a second asked for; null in a closed loop.
    pub rate: Option<f64>,
    /// Messages answered 2xx.
    pub accepted: u64,
    pub accepted_per_s: f64,
    /// Deliveries of accepted messages that arrived at endpoints that behave, each counted once.
    pub delivered: u64,
    /// Until 99 % had arrived, counted from the first POST.
    pub delivered_per_s: f64,
    /// Deliveries of accepted messages that had not arrived at the end.
    pub missing: u64,
    pub duplicates: u64,
    /// Arrived, but the load generator never saw its message accepted.
    pub unasked: u64,
    pub strays: u64,
    /// Requests at endpoints that misbehave.
    pub sick_requests: u64,
    /// Only with --verify.
    pub forged: Option<u64>,
    /// Answers other than 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    pub broken_connections: u64,
    pub accept_us: Quantiles,
    /// From sending the POST to its arrival at the receiver, first arrivals only.
    pub send_to_receive_us: Quantiles,
    /// Open loop: how late the POSTs went out; a large p99 means the rate was not reached.
    pub behind_us: Option<Quantiles>,
    /// From the last answer to the last arrival.
    pub drain_s: f64,
    pub cpu_us_per_message: Option<f64>,
    pub cpu_us_per_delivery: Option<f64>,
    /// Load generator and receiver, on the same cores.
    pub bench_cpu_us_per_message: f64,
    /// What everything else on the machine took during the run, as a share of one core; figures
    /// beside a busy neighbour are worth little. With an unmeasured server, it is in here.
    pub other_cpu_percent: f64,
    /// Share of one core before the load.
    pub idle_cpu_percent: Option<f64>,
    pub idle_rss_mib: Option<f64>,
    pub peak_rss_mib: Option<f64>,
    pub disk_mib: Option<f64>,
}

struct Idle {
    rss: u64,
    cpu_percent: f64,
}

impl Bench {
    pub fn new(args: Args) -> Result<Self> {
        let clock = Clock::start();
        let receiver = Receiver::start(clock, Stage::empty().expect(0, clock.now()))?;
        Ok(Self { args, clock, receiver, last_run: 0 })
    }

    /// Makes an application with an endpoint for each manner but [`Manner::Absent`].
    pub fn stage(&self, server: &Server, manners: Vec<Manner>, way: Way) -> Result<Stage> {
        let fan = if self.args.spread { Fan::Spread } else { Fan::All };
        let (app, door) = match way {
            Way::Messages => (server.api.create_app()?, None),
            Way::Door => {
                let (app, door) = server.api.create_source(load::SECRET)?;
                (app, Some(door))
            }
        };
        let mut keys = Vec::new();
        for (index, manner) in manners.iter().enumerate() {
            if *manner == Manner::Absent {
                keys.push(Vec::new());
                continue;
            }
            let channel = (fan == Fan::Spread).then_some(index);
            let url = self.receiver.url(index);
            let endpoint = server.api.create_endpoint(&app, &url, channel)?;
            if self.args.verify {
                keys.push(server.api.secret(&app, &endpoint)?);
            }
        }
        if !self.args.verify {
            keys.clear();
        }
        Ok(Stage { app, door, fan, manners: Arc::new(manners), keys: Arc::new(keys) })
    }

    /// Idle figures, warm-up, load, drain, count.
    pub fn measure(&mut self, server: &Server, stage: &Stage, pace: Pace) -> Result<Run> {
        let idle = idle(server);
        self.warm_up(server, stage, pace)?;
        let expect = self.expect(stage);
        let load = self.load(server, stage, pace, expect.run);
        let sampler = Sampler::start(&server.pids)?;
        self.receiver.open(expect);
        let before = Spent::now(server);
        let began = Instant::now();
        let sent = load::run(self.clock, &load)?;
        self.drain(&sent);
        thread::sleep(SETTLE);
        let costs = Spent::now(server).since(&before);
        let took = began.elapsed();
        let peak = sampler.finish();
        let costs = Costs { idle, spent: costs, took, peak };
        Ok(self.count(server, stage, pace, &sent, &costs))
    }

    /// Loads without waiting for deliveries: for endpoints that refuse.
    pub fn pile_up(&mut self, server: &Server, stage: &Stage, pace: Pace) -> Result<Sent> {
        let load = self.open(server, stage, pace);
        load::run(self.clock, &load)
    }

    /// Opens the receiver's book for a run, and says what is to be sent.
    pub fn open(&mut self, server: &Server, stage: &Stage, pace: Pace) -> Load {
        let expect = self.expect(stage);
        let load = self.load(server, stage, pace, expect.run);
        self.receiver.open(expect);
        load
    }

    fn warm_up(&mut self, server: &Server, stage: &Stage, pace: Pace) -> Result<()> {
        let deliveries = if stage.fan == Fan::All { stage.manners.len().max(1) } else { 1 };
        let messages = (WARM_UP / deliveries).max(WARM_UP_LEAST);
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let sent = self
            .pile_up(server, stage, Pace { messages, limit: WARM_UP_LIMIT, ..pace })
            .with_context(|| format!("warm up the {}", server.name()))?;
        self.drain(&sent);
        Ok(())
    }

    fn expect(&mut self, stage: &Stage) -> Expect {
        self.last_run += 1;
        stage.expect(self.last_run, self.clock.now())
    }

    fn load(&self, server: &Server, stage: &Stage, pace: Pace, run: u32) -> Load {
        Load {
            addr: server.api.addr,
            token: server.api.token.clone(),
            app: stage.app.clone(),
            door: stage.door.clone(),
            run,
            payload: self.args.payload,
            connections: usize::from(self.args.connections),
            rate: pace.rate,
            messages: pace.messages,
            limit: pace.limit,
            channels: if stage.fan == Fan::Spread { stage.manners.len() } else { 0 },
            idempotency: self.args.idempotency,
            lean: self.args.lean,
            large: self.args.churn.map(|_| Large { every: LARGE_EVERY, bytes: LARGE_BYTES }),
        }
    }

    /// Waits until all that is due has arrived, nothing arrives any more, or the limit.
    pub fn drain(&self, sent: &Sent) {
        let began = Instant::now();
        let due = self.receiver.book().due(&sent.accepted);
        let mut arrived = 0;
        let mut moved = Instant::now();
        while began.elapsed() < self.args.drain_limit() && moved.elapsed() < STALL {
            let book = self.receiver.book();
            // Arrivals nobody asked for may hide missing ones: the tally is exact, and slow.
            if book.arrived >= due && book.tally(&sent.accepted).missing == 0 {
                return;
            }
            if book.arrived > arrived {
                arrived = book.arrived;
                moved = Instant::now();
            }
            drop(book);
            thread::sleep(DRAIN_POLL);
        }
    }

    fn count(&self, server: &Server, stage: &Stage, pace: Pace, sent: &Sent, costs: &Costs) -> Run {
        let book = self.receiver.book();
        let tally = book.tally(&sent.accepted);
        let accepted = sent.accepted.len() as u64;
        let watched = !server.pids.is_empty();
        let per = |nanos: u64, count: u64| ratio(float(nanos) / 1e3, float(count));
        Run {
            server: stage.name(server),
            endpoints: present(&book),
            connections: self.args.connections,
            payload_bytes: self.args.payload,
            rate: pace.rate,
            accepted,
            accepted_per_s: per_second(accepted, sent.ended.saturating_sub(sent.began)),
            delivered: tally.delivered,
            delivered_per_s: book.timeline.rate(SPEED_SHARE),
            missing: tally.missing,
            duplicates: book.duplicates,
            unasked: tally.unasked,
            strays: book.strays,
            sick_requests: book.sick,
            forged: self.args.verify.then_some(book.forged),
            refused: sent.refused.clone(),
            broken_connections: sent.broken,
            accept_us: sent.latency.quantiles(),
            send_to_receive_us: book.latency.quantiles(),
            behind_us: pace.rate.map(|_| sent.late.quantiles()),
            drain_s: float(book.last.saturating_sub(sent.ended)) / 1e9,
            cpu_us_per_message: per(costs.spent.server, accepted).filter(|_| watched),
            cpu_us_per_delivery: per(costs.spent.server, tally.delivered).filter(|_| watched),
            bench_cpu_us_per_message: per(costs.spent.own, accepted).unwrap_or(0.0),
            other_cpu_percent: share(costs.spent.other(), costs.took),
            idle_cpu_percent: watched.then_some(costs.idle.cpu_percent),
            idle_rss_mib: watched.then_some(mebibytes(costs.idle.rss)),
            peak_rss_mib: watched.then_some(mebibytes(costs.peak)),
            disk_mib: (!server.disk.is_empty()).then_some(mebibytes(server.disk_bytes())),
        }
    }
}

struct Costs {
    idle: Idle,
    spent: Spent,
    took: Duration,
    peak: u64,
}

/// CPU time in nanoseconds.
struct Spent {
    server: u64,
    own: u64,
    machine: u64,
}

impl Spent {
    fn now(server: &Server) -> Self {
        Self {
            server: process::cpu_nanos(&server.pids),
            own: process::own_cpu_nanos(),
            machine: process::machine_cpu_nanos(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            own: self.own.saturating_sub(before.own),
            machine: self.machine.saturating_sub(before.machine),
        }
    }

    fn other(&self) -> u64 {
        self.machine.saturating_sub(self.server + self.own)
    }
}

impl Run {
    /// Why the figures of this run are not to be trusted; `None` when they are.
    pub fn fault(&self) -> Option<String> {
        let forged = self.forged.unwrap_or(0);
        if self.missing + forged == 0 && self.broken_connections == 0 && self.refused.is_empty() {
            return None;
        }
        Some(format!(
            "{}: {} missing, {forged} with a wrong signature, refused by status {:?}, {} broken connections",
            self.server, self.missing, self.refused, self.broken_connections
        ))
    }
}

impl Stage {
    fn empty() -> Self {
        let (manners, keys) = (Arc::default(), Arc::default());
        Self { app: String::new(), door: None, fan: Fan::All, manners, keys }
    }

    fn name(&self, server: &Server) -> &'static str {
        if self.door.is_some() { "door" } else { server.name() }
    }

    fn expect(&self, run: u32, began: u64) -> Expect {
        let (manners, keys) = (Arc::clone(&self.manners), Arc::clone(&self.keys));
        Expect { run, fan: self.fan, manners, keys, began }
    }
}

fn present(book: &Book) -> usize {
    book.expect.manners.iter().filter(|manner| **manner != Manner::Absent).count()
}

fn idle(server: &Server) -> Idle {
    let before = process::cpu_nanos(&server.pids);
    let began = Instant::now();
    thread::sleep(IDLE);
    let spent = process::cpu_nanos(&server.pids).saturating_sub(before);
    let cpu_percent = share(spent, began.elapsed());
    Idle { rss: process::rss_bytes(&server.pids), cpu_percent }
}

/// CPU time as a percentage of one core.
fn share(nanos: u64, of: Duration) -> f64 {
    float(nanos) / 1e7 / of.as_secs_f64().max(f64::EPSILON)
}
