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
use std::time::Instant;

use super::commit::{Committer, Job, LAZY_WAIT, OpenGroup};
use super::error::Result;
use super::spine;

/// The commit thread.
pub(super) struct CommitThread {
    committer: Committer,
    inputs: Receiver<Job>,
    /// Writes somebody waits for and that are not begun.
    waiting: Arc<AtomicUsize>,
    /// What did not fit into the group that is staged.
    jobs: VecDeque<Job>,
}

impl CommitThread {
    /// Starts it. It ends when all that came in is written and nobody can send any more.
    pub(super) fn start(
        committer: Committer,
        inputs: Receiver<Job>,
        waiting: Arc<AtomicUsize>,
    ) -> std::io::Result<JoinHandle<()>> {
        let commit = Self { committer, inputs, waiting, jobs: VecDeque::new() };
        spine::spawn("commit", move || commit.run())
    }

    fn run(mut self) -> Result<()> {
        let shared = Arc::clone(self.committer.shared());
        while self.wait_for_work() {
            let mut group = OpenGroup::new(&shared);
            self.gather(&mut group);
            let written = group.write(&shared)?;
            self.committer.finish(written)?;
        }
        Ok(())
    }

    /// `false` when it is over.
    fn wait_for_work(&mut self) -> bool {
        if self.jobs.is_empty()
            && let Ok(job) = self.inputs.recv()
        {
            self.jobs.push_back(job);
        }
        !self.jobs.is_empty()
    }

    /// Stages what is there until it may be written. What nobody waits for may wait for company,
    /// [`LAZY_WAIT`] at the most.
    fn gather(&mut self, group: &mut OpenGroup<'_>) {
        let mut deadline = None;
        loop {
            while !group.is_full()
                && let Some(job) = self.jobs.pop_front()
            {
                self.waiting.fetch_sub(usize::from(!job.is_lazy()), Ordering::Relaxed);
                group.stage(job);
            }
            if group.is_full() {
                return;
            }
            let next = match self.inputs.try_recv() {
                Err(TryRecvError::Empty) if !group.is_urgent() => {
                    let at = *deadline.get_or_insert_with(|| Instant::now() + LAZY_WAIT);
                    self.inputs.recv_timeout(at.saturating_duration_since(Instant::now()))
                }
                next => next.map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(job) => self.jobs.push_back(job),
                Err(_) => return,
            }
        }
    }
}
