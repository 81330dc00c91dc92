//! Keys against each other: what each value allows alone and both together forbid.
//!
//! [`super::load`] runs [`problems`] and [`warnings`] after every key has its value. A problem is
//! what cannot work; a warning is what works and will surprise.
use super::Config;
use super::limits::JWT_SECRET_ADVISED;
use super::problem::Fault;
use super::units::{format_duration, format_size};
use std::time::Duration;

/// A finding: the key to show it at, the other key it depends on, and what is wrong.
pub type Finding = (&'static str, Option<&'static str>, Fault);

/// What cannot work.
pub fn problems(config: &Config) -> Vec<Finding> {
    let Config { server, storage, inbound, .. } = config;
    let mut found = Vec::new();
    if storage.max_size.is_some_and(|most| most <= server.max_payload) {
        found.push((
            "storage.max_size",
            Some("server.max_payload"),
            Fault::new(
                format!(
                    "leaves no room for one message of server.max_payload ({})",
                    format_size(server.max_payload)
                ),
                "make it larger, or \"0\" for no limit",
            ),
        ));
    }
    if server.encryption_key_old.is_some() && server.encryption_key.is_none() {
        found.push((
            "server.encryption_key_old",
            Some("server.encryption_key"),
            Fault::new(
                "is set without server.encryption_key",
                "give the new key as server.encryption_key and keep the old one here",
            ),
        ));
    }
    if let (Some(new), Some(old)) = (&server.encryption_key, &server.encryption_key_old)
        && new.reveal() == old.reveal()
    {
        found.push((
            "server.encryption_key_old",
            Some("server.encryption_key"),
            Fault::new(
                "is the same key as server.encryption_key",
                "leave it out, or give the key from before the rotation",
            ),
        ));
    }
    if inbound.spool.as_ref().is_some_and(|spool| spool.starts_with(&storage.path)) {
        found.push((
            "inbound.spool",
            Some("storage.path"),
            Fault::new(
                "lies inside storage.path, whose files belong to the store",
                "choose a folder outside of it",
            ),
        ));
    }
    found
}

/// What works and will surprise.
pub fn warnings(config: &Config) -> Vec<Finding> {
    let mut found = time_warnings(config);
    let Config { server, delivery, .. } = config;
    if delivery.per_endpoint_in_flight > delivery.max_in_flight {
        found.push((
            "delivery.per_endpoint_in_flight",
            Some("delivery.max_in_flight"),
            Fault::new(
                format!(
                    "is more than delivery.max_in_flight ({}), so one slow endpoint can hold up \
                     all others",
                    delivery.max_in_flight
                ),
                "make it a fraction of delivery.max_in_flight",
            ),
        ));
    }
    if delivery.allow_networks.iter().any(super::network::Network::is_everything) {
        found.push((
            "delivery.allow_networks",
            None,
            Fault::new(
                "lets every address through, so whoever may create an endpoint can reach \
                 everything this machine can",
                "name only the ranges your endpoints live in",
            ),
        ));
    }
    if server.jwt_secret.as_ref().is_some_and(|key| key.reveal().len() < JWT_SECRET_ADVISED) {
        found.push((
            "server.jwt_secret",
            None,
            Fault::new(
                format!("has fewer than {JWT_SECRET_ADVISED} bytes and can be guessed"),
                "make one with: openssl rand -base64 32",
            ),
        ));
    }
    found
}

fn time_warnings(config: &Config) -> Vec<Finding> {
    let Config { server, storage, delivery, .. } = config;
    let mut found = Vec::new();
    if server.shutdown_grace < delivery.timeout {
        found.push((
            "server.shutdown_grace",
            Some("delivery.timeout"),
            Fault::new(
                format!(
                    "is shorter than delivery.timeout ({}), so a stop can cut an attempt off and \
                     its receiver may see the message twice",
                    format_duration(delivery.timeout)
                ),
                "make it at least as long",
            ),
        ));
    }
    let retries: Duration = delivery.retry_schedule.iter().sum();
    if storage.retention < retries {
        found.push((
            "storage.retention",
            Some("delivery.retry_schedule"),
            Fault::new(
                format!(
                    "is shorter than the waits of delivery.retry_schedule ({}), so a message can \
                     expire before its last attempt",
                    format_duration(retries)
                ),
                "keep messages longer, or retry for a shorter time",
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::network::Network;
    use super::super::secret::{MasterKey, Secret};
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), problem: Option<&str>, warning: Option<&str>) {
        let mut config = Config::builtin();
        change(&mut config);
        let keys = |found: Vec<Finding>| found.iter().map(|(key, ..)| *key).collect::<Vec<_>>();
        assert_eq!(keys(problems(&config)), Vec::from_iter(problem), "problems");
        assert_eq!(keys(warnings(&config)), Vec::from_iter(warning), "warnings");
    }

    fn key(byte: u8) -> Option<MasterKey> {
        MasterKey::parse(&Secret::new(format!("{byte:02x}").repeat(32))).ok()
    }

    #[test]
    fn the_default_has_no_findings() {
        check(|_| (), None, None);
    }

    #[test]
    fn what_cannot_work_is_a_problem() {
        let size = "storage.max_size";
        check(|c| c.storage.max_size = Some(c.server.max_payload), Some(size), None);
        check(|c| c.storage.max_size = Some(c.server.max_payload + 1), None, None);
        let old = "server.encryption_key_old";
        check(|c| c.server.encryption_key_old = key(1), Some(old), None);
        check(
            |c| (c.server.encryption_key, c.server.encryption_key_old) = (key(1), key(1)),
            Some(old),
            None,
        );
        check(
            |c| (c.server.encryption_key, c.server.encryption_key_old) = (key(2), key(1)),
            None,
            None,
        );
        check(
            |c| c.inbound.spool = Some(c.storage.path.join("spool")),
            Some("inbound.spool"),
            None,
        );
        check(|c| c.inbound.spool = Some("./posthaste-data-spool".into()), None, None);
    }

    #[test]
    fn what_will_surprise_is_a_warning() {
        let less = |d: Duration| d.saturating_sub(Duration::from_millis(1));
        let grace = "server.shutdown_grace";
        check(|c| c.server.shutdown_grace = c.delivery.timeout, None, None);
        check(|c| c.server.shutdown_grace = less(c.delivery.timeout), None, Some(grace));
        let schedule = Config::builtin().delivery.retry_schedule.iter().sum::<Duration>();
        check(|c| c.storage.retention = schedule, None, None);
        check(|c| c.storage.retention = less(schedule), None, Some("storage.retention"));
        check(|c| c.delivery.max_in_flight = 16, None, None);
        let endpoint = "delivery.per_endpoint_in_flight";
        check(|c| c.delivery.max_in_flight = 15, None, Some(endpoint));
        let everything = Network::parse("::/0").ok();
        let allowed = "delivery.allow_networks";
        check(|c| c.delivery.allow_networks.extend(everything), None, Some(allowed));
        let secret = |length| Some(Secret::new("x".repeat(length)));
        check(|c| c.server.jwt_secret = secret(32), None, None);
        check(|c| c.server.jwt_secret = secret(31), None, Some("server.jwt_secret"));
    }
}
