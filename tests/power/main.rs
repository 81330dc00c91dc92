//! Power-cut test. The real binary runs under load with a preload shim (`shim.c`) that writes down
//! in one order what it does to its files and which answers it sends. From that, images of the
//! disk are built as a power cut at some place could have left it (`disk.rs` documents the model),
//! and the real binary is started on each: every one must start, hold every message whose `202`
//! had begun to leave before the cut, deliver what was still to be delivered, and pass
//! `store check`. The control does the same with `storage.sync = "os"` and must find broken images:
//! otherwise the test would see nothing.
//!
//! `POSTHASTE_IMAGES` (200; 60 in a debug build) and `POSTHASTE_SEED` steer it. The seed fixes the
//! choices made here; what the daemon's threads do in which order is recorded afresh in each run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::let_underscore_must_use,
    clippy::cast_possible_truncation,
    reason = "a test program: a broken assumption may end it"
)]

mod check;
mod disk;
mod image;
mod model;
mod record;
#[path = "../support/mod.rs"]
mod support;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use check::{Fault, Stood};
use disk::Stretch;
use image::{MODES, Plan};
use record::Recording;
use support::daemon::say;
use support::{Chance, is_release};

/// So many runs of the daemon are recorded.
fn histories() -> u64 {
    if is_release() { 4 } else { 2 }
}
/// In one life of one history the kill leaves at least so many batches of fresh deliveries: more than go at
/// once.
const BATCHES: u64 = 8;
/// Two histories are worked on at the same time, each with a daemon and a receiver of its own.
const AT_ONCE: u64 = 2;
/// Images of the control; as a rule most of them are broken.
const CONTROL_IMAGES: u64 = 24;
/// So many per cent of the cuts come while the daemon starts: it makes its store, or recovers it.
const START_PERCENT: u64 = 30;
/// So many per cent of the others come where most was written since the last barrier: there sled may
/// have taken places again that it moved away from.
const BULK_PERCENT: u64 = 25;
/// Chosen from so many of the longest stretches between barriers.
const BULKS: u64 = 6;
/// The longest has at least so many bytes: a segment of sled's file.
const LONG: u64 = 512 * 1024;
/// So many per cent of the others come right around an acknowledgement, where they hurt most.
const SHARP_PERCENT: u64 = 60;
/// No more faults than these are told in full.
const SHOWN: usize = 4;

fn main() {
    support::run(&[
        ("the_disk_model_keeps_what_a_barrier_covers_and_nothing_more", &model::check),
        ("a_power_cut_loses_no_acknowledged_message", &power),
        ("without_barriers_the_same_test_fails", &control),
    ]);
}

fn power() -> Result<(), String> {
    let seed = support::seed();
    let images = support::number("POSTHASTE_IMAGES", if is_release() { 200 } else { 60 });
    in_folder(seed, |folder, shim| {
        let histories = histories();
        say(&format!("power: {images} images of {histories} histories, seed {seed}"));
        let mut total = Figures::default();
        for first in (0..histories).step_by(AT_ONCE as usize) {
            let share = |number| images / histories + u64::from(number < images % histories);
            let histories = first..histories.min(first + AT_ONCE);
            std::thread::scope(|scope| {
                let threads: Vec<_> = histories
                    .map(|number| {
                        scope.spawn(move || history(shim, folder, seed, number, share(number)))
                    })
                    .collect();
                for thread in threads {
                    total.join(thread.join().map_err(|_| "a worker panicked")??);
                }
                Ok::<(), String>(())
            })?;
        }
        total.report();
        total.judge(images)
    })
}

fn control() -> Result<(), String> {
    let seed = support::seed();
    in_folder(seed, |folder, shim| {
        let recording = record::record(shim, folder, seed, "os", true)?;
        let mut figures = Figures::default();
        figures.images(&recording, folder, seed, CONTROL_IMAGES);
        let (broken, shown) = (figures.broken(), figures.faults_by_kind());
        say(&format!(
            "control: storage.sync = \"os\": {broken} of {CONTROL_IMAGES} images broken ({shown})"
        ));
        match figures.faults.iter().find(|fault| fault.kind == Fault::Test) {
            Some(fault) => Err(fault.text.clone()),
            None if broken == 0 => {
                Err("without barriers nothing was lost: this test is blind".to_owned())
            }
            None => Ok(()),
        }
    })
}

/// Runs a test in a folder of its own, with the shim; a skip passes, said loudly. The folder is
/// kept when the test fails.
fn in_folder(
    seed: u64,
    test: impl FnOnce(&Path, &Path) -> Result<(), String>,
) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let Some(shim) = record::build_shim(folder.path())? else { return Ok(()) };
    test(folder.path(), &shim).map_err(|problem| {
        let kept = folder.keep();
        format!(
            "{problem}\nseed {seed} (POSTHASTE_SEED={seed}), broken images kept in {}",
            kept.display()
        )
    })
}

/// Records one history and tests images of it.
fn history(
    shim: &Path,
    folder: &Path,
    seed: u64,
    number: u64,
    images: u64,
) -> Result<Figures, String> {
    let folder = folder.join(format!("history-{number}"));
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let recording = record::record(shim, &folder, seed + number, "disk", number.is_multiple_of(2))?;
    let counts = recording.disk.counts;
    if counts.barriers == 0 {
        return Err("the shim saw no fsync or fdatasync at all: does the daemon make raw system \
                    calls (rustix)? std's sync_data and sync_all are seen"
            .to_owned());
    }
    let longest = recording.longest_stretches().first().map_or(0, |stretch| stretch.bytes);
    if longest < LONG {
        return Err(format!(
            "at most {longest} bytes between two barriers: no cut came where much was removed"
        ));
    }
    say(&format!(
        "  history {number}: {} records, {} writes of {} KiB, {} barriers, {} sync_file_range, \
         {} changed names, {} acknowledged, at most {} KiB between two barriers, {} batches",
        recording.last,
        counts.writes,
        counts.bytes / 1024,
        counts.barriers,
        counts.sync_ranges,
        counts.names,
        recording.promises.acknowledged.len(),
        longest / 1024,
        recording.batches,
    ));
    let mut figures = Figures { batches: recording.batches, ..Figures::default() };
    figures.images(&recording, &folder, seed + number, images);
    if number == 0 {
        figures.sweep_of_starts(&recording, &folder);
    }
    Ok(figures)
}

/// One image that did not stand the test.
struct Broken {
    kind: Fault,
    text: String,
}

#[derive(Default)]
struct Figures {
    images: BTreeMap<image::Mode, u64>,
    before_first: u64,
    acknowledged: u64,
    delivered: u64,
    slowest: Duration,
    took: Duration,
    batches: u64,
    faults: Vec<Broken>,
}

impl Figures {
    /// Images with cuts and fates by chance.
    fn images(&mut self, recording: &Recording, folder: &Path, seed: u64, count: u64) {
        let mut chance = Chance::new(seed, 2);
        for number in 0..count {
            let plan = plan(recording, &mut chance, number);
            self.image(recording, plan, &folder.join(format!("image-{number}")));
        }
    }

    /// While the daemon starts a few records decide everything: an image after each change, as
    /// a mere kill would leave it there.
    fn sweep_of_starts(&mut self, recording: &Recording, folder: &Path) {
        for start in &recording.starts {
            let starting = recording.while_starting(*start);
            for cut in recording.changes.iter().filter(|place| starting.contains(place)) {
                let plan = Plan { cut: *cut, mode: image::Mode::Everything, seed: 0 };
                self.image(recording, plan, &folder.join(format!("start-{cut}")));
            }
        }
    }

    fn image(&mut self, recording: &Recording, plan: Plan, folder: &Path) {
        let begun = Instant::now();
        *self.images.entry(plan.mode).or_default() += 1;
        let outcome = check::check(recording, plan, folder);
        drop(std::fs::remove_dir_all(folder));
        match outcome {
            Ok(stood) => self.stood(&stood),
            Err((kind, text)) => {
                let text = format!("{kind:?}: {plan:?} {}\n  {text}", folder.display());
                self.faults.push(Broken { kind, text });
                // As the power cut left it, before a daemon touched it.
                drop(image::write_out(&recording.disk.image(plan), folder));
            }
        }
        self.took += begun.elapsed();
    }

    fn stood(&mut self, stood: &Stood) {
        self.before_first += u64::from(stood.acknowledged == 0);
        self.acknowledged += stood.acknowledged as u64;
        self.delivered += stood.delivered as u64;
        self.slowest = self.slowest.max(stood.start);
    }

    fn join(&mut self, other: Self) {
        for (mode, count) in other.images {
            *self.images.entry(mode).or_default() += count;
        }
        self.before_first += other.before_first;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.slowest = self.slowest.max(other.slowest);
        self.took += other.took;
        self.batches = self.batches.max(other.batches);
        self.faults.extend(other.faults);
    }

    fn broken(&self) -> usize {
        self.faults.len()
    }

    fn faults_by_kind(&self) -> String {
        let mut kinds: BTreeMap<Fault, usize> = BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.kind).or_default() += 1;
        }
        kinds.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect::<Vec<_>>().join(", ")
    }

    fn report(&self) {
        let images: u64 = self.images.values().sum();
        let modes: Vec<_> =
            self.images.iter().map(|(mode, count)| format!("{mode:?} {count}")).collect();
        let rows = [
            ("images", format!("{images} ({})", modes.join(", "))),
            ("cut before the first acknowledgement", self.before_first.to_string()),
            ("acknowledged before the cut, kept", self.acknowledged.to_string()),
            ("of these delivered only after it", self.delivered.to_string()),
            ("slowest start", format!("{} ms", self.slowest.as_millis())),
            ("work on images", format!("{:.1} s on {AT_ONCE} threads", self.took.as_secs_f64())),
            ("broken", format!("{} {}", self.broken(), self.faults_by_kind())),
        ];
        for (name, value) in rows {
            say(&format!("  {name:<38} {value}"));
        }
    }

    fn judge(&self, images: u64) -> Result<(), String> {
        if self.images.values().sum::<u64>() < images {
            return Err(format!("fewer than {images} images were tested"));
        }
        if self.faults.is_empty() {
            if self.acknowledged == 0 {
                return Err("no image had anything acknowledged: this run shows nothing".to_owned());
            }
            // How many there are when a kill comes depends on the machine.
            if self.batches < BATCHES {
                let most = self.batches;
                return Err(format!("no kill left more than {most} batches of deliveries"));
            }
            return Ok(());
        }
        let shown: Vec<_> =
            self.faults.iter().take(SHOWN).map(|fault| fault.text.as_str()).collect();
        Err(format!(
            "{} images broken ({}), for example\n{}",
            self.broken(),
            self.faults_by_kind(),
            shown.join("\n")
        ))
    }
}

/// Where the power goes, and what becomes of what was not durable then.
fn plan(recording: &Recording, chance: &mut Chance, number: u64) -> Plan {
    let mut acknowledged: Vec<u64> = recording.promises.acknowledged.values().copied().collect();
    acknowledged.sort_unstable();
    let cut = if chance.percent(START_PERCENT) {
        let start = recording.starts[chance.between(0, recording.starts.len() as u64 - 1) as usize];
        let starting = recording.while_starting(start);
        chance.between(start, *starting.end())
    } else if chance.percent(BULK_PERCENT) {
        let stretches = recording.longest_stretches();
        assert!(!stretches.is_empty(), "nothing was ever made to last");
        let index = chance.between(0, BULKS.min(stretches.len() as u64) - 1) as usize;
        let Stretch { begin, end, .. } = stretches[index];
        chance.between(begin.midpoint(end), end)
    } else if chance.percent(SHARP_PERCENT) {
        // From some acknowledgement itself to a few records later.
        let index = chance.between(0, acknowledged.len() as u64 - 1) as usize;
        (acknowledged[index] + chance.between(0, 6)).min(recording.last)
    } else {
        chance.between(0, recording.last)
    };
    let mode = MODES[number as usize % MODES.len()];
    Plan { cut, mode, seed: chance.next() }
}
