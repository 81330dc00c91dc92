//! Runs the real binary: single commands with what they print, and a daemon on a free port.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for anything a process should do at once.
pub const WAIT: Duration = Duration::from_secs(30);

/// The binary, with nothing of this process's environment that could change what it does.
/// `POSTHASTE_TEST_BIN` names another build than the one cargo just made.
pub fn posthaste(args: &[&str]) -> Command {
    let built = || env!("CARGO_BIN_EXE_posthaste").into();
    let mut command = Command::new(std::env::var_os("POSTHASTE_TEST_BIN").unwrap_or_else(built));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POSTHASTE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("STATE_DIRECTORY").env("NO_COLOR", "1").args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(args: &[&str]) -> Output {
    posthaste(args).output().unwrap()
}

/// What a finished command wrote to stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a finished command wrote to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asks again and again until there is an answer; for what only a daemon can tell.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
    }
}

/// A process whose stdout is read line by line; killed when dropped.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts it. Its stderr goes where the test's goes.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
                if send.send(line.trim_end().to_owned()).is_err() {
                    drop(stdout.read_to_end(&mut Vec::new()));
                }
                line.clear();
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// The first line from here on that holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}); seen: {:#?}", self.seen),
            }
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        eventually("end after SIGTERM", || {
            std::thread::yield_now();
            self.child.try_wait().unwrap()
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A daemon that may deliver to this machine, on a free port.
pub struct Serve {
    pub running: Running,
    pub url: String,
    data: String,
}

impl Serve {
    /// Starts it and waits until it listens.
    pub fn start(data: &Path) -> Self {
        let data = data.to_str().unwrap().to_owned();
        let args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--data", &data];
        let mut running = Running::start(posthaste(&args));
        let banner = running.wait_for("listening on ");
        let (before, url) = banner.split_once(" listening on ").unwrap();
        assert_eq!(before, concat!("posthaste ", env!("CARGO_PKG_VERSION")));
        Self { running, url: url.to_owned(), data }
    }

    /// Runs a command against this daemon; it must succeed. Gives its stdout without the last
    /// line break.
    pub fn ask(&self, args: &[&str]) -> String {
        let output = self.try_ask(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output).trim_end().to_owned()
    }

    /// Runs a command against this daemon.
    pub fn try_ask(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A command against this daemon, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = posthaste(args);
        command.args(["--server", &self.url, "--data", &self.data]);
        command
    }
}
