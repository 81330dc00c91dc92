//! `GET /metrics`: what happened is counted, and not everybody sees it.

use std::time::Duration;

use crate::hostile_tools::{House, until};
use crate::support::receiver::{Policy, Receiver};

/// The value of a line of the metrics.
fn value(house: &House, line: &str) -> u64 {
    let text = house.ask("GET", "/metrics", "").text();
    let found = text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in:\n{text}"))
}

#[track_caller]
fn check(house: &House, expected: &[(&str, u64)]) {
    for (line, expected) in expected {
        until(&format!("{line} {expected}"), Duration::from_secs(20), || {
            (value(house, line) == *expected).then_some(())
        });
    }
}

#[test]
fn what_happened_is_counted() {
    let house = House::start(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")]);
    check(&house, &[("posthaste_messages_accepted_total", 0)]);
    let receiver = Receiver::start(1, Policy::default()).unwrap();
    let good = house.app("good");
    house.endpoint(&good, &receiver.url());
    house.send(&good);
    house.send(&good);
    check(
        &house,
        &[
            ("posthaste_messages_accepted_total", 2),
            ("posthaste_attempts_total{outcome=\"succeeded\"}", 2),
            ("posthaste_attempts_total{outcome=\"failed\"}", 0),
            ("posthaste_deliveries_exhausted_total", 0),
        ],
    );
    // Nobody listens there: the only try fails, and five of them pause the endpoint.
    let bad = house.app("bad");
    house.endpoint(&bad, "http://127.0.0.1:1/");
    for _ in 0..5 {
        house.send(&bad);
    }
    check(
        &house,
        &[
            ("posthaste_messages_accepted_total", 7),
            ("posthaste_attempts_total{outcome=\"succeeded\"}", 2),
            ("posthaste_attempts_total{outcome=\"failed\"}", 5),
            ("posthaste_deliveries_exhausted_total", 5),
            ("posthaste_endpoint_pauses_total", 1),
            ("posthaste_endpoints_paused", 1),
            ("posthaste_attempts_in_flight", 0),
        ],
    );
    assert!(value(&house, "posthaste_store_bytes") > 0);
    let before = value(&house, "posthaste_disk_syncs_total");
    (0..3).for_each(|_| drop(house.send(&bad)));
    let syncs = value(&house, "posthaste_disk_syncs_total") - before;
    assert!(syncs >= 3, "each was sent after the one before lasted: {syncs}");
    assert_eq!(house.ask("POST", "/in/nobody", "{}").status, 404);
    check(
        &house,
        &[
            ("posthaste_inbound_requests_total{outcome=\"refused\"}", 1),
            ("posthaste_inbound_requests_total{outcome=\"accepted\"}", 0),
            ("posthaste_refused_for_room_total", 0),
            ("posthaste_endpoints_disabled_total", 0),
        ],
    );
    house.stop();
}

#[test]
fn only_the_first_organisation_sees_the_figures() {
    let house = House::start(&[]);
    let app = house.app("customer");
    let reply = house.ask("GET", "/metrics", "");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(house.ask_as("nonsense", "GET", "/metrics", "").status, 401);
    let portal = house.mint(&["--app", &app], &[]);
    assert_eq!(house.ask_as(&portal, "GET", "/metrics", "").status, 403);
    let stranger = house.mint(&["--org", "org_00000000000000000000000002t"], &[]);
    assert_eq!(house.ask_as(&stranger, "GET", "/metrics", "").status, 403);
    house.stop();
}
