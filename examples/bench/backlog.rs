//! Memory and restart with many deliveries pending: endpoints refuse, messages pile up.
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use serde::Serialize;

use crate::book::Manner;
use crate::process::{self, Sampler};
use crate::run::{Bench, Pace, Way};
use crate::server::{Kind, Restart, Server};
use crate::stats::{mebibytes, per_second};

/// Before a figure of memory at rest.
const REST: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub struct Report {
    pub accepted: u64,
    pub accepted_per_s: f64,
    pub endpoints: usize,
    /// Messages times endpoints: all of them refuse.
    pub pending: u64,
    /// Attempts that reached the receiver and were refused.
    pub attempts: u64,
    pub idle_rss_mib: f64,
    pub peak_rss_mib: f64,
    pub rest_rss_mib: f64,
    pub disk_mib: f64,
    /// SIGTERM, then started again.
    pub after_stop: Restart,
    pub after_stop_rss_mib: f64,
    /// SIGKILL, then started again.
    pub after_kill: Restart,
    pub after_kill_rss_mib: f64,
}

pub fn run(bench: &mut Bench, messages: u32) -> Result<Report> {
    let args = bench.args.clone();
    let mut server = Server::start(Kind::Posthaste, &args)?;
    let stage = bench.stage(&server, vec![Manner::Refusing; args.endpoints()], Way::Messages)?;
    thread::sleep(REST);
    let idle = process::rss_bytes(&server.pids);
    let sampler = Sampler::start(&server.pids)?;
    let pace = Pace { rate: args.rate, messages, limit: args.send_limit() };
    let sent = bench.pile_up(&server, &stage, pace)?;
    let peak = sampler.finish();
    let rest = rest(&server);
    let after_stop = server.restart(Signal::TERM, &stage.app, &args)?;
    let after_stop_rss = self::rest(&server);
    let after_kill = server.restart(Signal::KILL, &stage.app, &args)?;
    let after_kill_rss = self::rest(&server);
    let accepted = sent.accepted.len() as u64;
    let each = if args.spread { 1 } else { args.endpoints() as u64 };
    let report = Report {
        accepted,
        accepted_per_s: per_second(accepted, sent.ended.saturating_sub(sent.began)),
        endpoints: args.endpoints(),
        pending: accepted * each,
        attempts: bench.receiver.book().sick,
        idle_rss_mib: mebibytes(idle),
        peak_rss_mib: mebibytes(peak),
        rest_rss_mib: mebibytes(rest),
        disk_mib: mebibytes(server.disk_bytes()),
        after_stop,
        after_stop_rss_mib: mebibytes(after_stop_rss),
        after_kill,
        after_kill_rss_mib: mebibytes(after_kill_rss),
    };
    server.leave(&stage.app)?;
    Ok(report)
}

fn rest(server: &Server) -> u64 {
    thread::sleep(REST);
    process::rss_bytes(&server.pids)
}
