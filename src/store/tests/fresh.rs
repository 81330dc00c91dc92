//! Fresh deliveries: in batches on disk, by themselves in memory, and never lost or doubled.

use super::super::fresh::{self, ENDED_BYTES, FRESH_FOR, MOST_BATCHES, MOST_ENDED, MOST_FRESH};
use super::super::keys;
use super::super::tidy::STEP;
use super::super::trees::Tree;
use super::super::writer::{LARGE_FREED, Rows};
use super::*;
use crate::model::delivery::Trigger;

/// Something that writes a group of its own, and nothing of the queue.
fn another_group(shelf: &Shelf) {
    shelf.endpoint();
}

#[test]
fn what_succeeds_at_once_never_has_a_row_of_its_own() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    for _ in 0..3 {
        shelf.accept();
    }
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (0, 3));
    assert_eq!(shelf.store.queue_length(), 3);
    shelf.check();
    for row in shelf.queue(endpoint) {
        shelf.record(shelf.result(row, Verdict::Succeeded));
        assert_eq!(shelf.rows("queue"), 0);
    }
    assert_eq!((shelf.store.queue_length(), shelf.rows("fresh")), (0, 0));
    shelf.check();
}

#[test]
fn a_batch_goes_with_the_last_of_its_rows() {
    let shelf = Shelf::new();
    let endpoints = [shelf.endpoint(), shelf.endpoint()];
    shelf.accept();
    assert_eq!(shelf.rows("fresh"), 1, "one for both");
    shelf.tried(endpoints[0], Verdict::Succeeded);
    assert_eq!(shelf.rows("fresh"), 1);
    let shelf = shelf.reopened();
    assert_eq!((shelf.queue(endpoints[0]).len(), shelf.queue(endpoints[1]).len()), (0, 1));
    shelf.tried(endpoints[1], Verdict::Succeeded);
    assert_eq!(shelf.rows("fresh"), 0);
    shelf.check();
}

#[test]
fn what_waits_for_long_gets_a_row_of_its_own() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    let before = shelf.queue(endpoint);
    shelf.pass(FRESH_FOR.checked_sub(Duration::from_millis(1)).unwrap());
    another_group(&shelf);
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (0, 1));
    shelf.pass(Duration::from_millis(1));
    another_group(&shelf);
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (1, 0));
    assert_eq!(shelf.queue(endpoint), before, "the same row, once");
    shelf.check();
}

#[test]
fn past_the_most_they_get_rows_of_their_own_at_once() {
    let shelf = Shelf::new();
    for _ in 0..100 {
        shelf.endpoint();
    }
    for _ in 0..=MOST_FRESH / 100 {
        shelf.accept();
    }
    let past = (MOST_FRESH / 100 + 1) * 100 - MOST_FRESH;
    assert_eq!(shelf.rows("queue"), past);
    assert_eq!(shelf.store.queue_length(), MOST_FRESH + past);
    shelf.check();
}

#[test]
fn what_is_to_be_delivered_later_is_not_fresh() {
    let shelf = Shelf::new();
    shelf.endpoint();
    let later = shelf.store.now().plus(seconds(5));
    shelf.try_accept(NewMessage { deliver_at: Some(later), ..new_message(b"{}") }).unwrap();
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (1, 0));
}

#[test]
fn what_one_row_keeps_on_disk_has_a_limit() {
    let shelf = Shelf::new();
    let (slow, quick) = (shelf.endpoint(), shelf.endpoint());
    for _ in 0..=MOST_BATCHES {
        shelf.accept();
        shelf.tried(quick, Verdict::Succeeded);
    }
    assert_eq!((shelf.rows("fresh"), shelf.rows("queue")), (MOST_BATCHES, 1));
    assert_eq!(shelf.queue(slow).len(), MOST_BATCHES + 1);
    shelf.check();
}

#[test]
fn after_a_step_back_of_the_clock_nothing_stays_here() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    shelf.set(START.minus(seconds(3600)));
    another_group(&shelf);
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (1, 0));
    assert_eq!(shelf.queue(endpoint).len(), 1);
    shelf.check();
}

#[test]
fn an_ordered_endpoint_has_its_rows_in_one_place() {
    let shelf = Shelf::new();
    shelf.endpoint_with(|endpoint| endpoint.ordered = true);
    shelf.accept();
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (1, 0));
}

fn cancel(shelf: &Shelf, message: &Message, endpoint: EndpointId) {
    let message = message.clone();
    assert!(shelf.write(move |writer| writer.cancel(&message, endpoint)).unwrap());
}

fn recover(shelf: &Shelf, message: &Message, endpoint: EndpointId) {
    let message = message.clone();
    assert!(shelf.write(move |writer| writer.recover(&message, endpoint)).unwrap());
}

/// Accepts a message and cancels it in the same group.
fn accept_and_cancel(
    writer: &mut Writer<'_>,
    app: AppId,
    endpoint: EndpointId,
) -> Result<Arc<Message>> {
    let message = writer.accept(app, new_message(b"{}"))?;
    assert!(writer.cancel(&message, endpoint)?);
    Ok(message)
}

/// What may happen to a fresh delivery: what is done with its row, and how many rows it has then.
type Fate = fn(&Shelf, &Message, EndpointId);

const FATES: [(&str, Fate, usize); 10] = [
    ("nothing", |_, _, _| {}, 1),
    ("it succeeds", |s, _, e| assert!(s.tried(e, Verdict::Succeeded).is_some()), 0),
    ("it is exhausted", |s, _, e| assert!(s.tried(e, Verdict::Exhausted).is_some()), 0),
    (
        "it is tried again",
        |s, _, e| assert!(s.tried(e, Verdict::Retry(START.plus(seconds(9)))).is_some()),
        1,
    ),
    ("it is held", |s, _, e| assert!(s.tried(e, Verdict::Hold).is_some()), 1),
    (
        "it is tried again in its place",
        |s, _, e| {
            let result = s.result(s.row(e), Verdict::Retry(START.plus(seconds(9))));
            s.record(AttemptResult { keeps_place: true, ..result });
        },
        1,
    ),
    ("it is cancelled", cancel, 0),
    (
        "it is cancelled and sent anew in the same moment",
        |s, m, e| {
            cancel(s, m, e);
            recover(s, m, e);
        },
        1,
    ),
    (
        "it is sent by hand, in vain",
        |s, m, e| {
            s.pass(Duration::from_millis(1));
            let (app, id) = (s.app, m.id);
            let key = s.write(move |w| w.resend(app, id, e)).unwrap();
            let row = s.queue(e).into_iter().find(|row| row.key == key).unwrap();
            s.record(s.result(row, Verdict::Exhausted));
        },
        1,
    ),
    ("its endpoint is deleted", |s, _, e| s.change(e, |endpoint| endpoint.deleted = true), 0),
];

#[test]
fn a_restart_finds_what_waits_and_nothing_that_ended() {
    for (name, happens, waits) in FATES {
        let shelf = Shelf::new();
        let (endpoint, other) = (shelf.endpoint(), shelf.endpoint());
        let message = shelf.accept();
        happens(&shelf, &message, endpoint);
        // The other delivery keeps the batch on disk.
        assert_eq!(shelf.rows("fresh"), 1, "{name}");
        let before = shelf.queue(endpoint);
        shelf.check();
        let shelf = shelf.reopened();
        assert_eq!(shelf.queue(endpoint).len(), waits, "{name}");
        if name != "its endpoint is deleted" {
            assert_eq!(shelf.queue(endpoint), before, "{name}");
        }
        assert_eq!(shelf.queue(other).len(), 1, "{name}");
        shelf.check();
        shelf.pass(FRESH_FOR);
        another_group(&shelf);
        assert_eq!(shelf.rows("fresh"), 0, "{name}");
        assert_eq!(shelf.queue(endpoint).len(), waits, "{name}");
        shelf.check();
    }
}

#[test]
fn batches_of_which_nothing_is_left_go_in_small_steps() {
    let shelf = Shelf::new();
    let endpoints: Vec<_> = (0..100).map(|_| shelf.endpoint()).collect();
    let left = 20;
    (0..left).for_each(|_| drop(shelf.accept()));
    let bytes = shelf.store.shared.trees.tree(Tree::Fresh).first().unwrap().unwrap().1.len();
    let at_once = ENDED_BYTES / bytes;
    assert_eq!(at_once, 6);
    for endpoint in endpoints {
        shelf.change(endpoint, |endpoint| endpoint.deleted = true);
    }
    let shelf = shelf.reopened();
    // Ids begin anew with the shelf's entropy.
    shelf.pass(seconds(1));
    for before in (0..=left).rev().step_by(at_once) {
        assert_eq!(shelf.rows("fresh"), before);
        another_group(&shelf);
    }
    assert_eq!(shelf.rows("fresh"), 0);
    shelf.check();
}

#[test]
fn batches_of_which_nothing_is_left_share_the_room_with_what_expires() {
    let shelf = Shelf::new();
    let endpoints: Vec<_> = (0..100).map(|_| shelf.endpoint()).collect();
    (0..16).for_each(|_| drop(shelf.accept()));
    for endpoint in endpoints {
        shelf.change(endpoint, |endpoint| endpoint.deleted = true);
    }
    let shelf = shelf.reopened();
    let ended = |freed: usize| {
        let mut rows = Rows::default();
        rows.note_freed(freed);
        drop(shelf.store.shared.fresh.settle(&mut rows, &[], shelf.store.now(), true));
        rows.counts().0
    };
    assert_eq!(ended(ENDED_BYTES / 2), 3);
    assert_eq!(ended(ENDED_BYTES), 1, "one goes always");
    assert_eq!(ended(0), 6);
    assert_eq!(ended(LARGE_FREED), 6, "a large group takes as many");
}

#[test]
fn only_so_many_batches_go_at_once_however_small_they_are() {
    let shelf = Shelf::new();
    let (endpoint, left) = (shelf.endpoint(), 10);
    (0..MOST_ENDED + left).for_each(|_| drop(shelf.accept()));
    shelf.change(endpoint, |endpoint| endpoint.deleted = true);
    let shelf = shelf.reopened();
    // Ids begin anew with the shelf's entropy.
    shelf.pass(seconds(1));
    for expected in [left, 0] {
        another_group(&shelf);
        assert_eq!(shelf.rows("fresh"), expected);
    }
    shelf.check();
}

/// What a group makes of the removal of these endpoints' rows.
fn settled(shelf: &Shelf, ended: &[EndpointId], may_move: bool) -> Rows {
    let mut rows = Rows::default();
    for row in ended.iter().map(|endpoint| shelf.row(*endpoint)) {
        rows.set(Tree::Queue, (&keys::queue(&row.key)[..]).into(), None);
    }
    drop(shelf.store.shared.fresh.settle(&mut rows, &[], shelf.store.now(), may_move));
    rows
}

#[test]
fn what_is_never_written_counts_for_nothing_and_a_batch_that_goes_frees_its_bytes() {
    let shelf = Shelf::new();
    let (endpoint, other) = (shelf.endpoint(), shelf.endpoint());
    shelf.accept();
    let rows = settled(&shelf, &[endpoint], true);
    assert_eq!((rows.counts(), rows.bytes(), rows.freed()), ((0, 0), 0, 0));
    // The number of the batch is its key.
    let rows = settled(&shelf, &[endpoint, other], true);
    assert_eq!((rows.counts(), rows.bytes()), ((1, 0), 8));
    assert!((2 * keys::QUEUE_BYTES..3 * keys::QUEUE_BYTES).contains(&rows.freed()));
}

#[test]
fn a_batch_frees_what_it_has_on_disk_also_when_little_of_it_is_left() {
    let shelf = Shelf::new();
    let (endpoint, _other) = (shelf.endpoint(), shelf.endpoint());
    for _ in 0..3 {
        shelf.accept();
        shelf.tried(endpoint, Verdict::Succeeded);
    }
    let shelf = shelf.reopened();
    let rows = settled(&shelf, &[], false);
    assert_eq!((rows.counts(), rows.freed()), ((0, 0), 0), "without room nothing moves");
    let rows = settled(&shelf, &[], true);
    // Three rows move, three batches go.
    assert_eq!(rows.counts(), (6, 0));
    assert!((6 * keys::QUEUE_BYTES..7 * keys::QUEUE_BYTES).contains(&rows.freed()));
}

#[test]
fn batches_that_go_are_no_reason_to_tidy_up() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.store.shared.tidy.freed(STEP * 1024, false);
    shelf.accept();
    shelf.tried(endpoint, Verdict::Succeeded);
    assert_eq!((shelf.rows("fresh"), shelf.rows("tidy")), (0, 0));
    assert!(!shelf.store.tidy().unwrap());
    assert_eq!(shelf.rows("tidy"), usize::try_from(STEP).unwrap(), "a step was due");
}

#[test]
fn what_was_accepted_and_cancelled_in_one_group_is_nowhere() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let app = shelf.app;
    shelf.write(move |writer| accept_and_cancel(writer, app, endpoint)).unwrap();
    assert_eq!((shelf.store.queue_length(), shelf.rows("fresh")), (0, 0));
    shelf.check();
}

#[test]
fn what_took_the_place_of_a_new_row_is_not_taken_for_it() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let app = shelf.app;
    shelf
        .write(move |writer| {
            let message = accept_and_cancel(writer, app, endpoint)?;
            writer.resend(app, message.id, endpoint)
        })
        .unwrap();
    assert_eq!(shelf.row(endpoint).trigger, Trigger::Manual);
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (1, 0));
    shelf.check();
}

#[test]
fn what_is_sent_anew_in_the_same_moment_goes_once_and_for_all() {
    let shelf = Shelf::new();
    let (endpoint, _other) = (shelf.endpoint(), shelf.endpoint());
    let message = shelf.accept();
    cancel(&shelf, &message, endpoint);
    recover(&shelf, &message, endpoint);
    let shelf = shelf.reopened();
    assert!(fresh::faults(&shelf.store.shared).unwrap().is_empty());
    shelf.tried(endpoint, Verdict::Succeeded);
    let shelf = shelf.reopened();
    assert_eq!(shelf.queue(endpoint), []);
}

#[test]
fn rows_here_and_in_the_tree_are_read_in_order() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    // Three that moved into the tree, one that is fresh and due before them.
    for _ in 0..2 {
        shelf.accept();
        shelf.pass(FRESH_FOR);
    }
    shelf.accept();
    shelf.set(START.minus(seconds(1)));
    shelf.accept();
    assert_eq!((shelf.rows("queue"), shelf.rows("fresh")), (3, 1));
    let due: Vec<_> = shelf.queue(endpoint).iter().map(|row| row.key.due).collect();
    let at = |s| START.plus(seconds(s));
    assert_eq!(due, [START.minus(seconds(1)), at(0), at(1), at(2)]);
    // A row that is in both for a moment is read once.
    let key = keys::queue(&shelf.queue(endpoint)[0].key);
    let value = shelf.store.shared.fresh.row(&key).unwrap();
    shelf.store.shared.trees.tree(Tree::Queue).insert(key, value).unwrap();
    assert_eq!(shelf.queue(endpoint).len(), 4);
    assert_eq!(shelf.store.queue_first(endpoint, false).unwrap(), Some(START.minus(seconds(1))));
}

#[test]
fn the_queue_of_an_endpoint_that_was_deleted_is_found_here_too() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    shelf.change(endpoint, |endpoint| endpoint.deleted = true);
    assert_eq!(shelf.store.orphaned_queues().unwrap(), [endpoint]);
    while shelf.store.drain_deleted(endpoint).unwrap() {}
    assert_eq!(shelf.store.orphaned_queues().unwrap(), []);
    assert_eq!(shelf.rows("fresh"), 0);
}
