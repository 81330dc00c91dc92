//! Reading the message log.

use std::time::Duration;

use serde_json::{Value, json};

use super::{House, ids};

fn scene(count: usize) -> (House, String, Vec<String>) {
    let house = House::new();
    let app = house.app("shop");
    let all = (0..count).map(|n| house.message(&app, if n % 2 == 0 { "a" } else { "b" })).collect();
    (house, app, all)
}

#[test]
fn events_are_read_in_order_with_an_iterator_of_ones_own() {
    let (house, app, all) = scene(5);
    let first = house.get("/app/shop/events?limit=2").is(200);
    assert_eq!((ids(&first), &first["done"]), (all[..2].to_vec(), &json!(false)));
    let iterator = first["iterator"].as_str().unwrap().to_owned();
    let rest = house.get(&format!("/app/shop/events?iterator={iterator}")).is(200);
    assert_eq!((ids(&rest), &rest["done"]), (all[2..].to_vec(), &json!(true)));
    let end = rest["iterator"].as_str().unwrap().to_owned();
    let none = house.get(&format!("/app/shop/events?iterator={end}")).is(200);
    assert_eq!((ids(&none), none["iterator"].as_str()), (vec![], Some(end.as_str())));
    let more = house.message(&app, "a");
    let new = house.get(&format!("/app/shop/events?iterator={end}")).is(200);
    assert_eq!(ids(&new), [more]);
    let only = house.get("/app/shop/events?event_types=b").is(200);
    assert_eq!(ids(&only), [all[1].clone(), all[3].clone()]);
    house.get("/app/shop/events?iterator=x").invalid(&["query", "iterator"]);
    house.get("/app/shop/events?limit=251").invalid(&["query", "limit"]);
}

#[test]
fn an_empty_log_has_an_iterator_too() {
    let house = House::new();
    let app = house.app("shop");
    let none = house.get("/app/shop/events").is(200);
    let iterator = none["iterator"].as_str().unwrap();
    let first = house.message(&app, "a");
    assert_eq!(ids(&house.get(&format!("/app/shop/events?iterator={iterator}")).is(200)), [first]);
}

#[test]
fn a_sink_that_is_an_endpoint_reads_what_that_wants() {
    let (house, _, all) = scene(4);
    house.post("/event-type", &json!({ "name": "a", "description": "" })).is(201);
    let body =
        json!({ "url": "https://a.example", "uid": "sink", "eventTypes": ["a"], "disabled": true });
    house.post("/app/shop/endpoint", &body).is(201);
    let got = house.get("/app/shop/poller/sink").is(200);
    assert_eq!(ids(&got), [all[0].clone(), all[2].clone()]);
    assert_eq!(ids(&house.get("/app/shop/poller/whatever").is(200)), all);
    assert_eq!(house.get("/app/shop/events/subscription/sink").is(200), got);
    let only = house.get("/app/shop/poller/whatever?event_type=b").is(200);
    assert_eq!(ids(&only), [all[1].clone(), all[3].clone()]);
    house.get("/app/shop/poller/a%20b").invalid(&["path", "sink_id"]);
}

#[test]
fn a_consumer_gets_the_same_until_it_says_how_far_it_came() {
    let (house, _, all) = scene(5);
    let path = "/app/shop/poller/log/consumer/c1";
    let first = house.get(&format!("{path}?limit=2")).is(200);
    assert_eq!(house.get(&format!("{path}?limit=2")).is(200), first, "nothing was said");
    let iterator = first["iterator"].as_str().unwrap();
    let second = house.get(&format!("{path}?limit=2&iterator={iterator}")).is(200);
    assert_eq!(ids(&second), all[2..4]);
    assert_eq!(house.get(&format!("{path}?limit=2")).is(200), second, "it is kept");
    assert_eq!(ids(&house.get("/app/shop/poller/log/consumer/c2").is(200)), all, "each by itself");
    let seek = json!({ "after": "2020-01-01T00:00:00Z" });
    let sought = house.post(&format!("{path}/seek"), &seek).is(200);
    assert!(sought["iterator"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(ids(&house.get(path).is(200)), all);
    let later = house.api.store.now().plus(Duration::from_secs(60)).to_string();
    house.post(&format!("{path}/seek"), &json!({ "after": later })).is(200);
    assert!(ids(&house.get(path).is(200)).is_empty());
    house.post(&format!("{path}/seek"), &json!({})).invalid(&["body", "after"]);
}

#[test]
fn a_lease_holds_messages_until_they_are_committed() {
    let (house, _, all) = scene(5);
    let path = "/app/shop/polling-endpoint/log/consumer/c1";
    let first = house.get(&format!("{path}?limit=3")).is(200);
    assert_eq!(ids(&first), all[..3]);
    let offsets: Vec<_> =
        first["data"].as_array().unwrap().iter().map(|m| m["offset"].clone()).collect();
    assert_eq!(offsets, [0, 1, 2]);
    let held = house.get(path).is(200);
    assert_eq!((ids(&held), &held["done"]), (vec![], &json!(false)));
    let commit = |offset: u64| house.post(&format!("{path}/commit"), &json!({ "offset": offset }));
    commit(3).invalid(&["body", "offset"]);
    commit(1).is(204);
    commit(1).is(204);
    let rest = house.get(path).is(200);
    assert_eq!(ids(&rest), all[2..], "what was not committed comes again");
    assert_eq!(rest["data"][0]["offset"], 2);
    commit(4).is(204);
    assert!(ids(&house.get(path).is(200)).is_empty());
    house
        .post("/app/shop/polling-endpoint/log/consumer/x/commit", &json!({ "offset": 0 }))
        .refused(404, "not_found");
    for (query, field) in [
        ("lease_duration_ms=999", "lease_duration_ms"),
        ("lease_duration_ms=43200001", "lease_duration_ms"),
    ] {
        house.get(&format!("{path}?{query}")).invalid(&["query", field]);
    }
    let new = "/app/shop/polling-endpoint/log/consumer/new?starting_position=";
    house.get(&format!("{new}middle")).invalid(&["query", "starting_position"]);
    assert!(ids(&house.get(&format!("{new}latest&lease_duration_ms=1000")).is(200)).is_empty());
}

#[test]
fn a_lease_looks_on_behind_what_it_passed_over() {
    use crate::model::message::NewMessage;
    use crate::store::pages::PAGE_SCAN;
    let (house, app, _) = scene(0);
    let id = app.parse().unwrap();
    for _ in 0..=PAGE_SCAN / 500 {
        let fill = move |writer: &mut crate::store::Writer<'_>| {
            (0..500).try_for_each(|_| {
                writer.accept(id, NewMessage::new("b", bytes::Bytes::from_static(b"{}"))).map(drop)
            })
        };
        house.runtime.block_on(house.api.write(fill)).unwrap();
    }
    let wanted = house.message(&app, "a");
    let path = "/app/shop/polling-endpoint/log/consumer/c1?event_types=a";
    // A slow machine ends a page sooner, but gets on with each.
    for _ in 0..200 {
        let page = house.get(path).is(200);
        if !ids(&page).is_empty() {
            assert_eq!(ids(&page), [wanted]);
            assert_eq!(page["data"][0]["offset"], 0);
            return;
        }
        assert_eq!(page["done"], json!(false));
    }
    panic!("it never gets past what it does not want");
}

#[test]
fn so_many_consumers_and_no_more() {
    use crate::store::cursors::{CONSUMERS, ConsumerKey, Cursor};
    let (house, app, _) = scene(1);
    let app = app.parse().unwrap();
    let fill = move |writer: &mut crate::store::Writer<'_>| {
        (0..CONSUMERS).try_for_each(|n| {
            let key = ConsumerKey { app, sink: "log".to_owned(), consumer: format!("c{n}") };
            writer.put_cursor(&key, &Cursor::start())
        })
    };
    house.api.store.write_and_wait(fill).unwrap();
    house.get("/app/shop/poller/log/consumer/c7").is(200);
    house.get("/app/shop/poller/log/consumer/one-more").refused(400, "limit_reached");
    house.call("DELETE", "/app/shop", &Value::Null).is(204);
    let key = ConsumerKey { app, sink: "log".to_owned(), consumer: "c7".to_owned() };
    assert_eq!(house.api.store.cursor(&key).unwrap(), None);
}
