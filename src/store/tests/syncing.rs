//! What sled writes by itself when somebody reads lasts soon, whoever it is that reads.

use super::super::trees::Tree;
use super::super::writer::Rows;
use super::super::{Sync, commit, trees};
use super::*;

/// Rows that are left in pages that many others have gone from.
const LEFT: u64 = 1000;

/// Options of a store that waits for the disk.
fn on_disk(folder: &tempfile::TempDir, threaded: bool) -> Options {
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    Options { sync: Sync::Disk, threaded, ..options(folder.path().join("store"), &clock) }
}

/// A store where reading makes sled join pages; keys of the rows in them.
fn with_small_pages(options: Options) -> (Store, Vec<[u8; 8]>) {
    let store = Store::open(options, Box::new(|_| ())).unwrap();
    let trees = &store.shared.trees;
    let tree = trees.tree(Tree::Tidy);
    let keys = (0..3 * LEFT).map(u64::to_be_bytes);
    keys.clone().for_each(|key| drop(tree.insert(key, vec![7; 100]).unwrap()));
    trees.flush().unwrap();
    let (left, gone): (Vec<_>, Vec<_>) = keys.partition(|key| u64::from_be_bytes(*key) % 3 == 0);
    gone.iter().for_each(|key| drop(tree.remove(key).unwrap()));
    trees.flush().unwrap();
    (store, left)
}

/// Waits until the disk was waited for once more.
fn wait_for_sync(store: &Store, before: u64) {
    let begun = std::time::Instant::now();
    while store.disk_syncs() == before {
        assert!(begun.elapsed() < seconds(20), "nobody made it last");
        std::thread::yield_now();
    }
}

fn read_all(store: &Store) {
    assert_eq!(store.shared.trees.tree(Tree::Tidy).iter().count() as u64, LEFT);
}

#[test]
fn while_nothing_is_written() {
    let folder = temporary();
    drop(with_small_pages(on_disk(&folder, false)));
    let store = Store::open(on_disk(&folder, true), Box::new(|_| ())).unwrap();
    let before = store.disk_syncs();
    read_all(&store);
    wait_for_sync(&store, before);
    store.close().unwrap();
}

#[test]
fn while_the_store_is_opened() {
    let folder = temporary();
    let (store, keys) = with_small_pages(on_disk(&folder, false));
    let before = store.disk_syncs();
    assert_eq!(store.shared.trees.walk(Tree::Tidy).count(), keys.len());
    assert!(store.disk_syncs() - before >= 10);
}

#[test]
fn before_a_group_of_many_rows_always() {
    for (rows, syncs) in [(255, 0), (256, 1)] {
        let folder = temporary();
        let store = Store::open(on_disk(&folder, false), Box::new(|_| ())).unwrap();
        let mut group = Rows::default();
        let keys = (0..rows).map(u64::to_be_bytes);
        keys.for_each(|key| group.set(Tree::Tidy, (&key[..]).into(), Some((&[8][..]).into())));
        store.shared.trees.flush().unwrap();
        let before = store.disk_syncs();
        group.apply(&store.shared.trees).unwrap();
        assert_eq!(store.disk_syncs() - before, syncs, "{rows}");
    }
}

#[test]
fn while_a_group_waits_for_company() {
    let folder = temporary();
    let (store, keys) = with_small_pages(on_disk(&folder, false));
    drop(store);
    let store = Arc::new(Store::open(on_disk(&folder, true), Box::new(|_| ())).unwrap());
    let (sender, answered) = std::sync::mpsc::channel();
    let (before, asked) = (store.disk_syncs(), Arc::clone(&store));
    let reads = move |writer: &mut Writer<'_>| {
        keys.iter().try_for_each(|key| writer.get(Tree::Tidy, key).map(drop))
    };
    store.write_lazily(reads, move |_| sender.send(asked.disk_syncs()).unwrap());
    assert!(answered.recv_timeout(seconds(20)).unwrap() > before, "only after the group");
    store.close().unwrap();
}

#[test]
fn while_a_group_is_staged() {
    let folder = temporary();
    let (store, keys) = with_small_pages(on_disk(&folder, false));
    store.gather();
    let jobs = keys.chunks(keys.len() / commit::SYNC_JOBS).map(<[_]>::to_vec);
    for keys in jobs {
        let reads = move |writer: &mut Writer<'_>| {
            keys.iter().try_for_each(|key| writer.get(Tree::Tidy, key).map(drop))
        };
        store.write(reads, |done| done.unwrap());
    }
    let before = store.disk_syncs();
    store.do_gathered().unwrap();
    assert!(store.disk_syncs() > before, "nothing was written, but much was read");
}

#[test]
fn while_the_rows_of_a_group_are_read_ahead() {
    let folder = temporary();
    let (store, keys) = with_small_pages(on_disk(&folder, false));
    let mut rows = Rows::default();
    for key in &keys {
        rows.set(Tree::Tidy, (&key[..]).into(), Some((&[8; 100][..]).into()));
    }
    let before = store.disk_syncs();
    rows.apply(&store.shared.trees).unwrap();
    let syncs = store.disk_syncs() - before;
    assert!(
        (10..=1 + LEFT / trees::SYNC_ROWS as u64).contains(&syncs),
        "{syncs}: not once for all, nor for each row"
    );
}
