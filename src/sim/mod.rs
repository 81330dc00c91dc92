//! The simulator: the real store and the real decisions on a virtual clock, with scripted
//! receivers, seeded chance, and crashes by copying the store's folder.
//!
//! Tests only. A run is a function of its seed; a failing one prints it, and
//! `POSTHASTE_SEED=n cargo test --lib sim::seeds` repeats it. `POSTHASTE_SEEDS` and
//! `POSTHASTE_STEPS` make the run longer.

mod ledger;
mod leftovers;
mod lives;
mod receiver;
mod scenarios;
mod steps;
mod world;

use crate::store::planted::{Bug, plant};

/// A deterministic stream of chance (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs one seed; the error says what was broken, and at which step.
fn run(seed: u64, steps: u64) -> Result<(), String> {
    let mut world = world::World::new(seed);
    world.lags = world.dice.one_in(2);
    for step in 0..steps {
        steps::step(&mut world).map_err(|err| format!("step {step}: {err}"))?;
        if step % 25 == 24 {
            world.check_store().map_err(|err| format!("step {step}: {err}"))?;
        }
    }
    world.heal_and_finish()
}

#[test]
fn seeds() {
    let first = setting("POSTHASTE_SEED", 1);
    let count =
        if std::env::var("POSTHASTE_SEED").is_ok() { 1 } else { setting("POSTHASTE_SEEDS", 100) };
    let steps = setting("POSTHASTE_STEPS", 200);
    for seed in first..first + count {
        if let Err(err) = run(seed, steps) {
            panic!("seed {seed} (POSTHASTE_SEED={seed} POSTHASTE_STEPS={steps}): {err}");
        }
    }
}

/// The first seed that catches a planted bug.
fn caught(bug: Bug) -> (u64, String) {
    plant(Some(bug));
    let found = (1..=30).find_map(|seed| run(seed, 200).err().map(|err| (seed, err)));
    plant(None);
    found.expect("a planted bug was not caught in 30 seeds")
}

#[test]
fn an_answer_before_the_flush_is_caught() {
    let (seed, err) = caught(Bug::AnswerBeforeFlush);
    println!("caught by seed {seed}: {err}");
    assert!(err.contains("lost") || err.contains("gone"), "{err}");
}

#[test]
fn a_forgotten_queue_row_is_caught() {
    let (seed, err) = caught(Bug::ForgetQueueRow);
    println!("caught by seed {seed}: {err}");
}
