//! A [`Writer`]: what a piece of work in the commit thread reads and stages through.
//!
//! Reads see what earlier work of the same group staged. The domain's verbs (accept, record,
//! create, …) are methods of it in their own files; rows and trees stay inside `store`.

use std::collections::HashMap;

use sled::{IVec, Transactional as _};

use super::Shared;
use super::directory::Directory;
use super::error::{Error, Result};
use super::events::Events;
use super::messages::Rows as _;
use super::trees::{SYNC_ROWS, Tree, Trees};
use crate::model::clock::Timestamp;
use crate::model::id::ID_BYTES;

/// Rows of one tree for which a group makes room at once.
const USUAL_ROWS: usize = super::commit::GROUP_URGENT;

/// In a group that writes so many bytes reading alone may make sled write several of its segments, so what it
/// wrote is made to last after each row. Without, of a hundred power cuts in such groups three left a store
/// that did not open.
const LARGE: usize = 192 * 1024;
/// As in one that removes so many: what is left beside them is written anew.
pub(super) const LARGE_FREED: usize = 32 * 1024;

/// Before a group of so many rows all is flushed, also what sled flushed for a read of its own, which
/// [`Trees::sync_own_writes`] does not see. Smaller ones write less than sled needs to take a place again.
const MANY_ROWS: usize = 256;

/// Rows to be written: the last word on each key, `None` to remove it.
#[derive(Default)]
pub(super) struct Rows {
    by_tree: Vec<(Tree, HashMap<IVec, Option<IVec>>)>,
    count: usize,
    removals: usize,
    bytes: usize,
    freed: usize,
}

fn row_bytes(key: &[u8], value: Option<&IVec>) -> usize {
    key.len() + value.map_or(0, |value| value.len())
}

impl Rows {
    fn of(&self, tree: Tree) -> Option<&HashMap<IVec, Option<IVec>>> {
        self.by_tree.iter().find(|(t, _)| *t == tree).map(|(_, rows)| rows)
    }

    fn of_mut(&mut self, tree: Tree) -> Option<&mut HashMap<IVec, Option<IVec>>> {
        self.by_tree.iter_mut().find(|(t, _)| *t == tree).map(|(_, rows)| rows)
    }

    pub(super) fn set(&mut self, tree: Tree, key: IVec, value: Option<IVec>) {
        // Rows for tidying are no work: they pay for nothing.
        if tree != Tree::Tidy {
            self.count += 1;
            // A delivery that ends takes its queue row away: that is no expiry.
            let is_queue = matches!(tree, Tree::Queue | Tree::Fresh);
            self.removals += usize::from(value.is_none() && !is_queue);
            self.bytes += row_bytes(&key, value.as_ref());
        }
        if let Some(rows) = self.of_mut(tree) {
            rows.insert(key, value);
        } else {
            let mut rows = HashMap::with_capacity(USUAL_ROWS);
            rows.insert(key, value);
            self.by_tree.push((tree, rows));
        }
    }

    /// Takes a row of the queue out that was to be written with this value. Whether there was one.
    pub(super) fn take_queue_row(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some(rows) = self.of_mut(Tree::Queue) else { return false };
        if rows.get(key).and_then(Option::as_deref) != Some(value) {
            return false;
        }
        rows.remove(key);
        self.count -= 1;
        self.bytes -= key.len() + value.len();
        true
    }

    /// Keeps of the queue's rows those for which `keep` says so, given key and value. Its removals are not
    /// counted as such, see [`Rows::set`].
    pub(super) fn retain_queue(&mut self, mut keep: impl FnMut(&[u8], Option<&IVec>) -> bool) {
        let (mut count, mut bytes) = (0, 0);
        self.by_tree.retain_mut(|(tree, rows)| {
            if *tree == Tree::Queue {
                rows.retain(|key, value| {
                    let kept = keep(key, value.as_ref());
                    if !kept {
                        count += 1;
                        bytes += row_bytes(key, value.as_ref());
                    }
                    kept
                });
            }
            !rows.is_empty()
        });
        self.count -= count;
        self.bytes -= bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of rows that go now and beside which much is left.
    pub(super) fn freed(&self) -> usize {
        self.freed
    }

    /// A row of so many bytes goes: sled writes anew what is left beside it.
    pub(super) fn note_freed(&mut self, bytes: usize) {
        self.freed += bytes;
    }

    /// Whether sled is to tidy up with them.
    pub(super) fn tidies(&self) -> bool {
        self.of(Tree::Tidy).is_some()
    }

    /// How many, and how many of them are removals. A row that was staged twice counts twice.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.count, self.removals)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_tree.is_empty()
    }

    /// Writes all rows in one transaction over the trees they are in. They do not last before a
    /// flush; but what sled wrote by itself lasts before that is begun.
    pub(super) fn apply(&self, trees: &Trees) -> Result<()> {
        if self.by_tree.is_empty() {
            // Rows that were in memory alone have gone, with what they belonged to.
            return Ok(());
        }
        self.read_ahead(trees)?;
        let handles: Vec<_> =
            self.by_tree.iter().map(|(tree, _)| trees.tree(*tree).clone()).collect();
        let written: sled::transaction::TransactionResult<(), ()> =
            handles.as_slice().transaction(|views| {
                for (view, (_, rows)) in views.iter().zip(&self.by_tree) {
                    for (key, value) in rows {
                        match value {
                            Some(value) => view.insert(key, value)?,
                            None => view.remove(key)?,
                        };
                    }
                }
                Ok(())
            });
        written.map_err(|err| Error::io("committing", format!("{err:?}")))
    }

    /// Reads every row that is to be written, as the transaction does before it writes, and makes last what
    /// that and other reads made sled write by itself ([`Trees::sync_own_writes`]). However few the bytes of
    /// a group: a few hundred rows of as many endpoints make it write megabytes, and of a thousand power
    /// cuts in such groups three left a store that did not open.
    fn read_ahead(&self, trees: &Trees) -> Result<()> {
        let is_large = self.bytes >= LARGE || self.freed >= LARGE_FREED;
        let sync_rows = if is_large { 1 } else { SYNC_ROWS };
        let mut read = 0_usize;
        for (tree, rows) in &self.by_tree {
            let mut keys: Vec<_> = rows.keys().collect();
            keys.sort_unstable();
            for key in keys {
                trees.tree(*tree).get(key)?;
                read += 1;
                if read.is_multiple_of(sync_rows) {
                    trees.sync_own_writes()?;
                }
            }
        }
        if is_large || read >= MANY_ROWS { trees.flush() } else { trees.sync_own_writes() }
    }
}

/// Work that is written together.
pub(super) struct Group<'a> {
    shared: &'a Shared,
    rows: Rows,
    events: Events,
}

impl<'a> Group<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, rows: Rows::default(), events: Events::default() }
    }

    /// What it is written to.
    pub(super) fn store(&self) -> &'a Shared {
        self.shared
    }

    /// Rows staged so far.
    pub(super) fn rows(&self) -> usize {
        self.rows.count
    }

    /// Bytes of keys and values staged so far.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes
    }

    /// Bytes of the rows whose removal was staged so far.
    pub(super) fn freed(&self) -> usize {
        self.rows.freed
    }

    pub(super) fn into_parts(self) -> (Rows, Events) {
        (self.rows, self.events)
    }
}

/// Reads and stages for one piece of work. What it staged counts only if the work succeeds.
pub struct Writer<'g> {
    group: GroupRef<'g>,
    staged: Vec<(Tree, IVec, Option<IVec>)>,
    freed: usize,
    events: Events,
    now: Timestamp,
}

/// The lifetime of the group's own borrow is of no interest to whoever writes a verb.
type GroupRef<'g> = &'g mut dyn GroupAccess;

/// What a writer needs of its group.
trait GroupAccess {
    fn shared(&self) -> &Shared;
    fn rows(&self) -> &Rows;
    fn take(&mut self, staged: Vec<(Tree, IVec, Option<IVec>)>, freed: usize, events: Events);
}

impl GroupAccess for Group<'_> {
    fn shared(&self) -> &Shared {
        self.shared
    }

    fn rows(&self) -> &Rows {
        &self.rows
    }

    fn take(&mut self, staged: Vec<(Tree, IVec, Option<IVec>)>, freed: usize, events: Events) {
        if freed > 0 {
            let Shared { space, tidy, .. } = self.shared;
            self.rows.freed += freed;
            space.freed(freed);
            tidy.freed(freed as u64, space.is_growing());
        }
        for (tree, key, value) in staged {
            self.rows.set(tree, key, value);
        }
        self.events.append(events);
    }
}

impl<'g> Writer<'g> {
    pub(super) fn new(group: &'g mut Group<'_>) -> Self {
        let now = group.shared.clock.now();
        Self { group, staged: Vec::with_capacity(8), freed: 0, events: Events::default(), now }
    }

    /// The moment this work is done at.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn shared(&self) -> &Shared {
        self.group.shared()
    }

    /// Applications, endpoints, event types and sources, as earlier work of this group left them.
    pub fn directory(&self) -> &Directory {
        &self.shared().directory
    }

    pub(super) fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// A new raw id, later than every one made before.
    pub(super) fn new_id(&self) -> [u8; ID_BYTES] {
        self.shared().new_id(self.now())
    }

    /// The row, as the work before and the store have it.
    pub(super) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<IVec>> {
        let mine = self.staged.iter().rev().find(|(t, k, _)| *t == tree && k == key);
        if let Some((_, _, value)) = mine {
            return Ok(value.clone());
        }
        if let Some(value) = self.group.rows().of(tree).and_then(|rows| rows.get(key)) {
            return Ok(value.clone());
        }
        self.shared().row(tree, key)
    }

    /// Stages a row.
    pub(super) fn put(&mut self, tree: Tree, key: &[u8], value: impl Into<IVec>) {
        self.staged.push((tree, key.into(), Some(value.into())));
    }

    /// Stages a row that holds secrets: sealed, when there is a key.
    pub(super) fn put_sealed(&mut self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<()> {
        let value = self.shared().sealer.seal(tree, key, value)?;
        self.put(tree, key, value);
        Ok(())
    }

    /// Stages the removal of a small row. Where many may go at once it is [`Writer::reclaim`].
    pub(super) fn remove(&mut self, tree: Tree, key: &[u8]) {
        self.staged.push((tree, key.into(), None));
    }

    /// Up to `limit` rows whose keys start with `prefix`, in order, staged ones included.
    pub(super) fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(IVec, IVec)>> {
        let mut overlay = std::collections::BTreeMap::new();
        let group = self.group.rows().of(tree).into_iter().flatten();
        for (key, value) in group.filter(|(key, _)| key.starts_with(prefix)) {
            overlay.insert(key.clone(), value.clone());
        }
        for (_, key, value) in
            self.staged.iter().filter(|(t, k, _)| *t == tree && k.starts_with(prefix))
        {
            overlay.insert(key.clone(), value.clone());
        }
        let mut found = Vec::new();
        // Every overlaid key may hide one row of the tree, so read that many more.
        let most = limit.saturating_add(overlay.len());
        for row in self.shared().trees.tree(tree).scan_prefix(prefix).take(most) {
            let (key, value) = row?;
            if !overlay.contains_key(&key) {
                found.push((key, value));
            }
        }
        found.extend(overlay.into_iter().filter_map(|(key, value)| Some((key, value?))));
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.truncate(limit);
        Ok(found)
    }

    /// Whether this work alone has staged as much as a group takes.
    pub fn is_full(&self) -> bool {
        self.staged.len() >= super::commit::GROUP_ROWS || self.freed >= super::commit::GROUP_FREED
    }

    /// Stages the removal of a row of any length that was kept for long: its bytes are room for others,
    /// sled tidies up after them, and a group takes only so many ([`Writer::is_full`]).
    pub(super) fn reclaim(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        if let Some(row) = self.get(tree, key)? {
            self.note_freed(row.len());
            self.remove(tree, key);
        }
        Ok(())
    }

    /// Like [`Writer::reclaim`], all rows whose keys begin so.
    pub(super) fn reclaim_prefix(&mut self, tree: Tree, prefix: &[u8]) -> Result<()> {
        self.reclaim_some(tree, prefix, usize::MAX)?;
        Ok(())
    }

    /// Like [`Writer::reclaim_prefix`], up to `limit` of them. How many there were.
    pub(super) fn reclaim_some(
        &mut self,
        tree: Tree,
        prefix: &[u8],
        limit: usize,
    ) -> Result<usize> {
        let rows = self.scan(tree, prefix, limit)?;
        self.shared().trees.sync_own_writes()?;
        for (key, value) in &rows {
            self.note_freed(value.len());
            self.remove(tree, key);
        }
        Ok(rows.len())
    }

    /// Rows lose so many bytes.
    pub(super) fn note_freed(&mut self, bytes: usize) {
        self.freed += bytes;
    }

    /// Forgets what this work staged.
    pub(super) fn drop_staged(&mut self) {
        self.staged.clear();
        self.freed = 0;
        self.events = Events::default();
    }

    /// Hands what was staged to the group.
    pub(super) fn finish(self) {
        self.group.take(self.staged, self.freed, self.events);
    }
}
