//! Tidying: what has expired leaves holes in sled's file, and sled closes them too late.
//!
//! sled moves one page out of an old segment for each page that it writes anew, and it writes a
//! page anew after ten changes to it. That is too little: old segments wait in line while the file
//! grows. Large rows fill a segment with few changes: behind many small messages, large ones made
//! the file three times as large as alone (measured). And a store that takes nothing because it is at
//! `storage.max_size` changes nothing, so it would stay there. So removals owe changes, every row
//! that is written pays one, and the rest is paid with changes that mean nothing: by the janitor, and with
//! groups that remove much.

use std::sync::atomic::{AtomicU64, Ordering};

use sled::IVec;

use super::error::Result;
use super::trees::Tree;
use super::writer::{Rows, Writer};
use super::{Shared, Store};

/// Changes of one step: sled moves a dozen pages for them. What is set aside for a disk without room has
/// to take these: see `space_tests`.
pub(super) const STEP: u64 = 128;
/// Most changes of one step while the file has to shrink and the disk has ample room. With a fifth of
/// it the file did not shrink after one load in six (measured).
const SHRINKING_STEP: u64 = 1024;
/// Steps the janitor has made at once: each costs a sync.
const STEPS_AT_ONCE: usize = 8;
/// With so many changes owed every group makes a step. With fewer only those do that make somebody wait
/// anyhow, since they remove much: nobody's message is slower for others that have expired.
const PRESSING: u64 = 16 * STEP;
/// Changes a removal owes. With 2 the file held 4.3 bytes for a byte alive while a million messages came
/// and went (measured).
const REMOVAL: u64 = 4;
/// Bytes removed that owe a change. With a fifth of it large pages were moved again and again: thrice
/// the writing for a file hardly smaller (measured).
const BYTES: u64 = 512;
/// A byte counts so often while the file has to shrink. Less has not been tried since a step makes no
/// more changes than are owed.
const SHRINKING: u64 = 160;
/// Most changes that are owed: a thousand steps while the file has to shrink.
const MOST_OWED: u64 = 1_000_000;

/// What is to be changed for the sake of what was removed. Only staged work and the commit thread
/// count here, one at a time.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    /// Changes that nothing has paid for.
    owed: AtomicU64,
    /// Bytes removed that do not make a change yet.
    bytes: AtomicU64,
    /// Steps that were made.
    steps: AtomicU64,
}

impl Tidy {
    /// Expiry removed rows of so many bytes, while the file `has_to_shrink` or not.
    pub(super) fn freed(&self, bytes: u64, has_to_shrink: bool) {
        let more = bytes.saturating_mul(if has_to_shrink { SHRINKING } else { 1 });
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(more);
        self.bytes.store(bytes % BYTES, Ordering::Relaxed);
        self.count(bytes / BYTES, 0);
    }

    /// So many rows were written, of which some were removals.
    pub(super) fn wrote(&self, rows: usize, removals: usize) {
        self.count(removals as u64 * REMOVAL, rows as u64);
    }

    fn count(&self, owed: u64, paid: u64) {
        let owed = self.owed.load(Ordering::Relaxed).saturating_add(owed);
        self.owed.store(owed.saturating_sub(paid).min(MOST_OWED), Ordering::Relaxed);
    }

    fn is_due(&self) -> bool {
        self.owed.load(Ordering::Relaxed) >= STEP
    }

    fn is_pressing(&self) -> bool {
        self.owed.load(Ordering::Relaxed) >= PRESSING
    }

    /// Takes up to so many of the changes that are owed.
    fn take(&self, most: u64) -> u64 {
        let changes = self.owed.load(Ordering::Relaxed).min(most);
        self.count(0, changes);
        changes
    }
}

impl Shared {
    /// Whether a step is due and may be made. On a disk without room none may: moving takes room
    /// first.
    fn is_to_tidy(&self) -> bool {
        self.tidy.is_due() && !self.space.is_short()
    }

    /// Stages a step with a group that is slow anyhow, or when much is owed.
    pub(super) fn tidy_up(&self, rows: &mut Rows) {
        if (rows.freed() > 0 || self.tidy.is_pressing()) && !rows.tidies() {
            self.tidy_step(|key, value| rows.set(Tree::Tidy, key, Some(value)));
        }
    }

    /// Stages the changes of one step with a group, if it is due. They have to be in its transaction:
    /// sled moves pages for them, and takes a place again some segments after it has moved away from
    /// there, but never while the transaction lasts. By the next one the group lasts.
    fn tidy_step(&self, mut stage: impl FnMut(IVec, IVec)) {
        if !self.is_to_tidy() {
            return;
        }
        let large = self.space.is_growing() && self.space.is_ample();
        let changes = self.tidy.take(if large { SHRINKING_STEP } else { STEP });
        // Another value each time, after a restart too: sled does nothing for a row that stays as it is.
        let step = self.tidy.steps.fetch_add(1, Ordering::Relaxed);
        let value: IVec = [step.to_be_bytes(), self.clock.now().0.to_be_bytes()].concat().into();
        for row in 0..changes {
            stage((&row.to_be_bytes()).into(), value.clone());
        }
    }
}

impl Store {
    /// Makes some steps, if they are due. `true` when there are more.
    pub fn tidy(&self) -> Result<bool> {
        for _ in 0..STEPS_AT_ONCE {
            if !self.shared.is_to_tidy() {
                return Ok(false);
            }
            self.write_and_wait(|writer| {
                writer.tidy();
                Ok(())
            })?;
        }
        Ok(self.shared.is_to_tidy())
    }
}

impl Writer<'_> {
    /// Stages one step, if it is due.
    fn tidy(&mut self) {
        let mut rows = Vec::new();
        self.shared().tidy_step(|key, value| rows.push((key, value)));
        for (key, value) in rows {
            self.put(Tree::Tidy, &key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_pays_for_what_was_removed() {
        let tidy = Tidy::default();
        // Nothing is paid in advance.
        tidy.wrote(1000, 0);
        tidy.wrote(100, 100);
        assert_eq!(tidy.owed.load(Ordering::Relaxed), 300);
        assert_eq!((tidy.take(200), tidy.take(200)), (200, 100), "no more than is owed");
        tidy.wrote(100, 100);
        tidy.wrote(400, 0);
        tidy.freed(STEP * BYTES - 1, false);
        assert!(!tidy.is_due());
        tidy.freed(1, false);
        assert!(tidy.is_due());
        tidy.wrote(1, 0);
        assert!(!tidy.is_due());
        tidy.wrote(1000, 0);
        tidy.freed(STEP * BYTES / SHRINKING + 1, true);
        assert!(tidy.is_due());
    }

    #[test]
    fn what_is_owed_has_a_limit() {
        let tidy = Tidy::default();
        tidy.freed(u64::MAX, true);
        tidy.freed(1, false);
        tidy.wrote(999_999, 0);
        assert_eq!(tidy.owed.load(Ordering::Relaxed), 1);
    }
}
