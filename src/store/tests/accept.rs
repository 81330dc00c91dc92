//! Accepting messages.

use super::super::Error;
use super::super::accept::{CHUNK_BYTES, ENDPOINTS_PER_ROW, HEADER_ENDPOINTS};
use super::super::messages::Payload;
use super::*;
use crate::model::delivery::{QueueKey, Trigger};
use crate::model::endpoint::DisabledReason;
use crate::model::message::MAX_PAYLOAD_BYTES;

#[test]
fn a_message_and_its_deliveries_are_there_after_one_commit() {
    let shelf = Shelf::new();
    let endpoints = [shelf.endpoint(), shelf.endpoint()];
    shelf.heard();
    let message = shelf.accept();
    assert_eq!(message.endpoints, endpoints);
    let (found, payload) = shelf.store.message(shelf.app, message.id).unwrap().unwrap();
    assert_eq!(found, *message);
    assert_eq!(payload, Payload::Here("{}".into()));
    let told = shelf.heard();
    assert_eq!(told.accepted.len(), 1);
    for (endpoint, (row, _)) in endpoints.into_iter().zip(&told.accepted[0].deliveries) {
        let key = QueueKey { endpoint, due: START, message: message.id };
        let expected = QueueRow { key, attempt: 1, trigger: Trigger::Scheduled, not_before: START };
        assert_eq!(*row, expected);
        assert_eq!(shelf.row(endpoint), expected);
        assert_eq!(shelf.delivery(&message, endpoint), None, "first written with an attempt");
    }
    shelf.check();
    let again = shelf.reopened();
    assert_eq!(again.store.message(again.app, message.id).unwrap().unwrap().0, *message);
    assert_eq!(again.queue(endpoints[0]).len(), 1);
    again.check();
}

#[test]
fn only_who_wants_it_gets_it() {
    let shelf = Shelf::new();
    let some = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let all = shelf.endpoint();
    let types = some(&["order.paid"]);
    let wanted = shelf.endpoint_with(move |e| e.event_types = types);
    let types = some(&["order.sent"]);
    shelf.endpoint_with(move |e| e.event_types = types);
    let channels = some(&["north"]);
    shelf.endpoint_with(move |e| e.channels = channels);
    shelf.endpoint_with(|e| e.disabled = Some(DisabledReason::Manual));
    assert_eq!(shelf.accept().endpoints, [all, wanted]);
    let nobody = NewMessage { event_type: "x".to_owned(), ..new_message(b"{}") };
    shelf.change(all, |endpoint| endpoint.deleted = true);
    let message = shelf.try_accept(nobody).unwrap();
    assert_eq!(message.endpoints, [], "a message that nobody wants is kept all the same");
    assert!(shelf.store.message(shelf.app, message.id).unwrap().is_some());
    shelf.check();
}

#[test]
fn one_endpoint_alone_may_be_chosen() {
    let shelf = Shelf::new();
    let ids = [shelf.endpoint(), shelf.endpoint()];
    let app = shelf.app;
    let chosen = ids[1];
    let message = shelf.write(move |w| w.accept_for(app, chosen, new_message(b"{}"))).unwrap();
    assert_eq!(message.endpoints, [ids[1]]);
    let other = shelf.write(|w| w.put_application(new_application(w))).unwrap().id;
    let foreign = shelf.write(move |w| w.accept_for(other, chosen, new_message(b"{}")));
    assert!(matches!(foreign, Err(Error::NotFound("endpoint"))), "{foreign:?}");
    shelf.check();
}

#[test]
fn an_unknown_application_is_refused() {
    let shelf = Shelf::new();
    let refused = shelf.write(|w| w.accept(AppId([9; 20]), new_message(b"{}")));
    assert!(matches!(refused, Err(Error::NotFound("application"))), "{refused:?}");
    assert_eq!(shelf.rows("messages"), 0);
}

#[test]
fn an_event_id_is_taken_once() {
    let shelf = Shelf::new();
    shelf.endpoint();
    let new = || NewMessage { event_id: Some("e-1".to_owned()), ..new_message(b"{}") };
    let first = shelf.try_accept(new()).unwrap();
    let again = shelf.try_accept(new());
    assert!(
        matches!(&again, Err(Error::Conflict { field: "eventId", value }) if value == "e-1"),
        "{again:?}"
    );
    assert_eq!(shelf.store.message_of_event(shelf.app, "e-1").unwrap(), Some(first.id));
    let other = shelf.write(|w| w.put_application(new_application(w))).unwrap().id;
    assert!(shelf.write(move |w| w.accept(other, new())).is_ok(), "another application's own");
    assert_eq!(shelf.rows("messages"), 2);
    shelf.check();
    shelf.pass(RETENTION + seconds(1));
    shelf.store.expire_messages(shelf.app).unwrap();
    assert!(shelf.try_accept(new()).is_ok(), "free again with the message gone");
}

#[test]
fn an_event_id_is_taken_within_the_same_group_too() {
    let shelf = Shelf::new();
    let app = shelf.app;
    let new = || NewMessage { event_id: Some("e-1".to_owned()), ..new_message(b"{}") };
    let (first, second) = shelf
        .write(move |writer| Ok((writer.accept(app, new()).is_ok(), writer.accept(app, new()))))
        .unwrap();
    assert!(first);
    assert!(matches!(second, Err(Error::Conflict { .. })), "{second:?}");
}

#[test]
fn work_that_fails_leaves_nothing() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    shelf.heard();
    let app = shelf.app;
    let failed: Result<()> = shelf.write(move |writer| {
        writer.accept(app, new_message(b"{}"))?;
        Err(Error::NotFound("courage"))
    });
    assert!(failed.is_err());
    assert_eq!(shelf.rows("messages") + shelf.queue(endpoint).len(), 0);
    assert!(shelf.heard().is_empty());
}

#[test]
fn payloads_of_every_size_come_back_as_they_were() {
    let shelf = Shelf::new();
    let small = CHUNK_BYTES / 2;
    for size in [
        0,
        1,
        small,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        2 * CHUNK_BYTES,
        100_000,
        MAX_PAYLOAD_BYTES,
    ] {
        let payload: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let message = shelf.try_accept(new_message(&payload)).unwrap();
        let (_, found) = shelf.store.message(shelf.app, message.id).unwrap().unwrap();
        assert!(found == Payload::Here(payload.into()), "{size} bytes");
        let chunks = shelf.rows("payloads");
        if size <= small {
            assert_eq!(chunks, 0, "{size} bytes stand in the message's own row");
        } else if size > CHUNK_BYTES {
            assert_eq!(chunks, size.div_ceil(CHUNK_BYTES), "{size} bytes");
        }
        shelf.check();
        shelf.pass(RETENTION + seconds(1));
        shelf.store.expire_messages(shelf.app).unwrap();
        assert_eq!(shelf.rows("payloads"), 0, "{size} bytes leave nothing");
    }
}

#[test]
fn many_endpoints_are_all_remembered() {
    let shelf = Shelf::new();
    let app = shelf.app;
    let mut endpoints = Vec::new();
    let row = ENDPOINTS_PER_ROW;
    for count in [HEADER_ENDPOINTS, HEADER_ENDPOINTS + 1, row, row + 1, 257, 2 * row + 5] {
        let more = count - endpoints.len();
        let made = shelf.write(move |writer| {
            let mut made = Vec::new();
            for _ in 0..more {
                let endpoint = new_endpoint(writer, app);
                made.push(writer.put_endpoint(endpoint)?.id);
            }
            Ok(made)
        });
        endpoints.extend(made.unwrap());
        let message = shelf.accept();
        let (found, _) = shelf.store.message(app, message.id).unwrap().unwrap();
        assert_eq!(found.endpoints, endpoints, "{count} endpoints");
        for endpoint in &endpoints {
            assert!(shelf.queue(*endpoint).iter().any(|row| row.key.message == message.id));
        }
        shelf.check();
    }
}

#[test]
fn one_to_be_delivered_later_is_due_then() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let later = START.plus(seconds(3600));
    let new = NewMessage { deliver_at: Some(later), ..new_message(b"{}") };
    shelf.try_accept(new).unwrap();
    assert_eq!(shelf.row(endpoint).key.due, later);
    shelf.check();
}

#[test]
fn ordered_endpoints_keep_the_order_whatever_the_clock_does() {
    let shelf = Shelf::new();
    let ordered = shelf.endpoint_with(|endpoint| endpoint.ordered = true);
    let mut expected = Vec::new();
    let mut accept = |new: NewMessage| expected.push(shelf.try_accept(new).unwrap().id);
    let later = START.plus(seconds(600));
    accept(new_message(b"1"));
    accept(NewMessage { deliver_at: Some(later), ..new_message(b"2") });
    accept(new_message(b"3"));
    shelf.set(START.minus(seconds(3600)));
    accept(new_message(b"4"));
    shelf.set(START.plus(seconds(1200)));
    accept(new_message(b"5"));
    let rows = shelf.queue(ordered);
    assert_eq!(rows.iter().map(|row| row.key.message).collect::<Vec<_>>(), expected);
    assert_eq!(rows[2].key.due, later, "it waits for the one before");
    shelf.check();
}

#[test]
fn without_room_nothing_is_accepted() {
    for (full, name) in [
        ((|options| Options { min_free: u64::MAX, ..options }) as fn(_) -> _, "disk"),
        (|options| Options { max_size: 1, ..options }, "store"),
    ] {
        let shelf = Shelf::with(full);
        let endpoint = shelf.endpoint();
        let refused = shelf.try_accept(new_message(b"{}"));
        match name {
            "disk" => assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}"),
            _ => assert!(matches!(refused, Err(Error::StoreFull { limit: 1 })), "{refused:?}"),
        }
        assert_eq!(shelf.queue(endpoint), []);
        assert_eq!(shelf.rows("messages"), 0);
    }
}
