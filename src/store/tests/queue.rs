//! The head of a queue, as the scheduler reads it.

use super::super::queue::Head;
use super::*;
use crate::model::delivery::QueueKey;

/// Three messages, a second apart, and the keys of their rows.
fn three(shelf: &Shelf, endpoint: EndpointId) -> Vec<QueueKey> {
    for _ in 0..3 {
        shelf.accept();
        shelf.pass(seconds(1));
    }
    shelf.queue(endpoint).iter().map(|row| row.key).collect()
}

fn keys(found: &Head) -> Vec<QueueKey> {
    found.rows.iter().map(|row| row.key).collect()
}

#[test]
fn what_is_due_is_read_in_order_up_to_the_limit() {
    let shelf = Shelf::new();
    let (endpoint, other) = (shelf.endpoint(), shelf.endpoint());
    let all = three(&shelf, endpoint);
    let at = |s| START.plus(seconds(s));
    let none = HashSet::new();
    for (now, limit, rows, next) in [
        (START.minus(seconds(1)), 9, 0, Some(at(0))),
        (at(0), 9, 1, Some(at(1))),
        (at(1), 9, 2, Some(at(2))),
        (at(2), 9, 3, None),
        (at(9), 2, 2, Some(at(2))),
        (at(9), 0, 0, Some(at(0))),
    ] {
        for ordered in [false, true] {
            let found = shelf.store.queue_head(endpoint, now, &none, ordered, limit).unwrap();
            assert_eq!(keys(&found), all[..rows], "at {now} up to {limit}, ordered: {ordered}");
            assert_eq!(found.next, next, "at {now} up to {limit}, ordered: {ordered}");
        }
    }
    assert!(shelf.queue(other).iter().all(|row| row.key.endpoint == other));
}

#[test]
fn what_is_held_is_passed_over() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let all = three(&shelf, endpoint);
    let held: HashSet<_> = [all[0], all[2]].into();
    let found = shelf.store.queue_head(endpoint, shelf.store.now(), &held, false, 9).unwrap();
    assert_eq!((keys(&found), found.next), (vec![all[1]], None));
    let everything: HashSet<_> = all.into_iter().collect();
    let found = shelf.store.queue_head(endpoint, shelf.store.now(), &everything, false, 9).unwrap();
    assert_eq!((keys(&found), found.next), (vec![], None));
}

#[test]
fn a_row_that_keeps_its_place_blocks_only_an_ordered_queue() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint_with(|endpoint| endpoint.ordered = true);
    let all = three(&shelf, endpoint);
    let at = shelf.store.now().plus(seconds(60));
    let first = shelf.queue(endpoint)[0];
    let result = shelf.result(first, Verdict::Retry(at));
    shelf.record(AttemptResult { keeps_place: true, ..result });
    let none = HashSet::new();
    let now = shelf.store.now();
    let found = shelf.store.queue_head(endpoint, now, &none, true, 9).unwrap();
    assert_eq!((keys(&found), found.next), (vec![], Some(at)));
    assert_eq!(shelf.store.queue_first(endpoint, true).unwrap(), Some(at));
    let found = shelf.store.queue_head(endpoint, now, &none, false, 9).unwrap();
    assert_eq!((keys(&found), found.next), (all[1..].to_vec(), Some(at)));
    let found = shelf.store.queue_head(endpoint, at, &none, true, 9).unwrap();
    assert_eq!(keys(&found), all);
}

#[test]
fn an_empty_queue_has_no_first() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    assert_eq!(shelf.store.queue_first(endpoint, false).unwrap(), None);
    assert_eq!(shelf.store.queue_first(endpoint, true).unwrap(), None);
    shelf.accept();
    assert_eq!(shelf.store.queue_first(endpoint, false).unwrap(), Some(START));
    assert_eq!(shelf.store.queue_first(endpoint, true).unwrap(), Some(START));
    assert_eq!(shelf.store.queue_length(), 1);
}
