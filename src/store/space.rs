//! Room on the disk: refuse before accepting, never after.
//!
//! sled does not come back from a write that found the disk full, so the store never lets it come
//! to that: below `storage.min_free`, or above `storage.max_size`, nothing new is accepted, while
//! what is there is still delivered, recorded and expired.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Error, Result};
use super::trees::Trees;

/// The latest look at the disk.
pub struct Space {
    path: PathBuf,
    min_free: u64,
    max_size: u64,
    free: AtomicU64,
    size: AtomicU64,
}

impl Space {
    pub(super) fn new(path: &Path, min_free: u64, max_size: u64) -> Self {
        let free = AtomicU64::new(u64::MAX);
        Self { path: path.to_path_buf(), min_free, max_size, free, size: AtomicU64::new(0) }
    }

    /// Looks at the disk. Called a few times a second by the janitor.
    pub(super) fn look(&self, trees: &Trees) {
        if let Ok(stat) = rustix::fs::statvfs(&self.path) {
            self.free.store(stat.f_bavail.saturating_mul(stat.f_frsize), Ordering::Relaxed);
        }
        if self.max_size > 0 {
            self.size.store(trees.size_on_disk(), Ordering::Relaxed);
        }
    }

    /// Whether something new may be accepted.
    pub fn check(&self) -> Result<()> {
        let free = self.free.load(Ordering::Relaxed);
        if free < self.min_free {
            return Err(Error::DiskFull { free, needed: self.min_free });
        }
        if self.max_size > 0 && self.size.load(Ordering::Relaxed) >= self.max_size {
            return Err(Error::StoreFull { limit: self.max_size });
        }
        Ok(())
    }

    /// Bytes free where the store lies, at the latest look.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
}
