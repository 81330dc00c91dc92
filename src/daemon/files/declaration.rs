//! What a folder of files describes, and what `posthaste apply` sends: the shapes, and nothing of
//! what they mean.
//!
//! The same types read TOML and JSON. No `Debug`: most of it may be secret.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::units::{parse_duration, parse_size};

/// Everything that is described, by the name it has in the files: its uid.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declaration {
    /// `[event_types."order.paid"]`
    pub event_types: BTreeMap<String, EventTypeFile>,
    /// `[applications.shop]`
    pub applications: BTreeMap<String, ApplicationFile>,
    /// `[sources.stripe]`
    pub sources: BTreeMap<String, SourceFile>,
    /// `[providers.mine]`: profiles of the operator's own.
    pub providers: Profiles,
}

/// An event type.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventTypeFile {
    /// Shown to people.
    pub description: String,
    /// A heading that portals group it under.
    pub group: Option<String>,
    /// Hidden from lists.
    pub archived: bool,
    /// Shown as deprecated.
    pub deprecated: bool,
    /// Names under which portals may see it.
    pub feature_flags: Vec<String>,
    /// Waits between tries, in place of the global schedule.
    pub retry_schedule: Option<Vec<Span>>,
}

/// An application and its endpoints.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplicationFile {
    /// Shown to people; its uid when left out.
    pub name: Option<String>,
    /// Messages a second over all its endpoints.
    pub throttle_rate: Option<u32>,
    /// Notes.
    pub metadata: BTreeMap<String, String>,
    /// `[applications.shop.endpoints.crm]`
    pub endpoints: BTreeMap<String, EndpointFile>,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointFile {
    /// Where deliveries go.
    pub url: String,
    /// Shown to people.
    #[serde(default)]
    pub description: String,
    /// Names and patterns it wants; left out = all.
    #[serde(default)]
    pub event_types: Option<Vec<String>>,
    /// Channels it listens on; left out = all.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// What deliveries are signed with, or `env:` or `file:`; one is made when left out.
    #[serde(default)]
    pub secret: Option<String>,
    /// Messages a second.
    #[serde(default)]
    pub throttle_rate: Option<u32>,
    /// One at a time, in order.
    #[serde(default)]
    pub ordered: bool,
    /// Whether it gets anything.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Headers of its own; values may be `env:` or `file:`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A source.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// The profile that verifies, or `generic`.
    pub provider: String,
    /// Shown to people; its uid when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The application it delivers to; one is made for it when left out.
    #[serde(default)]
    pub application: Option<String>,
    /// The provider's secrets, or `env:` or `file:`; any may match.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Values for the profile's settings, or `env:` or `file:`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Provider's event type → ours.
    #[serde(default)]
    pub event_types: BTreeMap<String, String>,
    /// Put before every event type that the map does not name.
    #[serde(default)]
    pub event_type_prefix: String,
    /// Patterns of the event types that are wanted; left out = all.
    #[serde(default)]
    pub filter: Option<Vec<String>>,
    /// Headers that go along; left out = those that say what the event is.
    #[serde(default)]
    pub keep_headers: Option<Vec<String>>,
    /// The public URL as the provider has it.
    #[serde(default)]
    pub url: Option<String>,
    /// The largest body.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// Requests a second.
    #[serde(default)]
    pub rate: Option<u32>,
    /// How long a repetition is recognised.
    #[serde(default)]
    pub dedupe: Option<Span>,
    /// Whether it takes anything.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The end of its URL, or `env:` or `file:`; one is made when left out.
    #[serde(default)]
    pub token: Option<String>,
    /// Notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

/// A length of time: `"3d"` in files, milliseconds in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

/// A size: `"1MiB"` in files, bytes in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Words::deserialize(deserializer)? {
            Words::Number(ms) => Ok(Self(Duration::from_millis(ms))),
            Words::Text(text) => parse_duration(&text).map(Self).map_err(|err| unit(&err)),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Words::deserialize(deserializer)? {
            Words::Number(bytes) => Ok(Self(bytes)),
            Words::Text(text) => parse_size(&text).map(Self).map_err(|err| unit(&err)),
        }
    }
}

fn unit<E: serde::de::Error>(error: &crate::config::units::UnitError) -> E {
    E::custom(format!("{:?} {}; {}", error.value, error.what, error.way_out))
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Profiles of the operator's own, as the text of a table that the engine reads.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Profiles(pub String);

impl<'de> Deserialize<'de> for Profiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Tables(toml::Table),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text)),
            Written::Tables(tables) => {
                toml::to_string(&tables).map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// Where something stands in the files: `["sources", "stripe", "secrets"]`.
pub type Path = Vec<String>;

impl Declaration {
    /// Every text that may be a reference (`env:NAME`, `file:PATH`), with its place.
    pub fn references(&mut self) -> Vec<(Path, &mut String)> {
        let mut found: Vec<(Path, &mut String)> = Vec::new();
        for (app, application) in &mut self.applications {
            for (name, endpoint) in &mut application.endpoints {
                let at = |field: &str| path(&["applications", app, "endpoints", name, field]);
                found.extend(endpoint.secret.iter_mut().map(|text| (at("secret"), text)));
                let headers = endpoint.headers.values_mut();
                found.extend(headers.map(|text| (at("headers"), text)));
            }
        }
        for (name, source) in &mut self.sources {
            let at = |field: &str| path(&["sources", name, field]);
            found.extend(source.secrets.iter_mut().map(|text| (at("secrets"), text)));
            found.extend(source.settings.values_mut().map(|text| (at("settings"), text)));
            found.extend(source.token.iter_mut().map(|text| (at("token"), text)));
        }
        found
    }
}

/// A place out of its parts.
pub fn path(parts: &[&str]) -> Path {
    parts.iter().map(|part| (*part).to_owned()).collect()
}
