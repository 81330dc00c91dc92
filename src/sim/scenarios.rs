//! Long stories: receivers that are down for days, a network that is gone for hours.

use std::time::Duration;

use super::receiver::Manner;
use super::steps::{accept_one, add_endpoint, enable, make_application, new_message};
use super::world::World;
use crate::model::delivery::State;
use crate::model::endpoint::DisabledReason;
use crate::model::id::EndpointId;
use crate::model::message::NewMessage;

const HOUR: u64 = 3600;

/// A world with one application and one endpoint.
fn small_world(ordered: bool, manner: Manner) -> (World, EndpointId) {
    let mut world = World::new(7);
    make_application(&mut world).unwrap();
    let endpoint = endpoint(&mut world, ordered, manner);
    (world, endpoint)
}

/// One more endpoint of the first application.
fn endpoint(world: &mut World, ordered: bool, manner: Manner) -> EndpointId {
    let known: Vec<_> = world.manners.keys().copied().collect();
    let app = world.apps[0];
    add_endpoint(world, app, ordered, None, manner).unwrap();
    *world.manners.keys().find(|id| !known.contains(id)).unwrap()
}

/// Lets everything that is due happen for so long.
fn live(world: &mut World, hours: u64) {
    live_seconds(world, hours * HOUR);
}

fn live_seconds(world: &mut World, seconds: u64) {
    let end = world.now().plus(Duration::from_secs(seconds));
    loop {
        world.settle().unwrap();
        if !world.flights.is_empty() {
            world.land(0).unwrap();
            continue;
        }
        match world.next_wake() {
            Some(at) if at <= end => {
                let wait = at.since(world.now()).max(Duration::from_millis(1));
                world.pass(wait);
            }
            _ => {
                let rest = end.since(world.now());
                world.pass(rest);
                return;
            }
        }
    }
}

fn accept(world: &mut World, count: usize) {
    for n in 0..count {
        let app = world.apps[0];
        accept_one(world, app, new_message(n.to_string().into_bytes())).unwrap();
        world.pass(Duration::from_millis(5));
        world.settle().unwrap();
    }
}

#[test]
fn a_receiver_down_for_three_days_loses_nothing_and_costs_no_attempts() {
    let (mut world, endpoint) = small_world(true, Manner::Broken);
    accept(&mut world, 200);
    live(&mut world, 72);
    let probes = 72 * 6 + 10;
    let tries = world.begun_in_all;
    assert!(
        tries <= probes,
        "{tries} attempts in three days, {probes} would be a probe every 10 min"
    );
    let counted: u64 = world.counted;
    assert!(counted <= 5, "{counted} attempts were counted against a message");
    assert!(world.ledger.ended.is_empty(), "something was given up");
    world.manners.insert(endpoint, Manner::Well);
    live(&mut world, 1);
    assert_eq!(
        world.ledger.succeeded.len(),
        200,
        "drained, in order: the endpoint is an ordered one"
    );
}

#[test]
fn a_receiver_down_for_six_days_is_disabled_and_nothing_is_dropped() {
    // The order in which an ordered endpoint is drained is checked with every attempt.
    down_for_six_days(false);
    down_for_six_days(true);
}

fn down_for_six_days(ordered: bool) {
    let (mut world, id) = small_world(ordered, Manner::Broken);
    accept(&mut world, 50);
    live(&mut world, 6 * 24);
    let begun = world.begun_in_all;
    let endpoint = world.store.directory().endpoint(id).unwrap().unwrap();
    assert_eq!(endpoint.disabled, Some(DisabledReason::Failing));
    assert!(world.store.queue_length() >= 45, "{} wait", world.store.queue_length());
    assert!(!world.paused.contains(&id), "it is disabled and no longer paused");
    accept(&mut world, 5);
    live(&mut world, 24);
    assert_eq!(world.begun_in_all, begun, "nothing is tried while it is disabled");
    world.manners.insert(id, Manner::Well);
    enable(&mut world, id).unwrap();
    live(&mut world, 24);
    assert_eq!(world.store.queue_length(), 0);
    let sent = world.ledger.succeeded.len();
    assert!(sent >= 45, "{sent} of 50 were sent, the rest was tried as often as it may");
    if ordered {
        assert_eq!(sent, 50);
    }
    world.check_store().unwrap();
}

#[test]
fn our_own_network_gone_for_two_hours_counts_against_nobody() {
    // The route is gone, or what lies behind it and answers for names.
    gone_for_two_hours(false);
    gone_for_two_hours(true);
}

fn gone_for_two_hours(keeps_route: bool) {
    let (mut world, _) = small_world(false, Manner::Well);
    world.keeps_route = keeps_route;
    let ordered = endpoint(&mut world, true, Manner::Well);
    world.is_cut_off = true;
    accept(&mut world, 5000);
    assert_eq!(world.store.queue_length(), 10_000);
    live(&mut world, 2);
    assert_eq!(world.counted, 0, "no attempt is counted");
    assert!(world.ledger.ended.is_empty());
    world.is_cut_off = false;
    live(&mut world, 1);
    assert_eq!(world.ledger.succeeded.len(), 10_000);
    assert!(world.ledger.succeeded.iter().any(|(_, endpoint)| *endpoint == ordered));
    world.check_store().unwrap();
}

#[test]
fn one_dead_name_on_a_quiet_day_holds_nobody_else() {
    for dead in [Manner::Unknown, Manner::Unresolved] {
        one_dead_name_holds_nobody_else(dead);
    }
}

fn one_dead_name_holds_nobody_else(dead: Manner) {
    let (mut world, _) = small_world(false, dead);
    let well = endpoint(&mut world, false, Manner::Well);
    for _ in 0..30 {
        accept(&mut world, 1);
        while !world.flights.is_empty() {
            world.land(0).unwrap();
            world.settle().unwrap();
        }
        let message = *world.ledger.promised.keys().next_back().unwrap();
        assert!(world.ledger.succeeded.contains(&(message, well)), "{message} waits");
        live_seconds(&mut world, 95);
    }
}

#[test]
fn a_name_that_does_not_exist_is_paused_and_disabled_like_any_other_failure() {
    for (manner, others) in [
        (Manner::Unknown, 0),
        (Manner::Unknown, 1),
        // Alone: while there is a way out it is nobody's fault but its own.
        (Manner::Unresolved, 0),
        (Manner::Unresolved, 1),
    ] {
        let (mut world, dead) = small_world(false, manner);
        let app = world.apps[0];
        for _ in 0..others {
            endpoint(&mut world, false, Manner::Well);
        }
        let disabled = |world: &World| {
            world.store.directory().endpoint(dead).unwrap().unwrap().disabled.clone()
        };
        for day in 0..6 {
            assert_eq!(disabled(&world), None, "{manner:?} beside {others}, day {day}");
            for _ in 0..24 {
                accept_one(&mut world, app, new_message(b"hourly".to_vec())).unwrap();
                live(&mut world, 1);
            }
            assert!(world.counted >= 1, "{manner:?} beside {others}: failures are counted");
            let paused = world.paused.contains(&dead) || disabled(&world).is_some();
            assert!(paused, "{manner:?} beside {others}, day {day}: it is paused");
        }
        assert_eq!(disabled(&world), Some(DisabledReason::Failing), "{manner:?} beside {others}");
        assert!(world.store.queue_length() > 100, "nothing is dropped");
    }
}

#[test]
fn what_takes_the_place_of_a_cancelled_delivery_is_not_mistaken_for_it() {
    let (mut world, endpoint) = small_world(false, Manner::Broken);
    let app = world.apps[0];
    accept_one(&mut world, app, new_message(b"one".to_vec())).unwrap();
    world.settle().unwrap();
    let id = *world.ledger.promised.keys().next().unwrap();
    let (message, _) = world.store.message(app, id).unwrap().unwrap();
    let both = move |writer: &mut crate::store::Writer<'_>| {
        writer.cancel(&message, endpoint)?;
        writer.resend(app, id, endpoint)
    };
    world.store.write_and_wait(both).unwrap();
    world.settle().unwrap();
    assert_eq!(world.flights.len(), 1, "the first attempt is still under way");
    world.land(0).unwrap();
    world.settle().unwrap();
    let stands = world.store.delivery(id, endpoint).unwrap().unwrap();
    assert_eq!(stands.state, State::Cancelled);
    assert_eq!(world.flights.len(), 1, "the resend had to wait for its place");
    world.manners.insert(endpoint, Manner::Well);
    live(&mut world, 1);
    assert_eq!(world.store.delivery(id, endpoint).unwrap().unwrap().state, State::Succeeded);
}

#[test]
fn payloads_that_were_removed_are_not_held_against_the_receiver() {
    let (mut world, endpoint) = small_world(false, Manner::Well);
    let at = world.now().plus(Duration::from_secs(60));
    let app = world.apps[0];
    for _ in 0..20 {
        let new = NewMessage { deliver_at: Some(at), ..new_message(b"gone soon".to_vec()) };
        accept_one(&mut world, app, new).unwrap();
        let id = *world.ledger.promised.keys().next_back().unwrap();
        world.store.write_and_wait(move |writer| writer.expunge_payload(app, id)).unwrap();
    }
    live(&mut world, 1);
    assert_eq!(world.ledger.ended.len(), 20, "one attempt each");
    assert!(world.ledger.succeeded.is_empty());
    accept(&mut world, 1);
    assert_eq!(world.flights.len(), 1, "the endpoint is not paused");
    assert!(!world.paused.contains(&endpoint));
}
