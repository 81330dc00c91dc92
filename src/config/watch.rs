//! Says when the configuration file, or a file in `conf.d` beside it, has new content.
//!
//! It watches the *folders*, because editors and config maps replace files rather than write into
//! them, waits until a burst of changes is over, and then compares the content: a touched file, an
//! editor's swap file or a change undone say nothing. It loads nothing and judges nothing; whoever
//! holds the other end of the channel calls [`super::load::load`] again. File events can be lost
//! (network disks, a folder replaced as a whole, a link into a folder elsewhere), so this is advice
//! and SIGHUP is the promise; the daemon sends SIGHUP into the same channel.
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Files in `conf.d` that are looked at. More than this is not a configuration.
pub const MAX_FILES: usize = 1_000;

/// The configuration should be loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadRequested;

/// How long to wait for a burst of changes to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settle {
    /// Nothing has changed for this long.
    pub quiet: Duration,
    /// Changes that never pause are acted upon after this long all the same.
    pub at_most: Duration,
}

impl Default for Settle {
    /// An editor's save is over in milliseconds; a copied folder takes longer, but not seconds.
    fn default() -> Self {
        Self { quiet: Duration::from_millis(200), at_most: Duration::from_secs(2) }
    }
}

/// Why the folder cannot be watched. The daemon can run on without.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The operating system refused to watch the folder.
    #[error("failed to watch {folder}; changes need a SIGHUP")]
    Folder {
        /// The folder of the configuration file.
        folder: PathBuf,
        /// The system's answer.
        source: notify::Error,
    },
    /// No thread could be started.
    #[error("failed to start the thread that watches the configuration")]
    Thread(#[source] std::io::Error),
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The thread may have ended by itself, when nobody listens any more.
        self.wake.send(Wake::Stop).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Sends into `reload` after each change of `file` or of `conf.d/*.toml` beside it.
///
/// What the files hold at the time of this call is the first known state. `file` need not exist,
/// its folder must.
pub fn watch(
    file: &Path,
    settle: Settle,
    reload: Sender<ReloadRequested>,
) -> Result<Watch, WatchError> {
    let places = Places::of(file);
    let refused = |source| WatchError::Folder { folder: places.folder.clone(), source };
    let (wake, wakes) = mpsc::channel();
    let events = wake.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost, so the content has to be looked at.
        if event.map_or(true, |event| may_change_content(event.kind)) {
            events.send(Wake::Changed).ok();
        }
    })
    .map_err(refused)?;
    watcher.watch(&places.folder, RecursiveMode::NonRecursive).map_err(refused)?;
    watch_conf_d(&mut watcher, &places);
    let known = places.fingerprint();
    let thread = std::thread::Builder::new()
        .name("config-watch".to_owned())
        .spawn(move || run(watcher, &places, known, settle, &wakes, &reload))
        .map_err(WatchError::Thread)?;
    Ok(Watch { wake, thread: Some(thread) })
}

/// The folder of more configuration beside a file.
pub fn conf_d(file: &Path) -> PathBuf {
    folder_of(file).join("conf.d")
}

enum Wake {
    Changed,
    Stop,
}

/// The thread: collects events until they pause, then compares.
fn run(
    mut watcher: RecommendedWatcher,
    places: &Places,
    mut known: u64,
    settle: Settle,
    wakes: &Receiver<Wake>,
    reload: &Sender<ReloadRequested>,
) {
    let mut burst = Burst::default();
    loop {
        let wake = match burst.wait(Instant::now(), settle) {
            None => wakes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => wakes.recv_timeout(wait),
        };
        match wake {
            Ok(Wake::Changed) => burst.note(Instant::now()),
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                burst = Burst::default();
                // The folder may be new, or may have been replaced, which ends the old watch.
                watch_conf_d(&mut watcher, places);
                let content = places.fingerprint();
                if content != known && reload.send(ReloadRequested).is_err() {
                    return;
                }
                known = content;
            }
        }
    }
}

/// A burst of changes: when it began and when it was last added to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Burst {
    times: Option<(Instant, Instant)>,
}

impl Burst {
    fn note(&mut self, now: Instant) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }

    /// How long until the burst counts as over; `None` when there is none.
    fn wait(&self, now: Instant, settle: Settle) -> Option<Duration> {
        let (first, last) = self.times?;
        let over = (last + settle.quiet).min(first + settle.at_most);
        Some(over.saturating_duration_since(now))
    }
}

/// Reading a file is an event too, and must not count: it would answer itself for ever.
fn may_change_content(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
        EventKind::Access(_) => false,
    }
}

fn watch_conf_d(watcher: &mut RecommendedWatcher, places: &Places) {
    if places.conf_d.is_dir() {
        // Refused only when the folder vanished again or the system is out of watches.
        watcher.watch(&places.conf_d, RecursiveMode::NonRecursive).ok();
    }
}

/// The places whose content counts.
struct Places {
    file: PathBuf,
    folder: PathBuf,
    conf_d: PathBuf,
}

impl Places {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), folder: folder_of(file), conf_d: conf_d(file) }
    }

    /// A hash of all content, links followed. A missing file differs from an empty one.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        content(&self.file).hash(&mut hasher);
        let entries = std::fs::read_dir(&self.conf_d).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .take(MAX_FILES)
            .collect();
        files.sort();
        for file in files {
            file.hash(&mut hasher);
            content(&file).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The content of a file up to the limit and one byte, which is where [`super::load`] refuses it.
fn content(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file).ok()?;
    file.take(super::limits::CONFIG_FILE + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, ModifyKind, RemoveKind};
    use std::fs;
    use std::os::unix::fs::symlink;

    const SETTLE: Settle =
        Settle { quiet: Duration::from_millis(30), at_most: Duration::from_millis(300) };
    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_burst_ends_when_it_pauses_and_at_the_latest_after_a_while() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut burst = Burst::default();
        assert_eq!(burst.wait(at(0), SETTLE), None);
        burst.note(at(0));
        assert_eq!(burst.wait(at(0), SETTLE), Some(Duration::from_millis(30)));
        burst.note(at(20));
        assert_eq!(burst.wait(at(25), SETTLE), Some(Duration::from_millis(25)));
        assert_eq!(burst.wait(at(50), SETTLE), Some(Duration::ZERO));
        (2..=15).for_each(|step| burst.note(at(step * 20)));
        assert_eq!(burst.wait(at(290), SETTLE), Some(Duration::from_millis(10)));
        assert_eq!(burst.wait(at(999), SETTLE), Some(Duration::ZERO));
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!may_change_content(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!may_change_content(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(!may_change_content(EventKind::Access(AccessKind::Read)));
        assert!(may_change_content(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(may_change_content(EventKind::Create(CreateKind::File)));
        assert!(may_change_content(EventKind::Modify(ModifyKind::Any)));
        assert!(may_change_content(EventKind::Remove(RemoveKind::Any)));
        assert!(may_change_content(EventKind::Other));
    }

    #[test]
    fn a_file_without_a_folder_lies_here() {
        assert_eq!(folder_of(Path::new("posthaste.toml")), Path::new("."));
        assert_eq!(conf_d(Path::new("/etc/p/p.toml")), Path::new("/etc/p/conf.d"));
    }

    /// A folder with a configuration file, watched.
    struct Scene {
        folder: tempfile::TempDir,
        reloads: Receiver<ReloadRequested>,
        watch: Watch,
    }

    impl Scene {
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            prepare(folder.path());
            let (reload, reloads) = mpsc::channel();
            let file = folder.path().join("posthaste.toml");
            let watch = watch(&file, SETTLE, reload).expect("watched");
            Self { folder, reloads, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Replaces a file the way a careful editor does.
        fn replace(&self, name: &str, text: &str) {
            let new = self.path("new~");
            fs::write(&new, text).expect("write");
            fs::rename(new, self.path(name)).expect("rename");
        }

        #[track_caller]
        fn expect_reload(&self, why: &str) {
            assert_eq!(self.reloads.recv_timeout(LIMIT), Ok(ReloadRequested), "{why}");
        }
    }

    fn write(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).expect("write");
    }

    #[test]
    fn a_replaced_or_rewritten_file_is_noticed() {
        let scene = Scene::new(|folder| write(folder, "posthaste.toml", "a"));
        scene.replace("posthaste.toml", "b");
        scene.expect_reload("renamed over");
        write(scene.folder.path(), "posthaste.toml", "c");
        scene.expect_reload("written into");
        fs::remove_file(scene.path("posthaste.toml")).expect("remove");
        scene.expect_reload("removed");
        write(scene.folder.path(), "posthaste.toml", "");
        scene.expect_reload("made anew, empty");
    }

    #[test]
    fn what_changes_no_content_is_silent() {
        let scene = Scene::new(|folder| write(folder, "posthaste.toml", "a"));
        write(scene.folder.path(), ".posthaste.toml.swp", "swap");
        write(scene.folder.path(), "posthaste.toml", "a");
        // Twice the longest time that a burst may take: a request for these would be here by now.
        let silence = scene.reloads.recv_timeout(SETTLE.at_most * 2);
        assert_eq!(silence, Err(RecvTimeoutError::Timeout));
        scene.replace("posthaste.toml", "b");
        scene.expect_reload("a real change");
        drop(scene.watch);
        assert_eq!(scene.reloads.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn a_config_map_swap_is_noticed() {
        let scene = Scene::new(|folder| {
            for (version, text) in [("..1", "a"), ("..2", "b")] {
                fs::create_dir(folder.join(version)).expect("mkdir");
                write(&folder.join(version), "posthaste.toml", text);
            }
            symlink("..1", folder.join("..data")).expect("link");
            symlink("..data/posthaste.toml", folder.join("posthaste.toml")).expect("link");
        });
        symlink("..2", scene.path("..data_tmp")).expect("link");
        fs::rename(scene.path("..data_tmp"), scene.path("..data")).expect("swap");
        scene.expect_reload("swapped");
    }

    #[test]
    fn conf_d_is_watched_even_when_it_comes_later() {
        let scene = Scene::new(|folder| write(folder, "posthaste.toml", "a"));
        for round in ["first", "second"] {
            fs::create_dir(scene.path("conf.d")).expect("mkdir");
            write(&scene.path("conf.d"), "10-shop.toml", "a");
            scene.expect_reload(round);
            write(&scene.path("conf.d"), "10-shop.toml", "b");
            scene.expect_reload(round);
            write(&scene.path("conf.d"), "notes.txt", "not ours");
            fs::remove_dir_all(scene.path("conf.d")).expect("remove");
            scene.expect_reload(round);
        }
    }

    #[test]
    fn a_missing_folder_is_an_error_with_a_way_out() {
        let (reload, _reloads) = mpsc::channel();
        let error = watch(Path::new("/nonexistent/p.toml"), SETTLE, reload).expect_err("missing");
        assert_eq!(error.to_string(), "failed to watch /nonexistent; changes need a SIGHUP");
    }

    #[test]
    fn no_file_beyond_the_limit_is_read_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let limit = usize::try_from(super::super::limits::CONFIG_FILE).expect("fits");
        for (length, read) in [(limit, limit), (limit + 1, limit + 1), (limit + 2, limit + 1)] {
            fs::write(folder.path().join("f"), vec![b'#'; length]).expect("write");
            assert_eq!(content(&folder.path().join("f")).map(|bytes| bytes.len()), Some(read));
        }
    }
}
