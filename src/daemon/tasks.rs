//! The thread that takes the steps of background tasks, one task after the other in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::model::clock::Timestamp;
use crate::model::id::{OrgId, TaskId};
use crate::store::tasks::Step;
use crate::store::{Error, Store};

/// The longest it sleeps, whatever a task waits for: the wall clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// It tries again after so long when the store takes nothing.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// The running thread.
pub(super) struct TaskRunner {
    store: Arc<Store>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl TaskRunner {
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (seen, mine) = (Arc::clone(&stopping), Arc::clone(&store));
        let thread = std::thread::Builder::new().name("tasks".to_owned()).spawn(move || {
            while !seen.load(Ordering::Acquire) {
                match round(&mine, &seen) {
                    Ok(wait) => mine.wait_for_tasks(wait),
                    Err(Error::Closing) => return,
                    Err(err) => {
                        tracing::error!(%err, "background tasks have to wait");
                        mine.wait_for_tasks(REFUSED_WAIT);
                    }
                }
            }
        })?;
        Ok(Self { store, stopping, thread })
    }

    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        self.store.ring_for_tasks();
        drop(self.thread.join());
    }
}

/// One step of every task. Gives how long there is nothing more to do.
fn round(store: &Store, stopping: &AtomicBool) -> Result<Duration, Error> {
    let mut wait = LONGEST_SLEEP;
    for (org, id) in store.running_tasks()? {
        if stopping.load(Ordering::Acquire) {
            break;
        }
        let next: Option<Timestamp> = match step(store, org, id)? {
            Step::Ended => None,
            Step::More => Some(store.now()),
            Step::Waits(at) => Some(at),
        };
        if let Some(at) = next {
            wait = wait.min(at.since(store.now()));
        }
    }
    Ok(wait)
}

/// One step. A task whose data are damaged ends there, and the others go on.
fn step(store: &Store, org: OrgId, id: TaskId) -> Result<Step, Error> {
    match store.step_task(org, id) {
        Err(err @ (Error::Corrupt { .. } | Error::Limit(_) | Error::PayloadGone)) => {
            tracing::error!(%err, task = %id, "a background task failed");
            store.fail_task(org, id, &err.to_string())?;
            Ok(Step::Ended)
        }
        other => other,
    }
}
