//! The commit thread: the only writer.
//!
//! Whoever wants something written sends a piece of work. The thread takes up to
//! [`GROUP_JOBS`] of them ([`GROUP_URGENT`] that somebody waits for), lets each stage its rows
//! through a [`Writer`], and writes all rows in one transaction over the trees. Then the group is
//! made to last, and only then all are answered. Because nobody else writes, what a piece of work
//! reads cannot change under it: uniqueness, idempotency keys and preconditions need no lock.
//!
//! An error of the disk here stops the process: what is on disk is no longer known, and going on
//! would break the promise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::error::{Error, Result};
use super::events::Events;
use super::writer::{Group, Writer};
use super::{Shared, StoreEvents};

/// Pieces of work in one group that somebody waits for: messages, mostly.
pub const GROUP_URGENT: usize = 64;
/// Pieces of work in one group. With 512 KiB segments memory stays flat (measured).
pub const GROUP_JOBS: usize = 256;
/// Bytes of rows after which a group takes no more work.
pub const GROUP_BYTES: usize = 512 * 1024;
/// Rows after which a group takes no more work.
pub const GROUP_ROWS: usize = 2048;
/// Bytes of rows that were kept for long and go, after which a group takes no more work. sled writes what
/// is left beside them anew, and joins pages that have become small when somebody reads there next.
pub const GROUP_FREED: usize = 256 * 1024;
/// Writes that may wait for the commit thread; one more is refused with [`Error::Busy`].
pub const WAITING_WRITES: usize = 8192;
/// After so many pieces of work of a group, what reading for them made sled write by itself is made to last.
pub(super) const SYNC_JOBS: usize = 16;
/// A recorded attempt waits at most this long for company before it is made to last.
pub const LAZY_WAIT: Duration = Duration::from_millis(50);

/// Runs after the group is on disk.
pub type Answer = Box<dyn FnOnce() + Send>;
/// Has the answers of a group run, in order: on the spot, or where those who wait for them are
/// woken at less cost.
pub type Answers = Box<dyn Fn(Vec<Answer>) + Send>;
/// Stages rows, and gives the answer to send once they last; or passes on why nothing is written.
type Work = Box<dyn FnOnce(Result<&mut Writer<'_>>) -> Answer + Send>;

/// A piece of work on its way to the commit thread.
pub(super) struct Job {
    work: Work,
    /// Nobody waits for it: it may wait for company.
    lazy: bool,
}

impl Job {
    pub(super) fn is_lazy(&self) -> bool {
        self.lazy
    }

    /// Work that stages rows or fails; `reply` gets the result once the rows last. The rows of
    /// work that failed are dropped.
    pub(super) fn new<T: Send + 'static>(
        lazy: bool,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let work = move |writer: Result<&mut Writer<'_>>| -> Answer {
            let result = writer.and_then(|writer| {
                let result = work(writer);
                if result.is_err() {
                    writer.drop_staged();
                }
                result
            });
            Box::new(move || reply(result))
        };
        Self { work: Box::new(work), lazy }
    }
}

/// A group that is written and does not last yet.
pub(super) struct Written {
    answers: Vec<Answer>,
    events: Events,
    /// Bytes of rows that do not last yet; `None`: there are no rows.
    row_bytes: Option<usize>,
}

/// What the commit thread does, one group at a time. The simulator calls it without a thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    answers: Answers,
    events: StoreEvents,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, answers: Answers, events: StoreEvents) -> Self {
        Self { shared, answers, events }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Writes a group of `jobs`, makes it last, answers, tells. Returns only when all of that is
    /// done; what did not fit is left.
    pub(super) fn run_group(&mut self, jobs: &mut VecDeque<Job>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut group = OpenGroup::new(&shared);
        while !group.is_full()
            && let Some(job) = jobs.pop_front()
        {
            group.stage(job)?;
        }
        self.finish(group.write(&shared)?)
    }

    /// Makes last what was written, answers and tells.
    pub(super) fn finish(&mut self, written: Written) -> Result<()> {
        if let Some(bytes) = written.row_bytes {
            self.shared.trees.flush()?;
            self.shared.space.wrote(bytes, &self.shared.trees);
        }
        self.tell(written);
        Ok(())
    }

    /// Answers, and tells what was done.
    fn tell(&mut self, written: Written) {
        if !written.answers.is_empty() {
            (self.answers)(written.answers);
        }
        if !written.events.is_empty() {
            self.shared.counters.accepted.add(written.events.accepted.len());
            (self.events)(written.events);
        }
    }
}

/// A group that takes work in. Without room on the disk nothing is written, and as many jobs are
/// told.
pub(super) struct OpenGroup<'a> {
    group: Group<'a>,
    answers: Vec<Answer>,
    /// Bytes of rows it may have; `None`: nothing may be written.
    room: Option<usize>,
    /// How many pieces of work somebody waits for.
    urgent: usize,
}

impl<'a> OpenGroup<'a> {
    /// A group for which there is as much room as there is just now.
    pub(super) fn new(shared: &'a Shared) -> Self {
        let answers = Vec::with_capacity(GROUP_URGENT);
        Self { group: Group::new(shared), answers, room: shared.space.room_for_group(), urgent: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.group.bytes() >= self.room.unwrap_or(GROUP_BYTES)
            || self.group.rows() >= GROUP_ROWS
            || self.group.freed() >= GROUP_FREED
            || self.answers.len() >= GROUP_JOBS
            || self.urgent >= GROUP_URGENT
    }

    /// Whether somebody waits for it.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent > 0
    }

    /// Does a piece of work: its rows are staged. Fails when the disk does, not when the work does.
    pub(super) fn stage(&mut self, job: Job) -> Result<()> {
        self.urgent += usize::from(!job.lazy);
        let shared = self.group.store();
        if self.room.is_none() {
            shared.counters.refused_for_room.add(usize::from(!job.lazy));
            let full = shared.space.full();
            self.answers.push((job.work)(Err(full)));
            return Ok(());
        }
        let mut writer = Writer::new(&mut self.group);
        let answer = (job.work)(Ok(&mut writer));
        writer.finish();
        self.answers.push(answer);
        if self.answers.len().is_multiple_of(SYNC_JOBS) {
            shared.trees.sync_own_writes()?;
        }
        Ok(())
    }

    /// Writes what was staged. It does not last yet.
    pub(super) fn write(self, shared: &Shared) -> Result<Written> {
        let answers = self.answers;
        let (mut rows, events) = self.group.into_parts();
        if rows.is_empty() {
            return Ok(Written { answers, events, row_bytes: None });
        }
        let now = shared.clock.now();
        let may_move = !shared.space.is_short();
        // By what expires with it: batches that go are everyday.
        shared.tidy_up(&mut rows);
        let change = shared.fresh.settle(&mut rows, &events.accepted, now, may_move);
        let (count, removals) = rows.counts();
        shared.tidy.wrote(count, removals);
        rows.apply(&shared.trees)?;
        shared.fresh.apply(change);
        #[cfg(test)]
        super::planted::before_flush();
        #[cfg(test)]
        if super::planted::is(super::planted::Bug::AnswerBeforeFlush) {
            return Ok(Written { answers, events, row_bytes: None });
        }
        Ok(Written { answers, events, row_bytes: Some(rows.bytes()) })
    }
}

/// Where work is handed in: to the commit thread, or straight to a [`Committer`] in the simulator.
pub(super) enum Queue {
    /// The daemon's way.
    Thread {
        /// To the commit thread; `None` once the store is closing.
        sender: std::sync::RwLock<Option<Sender<Job>>>,
        /// Writes somebody waits for.
        waiting: Arc<AtomicUsize>,
    },
    /// The simulator's way: done on the spot, every piece of work a group of its own unless the
    /// simulator gathers some.
    Inline(std::sync::Mutex<Inline>),
}

/// See [`Queue::Inline`].
pub(super) struct Inline {
    pub(super) committer: Committer,
    /// What waits to be done as one group; `None` = nothing waits for anything.
    pub(super) gathered: Option<Vec<Job>>,
}

impl Queue {
    /// Hands work in. When it is refused the job, and with it the reply, is dropped unanswered.
    pub(super) fn push(&self, job: Job) -> Result<()> {
        match self {
            Self::Inline(inline) => {
                let mut inline = inline.lock().map_err(|_| Error::Closing)?;
                if let Some(gathered) = &mut inline.gathered {
                    gathered.push(job);
                    return Ok(());
                }
                inline.committer.run_group(&mut VecDeque::from([job]))
            }
            Self::Thread { sender, waiting } => {
                let sender = sender.read().map_err(|_| Error::Closing)?;
                let sender = sender.as_ref().ok_or(Error::Closing)?;
                if !job.lazy && waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_WRITES {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    return Err(Error::Busy);
                }
                sender.send(job).map_err(|_| Error::Closing)
            }
        }
    }

    /// From now on work waits, to be done as one group by [`Queue::do_gathered`].
    #[cfg(test)]
    pub(super) fn gather(&self) {
        if let Self::Inline(inline) = self {
            inline.lock().unwrap().gathered = Some(Vec::new());
        }
    }

    /// Does what was gathered, as one group.
    #[cfg(test)]
    pub(super) fn do_gathered(&self) -> Result<()> {
        let Self::Inline(inline) = self else { return Ok(()) };
        let mut inline = inline.lock().unwrap();
        let mut jobs = VecDeque::from(inline.gathered.take().unwrap_or_default());
        while !jobs.is_empty() {
            inline.committer.run_group(&mut jobs)?;
        }
        Ok(())
    }

    /// Takes no more work. The commit thread ends once it has done what waits.
    pub(super) fn close(&self) {
        if let Self::Thread { sender, .. } = self
            && let Ok(mut sender) = sender.write()
        {
            *sender = None;
        }
    }
}
