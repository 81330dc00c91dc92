//! Long stories: receivers that are down for days, a network that is gone for hours.

use std::time::Duration;

use super::receiver::Manner;
use super::steps::{accept_one, add_endpoint, make_application};
use super::world::World;
use crate::model::endpoint::DisabledReason;
use crate::model::id::EndpointId;

const HOUR: u64 = 3600;

/// A world with one application and one endpoint.
fn small_world(ordered: bool, manner: Manner) -> (World, EndpointId) {
    let mut world = World::new(7);
    make_application(&mut world);
    let endpoint = add_endpoint(&world, world.apps[0], ordered, None);
    world.manners.insert(endpoint, manner);
    (world, endpoint)
}

/// Lets everything that is due happen for so long.
fn live(world: &mut World, hours: u64) {
    let end = world.now().plus(Duration::from_secs(hours * HOUR));
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
        accept_one(world, app, n.to_string().into_bytes(), None, None);
        world.pass(Duration::from_millis(5));
        world.settle().unwrap();
    }
}

#[test]
fn a_receiver_down_for_three_days_loses_nothing_and_costs_no_attempts() {
    let (mut world, endpoint) = small_world(true, Manner::Broken);
    accept(&mut world, 200);
    live(&mut world, 72);
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
    let (mut world, id) = small_world(false, Manner::Broken);
    accept(&mut world, 50);
    live(&mut world, 6 * 24);
    let endpoint = world.store.directory().endpoint(id).unwrap().unwrap();
    assert_eq!(endpoint.disabled, Some(DisabledReason::Failing));
    assert!(world.store.queue_length() >= 45, "{} wait", world.store.queue_length());
    world.manners.insert(id, Manner::Well);
    let mut enabled = crate::model::endpoint::Endpoint::clone(&endpoint);
    enabled.disabled = None;
    world.store.write_and_wait(move |writer| writer.put_endpoint(enabled)).unwrap();
    live(&mut world, 24);
    assert_eq!(world.store.queue_length(), 0);
    world.check_store().unwrap();
}

#[test]
fn our_own_network_gone_for_two_hours_counts_against_nobody() {
    let (mut world, first) = small_world(false, Manner::Unknown);
    let second = add_endpoint(&world, world.apps[0], false, None);
    world.manners.insert(second, Manner::Unknown);
    accept(&mut world, 500);
    live(&mut world, 2);
    assert_eq!(world.counted, 0, "no attempt is counted");
    world.manners.insert(first, Manner::Well);
    world.manners.insert(second, Manner::Well);
    live(&mut world, 1);
    assert_eq!(world.ledger.succeeded.len(), 1000);
}
