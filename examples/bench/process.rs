//! CPU time and memory of the server's processes, read from `/proc`. Linux only.
//!
//! A watched process stands for itself and everything below it, so the postmaster alone is enough
//! for Postgres.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Linux tells times in `/proc` in hundredths of a second on every common machine.
const TICK_NANOS: u64 = 10_000_000;
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// The tree of processes is looked up again every so many samples.
const FAMILY_EVERY: u32 = 20;
/// Generations below a watched process.
const MAX_DEPTH: usize = 8;

/// CPU time of `roots` and all below them, user and system, ended children included.
pub fn cpu_nanos(roots: &[u32]) -> u64 {
    let stats = family(roots).into_iter().filter_map(stat);
    stats.map(|stat| stat.own + stat.reaped).sum::<u64>() * TICK_NANOS
}

/// CPU time of this program alone.
pub fn own_cpu_nanos() -> u64 {
    stat(std::process::id()).map_or(0, |stat| stat.own * TICK_NANOS)
}

/// CPU time the whole machine has spent, stolen time included.
pub fn machine_cpu_nanos() -> u64 {
    fs::read_to_string("/proc/stat").map_or(0, |text| parse_machine(&text) * TICK_NANOS)
}

/// Resident memory of `roots` and all below them; shared pages count once for each process.
pub fn rss_bytes(roots: &[u32]) -> u64 {
    family(roots).iter().filter_map(|pid| status_kib(*pid, "VmRSS:")).sum::<u64>() * 1024
}

/// Disk blocks in use below `path`.
pub fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(found) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    found.blocks() * 512 + below.map(|entry| disk_bytes(&entry.path())).sum::<u64>()
}

/// Watches memory until it is stopped.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    roots: Vec<u32>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    pub fn start(roots: &[u32]) -> Result<Self> {
        // 5 resets the kernel's own high-water mark; not allowed for others' processes.
        for pid in roots {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let peak = Arc::new(AtomicU64::new(0));
        let (stopped, highest, watched) = (Arc::clone(&stop), Arc::clone(&peak), roots.to_vec());
        let thread = thread::Builder::new()
            .name("bench-sampler".into())
            .spawn(move || sample(&watched, &stopped, &highest))
            .context("start the memory sampler")?;
        Ok(Self { stop, peak, roots: roots.to_vec(), thread: Some(thread) })
    }

    /// The highest sum seen; of a single process the kernel's own mark, which misses nothing.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok();
        }
        let sampled = self.peak.load(Ordering::Relaxed);
        match family(&self.roots).iter().collect::<Vec<_>>().as_slice() {
            [only] => sampled.max(status_kib(**only, "VmHWM:").unwrap_or(0) * 1024),
            _ => sampled,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn sample(roots: &[u32], stop: &AtomicBool, peak: &AtomicU64) {
    let mut members = BTreeSet::new();
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        if round.is_multiple_of(FAMILY_EVERY) {
            members = family(roots);
        }
        let sum: u64 = members.iter().filter_map(|pid| status_kib(*pid, "VmRSS:")).sum();
        peak.fetch_max(sum * 1024, Ordering::Relaxed);
        round = round.wrapping_add(1);
        thread::park_timeout(SAMPLE_EVERY);
    }
}

/// Of one process; times in ticks.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    /// Of children that ended and were waited for.
    reaped: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in brackets may hold anything, so counting starts after the last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    // The numbers are those of proc(5).
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        own: field(14)? + field(15)?,
        reaped: field(16)? + field(17)?,
    })
}

/// user, nice, system, irq, softirq, steal: all but idle and waiting for a disk.
fn parse_machine(text: &str) -> u64 {
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let busy = fields.take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4));
    busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum()
}

fn status_kib(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

fn family(roots: &[u32]) -> BTreeSet<u32> {
    let mut members: BTreeSet<u32> = roots.iter().copied().collect();
    if roots.is_empty() {
        return members;
    }
    let parents = every_parent();
    for _ in 0..MAX_DEPTH {
        let before = members.len();
        let below = parents.iter().filter(|(_, parent)| members.contains(parent));
        let below: Vec<u32> = below.map(|(pid, _)| *pid).collect();
        members.extend(below);
        if members.len() == before {
            break;
        }
    }
    members
}

fn every_parent() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.parent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 99 1 2";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, own: 120, reaped: 7 }));
        assert_eq!(parse_stat("42 (a) S 7"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn idle_time_is_not_busy_time() {
        assert_eq!(parse_machine("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9"), 63);
        assert_eq!(parse_machine(""), 0);
        assert!(machine_cpu_nanos() > 0);
    }

    #[test]
    fn this_process_is_found() {
        let me = std::process::id();
        assert!(family(&[me]).contains(&me));
        assert!(rss_bytes(&[me]) > 0);
        assert_eq!(rss_bytes(&[]), 0);
        let sampler = Sampler::start(&[me]).expect("a sampler");
        assert!(sampler.finish() > 0);
    }

    #[test]
    fn disk_is_counted_in_blocks_below_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = disk_bytes(folder.path());
        fs::create_dir(folder.path().join("below")).expect("a folder");
        fs::write(folder.path().join("below/file"), vec![1; 100_000]).expect("a file");
        assert!(disk_bytes(folder.path()) >= before + 100_000);
        assert_eq!(disk_bytes(Path::new("/nonexistent")), 0);
    }
}
