//! Room on the disk: refuse before accepting, never after.
//!
//! sled does not come back from a write that found the disk full, so the store never lets it come
//! to that. Below `storage.min_free`, or above `storage.max_size`, nothing new is accepted, while
//! what is there is still delivered, recorded and expired. For those writes blocks are set aside
//! beyond the end of sled's file (`fallocate`, the file's length stays): they cannot be taken by
//! whoever else fills the disk. When even they run out, deliveries wait: an attempt that cannot be
//! recorded must not be made.
//!
//! sled's file seldom shrinks. What expiry removes makes room inside of it, so a store that is at
//! its limit accepts as much as has been removed since; if that lets the file grow by a quarter more,
//! a quarter of it, until sled has tidied up.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rustix::fs::FallocateFlags;

use super::error::{Error, Result};
use super::trees::Trees;

/// Bytes on disk for a byte of rows, until sled has tidied up.
const AMPLIFICATION: u64 = 2;
/// Most bytes that are set aside.
const MOST_RESERVE: u64 = 16 * 1024 * 1024;
/// What is set aside is this part of `storage.min_free`.
const RESERVE_PART: u64 = 4;
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
    /// Bytes that may be accepted although a limit is passed.
    credit: AtomicI64,
    reserve: Mutex<Reserve>,
    /// All that is to be set aside is.
    is_backed: AtomicBool,
    /// Not even attempts can be recorded safely.
    is_critical: AtomicBool,
}

/// Blocks beyond the end of sled's file.
struct Reserve {
    file: Option<File>,
    wanted: u64,
    /// The file is backed by blocks up to here.
    backed_to: u64,
    length: u64,
}

impl Space {
    pub(super) fn new(path: &Path, min_free: u64, max_size: u64) -> Self {
        let wanted = (min_free / RESERVE_PART).min(MOST_RESERVE);
        let file = File::options().write(true).open(path.join("db")).ok().filter(|_| wanted > 0);
        Self {
            path: path.to_path_buf(),
            min_free,
            max_size,
            free: AtomicU64::new(u64::MAX),
            size: AtomicU64::new(0),
            written: AtomicU64::new(0),
            credit: AtomicI64::new(0),
            reserve: Mutex::new(Reserve { file, wanted, backed_to: 0, length: 0 }),
            is_backed: AtomicBool::new(true),
            is_critical: AtomicBool::new(false),
        }
    }

    /// Looks at the disk. Called a few times a second by the janitor, and by the commit thread when
    /// it has written much.
    pub(super) fn look(&self, trees: &Trees) {
        let mut reserve = self.reserve.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (backed, left) = reserve.top_up();
        self.is_backed.store(backed, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        if let Ok(stat) = rustix::fs::statvfs(&self.path) {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            self.free.store(free, Ordering::Relaxed);
            let is_critical = reserve.wanted > 0 && left.saturating_add(free) < reserve.wanted / 2;
            self.is_critical.store(is_critical, Ordering::Relaxed);
        }
        if self.max_size > 0 {
            self.size.store(trees.size_on_disk(), Ordering::Relaxed);
        }
        if self.over_limit(0).is_none() {
            self.credit.store(0, Ordering::Relaxed);
        }
    }

    /// The commit thread wrote so many bytes of rows.
    pub(super) fn wrote(&self, bytes: usize, trees: &Trees) {
        let bytes = bytes as u64;
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.credit.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        if written >= LOOK_EVERY {
            self.look(trees);
        }
    }

    /// Expiry removed so many bytes of rows.
    pub(super) fn freed(&self, bytes: usize) {
        let is_growing = self.max_size > 0
            && self.size.load(Ordering::Relaxed) > self.max_size + self.max_size / 4;
        let credit = if is_growing { bytes / 4 } else { bytes };
        self.credit.fetch_add(i64::try_from(credit).unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether something new may be accepted.
    pub fn check(&self) -> Result<()> {
        self.check_for(0)
    }

    /// Whether something new of so many bytes may be accepted.
    pub fn check_for(&self, bytes: usize) -> Result<()> {
        let Some(over) = self.over_limit(bytes as u64) else { return Ok(()) };
        let credit = self.credit.load(Ordering::Relaxed);
        let covered = credit > i64::try_from(bytes).unwrap_or(i64::MAX);
        if covered && self.is_backed.load(Ordering::Relaxed) { Ok(()) } else { Err(over) }
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

impl Reserve {
    /// Sets aside what is missing. Whether all of it is there, and how many bytes are.
    fn top_up(&mut self) -> (bool, u64) {
        let Some(file) = &self.file else { return (true, 0) };
        let length = file.metadata().map_or(self.length, |metadata| metadata.len());
        if length < self.length {
            // Cutting a file off gives back what was set aside beyond it.
            self.backed_to = length;
        }
        self.length = length;
        let left = self.backed_to.saturating_sub(length);
        if left >= self.wanted - self.wanted / 4 {
            return (true, left);
        }
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, length, self.wanted) {
            Ok(()) => {
                self.backed_to = length + self.wanted;
                (true, self.wanted)
            }
            // This file system cannot set anything aside: what is free has to do.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => {
                self.file = None;
                (true, 0)
            }
            Err(_) => (false, left),
        }
    }
}
