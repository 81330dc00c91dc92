//! Threads the daemon cannot live without: the commit thread and the scheduler.
//!
//! When one of them fails or panics the process stops, loudly, with the cause as its last line:
//! going on would mean acknowledging what is not kept, or keeping what is never sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Starts a named thread whose failure is the end of the process.
pub fn spawn<E: std::fmt::Display>(
    name: &'static str,
    body: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        let cause = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => return,
            Ok(Err(err)) => err.to_string(),
            Err(panic) => panic_text(panic.as_ref()),
        };
        tracing::error!(thread = name, cause, "stopping: a thread of the spine failed");
        std::process::abort();
    })
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
