//! Disk and memory while messages come and go: a retention of seconds, small messages as fast as
//! they are taken, and a large one after every [`LARGE_EVERY`] small ones.
use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args::Args;
use crate::book::Manner;
use crate::load;
use crate::process;
use crate::run::{Bench, Pace, Way};
use crate::server::{Kind, Server};
use crate::stats::{float, mebibytes, per_second, ratio};

/// Small messages between two large ones.
pub const LARGE_EVERY: u32 = 500;
/// Bytes of the payload of a large one: what the server takes at most.
pub const LARGE_BYTES: usize = 256 * 1024;
/// Disk and memory are looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// Past the retention, for the last to be removed.
const SWEEP: Duration = Duration::from_secs(5);
/// Parts of the run that memory is told of.
const PARTS: usize = 4;

#[derive(Debug, Serialize)]
pub struct Report {
    pub accepted: u64,
    pub accepted_per_s: f64,
    pub missing: u64,
    pub retention_s: f64,
    /// The share of the run that was kept at any time.
    pub kept_share: f64,
    /// Payloads of all messages.
    pub payload_mib: f64,
    /// Payloads of the messages within the retention, at their most.
    pub alive_mib: f64,
    pub disk_peak_mib: f64,
    /// The largest disk to the most that was alive.
    pub disk_to_alive: f64,
    /// After all has expired.
    pub disk_end_mib: f64,
    /// The highest of each quarter of the run.
    pub rss_mib: [f64; PARTS],
    pub rss_end_mib: f64,
    /// Files that sled made for rows it found too large.
    pub blobs: usize,
    /// What `store check` said at the end.
    pub check: String,
}

impl Report {
    /// What must not be.
    pub fn faults(&self) -> Vec<String> {
        let missing =
            (self.missing > 0).then(|| format!("{} deliveries are missing", self.missing));
        let blobs = (self.blobs > 0).then(|| format!("{} files lie in blobs", self.blobs));
        missing.into_iter().chain(blobs).collect()
    }
}

/// One look.
#[derive(Debug, Clone, Copy)]
struct Look {
    arrived: u64,
    disk: u64,
    rss: u64,
}

pub fn run(bench: &mut Bench, small: u32) -> Result<Report> {
    let args = bench.args.clone();
    let server = Server::start(Kind::Posthaste, &args)?;
    let stage = bench.stage(&server, vec![Manner::Good; args.endpoints()], Way::Messages)?;
    let messages = small + small / LARGE_EVERY;
    let pace = Pace { rate: args.rate, messages, limit: args.send_limit() };
    let clock = bench.clock;
    let load = bench.open(&server, &stage, pace);
    let sending = thread::Builder::new().name("bench-load".into());
    let sending = sending.spawn(move || load::run(clock, &load)).context("start the load")?;
    let mut looks = watch(bench, &server, || sending.is_finished());
    let sent = sending.join().ok().context("the load generator panicked")??;
    bench.drain(&sent);
    let missing = bench.receiver.book().tally(&sent.accepted).missing;
    let (began, gone_after) = (Instant::now(), args.retention() + SWEEP);
    looks.extend(watch(bench, &server, || began.elapsed() >= gone_after));
    let end = look(bench, &server);
    let blobs = server.disk.iter().map(|path| files(&path.join("blobs"))).sum();
    let check = server.check(&args)?;
    let took = Duration::from_nanos(sent.ended.saturating_sub(sent.began));
    let alive = payload_of(most_alive(&looks, args.retention()), &args);
    let disk_peak = looks.iter().map(|look| look.disk).max().unwrap_or(0);
    let accepted = sent.accepted.len() as u64;
    Ok(Report {
        accepted,
        accepted_per_s: per_second(accepted, sent.ended.saturating_sub(sent.began)),
        missing,
        retention_s: args.retention().as_secs_f64(),
        kept_share: args.retention().as_secs_f64() / took.as_secs_f64().max(1e-9),
        payload_mib: mebibytes(payload_of(accepted, &args)),
        alive_mib: mebibytes(alive),
        disk_peak_mib: mebibytes(disk_peak),
        disk_to_alive: ratio(float(disk_peak), float(alive)).unwrap_or(0.0),
        disk_end_mib: mebibytes(end.disk),
        rss_mib: rss(&looks),
        rss_end_mib: mebibytes(end.rss),
        blobs,
        check,
    })
}

/// Looks until `is_over`.
fn watch(bench: &Bench, server: &Server, is_over: impl Fn() -> bool) -> Vec<Look> {
    let mut looks = Vec::new();
    while !is_over() {
        looks.push(look(bench, server));
        thread::sleep(LOOK);
    }
    looks
}

fn look(bench: &Bench, server: &Server) -> Look {
    Look {
        arrived: bench.receiver.book().arrived,
        disk: server.disk_bytes(),
        rss: process::rss_bytes(&server.pids),
    }
}

/// Payload bytes of so many messages, large ones among them.
fn payload_of(messages: u64, args: &Args) -> u64 {
    let large = messages / u64::from(LARGE_EVERY + 1);
    (messages - large) * args.payload as u64 + large * LARGE_BYTES as u64
}

/// The most messages that arrived within one retention.
fn most_alive(looks: &[Look], retention: Duration) -> u64 {
    let span = usize::try_from(retention.as_millis() / LOOK.as_millis()).unwrap_or(usize::MAX);
    let mut within = VecDeque::new();
    let mut most = 0;
    for look in looks {
        within.push_back(look.arrived);
        if within.len() > span.max(1) {
            within.pop_front();
        }
        most = most.max(look.arrived - within.front().copied().unwrap_or(0));
    }
    most
}

fn rss(looks: &[Look]) -> [f64; PARTS] {
    let size = looks.len().div_ceil(PARTS).max(1);
    let mut highest = [0.0; PARTS];
    for (place, part) in highest.iter_mut().zip(looks.chunks(size)) {
        *place = mebibytes(part.iter().map(|look| look.rss).max().unwrap_or(0));
    }
    highest
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(arrived: &[u64]) -> Vec<Look> {
        arrived.iter().map(|arrived| Look { arrived: *arrived, disk: 0, rss: 1 << 20 }).collect()
    }

    #[test]
    fn alive_is_what_arrived_within_the_retention() {
        let looks = looks(&[0, 10, 20, 50, 60, 61, 61]);
        assert_eq!(most_alive(&looks, 3 * LOOK), 40);
        assert_eq!(most_alive(&looks, 100 * LOOK), 61);
        assert!((rss(&looks)[3] - 1.0).abs() < 1e-9);
    }
}
