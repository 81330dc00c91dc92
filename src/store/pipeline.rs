//! Two threads for one line of groups: `commit` stages and writes, `sync` makes last and answers.
//!
//! While a group is made to last the next one is staged, and is as large as the disk is slow. A
//! small group is made to last on the spot: the way to the other thread would only cost time.
//! [`super::commit`] says what a group is; here is only who does what when.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::Shared;
use super::commit::{Committer, GROUP_BYTES, Job, LAZY_WAIT, OpenGroup, Written};
use super::error::{Error, Result};
use super::spine;

/// A group of fewer jobs is made to last by the thread that wrote it.
const SMALL_GROUP: usize = 8;
/// What comes to the commit thread.
pub(super) enum Input {
    /// Something to write.
    Job(Job),
    /// The group that was handed on is out of sled's hands: the next one may be written.
    Out,
    /// Nothing more comes but [`Input::Out`].
    Close,
}

/// The commit thread.
pub(super) struct Commit {
    shared: Arc<Shared>,
    inputs: Receiver<Input>,
    /// Writes somebody waits for and that are not begun.
    waiting: Arc<AtomicUsize>,
    sync: SyncThread,
    /// What did not fit into the group that is staged.
    jobs: VecDeque<Job>,
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
            jobs: VecDeque::new(),
            is_syncing: false,
            is_closing: false,
        };
        spine::spawn("commit", move || commit.run())
    }

    /// Works off what comes in until it is told to close.
    fn run(mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        loop {
            let Some(mut group) = self.open(&shared) else {
                // It was told to close, and nothing is on its way any more.
                return self.sync.stop();
            };
            self.gather(&mut group);
            self.is_syncing = self.sync.take(group.write(&shared)?)?;
        }
    }

    /// Waits for the first piece of work, and opens a group for it; `None` when it is over. While
    /// the disk is short of room a group is opened only when it is known what the one before it
    /// took; as long as it is not, there is room for both.
    fn open<'a>(&mut self, shared: &'a Shared) -> Option<OpenGroup<'a>> {
        loop {
            if !self.jobs.is_empty() {
                let room = shared.space.room_for_group();
                if !self.is_syncing || room == Some(GROUP_BYTES) {
                    return Some(OpenGroup::new(shared, room));
                }
            } else if self.is_closing && !self.is_syncing {
                return None;
            }
            let input = self.inputs.recv().ok()?;
            self.take(input);
        }
    }

    /// Stages what comes until it may be written.
    fn gather(&mut self, group: &mut OpenGroup<'_>) {
        let mut deadline = None;
        loop {
            while !group.is_full()
                && let Some(job) = self.jobs.pop_front()
            {
                self.waiting.fetch_sub(usize::from(!job.is_lazy()), Ordering::Relaxed);
                group.stage(job);
            }
            match self.next(group, &mut deadline) {
                Some(input) => self.take(input),
                None => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Job(job) => self.jobs.push_back(job),
            Input::Out => self.is_syncing = false,
            Input::Close => self.is_closing = true,
        }
    }

    /// The next thing that comes; `None` when it is time to write. What nobody waits for may wait
    /// for company, [`LAZY_WAIT`] at the most.
    fn next(&self, group: &OpenGroup<'_>, deadline: &mut Option<Instant>) -> Option<Input> {
        if self.is_syncing {
            // Both ends of the channel are ours: it cannot break.
            self.inputs.recv().ok()
        } else if group.is_full() {
            None
        } else if group.is_urgent() || self.is_closing {
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
    /// It says [`Input::Out`] to `commit` for each group.
    fn start(committer: Committer, commit: Sender<Input>) -> std::io::Result<Self> {
        let committer = Arc::new(Mutex::new(committer));
        let (groups, taken) = mpsc::sync_channel(1);
        let shared = Arc::clone(&committer);
        let thread = spine::spawn("sync", move || {
            while let Ok(written) = taken.recv() {
                finish(&shared, written, || drop(commit.send(Input::Out)))?;
            }
            Ok::<(), Error>(())
        })?;
        Ok(Self { committer, groups, thread })
    }

    /// Takes a group that is written. Whether [`Input::Out`] is still to come.
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

/// Makes a group last, answers and tells.
fn finish(committer: &Mutex<Committer>, written: Written, is_out: impl FnOnce()) -> Result<()> {
    // Poisoned only by a panic, and that stops the process.
    let mut committer = committer.lock().map_err(|_| Error::Closing)?;
    committer.flush(&written, is_out)?;
    committer.tell(written);
    Ok(())
}
