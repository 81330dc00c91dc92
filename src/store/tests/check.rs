//! The checker finds what does not fit: each fault is made by hand, one at a time.

use super::super::keys;
use super::super::trees::Tree;
use super::*;
use crate::model::delivery::QueueKey;
use crate::model::id::MessageId;
use crate::model::task::Work;

/// Two messages: one that waits for its second try, one that has succeeded.
struct Made {
    shelf: Shelf,
    endpoint: EndpointId,
    waits: Arc<Message>,
    done: Arc<Message>,
}

fn made() -> Made {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let new =
        |id: &str| NewMessage { event_id: Some(id.to_owned()), ..new_message(&vec![b'x'; 50_000]) };
    let record = |verdict| {
        let row = *shelf.queue(endpoint).last().unwrap();
        let result = shelf.result(row, verdict);
        shelf.record(AttemptResult { response: vec![b'y'; 16_000], ..result });
    };
    let waits = shelf.try_accept(new("waits")).unwrap();
    record(Verdict::Hold);
    record(Verdict::Retry(START.plus(seconds(5))));
    shelf.pass(seconds(60));
    let done = shelf.try_accept(new("done")).unwrap();
    record(Verdict::Succeeded);
    shelf.check();
    Made { shelf, endpoint, waits, done }
}

impl Made {
    fn put(&self, tree: Tree, key: &[u8], value: &[u8]) {
        self.shelf.store.shared.trees.tree(tree).insert(key, value).unwrap();
    }

    fn take(&self, tree: Tree, key: &[u8]) -> sled::IVec {
        self.shelf.store.shared.trees.tree(tree).remove(key).unwrap().expect("it was there")
    }

    fn take_first(&self, tree: Tree) {
        let tree = self.shelf.store.shared.trees.tree(tree);
        tree.pop_min().unwrap().expect("it was there");
    }

    fn waiting_row(&self) -> QueueKey {
        self.shelf.row(self.endpoint).key
    }
}

/// Makes a fault.
type Spoil = fn(&Made);

/// What is done to a sound store, and what the checker says of it.
const FAULTS: [(&str, Spoil, &str); 24] = [
    (
        "a task that runs and is not listed",
        |m| {
            let org = OrgId::default_org();
            m.shelf.write(move |w| w.start_task(org, Work::EventTypeUsage)).unwrap();
            m.take_first(Tree::TasksRunning);
        },
        "runs but is not listed",
    ),
    (
        "a task that is listed and is none",
        |m| m.put(Tree::TasksRunning, &[1; 20], &[2; 20]),
        "leads to no running task",
    ),
    (
        "a batch of fresh deliveries lost",
        |m| {
            m.shelf.accept();
            m.take_first(Tree::Fresh);
        },
        "a restart would lose it",
    ),
    (
        "a fresh delivery with a row",
        |m| {
            m.shelf.accept();
            let row = m.shelf.queue(m.endpoint).pop().unwrap();
            let key = keys::queue(&row.key);
            let value = m.shelf.store.shared.fresh.row(&key).unwrap();
            m.put(Tree::Queue, &key, &value);
        },
        "in a batch and has a row",
    ),
    (
        "a queue row lost",
        |m| drop(m.take(Tree::Queue, &keys::queue(&m.waiting_row()))),
        "never be sent",
    ),
    (
        "a delivery lost",
        |m| drop(m.take(Tree::Deliveries, &keys::delivery(m.done.id, m.endpoint))),
        "neither queued nor recorded",
    ),
    (
        "a message lost",
        |m| drop(m.take(Tree::Messages, &keys::message(m.shelf.app, m.waits.id))),
        "has no message",
    ),
    ("a chunk of a payload lost", |m| m.take_first(Tree::Payloads), "chunk 0 is missing"),
    ("a chunk of a response lost", |m| m.take_first(Tree::Responses), "chunk 0 is missing"),
    ("an attempt lost", |m| m.take_first(Tree::Attempts), "is not kept"),
    ("an index row lost", |m| m.take_first(Tree::AttemptsByMessage), "not found by its message"),
    (
        "an event id lost",
        |m| drop(m.take(Tree::EventIds, &keys::named(&m.shelf.app.0, "done"))),
        "does not lead to it",
    ),
    (
        "an event id of nothing",
        |m| m.put(Tree::EventIds, &keys::named(&m.shelf.app.0, "x"), &[1; 20]),
        "leads to no message",
    ),
    (
        "an index row of nothing",
        |m| m.put(Tree::AttemptsByMessage, &keys::pair(&[1; 20], &[2; 20]), &[3; 20]),
        "leads to no attempt",
    ),
    (
        "a chunk of a payload of nothing",
        |m| m.put(Tree::Payloads, &keys::chunk(&[1; 20], 0), b"x"),
        "payloads: 1 rows belong to nothing",
    ),
    (
        "endpoints of nothing",
        |m| m.put(Tree::MessageEndpoints, &keys::chunk(&[1; 20], 0), &[1; 20]),
        "message_endpoints: 1 rows belong to nothing",
    ),
    (
        "a chunk of a response of nothing",
        |m| m.put(Tree::Responses, &keys::chunk(&[1; 20], 0), b"x"),
        "responses: 1 rows belong to nothing",
    ),
    (
        "a moment of expiry of nothing",
        |m| {
            let key = keys::timed(START, m.shelf.app, MessageId([1; 20]));
            m.put(Tree::PayloadExpiry, &key, b"");
        },
        "payload_expiry: a row leads to no message",
    ),
    (
        "health of nobody",
        |m| m.put(Tree::EndpointHealth, &[1; 20], &super::super::codec::encode(&7_u64)),
        "leads to no endpoint",
    ),
    (
        "a delivery that has ended and is queued",
        |m| {
            let row = m.take(Tree::Queue, &keys::queue(&m.waiting_row()));
            let due = START.plus(seconds(60));
            let key = QueueKey { endpoint: m.endpoint, due, message: m.done.id };
            m.put(Tree::Queue, &keys::queue(&key), &row);
        },
        "its delivery has ended",
    ),
    (
        "a delivery that is queued twice",
        |m| {
            let key = m.waiting_row();
            let row = m.take(Tree::Queue, &keys::queue(&key));
            m.put(Tree::Queue, &keys::queue(&key), &row);
            m.put(Tree::Queue, &keys::queue(&QueueKey { due: START, ..key }), &row);
        },
        "stands in another place",
    ),
    (
        "a queue row of no message",
        |m| {
            let key = m.waiting_row();
            let row = m.take(Tree::Queue, &keys::queue(&key));
            m.put(Tree::Queue, &keys::queue(&key), &row);
            let key = QueueKey { message: MessageId([1; 20]), ..key };
            m.put(Tree::Queue, &keys::queue(&key), &row);
        },
        "has no message",
    ),
    ("a key of a wrong length", |m| m.put(Tree::Queue, &[1; 7], &[1]), "wrong length"),
    (
        "a value of a later version",
        |m| m.put(Tree::Deliveries, &keys::delivery(m.done.id, m.endpoint), &[9]),
        "version 9",
    ),
];

#[test]
fn every_kind_of_fault_is_found() {
    for (name, spoil, expected) in FAULTS {
        let made = made();
        spoil(&made);
        let faults = made.shelf.store.check().unwrap().faults;
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{name}: {faults:?}");
    }
}

#[test]
fn a_page_that_outgrew_its_place_is_found() {
    let made = made();
    std::fs::write(made.shelf.store.path().join("blobs").join("12345"), b"x").unwrap();
    let faults = made.shelf.store.check().unwrap().faults;
    assert_eq!(faults, ["blobs/ holds 1 files: a value grew past a page"]);
}

#[test]
fn a_long_list_of_faults_is_cut() {
    let made = made();
    for n in 0..super::super::check::MAX_FAULTS + 50 {
        let key = keys::named(&made.shelf.app.0, &n.to_string());
        made.put(Tree::EventIds, &key, &[1; 20]);
    }
    let report = made.shelf.store.check().unwrap();
    assert_eq!(report.faults.len(), super::super::check::MAX_FAULTS);
    assert!(!report.is_clean());
}
