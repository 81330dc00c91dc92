//! What must not outlive the program: the servers it started, and their folders.
//!
//! The program ends by itself: at its deadline, on SIGINT and on SIGTERM, and takes these along.
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::receiver::lock;

/// Exit code when the deadline ended the run.
const DEADLINE_EXIT: i32 = 1;
const INTERRUPTED_EXIT: i32 = 130;

static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub fn adopt(pid: u32) {
    lock(&CHILDREN).push(pid);
}

/// To be called once a child has been waited for: its number may be another's from then on.
pub fn release(pid: u32) {
    lock(&CHILDREN).retain(|child| *child != pid);
}

pub fn adopt_folder(path: PathBuf) {
    lock(&FOLDERS).push(path);
}

pub fn release_folder(path: &PathBuf) {
    lock(&FOLDERS).retain(|folder| folder != path);
}

/// Starts the thread that ends the program at `deadline` or on a signal.
pub fn watch(deadline: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let entered = handle.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    let wait = async move {
        tokio::select! {
            () = tokio::time::sleep(deadline) => {
                eprintln!("bench: stopped at its deadline of {deadline:?} (--deadline)");
                DEADLINE_EXIT
            }
            _ = interrupt.recv() => INTERRUPTED_EXIT,
            _ = terminate.recv() => INTERRUPTED_EXIT,
        }
    };
    let watching = move || {
        let code = runtime.block_on(wait);
        end();
        std::process::exit(code);
    };
    thread::Builder::new().name("bench-guard".into()).spawn(watching).context("start the guard")?;
    Ok(())
}

/// Kills what was started and removes its folders.
fn end() {
    for pid in lock(&CHILDREN).drain(..) {
        send(pid, Signal::KILL);
    }
    for folder in lock(&FOLDERS).drain(..) {
        fs::remove_dir_all(folder).ok();
    }
}

/// Signals a child that has not been waited for.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

/// A receiver of hundreds of endpoints needs more descriptors than some shells allow by default.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
}
