//! The store: the only home of sled and bincode.
//!
//! It speaks the domain (`accept`, `record`, `page_of_messages`), never get and put. Reads go
//! straight to the trees and the [`directory::Directory`]; every write is a piece of work for the
//! commit thread ([`Store::write`]). Nothing outside names a tree, a transaction or a key, so
//! that another engine could take its place.
//!
//! Nothing here knows HTTP, and nothing here decides when something is tried.

pub mod accept;
pub mod attempts;
pub mod check;
mod codec;
pub mod commit;
mod commit_thread;
pub mod counters;
pub mod counts;
pub mod cursors;
pub mod directory;
mod durable;
pub mod ended;
pub mod error;
pub mod events;
pub mod expiry;
mod fresh;
#[cfg(test)]
pub(crate) mod fuzzed;
pub mod idempotency;
mod io_threads;
mod keys;
mod long;
pub mod managed;
pub mod messages;
mod migrate;
pub mod operational;
pub mod pages;

#[cfg(test)]
pub(crate) mod planted;
pub mod queue;
mod records;
mod seal;
pub mod sources;
pub mod space;
pub mod spine;
pub mod stats;
pub mod tasks;
pub mod tenants;
#[cfg(test)]
mod tests;
mod tidy;
mod trees;
mod writer;
pub mod zeros;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use commit::{Committer, Job, Queue};
use commit_thread::CommitThread;
use directory::Directory;
pub use durable::Sync;
pub use error::{Error, Result};
use events::Events;
pub use seal::Keys;
use trees::Trees;
pub use writer::Writer;

use crate::model::clock::{Clock, Timestamp};
use crate::model::id::{EndpointId, ID_BYTES, IdMaker, MessageId};

/// Fills a buffer with random bytes. An argument, so that a run can be repeated from a seed.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// Gets what each group did, after it is on disk, in commit order.
pub type StoreEvents = Box<dyn FnMut(Events) + Send>;

/// How the store is opened.
pub struct Options {
    /// Its folder; made when it is not there.
    pub path: PathBuf,
    /// How far an acknowledged write must have gone.
    pub sync: Sync,
    /// Bytes of page cache.
    pub cache: u64,
    /// How long messages and all that hangs on them are kept.
    pub retention: Duration,
    /// Bytes that must stay free on the disk; below it nothing more is accepted.
    pub min_free: u64,
    /// Bytes the store may grow to; 0 = no limit.
    pub max_size: u64,
    /// What secrets in it are sealed with.
    pub keys: Keys,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Chance, for ids.
    pub entropy: Entropy,
    /// Whether writes go through a commit thread (the daemon) or are done on the spot (the
    /// simulator).
    pub threaded: bool,
    /// Where the answers of a group are run; `None` = on the commit thread.
    pub answers: Option<commit::Answers>,
}

#[cfg(test)]
impl Options {
    /// How tests open a store: without limits, every write done on the spot, and left to the system
    /// to be written out.
    pub(crate) fn trial(path: PathBuf, clock: Arc<dyn Clock>, entropy: Entropy) -> Self {
        Self {
            path,
            sync: Sync::Os,
            cache: 1 << 20,
            retention: Duration::from_secs(90 * 24 * 3600),
            min_free: 0,
            max_size: 0,
            keys: Keys::default(),
            clock,
            entropy,
            threaded: false,
            answers: None,
        }
    }
}

/// Random bytes fetched at once: for 256 ids.
const ENTROPY_POOL: usize = 15 * 256;

/// Makes ids out of time and pooled chance.
struct IdSource {
    maker: IdMaker,
    entropy: Entropy,
    pool: Vec<u8>,
}

impl IdSource {
    fn make(&mut self, now: Timestamp) -> [u8; ID_BYTES] {
        if self.pool.len() < 15 {
            self.pool.resize(ENTROPY_POOL, 0);
            (self.entropy)(&mut self.pool);
        }
        let mut random = [0; 15];
        let rest = self.pool.split_off(self.pool.len() - 15);
        random.copy_from_slice(&rest);
        self.maker.make(now, random)
    }
}

/// What readers and the commit thread share.
pub(crate) struct Shared {
    trees: Trees,
    directory: Directory,
    clock: Arc<dyn Clock>,
    ids: Mutex<IdSource>,
    /// Since when an endpoint has been failing; mirrors `endpoint_health`.
    failing_since: Mutex<HashMap<EndpointId, Timestamp>>,
    /// The last place in the queues of ordered endpoints that took something.
    last_in_queue: Mutex<HashMap<EndpointId, (Timestamp, MessageId)>>,
    retention: Duration,
    fresh: fresh::Fresh,
    space: space::Space,
    tidy: tidy::Tidy,
    sealer: seal::Sealer,
    bell: tasks::Bell,
    counters: counters::Counters,
}

impl Shared {
    fn new_id(&self, now: Timestamp) -> [u8; ID_BYTES] {
        let mut ids = self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ids.make(now)
    }
}

/// The open store. Shared by reference; closed by [`Store::close`].
pub struct Store {
    shared: Arc<Shared>,
    queue: Queue,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store, makes it when it is not there, brings an older schema up to date.
    /// `events` hears of every group that was committed.
    ///
    /// Errors: in use by another process, a newer schema, damage, the disk.
    pub fn open(options: Options, events: StoreEvents) -> Result<Self> {
        let trees = Trees::open(&options.path, options.cache, options.sync)?;
        migrate::run(&trees)?;
        let sealer = seal::Sealer::new(&options.keys);
        seal::settle(&trees, &sealer)?;
        let shared = Arc::new(Shared {
            fresh: fresh::Fresh::default(),
            tidy: tidy::Tidy::default(),
            space: space::Space::new(&options.path, options.min_free, options.max_size),
            trees,
            sealer,
            directory: Directory::default(),
            clock: options.clock,
            ids: Mutex::new(IdSource {
                maker: IdMaker::new(),
                entropy: options.entropy,
                pool: Vec::new(),
            }),
            failing_since: Mutex::default(),
            last_in_queue: Mutex::default(),
            retention: options.retention,
            bell: tasks::Bell::default(),
            counters: counters::Counters::default(),
        });
        tenants::load(&shared)?;
        sources::load(&shared)?;
        managed::load(&shared)?;
        fresh::load(&shared)?;
        shared.space.look(&shared.trees);
        if shared.space.check().is_err() {
            // What expired in an earlier run left room that nobody knows of.
            shared.tidy.freed(shared.trees.size_on_disk(), true);
        }
        let on_the_spot: commit::Answers =
            Box::new(|answers| answers.into_iter().for_each(|a| a()));
        let answers = options.answers.unwrap_or(on_the_spot);
        let committer = Committer::new(Arc::clone(&shared), answers, events);
        let (queue, thread) = if options.threaded {
            start(committer)?
        } else {
            (Queue::Inline(Mutex::new(commit::Inline { committer, gathered: None })), None)
        };
        Ok(Self { shared, queue, thread: Mutex::new(thread) })
    }

    /// Hands `work` to the commit thread. `reply` gets its result once its rows last, on the
    /// commit thread: it must be quick. Returns at once.
    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.push(false, work, reply);
    }

    /// Like [`Store::write`], for what nobody waits for: may wait for company up to
    /// [`commit::LAZY_WAIT`].
    pub fn write_lazily<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.push(true, work, reply);
    }

    /// Like [`Store::write`], for threads that may wait. Never call it on the commit thread.
    pub fn write_and_wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.write(work, move |result| drop(sender.send(result)));
        receiver.recv().unwrap_or(Err(Error::Closing))
    }

    fn push<T: Send + 'static>(
        &self,
        lazy: bool,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        // The reply is in the job, which is lost when the job is refused: keep a way back to it.
        let reply = Arc::new(Mutex::new(Some(reply)));
        let answer = {
            let reply = Arc::clone(&reply);
            move |result| call(&reply, result)
        };
        if let Err(err) = self.queue.push(Job::new(lazy, work, answer)) {
            call(&reply, Err(err));
        }
    }

    /// From now on writes wait, to be done as one group: the simulator's busy moments.
    #[cfg(test)]
    pub(crate) fn gather(&self) {
        self.queue.gather();
    }

    /// Does what was gathered.
    #[cfg(test)]
    pub(crate) fn do_gathered(&self) -> Result<()> {
        self.queue.do_gathered()
    }

    /// Applications, endpoints and event types.
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// The store's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Whether there is room to accept more, and how much.
    pub fn space(&self) -> &space::Space {
        &self.shared.space
    }

    /// What has happened since it was opened.
    pub fn counters(&self) -> &counters::Counters {
        &self.shared.counters
    }

    /// Looks at the disk anew.
    pub fn look_at_space(&self) {
        self.shared.space.look(&self.shared.trees);
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> u64 {
        self.shared.trees.size_on_disk()
    }

    /// How often the disk was waited for since it was opened.
    pub fn disk_syncs(&self) -> u64 {
        self.shared.trees.syncs()
    }

    /// Where it lies.
    pub fn path(&self) -> &std::path::Path {
        self.shared.trees.path()
    }

    /// Does what waits, makes it last and stops the commit thread. Later writes get
    /// [`Error::Closing`].
    pub fn close(&self) -> Result<()> {
        self.queue.close();
        let thread = self.thread.lock().map_err(|_| Error::Closing)?.take();
        if let Some(thread) = thread {
            thread.join().map_err(|_| Error::Closing)?;
        }
        self.shared.trees.flush()
    }
}

fn call<T, R: FnOnce(Result<T>)>(reply: &Mutex<Option<R>>, result: Result<T>) {
    let reply = reply.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(reply) = reply {
        reply(result);
    }
}

fn start(committer: Committer) -> Result<(Queue, Option<JoinHandle<()>>)> {
    let (sender, inputs) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let thread = CommitThread::start(committer, inputs, Arc::clone(&waiting))
        .map_err(|err| Error::io("starting the commit thread", err))?;
    Ok((Queue::Thread { sender: RwLock::new(Some(sender)), waiting }, Some(thread)))
}
