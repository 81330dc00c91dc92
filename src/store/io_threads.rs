//! Puts most of sled's I/O threads to rest.
//!
//! sled 0.34 keeps seven threads that write its log, and wakes all of them at each write for one of
//! them to do it: two writes a group, fourteen wake-ups, a tenth of the CPU a message costs. Two of
//! them do as well, since one commit thread writes. sled has no setting for it, but runs the waker
//! of a flush that is awaited on such a thread, and a waker may take its time: for ever.
//!
//! When sled does not behave so any more, nothing worse happens than that its threads stay awake.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Once};
use std::task::{Context, Wake, Waker};

/// Of sled's seven threads so many are put to rest.
const RESTING: usize = 5;
/// A flush that is done before it is awaited puts nobody to rest; so often it is tried.
const TRIES: usize = 200;

/// Keeps the thread that calls it.
struct Rest;

impl Wake for Rest {
    fn wake(self: Arc<Self>) {
        loop {
            std::thread::park();
        }
    }
}

/// Once in a process, since sled's threads are those of all its databases.
pub(super) fn put_to_rest(db: &sled::Db) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let waker = Waker::from(Arc::new(Rest));
        let mut context = Context::from_waker(&waker);
        let resting = (0..TRIES)
            .filter(|_| {
                let mut flush = pin!(db.flush_async());
                flush.as_mut().poll(&mut context).is_pending()
            })
            .take(RESTING)
            .count();
        tracing::debug!(resting, "threads of sled are put to rest");
    });
}
