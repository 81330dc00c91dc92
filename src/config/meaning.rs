//! What is meant: puts one written value into its field of [`Config`], or says why it cannot.
//!
//! One line a key in [`apply`], with its limit from [`super::limits`]. Keys against each other are
//! the business of [`super::checks`].
use super::network::Network;
use super::problem::{Fault, MASK};
use super::raw::Value;
use super::secret::{self, MasterKey, Secret};
use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::{Choice, Config, limits};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The schedule that the Standard Webhooks text recommends, by the name of `"standard"`: seconds
/// of 0, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
pub const STANDARD_SCHEDULE: [u64; 10] =
    [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The keys whose values are never shown.
pub const SECRET_KEYS: [&str; 4] =
    ["server.jwt_secret", "server.encryption_key", "server.encryption_key_old", "delivery.proxy"];

/// Puts `value` into the field of `key`. `environment` is where `env:NAME` references look.
pub fn apply(
    config: &mut Config,
    key: &str,
    value: &Value,
    environment: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    let server = &mut config.server;
    let storage = &mut config.storage;
    let delivery = &mut config.delivery;
    match key {
        "server.listen" => server.listen = address(value)?,
        "server.jwt_secret" => server.jwt_secret = secret(value, environment)?,
        "server.max_payload" => server.max_payload = size(value, limits::MAX_PAYLOAD)?,
        "server.max_connections" => server.max_connections = count(value, limits::MAX_CONNECTIONS)?,
        "server.header_timeout" => server.header_timeout = time(value, limits::HEADER_TIMEOUT)?,
        "server.body_timeout" => server.body_timeout = time(value, limits::BODY_TIMEOUT)?,
        "server.shutdown_grace" => server.shutdown_grace = time(value, limits::SHUTDOWN_GRACE)?,
        "server.encryption_key" => server.encryption_key = master_key(value, environment)?,
        "server.encryption_key_old" => server.encryption_key_old = master_key(value, environment)?,
        "server.public_url" => server.public_url = public_url(value)?,
        "storage.path" => storage.path = folder(value)?,
        "storage.sync" => storage.sync = choice(value)?,
        "storage.retention" => storage.retention = time(value, limits::RETENTION)?,
        "storage.max_size" => storage.max_size = size_or_none(value, limits::MAX_SIZE)?,
        "storage.cache" => storage.cache = size(value, limits::CACHE)?,
        "storage.min_free" => storage.min_free = size(value, limits::MIN_FREE)?,
        "delivery.retry_schedule" => delivery.retry_schedule = schedule(value)?,
        "delivery.timeout" => delivery.timeout = time(value, limits::DELIVERY_TIMEOUT)?,
        "delivery.max_in_flight" => delivery.max_in_flight = count(value, limits::MAX_IN_FLIGHT)?,
        "delivery.per_endpoint_in_flight" => {
            delivery.per_endpoint_in_flight = count(value, limits::PER_ENDPOINT_IN_FLIGHT)?;
        }
        "delivery.allow_networks" => delivery.allow_networks = networks(value)?,
        "delivery.https_only" => delivery.https_only = switch(value)?,
        "delivery.proxy" => delivery.proxy = proxy(value, environment)?,
        "delivery.ca_file" => delivery.ca_file = optional_file(value)?,
        "delivery.client_cert_file" => delivery.client_cert_file = optional_file(value)?,
        "delivery.default_signature" => delivery.default_signature = choice(value)?,
        "inbound.spool" => config.inbound.spool = optional_folder(value)?,
        "console.enabled" => config.console.enabled = switch(value)?,
        "log.level" => config.log.level = choice(value)?,
        "log.format" => config.log.format = choice(value)?,
        _ => return Err(Fault::new("is no key", "leave it out")),
    }
    Ok(())
}

/// Text as it was written, or the fault of having written something else.
fn text<'a>(value: &'a Value, example: &str) -> Result<&'a str, Fault> {
    match value {
        Value::Text(text) | Value::Untyped(text) => Ok(text),
        Value::Number(_) | Value::Switch(_) | Value::List(_) | Value::Other(_) => {
            Err(Fault::new("is not quoted text", format!("write it like {example}")))
        }
    }
}

fn address(value: &Value) -> Result<SocketAddr, Fault> {
    let written = text(value, "\"127.0.0.1:8071\"")?;
    written.parse().map_err(|_| {
        let way_out = match written.rsplit_once(':').unwrap_or(("", written)) {
            ("", port) if port.parse::<u16>().is_ok() => {
                format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every interface")
            }
            ("localhost", port) => format!("write \"127.0.0.1:{port}\""),
            _ => "write it like \"127.0.0.1:8071\" or \"[::1]:8071\"".to_owned(),
        };
        Fault::new("is not an IP address and a port", way_out)
    })
}

fn time(value: &Value, limit: RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let duration = match value {
        Value::Number(number) => parse_duration(&number.to_string())?,
        Value::Text(_)
        | Value::Switch(_)
        | Value::List(_)
        | Value::Untyped(_)
        | Value::Other(_) => parse_duration(text(value, "\"15s\"")?)?,
    };
    within(duration, &limit, |bound| format!("\"{}\"", format_duration(*bound)))
}

fn size(value: &Value, limit: RangeInclusive<u64>) -> Result<u64, Fault> {
    within(bytes(value)?, &limit, |bound| format!("\"{}\"", format_size(*bound)))
}

/// A size where 0 stands for "no limit".
fn size_or_none(value: &Value, limit: RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
    if is_empty(value) || bytes(value)? == 0 { Ok(None) } else { size(value, limit).map(Some) }
}

fn bytes(value: &Value) -> Result<u64, Fault> {
    Ok(match value {
        Value::Number(number) => parse_size(&number.to_string())?,
        Value::Text(_)
        | Value::Switch(_)
        | Value::List(_)
        | Value::Untyped(_)
        | Value::Other(_) => parse_size(text(value, "\"256KiB\"")?)?,
    })
}

fn count(value: &Value, limit: RangeInclusive<u32>) -> Result<u32, Fault> {
    let number = match value {
        Value::Number(number) => Some(*number),
        Value::Untyped(text) => text.replace('_', "").parse::<i64>().ok(),
        Value::Text(_) | Value::Switch(_) | Value::List(_) | Value::Other(_) => None,
    };
    let Some(number) = number else {
        return Err(Fault::new("is not a whole number", "write it without quotes, like 512"));
    };
    let limit = i64::from(*limit.start())..=i64::from(*limit.end());
    let number = within(number, &limit, i64::to_string)?;
    u32::try_from(number).map_err(|_| Fault::new("is too large", "write a smaller number"))
}

fn switch(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Switch(on) => Ok(*on),
        Value::Untyped(text) if text == "true" => Ok(true),
        Value::Untyped(text) if text == "false" => Ok(false),
        Value::Text(_)
        | Value::Number(_)
        | Value::List(_)
        | Value::Untyped(_)
        | Value::Other(_) => {
            Err(Fault::new("is neither true nor false", "write true or false, without quotes"))
        }
    }
}

fn choice<T: Choice>(value: &Value) -> Result<T, Fault> {
    let words: Vec<String> = T::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let way_out = format!("write {}", words.join(" or "));
    let (Value::Text(text) | Value::Untyped(text)) = value else {
        return Err(Fault::new("is not quoted text", way_out));
    };
    let found = T::ALL.iter().find(|(word, _)| word == text);
    found.map(|(_, value)| *value).ok_or_else(|| Fault::new("is none of the choices", way_out))
}

fn folder(value: &Value) -> Result<PathBuf, Fault> {
    let text = text(value, "\"/var/lib/posthaste\"")?;
    if text.is_empty() {
        return Err(Fault::new("is empty", "write a path, like \"/var/lib/posthaste\""));
    }
    if text.starts_with("~/") {
        return Err(Fault::new("begins with ~, which only a shell reads", "write the whole path"));
    }
    Ok(PathBuf::from(text))
}

fn optional_folder(value: &Value) -> Result<Option<PathBuf>, Fault> {
    if is_empty(value) { Ok(None) } else { folder(value).map(Some) }
}

/// Only its name: it is read when the daemon starts.
fn optional_file(value: &Value) -> Result<Option<PathBuf>, Fault> {
    let path = text(value, "\"/etc/posthaste/name.pem\"")?;
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

fn public_url(value: &Value) -> Result<Option<String>, Fault> {
    let example = "\"https://hooks.example.com\"";
    if is_empty(value) {
        return Ok(None);
    }
    let url = Url::parse(text(value, example)?).ok().filter(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let Some(url) = url else {
        return Err(Fault::new(
            "is not a plain http or https URL",
            format!("write scheme, host and path alone, like {example}"),
        ));
    };
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

fn proxy(value: &Value, environment: &BTreeMap<String, String>) -> Result<Option<Secret>, Fault> {
    let Some(secret) = secret(value, environment)? else { return Ok(None) };
    let parsed = Url::parse(secret.reveal()).ok();
    let usable = parsed.filter(|url| {
        ["http", "socks5", "socks5h"].contains(&url.scheme())
            && url.has_host()
            && ["", "/"].contains(&url.path())
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = usable else {
        return Err(Fault::new(
            "is not the URL of a proxy",
            "write it like \"http://proxy.internal:3128\" or \"socks5://127.0.0.1:1080\"",
        ));
    };
    let user = if url.username().is_empty() && url.password().is_none() {
        String::new()
    } else {
        format!("{MASK}@")
    };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    Ok(Some(Secret::shown_as(secret.reveal(), format!("{}://{user}{host}{port}", url.scheme()))))
}

fn secret(value: &Value, environment: &BTreeMap<String, String>) -> Result<Option<Secret>, Fault> {
    let text = text(value, "\"env:NAME\", \"file:PATH\" or the secret in quotes")?;
    secret::resolve(text, environment).map(Some)
}

fn master_key(
    value: &Value,
    environment: &BTreeMap<String, String>,
) -> Result<Option<MasterKey>, Fault> {
    secret(value, environment)?.as_ref().map(MasterKey::parse).transpose()
}

fn schedule(value: &Value) -> Result<Vec<Duration>, Fault> {
    if matches!(value, Value::Text(name) | Value::Untyped(name) if name == "standard") {
        return Ok(STANDARD_SCHEDULE.map(Duration::from_secs).to_vec());
    }
    let waits = list(value, "[\"5s\", \"5m\"], [] for a single attempt, or \"standard\"")?;
    if waits.len() > limits::RETRY_WAITS {
        return Err(Fault::new(
            format!("has {} waits", waits.len()),
            format!("write at most {}", limits::RETRY_WAITS),
        ));
    }
    waits
        .iter()
        .map(|wait| {
            time(&Value::Untyped(wait.clone()), limits::RETRY_WAIT).map_err(|fault| {
                Fault::new(format!("holds \"{wait}\", which {}", fault.what), fault.way_out)
            })
        })
        .collect()
}

fn networks(value: &Value) -> Result<Vec<Network>, Fault> {
    let ranges = list(value, "[\"127.0.0.0/8\", \"10.0.0.0/8\"]")?;
    if ranges.len() > limits::ALLOW_NETWORKS {
        return Err(Fault::new(
            format!("has {} ranges", ranges.len()),
            format!("write at most {}", limits::ALLOW_NETWORKS),
        ));
    }
    ranges
        .iter()
        .map(|range| {
            Network::parse(range)
                .map_err(|fault| Fault::new(format!("holds {}", fault.what), fault.way_out))
        })
        .collect()
}

/// A list of quoted texts. An environment variable or a flag may leave the quotes and the brackets
/// out: `5s,5m` is `["5s", "5m"]`.
fn list(value: &Value, example: &str) -> Result<Vec<String>, Fault> {
    let fault = || Fault::new("is not a list of quoted texts", format!("write {example}"));
    match value {
        Value::List(values) => values
            .iter()
            .map(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
            .collect::<Option<_>>()
            .ok_or_else(fault),
        Value::Untyped(text) => {
            let inner = text.trim();
            let inner = inner.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let inner = inner.unwrap_or(text).trim();
            if inner.is_empty() {
                return Ok(Vec::new());
            }
            Ok(inner.split(',').map(|item| item.trim().trim_matches('"').to_owned()).collect())
        }
        Value::Text(_) | Value::Number(_) | Value::Switch(_) | Value::Other(_) => Err(fault()),
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Text(text) | Value::Untyped(text) if text.is_empty())
}

fn within<T: PartialOrd>(
    value: T,
    limit: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Fault> {
    let (least, most) = (show(limit.start()), show(limit.end()));
    if value < *limit.start() {
        return Err(Fault::new("is too small", format!("write {least} to {most}")));
    }
    if value > *limit.end() {
        return Err(Fault::new("is too large", format!("write {least} to {most}")));
    }
    Ok(value)
}

#[cfg(test)]
#[path = "meaning_tests.rs"]
pub mod tests;
