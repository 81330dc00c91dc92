//! What a finished attempt means: for its delivery, its endpoint and our own network.

use super::*;
use crate::model::endpoint::DisabledReason;

/// A desk on which the one attempt of a delivery was made so often already.
fn after(attempts: u16, outcome: Outcome) -> AttemptResult {
    let mut desk = Desk::with(limits(4, 4), 1);
    let key = desk.accept(1);
    desk.dispatch();
    desk.running[0].0.row.attempt = attempts + 1;
    desk.finish(outcome);
    assert_eq!(desk.records[0].row.key, key);
    desk.records.remove(0)
}

#[test]
fn every_answer_has_its_verdict() {
    let now = Desk::new(limits(1, 1)).now;
    let retry = |seconds| Verdict::Retry(now.plus(Duration::from_secs(seconds)));
    let asks =
        |seconds, code| Outcome { retry_after: Some(Duration::from_secs(seconds)), ..status(code) };
    for (name, attempts, outcome, verdict, gone) in [
        ("first success", 0, ok(), Verdict::Succeeded, false),
        ("last success", 7, ok(), Verdict::Succeeded, false),
        ("first failure", 0, status(500), retry(5), false),
        ("second failure", 1, status(404), retry(300), false),
        ("last but one", 6, status(500), retry(36_000), false),
        ("last failure", 7, status(500), Verdict::Exhausted, false),
        ("gone", 0, status(410), retry(5), true),
        ("overloaded", 0, status(503), retry(60), false),
        ("too many", 0, status(429), retry(60), false),
        ("timeout", 0, timeout(), retry(60), false),
        ("asks for more", 0, asks(90, 503), retry(90), false),
        ("asks for less", 1, asks(90, 500), retry(300), false),
        ("asks in vain", 7, asks(90, 500), Verdict::Exhausted, false),
    ] {
        let result = after(attempts, outcome);
        assert_eq!(result.verdict, verdict, "{name}");
        assert_eq!(result.gone, gone, "{name}");
        assert!(result.blames_endpoint, "{name}");
    }
}

#[test]
fn an_event_types_own_schedule_comes_first() {
    let mut desk = Desk::with(limits(4, 4), 1);
    desk.accept(1);
    desk.dispatch();
    let (task, endpoint) = desk.running.pop_front().unwrap();
    desk.step(Event::Finished(Box::new(Finished {
        task,
        endpoint,
        outcome: Some(status(500)),
        started_at: desk.now,
        schedule: Some(RetrySchedule(vec![Duration::from_secs(77)])),
        chance: 1.0,
        is_cut_off: false,
    })));
    let at = desk.now.plus(Duration::from_millis(92_400));
    assert_eq!(desk.verdicts(), [Verdict::Retry(at)], "77 s and a fifth");
}

#[test]
fn what_is_kept_of_a_failure_without_answer_is_its_cause() {
    let result = after(0, timeout());
    assert_eq!(result.status, None);
    assert_eq!(result.failure_code, "timeout_headers");
    assert!(!result.response.is_empty());
}

/// A desk whose endpoint 1 has just been paused: five of its messages failed, `more` wait.
fn paused(more: usize) -> Desk {
    let mut desk = Desk::with(limits(20, 5), 2);
    for _ in 0..5 {
        desk.accept(1);
    }
    desk.dispatch();
    for _ in 0..5 {
        desk.finish(status(500));
    }
    let (id, pause) = desk.paused.pop().expect("it is paused");
    assert_eq!(id, endpoint_id(1));
    assert_eq!(pause.map(|pause| pause.why), Some("status"));
    for _ in 0..more {
        desk.accept(1);
    }
    desk.records.clear();
    desk
}

#[test]
fn a_paused_endpoint_is_probed_and_nothing_is_counted() {
    let mut desk = paused(10);
    let mut probes = Vec::new();
    let start = desk.now;
    while desk.now.since(start) < Duration::from_secs(3600) {
        desk.dispatch();
        assert!(desk.running.len() <= 1, "one probe at a time");
        if !desk.running.is_empty() {
            probes.push(desk.now.since(start).as_secs());
            desk.finish(status(500));
        }
        let next = desk.state.next_wake().expect("there is a next probe");
        desk.now = next.max(desk.now);
    }
    assert_eq!(probes, [30, 90, 210, 450, 930, 1530, 2130, 2730, 3330]);
    assert!(desk.verdicts().iter().all(|verdict| *verdict == Verdict::Hold));
    assert!(desk.records.iter().all(|result| result.blames_endpoint), "it is the endpoint's fault");
}

#[test]
fn one_success_resumes_a_paused_endpoint_and_all_is_sent_in_order() {
    let mut desk = paused(40);
    let expected: Vec<_> = desk.queue.keys().map(|key| key.message).collect();
    assert_eq!(expected.len(), 45);
    desk.now = desk.now.plus(Duration::from_secs(30));
    let mut sent = desk.drain();
    assert_eq!(desk.paused, [(endpoint_id(1), None)], "resumed");
    assert_eq!(sent.len(), 45);
    let first: Vec<_> = sent.iter().map(|key| key.message).collect();
    sent.sort_unstable();
    let in_order: Vec<_> = sent.iter().map(|key| key.message).collect();
    assert_eq!(first, in_order, "in the order of the queue");
}

#[test]
fn a_pause_counts_at_once_however_full_the_house_is() {
    // Two threads, and both endpoints have always one more in line for the next free one.
    let mut desk = Desk::with(limits(2, 2), 2);
    for _ in 0..40 {
        desk.accept(1);
        desk.accept(2);
    }
    let mut failures = 0;
    for _ in 0..30 {
        desk.dispatch();
        if desk.running[0].0.row.key.endpoint == endpoint_id(1) {
            failures += 1;
            desk.finish(status(500));
        } else {
            desk.finish(ok());
        }
    }
    assert_eq!(failures, 5, "then it is paused, and its next turn is not for 30 s");
}

#[test]
fn what_ran_when_the_pause_began_does_not_prolong_it() {
    let mut desk = Desk::with(limits(20, 10), 1);
    for _ in 0..10 {
        desk.accept(1);
    }
    desk.dispatch();
    for _ in 0..10 {
        desk.finish(status(500));
    }
    let verdicts = desk.verdicts();
    let (counted, held) = verdicts.split_at(5);
    assert!(counted.iter().all(|verdict| matches!(verdict, Verdict::Retry(_))));
    assert!(held.iter().all(|verdict| *verdict == Verdict::Hold));
    let lane = &desk.state.lanes[&endpoint_id(1)];
    assert_eq!(lane.breaker.next_probe(), Some(desk.now.plus(Duration::from_secs(30))));
}

#[test]
fn gone_counts_even_while_paused() {
    let mut desk = paused(1);
    desk.now = desk.now.plus(Duration::from_secs(30));
    desk.dispatch();
    desk.finish(status(410));
    assert!(desk.records[0].gone);
    assert!(matches!(desk.verdicts()[0], Verdict::Retry(_)));
}

#[test]
fn disabling_ends_a_pause_for_all_to_see() {
    for change in [
        (|endpoint: &mut Endpoint| endpoint.disabled = Some(DisabledReason::Failing))
            as fn(&mut Endpoint),
        |endpoint| endpoint.deleted = true,
    ] {
        let mut desk = paused(3);
        desk.paused.clear();
        desk.change(1, change);
        assert_eq!(desk.paused, [(endpoint_id(1), None)]);
    }
}

#[test]
fn what_still_runs_for_a_disabled_endpoint_does_not_pause_it() {
    let mut desk = Desk::with(limits(20, 10), 1);
    for _ in 0..10 {
        desk.accept(1);
    }
    desk.dispatch();
    desk.change(1, |endpoint| endpoint.disabled = Some(DisabledReason::Manual));
    for _ in 0..10 {
        desk.finish(status(500));
    }
    assert!(desk.paused.is_empty());
    assert!(desk.verdicts().iter().all(|verdict| matches!(verdict, Verdict::Retry(_))));
}

#[test]
fn a_manual_attempt_is_not_held_back_by_what_it_failed_for() {
    let mut desk = paused(0);
    desk.now = desk.now.plus(Duration::from_secs(30));
    let first = *desk.queue.keys().next().unwrap();
    desk.queue.clear();
    desk.resend(first);
    desk.dispatch();
    desk.finish(status(500));
    assert!(matches!(desk.verdicts()[..], [Verdict::Retry(_)]), "{:?}", desk.verdicts());
}

#[test]
fn our_own_network_is_nobodys_fault() {
    let mut desk = Desk::with(limits(10, 2), 4);
    desk.is_cut_off = true;
    for n in [1, 1, 2, 3, 4] {
        desk.accept(n);
    }
    desk.dispatch();
    for _ in 0..5 {
        desk.finish(no_network());
    }
    assert_eq!(desk.offline, [true], "nobody ever answered");
    assert_eq!(desk.verdicts(), [Verdict::Hold], "the one that found out");
    assert!(!desk.records[0].blames_endpoint);
    let start = desk.now;
    let mut probes = Vec::new();
    while desk.now.since(start) < Duration::from_secs(7200) {
        let started = desk.dispatch();
        assert!(started.len() <= 1, "one probe at a time");
        if !started.is_empty() {
            probes.push(desk.now);
            desk.finish(no_network());
        }
        desk.now = desk.state.next_wake().expect("a next probe").max(desk.now);
    }
    assert!((715..=720).contains(&probes.len()), "one in ten seconds: {}", probes.len());
    assert_eq!(desk.records.len(), 1, "not even recorded");
    assert_eq!(desk.drain().len(), 5);
    assert_eq!(desk.offline, [true, false]);
}

#[test]
fn a_name_that_nobody_resolves_is_counted_when_it_is_the_only_one() {
    let mut desk = Desk::with(limits(10, 2), 2);
    let unresolved = Failure::Dns { detail: "try again".to_owned(), is_answer: false };
    let unresolved = Outcome::failed(unresolved, Duration::from_millis(1));
    desk.accept(1);
    let start = desk.now;
    while desk.verdicts().iter().all(|verdict| *verdict == Verdict::Hold) {
        desk.dispatch();
        assert_eq!(desk.running.len(), 1, "it is tried again and again");
        desk.finish(unresolved.clone());
        desk.now = desk.now.plus(Duration::from_secs(5));
    }
    assert_eq!(desk.now.since(start), Duration::from_secs(35));
    let last = desk.records.last().unwrap();
    assert!(matches!(last.verdict, Verdict::Retry(_)) && last.blames_endpoint);
    assert!(desk.offline.is_empty());
    // As soon as a second host fails so too, neither is blamed.
    desk.accept(2);
    desk.dispatch();
    desk.finish_one_of(2, unresolved);
    assert_eq!(desk.offline, [true]);
    assert!(!desk.records.last().unwrap().blames_endpoint);
}

#[test]
fn one_receiver_without_a_name_is_its_own_fault() {
    let mut desk = Desk::with(limits(10, 2), 2);
    desk.accept(2);
    desk.drain();
    desk.records.clear();
    desk.accept(1);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        desk.dispatch();
        desk.finish_one_of(1, no_network());
        verdicts.extend(desk.records.drain(..).map(|r| (r.verdict, r.blames_endpoint)));
        desk.now = desk.now.plus(Duration::from_secs(3));
        desk.accept(2);
        desk.dispatch();
        desk.finish_one_of(2, ok());
        desk.records.clear();
        desk.now = desk.now.plus(Duration::from_secs(400));
    }
    assert_eq!(verdicts[0], (Verdict::Hold, false), "it may be our network");
    assert!(matches!(verdicts[1..], [(Verdict::Retry(_), true), (Verdict::Retry(_), true)]));
    assert!(desk.offline.is_empty());
}

#[test]
fn what_was_not_made_is_not_waited_for_at_a_stop() {
    let mut desk = Desk::with(limits(10, 2), 2);
    desk.accept(1);
    desk.accept(2);
    desk.dispatch();
    desk.step(Event::Stop);
    desk.finish(ok());
    assert!(!desk.state.is_settled(), "one runs still");
    let (task, _) = desk.running.pop_front().unwrap();
    desk.step(Event::NotMade(task.row.key));
    assert!(desk.state.is_settled());
    assert_eq!((desk.state.in_flight(), desk.queue.len()), (0, 1), "it is due again");
}
