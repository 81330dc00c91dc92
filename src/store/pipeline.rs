//! Two threads for one line of groups: `commit` gathers and writes, `sync` makes last and answers.
//!
//! While a group is made to last the next one gathers, and is as large as the disk is slow. A
//! small group is made to last on the spot: the way to the other thread would only cost time.
//! [`super::commit`] says what a group is; here is only who does what when.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::Shared;
use super::commit::{Committer, GROUP_JOBS, GROUP_URGENT, Job, LAZY_WAIT, Written, write_group};
use super::error::{Error, Result};
use super::spine;

/// A group of fewer jobs is made to last by the thread that wrote it.
const SMALL_GROUP: usize = 8;
/// What comes to the commit thread.
pub(super) enum Input {
    /// Something to write.
    Job(Job),
    /// The group that was handed on lasts; it can have the next one.
    Lasts,
    /// Nothing more comes but [`Input::Lasts`].
    Close,
}

/// The commit thread.
pub(super) struct Commit {
    shared: Arc<Shared>,
    inputs: Receiver<Input>,
    /// Writes somebody waits for and that are not begun.
    waiting: Arc<AtomicUsize>,
    sync: SyncThread,
    /// What waits to be written.
    jobs: VecDeque<Job>,
    /// How many of it somebody waits for.
    urgent: usize,
    /// A group is being made to last.
    is_syncing: bool,
    is_closing: bool,
}

impl Commit {
    /// Starts both threads; `sender` leads to `inputs`.
    pub(super) fn start(
        committer: Committer,
        sender: Sender<Input>,
        inputs: Receiver<Input>,
        waiting: Arc<AtomicUsize>,
    ) -> std::io::Result<JoinHandle<()>> {
        let shared = Arc::clone(committer.shared());
        let sync = SyncThread::start(committer, sender)?;
        let commit = Self {
            shared,
            inputs,
            waiting,
            sync,
            jobs: VecDeque::with_capacity(GROUP_URGENT),
            urgent: 0,
            is_syncing: false,
            is_closing: false,
        };
        spine::spawn("commit", move || commit.run())
    }

    /// Works off what comes in until it is told to close.
    fn run(mut self) -> Result<()> {
        loop {
            self.gather();
            if self.jobs.is_empty() {
                // It was told to close, and nothing is on its way any more.
                return self.sync.stop();
            }
            let begun = self.urgent.min(GROUP_URGENT);
            self.waiting.fetch_sub(begun, Ordering::Relaxed);
            let written = write_group(&self.shared, &mut self.jobs)?;
            let left = self.jobs.iter().filter(|job| !job.is_lazy()).count();
            // The group was full of something else first: these still wait.
            self.waiting.fetch_add(begun + left - self.urgent, Ordering::Relaxed);
            self.urgent = left;
            self.is_syncing = self.sync.take(written)?;
        }
    }

    /// Waits until there is something to write and it may be written, or until it is over.
    fn gather(&mut self) {
        let mut deadline = None;
        while let Some(input) = self.next(&mut deadline) {
            match input {
                Input::Job(job) => {
                    self.urgent += usize::from(!job.is_lazy());
                    self.jobs.push_back(job);
                }
                Input::Lasts => self.is_syncing = false,
                Input::Close => self.is_closing = true,
            }
        }
    }

    /// The next thing that comes; `None` when it is time to write. What nobody waits for may wait
    /// for company, [`LAZY_WAIT`] at the most.
    fn next(&self, deadline: &mut Option<Instant>) -> Option<Input> {
        let is_full = self.jobs.len() >= GROUP_JOBS || self.urgent >= GROUP_URGENT;
        if self.is_syncing || (self.jobs.is_empty() && !self.is_closing) {
            // Both ends of the channel are ours: it cannot break.
            self.inputs.recv().ok()
        } else if is_full {
            None
        } else if self.urgent > 0 || self.is_closing {
            self.inputs.try_recv().ok()
        } else {
            let at = *deadline.get_or_insert_with(|| Instant::now() + LAZY_WAIT);
            self.inputs.recv_timeout(at.saturating_duration_since(Instant::now())).ok()
        }
    }
}

/// The thread that makes groups last.
struct SyncThread {
    committer: Arc<Mutex<Committer>>,
    groups: SyncSender<Written>,
    thread: JoinHandle<()>,
}

impl SyncThread {
    /// It says [`Input::Lasts`] to `commit` after each group.
    fn start(committer: Committer, commit: Sender<Input>) -> std::io::Result<Self> {
        let committer = Arc::new(Mutex::new(committer));
        let (groups, taken) = mpsc::sync_channel(1);
        let shared = Arc::clone(&committer);
        let thread = spine::spawn("sync", move || {
            while let Ok(written) = taken.recv() {
                finish(&shared, written, || drop(commit.send(Input::Lasts)))?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(Self { committer, groups, thread })
    }

    /// Takes a group that is written. Whether it is still to be made to last.
    fn take(&self, written: Written) -> Result<bool> {
        if written.len() < SMALL_GROUP {
            finish(&self.committer, written, || ())?;
            return Ok(false);
        }
        self.groups.send(written).map_err(|_| Error::Closing)?;
        Ok(true)
    }

    fn stop(self) -> Result<()> {
        drop(self.groups);
        self.thread.join().map_err(|_| Error::Closing)
    }
}

/// Makes a group last, says so, answers and tells.
fn finish(committer: &Mutex<Committer>, written: Written, lasts: impl FnOnce()) -> Result<()> {
    // Poisoned only by a panic, and that stops the process.
    let mut committer = committer.lock().map_err(|_| Error::Closing)?;
    committer.flush(&written)?;
    lasts();
    committer.tell(written);
    Ok(())
}
