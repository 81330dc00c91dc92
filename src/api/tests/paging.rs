//! Walking lists page by page, forward and back: nothing is skipped, nothing comes twice.

use serde_json::{Value, json};

use super::{House, ids};

/// All pages from the first on.
fn walk(house: &House, path: &str, limit: usize) -> Vec<Value> {
    let join = if path.contains('?') { '&' } else { '?' };
    let mut pages = vec![house.get(&format!("{path}{join}limit={limit}")).is(200)];
    while pages.last().unwrap()["done"] == json!(false) {
        let iterator = pages.last().unwrap()["iterator"].as_str().unwrap().to_owned();
        pages.push(house.get(&format!("{path}{join}limit={limit}&iterator={iterator}")).is(200));
        assert!(pages.len() < 100, "no end to {path}");
    }
    pages
}

/// From the last page back to the first, each by the `prevIterator` of the one before.
fn walk_back(house: &House, path: &str, pages: &[Value]) {
    let mut page = pages.last().unwrap().clone();
    for expected in pages.iter().rev().skip(1) {
        let back = page["prevIterator"].as_str().expect("a page before this one").to_owned();
        page = house.get(&format!("{path}&iterator={back}")).is(200);
        assert_eq!(ids(&page), ids(expected), "{path} back");
        assert_eq!(page["done"], json!(false), "there is a page behind this one");
    }
    assert!(page.get("prevIterator").is_none_or(Value::is_null), "{path}: {page}");
}

fn check(house: &House, path: &str, expected: &[String]) {
    let join = if path.contains('?') { '&' } else { '?' };
    for limit in [1, 2, 3, expected.len(), expected.len() + 1] {
        let pages = walk(house, path, limit);
        let found: Vec<String> = pages.iter().flat_map(ids).collect();
        assert_eq!(found, expected, "{path} limit {limit}");
        assert_eq!(pages.len(), expected.len().div_ceil(limit).max(1), "{path} limit {limit}");
        assert!(pages[0].get("prevIterator").is_none_or(Value::is_null), "{}", pages[0]);
        for pair in pages.windows(2) {
            let back = pair[1]["prevIterator"].as_str().unwrap();
            assert!(back.starts_with('-'));
            let again = house.get(&format!("{path}{join}limit={limit}&iterator={back}")).is(200);
            assert_eq!(ids(&again), ids(&pair[0]), "{path} limit {limit} back");
        }
        walk_back(house, &format!("{path}{join}limit={limit}"), &pages);
    }
}

#[test]
fn every_list_can_be_walked() {
    let house = House::new();
    let mut apps: Vec<String> = (0..5).map(|n| house.app(&format!("a{n}"))).collect();
    check(&house, "/app", &apps);
    let app = apps[0].clone();
    apps.reverse();
    check(&house, "/app?order=descending", &apps);

    let mut endpoints: Vec<String> = (0..5).map(|_| house.endpoint(&app)).collect();
    check(&house, &format!("/app/{app}/endpoint?order=ascending"), &endpoints);
    let msg = house.message(&app, "t");
    check(&house, &format!("/app/{app}/msg/{msg}/endpoint"), &endpoints);
    let mut attempts: Vec<String> =
        endpoints.iter().map(|id| house.attempt(&app, id, 200)).collect();
    attempts.reverse();
    check(&house, &format!("/app/{app}/attempt/msg/{msg}"), &attempts);
    endpoints.reverse();
    check(&house, &format!("/app/{app}/endpoint"), &endpoints);

    let mut messages = vec![msg];
    messages.extend((0..6).map(|_| house.message(&app, "t")));
    let last = &endpoints[0];
    let mut attempts: Vec<String> = (0..6).map(|_| house.attempt(&app, last, 500)).collect();
    messages.reverse();
    check(&house, &format!("/app/{app}/msg"), &messages);
    check(&house, &format!("/app/{app}/endpoint/{last}/msg"), &messages);
    attempts.reverse();
    check(&house, &format!("/app/{app}/attempt/endpoint/{last}?status=2"), &attempts);
}

#[test]
fn an_empty_list_is_done() {
    let house = House::new();
    let page = house.get("/app").is(200);
    assert_eq!(page["data"], json!([]));
    assert_eq!((&page["iterator"], &page["done"]), (&Value::Null, &json!(true)));
}

#[test]
fn limits_of_a_page() {
    let house = House::new();
    for (limit, status) in
        [("0", 422), ("1", 200), ("250", 200), ("251", 422), ("-1", 422), ("x", 422)]
    {
        assert_eq!(house.get(&format!("/app?limit={limit}")).status, status, "{limit}");
    }
    house.get("/app?order=sideways").invalid(&["query", "order"]);
}
