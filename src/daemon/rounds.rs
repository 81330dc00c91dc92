//! A thread that comes by again and again, until it is stopped.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a round leaves.
pub(super) enum Left {
    /// There is more to do at once.
    More,
    /// Nothing, until the next one is due.
    Nothing,
    /// Nothing, for good.
    End,
}

/// The running thread.
pub(super) struct Rounds {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Rounds {
    /// A round at once, and then every `period`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        name: &str,
        period: Duration,
        mut round: impl FnMut() -> Left + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            loop {
                let wait = match round() {
                    Left::More => Duration::ZERO,
                    Left::Nothing => period,
                    Left::End => return,
                };
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Waits for the round that runs.
    pub(super) fn stop(self) {
        self.stop.send(()).ok();
        drop(self.thread.join());
    }
}
