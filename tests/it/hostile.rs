//! Two hundred hostile receivers at once, against the real daemon: every attempt is recorded with
//! its cause and within its deadline, memory stays where it is, and the healthy notice nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile_receivers::Receivers;
use crate::hostile_tools::{House, until};
use crate::support::receiver::{Policy, Receiver};

/// Endpoints for each script: 8 of each of 25 are the two hundred.
const EACH: usize = 8;
/// `delivery.timeout`.
const DEADLINE: Duration = Duration::from_secs(2);
/// So much later an attempt may end.
const SLACK: Duration = Duration::from_secs(1);
/// Bytes that memory may grow by.
const GROWTH: u64 = 10 << 20;

/// Sends `count` messages one after the other; how long each took to arrive, in order.
fn arrivals(house: &House, app: &str, receiver: &Receiver, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let id = house.send(app);
        let arrived = receiver.wait(Duration::from_secs(20), |ledger| ledger.successes(&id) > 0);
        assert!(arrived, "{id} did not arrive");
        let at = receiver.ledger(|ledger| {
            ledger.arrivals.iter().find(|one| one.id == id).map(|one| one.arrived).unwrap()
        });
        took.push(at.saturating_duration_since(begun));
    }
    took.sort_unstable();
    took
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn two_hundred_hostile_receivers_at_once() {
    let house = House::start(&[
        ("POSTHASTE_DELIVERY_TIMEOUT", "2s"),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]"),
    ]);
    let healthy = Receiver::start(1, Policy::default()).unwrap();
    let good = house.app("healthy");
    house.endpoint(&good, &healthy.url());
    let receivers = Receivers::start();
    let bad = house.app("hostile");
    let mut endpoints = HashMap::new();
    for (url, expected) in receivers.each() {
        for n in 0..EACH {
            endpoints.insert(house.endpoint(&bad, &format!("{url}/{n}")), expected);
        }
    }
    assert_eq!(endpoints.len(), 200);

    let idle = house.memory();
    // What two hundred attempts at once cost with receivers that are merely slow, and enough
    // messages that the store's cache has its size: what comes on top of it is the hostility.
    let honest = Receiver::start(
        2,
        Policy { slow_percent: 100, slow_max: DEADLINE / 2, ..Policy::default() },
    );
    let honest = honest.unwrap();
    let slow = house.app("slow");
    for n in 0..endpoints.len() {
        house.endpoint(&slow, &format!("{}/{n}", honest.url()));
    }
    house.send(&slow);
    let all =
        honest.wait(Duration::from_secs(20), |ledger| ledger.arrivals.len() == endpoints.len());
    assert!(all, "the honest receivers were not asked");
    let quiet = arrivals(&house, &good, &healthy, 2000);
    let before = house.memory();
    let message = house.send(&bad);
    let mut peak = before;
    let mut during = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        during.extend(arrivals(&house, &good, &healthy, 5));
        peak = peak.max(house.memory());
    }
    during.sort_unstable();
    println!(
        "healthy, send to receive: p50 {:?} p99 {:?} before, p50 {:?} p99 {:?} during ({} messages); \
         memory {} KiB idle, {} KiB with 200 slow ones, {} KiB with 200 hostile ones",
        at(&quiet, 50),
        at(&quiet, 99),
        at(&during, 50),
        at(&during, 99),
        during.len(),
        idle / 1024,
        before / 1024,
        peak / 1024,
    );
    let allowed = (at(&quiet, 99) * 5).max(Duration::from_millis(300));
    assert!(at(&during, 99) < allowed, "the healthy endpoint waited {:?}", at(&during, 99));
    assert!(peak - before < GROWTH, "memory grew by {} KiB", (peak - before) / 1024);

    let ended = || (receivers.open() == 0).then_some(());
    until("the connections' ends", DEADLINE + SLACK, ended);
    assert_eq!(receivers.seen(), 200, "one connection for each attempt");
    assert!(house.memory().saturating_sub(before) < GROWTH, "memory stays grown");
    check_attempts(&house, &bad, &message, &endpoints);
    house.stop();
}

/// One attempt for each endpoint, recorded as expected and inside its deadline.
fn check_attempts(
    house: &House,
    app: &str,
    message: &str,
    endpoints: &HashMap<String, &crate::hostile_receivers::Expected>,
) {
    let attempts = until("200 attempts", DEADLINE + SLACK, || {
        let mut all: Vec<Value> = Vec::new();
        let path = format!("/api/v1/app/{app}/attempt/msg/{message}?limit=250");
        let page = house.expect(200, "GET", &path, &Value::Null);
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        (all.len() >= endpoints.len()).then_some(all)
    });
    assert_eq!(attempts.len(), endpoints.len());
    let mut wrong = Vec::new();
    for attempt in &attempts {
        let expected = endpoints[attempt["endpointId"].as_str().unwrap()];
        let code = attempt["failureCode"].as_str().unwrap_or_default();
        let took = Duration::from_millis(attempt["responseDurationMs"].as_u64().unwrap());
        let response = attempt["response"].as_str().unwrap();
        let fits = attempt["responseStatusCode"] == json!(expected.status)
            && code == expected.code
            && attempt["status"] == json!(if code.is_empty() { 0 } else { 2 })
            && took < DEADLINE + SLACK
            && response.len() <= 16 * 1024 * 3
            // Without an answer, what people read is the cause.
            && (expected.status != 0 || response.contains(' '));
        if !fits {
            let shown: String = response.chars().take(60).collect();
            wrong.push(format!(
                "{}: {} {code} {took:?} {shown:?}, not {} {}",
                expected.name, attempt["responseStatusCode"], expected.status, expected.code
            ));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
