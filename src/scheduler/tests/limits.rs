//! Who runs next, and how many at once.

use super::*;

/// The numbers of the endpoints of these rows.
fn numbers(keys: &[QueueKey]) -> Vec<u8> {
    keys.iter().map(|key| key.endpoint.0[1]).collect()
}

#[test]
fn endpoints_take_turns() {
    let mut desk = Desk::with(limits(1, 1), 3);
    for n in [1, 1, 1, 2, 2, 3] {
        desk.accept(n);
    }
    assert_eq!(numbers(&desk.drain()), [1, 2, 3, 1, 2, 1]);
}

#[test]
fn a_long_backlog_does_not_keep_others_waiting() {
    let mut desk = Desk::with(limits(4, 4), 2);
    for _ in 0..500 {
        desk.accept(1);
    }
    desk.dispatch();
    desk.accept(2);
    assert!(desk.dispatch().is_empty(), "all four threads are busy");
    desk.finish(ok());
    assert_eq!(numbers(&desk.dispatch()), [2], "the next free thread is for the other endpoint");
    assert_eq!(desk.drain().len(), 500);
}

#[test]
fn attempts_at_once_are_limited() {
    // Of an endpoint that is known to be well some more are handed out ahead, while half of the
    // threads are free.
    for (max, per_endpoint, messages, is_known, expected) in [
        (100, 3, 2, true, 2),
        (100, 3, 50, true, 6),
        (100, 3, 50, false, 3),
        (100, 16, 50, true, 32),
        (100, 20, 64, true, 36),
        (100, 20, 64, false, 20),
        (4, 3, 50, true, 3),
        (4, 9, 50, true, 4),
        (1, 1, 50, true, 1),
    ] {
        let mut desk = Desk::with(limits(max, per_endpoint), 1);
        if is_known {
            desk.make_known(1);
        }
        for _ in 0..messages {
            desk.accept(1);
        }
        desk.dispatch();
        let found = desk.running_of(1);
        assert_eq!(found, expected, "max {max}, per endpoint {per_endpoint}, {messages} messages");
        assert_eq!(desk.state.in_flight(), found);
    }
}

#[test]
fn an_endpoint_that_fails_gets_nothing_ahead() {
    let mut desk = Desk::with(limits(100, 3), 1);
    desk.make_known(1);
    for _ in 0..20 {
        desk.accept(1);
    }
    desk.dispatch();
    for _ in 0..4 {
        desk.finish(status(500));
    }
    desk.dispatch();
    assert_eq!(desk.running_of(1), 3);
}

#[test]
fn the_total_is_limited() {
    let mut desk = Desk::with(limits(8, 3), 20);
    for n in 1..=20 {
        desk.accept(n);
    }
    assert_eq!(desk.dispatch().len(), 8);
    desk.finish(ok());
    assert_eq!(desk.dispatch().len(), 1);
}

#[test]
fn endpoints_that_time_out_share_a_quarter_of_the_threads() {
    let mut desk = Desk::with(limits(16, 8), 18);
    for n in 1..=6 {
        desk.accept(n);
    }
    desk.dispatch();
    for _ in 1..=6 {
        desk.finish(timeout());
    }
    for n in 1..=6 {
        desk.accept(n);
        desk.accept(n);
    }
    desk.dispatch();
    assert_eq!(desk.running.len(), 4, "a quarter of 16");
    for n in 7..=18 {
        desk.accept(n);
    }
    assert_eq!(desk.dispatch().len(), 12, "those that are well have the rest");
    // One slow attempt ends: its place goes to another of the slow ones.
    desk.finish(timeout());
    assert_eq!(desk.dispatch().len(), 1);
    assert_eq!(desk.state.slow_in_flight, 4);
    // An answer, be it a refusal, takes an endpoint out of the slow lane.
    let key = desk.finish(status(500));
    let n = u16::from(key.endpoint.0[1]);
    assert!(!desk.state.lanes[&endpoint_id(n)].pace.is_slow());
}

#[test]
fn even_few_threads_leave_one_to_the_slow_lane() {
    let mut desk = Desk::with(limits(2, 2), 1);
    desk.accept(1);
    desk.dispatch();
    desk.finish(timeout());
    desk.accept(1);
    assert_eq!(desk.dispatch().len(), 1);
}

#[test]
fn a_throttle_holds_an_endpoint_to_its_rate() {
    let mut desk = Desk::new(limits(100, 50));
    desk.put(Endpoint { throttle_rate: Some(2), ..endpoint(1) });
    for _ in 0..10 {
        desk.accept(1);
    }
    assert_eq!(desk.dispatch().len(), 2, "what a second allows");
    assert_eq!(desk.state.next_wake(), Some(desk.now.plus(Duration::from_millis(500))));
    desk.pass(Duration::from_millis(499));
    assert_eq!(desk.running.len(), 2);
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.running.len(), 3);
    desk.pass(Duration::from_secs(3));
    assert_eq!(desk.running.len(), 5, "no more than a second's worth is saved up");
}

#[test]
fn a_throttle_is_remembered_between_messages() {
    let mut desk = Desk::new(limits(100, 50));
    desk.put(Endpoint { throttle_rate: Some(1), ..endpoint(1) });
    let mut sent = 0;
    for _ in 0..100 {
        desk.accept(1);
        sent += desk.drain().len();
        desk.pass(Duration::from_millis(100));
    }
    sent += desk.drain().len();
    assert!((10..=12).contains(&sent), "{sent} were sent in 10 s at 1 a second");
}

#[test]
fn an_ordered_endpoint_has_one_attempt_at_a_time_until_it_is_recorded() {
    let mut desk = Desk::new(limits(100, 50));
    desk.put(Endpoint { ordered: true, ..endpoint(1) });
    let keys: Vec<_> = (0..3).map(|_| desk.accept(1)).collect();
    assert_eq!(desk.dispatch(), keys[..1]);
    desk.uncommitted = Some(Vec::new());
    desk.finish(ok());
    assert_eq!(desk.dispatch(), [], "made, but not yet recorded");
    desk.commit();
    assert_eq!(desk.dispatch(), keys[1..2]);
}

#[test]
fn an_ordered_endpoint_waits_for_a_retry_before_anything_later() {
    let mut desk = Desk::new(limits(100, 50));
    desk.put(Endpoint { ordered: true, ..endpoint(1) });
    let first = desk.accept(1);
    let second = desk.accept(1);
    desk.dispatch();
    desk.finish(status(500));
    let third = desk.accept(1);
    assert_eq!(desk.dispatch(), []);
    assert_eq!(desk.state.next_wake(), Some(desk.now.plus(Duration::from_secs(5))));
    desk.now = desk.now.plus(Duration::from_secs(5));
    let fourth = desk.accept(1);
    assert_eq!(desk.drain(), [first, second, third, fourth]);
}

#[test]
fn an_unordered_endpoint_goes_on_while_something_waits_for_a_retry() {
    let mut desk = Desk::with(limits(1, 1), 1);
    let first = desk.accept(1);
    desk.dispatch();
    desk.finish(status(500));
    let second = desk.accept(1);
    assert_eq!(desk.drain(), [second]);
    desk.now = desk.now.plus(Duration::from_secs(5));
    let sent = desk.drain();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].message, first.message);
}

#[test]
fn after_stop_nothing_starts_and_what_runs_is_recorded() {
    let mut desk = Desk::with(limits(2, 2), 1);
    for _ in 0..5 {
        desk.accept(1);
    }
    desk.dispatch();
    desk.step(Event::Stop);
    assert!(!desk.state.is_settled());
    desk.finish(ok());
    desk.finish(ok());
    assert_eq!(desk.dispatch(), []);
    assert_eq!(desk.records.len(), 2);
    assert!(desk.state.is_settled());
}

/// What came back after so long.
fn slow_ok(took: Duration) -> Outcome {
    Outcome { duration: took, ..ok() }
}

#[test]
fn a_second_is_slow_and_a_little_less_is_not() {
    for (took, is_slow) in [(999, false), (1000, true)] {
        let mut desk = Desk::with(limits(16, 8), 1);
        desk.accept(1);
        desk.accept(1);
        desk.dispatch();
        desk.finish(slow_ok(Duration::from_millis(took)));
        assert_eq!(desk.state.lanes[&endpoint_id(1)].pace.is_slow(), is_slow, "{took} ms");
        assert_eq!(desk.state.slow_in_flight, usize::from(is_slow), "{took} ms");
    }
}

#[test]
fn slow_endpoints_have_half_of_what_nobody_else_needs_and_a_quarter_always() {
    let mut desk = Desk::with(limits(16, 4), 18);
    for n in 1..=10 {
        desk.accept(n);
    }
    desk.dispatch();
    for n in 1..=10 {
        desk.accept(n);
    }
    for _ in 1..=10 {
        desk.finish(slow_ok(Duration::from_secs(5)));
    }
    assert_eq!(desk.dispatch().len(), 8, "half of 16");
    for n in 11..=18 {
        desk.accept(n);
    }
    assert_eq!(desk.dispatch().len(), 8, "the other half is for those that are well");
    for n in 1..=4 {
        desk.finish(slow_ok(Duration::from_secs(5)));
        assert_eq!(desk.dispatch(), [], "{n}: the slow ones have more than a quarter");
    }
    desk.finish(slow_ok(Duration::from_secs(5)));
    assert_eq!(desk.dispatch().len(), 1);
    assert_eq!(desk.state.slow_in_flight, 4, "a quarter of 16");
}

#[test]
fn endpoints_that_turn_slow_leave_places_to_all_others() {
    let mut desk = Desk::with(limits(64, 16), 200);
    (1..=20).for_each(|n| desk.make_known(n));
    for _ in 0..50 {
        for n in 1..=20 {
            desk.accept(n);
        }
        desk.dispatch();
    }
    let stuck = desk.running.len();
    assert!((48..64).contains(&stuck), "{stuck} of 64 are held by those that turned slow");
    desk.pass(Duration::from_secs(1));
    assert_eq!(desk.state.slow_in_flight, stuck, "after a second they are known to be slow");
    for n in 21..=200 {
        desk.accept(n);
        assert_eq!(desk.dispatch().len(), 1, "{n} is sent at once");
        let well = desk.running.pop_back().unwrap();
        desk.running.push_front(well);
        desk.finish(ok());
    }
    assert_eq!(desk.state.in_flight(), stuck);
}

#[test]
fn an_application_with_many_endpoints_gets_no_more_turns_than_one_with_few() {
    let mut desk = Desk::with(limits(4, 4), 100);
    (101..=110).for_each(|n| desk.put(Endpoint { app: OTHER_APP, ..endpoint(n) }));
    for n in 1..=100 {
        for _ in 0..5 {
            desk.accept(n);
        }
    }
    desk.dispatch();
    for n in 101..=110 {
        desk.accept(n);
    }
    let mut order = Vec::new();
    for _ in 0..20 {
        desk.finish(ok());
        order.extend(numbers(&desk.dispatch()));
    }
    let others = order.iter().filter(|n| **n > 100).count();
    assert!((9..=10).contains(&others), "every other turn is the other application's: {order:?}");
}

#[test]
fn an_application_is_held_to_its_rate_over_all_its_endpoints() {
    let mut desk = Desk::with(limits(100, 50), 5);
    desk.put(Endpoint { app: OTHER_APP, ..endpoint(6) });
    desk.step(Event::Rate(APP, Some(2)));
    for n in [1, 2, 3, 4, 5, 6, 6, 6] {
        desk.accept(n);
    }
    assert_eq!(desk.dispatch().len(), 5, "what a second allows, and the other application's");
    assert_eq!(desk.running_of(6), 3);
    assert_eq!(desk.state.next_wake(), Some(desk.now.plus(Duration::from_millis(500))));
    desk.pass(Duration::from_millis(499));
    assert_eq!(desk.running.len(), 5);
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.running.len(), 6);
    let rates = vec![(APP, None)];
    desk.step(Event::Committed(Events { rates, ..Events::default() }));
    desk.dispatch();
    assert_eq!(desk.running.len(), 8, "nobody waits for a rate that is gone");
}
