//! The server under test: a posthaste or a relay that this program starts, or one that runs.
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::api::Api;
use crate::args::Args;
use crate::guard;
use crate::process;
use crate::receiver::lock;

/// A server must say where it listens within this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// After SIGTERM, before SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const STOP_POLL: Duration = Duration::from_millis(5);
/// Lines of a server's output kept for an error message.
const LOG_LINES: usize = 40;
const LISTENING: &str = "listening on http://";

/// Which server a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Relay,
    Posthaste,
    /// Already running, reached by `--url`.
    Given,
}

pub struct Server {
    pub kind: Kind,
    pub api: Api,
    /// Roots of the process trees to be measured.
    pub pids: Vec<u32>,
    /// Where its data lies, for the disk figure.
    pub disk: Vec<PathBuf>,
    running: Option<Running>,
    folder: Option<Folder>,
}

/// What a restart took.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Restart {
    /// From the signal to the end of the old process.
    pub stop_s: f64,
    /// From the start of the new process to its first accepted message.
    pub accepting_s: f64,
}

impl Server {
    pub fn start(kind: Kind, args: &Args) -> Result<Self> {
        match kind {
            Kind::Given => given(args),
            Kind::Relay => {
                let running = Running::start(relay_command(args)?)?;
                Ok(Self::of(kind, "bench".into(), running, None))
            }
            Kind::Posthaste => {
                let bin = args.bin()?;
                let folder = Folder::create(args.data.as_deref())?;
                let running = Running::start(serve_command(&bin, &folder.path, args))?;
                let token = ask(&bin, &["token"], &folder.path)?;
                Ok(Self::of(kind, token, running, Some(folder)))
            }
        }
    }

    fn of(kind: Kind, token: String, running: Running, folder: Option<Folder>) -> Self {
        Self {
            kind,
            api: Api { addr: running.addr, token },
            pids: vec![running.child.id()],
            disk: folder.iter().map(|folder| folder.path.clone()).collect(),
            running: Some(running),
            folder,
        }
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Relay => "relay",
            Kind::Posthaste => "posthaste",
            Kind::Given => "server",
        }
    }

    /// Disk blocks in use where its data lies.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.iter().map(|path| process::disk_bytes(path)).sum()
    }

    /// Ends the posthaste with `signal`, starts it on the same folder and posts until one message
    /// is accepted.
    pub fn restart(&mut self, signal: Signal, app: &str, args: &Args) -> Result<Restart> {
        let (Some(running), Some(folder)) = (self.running.take(), self.folder.as_ref()) else {
            bail!("only a posthaste that the bench started can be restarted");
        };
        let began = Instant::now();
        running.stop(signal)?;
        let stop_s = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let running = Running::start(serve_command(&args.bin()?, &folder.path, args))?;
        self.api.addr = running.addr;
        self.pids = vec![running.child.id()];
        self.running = Some(running);
        while let Err(error) = self.api.post_one(app) {
            if began.elapsed() > START_LIMIT {
                return Err(error.context(format!("{START_LIMIT:?} after its restart")));
            }
            thread::sleep(STOP_POLL);
        }
        Ok(Restart { stop_s, accepting_s: began.elapsed().as_secs_f64() })
    }

    /// Ends the posthaste, and says what `store check` finds.
    pub fn check(mut self, args: &Args) -> Result<String> {
        let (Some(running), Some(folder)) = (self.running.take(), self.folder.as_ref()) else {
            bail!("only a posthaste that the bench started can be checked");
        };
        running.stop(Signal::TERM)?;
        ask(&args.bin()?, &["store", "check"], &folder.path)
    }

    /// Ends what was started; a server that was given is left without the application.
    pub fn leave(mut self, app: &str) -> Result<()> {
        if let Some(running) = self.running.take() {
            // Nothing is measured any more and its folder goes with it.
            return running.stop(Signal::KILL);
        }
        // Never a reason to lose what was measured.
        if let Err(error) = self.api.delete_app(app) {
            eprintln!("bench: application {app} is left behind: {error:#}");
        }
        Ok(())
    }
}

fn given(args: &Args) -> Result<Server> {
    let url = args.url.as_deref().context("no --url")?;
    let address = url.strip_prefix("http://").context("--url must begin with http://")?;
    let address = address.trim_end_matches('/');
    let addr = std::net::ToSocketAddrs::to_socket_addrs(address)
        .with_context(|| format!("--url {url}: expected http://HOST:PORT"))?
        .next()
        .with_context(|| format!("--url {url}: no address"))?;
    let token = args.token.clone().context("--url needs --token")?;
    Ok(Server {
        kind: Kind::Given,
        api: Api { addr, token },
        pids: args.pid.clone(),
        disk: args.disk.clone(),
        running: None,
        folder: None,
    })
}

fn relay_command(args: &Args) -> Result<Command> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(own);
    // The relay ends when its standard input does, so it cannot outlive this program.
    command.args(["relay", "--threads", &args.relay_threads.to_string()]).stdin(Stdio::piped());
    Ok(command)
}

fn serve_command(bin: &Path, folder: &Path, args: &Args) -> Command {
    let mut command = Command::new(bin);
    command.arg("serve").arg("--data").arg(folder);
    command.args(["--listen", "127.0.0.1:0", "--allow-network", "127.0.0.0/8"]);
    command.env("POSTHASTE_STORAGE_SYNC", args.sync.name()).stdin(Stdio::null());
    if args.churn.is_some() {
        command.env("POSTHASTE_STORAGE_RETENTION", format!("{}s", args.retention));
    }
    command
}

/// What the posthaste says to a command about the data in `folder`.
fn ask(bin: &Path, command: &[&str], folder: &Path) -> Result<String> {
    let said = Command::new(bin)
        .args(command)
        .arg("--data")
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run posthaste {}", command.join(" ")))?;
    if !said.status.success() {
        let error = String::from_utf8_lossy(&said.stderr);
        bail!("posthaste {} failed: {}", command.join(" "), error.trim());
    }
    Ok(String::from_utf8(said.stdout).context("an answer that is not text")?.trim().to_owned())
}

/// A child process and where it listens.
struct Running {
    addr: SocketAddr,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    /// Held open while it runs.
    _stdin: Option<ChildStdin>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        guard::adopt(child.id());
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, told) = channel();
        follow(child.stdout.take(), &log, tell.clone());
        follow(child.stderr.take(), &log, tell);
        let stdin = child.stdin.take();
        // It owns the child from here on: every early return kills it.
        let mut running = Self { addr: ([0, 0, 0, 0], 0).into(), child, log, _stdin: stdin };
        running.addr = told.recv_timeout(START_LIMIT).map_err(|error| {
            let how = match error {
                RecvTimeoutError::Timeout => format!("within {START_LIMIT:?}"),
                RecvTimeoutError::Disconnected => "before it ended".to_owned(),
            };
            anyhow!("{program} did not say `{LISTENING}ADDRESS` {how}:\n{}", running.tail())
        })?;
        Ok(running)
    }

    fn stop(mut self, signal: Signal) -> Result<()> {
        guard::send(self.child.id(), signal);
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > STOP_LIMIT {
                bail!("the server did not stop within {STOP_LIMIT:?}:\n{}", self.tail());
            }
            thread::sleep(STOP_POLL);
        }
        Ok(())
    }

    fn tail(&self) -> String {
        lock(&self.log).iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        guard::release(self.child.id());
    }
}

/// Reads all a server says, so that it never blocks on a full pipe, and tells its address once.
fn follow(
    pipe: Option<impl Read + Send + 'static>,
    log: &Arc<Mutex<VecDeque<String>>>,
    tell: Sender<SocketAddr>,
) {
    let Some(pipe) = pipe else {
        return;
    };
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(addr) = address_in(&line) {
                tell.send(addr).ok();
            }
            let mut log = lock(&log);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(LISTENING)?;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)));
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

/// A folder for one server, removed at the end.
struct Folder {
    path: PathBuf,
    _inner: TempDir,
}

impl Folder {
    fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let inner = tempfile::Builder::new()
            .prefix("posthaste-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        guard::adopt_folder(inner.path().to_path_buf());
        Ok(Self { path: inner.path().to_path_buf(), _inner: inner })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        guard::release_folder(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_line() {
        let want = Some(SocketAddr::from(([127, 0, 0, 1], 8071)));
        for line in [
            "listening on http://127.0.0.1:8071",
            "2025-01-01 INFO listening on http://127.0.0.1:8071/api/v1, data in /tmp",
            "listening on http://127.0.0.1:8071\u{1b}[0m",
        ] {
            assert_eq!(address_in(line), want, "{line:?}");
        }
        let six = address_in("listening on http://[::1]:80 now");
        assert_eq!(six, Some("[::1]:80".parse().expect("an address")));
        assert_eq!(address_in("listening on https://127.0.0.1:1"), None);
    }
}
