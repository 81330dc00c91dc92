//! Fuzzing on the stable toolchain: every parser that meets strangers' bytes, fed with mutations of
//! a corpus. A target reads any bytes, checks what must hold for whatever passes, and says what kind
//! of outcome it was; an input with a new kind of outcome joins the corpus of the run.
//!
//! Tests only. `POSTHASTE_FUZZ_SECONDS` says how long (5), `POSTHASTE_SEED` repeats a run,
//! `POSTHASTE_FUZZ_TARGETS` names some of them (`proxy,event in`); a finding is printed as hex. It
//! belongs into `tests/fuzz/found/TARGET/` then, whose files are read first.

mod mutate;
mod targets;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use mutate::{Mutator, Rng};
use targets::{Target, targets};

/// One input may take so long; more is a finding.
const SLOW: Duration = Duration::from_secs(5);
/// Inputs in the corpus of a run.
const CORPUS: usize = 512;
/// Bytes of an input.
const LONGEST: usize = 4096;
/// The clock is looked at after so many executions.
const BUNCH: usize = 64;

/// The kind of an outcome, as a number.
pub(crate) fn kind(outcome: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}

/// Runs one input; what went wrong, if something did.
fn one(target: &Target, input: &[u8]) -> Result<u64, String> {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = begun.elapsed();
    let hex = || {
        input.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    match outcome {
        Err(_) => Err(format!("{} panicked on {} ({:?})", target.name, hex(), show(input))),
        Ok(_) if took > SLOW => Err(format!("{} took {took:?} for {}", target.name, hex())),
        Ok(kind) => Ok(kind),
    }
}

fn show(input: &[u8]) -> String {
    String::from_utf8_lossy(input).chars().take(300).collect()
}

/// What a run of one target did.
struct Done {
    executions: u64,
    kinds: usize,
}

fn run(target: &Target, seed: u64, time: Duration) -> Result<Done, String> {
    let mut mutator = Mutator { rng: Rng(seed), words: target.words, longest: LONGEST };
    let mut corpus = target.seeds.clone();
    let mut kinds = HashSet::new();
    for input in &corpus {
        kinds.insert(one(target, input)?);
    }
    let (end, mut executions) = (Instant::now() + time, corpus.len() as u64);
    while Instant::now() < end {
        for _ in 0..BUNCH {
            let input = mutator.next(&corpus);
            executions += 1;
            if kinds.insert(one(target, &input)?) {
                if corpus.len() < CORPUS {
                    corpus.push(input);
                } else {
                    // What was there at the beginning stays.
                    let known = target.seeds.len();
                    let at = known + mutator.rng.below(CORPUS.saturating_sub(known).max(1));
                    if let Some(place) = corpus.get_mut(at) {
                        *place = input;
                    }
                }
            }
        }
    }
    Ok(Done { executions, kinds: kinds.len() })
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_parser_takes_whatever_comes() {
    let mut targets = targets();
    if let Ok(wanted) = std::env::var("POSTHASTE_FUZZ_TARGETS") {
        targets.retain(|target| wanted.split(',').any(|name| name == target.name));
    }
    let seconds = setting("POSTHASTE_FUZZ_SECONDS", 5);
    let mut by_chance = [0; 8];
    getrandom::fill(&mut by_chance).unwrap();
    let seed = setting("POSTHASTE_SEED", u64::from_le_bytes(by_chance));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = u64::try_from(targets.len().div_ceil(threads).max(1)).unwrap();
    let time = Duration::from_millis(seconds * 1000 / share);
    println!("POSTHASTE_SEED={seed}, {} targets, {time:?} each", targets.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(target) = targets.get(n) else { return found };
            found.push((target.name, run(target, seed, time)));
        }
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut findings = Vec::new();
    let mut all = 0;
    for (name, done) in done {
        match done {
            Ok(Done { executions, kinds }) => {
                println!("{name:12} {executions:>10} executions, {kinds:>5} kinds of outcome");
                assert!(kinds > 1, "{name}: every input has the same outcome");
                all += executions;
            }
            Err(finding) => findings.push(finding),
        }
    }
    println!("{all} executions");
    assert!(findings.is_empty(), "POSTHASTE_SEED={seed}\n{}", findings.join("\n"));
}

#[test]
fn what_was_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found");
    for target in targets() {
        let Ok(files) = std::fs::read_dir(folder.join(target.name)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            one(&target, &input).unwrap_or_else(|found| panic!("{}: {found}", path.display()));
        }
    }
}

#[test]
fn a_parser_that_falls_over_is_found() {
    let target = Target {
        name: "planted",
        seeds: vec![b"abc".to_vec()],
        words: &["needle"],
        run: |bytes| {
            assert!(!bytes.windows(6).any(|w| w == b"needle"), "planted");
            bytes.len() as u64
        },
    };
    let found = run(&target, 7, Duration::from_secs(10)).map(|done| done.executions);
    assert!(found.as_ref().is_err_and(|text| text.contains("6e6565646c65")), "{found:?}");
}
