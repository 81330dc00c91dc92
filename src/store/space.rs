//! Room on the disk: refuse before accepting, never after.
//!
//! sled does not come back from a write that found the disk full, so the store never lets it come
//! to that. Below `storage.min_free`, or above `storage.max_size`, nothing new is accepted, while
//! what is there is still delivered, recorded and expired. For those writes blocks are set aside
//! beyond the end of sled's file (`fallocate`, the file's length stays): they cannot be taken by
//! whoever else fills the disk. Before every group the commit thread asks how large it may be: as
//! large as ever while all blocks are there, then a part of what is left, then nothing is written
//! at all. Well before that deliveries wait: an attempt that cannot be recorded must not be made.
//!
//! sled's file seldom shrinks. What expiry removes makes room inside of it, so a store that is at
//! its limit accepts as much as has been removed since; if that lets the file grow by a quarter more,
//! a quarter of it, and the rest once sled has tidied up, which [`super::tidy`] sees to.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rustix::fs::FallocateFlags;

use super::commit::GROUP_BYTES;
use super::error::{Error, Result};
use super::trees::Trees;

/// Bytes on disk for a byte of rows, until sled has tidied up.
const AMPLIFICATION: u64 = 2;
/// What is set aside is this part of `storage.min_free`, within the bounds below.
const RESERVE_PART: u64 = 4;
/// Fewest bytes that are set aside: three quarters of it take the largest group, whatever sled makes
/// of it. See [`GROWTH`].
const LEAST_RESERVE: u64 = 12 * 1024 * 1024;
/// Most bytes that are set aside.
const MOST_RESERVE: u64 = 16 * 1024 * 1024;
/// With fewer bytes set aside nothing is written: sled ends a segment of 512 KiB early, and begins
/// one, for the smallest of groups.
const FLOOR: u64 = 1024 * 1024;
/// While blocks are short, a group has a byte of rows for so many that are left. sled's file grew by up
/// to four, since it writes pages anew and moves others out of old segments; the rest is for safety.
const GROWTH: u64 = 12;
/// Fewest bytes that are set aside at once.
const LEAST_PIECE: u64 = 64 * 1024;
/// A file that lost more blocks than this was cut off, and with that what was set aside.
const CUT_OFF: u64 = 256 * 1024;
/// See [`Space::is_ample`]: several times what sled writes for one group.
const AMPLE: u64 = 32 * 1024 * 1024;
/// Bytes of credit a message takes beside its payload.
const MESSAGE_PRICE: i64 = 64;
/// The disk is looked at anew after so many bytes of rows.
const LOOK_EVERY: u64 = 256 * 1024;

/// The latest look at the disk.
pub struct Space {
    path: PathBuf,
    min_free: u64,
    max_size: u64,
    free: AtomicU64,
    size: AtomicU64,
    /// Bytes of rows written since that look.
    written: AtomicU64,
    /// Bytes that may be accepted although a limit is passed: room inside of sled's file.
    credit: AtomicI64,
    /// Bytes that become credit once sled's file has not grown much past `max_size` any more.
    held: AtomicI64,
    /// Bytes that are to be set aside; 0 = none.
    wanted: u64,
    reserve: Mutex<Reserve>,
    /// All that is to be set aside is.
    is_backed: AtomicBool,
    /// Not even attempts can be recorded safely.
    is_critical: AtomicBool,
}

/// Blocks beyond the end of sled's file.
struct Reserve {
    /// `None`: this file system sets nothing aside.
    file: Option<File>,
    wanted: u64,
    /// The file is backed by blocks up to here.
    backed_to: u64,
    length: u64,
    /// Bytes of all blocks it has.
    blocks: u64,
}

impl Space {
    pub(super) fn new(path: &Path, min_free: u64, max_size: u64) -> Self {
        let wanted = match min_free {
            0 => 0,
            _ => (min_free / RESERVE_PART).clamp(LEAST_RESERVE, MOST_RESERVE),
        };
        let file = File::options().write(true).open(path.join("db")).ok();
        Self {
            path: path.to_path_buf(),
            min_free,
            max_size,
            free: AtomicU64::new(u64::MAX),
            size: AtomicU64::new(0),
            written: AtomicU64::new(0),
            credit: AtomicI64::new(0),
            held: AtomicI64::new(0),
            wanted,
            reserve: Mutex::new(Reserve { file, wanted, backed_to: 0, length: 0, blocks: 0 }),
            is_backed: AtomicBool::new(true),
            is_critical: AtomicBool::new(false),
        }
    }

    /// Looks at the disk. Called a few times a second by the janitor, and by the commit thread when
    /// it has written much.
    pub(super) fn look(&self, trees: &Trees) {
        self.look_at_blocks();
        self.written.store(0, Ordering::Relaxed);
        if self.has_limits() {
            self.settle(trees.size_on_disk());
        }
    }

    fn has_limits(&self) -> bool {
        self.max_size > 0 || self.min_free > 0
    }

    /// The file has so many bytes, and all that was written is among them.
    fn settle(&self, size: u64) {
        let before = self.size.swap(size, Ordering::Relaxed);
        let rows = |file: u64| i64::try_from(file / AMPLIFICATION).unwrap_or(i64::MAX);
        // What was cut off the file was room inside of it.
        let cut = rows(before.saturating_sub(size));
        self.change_credit(|credit| (credit - cut).clamp(0, rows(size)));
        // As much of what is held as the file may grow by before it is too large again.
        let room = rows(self.most().saturating_sub(size));
        let room = room.saturating_sub(self.credit.load(Ordering::Relaxed)).max(0);
        let held = self.held.load(Ordering::Relaxed);
        let given = held.min(room);
        let left = (held - given).min(rows(self.max_size));
        self.held.fetch_sub(held - left, Ordering::Relaxed);
        self.credit.fetch_add(given, Ordering::Relaxed);
    }

    fn change_credit(&self, change: impl Fn(i64) -> i64) {
        let change = |credit| Some(change(credit));
        // It is never refused.
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).ok();
    }

    /// Sets aside what is missing. Bytes that writes can count on, whoever else fills the disk.
    fn look_at_blocks(&self) -> u64 {
        let mut reserve = self.reserve.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Ok(stat) = rustix::fs::statvfs(&self.path) else { return 0 };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        self.free.store(free, Ordering::Relaxed);
        if self.wanted == 0 {
            return free;
        }
        let left = reserve.top_up(free);
        self.is_backed.store(left >= enough(self.wanted), Ordering::Relaxed);
        self.is_critical.store(left < self.wanted / 2, Ordering::Relaxed);
        left
    }

    /// Bytes of rows the next group may have; `None`: nothing may be written.
    pub(super) fn room_for_group(&self) -> Option<usize> {
        if self.wanted == 0 {
            return Some(GROUP_BYTES);
        }
        room(self.look_at_blocks(), self.wanted)
    }

    /// What is answered when nothing may be written.
    pub(super) fn full(&self) -> Error {
        Error::DiskFull { free: self.free(), needed: self.min_free }
    }

    /// The commit thread wrote so many bytes of rows.
    pub(super) fn wrote(&self, bytes: usize, trees: &Trees) {
        let bytes = bytes as u64;
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if written >= LOOK_EVERY {
            self.look(trees);
        }
    }

    /// Expiry removed so many bytes of rows.
    pub(super) fn freed(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(0);
        let credit = if self.is_growing() { bytes / 4 } else { bytes };
        self.credit.fetch_add(credit, Ordering::Relaxed);
        self.held.fetch_add(bytes - credit, Ordering::Relaxed);
    }

    /// Whether sled's file has grown past `storage.max_size` by more than a quarter: it has to shrink.
    pub(super) fn is_growing(&self) -> bool {
        self.max_size > 0 && self.size.load(Ordering::Relaxed) > self.most()
    }

    /// Whether the disk has much more room than has to stay free.
    pub(super) fn is_ample(&self) -> bool {
        self.free() >= self.min_free.saturating_add(AMPLE)
    }

    /// Bytes the file may have before it has grown too much past `storage.max_size`.
    fn most(&self) -> u64 {
        self.max_size + self.max_size / 4
    }

    /// Whether something new may be accepted.
    pub fn check(&self) -> Result<()> {
        self.check_for(0)
    }

    /// Whether something new of so many bytes may be accepted.
    pub fn check_for(&self, bytes: usize) -> Result<()> {
        // Less than what is removed with it one day: else the credit would dwindle, and a store from
        // which everything has gone would take nothing more. What is too much is cut by `settle`.
        let price = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(MESSAGE_PRICE);
        let Some(over) = self.over_limit(bytes as u64) else {
            if self.has_limits() {
                // It may fill the room inside the file all the same.
                self.change_credit(|credit| (credit - price).max(0));
            }
            return Ok(());
        };
        let covered = self.credit.load(Ordering::Relaxed) >= price;
        if covered && self.is_backed.load(Ordering::Relaxed) {
            self.credit.fetch_sub(price, Ordering::Relaxed);
            Ok(())
        } else {
            Err(over)
        }
    }

    /// Whether attempts can be recorded: if not, none may be made.
    pub fn is_critical(&self) -> bool {
        self.is_critical.load(Ordering::Relaxed)
    }

    /// Whether room is short: then answers of receivers are not kept whole.
    pub(super) fn is_short(&self) -> bool {
        !self.is_backed.load(Ordering::Relaxed)
    }

    /// Bytes free where the store lies, at the latest look.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// The limit that is passed, if one is, counting `more` bytes that are to come.
    fn over_limit(&self, more: u64) -> Option<Error> {
        let pending = (self.written.load(Ordering::Relaxed) + more) * AMPLIFICATION;
        let free = self.free.load(Ordering::Relaxed).saturating_sub(pending);
        if free < self.min_free || (self.min_free > 0 && self.is_short()) {
            return Some(Error::DiskFull { free, needed: self.min_free });
        }
        let size = self.size.load(Ordering::Relaxed);
        if self.max_size > 0 && size + pending > self.max_size {
            return Some(Error::StoreFull { limit: self.max_size });
        }
        None
    }
}

/// Gives back what a process that ended had set aside for the store in `path`.
pub(super) fn give_back(path: &Path) -> Result<()> {
    let failed = |err| Error::io("giving back what was set aside", err);
    let file = File::options().write(true).open(path.join("db")).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.set_len(length).map_err(failed)
}

/// Blocks that are as good as all of them: they are topped up in larger pieces.
const fn enough(wanted: u64) -> u64 {
    wanted - wanted / 4
}

/// See [`Space::room_for_group`].
fn room(left: u64, wanted: u64) -> Option<usize> {
    if left >= enough(wanted) {
        return Some(GROUP_BYTES);
    }
    let part = left.checked_sub(FLOOR)? / GROWTH;
    Some(usize::try_from(part).map_or(GROUP_BYTES, |part| part.clamp(1, GROUP_BYTES)))
}

impl Reserve {
    /// Sets aside what is missing, as far as there is room for it. Bytes that are set aside; where
    /// nothing can be, what is `free` has to do.
    fn top_up(&mut self, free: u64) -> u64 {
        let Some(file) = &self.file else { return free };
        let Ok(stat) = rustix::fs::fstat(file) else { return 0 };
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        // Cutting a file off gives back what was set aside beyond it.
        if length < self.length || blocks.saturating_add(CUT_OFF) < self.blocks {
            self.backed_to = length;
        }
        (self.length, self.blocks) = (length, blocks);
        let left = self.backed_to.saturating_sub(length);
        if left >= enough(self.wanted) {
            return left;
        }
        // Only what is missing: when this fails, tmpfs takes back the whole range that was named.
        let from = self.backed_to.max(length);
        let mut piece = (length + self.wanted).saturating_sub(from);
        while piece >= LEAST_PIECE {
            if piece <= free {
                match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, piece) {
                    Ok(()) => {
                        self.backed_to = from + piece;
                        self.blocks += piece;
                        break;
                    }
                    Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => {
                        self.file = None;
                        return free;
                    }
                    Err(_) => {}
                }
            }
            piece /= 2;
        }
        self.backed_to.saturating_sub(length)
    }
}

#[cfg(test)]
#[path = "space_tests.rs"]
mod tests;
