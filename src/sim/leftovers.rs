//! What must not be left behind: rows, lanes and pauses of what was deleted, disabled or expired.

use std::time::Duration;

use super::receiver::Manner;
use super::steps::{accept_one, add_endpoint, make_application, new_message};
use super::world::{RETENTION, World};
use crate::model::application::Application;
use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow, State, Trigger, Verdict};
use crate::model::endpoint::{DisabledReason, Endpoint};
use crate::model::id::{AppId, EndpointId, MessageId};
use crate::store::attempts::AttemptResult;

/// A world with one application and one endpoint, and `count` messages in flight or waiting.
fn world_with(ordered: bool, manner: Manner, count: usize) -> (World, AppId, EndpointId) {
    let mut world = World::new(11);
    make_application(&mut world).unwrap();
    let app = world.apps[0];
    add_endpoint(&mut world, app, ordered, None, manner).unwrap();
    let endpoint = *world.manners.keys().next().unwrap();
    for n in 0..count {
        accept_one(&mut world, app, new_message(n.to_string().into_bytes())).unwrap();
        world.pass(Duration::from_millis(5));
    }
    world.settle().unwrap();
    (world, app, endpoint)
}

fn change(world: &mut World, id: EndpointId, change: impl FnOnce(&mut Endpoint)) {
    let found = world.store.directory().endpoint(id).unwrap().unwrap();
    let mut endpoint = Endpoint::clone(&found);
    change(&mut endpoint);
    world.store.write_and_wait(move |writer| writer.put_endpoint(endpoint)).unwrap();
    world.settle().unwrap();
}

fn land_all(world: &mut World) {
    while !world.flights.is_empty() {
        world.land(0).unwrap();
        world.settle().unwrap();
    }
}

fn only_message(world: &World) -> MessageId {
    *world.ledger.promised.keys().next().unwrap()
}

/// An attempt that failed, as a worker reports it.
fn failed(app: AppId, key: QueueKey, trigger: Trigger) -> AttemptResult {
    AttemptResult {
        row: QueueRow { key, attempt: 1, trigger, not_before: key.due },
        app,
        url: "https://example.com/".to_owned(),
        started_at: key.due,
        duration_ms: 1,
        status: Some(500),
        response: vec![b'x'; 10_000],
        failure_code: "status",
        verdict: Verdict::Retry(Timestamp(key.due.0 + 5000)),
        keeps_place: false,
        gone: false,
        blames_endpoint: true,
    }
}

#[test]
fn an_attempt_that_ends_after_its_endpoint_was_deleted_leaves_no_lane() {
    let (mut world, _, id) = world_with(false, Manner::Broken, 1);
    assert_eq!(world.flights.len(), 1);
    change(&mut world, id, |endpoint| endpoint.deleted = true);
    land_all(&mut world);
    world.check_forgotten().unwrap();
    world.store.drain_deleted(id).unwrap();
    assert_eq!(world.store.queue_length(), 0);
    world.check_store().unwrap();
}

#[test]
fn a_paused_endpoint_that_is_disabled_is_not_shown_as_paused_for_ever() {
    let (mut world, _, id) = world_with(false, Manner::Broken, 20);
    land_all(&mut world);
    assert!(world.paused.contains(&id), "five failures in a row pause it");
    change(&mut world, id, |endpoint| endpoint.disabled = Some(DisabledReason::Manual));
    assert!(!world.paused.contains(&id), "disabled");
    world.manners.insert(id, Manner::Well);
    change(&mut world, id, |endpoint| endpoint.disabled = None);
    land_all(&mut world);
    assert!(!world.paused.contains(&id), "enabled and well");
}

#[test]
fn a_pause_holds_back_what_stood_in_line_already() {
    let (mut world, _, id) = world_with(false, Manner::Broken, 10);
    for _ in 0..2 {
        world.land(0).unwrap();
        world.settle().unwrap();
    }
    // Its place in the line is taken at the first of these, it is paused at the last.
    for _ in 0..3 {
        world.land(0).unwrap();
    }
    let under_way = world.flights.len();
    world.settle().unwrap();
    assert!(world.paused.contains(&id));
    assert_eq!(world.flights.len(), under_way, "no attempt is begun before the first probe is due");
}

#[test]
fn messages_of_a_deleted_application_go() {
    let (mut world, app, _) = world_with(false, Manner::Broken, 70);
    land_all(&mut world);
    let tenant = world.store.directory().tenant(app).unwrap().unwrap();
    let deleted = Application { deleted: true, ..Application::clone(&tenant.app) };
    let again = deleted.clone();
    world.store.write_and_wait(move |writer| writer.put_application(deleted)).unwrap();
    world.settle().unwrap();
    assert_eq!(world.store.orphaned_messages().unwrap(), [app]);
    while world.store.expire_messages(app).unwrap() {}
    assert_eq!(world.store.orphaned_messages().unwrap(), []);
    // Batches of which nothing is left go with whatever comes next.
    world.store.write_and_wait(move |writer| writer.put_application(again)).unwrap();
    let report = world.store.check().unwrap();
    assert_eq!(report.faults, [""; 0]);
    // The rows of tidying stand for nothing.
    let left = report.rows.iter().filter(|(tree, rows)| *rows > 0 && *tree != "tidy");
    let left: Vec<_> = left.collect();
    assert_eq!(
        left.iter().map(|(tree, _)| *tree).collect::<Vec<_>>(),
        ["meta", "applications", "endpoints"],
        "{left:?}"
    );
}

#[test]
fn an_attempt_that_ends_after_its_message_expired_leaves_no_rows() {
    for trigger in [Trigger::Scheduled, Trigger::Manual] {
        let (mut world, app, endpoint) = world_with(false, Manner::Broken, 1);
        let message = only_message(&world);
        let (found, _) = world.store.message(app, message).unwrap().unwrap();
        let key = match trigger {
            Trigger::Scheduled => QueueKey { endpoint, due: found.created_at, message },
            Trigger::Manual => world
                .store
                .write_and_wait(move |writer| writer.resend(app, message, endpoint))
                .unwrap(),
        };
        world.pass(RETENTION + Duration::from_secs(1));
        assert!(!world.store.expire_messages(app).unwrap());
        let result = failed(app, key, trigger);
        world.store.write_and_wait(move |writer| writer.record(&result)).unwrap();
        let report = world.store.check().unwrap();
        assert_eq!(report.faults, [""; 0], "{trigger:?}");
        let rows = |name| report.rows.iter().find(|(tree, _)| *tree == name).unwrap().1;
        for tree in ["queue", "attempts", "attempts_by_message", "deliveries", "responses"] {
            assert_eq!(rows(tree), 0, "{tree}, {trigger:?}");
        }
    }
}

#[test]
fn an_ordered_endpoint_that_no_longer_is_goes_on_past_its_blocked_head() {
    let (mut world, _, id) = world_with(true, Manner::Broken, 3);
    world.manners.insert(id, Manner::Busy(3600));
    land_all(&mut world);
    world.manners.insert(id, Manner::Well);
    change(&mut world, id, |endpoint| endpoint.ordered = false);
    land_all(&mut world);
    assert_eq!(world.ledger.succeeded.len(), 2, "all but the one that has to wait an hour");
}

#[test]
fn an_endpoint_made_ordered_again_starts_behind_all_that_waits() {
    let (mut world, app, id) = world_with(true, Manner::Well, 1);
    land_all(&mut world);
    change(&mut world, id, |endpoint| endpoint.ordered = false);
    world.manners.insert(id, Manner::Broken);
    accept_one(&mut world, app, new_message(b"second".to_vec())).unwrap();
    world.settle().unwrap();
    land_all(&mut world);
    change(&mut world, id, |endpoint| endpoint.ordered = true);
    accept_one(&mut world, app, new_message(b"third".to_vec())).unwrap();
    // It would be tried before the second, which the world reports.
    world.settle().unwrap();
    world.manners.insert(id, Manner::Well);
    world.heal_and_finish().unwrap();
}

#[test]
fn one_sent_by_hand_to_an_endpoint_it_never_had_does_not_stay_pending() {
    let (mut world, app, _) = world_with(false, Manner::Well, 1);
    land_all(&mut world);
    let known: Vec<_> = world.manners.keys().copied().collect();
    add_endpoint(&mut world, app, false, None, Manner::Broken).unwrap();
    let other = *world.manners.keys().find(|id| !known.contains(id)).unwrap();
    let message = only_message(&world);
    world.store.write_and_wait(move |writer| writer.resend(app, message, other)).unwrap();
    world.settle().unwrap();
    land_all(&mut world);
    let stands = world.store.delivery(message, other).unwrap().unwrap();
    assert_eq!(stands.state, State::Exhausted, "nothing will try it again");
}

#[test]
fn a_deleted_endpoint_takes_its_health_with_it() {
    let (mut world, _, id) = world_with(false, Manner::Broken, 2);
    world.land(0).unwrap();
    change(&mut world, id, |endpoint| endpoint.deleted = true);
    land_all(&mut world);
    world.check_store().unwrap();
}

#[test]
fn one_step_of_expiry_fits_into_a_group_however_large_the_payloads() {
    let (mut world, app, _) = world_with(false, Manner::Well, 0);
    for _ in 0..24 {
        accept_one(&mut world, app, new_message(vec![b'x'; 1 << 20])).unwrap();
    }
    let chunks = |world: &World| {
        let report = world.store.check().unwrap();
        report.rows.iter().find(|(tree, _)| *tree == "payloads").unwrap().1
    };
    world.pass(RETENTION + Duration::from_secs(1));
    let (mut left, one) = (chunks(&world), chunks(&world) / 24);
    while left > 0 {
        let more = world.store.expire_messages(app).unwrap();
        let now_left = chunks(&world);
        let removed = left - now_left;
        assert_eq!(removed, one, "one of them is more than a group removes");
        assert_eq!(more, now_left > 0, "it says whether there is more");
        left = now_left;
    }
    world.check_store().unwrap();
}

#[test]
fn a_probe_that_finds_no_thread_does_not_keep_the_scheduler_spinning() {
    let (mut world, app, _) = world_with(false, Manner::Unresolved, 0);
    for _ in 0..11 {
        add_endpoint(&mut world, app, false, None, Manner::Unresolved).unwrap();
    }
    for n in 0..4u8 {
        accept_one(&mut world, app, new_message(vec![n])).unwrap();
    }
    world.settle().unwrap();
    assert_eq!(world.flights.len(), 12, "as many as there may be");
    world.land(0).unwrap();
    for _ in 0..2 {
        world.pass(Duration::from_secs(11));
        world.settle().unwrap();
    }
    assert_eq!(world.flights.len(), 12, "offline, and the probe is under way");
    let wake = world.next_wake();
    assert!(wake.is_none_or(|at| at > world.now()), "{wake:?} is no time to sleep until");
}
