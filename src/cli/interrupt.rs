//! Waiting for Ctrl-C or SIGTERM, for commands that clean up before they end.

use std::thread;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Starts catching the signals and calls `first` (on a thread of its own) for the first one. A
/// second ends the process at once, because the first may have come to a clean-up that hangs.
///
/// # Errors
/// The system gives no thread or no signal handler.
pub fn catch(first: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to set up signal handling")?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to catch SIGTERM")?;
    drop(guard);
    let mut wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
    };
    let watch = move || {
        wait();
        first();
        wait();
        std::process::exit(super::Exit::Interrupted as i32);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).context("failed to start")?;
    Ok(())
}
