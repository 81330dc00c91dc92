//! The example receivers, each with its language's published verification package, against real
//! deliveries from a real daemon: a good one is taken, a forged one is refused.
//!
//! Packages are installed below the target folder. Without Python or Node a test is skipped aloud,
//! except under `CI=true`, where that is a failure.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::{Running, Serve, WAIT};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/receivers")
}

/// Where packages go: beside the binary, so that `cargo clean` removes them.
fn installed(language: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().unwrap();
    target.join("example-receivers").join(language)
}

/// Whether a program is there; loud when it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{program} is missing, and CI must test the receivers"
        );
        eprintln!("SKIPPED: {program} is missing, its example receiver was not tested");
    }
    found
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

#[test]
fn python_verifies() {
    if !has("python3") {
        return;
    }
    let (venv, source) = (installed("python"), examples().join("python"));
    succeed(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    let pip = venv.join("bin/pip");
    let install = ["install", "--quiet", "--disable-pip-version-check", "-r"];
    succeed(Command::new(pip).args(install).arg(source.join("requirements.txt")));
    check("python", || {
        let mut command = Command::new(venv.join("bin/python"));
        command.arg(source.join("receiver.py"));
        command
    });
}

#[test]
fn node_verifies() {
    if !has("node") || !has("npm") {
        return;
    }
    let (folder, source) = (installed("node"), examples().join("node"));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", "receiver.mjs"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let ci = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
    succeed(Command::new("npm").args(ci).current_dir(&folder));
    check("node", || {
        let mut command = Command::new("node");
        command.arg("receiver.mjs").current_dir(&folder);
        command
    });
}

#[test]
fn rust_verifies() {
    let release = !cfg!(debug_assertions);
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", "receiver"]);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    succeed(&mut build);
    let target = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().unwrap();
    let program = target.join("examples/receiver");
    check("rust", || Command::new(&program));
}

/// A receiver with the endpoint's secret takes what the daemon sends and refuses anything else.
fn check(language: &str, receiver: impl FnOnce() -> Command) {
    let data = tempfile::tempdir().unwrap();
    let serve = Serve::start(&data.path().join("data"));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut command = receiver();
    command.env("PORT", "0").env("SECRET", secret);
    let mut receiver = Running::start(command);
    let line = receiver.wait_for("listening on ");
    let address = line.trim_start_matches("listening on ").to_owned();

    let app = serve.ask(&["app", "create", language]);
    let url = format!("http://{address}/webhooks");
    serve.ask(&["endpoint", "create", &url, "--app", &app, "--secret", secret]);
    for payload in [r#"{"n": 1}"#, r#"{"text":"é\n\"quoted\""}"#] {
        let message = serve.ask(&["send", "--app", &app, "--type", "a.b", payload]);
        let line = receiver.wait_for("verified ");
        assert!(line.starts_with(&format!("verified {message} ")), "{message}: {line}");
    }
    assert!(forge(&address).starts_with("HTTP/1.1 400 "));
}

/// Sends a delivery with a signature that nobody made, and gives back the answer.
fn forge(address: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let signature = format!("v1,{}=", "A".repeat(43));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let request = format!(
        "POST /webhooks HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nwebhook-id: msg_1\r\n\
         webhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
