//! The real binary as a child process: started, asked for its port, killed without warning.
//!
//! `POSTHASTE_TEST_BIN` names another build to test than the one cargo just made.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::poll;

/// A command that answers and ends (`token`, `store check`) may take this long.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// From SIGTERM to the end of the process.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A running `posthaste serve`. Dropping it kills it.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    errors: PathBuf,
    pub started: Instant,
}

impl Daemon {
    /// Starts the daemon on `data` with a free port; does not wait for it. What it writes to
    /// stderr goes to the file `errors`.
    pub fn spawn(data: &Path, errors: &Path, env: &[(&str, &OsStr)]) -> Result<Self, String> {
        let mut command = posthaste();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8", "--data"])
            .arg(data)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                File::create(errors).map_err(|error| format!("{}: {error}", errors.display()))?,
            );
        let started = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("cannot start: {error}"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let (line_in, lines) = channel();
        std::thread::spawn(move || {
            // Reads to the end even when nobody listens, so that the daemon never blocks on it.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = line_in.send(line);
            }
        });
        Ok(Self { child, lines, errors: errors.to_owned(), started })
    }

    /// Waits until the daemon says where it listens; the port.
    pub fn port(&mut self, limit: Duration) -> Result<u16, String> {
        let end = self.started + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(port) = port_in(&line) {
                        return Ok(port);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.tell(&format!("does not listen after {limit:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = poll(Duration::from_secs(5), || self.child.try_wait().ok()?);
                    return Err(self.tell(&format!("ended before it listened: {status:?}")));
                }
            }
        }
    }

    /// The processor time it has used so far, in `/proc`'s hundredths of a second.
    pub fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    /// SIGKILL, and waits for the end. Fails when the daemon had already ended by itself.
    pub fn kill(&mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.tell(&format!("ended by itself: {status}")));
        }
        self.child.kill().and_then(|()| self.child.wait()).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// SIGTERM: an ordered stop has to end with exit code 0.
    pub fn stop(&mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { return Err("no process id".to_owned()) };
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| format!("SIGTERM: {error}"))?;
        match poll(STOP_LIMIT, || self.child.try_wait().ok()?) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.tell(&format!("after SIGTERM: {status}"))),
            None => Err(self.tell(&format!("still runs {STOP_LIMIT:?} after SIGTERM"))),
        }
    }

    /// The problem together with the end of what the daemon wrote to stderr.
    pub fn tell(&self, problem: &str) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n    ");
        format!("the daemon {problem}; the end of its stderr:\n    {tail}")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An operator's token for the daemon on `data`.
pub fn token(data: &Path) -> Result<String, String> {
    let (code, stdout, stderr) = run(&["token"], data)?;
    let token = stdout.trim();
    if code != 0 || token.is_empty() || token.contains(char::is_whitespace) {
        return Err(format!("posthaste token: exit {code}, stdout {stdout:?}, stderr {stderr:?}"));
    }
    Ok(token.to_owned())
}

/// `store check` on a folder no daemon runs on: anything but exit 0 is an error.
pub fn store_check(data: &Path) -> Result<(), String> {
    let (code, stdout, stderr) = run(&["store", "check"], data)?;
    if code == 0 {
        return Ok(());
    }
    let tail = |text: &str| text.lines().take(12).collect::<Vec<_>>().join("\n    ");
    Err(format!("store check: exit {code}\n    {}\n    {}", tail(&stdout), tail(&stderr)))
}

/// How many rows a tree has, in a folder no daemon runs on.
pub fn store_rows(data: &Path, tree: &str) -> Result<u64, String> {
    let (_, stdout, stderr) = run(&["store", "check", "--json"], data)?;
    let report: serde_json::Value =
        serde_json::from_str(&stdout).map_err(|error| format!("store check: {error}\n{stderr}"))?;
    report["rows"][tree].as_u64().ok_or_else(|| format!("store check knows no tree {tree}"))
}

/// Runs a command that ends by itself; its exit code and what it printed.
fn run(arguments: &[&str], data: &Path) -> Result<(i32, String, String), String> {
    let mut out = tempfile::tempfile().map_err(|error| error.to_string())?;
    let mut err = tempfile::tempfile().map_err(|error| error.to_string())?;
    let stdout = out.try_clone().map_err(|error| error.to_string())?;
    let stderr = err.try_clone().map_err(|error| error.to_string())?;
    let mut child = posthaste()
        .args(arguments)
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|error| format!("cannot start: {error}"))?;
    let Some(status) = poll(COMMAND_LIMIT, || child.try_wait().ok()?) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("posthaste {arguments:?} still runs after {COMMAND_LIMIT:?}"));
    };
    Ok((status.code().unwrap_or(-1), read_back(&mut out)?, read_back(&mut err)?))
}

fn read_back(file: &mut File) -> Result<String, String> {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .map_err(|error| format!("reading what a command printed: {error}"))?;
    Ok(text)
}

/// The binary under test, without any `POSTHASTE_…` variable of the surroundings: those that
/// steer these tests are none of the daemon's.
fn posthaste() -> Command {
    let binary = std::env::var_os("POSTHASTE_TEST_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_posthaste").into());
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POSTHASTE_") {
            command.env_remove(name);
        }
    }
    command
}

fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on http://127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Copies a folder as it is.
pub fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Prints a line at once, also through a pipe.
pub fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}
