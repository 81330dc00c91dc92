//! What is kept in memory, and what is read back from the store.

use super::super::core::{RECORD_AGAIN, REFILL_ROWS, TOTAL_BUFFER, TOTAL_BUFFER_BYTES};
use super::super::lane::{LANE_BUFFER, WELL_BUFFER};
use super::*;
use crate::model::endpoint::DisabledReason;

#[test]
fn what_fits_is_sent_from_memory() {
    let mut desk = Desk::with(limits(1, 1), 1);
    for _ in 0..LANE_BUFFER {
        desk.accept(1);
    }
    desk.dispatch();
    assert!(desk.running[0].0.content.is_some());
    assert_eq!(desk.drain().len(), LANE_BUFFER);
    assert_eq!(desk.refills, 0);
    assert_eq!(desk.state.buffers(), (0, 0));
    assert!(desk.state.lanes.is_empty(), "nothing is kept of an endpoint at rest");
}

#[test]
fn what_does_not_fit_is_read_back_in_order() {
    let mut desk = Desk::with(limits(1, 1), 1);
    let mut keys = Vec::new();
    for _ in 0..300 {
        keys.push(desk.accept(1));
        desk.now = desk.now.plus(Duration::from_millis(1));
        assert!(desk.state.buffers().0 <= LANE_BUFFER);
    }
    assert_eq!(desk.drain(), keys);
    assert_eq!(desk.refills, (300 - LANE_BUFFER).div_ceil(REFILL_ROWS));
}

#[test]
fn more_is_kept_for_an_endpoint_that_answers_well() {
    for (more, refills) in [(0, 0), (1, 1)] {
        let mut desk = Desk::with(limits(1, 1), 1);
        // One to be answered, and one that runs meanwhile: an endpoint at rest is forgotten.
        desk.accept(1);
        desk.accept(1);
        desk.dispatch();
        desk.finish(ok());
        desk.dispatch();
        let keys: Vec<_> = (0..WELL_BUFFER + more).map(|_| desk.accept(1)).collect();
        assert_eq!(desk.state.buffers().0, WELL_BUFFER);
        assert!(desk.drain().ends_with(&keys), "{more} more than fit");
        assert_eq!(desk.refills, refills, "{more} more than fit");
    }
}

#[test]
fn with_a_throttle_or_when_half_of_the_room_is_taken_no_more_is_kept_than_for_others() {
    let others = u16::try_from(TOTAL_BUFFER / 2 / LANE_BUFFER).unwrap();
    let kept = |throttle, messages: usize, bytes: usize| {
        let mut desk = Desk::with(limits(1, 1), others + 1);
        desk.change(others + 1, |endpoint| endpoint.throttle_rate = throttle);
        desk.make_known(others + 1);
        let payload = vec![b'x'; bytes / messages];
        for n in (1..=others).cycle().take(messages) {
            desk.accept_with(n, &payload, desk.now);
        }
        let before = desk.state.buffers().0;
        for _ in 0..=WELL_BUFFER {
            desk.accept(others + 1);
        }
        desk.state.buffers().0 - before
    };
    let half = TOTAL_BUFFER / 2;
    assert_eq!(kept(None, half - WELL_BUFFER, 0), WELL_BUFFER);
    assert_eq!(kept(None, half, 0), LANE_BUFFER);
    assert_eq!(kept(None, 8, TOTAL_BUFFER_BYTES / 2 - 8192), WELL_BUFFER);
    assert_eq!(kept(None, 8, TOTAL_BUFFER_BYTES / 2), LANE_BUFFER);
    assert_eq!(kept(Some(1_000_000), 8, 0), LANE_BUFFER);
}

#[test]
fn a_fresh_message_does_not_overtake_what_was_spilled() {
    let mut desk = Desk::with(limits(1, 1), 1);
    let mut keys: Vec<_> = (0..=LANE_BUFFER).map(|_| desk.accept(1)).collect();
    desk.dispatch();
    desk.finish(ok());
    keys.push(desk.accept(1));
    let rest = desk.drain();
    assert_eq!(rest, keys[1..]);
}

#[test]
fn rows_in_memory_are_limited_over_all_endpoints() {
    let count = u16::try_from(TOTAL_BUFFER / LANE_BUFFER).unwrap() + 10;
    let mut desk = Desk::with(limits(1, 1), count);
    for _ in 0..LANE_BUFFER {
        for n in 1..=count {
            desk.accept(n);
        }
    }
    assert_eq!(desk.state.buffers().0, TOTAL_BUFFER);
    assert_eq!(desk.drain().len(), usize::from(count) * LANE_BUFFER, "and yet all are sent");
}

#[test]
fn bytes_in_memory_are_limited_over_all_endpoints() {
    let mut desk = Desk::with(limits(1, 1), 1);
    let payload = vec![b'x'; TOTAL_BUFFER_BYTES / 8];
    for _ in 0..9 {
        let now = desk.now;
        desk.accept_with(1, &payload, now);
    }
    assert_eq!(desk.state.buffers(), (8, TOTAL_BUFFER_BYTES));
    assert_eq!(desk.drain().len(), 9);
    assert_eq!(desk.state.buffers(), (0, 0));
}

#[test]
fn what_is_to_be_delivered_later_waits_in_the_store() {
    let mut desk = Desk::with(limits(4, 4), 1);
    let later = desk.now.plus(Duration::from_secs(60));
    let key = desk.accept_with(1, b"{}", later);
    assert_eq!(desk.dispatch(), []);
    assert_eq!(desk.state.buffers().0, 0);
    assert_eq!(desk.state.next_wake(), Some(later));
    let other = desk.accept(1);
    assert_eq!(desk.dispatch(), [other], "it keeps nobody waiting");
    desk.pass(Duration::from_secs(60));
    assert_eq!(desk.running.back().unwrap().0.row.key, key);
}

#[test]
fn a_disabled_endpoint_gets_nothing_more_and_drains_when_it_is_enabled() {
    let mut desk = Desk::with(limits(2, 2), 1);
    let keys: Vec<_> = (0..10).map(|_| desk.accept(1)).collect();
    desk.dispatch();
    desk.change(1, |endpoint| endpoint.disabled = Some(DisabledReason::Manual));
    assert_eq!(desk.state.buffers(), (0, 0));
    desk.accept(1);
    desk.finish(ok());
    desk.finish(status(500));
    assert_eq!(desk.records.len(), 2, "what ran is recorded");
    desk.pass(Duration::from_secs(3600));
    assert_eq!(desk.running.len(), 0);
    assert!(desk.state.lanes.is_empty(), "nothing is kept of it in memory");
    desk.change(1, |endpoint| endpoint.disabled = None);
    let sent = desk.drain();
    assert_eq!(sent.len(), 10);
    assert_eq!(sent[..8], keys[2..]);
}

#[test]
fn a_deleted_endpoint_is_forgotten_once_what_runs_has_ended() {
    let mut desk = Desk::with(limits(2, 2), 1);
    for _ in 0..5 {
        desk.accept(1);
    }
    desk.dispatch();
    desk.change(1, |endpoint| endpoint.deleted = true);
    assert_eq!(desk.dispatch(), []);
    desk.finish(status(500));
    desk.finish(status(500));
    assert_eq!(desk.dispatch(), []);
    assert!(desk.state.lanes.is_empty(), "{:?}", desk.state.lanes);
    assert_eq!(desk.state.next_wake(), None);
}

#[test]
fn a_paused_endpoint_keeps_nothing_in_memory() {
    let mut desk = Desk::with(limits(5, 5), 2);
    for _ in 0..20 {
        desk.accept(1);
    }
    desk.dispatch();
    for _ in 0..5 {
        desk.finish(status(500));
    }
    assert!(desk.state.lanes[&endpoint_id(1)].breaker.is_paused());
    for _ in 0..20 {
        desk.accept(1);
    }
    desk.dispatch();
    assert_eq!(desk.state.buffers(), (0, 0));
}

#[test]
fn a_row_that_leads_to_no_message_is_dropped() {
    let mut desk = Desk::with(limits(2, 2), 1);
    desk.accept(1);
    desk.dispatch();
    desk.finish_with(None);
    assert!(desk.queue.is_empty() && desk.records.is_empty() && desk.state.lanes.is_empty());
}

#[test]
fn what_is_committed_late_is_not_sent_twice() {
    let mut desk = Desk::with(limits(10, 10), 1);
    desk.uncommitted = Some(Vec::new());
    let keys: Vec<_> = (0..3).map(|_| desk.accept(1)).collect();
    desk.dispatch();
    for _ in 0..3 {
        desk.finish(ok());
    }
    // The rows are still in the store, and somebody makes it look there.
    desk.now = desk.now.plus(Duration::from_millis(1));
    let again = desk.resend(keys[0]);
    assert_eq!(desk.dispatch(), [again]);
    desk.commit();
    assert!(desk.dispatch().is_empty());
}

#[test]
fn what_could_not_be_recorded_is_recorded_later_and_not_sent_again() {
    let mut desk = Desk::with(limits(10, 10), 1);
    let key = desk.accept(1);
    desk.dispatch();
    desk.refuses_records = true;
    desk.finish(ok());
    let result = desk.refused.pop().expect("it could not be recorded");
    desk.step(Event::Unrecorded(result));
    desk.refuses_records = false;
    assert_eq!(desk.dispatch(), []);
    assert_eq!(desk.state.next_wake(), Some(desk.now.plus(RECORD_AGAIN)));
    desk.pass(RECORD_AGAIN);
    assert_eq!(desk.records.len(), 1);
    assert_eq!(desk.records[0].row.key, key);
    assert!(desk.queue.is_empty() && desk.state.lanes.is_empty() && desk.running.is_empty());
}
