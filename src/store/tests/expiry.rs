//! What is old goes, and nothing of it stays.

use super::super::Error;
use super::super::expiry::STEP_MESSAGES;
use super::super::idempotency::{Answer, IdempotencyKey, KEPT_MS};
use super::super::messages::Payload;
use super::super::trees::Tree;
use super::*;
use crate::model::id::ID_BYTES;
use crate::model::task::{Span, Work};

/// Trees that a message and what was done for it leave rows in.
const TREES: [&str; 11] = [
    "messages",
    "payloads",
    "message_endpoints",
    "payload_expiry",
    "event_ids",
    "deliveries",
    "queue",
    "attempts",
    "attempts_by_message",
    "responses",
    "idempotency",
];

fn rows_left(shelf: &Shelf) -> Vec<(&'static str, usize)> {
    let rows = shelf.store.check().unwrap().rows;
    rows.into_iter().filter(|(name, rows)| TREES.contains(name) && *rows > 0).collect()
}

#[test]
fn a_message_goes_with_all_that_hangs_on_it() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf
        .try_accept(NewMessage {
            event_id: Some("e".to_owned()),
            payload_retention_hours: Some(900),
            ..new_message(&vec![b'x'; 50_000])
        })
        .unwrap();
    for _ in 0..3 {
        shelf.pass(seconds(1));
        let next = Verdict::Retry(shelf.store.now().plus(seconds(1)));
        let result = shelf.result(shelf.row(endpoint), next);
        shelf.record(AttemptResult { response: vec![b'y'; 12_000], ..result });
    }
    shelf.check();
    assert!(rows_left(&shelf).len() >= 7, "{:?}", rows_left(&shelf));
    shelf.pass(RETENTION + seconds(1));
    assert!(!shelf.store.expire_messages(shelf.app).unwrap());
    assert_eq!(rows_left(&shelf), []);
    shelf.check();
}

#[test]
fn what_is_not_old_enough_stays() {
    let shelf = Shelf::new();
    shelf.accept();
    shelf.pass(RETENTION);
    shelf.store.expire_messages(shelf.app).unwrap();
    assert_eq!(shelf.rows("messages"), 1, "to the millisecond");
    // Ids know their time to 4 ms.
    shelf.pass(Duration::from_millis(4));
    shelf.store.expire_messages(shelf.app).unwrap();
    assert_eq!(shelf.rows("messages"), 0);
}

#[test]
fn one_step_is_small_and_says_whether_there_is_more() {
    let shelf = Shelf::new();
    (0..=STEP_MESSAGES).for_each(|_| drop(shelf.accept()));
    shelf.pass(RETENTION + seconds(1));
    let young = shelf.accept();
    assert!(shelf.store.expire_messages(shelf.app).unwrap(), "there is more");
    assert_eq!(shelf.rows("messages"), 2);
    assert!(!shelf.store.expire_messages(shelf.app).unwrap());
    assert_eq!(shelf.rows("messages"), 1);
    assert!(shelf.store.message(shelf.app, young.id).unwrap().is_some());
    shelf.check();
}

#[test]
fn a_payload_may_go_before_its_message() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    for size in [10, 50_000] {
        let new = NewMessage { payload_retention_hours: Some(1), ..new_message(&vec![b'x'; size]) };
        let message = shelf.try_accept(new).unwrap();
        let payload =
            |shelf: &Shelf| shelf.store.message(shelf.app, message.id).unwrap().unwrap().1;
        shelf.pass(Duration::from_millis(3_599_999));
        shelf.store.expire_payloads().unwrap();
        assert!(matches!(payload(&shelf), Payload::Here(bytes) if bytes.len() == size));
        shelf.pass(Duration::from_millis(1));
        shelf.store.expire_payloads().unwrap();
        assert_eq!(payload(&shelf), Payload::Gone);
        assert_eq!(shelf.rows("payloads") + shelf.rows("payload_expiry"), 0);
        shelf.check();
    }
    assert_eq!(shelf.queue(endpoint).len(), 2, "the deliveries fail when they are due");
}

#[test]
fn a_longer_payload_retention_than_the_stores_changes_nothing() {
    let shelf = Shelf::new();
    let new = NewMessage { payload_retention_hours: Some(u32::MAX), ..new_message(b"{}") };
    let message = shelf.try_accept(new).unwrap();
    assert_eq!(message.payload_expires_at, START.plus(RETENTION));
    assert_eq!(shelf.rows("payload_expiry"), 0);
}

#[test]
fn the_queue_of_a_deleted_endpoint_is_drained() {
    let shelf = Shelf::new();
    let (gone, stays) = (shelf.endpoint(), shelf.endpoint());
    (0..5).for_each(|_| drop(shelf.accept()));
    assert!(!shelf.store.drain_deleted(gone).unwrap());
    assert_eq!(shelf.queue(gone).len(), 5, "not while it is there");
    shelf.change(gone, |endpoint| endpoint.deleted = true);
    assert_eq!(shelf.store.orphaned_queues().unwrap(), [gone]);
    assert!(!shelf.store.drain_deleted(gone).unwrap());
    assert_eq!(shelf.store.orphaned_queues().unwrap(), []);
    assert_eq!((shelf.queue(gone).len(), shelf.queue(stays).len()), (0, 5));
    shelf.check();
}

#[test]
fn answers_go_when_their_time_is_over() {
    let shelf = Shelf::new();
    let key = IdempotencyKey { hash: [1; 32], fingerprint: [2; 32] };
    let answer = || Answer::Body { status: 200, body: Vec::new() };
    shelf.write(move |writer| writer.once(Some(&key), |_| Ok(answer()))).unwrap();
    shelf.pass(Duration::from_millis(KEPT_MS - 1));
    shelf.store.expire_answers().unwrap();
    assert_eq!(shelf.rows("idempotency"), 1);
    // Rows lie in buckets of four hours.
    shelf.pass(seconds(4 * 3600 + 1));
    assert!(!shelf.store.expire_answers().unwrap());
    assert_eq!(shelf.rows("idempotency"), 0);
}

#[test]
fn one_step_takes_so_many_bytes_whatever_they_were() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    for n in 0..60 {
        shelf.accept();
        shelf.pass(seconds(1));
        let result = shelf.result(shelf.row(endpoint), Verdict::Succeeded);
        shelf.record(AttemptResult { response: vec![b'y'; 4_900], ..result });
        let key = IdempotencyKey { hash: [n; 32], fingerprint: [2; 32] };
        let answer = || Answer::Body { status: 200, body: vec![b'z'; 4_900] };
        shelf.write(move |writer| writer.once(Some(&key), |_| Ok(answer()))).unwrap();
    }
    let task = shelf.write(|writer| {
        let span = Span {
            app: AppId([1; ID_BYTES]),
            endpoint: EndpointId([1; ID_BYTES]),
            since: Timestamp(0),
            until: Timestamp(0),
        };
        let task = writer.put_finished_task(OrgId::default_org(), Work::Recover(span))?;
        writer.put_task_payload(task.id, &vec![b'p'; 400_000]);
        Ok(task.id)
    });
    task.unwrap();
    shelf.pass(RETENTION + seconds(100));
    // Some 294,000 bytes each, the task 400,000.
    let steps: [(&str, &dyn Fn() -> bool); 3] = [
        ("attempts", &|| shelf.store.expire_messages(shelf.app).unwrap()),
        ("idempotency", &|| shelf.store.expire_answers().unwrap()),
        ("task_rows", &|| shelf.store.expire_tasks().unwrap()),
    ];
    for (tree, step) in steps {
        assert!(step(), "{tree}: there is more");
        assert!(shelf.rows(tree) > 0, "{tree}: not all at once");
        assert!(!step(), "{tree}: that was the rest");
        assert_eq!(shelf.rows(tree), 0, "{tree}");
    }
    assert_eq!(shelf.rows("tasks"), 0);
    shelf.check();
}

#[test]
fn only_what_removes_much_waits_for_tidying_while_little_is_owed() {
    let shelf = Shelf::new();
    for _ in 0..10 {
        shelf.try_accept(new_message(&vec![b'x'; 50_000])).unwrap();
    }
    let tidied = || shelf.store.shared.trees.tree(Tree::Tidy).first().unwrap();
    shelf.pass(RETENTION + seconds(1));
    while shelf.store.expire_messages(shelf.app).unwrap() {}
    let with_expiry = tidied();
    assert!(with_expiry.is_some(), "expiry waits");
    shelf.accept();
    assert_eq!(tidied(), with_expiry, "a message does not");
    shelf.store.tidy().unwrap();
    assert_ne!(tidied(), with_expiry, "the janitor does");
}

#[test]
fn what_failed_frees_nothing() {
    let shelf = Shelf::new();
    for _ in 0..10 {
        shelf.try_accept(new_message(&vec![b'x'; 50_000])).unwrap();
    }
    let lost = shelf.write(|writer| {
        writer.reclaim_prefix(Tree::Payloads, &[])?;
        Err::<(), _>(Error::NotFound("anything"))
    });
    assert!(lost.is_err());
    shelf.accept();
    assert!(!shelf.store.tidy().unwrap());
    assert_eq!(shelf.rows("tidy"), 0, "nothing went, so there is nothing to tidy");
}

#[test]
fn what_went_is_tidied_up_after_and_the_rows_beside_are_written() {
    let shelf = Shelf::new();
    for _ in 0..60 {
        shelf.try_accept(new_message(&vec![b'x'; 50_000])).unwrap();
    }
    assert!(!shelf.store.tidy().unwrap(), "nothing went");
    assert_eq!(shelf.rows("tidy"), 0);
    shelf.pass(RETENTION + seconds(1));
    while shelf.store.expire_messages(shelf.app).unwrap() {}
    shelf.accept();
    while shelf.store.tidy().unwrap() {}
    let last = shelf.store.shared.trees.tree(Tree::Tidy).first().unwrap().unwrap().1;
    let steps = u64::from_be_bytes(*last.first_chunk().unwrap()) + 1;
    // 3,000,000 bytes owe a change for 512 each, and what was written has paid a part.
    assert!((25..70).contains(&steps), "{steps} steps");
    assert_eq!((shelf.rows("tidy"), shelf.rows("messages")), (128, 1));
    shelf.check();
}
