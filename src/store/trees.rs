//! The trees: one typed name per table, and how they are opened so that they stay open.

use std::path::{Path, PathBuf};

use sled::IVec;

use super::durable::{self, Barrier};
use super::error::{Error, Result};
use super::zeros;

macro_rules! trees {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A table. Its key and value are said at each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(super) enum Tree { $($(#[$doc])* $name),* }

        impl Tree {
            /// Every table there is.
            pub(super) const ALL: &'static [Tree] = &[$(Tree::$name),*];

            /// Its name on disk: never changed.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Tree::$name => $text),* }
            }
        }
    };
}

trees! {
    /// `name` → schema version and the like.
    Meta = "meta",
    /// `org_id‖app_id` → application.
    Applications = "applications",
    /// `app_id‖endpoint_id` → endpoint.
    Endpoints = "endpoints",
    /// `endpoint_id` → since when it has been failing; absent while it is well.
    EndpointHealth = "endpoint_health",
    /// `org_id‖name` → event type.
    EventTypes = "event_types",
    /// `app_id‖message_id` → header, and the payload behind it when small.
    Messages = "messages",
    /// `message_id‖chunk` → raw bytes of a larger payload.
    Payloads = "payloads",
    /// `message_id‖chunk` → endpoint ids, when there are too many for the header.
    MessageEndpoints = "message_endpoints",
    /// `expires_at‖app_id‖message_id` → nothing; only payloads that go before their message does.
    PayloadExpiry = "payload_expiry",
    /// `app_id‖eventId` → message id.
    EventIds = "event_ids",
    /// `bucket‖hash` → fingerprint, stored answer, when it expires.
    Idempotency = "idempotency",
    /// `message_id‖endpoint_id` → state; first written when an attempt is recorded.
    Deliveries = "deliveries",
    /// `endpoint_id‖due_at‖message_id` → attempt number, trigger.
    Queue = "queue",
    /// `number` → keys of queue rows that have none of their own yet.
    Fresh = "fresh",
    /// `endpoint_id‖attempt_id` → attempt, and its response behind it.
    Attempts = "attempts",
    /// `message_id‖attempt_id` → endpoint id.
    AttemptsByMessage = "attempts_by_message",
    /// `attempt_id‖chunk` → raw bytes of a larger response.
    Responses = "responses",
    /// `org_id‖task_id` → background task.
    Tasks = "tasks",
    /// `task_id` → its organisation; only while it runs.
    TasksRunning = "tasks_running",
    /// `task_id‖what` → what the task keeps: chunks of a payload, or counts.
    TaskRows = "task_rows",
    /// `app_id‖sink‖0‖consumer` → how far a consumer of the message log has come.
    Cursors = "cursors",
    /// `org_id‖source_id` → source.
    Sources = "sources",
    /// `source_id‖bucket‖hash` → body digest, message, when: what repetitions are recognised by.
    Seen = "seen",
    /// `source_id‖capture_id` → a refused request, but for its bytes.
    Refused = "refused",
    /// `capture_id‖chunk` → raw bytes of a refused request.
    RefusedBytes = "refused_bytes",
    /// `kind‖id` → nothing: what the configuration's files manage.
    Managed = "managed",
    /// `app_id‖digest` → a token or a session that was ended, and until when that has to be known.
    Ended = "ended",
    /// Rows that mean nothing: they are changed so that sled tidies.
    Tidy = "tidy",
}

/// The open trees, and what makes a flush last.
pub(super) struct Trees {
    db: sled::Db,
    handles: Vec<sled::Tree>,
    barrier: Barrier,
    path: PathBuf,
}

/// What sled writes by itself is made to last whenever so many rows were read: for a row it writes some
/// 1.5 KiB at the most (measured), and it takes a place again after a megabyte at the soonest.
pub(super) const SYNC_ROWS: usize = 32;

/// Bytes of one of sled's segments. Larger ones let memory run away under big groups (measured).
const SEGMENT_BYTES: usize = 512 * 1024;

/// Bytes a row may have. A leaf of sled's tree grows to 17 rows, and to 20 when it takes in a
/// neighbour that rows were removed from; past a quarter of a segment it goes into a file of its
/// own under `blobs/`, which sled neither syncs nor cleans. So a row is at most a 25th of that.
pub(super) const ROW_BYTES: usize = SEGMENT_BYTES / 4 / 25 / 1024 * 1024;

/// How often, and how far apart, a locked store is tried again: a second in all.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

impl Trees {
    /// Opens (or makes) the store in `path`, with `cache` bytes of page cache.
    pub(super) fn open(path: &Path, cache: u64, sync: super::Sync) -> Result<Self> {
        if !path.join("db").exists() {
            durable::make_whole(path, |fresh| {
                open_sled(fresh, cache)?.flush()?;
                Ok(())
            })?;
        }
        let db = open_when_free(path, cache)?;
        let mut handles = Vec::with_capacity(Tree::ALL.len());
        for tree in Tree::ALL {
            handles.push(db.open_tree(tree.name())?);
        }
        db.flush()?;
        super::io_threads::put_to_rest(&db);
        let barrier = Barrier::open(path, sync)?;
        barrier.make_files_last(path)?;
        Ok(Self { db, handles, barrier, path: path.to_path_buf() })
    }

    /// One table.
    pub(super) fn tree(&self, tree: Tree) -> &sled::Tree {
        #[expect(clippy::indexing_slicing, reason = "opened from Tree::ALL, in its order")]
        &self.handles[tree as usize]
    }

    /// All rows of a table, in order, while the store is opened: nobody else makes last then what reading them
    /// makes sled write.
    pub(super) fn walk(&self, tree: Tree) -> impl Iterator<Item = Result<(IVec, IVec)>> {
        self.tree(tree).iter().enumerate().map(|(seen, row)| {
            if seen % SYNC_ROWS == SYNC_ROWS - 1 {
                self.sync_own_writes()?;
            }
            Ok(row?)
        })
    }

    /// Makes all that was written last: on disk, whatever is killed and whenever the power goes
    /// (with [`super::Sync::Disk`]).
    pub(super) fn flush(&self) -> Result<()> {
        // sled hands all that was written to the system, and the disk has what the system has.
        self.db.flush()?;
        self.barrier.sync()
    }

    /// Makes last what sled wrote by itself since the last flush; costs nothing when that is nothing.
    /// Only for the commit thread, and before there is one: whoever else flushed would hide from it what does
    /// not last yet.
    ///
    /// A read may join pages that removals have left small, and for each of them sled moves another one.
    /// It takes their old places again a few segments later, which may be within the transaction that comes
    /// next, though no place that the transaction itself leaves. So this comes before each, in between
    /// where much is read, removed or written, and now and then while others read and nothing is written.
    /// What sled flushed because it had to read it back is not seen here, but by the next [`Trees::flush`],
    /// which comes before the transaction of a group of many rows.
    pub(super) fn sync_own_writes(&self) -> Result<()> {
        if self.db.flush()? > 0 {
            self.barrier.sync()?;
        }
        Ok(())
    }

    /// How often the disk was waited for since the store was opened.
    pub(super) fn syncs(&self) -> u64 {
        self.barrier.syncs.get()
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes on disk, as sled counts them.
    pub(super) fn size_on_disk(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

/// Opens a store whose last user in this process may still be letting go of it: sled's own threads
/// keep its lock for a moment after it was dropped. sled writes a snapshot when it opens: on a full
/// disk what was set aside has to be given back for it.
fn open_when_free(path: &Path, cache: u64) -> Result<sled::Db> {
    let mut tries = 0;
    let mut given_back = false;
    loop {
        match durable::clear_half_snapshots(path).and_then(|()| open_sled(path, cache)) {
            Err(Error::Locked(_)) if tries < LOCK_TRIES => tries += 1,
            Err(Error::NoRoom(_)) if !given_back => {
                given_back = true;
                super::space::give_back(path)?;
            }
            opened => return opened,
        }
        std::thread::sleep(LOCK_WAIT);
    }
}

fn open_sled(path: &Path, cache: u64) -> Result<sled::Db> {
    let _used = zeros::hold_used();
    sled::Config::new()
        .path(path)
        .cache_capacity(cache)
        .segment_size(SEGMENT_BYTES)
        // The commit thread flushes; sled's own timer would only race with it.
        .flush_every_ms(None)
        .open()
        .map_err(|err| open_error(path, &err))
}

fn open_error(path: &Path, err: &sled::Error) -> Error {
    if let sled::Error::Io(io) = err
        && io.to_string().contains("could not acquire lock")
    {
        return Error::Locked(path.to_path_buf());
    }
    if let sled::Error::Io(io) = err
        && io.kind() == std::io::ErrorKind::StorageFull
    {
        return Error::NoRoom(path.to_path_buf());
    }
    Error::io("opening it", format!("{}: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Dice;

    /// Files in `blobs/` after so many rows of `bytes` were put and removed in any order.
    fn blobs(bytes: usize, seed: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let trees = Trees::open(&path, 1 << 20, super::super::Sync::Os).unwrap();
        let tree = trees.tree(Tree::Payloads);
        let mut dice = Dice::new(seed);
        for round in 0..40 {
            for _ in 0..50 {
                let key = (dice.below(800) as u64).to_be_bytes();
                if dice.one_in(3) {
                    tree.remove(key).unwrap();
                } else {
                    tree.insert(key, vec![7; bytes]).unwrap();
                }
            }
            if round % 10 == 9 {
                tree.clear().unwrap();
            }
            trees.flush().unwrap();
        }
        std::fs::read_dir(path.join("blobs")).unwrap().count()
    }

    #[test]
    fn the_largest_rows_stay_in_their_pages_in_whatever_order() {
        for seed in 1..=3 {
            assert_eq!(blobs(ROW_BYTES, seed), 0, "seed {seed}");
        }
        assert!(blobs(2 * ROW_BYTES, 1) > 0, "rows of twice the size do not: the test can fail");
    }
}
