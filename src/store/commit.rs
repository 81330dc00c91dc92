//! The commit thread: the only writer.
//!
//! Whoever wants something written sends a piece of work. The thread takes up to
//! [`GROUP_JOBS`] of them ([`GROUP_URGENT`] that somebody waits for), lets each stage its rows through a [`Writer`], writes all rows in one
//! transaction over the trees, makes it last, and only then answers all. Because nobody else
//! writes, what a piece of work reads cannot change under it: uniqueness, idempotency keys and
//! preconditions need no lock.
//!
//! An error of the disk here stops the process: what is on disk is no longer known, and going on
//! would break the promise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

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
/// Writes that may wait for the commit thread; one more is refused with [`Error::Busy`].
pub const WAITING_WRITES: usize = 8192;
/// A group of so many jobs means that the daemon is busy.
const BUSY_JOBS: usize = 12;
/// While busy, so long is waited for more jobs before a group is begun.
const GATHER: Duration = Duration::from_micros(200);
/// A recorded attempt waits at most this long for company before it is made to last.
pub const LAZY_WAIT: Duration = Duration::from_millis(50);

/// Runs after the group is on disk.
pub type Answer = Box<dyn FnOnce() + Send>;
/// Has the answers of a group run, in order: on the spot, or where those who wait for them are
/// woken at less cost.
pub type Answers = Box<dyn Fn(Vec<Answer>) + Send>;
/// Stages rows, and gives the answer to send once they last.
type Work = Box<dyn FnOnce(&mut Writer<'_>) -> Answer + Send>;

/// A piece of work on its way to the commit thread.
pub(super) struct Job {
    work: Work,
    /// Nobody waits for it: it may wait for company.
    lazy: bool,
}

impl Job {
    /// Work that stages rows or fails; `reply` gets the result once the rows last. The rows of
    /// work that failed are dropped.
    pub(super) fn new<T: Send + 'static>(
        lazy: bool,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Self {
        let work = move |writer: &mut Writer<'_>| -> Answer {
            let result = work(writer);
            if result.is_err() {
                writer.drop_staged();
            }
            Box::new(move || reply(result))
        };
        Self { work: Box::new(work), lazy }
    }
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

    /// Stages as much of `jobs` as fits into a group, writes it, makes it last, answers, tells.
    /// Returns only when all of that is done; what did not fit is left.
    pub(super) fn run_group(&mut self, jobs: &mut VecDeque<Job>) -> Result<()> {
        let mut group = Group::new(&self.shared);
        let mut answers = Vec::with_capacity(jobs.len().min(GROUP_JOBS));
        while group.bytes() < GROUP_BYTES && group.rows() < GROUP_ROWS {
            let Some(job) = jobs.pop_front() else { break };
            let mut writer = Writer::new(&mut group);
            let answer = (job.work)(&mut writer);
            writer.finish();
            answers.push(answer);
        }
        let events = self.write(group)?;
        if !answers.is_empty() {
            (self.answers)(answers);
        }
        if !events.is_empty() {
            (self.events)(events);
        }
        Ok(())
    }

    fn write(&self, group: Group<'_>) -> Result<Events> {
        let (rows, events) = group.into_parts();
        if rows.is_empty() {
            return Ok(events);
        }
        let bytes = rows.bytes();
        rows.apply(&self.shared.trees)?;
        #[cfg(test)]
        super::planted::before_flush();
        #[cfg(test)]
        if super::planted::is(super::planted::Bug::AnswerBeforeFlush) {
            return Ok(events);
        }
        self.shared.trees.flush()?;
        self.shared.space.wrote(bytes, &self.shared.trees);
        Ok(events)
    }

    /// Works off what comes in until every sender is gone.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, waiting: &AtomicUsize) -> Result<()> {
        let mut is_busy = false;
        while let Some((mut group, urgent)) = next_group(jobs, is_busy) {
            waiting.fetch_sub(urgent, Ordering::Relaxed);
            is_busy = group.len() >= BUSY_JOBS;
            while !group.is_empty() {
                self.run_group(&mut group)?;
            }
        }
        Ok(())
    }
}

/// Takes what waits, up to [`GROUP_JOBS`]. While it `is_busy`, more is on its way: waiting a moment
/// for it costs nobody a core and spares a flush. A group of nothing but lazy work waits for company,
/// [`LAZY_WAIT`] at the most. `None` when every sender is gone.
fn next_group(jobs: &Receiver<Job>, is_busy: bool) -> Option<(VecDeque<Job>, usize)> {
    let first = jobs.recv().ok()?;
    if is_busy {
        std::thread::sleep(GATHER);
    }
    let mut urgent = usize::from(!first.lazy);
    let mut group = VecDeque::with_capacity(GROUP_URGENT);
    group.push_back(first);
    let deadline = Instant::now() + LAZY_WAIT;
    while group.len() < GROUP_JOBS && urgent < GROUP_URGENT {
        let next = if urgent > 0 {
            jobs.try_recv().map_err(|err| match err {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
        } else {
            jobs.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        };
        let Ok(job) = next else { break };
        urgent += usize::from(!job.lazy);
        group.push_back(job);
    }
    Some((group, urgent))
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
