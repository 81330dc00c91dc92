//! The published svix libraries in Python, JavaScript and Rust against a real daemon: the whole
//! life of a webhook, every operation once, and each one's deliveries verified by the others.
//!
//! The programs are in `tests/clients`; what they need is installed below the target folder, in
//! the versions named there. Without Python or Node a test is skipped aloud, except under
//! `CI=true`, where that is a failure. `UPDATE=1` writes anew which operations work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::binary::{Serve, run, stdout};

/// For the installation of packages, and for building the Rust library with what it needs.
const INSTALL_LIMIT: Duration = Duration::from_secs(420);
/// For a library's whole run.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// What a library's program prints.
struct Outcome {
    /// Operation to `works`, `not_implemented` or `fails: …`.
    operations: BTreeMap<String, String>,
    /// Deliveries it received, each with a secret that verifies it.
    deliveries: Vec<Value>,
}

#[derive(Clone, Copy, Debug)]
enum Library {
    Python,
    Javascript,
    Rust,
}

impl Library {
    const ALL: [Self; 3] = [Self::Python, Self::Javascript, Self::Rust];

    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Rust => "rust",
        }
    }

    /// The program, installed; none when its language is missing.
    fn program(self) -> Option<Vec<String>> {
        static INSTALLED: [OnceLock<Option<Vec<String>>>; 3] = [const { OnceLock::new() }; 3];
        let install = || match self {
            Self::Python => python(),
            Self::Javascript => javascript(),
            Self::Rust => Some(rust()),
        };
        INSTALLED[self as usize].get_or_init(install).clone()
    }

    /// Its run against a daemon of its own, once for all tests.
    fn outcome(self) -> Option<&'static Outcome> {
        static RUNS: [OnceLock<Option<Outcome>>; 3] = [const { OnceLock::new() }; 3];
        RUNS[self as usize].get_or_init(|| self.live()).as_ref()
    }

    fn live(self) -> Option<Outcome> {
        let mut command = command(&self.program()?);
        let data = tempfile::tempdir().unwrap();
        let serve = Serve::start(data.path());
        let token = stdout(&run(&["token", "--data", data.path().to_str().unwrap()]));
        command.arg("run").env("SERVER_URL", &serve.url).env("TOKEN", token.trim());
        if matches!(self, Self::Rust) {
            command.arg(sources().join("bodies.json"));
        }
        let printed = last_line(&finish(command, RUN_LIMIT));
        let found = printed["operations"].as_object().unwrap().iter();
        let operations =
            found.map(|(name, how)| (name.clone(), how.as_str().unwrap().to_owned())).collect();
        Some(Outcome { operations, deliveries: printed["deliveries"].as_array().unwrap().clone() })
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Where packages go: below the target folder, so that `cargo clean` removes them.
fn installed(what: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("clients").join(what)
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Whether a program is there; loud when it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        let ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!ci, "{program} is missing, and CI must test the client libraries");
        eprintln!("SKIPPED: {program} is missing, its client library was not tested");
    }
    found
}

/// A folder that `install` fills, once for each text of what is wanted in it, whoever else wants it
/// at the same time.
fn fill(folder: &Path, wanted: &str, install: impl FnOnce()) {
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return;
    }
    drop(fs::remove_dir_all(folder));
    fs::create_dir_all(folder).unwrap();
    install();
    fs::write(stamp, wanted).unwrap();
}

/// A virtual environment with what a requirements file names; its `bin`.
pub fn venv(name: &str, requirements: &Path) -> Option<PathBuf> {
    if !has("python3") {
        return None;
    }
    let folder = installed(name);
    fill(&folder, &fs::read_to_string(requirements).unwrap(), || {
        let mut make = Command::new("python3");
        make.arg("-m").arg("venv").arg(&folder);
        finish(make, INSTALL_LIMIT);
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"]);
        install.arg(requirements);
        finish(install, INSTALL_LIMIT);
    });
    Some(folder.join("bin"))
}

fn python() -> Option<Vec<String>> {
    let source = sources().join("python");
    let python = venv("py", &source.join("requirements.txt"))?.join("python");
    Some(words(&[&python, &source.join("client.py")]))
}

fn javascript() -> Option<Vec<String>> {
    if !has("node") || !has("npm") {
        return None;
    }
    let (source, folder) = (sources().join("js"), installed("js"));
    let lock = fs::read_to_string(source.join("package-lock.json")).unwrap();
    let copy = |file: &str| fs::copy(source.join(file), folder.join(file)).unwrap();
    fill(&folder, &lock, || {
        copy("package.json");
        copy("package-lock.json");
        let mut install = Command::new("npm");
        let arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
        install.args(arguments).current_dir(&folder);
        finish(install, INSTALL_LIMIT);
    });
    // Node looks for packages beside the program.
    copy("client.mjs");
    fs::copy(sources().join("bodies.json"), installed("bodies.json")).unwrap();
    Some(words(&[Path::new("node"), &folder.join("client.mjs")]))
}

fn rust() -> Vec<String> {
    let target = installed("rust-target");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--manifest-path"]);
    build.arg(sources().join("rust/Cargo.toml")).arg("--target-dir").arg(&target);
    finish(build, INSTALL_LIMIT);
    words(&[&target.join("debug/posthaste-clients")])
}

fn words(paths: &[&Path]) -> Vec<String> {
    paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}

/// Runs a command that must succeed within `limit`; what it wrote to stdout. Past the limit it is
/// killed with all that it started.
pub fn finish(mut command: Command, limit: Duration) -> String {
    let begun = Instant::now();
    let output = tempfile::NamedTempFile::new().unwrap();
    let errors = tempfile::NamedTempFile::new().unwrap();
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(output.reopen().unwrap()).stderr(errors.reopen().unwrap());
    let shown = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begun.elapsed() > limit {
            let group = rustix::process::Pid::from_child(&child);
            let killed = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            eprintln!("{shown}: past {limit:?}, killed: {killed:?}");
            drop(child.wait());
            break None;
        }
        // sleep: the pause between two questions, within the limit.
        std::thread::sleep(Duration::from_millis(20));
    };
    let errors = fs::read_to_string(errors.path()).unwrap_or_default();
    let output = fs::read_to_string(output.path()).unwrap_or_default();
    let good = status.is_some_and(|status| status.success());
    assert!(good, "{shown}: {status:?} (none: not within {limit:?})\n{output}\n{errors}");
    output
}

fn last_line(printed: &str) -> Value {
    serde_json::from_str(printed.lines().last().unwrap_or_default()).unwrap()
}

/// A library's operations as they are known to be; and, with `UPDATE=1`, as they are now.
fn check(library: Library) {
    static FILE: Mutex<()> = Mutex::new(());
    let Some(outcome) = library.outcome() else { return };
    let name = library.name();
    let (table, counts) = table(outcome);
    eprintln!("the operations of the {name} library:\n{table}{counts}");
    let fails = |(_, how): &(&String, &String)| how.starts_with("fails");
    let failed: Vec<_> = outcome.operations.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{name}: {failed:#?}");

    let _one_at_a_time = FILE.lock();
    let file = sources().join("operations.json");
    let mut known: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    if std::env::var("UPDATE").as_deref() == Ok("1") {
        for (operation, how) in &outcome.operations {
            known["operations"][operation] = json!(how);
        }
        known["counts"][name] = counts;
        fs::write(&file, serde_json::to_string_pretty(&known).unwrap() + "\n").unwrap();
        return;
    }
    let changed: Vec<String> = outcome
        .operations
        .iter()
        .filter(|(operation, how)| known["operations"][operation] != json!(how))
        .map(|(operation, how)| {
            format!("{operation}: {how}, was {}", known["operations"][operation])
        })
        .collect();
    assert!(changed.is_empty(), "{name}: {changed:#?}; when this is right, run with UPDATE=1");
    assert_eq!(counts, known["counts"][name], "{name}; when this is right, run with UPDATE=1");
}

/// One line for each operation, and how many of each kind.
fn table(outcome: &Outcome) -> (String, Value) {
    let mut lines = String::new();
    let mut counts = BTreeMap::<&str, u32>::new();
    for (operation, how) in &outcome.operations {
        writeln!(lines, "  {operation:<50} {}", how.replace('_', " ")).unwrap();
        *counts.entry(how).or_default() += 1;
    }
    (lines, json!(counts))
}

#[test]
fn the_python_library_lives_on_posthaste() {
    check(Library::Python);
}

#[test]
fn the_javascript_library_lives_on_posthaste() {
    check(Library::Javascript);
}

#[test]
fn the_rust_library_lives_on_posthaste() {
    check(Library::Rust);
}

/// What one library had sent is verified by the others, and by Standard Webhooks in Python and
/// JavaScript: those programs ask both verifiers.
#[test]
fn each_library_verifies_what_the_others_made() {
    let made: Vec<&Value> = Library::ALL
        .iter()
        .filter_map(|one| one.outcome())
        .flat_map(|one| &one.deliveries)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deliveries.json");
    fs::write(&file, json!(made).to_string()).unwrap();
    let mut forged = made.last().map(|one| (*one).clone()).unwrap();
    forged["body"] = json!("{}");
    let other = folder.path().join("forged.json");
    fs::write(&other, json!([forged]).to_string()).unwrap();
    for library in Library::ALL {
        let Some(program) = library.program() else { continue };
        let mut verify = command(&program);
        verify.arg("verify").arg(&file);
        let printed = last_line(&finish(verify, RUN_LIMIT));
        assert_eq!(printed["verified"], made.len(), "{library:?}");
        let mut verify = command(&program);
        verify.arg("verify").arg(&other).stderr(Stdio::null()).stdout(Stdio::null());
        assert!(!verify.status().unwrap().success(), "{library:?} takes a forged delivery");
    }
}

/// The Rust program names its operations by hand: none of the library's may be missing there.
/// (The others ask their library what it has.)
#[test]
fn the_rust_program_calls_every_operation_of_its_library() {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--locked", "--format-version", "1", "--manifest-path"]);
    metadata.arg(sources().join("rust/Cargo.toml"));
    let metadata: Value = serde_json::from_str(&finish(metadata, INSTALL_LIMIT)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let library = packages.iter().find(|package| package["name"] == "svix").unwrap();
    let manifest = Path::new(library["manifest_path"].as_str().unwrap());
    let mut offered = BTreeSet::new();
    for file in fs::read_dir(manifest.with_file_name("src").join("api")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some((_, rest)) = line.split_once("pub async fn ") {
                let name = rest.split(['(', '<']).next().unwrap();
                offered.insert(format!("{module}.{name}"));
            }
        }
    }
    let source = fs::read_to_string(sources().join("rust/src/surface.rs")).unwrap();
    let called: BTreeSet<String> = source
        .split("op!(")
        .skip(1)
        .filter_map(|text| text.split('"').nth(1))
        .map(|name| {
            let (module, name) = name.rsplit_once('.').unwrap_or(("", name));
            format!("{}.{name}", module.replace('.', "_"))
        })
        .collect();
    assert!(offered.len() > 100, "{offered:?}");
    assert_eq!(offered.difference(&called).collect::<Vec<_>>(), Vec::<&String>::new());
}
