//! Reads the sources and fails when the house is out of order: a module that uses another it may
//! not know, a package outside its home, a file that is too long or says nothing of itself.
//!
//! The tables below are the rules. [`source`] splits Rust text into code and the rest, [`rules`]
//! looks at one file at a time, and both are tried on small made-up inputs, because a checker that
//! cannot fail checks nothing. Test code (`#[cfg(test)]`) may use every module and package.
mod demo_data;
mod rules;
mod source;

use source::{Place, Source};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Which modules each module may use. `sim` is test code, and still held to its row.
const MODULES: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("config", &["model"]),
    ("signature", &["model"]),
    ("store", &["model"]),
    ("delivery", &["model", "signature"]),
    ("scheduler", &["model", "store", "delivery"]),
    ("inbound", &["model", "store", "signature"]),
    ("api", &["model", "store", "delivery", "signature", "scheduler", "inbound"]),
    ("console", &["model", "store", "scheduler", "inbound", "api"]),
    (
        "daemon",
        &[
            "model",
            "config",
            "signature",
            "store",
            "delivery",
            "scheduler",
            "inbound",
            "api",
            "console",
        ],
    ),
    ("client", &["model", "api"]),
    ("cli", &["model", "config", "signature", "store", "client", "daemon", "api"]),
    (
        "sim",
        &[
            "model",
            "config",
            "signature",
            "store",
            "delivery",
            "scheduler",
            "inbound",
            "api",
            "console",
        ],
    ),
];

/// Where each package with a home may be named, as beginnings of paths.
const HOMES: [(&str, &[&str]); 11] = [
    ("sled", &["src/store/"]),
    ("bincode", &["src/store/"]),
    ("ureq", &["src/delivery/", "src/client/"]),
    ("warp", SERVERS),
    (
        "tokio",
        // The command line waits for Ctrl-C with it: there is no other way without unsafe code.
        &["src/api/", "src/console/", "src/inbound/", "src/daemon/", "src/cli/interrupt.rs"],
    ),
    ("hyper", SERVERS),
    ("hyper_util", SERVERS),
    ("hmac", &["src/signature/", "src/api/auth"]),
    ("sha2", &["src/signature/", "src/api/auth", "src/api/idempotency.rs"]),
    ("notify", &["src/config/"]),
    ("clap", &["src/cli/"]),
];

/// Who speaks HTTP to the outside.
const SERVERS: &[&str] = &["src/api/", "src/console/", "src/inbound/", "src/daemon/"];

/// The longest a file may be, in lines.
const LONGEST_FILE: usize = 600;

/// What may lie at the top, besides names that begin with a dot and what `.gitignore` names there.
const TOP_LEVEL: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "data", "tests", "examples"];

/// A file that is not test code, for the rules that need one.
const ORDINARY: &str = "src/lib.rs";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the project, read once for all tests.
fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples"] {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let name = path.strip_prefix(root()).unwrap_or(path);
        (name.to_string_lossy().into_owned(), text)
    };
    source::sources(files.iter().map(read).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let skipped = ["node_modules", "target", "corpus"].iter().any(|other| name == *other);
        if path.is_dir() && !skipped && !name.to_string_lossy().starts_with('.') {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Fails with one line for each thing a rule found.
#[track_caller]
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn modules_use_only_what_the_table_allows() {
    check(|source| rules::edges(source, &MODULES));
}

#[test]
fn packages_stay_in_their_homes() {
    check(|source| rules::homes(source, &HOMES));
}

#[test]
fn no_file_is_too_long() {
    check(|source| rules::length(source, LONGEST_FILE));
}

#[test]
fn every_file_says_what_it_is_for() {
    check(rules::introduction);
}

#[test]
fn no_test_sleeps_to_wait() {
    check(rules::sleeps);
}

#[test]
fn nothing_is_left_unfinished() {
    check(rules::unfinished);
}

#[test]
fn the_top_level_holds_nothing_else() {
    let entries = std::fs::read_dir(root()).into_iter().flatten().flatten();
    let names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    assert_eq!(rules::strangers(&names, &TOP_LEVEL, &ignored), [""; 0]);
}

/// The rules above pass on an empty project too, so this one asks that there was something to see.
#[test]
fn the_sources_are_really_read() {
    let sources = sources();
    let find = |path: &str| sources.iter().find(|source| source.path == path);
    assert_eq!(find(ORDINARY).map(|source| source.place), Some(Place::Ordinary));
    assert_eq!(find("tests/it/tidy.rs").map(|source| source.place), Some(Place::Test));
    assert_eq!(find("src/config/raw_tests.rs").map(|source| source.place), Some(Place::Test));
    assert_eq!(find("src/config/raw.rs").map(|source| source.place), Some(Place::Ordinary));
    let denied: BTreeSet<String> =
        sources.iter().flat_map(|source| rules::edges(source, &[])).collect();
    let edge = "src/cli/exit.rs";
    assert!(denied.iter().any(|found| found.starts_with(edge)), "no edge is seen in {edge}");
    let homes: [(&str, &[&str]); 1] = [("toml", &["src/nowhere/"])];
    let home = sources.iter().flat_map(|source| rules::homes(source, &homes)).next();
    assert!(home.is_some_and(|found| found.starts_with("src/config/raw.rs")));
}
