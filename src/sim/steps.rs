//! What may happen in a step: everything people, programs, networks and machines do.

use std::time::Duration;

use super::ledger::Promise;
use super::receiver::Manner;
use super::world::{RETENTION, World};
use crate::model::application::{Application, Metadata};
use crate::model::clock::{Clock as _, Timestamp};
use crate::model::endpoint::{DisabledReason, Endpoint, LiveSecret};
use crate::model::id::{AppId, EndpointId, MessageId, OrgId};
use crate::model::message::NewMessage;
use crate::model::secret::SigningKey;
use crate::store::{Error, Writer};

/// Does one thing, and lets the scheduler follow.
pub(super) fn step(world: &mut World) -> Result<(), String> {
    match world.dice.below(100) {
        _ if world.apps.is_empty() => make_application(world),
        0..=1 => make_application(world),
        2..=9 => make_endpoint(world),
        10..=44 => accept(world),
        45..=69 => return land(world),
        80..=82 => change_manner(world),
        83..=84 => resend(world),
        85..=86 => recover(world),
        87 => cancel(world),
        88..=89 => toggle(world),
        90 => delete_endpoint(world),
        91 if world.dice.one_in(4) => delete_application(world),
        92 => step_clock(world),
        93..=94 => expire(world),
        95..=96 => return world.crash(),
        _ => pass(world),
    }
    world.settle()
}

fn write<T: Send + 'static>(
    world: &World,
    work: impl FnOnce(&mut Writer<'_>) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    world.store.write_and_wait(work)
}

pub(super) fn make_application(world: &mut World) {
    let made = write(world, |writer| {
        let now = writer.now();
        writer.put_application(Application {
            id: writer.new_application_id(),
            org: OrgId::default_org(),
            uid: None,
            name: "sim".to_owned(),
            throttle_rate: None,
            metadata: Metadata::new(),
            created_at: now,
            updated_at: now,
            deleted: false,
            tokens_valid_from: Timestamp(0),
        })
    });
    world.apps.push(made.unwrap().id);
}

fn any_app(world: &mut World) -> AppId {
    let index = world.dice.below(world.apps.len());
    world.apps[index]
}

fn make_endpoint(world: &mut World) {
    let app = any_app(world);
    let ordered = world.dice.one_in(4);
    let throttle = world.dice.one_in(6).then_some(2);
    let id = add_endpoint(world, app, ordered, throttle);
    let manner = Manner::any(&mut world.dice);
    world.manners.insert(id, manner);
}

pub(super) fn add_endpoint(
    world: &World,
    app: AppId,
    ordered: bool,
    throttle_rate: Option<u32>,
) -> EndpointId {
    let made = write(world, move |writer| {
        let now = writer.now();
        writer.put_endpoint(Endpoint {
            id: writer.new_endpoint_id(),
            app,
            uid: None,
            url: "https://example.com/".to_owned(),
            description: String::new(),
            version: 1,
            disabled: None,
            event_types: None,
            channels: None,
            throttle_rate,
            ordered,
            metadata: Metadata::new(),
            secrets: vec![LiveSecret {
                key: SigningKey::symmetric_from_random([7; 32]),
                expires_at: None,
            }],
            headers: std::collections::BTreeMap::new(),
            created_at: now,
            updated_at: now,
            deleted: false,
        })
    });
    made.unwrap().id
}

fn accept(world: &mut World) {
    let app = any_app(world);
    let size = if world.dice.one_in(8) { world.dice.below(40_000) } else { world.dice.below(300) };
    let fill = u8::try_from(world.dice.below(256)).unwrap();
    let wait = Duration::from_secs(u64::try_from(world.dice.below(5000)).unwrap());
    let deliver_at = world.dice.one_in(8).then(|| world.wall.now().plus(wait));
    let event_id = world.dice.one_in(4).then(|| format!("event-{}", world.dice.below(40)));
    accept_one(world, app, vec![fill; size], deliver_at, event_id);
}

pub(super) fn accept_one(
    world: &mut World,
    app: AppId,
    payload: Vec<u8>,
    deliver_at: Option<Timestamp>,
    event_id: Option<String>,
) {
    let new = NewMessage {
        event_type: "sim.happened".to_owned(),
        event_id,
        channels: Vec::new(),
        tags: Vec::new(),
        deliver_at,
        payload_retention_hours: None,
        content_type: None,
        payload: payload.clone().into(),
    };
    match write(world, move |writer| writer.accept(app, new)) {
        Ok(message) => {
            let endpoints = message.endpoints.clone();
            let place = world.ledger.accepted;
            world.ledger.accepted += 1;
            world.ledger.promised.insert(message.id, Promise { place, app, endpoints, payload });
        }
        Err(Error::Conflict { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

fn land(world: &mut World) -> Result<(), String> {
    if !world.flights.is_empty() {
        let index = world.dice.below(world.flights.len());
        world.land(index)?;
    }
    world.settle()
}

fn pass(world: &mut World) {
    let by = match world.dice.below(5) {
        0 => 1,
        1 => 50,
        2 => 5_000,
        3 => 400_000,
        _ => 4_000_000,
    };
    world.pass(Duration::from_millis(by));
}

fn change_manner(world: &mut World) {
    if let Some(id) = any_endpoint(world) {
        let manner = Manner::any(&mut world.dice);
        world.manners.insert(id, manner);
    }
}

fn any_endpoint(world: &mut World) -> Option<EndpointId> {
    let ids: Vec<_> = world.manners.keys().copied().collect();
    (!ids.is_empty()).then(|| ids[world.dice.below(ids.len())])
}

fn any_delivery(world: &mut World) -> Option<(AppId, MessageId, EndpointId)> {
    let ids: Vec<_> = world.ledger.promised.keys().copied().collect();
    if ids.is_empty() {
        return None;
    }
    let id = ids[world.dice.below(ids.len())];
    let promise = &world.ledger.promised[&id];
    let (app, endpoints) = (promise.app, promise.endpoints.clone());
    let endpoint = *endpoints.get(world.dice.below(endpoints.len()))?;
    let found = world.store.directory().endpoint(endpoint).unwrap()?;
    // An ordered endpoint's order is that of acceptance; what is started anew stands behind.
    (!found.ordered).then_some((app, id, endpoint))
}

fn resend(world: &mut World) {
    let Some((app, message, endpoint)) = any_delivery(world) else { return };
    match write(world, move |writer| writer.resend(app, message, endpoint)) {
        Ok(_) | Err(Error::NotFound(_) | Error::PayloadGone) => {}
        Err(other) => panic!("{other}"),
    }
}

fn recover(world: &mut World) {
    let Some((app, message, endpoint)) = any_delivery(world) else { return };
    let (found, _) = world.store.message(app, message).unwrap().unwrap();
    let done = write(world, move |writer| writer.recover(&found, endpoint)).unwrap();
    if done {
        world.ledger.restarted.insert((message, endpoint));
    }
    world.note(message, endpoint);
}

fn cancel(world: &mut World) {
    let Some((app, message, endpoint)) = any_delivery(world) else { return };
    let (found, _) = world.store.message(app, message).unwrap().unwrap();
    write(world, move |writer| writer.cancel(&found, endpoint)).unwrap();
    world.note(message, endpoint);
}

fn change_endpoint(world: &mut World, change: impl FnOnce(&mut Endpoint) + Send + 'static) {
    let Some(id) = any_endpoint(world) else { return };
    let Some(found) = world.store.directory().endpoint(id).unwrap() else { return };
    let mut endpoint = Endpoint::clone(&found);
    change(&mut endpoint);
    write(world, move |writer| writer.put_endpoint(endpoint)).unwrap();
}

fn toggle(world: &mut World) {
    change_endpoint(world, |endpoint| {
        endpoint.disabled = match endpoint.disabled {
            None => Some(DisabledReason::Manual),
            Some(_) => None,
        };
    });
}

fn delete_endpoint(world: &mut World) {
    change_endpoint(world, |endpoint| endpoint.deleted = true);
    for id in world.store.orphaned_queues().unwrap() {
        world.store.drain_deleted(id).unwrap();
    }
}

fn delete_application(world: &mut World) {
    let index = world.dice.below(world.apps.len());
    let id = world.apps.swap_remove(index);
    let tenant = world.store.directory().tenant(id).unwrap().unwrap();
    let app = Application { deleted: true, ..Application::clone(&tenant.app) };
    write(world, move |writer| writer.put_application(app)).unwrap();
}

fn step_clock(world: &mut World) {
    let now = world.wall.now();
    let by = Duration::from_secs(u64::try_from(world.dice.below(7200)).unwrap());
    let at = if world.dice.one_in(2) { now.plus(by) } else { now.minus(by) };
    world.set_wall(at);
}

fn expire(world: &mut World) {
    if world.dice.one_in(3) {
        world.pass(Duration::from_secs(2 * 24 * 3600));
    }
    for app in world.store.directory().application_ids().unwrap() {
        while world.store.expire_messages(app).unwrap() {}
    }
    for app in world.store.orphaned_messages().unwrap() {
        while world.store.expire_messages(app).unwrap() {}
        world.ledger.promised.retain(|_, promise| promise.app != app);
    }
    let kept: Vec<_> = world.ledger.promised.keys().copied().collect();
    world.ledger.ended.retain(|(message, _)| kept.contains(message));
    world.ledger.succeeded.retain(|(message, _)| kept.contains(message));
    let horizon = world.wall.now().minus(RETENTION);
    let old: Vec<_> =
        world.ledger.promised.keys().copied().filter(|id| id.made_at() < horizon).collect();
    for id in old {
        let app = world.ledger.promised[&id].app;
        // A deleted application's messages go with its next clean-up, not with this one.
        if world.store.message(app, id).unwrap().is_none() {
            world.ledger.promised.remove(&id);
            world.ledger.ended.retain(|(message, _)| *message != id);
            world.ledger.succeeded.retain(|(message, _)| *message != id);
        }
    }
}
