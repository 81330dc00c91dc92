//! SIGTERM, SIGINT: stop in order. A second one: stop at once. SIGHUP: read the files again.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::config::watch::ReloadRequested;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a process that was interrupted.
const INTERRUPTED: i32 = 130;

/// The signals, caught.
pub(super) struct Signals {
    stop: Receiver<()>,
}

impl Signals {
    /// Catches them from now on, on a thread of its own.
    pub(super) fn catch(reload: Sender<ReloadRequested>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let inside = runtime.enter();
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut hup = signal(SignalKind::hangup())?;
        drop(inside);
        let (sender, stop) = mpsc::channel();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut first = true;
                loop {
                    tokio::select! {
                        _ = term.recv() => {},
                        _ = int.recv() => {},
                        _ = hup.recv() => {
                            reload.send(ReloadRequested).ok();
                            continue;
                        }
                    }
                    if !first {
                        std::process::exit(INTERRUPTED);
                    }
                    first = false;
                    sender.send(()).ok();
                }
            });
        })?;
        Ok(Self { stop })
    }

    /// Waits for the first one; tells systemd that we are alive meanwhile.
    pub(super) fn wait(&self, watchdog: Option<Duration>) {
        let Some(period) = watchdog else {
            self.stop.recv().ok();
            return;
        };
        while self.stop.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            super::notify_ready::alive();
        }
    }
}
