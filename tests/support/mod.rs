//! What the crash test and the power-cut test share: a real daemon as a child process, a small
//! HTTP client, a receiver, seeded chance, and a main that runs named tests.
//!
//! Not a home for assertions about Posthaste: those stay with the tests that make them.
#![allow(dead_code, reason = "each of the two test programs uses its own part")]

pub mod daemon;
pub mod http;
pub mod receiver;

use std::time::{Duration, Instant};

/// Whether a release build of the daemon is tested: this is one, or `POSTHASTE_TEST_BIN` names one.
/// Then the limits of time hold and the counts are whole.
pub fn is_release() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("POSTHASTE_TEST_BIN").is_some()
}

/// A named test; `Err` says what was wrong.
pub type Test<'a> = (&'a str, &'a dyn Fn() -> Result<(), String>);

/// Runs the tests that the command line asks for, prints `N passed, N failed`, and exits.
/// Understands what `cargo test` hands on: name filters, `--exact`, `--skip NAME`, `--list`.
pub fn run(tests: &[Test]) -> ! {
    let mut filters = Vec::new();
    let mut skips = Vec::new();
    let mut exact = false;
    let mut list = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--exact" => exact = true,
            "--list" => list = true,
            "--skip" => skips.extend(arguments.next()),
            "--test-threads" | "--format" | "--color" | "-Z" => drop(arguments.next()),
            other if other.starts_with('-') => {}
            other => filters.push(other.to_owned()),
        }
    }
    let matches =
        |name: &str, text: &String| if exact { name == text } else { name.contains(text) };
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        let wanted = filters.is_empty() || filters.iter().any(|filter| matches(name, filter));
        if !wanted || skips.iter().any(|skip| matches(name, skip)) {
            continue;
        }
        if list {
            println!("{name}: test");
            continue;
        }
        let begun = Instant::now();
        let verdict = match test() {
            Ok(()) => {
                passed += 1;
                "ok".to_owned()
            }
            Err(problem) => {
                failed += 1;
                format!("FAILED\n{problem}")
            }
        };
        println!("test {name} ({:.1} s) ... {verdict}", begun.elapsed().as_secs_f64());
    }
    if !list {
        println!("{passed} passed, {failed} failed");
    }
    std::process::exit(i32::from(failed > 0));
}

/// A whole number from the environment, or the default. A value that is no number is an error,
/// so that a slip of the pen does not run a smaller test unseen.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            println!("{name} must be a whole number, not {text:?}");
            std::process::exit(2);
        }),
        Err(_) => default,
    }
}

/// The seed of this run: `POSTHASTE_SEED`, or a fresh one.
pub fn seed() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    number("POSTHASTE_SEED", u64::from(u32::from_le_bytes(bytes)))
}

/// Asks until the answer is `Some`, for at most `limit`. For states that can only be asked for,
/// such as what another process has done; a short pause between two questions is the price.
pub fn poll<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        // sleep: the pause between two questions, within the limit.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Seeded chance (splitmix64): the same seed gives the same numbers on every machine.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    /// Numbers that depend on the seed and on what they are for.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut chance = Self(seed ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F));
        chance.next();
        chance
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
