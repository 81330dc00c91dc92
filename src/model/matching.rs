//! Which endpoints of an application a message is for: by index, never by scan.
//!
//! Built anew whenever an endpoint of the application changes; read for every message.

use std::collections::HashMap;

use super::endpoint::SharedEndpoint;

/// Why an endpoint is or is not for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Matches,
    /// The endpoint is disabled.
    Disabled,
    /// The event type is not on its list.
    EventType,
    /// None of the message's channels is on its list.
    Channel,
}

/// The verdict for one endpoint, spelled out. [`Matcher::matches`] finds the same by index.
pub fn explain(
    endpoint: &super::endpoint::Endpoint,
    event_type: &str,
    channels: &[String],
) -> Verdict {
    if !endpoint.is_active() {
        return Verdict::Disabled;
    }
    if let Some(wanted) = &endpoint.event_types
        && !wanted.iter().any(|pattern| pattern_matches(pattern, event_type))
    {
        return Verdict::EventType;
    }
    if channel_matches(endpoint, channels) { Verdict::Matches } else { Verdict::Channel }
}

/// Whether a pattern (`order.paid`, `order.*`, `*`) is for this event type.
pub fn pattern_matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => event_type.starts_with(prefix),
        None => pattern == event_type,
    }
}

fn channel_matches(endpoint: &super::endpoint::Endpoint, channels: &[String]) -> bool {
    endpoint.channels.as_ref().is_none_or(|wanted| channels.iter().any(|c| wanted.contains(c)))
}

/// An index over the active endpoints of one application.
#[derive(Debug, Default)]
pub struct Matcher {
    endpoints: Vec<SharedEndpoint>,
    /// Endpoints that want every event type.
    everything: Vec<usize>,
    /// By the exact name.
    by_name: HashMap<String, Vec<usize>>,
    /// By what stands before the `*`: `order.` for `order.*`, the empty text for `*`.
    by_prefix: HashMap<String, Vec<usize>>,
}

impl Matcher {
    /// Indexes the active ones of `endpoints`.
    pub fn new<'a>(endpoints: impl Iterator<Item = &'a SharedEndpoint>) -> Self {
        let mut index = Self::default();
        for endpoint in endpoints.filter(|e| e.is_active()) {
            let at = index.endpoints.len();
            match &endpoint.event_types {
                None => index.everything.push(at),
                Some(patterns) => index.add_patterns(patterns, at),
            }
            index.endpoints.push(SharedEndpoint::clone(endpoint));
        }
        index
    }

    fn add_patterns(&mut self, patterns: &[String], at: usize) {
        for pattern in patterns {
            let (map, key) = match pattern.strip_suffix('*') {
                Some(prefix) => (&mut self.by_prefix, prefix),
                None => (&mut self.by_name, pattern.as_str()),
            };
            map.entry(key.to_owned()).or_default().push(at);
        }
    }

    /// The endpoints a message is for, in the order they were made, each once.
    pub fn matches(&self, event_type: &str, channels: &[String]) -> Vec<&SharedEndpoint> {
        let mut found = self.everything.clone();
        found.extend(self.by_name.get(event_type).into_iter().flatten());
        if !self.by_prefix.is_empty() {
            let dots = event_type.match_indices('.').map(|(at, _)| at + 1);
            for end in std::iter::once(0).chain(dots) {
                let prefix = event_type.get(..end).unwrap_or_default();
                found.extend(self.by_prefix.get(prefix).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        let endpoint = |at: usize| self.endpoints.get(at);
        found.into_iter().filter_map(endpoint).filter(|e| channel_matches(e, channels)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::endpoint::{DisabledReason, Endpoint};
    use crate::model::id::{AppId, EndpointId};

    fn endpoint(
        n: u8,
        types: Option<Vec<String>>,
        channels: Option<Vec<String>>,
        off: bool,
    ) -> SharedEndpoint {
        Arc::new(Endpoint {
            disabled: off.then_some(DisabledReason::Manual),
            event_types: types,
            channels,
            metadata: std::collections::BTreeMap::new(),
            secrets: vec![],
            ..Endpoint::new(
                EndpointId([n; 20]),
                AppId([0; 20]),
                "https://example.com",
                Timestamp(0),
            )
        })
    }

    fn names(alphabet: &'static str) -> impl Strategy<Value = String> {
        proptest::string::string_regex(alphabet).unwrap()
    }

    proptest! {
        /// The index and the plain reading of the rule agree.
        #[test]
        fn index_finds_what_explain_says(
            specs in proptest::collection::vec((
                proptest::option::of(proptest::collection::vec(names(r"[ab](\.[ab]){0,2}(\.\*)?|\*"), 1..4)),
                proptest::option::of(proptest::collection::vec(names("[xy]"), 1..3)),
                any::<bool>(),
            ), 0..12),
            event_type in names(r"[ab](\.[ab]){0,3}"),
            channels in proptest::collection::vec(names("[xyz]"), 0..3),
        ) {
            let endpoints: Vec<_> = specs.into_iter().enumerate()
                .map(|(n, (t, c, off))| endpoint(u8::try_from(n).unwrap(), t, c, off)).collect();
            let matcher = Matcher::new(endpoints.iter());
            let found: Vec<_> = matcher.matches(&event_type, &channels).iter().map(|e| e.id).collect();
            let expected: Vec<_> = endpoints.iter()
                .filter(|e| explain(e, &event_type, &channels) == Verdict::Matches).map(|e| e.id).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
