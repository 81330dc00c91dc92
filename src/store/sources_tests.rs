//! What is seen is written with the message and goes with its window; refusals stay in a ring.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::model::application::Application;
use crate::model::clock::Clock;
use crate::model::source::GENERIC;
use crate::store::Options;

const HOUR: u64 = 3600 * 1000;
const START: u64 = 1_790_000_000_000;

#[derive(Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct House {
    folder: tempfile::TempDir,
    clock: Arc<Hands>,
    store: Store,
    source: Arc<Source>,
}

fn open(folder: &std::path::Path, clock: &Arc<Hands>) -> Store {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let mut next = 0u8;
    let entropy = Box::new(move |buffer: &mut [u8]| {
        next = next.wrapping_add(1);
        buffer.fill(next);
    });
    let options = Options::trial(folder.join("store"), clock, entropy);
    Store::open(options, Box::new(drop)).unwrap()
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hands(AtomicU64::new(START)));
        let store = open(folder.path(), &clock);
        let source = store
            .write_and_wait(|writer| {
                let org = OrgId::default_org();
                let now = writer.now();
                let app = writer.put_application(Application {
                    name: "shop".to_owned(),
                    ..Application::new(writer.new_application_id(), org, now)
                })?;
                let id = writer.new_source_id();
                let mut source = Source::new(id, org, app.id, "token".to_owned(), now);
                source.uid = Some("door".to_owned());
                source.dedupe = Duration::from_millis(24 * HOUR);
                writer.put_source(source)
            })
            .unwrap();
        Self { folder, clock, store, source }
    }

    fn restart(mut self) -> Self {
        self.store.close().unwrap();
        drop(self.store);
        self.store = open(self.folder.path(), &self.clock);
        self
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    fn accept(&self, dedupe: Dedupe) -> Inbound {
        let source = Source::clone(&self.source);
        let headers = vec![("x-kept".to_owned(), "v".to_owned())];
        let work = move |writer: &mut Writer<'_>| {
            writer.accept_inbound(&source, Some(&dedupe), new(), headers)
        };
        self.store.write_and_wait(work).unwrap()
    }
}

fn new() -> NewMessage {
    NewMessage::new("a.b", bytes::Bytes::from_static(b"{}"))
}

fn dedupe(key: u8, body: u8) -> Dedupe {
    let window = Duration::from_millis(24 * HOUR);
    Dedupe {
        key: [key; DIGEST_BYTES],
        body: [body; DIGEST_BYTES],
        window,
        accept_other_body: false,
    }
}

fn message(kept: &Inbound) -> MessageId {
    match kept {
        Inbound::Accepted(message) => message.id,
        Inbound::Repeated(seen) | Inbound::Altered(seen) => seen.message,
    }
}

#[test]
fn a_repetition_is_recognised_after_a_restart_until_its_window_ends() {
    let house = House::new();
    let first = house.accept(dedupe(1, 1));
    assert!(matches!(&first, Inbound::Accepted(m) if m.headers == [("x-kept".into(), "v".into())]));
    let house = house.restart();
    assert_eq!(
        house.store.directory().source(house.source.id).unwrap(),
        Some(Arc::clone(&house.source))
    );
    house.pass(24 * HOUR - 1);
    let again = house.accept(dedupe(1, 1));
    assert!(matches!(again, Inbound::Repeated(_)), "{again:?}");
    assert_eq!(message(&again), message(&first));
    let (kept, _) = house.store.message(house.source.app, message(&first)).unwrap().unwrap();
    assert_eq!(kept.headers, [("x-kept".to_owned(), "v".to_owned())]);
    house.pass(1);
    assert!(matches!(house.accept(dedupe(1, 1)), Inbound::Accepted(_)));
    assert!(house.store.check().unwrap().is_clean());
}

#[test]
fn a_repetition_is_recognised_over_the_longest_window() {
    let house = House::new();
    let window = MAX_DEDUPE;
    let first = house.accept(Dedupe { window, ..dedupe(1, 1) });
    house.pass(millis(window) - 1);
    let again = house.accept(Dedupe { window, ..dedupe(1, 1) });
    assert!(matches!(again, Inbound::Repeated(_)), "{again:?}");
    assert_eq!(message(&again), message(&first));
    assert_eq!(house.store.known(house.source.id, &dedupe(1, 1)).unwrap(), None);
}

#[test]
fn another_body_under_the_same_id_is_told_apart() {
    let house = House::new();
    let first = house.accept(dedupe(1, 1));
    let altered = house.accept(dedupe(1, 2));
    assert_eq!(
        (matches!(altered, Inbound::Altered(_)), message(&altered)),
        (true, message(&first))
    );
    let signed = Dedupe { accept_other_body: true, ..dedupe(1, 2) };
    assert!(matches!(house.accept(signed), Inbound::Accepted(_)));
}

#[test]
fn work_that_fails_leaves_no_key_behind() {
    let house = House::new();
    let source = Source { app: AppId([9; 20]), ..Source::clone(&house.source) };
    let lost = house.store.write_and_wait(move |writer| {
        writer.accept_inbound(&source, Some(&dedupe(1, 1)), new(), Vec::new())
    });
    assert!(matches!(lost, Err(Error::NotFound("application"))));
    assert!(matches!(house.accept(dedupe(1, 1)), Inbound::Accepted(_)));
}

#[test]
fn what_was_seen_expires_from_the_front() {
    let house = House::new();
    // To the beginning of a bucket.
    house.pass(BUCKET_MS - START % BUCKET_MS);
    house.accept(dedupe(1, 1));
    house.pass(BUCKET_MS);
    house.accept(dedupe(2, 2));
    let rows = |house: &House| house.store.shared.trees.tree(Tree::Seen).len();
    house.store.expire_seen().unwrap();
    assert_eq!(rows(&house), 2, "the window begins in the bucket before");
    house.pass(24 * HOUR - 1);
    assert!(matches!(house.accept(dedupe(2, 2)), Inbound::Repeated(_)));
    house.store.expire_seen().unwrap();
    assert_eq!(rows(&house), 2);
    house.pass(1);
    house.store.expire_seen().unwrap();
    assert_eq!(rows(&house), 1);
    house.accept(dedupe(2, 2));
    assert!(matches!(house.accept(dedupe(2, 2)), Inbound::Repeated(_)));
    let source = Source { deleted: true, ..Source::clone(&house.source) };
    house.store.write_and_wait(|writer| writer.put_source(source)).unwrap();
    house.store.expire_seen().unwrap();
    assert_eq!(rows(&house), 0, "a deleted source leaves nothing");
}

#[test]
fn the_ring_keeps_the_newest_and_their_bytes() {
    let house = House::new();
    let refused = |n: usize| Refused {
        at: Timestamp(START),
        status: 401,
        code: format!("code_{n}"),
        detail: String::new(),
        hint: None,
        body_bytes: 5,
        request: vec![b'x'; 3 * CHUNK_BYTES + n],
    };
    let mut first = None;
    for n in 0..CAPTURES + 3 {
        let (id, refused) = (house.source.id, refused(n));
        let kept = house.store.write_and_wait(move |w| w.keep_refused(id, &refused)).unwrap();
        first = first.or(Some(kept));
    }
    let listed = house.store.refused(house.source.id).unwrap();
    assert_eq!(listed.len(), CAPTURES);
    let codes = (listed[0].1.code.as_str(), listed[CAPTURES - 1].1.code.as_str());
    assert_eq!(codes, (format!("code_{}", CAPTURES + 2).as_str(), "code_3"));
    let whole = house.store.refused_request(house.source.id, listed[0].0).unwrap().unwrap();
    assert_eq!(whole.request.len(), 3 * CHUNK_BYTES + CAPTURES + 2);
    assert_eq!(house.store.refused_request(house.source.id, first.unwrap()).unwrap(), None);
    assert_eq!(house.store.shared.trees.tree(Tree::RefusedBytes).len(), CAPTURES * 4);
    assert!(house.store.check().unwrap().is_clean());
    let lost = house.store.shared.trees.tree(Tree::RefusedBytes);
    let (chunk, bytes) = lost.first().unwrap().unwrap();
    lost.remove(&chunk).unwrap();
    assert_eq!(house.store.check().unwrap().faults.len(), 1, "a chunk is missing");
    lost.insert(chunk, bytes).unwrap();
    let app = house.source.app;
    let gone = house.store.write_and_wait(move |writer| {
        let tenant =
            writer.shared().directory.tenant(app)?.ok_or(Error::NotFound("application"))?;
        writer.put_application(Application { deleted: true, ..Application::clone(&tenant.app) })
    });
    gone.unwrap();
    assert_eq!(house.store.directory().source(house.source.id).unwrap(), None, "goes with its app");
    let left = || house.store.shared.trees.tree(Tree::RefusedBytes).len();
    assert!(house.store.expire_seen().unwrap(), "there is more");
    assert!(left() > 0, "three megabytes are too much for one step");
    while house.store.expire_seen().unwrap() {}
    assert_eq!(left(), 0);
}

#[test]
fn names_and_tokens_are_unique_and_records_small() {
    let house = House::new();
    let put = |change: &dyn Fn(&mut Source)| {
        let mut source = Source::clone(&house.source);
        change(&mut source);
        house.store.write_and_wait(move |writer| {
            let id = writer.new_source_id();
            writer.put_source(Source { id, ..source })
        })
    };
    let taken = |result: Result<Arc<Source>>, name: &str| {
        assert!(
            matches!(&result, Err(Error::Conflict { field, .. }) if *field == name),
            "{result:?}"
        );
    };
    taken(put(&|_| {}), "uid");
    taken(put(&|s| s.uid = None), "token");
    let free = |s: &mut Source| (s.uid, s.token) = (None, "other".to_owned());
    assert!(matches!(
        put(&|s| (free(s), s.app = AppId([9; 20])).1),
        Err(Error::NotFound("application"))
    ));
    let base = Source { uid: None, ..Source::clone(&house.source) }.text_bytes();
    let name = |extra: usize| "n".repeat(SOURCE_RECORD_BYTES - base + extra);
    assert!(matches!(put(&|s| (free(s), s.name = name(1)).1), Err(Error::Limit(_))));
    let made = put(&|s| (free(s), s.name = name(0)).1).unwrap();
    assert_eq!(made.provider, GENERIC);
    let found = house.store.directory().source_by_token("other").unwrap();
    assert_eq!(found.map(|s| s.id), Some(made.id));
}
