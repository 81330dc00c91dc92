//! Fresh deliveries: the queue rows of one group stand in one row on disk, and each by itself in memory.
//!
//! Nearly every delivery succeeds at once, so its queue row would be written only to be removed a few
//! milliseconds later: two of five rows of a message, and half of those of one that goes to many
//! endpoints. So the keys of a group's new queue rows, but for those of ordered endpoints, are written
//! together, as a *batch*. It goes when the last of them has gone. What is still there after [`FRESH_FOR`],
//! or is tried again, gets a row of its own.
//!
//! The queue is what is in the tree and what is here, and [`Shared::queue`] reads both. Only the commit
//! thread changes them: a row that moves is in the tree before it leaves this place, and readers look here
//! first, so they never miss it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::iter::Peekable;
use std::ops::RangeBounds;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sled::IVec;

use super::error::{Error, Result};
use super::events::Accepted;
use super::messages::{self, Rows as _};
use super::records::{self, QueueRecord};
use super::trees::{ROW_BYTES, Tree};
use super::writer::{LARGE_FREED, Rows};
use super::{Shared, codec, keys};
use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow, State};
use crate::model::id::EndpointId;

/// Rows that are kept here; what comes then gets a row of its own at once.
pub(super) const MOST_FRESH: usize = 8192;
/// With so many batches on disk new rows are not kept here: one row that stays keeps its whole batch.
pub(super) const MOST_BATCHES: usize = 1024;
/// After so long a delivery that still waits gets a row of its own, with the next group.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(1);
/// Keys in a batch.
const BATCH_KEYS: usize = 100;
const _: () = assert!(BATCH_KEYS * keys::QUEUE_BYTES < ROW_BYTES);
/// Rows that are moved with one group: a batch more may make it twice as many.
const MOVED_ROWS: usize = BATCH_KEYS;
/// Batches that are looked at with one group for what is to be moved.
const MOVED_BATCHES: usize = 16;
/// Bytes that a group with batches that go may free, what expires included; one batch goes always. For more the
/// group counts as large, since what sled writes anew beside them is not bound by its size. With a group that is
/// large anyhow so many bytes of batches go.
pub(super) const ENDED_BYTES: usize = 30 * 1024;
const _: () = assert!(ENDED_BYTES < LARGE_FREED);
/// Batches that go with one group, however small they are.
pub(super) const MOST_ENDED: usize = 64;

/// The queue rows that have none of their own on disk.
#[derive(Default)]
pub(super) struct Fresh(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// In which batch each of them is.
    rows: BTreeMap<QueueKey, u64>,
    batches: BTreeMap<u64, Batch>,
    /// Batches on disk of which nothing is left, with their bytes there, oldest first.
    ended: VecDeque<(u64, usize)>,
    /// The number of the next batch.
    next: u64,
}

struct Batch {
    /// All that were here once.
    keys: Vec<QueueKey>,
    /// How many of them are still here.
    left: usize,
    since: Timestamp,
    /// Its bytes on disk.
    bytes: usize,
}

impl Batch {
    /// After a step back of the clock too: nobody knows for how long it has been here then.
    fn is_old(&self, now: Timestamp) -> bool {
        self.since > now || now.since(self.since) >= FRESH_FOR
    }
}

/// What a group changes here once it is written.
#[derive(Default)]
pub(super) struct Change {
    added: Vec<(u64, Batch)>,
    gone: HashSet<QueueKey>,
}

impl Fresh {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a row that is here.
    pub(super) fn row(&self, key: &[u8]) -> Option<IVec> {
        let key = keys::split_queue(key)?;
        self.lock().rows.contains_key(&key).then(|| first_value(key))
    }

    /// The last row of those whose keys are in `range`.
    pub(super) fn last(&self, range: impl RangeBounds<QueueKey>) -> Option<QueueKey> {
        self.lock().rows.range(range).next_back().map(|(key, _)| *key)
    }

    /// The endpoints that have rows here.
    pub(super) fn endpoints(&self) -> Vec<EndpointId> {
        let mut found: Vec<_> = self.lock().rows.keys().map(|key| key.endpoint).collect();
        found.dedup();
        found
    }

    fn first(&self, range: impl RangeBounds<QueueKey>, most: usize) -> Vec<QueueKey> {
        self.lock().rows.range(range).take(most).map(|(key, _)| *key).collect()
    }

    /// Takes the new queue rows of a group out of its `rows` and puts batches in their place; what changes
    /// with the others is told by the answer. `may_move`: what was here for long gets rows of its own.
    pub(super) fn settle(
        &self,
        rows: &mut Rows,
        accepted: &[Accepted],
        now: Timestamp,
        may_move: bool,
    ) -> Change {
        let mut inner = self.lock();
        let mut change = Change::default();
        inner.add(rows, accepted, now, &mut change);
        inner.let_go(rows, &mut change);
        if may_move {
            inner.move_old(rows, now, &mut change);
        }
        inner.end_batches(rows, &change);
        change
    }

    /// The group is written.
    pub(super) fn apply(&self, change: Change) {
        let mut inner = self.lock();
        for key in change.gone {
            let Some(number) = inner.rows.remove(&key) else { continue };
            // One that ended with the group is not among them any more.
            if let Some(batch) = inner.batches.get_mut(&number) {
                batch.left -= 1;
            }
        }
        for (number, batch) in change.added {
            inner.rows.extend(batch.keys.iter().map(|key| (*key, number)));
            inner.batches.insert(number, batch);
        }
    }
}

/// Reads what an earlier process left. What has ended since is not taken in.
pub(super) fn load(shared: &Shared) -> Result<()> {
    let mut inner = shared.fresh.lock();
    for row in shared.trees.tree(Tree::Fresh) {
        let (number, value) = row?;
        // Each has many keys to look for.
        shared.trees.sync_own_writes()?;
        let damaged = |what| Error::corrupt(Tree::Fresh.name(), what);
        let number: [u8; 8] =
            number.as_ref().try_into().map_err(|_| damaged("a key has the wrong length"))?;
        let number = u64::from_be_bytes(number);
        let mut waiting = Vec::new();
        for key in read_batch(&value)? {
            if is_waiting(shared, key)? {
                waiting.push(key);
            }
        }
        inner.rows.extend(waiting.iter().map(|key| (*key, number)));
        inner.next = number + 1;
        if waiting.is_empty() {
            inner.ended.push_back((number, value.len()));
            continue;
        }
        let (left, bytes) = (waiting.len(), value.len());
        inner.batches.insert(number, Batch { keys: waiting, left, since: Timestamp(0), bytes });
    }
    Ok(())
}

impl Inner {
    /// New rows that are due. Not those of ordered endpoints: between the transaction and
    /// [`Fresh::apply`] somebody might read a later row, in the tree, before them.
    fn add(&mut self, rows: &mut Rows, accepted: &[Accepted], now: Timestamp, change: &mut Change) {
        if self.batches.len() + self.ended.len() >= MOST_BATCHES {
            return;
        }
        let room = MOST_FRESH.saturating_sub(self.rows.len());
        let deliveries = accepted.iter().flat_map(|message| &message.deliveries);
        let fit = deliveries.filter(|(row, endpoint)| row.key.due <= now && !endpoint.ordered);
        let keys = fit.map(|(row, _)| row.key).take(room);
        // Later work of the group may have taken it away again, or put another in its place.
        let new: Vec<_> =
            keys.filter(|key| rows.take_queue_row(&keys::queue(key), &first_value(*key))).collect();
        for keys in new.chunks(BATCH_KEYS) {
            let value = write_batch(keys);
            let (left, bytes) = (keys.len(), value.len());
            rows.set(Tree::Fresh, number_key(self.next), Some(value));
            let batch = Batch { keys: keys.to_vec(), left, since: now, bytes };
            change.added.push((self.next, batch));
            self.next += 1;
        }
    }

    /// Rows of the group that are here: removed they need no removal in the tree, changed they go there.
    fn let_go(&self, rows: &mut Rows, change: &mut Change) {
        rows.retain_queue(|key, value| {
            let key = keys::split_queue(key).filter(|key| self.rows.contains_key(key));
            change.gone.extend(key);
            key.is_none() || value.is_some()
        });
    }

    /// The oldest rows, if they have been here for long.
    fn move_old(&self, rows: &mut Rows, now: Timestamp, change: &mut Change) {
        let mut moved = 0;
        let old = self.batches.values().take(MOVED_BATCHES);
        for batch in old.take_while(|batch| batch.is_old(now)) {
            if moved >= MOVED_ROWS {
                break;
            }
            for key in batch.keys.iter().filter(|key| self.rows.contains_key(*key)) {
                if change.gone.insert(*key) {
                    rows.set(Tree::Queue, (&keys::queue(key)[..]).into(), Some(first_value(*key)));
                    moved += 1;
                }
            }
        }
    }

    /// Batches of which nothing is left go, as many as may at once.
    fn end_batches(&mut self, rows: &mut Rows, change: &Change) {
        let mut gone: BTreeMap<u64, usize> = BTreeMap::new();
        for number in change.gone.iter().filter_map(|key| self.rows.get(key)) {
            *gone.entry(*number).or_default() += 1;
        }
        for (number, gone) in gone {
            if let Entry::Occupied(batch) = self.batches.entry(number)
                && batch.get().left == gone
            {
                self.ended.push_back((number, batch.remove().bytes));
            }
        }
        let is_large = rows.freed() >= LARGE_FREED;
        let most = if is_large { rows.freed() + ENDED_BYTES } else { ENDED_BYTES };
        for ended in 0..MOST_ENDED {
            let Some((number, bytes)) = self.ended.front().copied() else { break };
            if ended > 0 && rows.freed() + bytes > most {
                break;
            }
            self.ended.pop_front();
            rows.set(Tree::Fresh, number_key(number), None);
            rows.note_freed(bytes);
        }
    }
}

impl Shared {
    /// Rows of the queue whose keys are in `range`, in order: those here, at most `most` of them, and
    /// those of the tree.
    pub(super) fn queue(
        &self,
        range: impl RangeBounds<QueueKey>,
        most: usize,
    ) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        let bounds = (range.start_bound().map(keys::queue), range.end_bound().map(keys::queue));
        let fresh = self.fresh.first(range, most).into_iter().peekable();
        Both { fresh, tree: self.trees.tree(Tree::Queue).range(bounds).peekable() }
    }
}

/// What is here and what is in the tree, in order.
struct Both {
    fresh: Peekable<std::vec::IntoIter<QueueKey>>,
    tree: Peekable<sled::Iter>,
}

impl Iterator for Both {
    type Item = Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.fresh.peek(), self.tree.peek()) {
            (Some(fresh), Some(Ok((key, _)))) => keys::queue(fresh).as_slice().cmp(key),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        if order.is_lt() {
            let row = |key| Ok(((&keys::queue(&key)[..]).into(), first_value(key)));
            return self.fresh.next().map(row);
        }
        if order.is_eq() {
            self.fresh.next();
        }
        self.tree.next().map(|row| row.map_err(Error::from))
    }
}

/// What stands in the row of a delivery that was never tried.
fn first_value(key: QueueKey) -> IVec {
    codec::encode(&QueueRecord::of(&QueueRow::first(key))).into()
}

fn number_key(number: u64) -> IVec {
    (&number.to_be_bytes()).into()
}

fn write_batch(keys: &[QueueKey]) -> IVec {
    let tail: Vec<u8> = keys.iter().flat_map(keys::queue).collect();
    codec::encode_with_tail(&(), &tail).into()
}

fn read_batch(value: &[u8]) -> Result<Vec<QueueKey>> {
    let ((), tail) = records::read_with_tail(Tree::Fresh, value)?;
    let keys = tail.chunks(keys::QUEUE_BYTES).map(keys::split_queue);
    let cut_off = || Error::corrupt(Tree::Fresh.name(), "its last key is cut off");
    keys.collect::<Option<_>>().ok_or_else(cut_off)
}

/// What is wrong with the rows that are here. Not what is wrong on disk: a key that is in a batch and has a
/// row of its own is sound there, and [`load`] passes over it.
pub(super) fn faults(shared: &Shared) -> Result<Vec<String>> {
    let mut kept = HashSet::new();
    for row in shared.trees.tree(Tree::Fresh) {
        kept.extend(read_batch(&row?.1)?);
    }
    let here: Vec<_> = shared.fresh.lock().rows.keys().copied().collect();
    let mut faults = Vec::new();
    for key in here {
        if !kept.contains(&key) {
            faults.push(format!("queue: {key:?} is in no batch: a restart would lose it"));
        }
        if shared.trees.tree(Tree::Queue).contains_key(keys::queue(&key))? {
            faults.push(format!("queue: {key:?} is in a batch and has a row: it would stay"));
        }
    }
    Ok(faults)
}

/// Whether a delivery of a batch still waits where it was put: nothing was recorded that ended or moved it,
/// and it has no row of its own.
fn is_waiting(shared: &Shared, key: QueueKey) -> Result<bool> {
    if shared.trees.tree(Tree::Queue).contains_key(keys::queue(&key))? {
        return Ok(false);
    }
    let Some(endpoint) = shared.directory.endpoint(key.endpoint)? else { return Ok(false) };
    if shared.row(Tree::Messages, &keys::message(endpoint.app, key.message))?.is_none() {
        return Ok(false);
    }
    let Some(delivery) = messages::delivery(shared, key.message, key.endpoint)? else {
        return Ok(true);
    };
    // Held, or tried by hand alone: it stands where it was put.
    let in_place = delivery.queued_due.is_none_or(|due| due == key.due);
    Ok(delivery.state == State::Pending && delivery.attempts == 0 && in_place)
}
