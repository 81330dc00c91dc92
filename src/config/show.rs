//! The effective value of every key, as text, and where it came from: `config show`, and what a
//! reload changed. Secrets are masked here and nowhere else.
use super::problem::Origin;
use super::raw::KEYS;
use super::secret::Secret;
use super::units::{format_duration, format_size};
use super::{Choice, Config};
use std::collections::BTreeMap;
use std::fmt::Display;

/// One key with its effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, as in `delivery.timeout`.
    pub key: &'static str,
    /// The value as it would be written in the file, secrets masked; `None` when it is not set.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Every key in the order of `data/posthaste.toml`. A key without an origin is built in.
pub fn settings(config: &Config, origins: &BTreeMap<&'static str, Origin>) -> Vec<Setting> {
    KEYS.into_iter()
        .map(|key| Setting {
            key,
            value: shown(config, key),
            origin: origins.get(key).cloned().unwrap_or(Origin::BuiltIn),
        })
        .collect()
}

/// The keys whose values differ, secrets by what they are and not by how they are shown.
pub fn changed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let secrets = |config: &Config| {
        let server = &config.server;
        let text =
            |secret: &Option<Secret>| secret.as_ref().map(|s| s.reveal().as_bytes().to_vec());
        [
            ("server.jwt_secret", text(&server.jwt_secret)),
            ("server.encryption_key", server.encryption_key.as_ref().map(|k| k.reveal().to_vec())),
            (
                "server.encryption_key_old",
                server.encryption_key_old.as_ref().map(|k| k.reveal().to_vec()),
            ),
            ("delivery.proxy", text(&config.delivery.proxy)),
        ]
    };
    let (old_secrets, new_secrets) = (secrets(old), secrets(new));
    let secret_changed = |key: &str| {
        old_secrets.iter().zip(&new_secrets).any(|(old, new)| old.0 == key && old.1 != new.1)
    };
    KEYS.into_iter()
        .filter(|key| secret_changed(key) || shown(old, key) != shown(new, key))
        .collect()
}

/// The value of one key as it would be written in the file.
fn shown(config: &Config, key: &str) -> Option<String> {
    let Config { server, storage, delivery, inbound, console, log } = config;
    let text = match key {
        "server.listen" => quoted(server.listen),
        "server.jwt_secret" => server.jwt_secret.as_ref()?.shown().to_owned(),
        "server.max_payload" => quoted(format_size(server.max_payload)),
        "server.max_connections" => server.max_connections.to_string(),
        "server.header_timeout" => quoted(format_duration(server.header_timeout)),
        "server.body_timeout" => quoted(format_duration(server.body_timeout)),
        "server.shutdown_grace" => quoted(format_duration(server.shutdown_grace)),
        "server.encryption_key" => server.encryption_key.as_ref()?.shown().to_owned(),
        "server.encryption_key_old" => server.encryption_key_old.as_ref()?.shown().to_owned(),
        "server.public_url" => quoted(server.public_url.as_ref()?),
        "storage.path" => quoted(storage.path.display()),
        "storage.sync" => quoted(storage.sync.word()),
        "storage.retention" => quoted(format_duration(storage.retention)),
        "storage.max_size" => quoted(format_size(storage.max_size.unwrap_or(0))),
        "storage.cache" => quoted(format_size(storage.cache)),
        "storage.min_free" => quoted(format_size(storage.min_free)),
        "delivery.retry_schedule" => {
            list(delivery.retry_schedule.iter().map(|wait| format_duration(*wait)))
        }
        "delivery.timeout" => quoted(format_duration(delivery.timeout)),
        "delivery.max_in_flight" => delivery.max_in_flight.to_string(),
        "delivery.per_endpoint_in_flight" => delivery.per_endpoint_in_flight.to_string(),
        "delivery.allow_networks" => list(delivery.allow_networks.iter()),
        "delivery.https_only" => delivery.https_only.to_string(),
        "delivery.proxy" => delivery.proxy.as_ref()?.shown().to_owned(),
        "delivery.ca_file" => quoted(delivery.ca_file.as_ref()?.display()),
        "delivery.client_cert_file" => quoted(delivery.client_cert_file.as_ref()?.display()),
        "delivery.default_signature" => quoted(delivery.default_signature.word()),
        "inbound.spool" => quoted(inbound.spool.as_ref()?.display()),
        "console.enabled" => console.enabled.to_string(),
        "log.level" => quoted(log.level.word()),
        "log.format" => quoted(log.format.word()),
        _ => return None,
    };
    Some(text)
}

fn quoted(value: impl Display) -> String {
    format!("{:?}", value.to_string())
}

fn list<T: Display>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(quoted).collect();
    format!("[{}]", values.join(", "))
}
