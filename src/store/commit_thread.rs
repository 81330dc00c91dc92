//! The thread `commit`: takes work in and has it written, group by group.
//!
//! While a group is made to last nobody wakes the thread: what comes meanwhile is the next group,
//! which is as large as the disk is slow. A second thread that makes one group last while the next
//! is staged was tried: on two cores its wake-ups cost more than it saved.
//! [`super::commit`] says what a group is; here is only when one begins and ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::commit::{Committer, Job, LAZY_WAIT, OpenGroup};
use super::error::Result;
use super::spine;

/// What sled writes by itself while others read and no group is written is made to last so often: it wrote 54 MB
/// in a second at the most (measured), and takes a place again after a megabyte at the soonest.
const SYNC_EVERY: Duration = Duration::from_millis(20);

/// The commit thread.
pub(super) struct CommitThread {
    committer: Committer,
    inputs: Receiver<Job>,
    /// Writes somebody waits for and that are not begun.
    waiting: Arc<AtomicUsize>,
    /// What did not fit into the group that is staged.
    jobs: VecDeque<Job>,
    /// When all that sled had written was last made to last.
    synced: Instant,
}

impl CommitThread {
    /// Starts it. It ends when all that came in is written and nobody can send any more.
    pub(super) fn start(
        committer: Committer,
        inputs: Receiver<Job>,
        waiting: Arc<AtomicUsize>,
    ) -> std::io::Result<JoinHandle<()>> {
        let commit =
            Self { committer, inputs, waiting, jobs: VecDeque::new(), synced: Instant::now() };
        spine::spawn("commit", move || commit.run())
    }

    fn run(mut self) -> Result<()> {
        let shared = Arc::clone(self.committer.shared());
        while self.wait_for_work()? {
            let mut group = OpenGroup::new(&shared);
            self.gather(&mut group)?;
            let written = group.write(&shared)?;
            self.committer.finish(written)?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    /// `false` when it is over.
    fn wait_for_work(&mut self) -> Result<bool> {
        if self.jobs.is_empty() {
            let job = self.receive(None)?;
            self.jobs.extend(job);
        }
        Ok(!self.jobs.is_empty())
    }

    /// Waits for work, for ever or until this moment. `None`: none came, or none ever will.
    fn receive(&mut self, until: Option<Instant>) -> Result<Option<Job>> {
        loop {
            let sync_at = self.synced + SYNC_EVERY;
            let at = until.map_or(sync_at, |until| until.min(sync_at));
            match self.inputs.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if now >= sync_at {
                self.committer.shared().trees.sync_own_writes()?;
                self.synced = now;
            }
            if until.is_some_and(|until| now >= until) {
                return Ok(None);
            }
        }
    }

    /// Stages what is there until it may be written. What nobody waits for may wait for company,
    /// [`LAZY_WAIT`] at the most.
    fn gather(&mut self, group: &mut OpenGroup<'_>) -> Result<()> {
        let mut deadline = None;
        loop {
            while !group.is_full()
                && let Some(job) = self.jobs.pop_front()
            {
                self.waiting.fetch_sub(usize::from(!job.is_lazy()), Ordering::Relaxed);
                group.stage(job)?;
            }
            if group.is_full() {
                return Ok(());
            }
            let next = match self.inputs.try_recv() {
                Err(TryRecvError::Empty) if !group.is_urgent() => {
                    let at = *deadline.get_or_insert_with(|| Instant::now() + LAZY_WAIT);
                    self.receive(Some(at))?
                }
                next => next.ok(),
            };
            match next {
                Some(job) => self.jobs.push_back(job),
                None => return Ok(()),
            }
        }
    }
}
