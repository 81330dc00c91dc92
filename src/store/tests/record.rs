//! Recording attempts.

use super::super::attempts::EXPUNGED;
use super::super::pages::Range;
use super::*;
use crate::model::attempt::Attempt;
use crate::model::delivery::{QueueKey, Trigger};
use crate::model::endpoint::{DISABLE_AFTER, DisabledReason};
use crate::model::limits::RESPONSE_BYTES;

/// Every attempt of an endpoint, oldest first.
fn attempts(shelf: &Shelf, endpoint: EndpointId) -> Vec<Attempt> {
    let range = Range { after: None, before: None, descending: false, limit: 1000 };
    shelf.store.page_of_attempts_of_endpoint(endpoint, &range, |_| Ok(true)).unwrap().rows
}

#[test]
fn every_verdict_has_its_state() {
    let at = START.plus(seconds(5));
    for (verdict, state, counted, next) in [
        (Verdict::Succeeded, State::Succeeded, 1, None),
        (Verdict::Retry(at), State::Pending, 1, Some(at)),
        (Verdict::Exhausted, State::Exhausted, 1, None),
        (Verdict::Hold, State::Pending, 0, Some(START)),
    ] {
        let shelf = Shelf::new();
        let endpoint = shelf.endpoint();
        let message = shelf.accept();
        let row = shelf.row(endpoint);
        shelf.heard();
        let attempt = shelf.tried(endpoint, verdict).unwrap();
        let delivery = shelf.delivery(&message, endpoint).unwrap();
        assert_eq!(delivery.state, state, "{verdict:?}");
        assert_eq!(delivery.attempts, counted, "{verdict:?}");
        assert_eq!(delivery.next_due, next, "{verdict:?}");
        assert_eq!(delivery.first_attempt, Some(attempt), "{verdict:?}");
        assert_eq!(delivery.last_attempt, Some(attempt), "{verdict:?}");
        let told = shelf.heard().recorded;
        assert_eq!((told[0].key, told[0].next), (row.key, next), "{verdict:?}");
        match next {
            None => assert_eq!(shelf.queue(endpoint), [], "{verdict:?}"),
            Some(due) => {
                let row = shelf.row(endpoint);
                assert_eq!(row.key.due, due, "{verdict:?}");
                assert_eq!(row.attempt, counted + 1, "{verdict:?}");
            }
        }
        let kept = attempts(&shelf, endpoint);
        assert_eq!(kept.len(), 1, "{verdict:?}");
        assert_eq!(kept[0].id, attempt);
        assert_eq!(kept[0].succeeded, verdict == Verdict::Succeeded);
        shelf.check();
    }
}

#[test]
fn a_whole_schedule_is_walked_and_every_attempt_is_found_by_its_message() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let mut made = Vec::new();
    for n in 1..=4_u16 {
        shelf.pass(seconds(1));
        let row = shelf.row(endpoint);
        assert_eq!((row.attempt, row.trigger), (n, Trigger::Scheduled));
        let verdict = match n {
            4 => Verdict::Exhausted,
            _ => Verdict::Retry(shelf.store.now().plus(seconds(1))),
        };
        made.push(shelf.tried(endpoint, verdict).unwrap());
        shelf.check();
    }
    assert_eq!(shelf.delivery(&message, endpoint).unwrap().attempts, 4);
    let range = Range { after: None, before: None, descending: true, limit: 3 };
    let page = |range: &Range| {
        shelf.store.page_of_attempts_of_message(message.id, range, |_| Ok(true)).unwrap()
    };
    let first = page(&range);
    let second = page(&Range { before: first.more, ..range });
    let mut found: Vec<_> = first.rows.iter().chain(&second.rows).map(|a| a.id).collect();
    assert_eq!((first.rows.len(), second.more), (3, None));
    found.reverse();
    assert_eq!(found, made);
    for id in made {
        assert!(shelf.store.attempt_of_message(message.id, id).unwrap().is_some());
    }
}

#[test]
fn an_ordered_delivery_keeps_its_place_while_it_waits() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint_with(|endpoint| endpoint.ordered = true);
    let first = shelf.accept();
    let second = shelf.accept();
    let at = START.plus(seconds(60));
    let row = shelf.queue(endpoint)[0];
    shelf.record(AttemptResult { keeps_place: true, ..shelf.result(row, Verdict::Retry(at)) });
    let rows = shelf.queue(endpoint);
    assert_eq!(rows.iter().map(|row| row.key.message).collect::<Vec<_>>(), [first.id, second.id]);
    assert_eq!((rows[0].attempt, rows[0].not_before, rows[0].key), (2, at, row.key));
    let delivery = shelf.delivery(&first, endpoint).unwrap();
    assert_eq!((delivery.next_due, delivery.queued_due), (Some(at), Some(row.key.due)));
    shelf.check();
}

#[test]
fn a_retry_finds_a_free_place() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let row = shelf.row(endpoint);
    shelf.pass(seconds(5));
    let (app, id) = (shelf.app, message.id);
    let manual = shelf.write(move |writer| writer.resend(app, id, endpoint)).unwrap();
    shelf.record(shelf.result(row, Verdict::Retry(manual.due)));
    let rows = shelf.queue(endpoint);
    assert_eq!(rows.len(), 2, "the manual row was not overwritten");
    assert_eq!(rows[1].key.due.0, manual.due.0 + 1);
    shelf.check();
}

#[test]
fn a_manual_attempt_stands_beside_the_schedule() {
    for (verdict, scheduled_rows, state) in [
        (Verdict::Retry(Timestamp(START.0 + 9)), 1, State::Pending),
        (Verdict::Exhausted, 1, State::Pending),
        (Verdict::Succeeded, 0, State::Succeeded),
    ] {
        let shelf = Shelf::new();
        let endpoint = shelf.endpoint();
        let message = shelf.accept();
        let (app, id) = (shelf.app, message.id);
        shelf.pass(seconds(1));
        let key = shelf.write(move |writer| writer.resend(app, id, endpoint)).unwrap();
        let row = QueueRow { key, attempt: 1, trigger: Trigger::Manual, not_before: key.due };
        shelf.record(shelf.result(row, verdict));
        assert_eq!(shelf.queue(endpoint).len(), scheduled_rows, "{verdict:?}");
        let delivery = shelf.delivery(&message, endpoint).unwrap();
        assert_eq!((delivery.state, delivery.attempts), (state, 0), "{verdict:?}");
        shelf.check();
        if scheduled_rows == 1 {
            shelf.tried(endpoint, Verdict::Succeeded);
            assert_eq!(shelf.stands(&message, endpoint), State::Succeeded);
            assert_eq!(shelf.queue(endpoint), []);
            shelf.check();
        }
    }
}

#[test]
fn a_manual_failure_does_not_undo_a_success() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    shelf.tried(endpoint, Verdict::Succeeded);
    let (app, id) = (shelf.app, message.id);
    shelf.write(move |writer| writer.resend(app, id, endpoint)).unwrap();
    shelf.tried(endpoint, Verdict::Exhausted);
    assert_eq!(shelf.stands(&message, endpoint), State::Succeeded);
    assert_eq!(attempts(&shelf, endpoint).len(), 2);
    shelf.check();
}

#[test]
fn an_attempt_that_ends_after_a_cancellation_is_kept_and_changes_nothing() {
    for verdict in [Verdict::Succeeded, Verdict::Retry(START), Verdict::Exhausted, Verdict::Hold] {
        let shelf = Shelf::new();
        let endpoint = shelf.endpoint();
        let message = shelf.accept();
        let row = shelf.row(endpoint);
        let found = Arc::clone(&message);
        assert!(shelf.write(move |writer| writer.cancel(&found, endpoint)).unwrap());
        shelf.record(shelf.result(row, verdict));
        assert_eq!(shelf.stands(&message, endpoint), State::Cancelled, "{verdict:?}");
        assert_eq!(shelf.queue(endpoint), [], "{verdict:?}");
        let range = Range { after: None, before: None, descending: false, limit: 10 };
        let found = shelf.store.page_of_attempts_of_message(message.id, &range, |_| Ok(true));
        assert_eq!(found.unwrap().rows.len(), 1, "{verdict:?}");
        shelf.check();
    }
}

#[test]
fn responses_of_every_size_come_back_and_can_be_expunged() {
    for size in [0, 1, 4_000, 8_191, 8_192, 8_193, RESPONSE_BYTES] {
        let shelf = Shelf::new();
        let endpoint = shelf.endpoint();
        shelf.accept();
        let response: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let result = shelf.result(shelf.row(endpoint), Verdict::Exhausted);
        let id = shelf.record(AttemptResult { response: response.clone(), ..result }).unwrap();
        let kept = shelf.store.attempt(endpoint, id).unwrap().unwrap();
        assert!(kept.response == response, "{size} bytes");
        shelf.check();
        shelf.write(move |writer| writer.expunge_response(endpoint, id)).unwrap();
        let kept = shelf.store.attempt(endpoint, id).unwrap().unwrap();
        assert_eq!(kept.response, EXPUNGED.as_bytes());
        assert_eq!(shelf.rows("responses"), 0);
        shelf.check();
    }
}

#[test]
fn a_receiver_that_is_gone_is_disabled_at_once_and_keeps_what_waits() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    shelf.accept();
    let row = shelf.queue(endpoint)[0];
    let retry = Verdict::Retry(START.plus(seconds(5)));
    shelf.heard();
    shelf.record(AttemptResult { gone: true, status: Some(410), ..shelf.result(row, retry) });
    let found = shelf.store.directory().endpoint(endpoint).unwrap().unwrap();
    assert_eq!(found.disabled, Some(DisabledReason::Gone));
    assert_eq!(shelf.heard().changed, [endpoint]);
    assert_eq!(shelf.queue(endpoint).len(), 2);
    shelf.check();
    let shelf = shelf.reopened();
    let found = shelf.store.directory().endpoint(endpoint).unwrap().unwrap();
    assert_eq!(found.disabled, Some(DisabledReason::Gone), "after a restart too");
}

#[test]
fn five_days_of_nothing_but_failure_disable_an_endpoint() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.accept();
    let disabled = |shelf: &Shelf| {
        shelf.store.directory().endpoint(endpoint).unwrap().unwrap().disabled.clone()
    };
    shelf.tried(endpoint, Verdict::Hold);
    shelf.pass(DISABLE_AFTER);
    shelf.tried(endpoint, Verdict::Hold);
    assert_eq!(disabled(&shelf), None, "five days to the millisecond");
    shelf.change(endpoint, |endpoint| endpoint.url = "https://example.com/other".to_owned());
    let shelf = shelf.reopened();
    shelf.pass(Duration::from_millis(1));
    shelf.tried(endpoint, Verdict::Hold);
    assert_eq!(disabled(&shelf), Some(DisabledReason::Failing), "whatever was edited meanwhile");
    assert_eq!(shelf.queue(endpoint).len(), 1, "nothing is dropped");
    // Whoever enables it again gives it five days more.
    shelf.change(endpoint, |endpoint| endpoint.disabled = None);
    shelf.tried(endpoint, Verdict::Hold);
    assert_eq!(disabled(&shelf), None);
    shelf.check();
}

#[test]
fn a_success_and_our_own_network_do_not_count_as_failing() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let hold = |shelf: &Shelf, blames_endpoint| {
        let row = shelf.queue(endpoint)[0];
        shelf.record(AttemptResult { blames_endpoint, ..shelf.result(row, Verdict::Hold) });
    };
    shelf.accept();
    shelf.accept();
    hold(&shelf, false);
    assert_eq!(shelf.rows("endpoint_health"), 0);
    hold(&shelf, true);
    assert_eq!(shelf.rows("endpoint_health"), 1);
    let row = shelf.queue(endpoint)[0];
    shelf.record(shelf.result(row, Verdict::Succeeded));
    assert_eq!(shelf.rows("endpoint_health"), 0);
    shelf.pass(DISABLE_AFTER + seconds(1));
    hold(&shelf, true);
    assert!(shelf.store.directory().endpoint(endpoint).unwrap().unwrap().is_active());
    shelf.check();
}

#[test]
fn counts_are_of_the_span_that_was_asked_for() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    for verdict in [Verdict::Succeeded, Verdict::Exhausted, Verdict::Succeeded] {
        shelf.accept();
        shelf.tried(endpoint, verdict);
        shelf.pass(seconds(60));
    }
    shelf.accept();
    let count = |from: u64, to: u64| {
        let at = |s| START.plus(seconds(s));
        let counts = shelf.store.count_endpoint(endpoint, at(from), at(to)).unwrap();
        (counts.succeeded, counts.failed, counts.waiting)
    };
    assert_eq!(count(0, 180), (2, 1, 1));
    assert_eq!(count(60, 120), (0, 1, 1));
    assert_eq!(count(120, 60), (0, 0, 1), "a span that ends before it begins");
}

#[test]
fn a_row_that_leads_to_no_message_can_be_dropped() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let (app, id) = (shelf.app, message.id);
    shelf.pass(seconds(1));
    let key: QueueKey = shelf.write(move |writer| writer.resend(app, id, endpoint)).unwrap();
    shelf.pass(RETENTION + seconds(1));
    shelf.store.expire_messages(app).unwrap();
    assert_eq!(shelf.row(endpoint).key, key, "a resend outlives its message");
    shelf.check();
    shelf.heard();
    shelf
        .write(move |writer| {
            writer.drop_queue_row(&key);
            Ok(())
        })
        .unwrap();
    assert_eq!(shelf.queue(endpoint), []);
    assert_eq!(shelf.heard().recorded[0].key, key);
    shelf.check();
}
