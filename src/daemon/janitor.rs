//! The janitor: one quiet thread that looks at the disk and removes what has expired.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rounds::{Left, Rounds};
use crate::store::{Error, Store};

/// It comes by so often when there is nothing to do.
const PERIOD: Duration = Duration::from_millis(250);
/// So often it looks for what deleted applications and endpoints left.
const ORPHANS_EVERY: Duration = Duration::from_secs(10);
/// And so often for ended tokens that nobody has any more.
const ENDED_EVERY: Duration = Duration::from_secs(3600);

/// Starts it.
///
/// # Errors
/// The system gives no thread.
pub(super) fn start(store: Arc<Store>) -> std::io::Result<Rounds> {
    let mut orphans_at = Instant::now();
    let mut ended_at = orphans_at;
    Rounds::start("janitor", PERIOD, move || {
        let mut more = match sweep(&store) {
            Ok(more) => more,
            Err(Error::Closing) => return Left::End,
            // The scheduler says so; it would be said here at every round.
            Err(Error::DiskFull { .. }) => false,
            Err(err) => {
                tracing::error!(%err, "the janitor could not clean up");
                false
            }
        };
        let now = Instant::now();
        if now >= orphans_at {
            orphans_at = now + ORPHANS_EVERY;
            match clear_orphans(&store) {
                // There is more of it: the next round looks again.
                Ok(true) => {
                    more = true;
                    orphans_at = now;
                }
                Ok(false) | Err(Error::DiskFull { .. }) => {}
                Err(Error::Closing) => return Left::End,
                Err(err) => tracing::error!(%err, "the janitor could not clean up"),
            }
        }
        if now >= ended_at {
            ended_at = now + ENDED_EVERY;
            if let Err(err) = store.expire_ended() {
                tracing::error!(%err, "the janitor could not clean up");
            }
        }
        if more { Left::More } else { Left::Nothing }
    })
}

/// One round. `true` when there is more to remove at once.
fn sweep(store: &Store) -> Result<bool, Error> {
    store.look_at_space();
    let mut more = false;
    for app in store.directory().application_ids()? {
        more |= store.expire_messages(app)?;
    }
    more |= store.expire_payloads()?;
    more |= store.expire_answers()?;
    // Not in between: expiry has to keep up with what is accepted, and its groups tidy up anyhow.
    if !more {
        more = store.tidy()?;
    }
    Ok(more)
}

/// One step over what deleted applications and endpoints left. `true` when there is more.
fn clear_orphans(store: &Store) -> Result<bool, Error> {
    let mut more = store.expire_tasks()?;
    more |= store.expire_seen()?;
    for app in store.orphaned_messages()? {
        more |= store.expire_messages(app)?;
    }
    for endpoint in store.orphaned_queues()? {
        more |= store.drain_deleted(endpoint)?;
    }
    Ok(more)
}
