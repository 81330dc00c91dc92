//! Opening a store: anew, again, and when it must not be.

use super::super::trees::Tree;
use super::super::{Error, commit};
use super::*;

/// Opens what the shelf's folder holds, after `spoil` had its way with it.
fn open_spoilt(spoil: impl FnOnce(&Shelf)) -> Result<Store> {
    let shelf = Shelf::new();
    spoil(&shelf);
    shelf.store.close().unwrap();
    let Shelf { store, clock, folder, .. } = shelf;
    drop(store);
    Store::open(options(folder.path().join("store"), &clock), Box::new(|_| ()))
}

fn meta(shelf: &Shelf, schema: &[u8]) {
    shelf.store.shared.trees.tree(Tree::Meta).insert(b"schema", schema).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let refused = open_spoilt(|shelf| meta(shelf, &7_u32.to_be_bytes())).err();
    assert!(matches!(refused, Some(Error::Newer { found: 7, known: 2 })), "{refused:?}");
    let text = refused.unwrap().to_string();
    assert_eq!(text, "store has schema 7, this posthaste knows up to 2: use a newer posthaste");
}

#[test]
fn damage_is_said_with_its_place() {
    let put = |shelf: &Shelf, tree, key: &[u8], value: &[u8]| {
        shelf.store.shared.trees.tree(tree).insert(key, value).unwrap();
    };
    for (name, spoil, expected) in [
        (
            "a schema that is no number",
            Box::new(move |shelf: &Shelf| meta(shelf, b"one")) as Box<dyn FnOnce(&Shelf)>,
            "meta",
        ),
        (
            "an application under a short key",
            Box::new(move |shelf| put(shelf, Tree::Applications, b"short", &[1])),
            "applications",
        ),
        (
            "an endpoint that cannot be read",
            Box::new(move |shelf| put(shelf, Tree::Endpoints, &[1; 40], &[1, 2, 3])),
            "endpoints",
        ),
        (
            "an endpoint of a later version",
            Box::new(move |shelf| put(shelf, Tree::Endpoints, &[1; 40], &[9])),
            "version 9",
        ),
        (
            "an event type whose name is no text",
            Box::new(move |shelf| put(shelf, Tree::EventTypes, &[255; 25], &[1])),
            "event_types",
        ),
        (
            "a batch of deliveries under a short key",
            Box::new(move |shelf| put(shelf, Tree::Fresh, &[1; 7], &[1])),
            "fresh",
        ),
        (
            "a batch of deliveries that was cut off",
            Box::new(move |shelf| put(shelf, Tree::Fresh, &[1; 8], &[1; 48])),
            "fresh",
        ),
        (
            "health of something else",
            Box::new(move |shelf| put(shelf, Tree::EndpointHealth, &[1; 19], &[1])),
            "endpoint_health",
        ),
    ] {
        let refused = open_spoilt(spoil).err().unwrap_or_else(|| panic!("{name} was taken"));
        assert!(matches!(refused, Error::Corrupt { .. }), "{name}: {refused:?}");
        assert!(refused.to_string().contains(expected), "{name}: {refused}");
    }
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let shelf = Shelf::new();
    let path = shelf.folder.path().join("store");
    let refused = Store::open(options(path.clone(), &shelf.clock), Box::new(|_| ())).err();
    assert!(matches!(&refused, Some(Error::Locked(at)) if *at == path), "{refused:?}");
}

#[test]
fn half_a_snapshot_is_removed_before_it_is_read() {
    let shelf = Shelf::new();
    shelf.accept();
    let half = shelf.folder.path().join("store").join("snap.0000000000ff.generating");
    std::fs::write(&half, b"half").unwrap();
    let shelf = shelf.reopened();
    assert!(!half.exists());
    assert_eq!(shelf.rows("messages"), 1);
}

#[test]
fn what_an_interrupted_first_open_left_does_no_harm() {
    let folder = temporary();
    let half = folder.path().join("store.new");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("db"), b"half").unwrap();
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    let path = folder.path().join("store");
    Store::open(options(path.clone(), &clock), Box::new(|_| ())).unwrap();
    assert!(path.join("db").exists() && !half.exists());
}

#[test]
fn a_closed_store_takes_nothing_and_keeps_what_it_had() {
    let folder = temporary();
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    let path = folder.path().join("store");
    let threaded = |path: &Path| {
        let options = Options { threaded: true, ..options(path.to_path_buf(), &clock) };
        Store::open(options, Box::new(|_| ())).unwrap()
    };
    let store = threaded(&path);
    let app = store.write_and_wait(|w| w.put_application(new_application(w))).unwrap().id;
    for _ in 0..100 {
        // Nobody waits for these: closing does.
        store.write_lazily(move |w| w.accept(app, new_message(b"{}")), drop);
    }
    store.close().unwrap();
    let refused = store.write_and_wait(move |w| w.accept(app, new_message(b"{}")));
    assert!(matches!(refused, Err(Error::Closing)), "{refused:?}");
    drop(store);
    let store = threaded(&path);
    let report = store.check().unwrap();
    assert_eq!(report.rows.iter().find(|(name, _)| *name == "messages").unwrap().1, 100);
    assert!(report.is_clean());
}

#[test]
fn too_many_waiting_writes_are_refused_and_said_so() {
    let folder = temporary();
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    let path = folder.path().join("store");
    let options = Options { threaded: true, ..options(path, &clock) };
    let store = Store::open(options, Box::new(|_| ())).unwrap();
    // The first piece of work holds the commit thread until the test lets go.
    let (go, held) = std::sync::mpsc::channel::<()>();
    let (started, waits) = std::sync::mpsc::channel::<()>();
    let wait_for_it = move |_: &mut Writer<'_>| {
        started.send(()).unwrap();
        held.recv().ok();
        Ok(())
    };
    store.write(wait_for_it, drop);
    waits.recv_timeout(seconds(20)).unwrap();
    let refused = Arc::new(AtomicU64::new(0));
    for _ in 0..commit::WAITING_WRITES + 3 {
        let refused = Arc::clone(&refused);
        store.write(
            |_| Ok(()),
            move |done| {
                if matches!(done, Err(Error::Busy)) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            },
        );
    }
    assert_eq!(refused.load(Ordering::Relaxed), 3);
    let lazy = Arc::clone(&refused);
    store.write_lazily(
        |_| Ok(()),
        move |done: Result<()>| {
            if done.is_ok() {
                lazy.store(100, Ordering::Relaxed);
            }
        },
    );
    go.send(()).unwrap();
    store.close().unwrap();
    assert_eq!(refused.load(Ordering::Relaxed), 100, "what nobody waits for is never refused");
}

/// Small groups are made to last by one thread and large ones by another: what they tell is in the
/// order of the commits all the same, and every write is answered after all it could see lasts.
#[test]
fn groups_of_all_sizes_tell_in_order() {
    let folder = temporary();
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    let options = Options { threaded: true, ..options(folder.path().join("store"), &clock) };
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let tell = move |events: Events| {
        let ids = events.accepted.iter().map(|accepted| accepted.message.id);
        heard.lock().unwrap().extend(ids);
    };
    let store = Store::open(options, Box::new(tell)).unwrap();
    let app = store.write_and_wait(|w| w.put_application(new_application(w))).unwrap().id;
    let endpoint = move |w: &mut Writer<'_>| w.put_endpoint(new_endpoint(w, app));
    store.write_and_wait(endpoint).unwrap();
    let (sender, answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for burst in [1, 3, 30, 100] {
            let (store, sender) = (&store, sender.clone());
            scope.spawn(move || {
                for _ in 0..1000 / burst {
                    for _ in 0..burst {
                        let sender = sender.clone();
                        let work =
                            move |w: &mut Writer<'_>| Ok(w.accept(app, new_message(b"{}"))?.id);
                        store.write(work, move |done| sender.send(done.unwrap()).unwrap());
                    }
                    // Nothing to write, but it has seen what was written before it.
                    store.write_and_wait(|_| Ok(())).unwrap();
                }
            });
        }
    });
    store.close().unwrap();
    drop(sender);
    let answered: Vec<_> = answered.iter().collect();
    let told = told.lock().unwrap();
    assert_eq!(answered.len(), 1000 + 999 + 990 + 1000);
    assert!(told.is_sorted());
    assert_eq!(*told, answered);
}

#[test]
fn work_is_done_at_the_time_it_comes_however_long_nothing_came() {
    let folder = temporary();
    let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
    let options = Options { threaded: true, ..options(folder.path().join("store"), &clock) };
    let store = Store::open(options, Box::new(|_| ())).unwrap();
    for later in [0, 5_000, 60_000] {
        clock.0.store(START.0 + later, Ordering::Relaxed);
        let now = store.write_and_wait(|writer| Ok(writer.now())).unwrap();
        assert_eq!(now, Timestamp(START.0 + later));
    }
    store.close().unwrap();
}
