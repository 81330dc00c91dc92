//! The sample events in `data/demo/` keep the shape that the `demo` command reads, and show what it
//! promises to show: an endpoint that fails twice, and a message that an endpoint filters out.
//!
//! One file for each application:
//!
//! | key | holds |
//! |---|---|
//! | `application` | `name` and `uid` |
//! | `eventTypes` | list of `name`, `description`, and optionally `schemas` (version to JSON schema) |
//! | `endpoints` | list of `name`, `description`, `path` at the receiver, `eventTypes` (absent: all of them), and optionally `behaviour`: `fails_twice` |
//! | `messages` | list of `eventType`, `payload`, and optionally `eventId` |
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

const FILES: [&str; 4] = ["ci.json", "cms.json", "shop.json", "tracker.json"];

fn read(file: &str) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo").join(file);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Vec<&'a Map<String, Value>> {
    let list = object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_object).collect()
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Fails on a key that is not known and on one that is missing.
#[track_caller]
fn check_keys(object: &Map<String, Value>, needed: &[&str], optional: &[&str], place: &str) {
    for key in needed {
        assert!(object.contains_key(*key), "{place} has no {key}");
    }
    for key in object.keys() {
        let known = needed.contains(&key.as_str()) || optional.contains(&key.as_str());
        assert!(known, "{place} has an unknown {key}");
    }
}

/// The event types an endpoint wants; `None` for all.
fn wanted(endpoint: &Map<String, Value>) -> Option<Vec<&str>> {
    let types = endpoint.get("eventTypes")?.as_array()?;
    Some(types.iter().filter_map(Value::as_str).collect())
}

#[test]
fn every_file_has_the_shape() {
    let mut paths = BTreeSet::new();
    for file in FILES {
        let demo = read(file);
        check_keys(&demo, &["application", "eventTypes", "endpoints", "messages"], &[], file);
        let application = demo.get("application").and_then(Value::as_object).expect(file);
        check_keys(application, &["name", "uid"], &[], file);
        let types: BTreeSet<&str> = list(&demo, "eventTypes")
            .into_iter()
            .inspect(|kind| check_keys(kind, &["name", "description"], &["schemas"], file))
            .map(|kind| text(kind, "name"))
            .collect();
        for endpoint in list(&demo, "endpoints") {
            let optional = ["eventTypes", "behaviour"];
            check_keys(endpoint, &["name", "description", "path"], &optional, file);
            assert!(text(endpoint, "path").starts_with('/'), "{file}: {endpoint:?}");
            assert!(paths.insert(text(endpoint, "path").to_owned()), "{file}: {endpoint:?}");
            for kind in wanted(endpoint).unwrap_or_default() {
                assert!(types.contains(kind), "{file}: {kind} is no event type");
            }
            let behaviour = endpoint.get("behaviour").map(|b| b.as_str().unwrap_or_default());
            assert!([None, Some("fails_twice")].contains(&behaviour), "{file}: {behaviour:?}");
        }
        let mut ids = BTreeSet::new();
        for message in list(&demo, "messages") {
            check_keys(message, &["eventType", "payload"], &["eventId"], file);
            assert!(types.contains(text(message, "eventType")), "{file}: {message:?}");
            assert!(message.get("payload").is_some_and(Value::is_object), "{file}: {message:?}");
            let id = message.get("eventId").and_then(Value::as_str);
            assert!(id.is_none_or(|id| ids.insert(id)), "{file}: {id:?} comes twice");
        }
        let sent: BTreeSet<&str> =
            list(&demo, "messages").iter().map(|message| text(message, "eventType")).collect();
        assert_eq!(sent, types, "{file} sends each of its event types");
    }
    assert!(paths.len() >= FILES.len());
}

#[test]
fn no_file_lies_there_that_is_not_looked_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, FILES);
}

#[test]
fn a_retry_and_a_filtered_message_can_be_seen() {
    let (mut retried, mut filtered) = (0, 0);
    for file in FILES {
        let demo = read(file);
        for endpoint in list(&demo, "endpoints") {
            let wanted = wanted(endpoint);
            for message in list(&demo, "messages") {
                let kind = text(message, "eventType");
                let matches = wanted.as_ref().is_none_or(|types| types.contains(&kind));
                let fails = text(endpoint, "behaviour") == "fails_twice";
                retried += u32::from(matches && fails);
                filtered += u32::from(!matches);
            }
        }
    }
    assert!(retried >= 1, "no message meets an endpoint that fails twice");
    assert!(filtered >= 1, "no endpoint filters a message out");
}
