//! Background tasks: made, listed, stepped, forgotten.
//!
//! A step reads outside of the commit thread, then does at most [`steps::STEP_MESSAGES`] messages'
//! worth of work and moves the task's cursor in one commit. So a restart goes on where the last
//! commit left off: nothing is skipped and nothing is done twice. Whoever takes a step with a
//! cursor that has moved meanwhile does nothing.

mod record;
mod steps;
#[cfg(test)]
mod tests;
mod usage;

#[cfg(test)]
pub(super) use tests::open as test_store;

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::error::{Error, Result};
use super::messages::Rows as _;
use super::pages::{Page, Range};
use super::trees::Tree;
use super::writer::Writer;
use super::{Store, codec, keys, records};
use crate::model::id::{ID_BYTES, OrgId, TaskId};
use crate::model::task::{Task, TaskState, Work};

use record::TaskRecord;
pub use steps::{STEP_MESSAGES, Step};

/// Tasks of one organisation that may run at once.
pub const RUNNING_TASKS: usize = 1000;
/// Tasks one step of expiry removes.
const EXPIRE_TASKS: usize = 64;
/// Rows of a task that go together: after so many it is asked whether the group is full.
const ROWS_AT_ONCE: usize = 16;

/// Wakes whoever takes steps when there is a task to take.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Store {
    /// The task with this id.
    pub fn task(&self, org: OrgId, id: TaskId) -> Result<Option<Task>> {
        match self.row(Tree::Tasks, &keys::pair(&org.0, &id.0))? {
            Some(row) => read(org, id, &row).map(Some),
            None => Ok(None),
        }
    }

    /// Tasks of an organisation that `wanted` lets through.
    pub fn page_of_tasks(
        &self,
        org: OrgId,
        range: &Range,
        wanted: impl Fn(&Task) -> bool,
    ) -> Result<Page<Task>> {
        self.page(Tree::Tasks, &org.0, range, |id, row| {
            let task = read(org, TaskId(id), row)?;
            Ok(wanted(&task).then_some(task))
        })
    }

    /// Every task that runs, oldest first.
    pub fn running_tasks(&self) -> Result<Vec<(OrgId, TaskId)>> {
        let mut found = Vec::new();
        for row in self.shared.trees.tree(Tree::TasksRunning) {
            let (key, org) = row?;
            let damaged = || Error::corrupt("tasks_running", "not a task and an organisation");
            let id = key.as_ref().try_into().map_err(|_| damaged())?;
            let org = org.as_ref().try_into().map_err(|_| damaged())?;
            found.push((OrgId(org), TaskId(id)));
        }
        Ok(found)
    }

    /// Rows that a task has put down, up to `limit`: their keys and values.
    pub fn task_rows(&self, id: TaskId, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        for row in self.shared.trees.tree(Tree::TaskRows).scan_prefix(id.0).take(limit) {
            let (key, value) = row?;
            found.push((key.get(ID_BYTES..).unwrap_or_default().to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    /// Counts a task has put down, up to `limit`: what was counted, and how many.
    pub fn task_counts(&self, id: TaskId, limit: usize) -> Result<Vec<(Vec<u8>, u64)>> {
        let rows = self.task_rows(id, limit)?.into_iter();
        rows.map(|(key, value)| Ok((key, count_of(&value)?))).collect()
    }

    /// Waits until a task was made, or for `limit`.
    pub fn wait_for_tasks(&self, limit: Duration) {
        let bell = &self.shared.bell;
        let rung = bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = bell.changed.wait_timeout_while(rung, limit, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }

    /// Wakes whoever is in [`Store::wait_for_tasks`].
    pub fn ring_for_tasks(&self) {
        *self.shared.bell.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.bell.changed.notify_all();
    }

    /// Gives a task up, with the reason for people.
    pub fn fail_task(&self, org: OrgId, id: TaskId, why: &str) -> Result<()> {
        let why = why.to_owned();
        self.write_and_wait(move |writer| {
            let Some(mut task) = writer.task(org, id)? else { return Ok(()) };
            if task.state == TaskState::Running {
                task.state = TaskState::Failed;
                task.failure = Some(why);
                writer.put_task(&task);
            }
            Ok(())
        })
    }

    /// Removes some of the tasks that ended longer ago than messages are kept.
    pub fn expire_tasks(&self) -> Result<bool> {
        let horizon = self.now().minus(self.shared.retention);
        let mut old = Vec::new();
        for row in self.shared.trees.tree(Tree::Tasks) {
            let (key, value) = row?;
            let damaged = || Error::corrupt("tasks", "a key has the wrong length");
            let (org, id) = keys::split_pair(&key).ok_or_else(damaged)?;
            let task = read(OrgId(org), TaskId(id), &value)?;
            if task.state != TaskState::Running && task.updated_at < horizon {
                old.push(task);
            }
            if old.len() == EXPIRE_TASKS {
                break;
            }
        }
        let mut full = old.len() == EXPIRE_TASKS;
        if !old.is_empty() {
            full |= self.write_and_wait(move |writer| {
                for task in &old {
                    if !writer.remove_task(task)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            })?;
        }
        Ok(full)
    }
}

impl Writer<'_> {
    /// Makes a task. It begins once this is on disk and the bell is rung.
    ///
    /// Errors: too many run already.
    pub fn start_task(&mut self, org: OrgId, work: Work) -> Result<Task> {
        self.shared().space.check()?;
        if self.scan(Tree::TasksRunning, &[], RUNNING_TASKS)?.len() >= RUNNING_TASKS {
            return Err(Error::Limit(format!(
                "{RUNNING_TASKS} background tasks are running; wait until one has ended"
            )));
        }
        let now = self.now();
        let task = Task {
            id: self.new_task_id(),
            org,
            work,
            state: TaskState::Running,
            cursor: Vec::new(),
            seen: 0,
            done: 0,
            created_at: now,
            updated_at: now,
            failure: None,
        };
        self.put_task(&task);
        Ok(task)
    }

    /// Makes a task that has nothing left to do.
    pub fn put_finished_task(&mut self, org: OrgId, work: Work) -> Result<Task> {
        let mut task = self.start_task(org, work)?;
        task.state = TaskState::Finished;
        self.put_task(&task);
        Ok(task)
    }

    /// Puts the payload of a broadcast beside its task.
    pub fn put_task_payload(&mut self, id: TaskId, payload: &[u8]) {
        for (n, chunk) in (0u16..).zip(payload.chunks(super::accept::CHUNK_BYTES)) {
            self.put(Tree::TaskRows, &keys::chunk(&id.0, n), chunk);
        }
    }

    fn task(&self, org: OrgId, id: TaskId) -> Result<Option<Task>> {
        match self.get(Tree::Tasks, &keys::pair(&org.0, &id.0))? {
            Some(row) => read(org, id, &row).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a task, and keeps the list of running ones right.
    fn put_task(&mut self, task: &Task) {
        let now = self.now();
        let record = TaskRecord::of(&Task { updated_at: now, ..task.clone() });
        self.put(Tree::Tasks, &keys::pair(&task.org.0, &task.id.0), codec::encode(&record));
        if task.state == TaskState::Running {
            self.put(Tree::TasksRunning, &task.id.0, &task.org.0);
        } else {
            self.remove(Tree::TasksRunning, &task.id.0);
        }
    }

    /// Removes what a task has put down, and then the task. `false` when not all of it fits into a
    /// group: the rest goes with the next.
    fn remove_task(&mut self, task: &Task) -> Result<bool> {
        loop {
            if self.is_full() {
                return Ok(false);
            }
            if self.reclaim_some(Tree::TaskRows, &task.id.0, ROWS_AT_ONCE)? < ROWS_AT_ONCE {
                break;
            }
        }
        self.reclaim(Tree::Tasks, &keys::pair(&task.org.0, &task.id.0))?;
        Ok(true)
    }

    /// Adds to one of the counts that a task keeps.
    fn add_to_count(&mut self, id: TaskId, what: &[u8], more: u64) -> Result<()> {
        let mut key = id.0.to_vec();
        key.extend_from_slice(what);
        let old = self.get(Tree::TaskRows, &key)?.map_or(Ok(0), |row| count_of(&row))?;
        let new = old.saturating_add(more).to_be_bytes();
        self.put(Tree::TaskRows, &key, &new);
        Ok(())
    }
}

fn read(org: OrgId, id: TaskId, row: &[u8]) -> Result<Task> {
    let record: TaskRecord = records::read(Tree::Tasks, row)?;
    record.into_domain(org, id)
}

fn count_of(row: &[u8]) -> Result<u64> {
    let bytes = row.try_into().map_err(|_| Error::corrupt("task_rows", "not a number"))?;
    Ok(u64::from_be_bytes(bytes))
}
