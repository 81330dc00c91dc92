//! What may happen in a step: everything people, programs, networks and machines do.

use std::time::Duration;

use super::ledger::{Answered, Promise};
use super::receiver::Manner;
use super::world::{RETENTION, World};
use crate::model::application::Application;
use crate::model::clock::Clock as _;
use crate::model::endpoint::{DisabledReason, Endpoint, LiveSecret};
use crate::model::id::{AppId, EndpointId, MessageId, OrgId};
use crate::model::message::NewMessage;
use crate::model::secret::SigningKey;
use crate::store::idempotency::{Answer, IdempotencyKey, KEPT_MS};
use crate::store::{Error, Writer};

/// Does one thing, and lets the scheduler follow.
pub(super) fn step(world: &mut World) -> Result<(), String> {
    match world.dice.below(100) {
        _ if world.apps.is_empty() => make_application(world)?,
        0..=1 => make_application(world)?,
        2..=9 => make_endpoint(world)?,
        10..=38 => accept(world)?,
        39..=44 => burst(world)?,
        45..=69 => return land(world),
        70..=71 => {
            world.is_cut_off = world.dice.one_in(3);
            world.keeps_route = world.dice.one_in(2);
        }
        72 => change_limits(world)?,
        73 => change_rate(world)?,
        80..=82 => change_manner(world),
        83..=84 => resend(world)?,
        85..=86 => recover(world)?,
        87 => cancel(world)?,
        88..=89 => toggle(world)?,
        90 => delete_endpoint(world)?,
        91 if world.dice.one_in(4) => delete_application(world)?,
        92 => step_clock(world),
        93..=94 => expire(world)?,
        95 => return world.crash(),
        96 => return world.crash_during(|world| world.in_one_group(accept_and_record)),
        _ => pass(world)?,
    }
    world.settle()
}

/// Many at once: what they ask for is written as one group.
fn burst(world: &mut World) -> Result<(), String> {
    world.in_one_group(|world| {
        for _ in 0..=world.dice.below(8) {
            match world.dice.below(8) {
                0 => cancel(world)?,
                1 => recover(world)?,
                2 => resend(world)?,
                3 => toggle(world)?,
                _ => accept(world)?,
            }
        }
        Ok(())
    })
}

fn accept_and_record(world: &mut World) -> Result<(), String> {
    (0..=world.dice.below(4)).try_for_each(|_| accept(world))
}

pub(super) fn make_application(world: &mut World) -> Result<(), String> {
    let throttle_rate = world.dice.one_in(8).then_some(3);
    let make = Box::new(move |writer: &mut Writer<'_>| {
        let now = writer.now();
        writer.put_application(Application {
            name: "sim".to_owned(),
            throttle_rate,
            ..Application::new(writer.new_application_id(), OrgId::default_org(), now)
        })
    });
    world.write(make, |world, made| {
        world.apps.push(made.unwrap().id);
        Ok(())
    })
}

fn any_app(world: &mut World) -> AppId {
    let index = world.dice.below(world.apps.len());
    world.apps[index]
}

fn make_endpoint(world: &mut World) -> Result<(), String> {
    let app = any_app(world);
    let ordered = world.dice.one_in(4);
    let throttle = world.dice.one_in(6).then_some(2);
    let manner = Manner::any(&mut world.dice);
    add_endpoint(world, app, ordered, throttle, manner)
}

pub(super) fn add_endpoint(
    world: &mut World,
    app: AppId,
    ordered: bool,
    throttle_rate: Option<u32>,
    manner: Manner,
) -> Result<(), String> {
    let make = Box::new(move |writer: &mut Writer<'_>| {
        let (now, id) = (writer.now(), writer.new_endpoint_id());
        writer.put_endpoint(Endpoint {
            throttle_rate,
            ordered,
            secrets: vec![LiveSecret {
                key: SigningKey::symmetric_from_random([7; 32]),
                expires_at: None,
            }],
            ..Endpoint::new(id, app, format!("https://{id}.example/"), now)
        })
    });
    world.write(make, move |world, made| {
        world.manners.insert(made.unwrap().id, manner);
        Ok(())
    })
}

fn accept(world: &mut World) -> Result<(), String> {
    let app = any_app(world);
    let size = if world.dice.one_in(8) { world.dice.below(40_000) } else { world.dice.below(300) };
    let fill = u8::try_from(world.dice.below(256)).unwrap();
    let wait = Duration::from_secs(u64::try_from(world.dice.below(5000)).unwrap());
    let hours = u32::try_from(world.dice.below(5)).unwrap() + 1;
    let new = NewMessage {
        deliver_at: world.dice.one_in(8).then(|| world.wall.now().plus(wait)),
        event_id: world.dice.one_in(4).then(|| format!("event-{}", world.dice.below(40))),
        payload_retention_hours: world.dice.one_in(12).then_some(hours),
        ..new_message(vec![fill; size])
    };
    if world.dice.one_in(4) {
        let key = u8::try_from(world.dice.below(20)).unwrap();
        return accept_once(world, app, key, new);
    }
    accept_one(world, app, new)
}

pub(super) fn new_message(payload: Vec<u8>) -> NewMessage {
    NewMessage::new("sim.happened", payload)
}

pub(super) fn accept_one(world: &mut World, app: AppId, new: NewMessage) -> Result<(), String> {
    let kept = new.clone();
    let work = Box::new(move |writer: &mut Writer<'_>| writer.accept(app, new));
    world.write(work, move |world, done| match done {
        Ok(message) => promise(world, message.id, message.endpoints.clone(), app, kept),
        Err(Error::Conflict { .. }) => Ok(()),
        Err(other) => Err(other.to_string()),
    })
}

/// A message was acknowledged.
fn promise(
    world: &mut World,
    id: MessageId,
    endpoints: Vec<EndpointId>,
    app: AppId,
    new: NewMessage,
) -> Result<(), String> {
    let taken = world.ledger.promised.values().any(|other| {
        other.app == app && other.event_id.is_some() && other.event_id == new.event_id
    });
    if taken {
        return Err(format!("{id}: its eventId {:?} was accepted twice", new.event_id));
    }
    let place = world.ledger.accepted;
    world.ledger.accepted += 1;
    let payload = new.payload.to_vec();
    let promise = Promise { place, app, endpoints, event_id: new.event_id, payload };
    world.ledger.promised.insert(id, promise);
    Ok(())
}

/// A message under an idempotency key; two bodies share each key.
fn accept_once(world: &mut World, app: AppId, key: u8, new: NewMessage) -> Result<(), String> {
    let body = new.payload.first().copied().unwrap_or(0) % 2;
    let kept = new.clone();
    let work = Box::new(move |writer: &mut Writer<'_>| {
        let mut hash = [key; 32];
        hash[..20].copy_from_slice(&app.0);
        let once = IdempotencyKey { hash, fingerprint: [body; 32] };
        writer.once(Some(&once), |writer| {
            let message = writer.accept(app, new)?;
            Ok(Answer::Message { app, message: message.id })
        })
    });
    world.write(work, move |world, done| {
        let now = world.wall.now();
        let fresh = |a: &Answered| now.since(a.at) < Duration::from_millis(KEPT_MS);
        let known = world.ledger.answered.get(&(app, key)).copied().filter(fresh);
        let unsure = world.ledger.unsure;
        match (done, known) {
            (Ok((Answer::Message { message, .. }, true)), Some(known)) => {
                if known.body != body || known.message != message {
                    return Err(format!("a request got the answer of another: {message}"));
                }
                Ok(())
            }
            (Ok((Answer::Message { message, .. }, false)), None) => {
                world.ledger.answered.insert((app, key), Answered { body, message, at: now });
                let endpoints = world.store.message(app, message).unwrap().unwrap().0.endpoints;
                promise(world, message, endpoints, app, kept)
            }
            (Err(Error::IdempotencyMismatch), Some(known)) if known.body != body => Ok(()),
            (Err(Error::Conflict { .. }), None) => Ok(()),
            (Ok((_, true)) | Err(Error::IdempotencyMismatch), None) if unsure => Ok(()),
            (done, known) => Err(format!("idempotency: {done:?} where {known:?} was known")),
        }
    })
}

fn land(world: &mut World) -> Result<(), String> {
    if !world.flights.is_empty() {
        let index = world.dice.below(world.flights.len());
        world.land(index)?;
    }
    world.settle()
}

fn pass(world: &mut World) -> Result<(), String> {
    let by = match world.dice.below(5) {
        0 => 1,
        1 => 50,
        2 => 5_000,
        3 => 400_000,
        _ => 4_000_000,
    };
    if by >= 50 {
        // What nobody waits for is written by then.
        world.write_lazy()?;
    }
    world.pass(Duration::from_millis(by));
    Ok(())
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
    world.store.directory().endpoint(endpoint).unwrap()?;
    Some((app, id, endpoint))
}

fn resend(world: &mut World) -> Result<(), String> {
    let Some((app, message, endpoint)) = any_delivery(world) else { return Ok(()) };
    let work = Box::new(move |writer: &mut Writer<'_>| writer.resend(app, message, endpoint));
    world.write(work, |_, done| match done {
        Ok(_) | Err(Error::NotFound(_) | Error::PayloadGone) => Ok(()),
        Err(other) => Err(other.to_string()),
    })
}

fn recover(world: &mut World) -> Result<(), String> {
    let Some((app, message, endpoint)) = any_delivery(world) else { return Ok(()) };
    let (found, _) = world.store.message(app, message).unwrap().unwrap();
    let work = Box::new(move |writer: &mut Writer<'_>| writer.recover(&found, endpoint));
    world.write(work, move |world, done| {
        if done.unwrap() {
            let pair = (message, endpoint);
            world.ledger.restarted.insert(pair);
            world.ledger.ended.remove(&pair);
            world.ledger.succeeded.remove(&pair);
        }
        world.note(message, endpoint)
    })
}

fn cancel(world: &mut World) -> Result<(), String> {
    let Some((app, message, endpoint)) = any_delivery(world) else { return Ok(()) };
    let (found, _) = world.store.message(app, message).unwrap().unwrap();
    let work = Box::new(move |writer: &mut Writer<'_>| writer.cancel(&found, endpoint));
    world.write(work, move |world, done| {
        done.unwrap();
        world.note(message, endpoint)
    })
}

fn change_endpoint(
    world: &mut World,
    id: EndpointId,
    change: impl FnOnce(&mut Endpoint) + Send + 'static,
) -> Result<(), String> {
    let work = Box::new(move |writer: &mut Writer<'_>| {
        let Some(found) = writer.any_endpoint(id)? else { return Ok(()) };
        let mut endpoint = Endpoint::clone(&found);
        change(&mut endpoint);
        writer.put_endpoint(endpoint).map(drop)
    });
    world.write(work, |_, done| done.map_err(|err| err.to_string()))
}

fn toggle(world: &mut World) -> Result<(), String> {
    let Some(id) = any_endpoint(world) else { return Ok(()) };
    change_endpoint(world, id, |endpoint| {
        endpoint.disabled = match endpoint.disabled {
            None => Some(DisabledReason::Manual),
            Some(_) => None,
        };
    })
}

pub(super) fn enable(world: &mut World, id: EndpointId) -> Result<(), String> {
    change_endpoint(world, id, |endpoint| endpoint.disabled = None)
}

pub(super) fn enable_all(world: &mut World) -> Result<(), String> {
    let ids: Vec<_> = world.manners.keys().copied().collect();
    ids.into_iter().try_for_each(|id| enable(world, id))
}

fn change_limits(world: &mut World) -> Result<(), String> {
    let Some(id) = any_endpoint(world) else { return Ok(()) };
    let rate = [None, Some(1), Some(50)][world.dice.below(3)];
    change_endpoint(world, id, move |endpoint| endpoint.throttle_rate = rate)
}

/// An application is held to a rate, or no longer.
fn change_rate(world: &mut World) -> Result<(), String> {
    let id = any_app(world);
    let rate = [None, Some(1), Some(20)][world.dice.below(3)];
    let tenant = world.store.directory().tenant(id).unwrap().unwrap();
    let app = Application { throttle_rate: rate, ..Application::clone(&tenant.app) };
    let work = Box::new(move |writer: &mut Writer<'_>| writer.put_application(app).map(drop));
    world.write(work, |_, done| done.map_err(|err| err.to_string()))
}

fn delete_endpoint(world: &mut World) -> Result<(), String> {
    let Some(id) = any_endpoint(world) else { return Ok(()) };
    change_endpoint(world, id, |endpoint| endpoint.deleted = true)
}

fn delete_application(world: &mut World) -> Result<(), String> {
    let index = world.dice.below(world.apps.len());
    let id = world.apps.swap_remove(index);
    let tenant = world.store.directory().tenant(id).unwrap().unwrap();
    let app = Application { deleted: true, ..Application::clone(&tenant.app) };
    let work = Box::new(move |writer: &mut Writer<'_>| writer.put_application(app).map(drop));
    world.write(work, |_, done| done.map_err(|err| err.to_string()))
}

fn step_clock(world: &mut World) {
    let now = world.wall.now();
    let by = Duration::from_secs(u64::try_from(world.dice.below(7200)).unwrap());
    let back = world.dice.one_in(2);
    if back {
        // Answers of the future may not be found, and those of the past are kept for longer.
        world.ledger.unsure = true;
        world.ledger.answered.clear();
    }
    let at = if back { now.minus(by) } else { now.plus(by) };
    world.set_wall(at);
}

fn expire(world: &mut World) -> Result<(), String> {
    world.write_lazy()?;
    if world.dice.one_in(3) {
        world.pass(Duration::from_secs(2 * 24 * 3600));
    }
    sweep(world);
    let horizon = world.wall.now().minus(RETENTION);
    let promised = world.ledger.promised.iter();
    let may_go = |id: MessageId, app| id.made_at() < horizon || !world.apps.contains(&app);
    let old = promised.map(|(id, promise)| (*id, promise.app));
    for (id, app) in old.filter(|(id, app)| may_go(*id, *app)).collect::<Vec<_>>() {
        // A message that was accepted while the clock was wrong may wait behind younger ones.
        if world.store.message(app, id).unwrap().is_none() {
            world.ledger.forget(id);
        }
    }
    Ok(())
}

/// What the janitor does.
pub(super) fn sweep(world: &World) {
    let store = &world.store;
    for app in store.directory().application_ids().unwrap() {
        while store.expire_messages(app).unwrap() {}
    }
    for app in store.orphaned_messages().unwrap() {
        while store.expire_messages(app).unwrap() {}
    }
    while store.expire_payloads().unwrap() {}
    while store.expire_answers().unwrap() {}
    while store.tidy().unwrap() {}
    for id in store.orphaned_queues().unwrap() {
        while store.drain_deleted(id).unwrap() {}
    }
}
