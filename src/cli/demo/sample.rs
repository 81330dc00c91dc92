//! The demo's applications, endpoints and events, from `data/demo/`, inside the binary.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Name and text of every sample.
const FILES: [(&str, &str); 4] = [
    ("shop", include_str!("../../../data/demo/shop.json")),
    ("tracker", include_str!("../../../data/demo/tracker.json")),
    ("ci", include_str!("../../../data/demo/ci.json")),
    ("cms", include_str!("../../../data/demo/cms.json")),
];

/// One application and what happens in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// As the API takes it.
    pub application: Value,
    /// As the API takes them.
    pub event_types: Vec<Value>,
    /// Its subscriptions.
    pub endpoints: Vec<Endpoint>,
    /// Its events, each as the API takes it; bytes as they are in the file.
    pub messages: Vec<Box<RawValue>>,
}

/// A subscription of a sample.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// One word.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Where on the receiver; unique over all samples.
    pub path: String,
    /// What it wants; `None` is everything.
    pub event_types: Option<Vec<String>>,
    /// How its receiver behaves.
    #[serde(default)]
    pub behaviour: Behaviour,
}

/// How a sample's receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Takes everything.
    #[default]
    Good,
    /// Fails the first two attempts of every message.
    FailsTwice,
}

impl Behaviour {
    /// Attempts that fail before one succeeds.
    pub fn failures(self) -> u32 {
        match self {
            Self::Good => 0,
            Self::FailsTwice => 2,
        }
    }
}

/// Reads every sample.
///
/// # Errors
/// One is not as it should be; a test keeps that from happening.
pub fn read() -> anyhow::Result<Vec<Sample>> {
    let read = |(name, text): (&str, &str)| {
        serde_json::from_str(text).with_context(|| format!("failed to read sample {name}"))
    };
    FILES.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::table::field;

    #[test]
    fn samples_hold_together() {
        let samples = read().unwrap();
        let mut paths = BTreeSet::new();
        for sample in &samples {
            let app = field(&sample.application, "name");
            let known: BTreeSet<String> =
                sample.event_types.iter().map(|event_type| field(event_type, "name")).collect();
            for endpoint in &sample.endpoints {
                assert!(endpoint.path.starts_with('/'), "{app}: {}", endpoint.path);
                assert!(paths.insert(&endpoint.path), "{app}: {} is used twice", endpoint.path);
                let wanted = endpoint.event_types.iter().flatten();
                wanted.for_each(|name| assert!(known.contains(name), "{app}: {name}"));
            }
            assert!(!sample.messages.is_empty(), "{app} sends nothing");
            for message in &sample.messages {
                let message: Value = serde_json::from_str(message.get()).unwrap();
                assert!(known.contains(&field(&message, "eventType")), "{app}: {message}");
                assert!(message["payload"].is_object(), "{app}: {message}");
            }
        }
        let endpoints = || samples.iter().flat_map(|sample| &sample.endpoints);
        assert!(endpoints().any(|e| e.behaviour == Behaviour::FailsTwice), "nothing is retried");
        assert!(endpoints().any(|e| e.event_types.is_some()), "nothing is filtered");
    }
}
