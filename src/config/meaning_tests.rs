//! One key at a time: every limit at the limit and one step past it, every kind of value.
use super::super::raw::KEYS;
use super::super::show;
use super::*;
use std::path::Path;

/// Applies one value to the built-in configuration and gives it back as it would be shown.
fn shown(key: &'static str, value: &Value) -> Result<String, String> {
    let mut config = Config::builtin();
    let environment = [("KEY".to_owned(), "s3cret".to_owned())].into();
    apply(&mut config, key, value, &environment)
        .map_err(|fault| format!("{}; {}", fault.what, fault.way_out))?;
    let setting = show::settings(&config, &BTreeMap::new()).into_iter().find(|s| s.key == key);
    Ok(setting.and_then(|setting| setting.value).unwrap_or_default())
}

fn quoted(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn untyped(text: &str) -> Value {
    Value::Untyped(text.to_owned())
}

#[track_caller]
fn check(key: &'static str, value: &Value, expected: &str) {
    assert_eq!(shown(key, value), Ok(expected.to_owned()), "{key} = {value}");
}

#[track_caller]
fn check_fault(key: &'static str, value: &Value, expected: &str) {
    assert_eq!(shown(key, value), Err(expected.to_owned()), "{key} = {value}");
}

/// Every key with a limit on a number: least, most, and the first value past each.
pub const LIMITS: [(&str, &str, &str, &str, &str); 13] = [
    ("server.max_payload", "1B", "8MiB", "0", "8388609B"),
    ("server.max_connections", "1", "1000000", "0", "1000001"),
    ("server.header_timeout", "1ms", "5m", "0", "300001ms"),
    ("server.body_timeout", "1ms", "1h", "0", "3600001ms"),
    ("server.shutdown_grace", "0s", "1h", "", "3600001ms"),
    ("storage.retention", "1s", "36500d", "999ms", "3153600000001ms"),
    ("storage.max_size", "1MiB", "64TiB", "1048575B", "70368744177665B"),
    ("storage.cache", "1MiB", "64GiB", "1048575B", "68719476737B"),
    ("storage.min_free", "0", "1TiB", "", "1099511627777B"),
    ("delivery.timeout", "1ms", "10m", "0", "600001ms"),
    ("delivery.max_in_flight", "1", "8192", "0", "8193"),
    ("delivery.per_endpoint_in_flight", "1", "8192", "0", "8193"),
    ("delivery.retry_schedule", "0s", "7d", "", "604800001ms"),
];

#[test]
fn every_limit_holds_and_one_step_past_it_does_not() {
    for (key, least, most, below, above) in LIMITS {
        for good in [least, most] {
            let found = shown(key, &untyped(good)).expect(key);
            assert!(found.contains(good), "{key} = {good} is shown as {found}");
        }
        for bad in [below, above].into_iter().filter(|bad| !bad.is_empty()) {
            let fault = shown(key, &untyped(bad)).expect_err(key);
            let size = if bad == above { "is too large" } else { "is too small" };
            assert!(fault.contains(size), "{key} = {bad}: {fault}");
            assert!(fault.contains(least) && fault.contains(most), "{key} = {bad}: {fault}");
        }
    }
}

#[test]
fn every_key_has_a_field_and_a_name_for_it() {
    let environment = BTreeMap::new();
    for key in KEYS {
        let fault = apply(&mut Config::builtin(), key, &Value::Other("x".to_owned()), &environment);
        assert_ne!(fault.expect_err(key).what, "is no key", "{key}");
    }
    let unset = show::settings(&Config::builtin(), &BTreeMap::new());
    let unset: Vec<&str> = unset.iter().filter(|s| s.value.is_none()).map(|s| s.key).collect();
    assert_eq!(
        unset,
        [
            "server.jwt_secret",
            "server.encryption_key",
            "server.encryption_key_old",
            "server.public_url",
            "delivery.proxy",
            "delivery.ca_file",
            "delivery.client_cert_file",
            "inbound.spool"
        ]
    );
}

#[test]
fn text_and_variables_mean_the_same() {
    for value in [quoted("100ms"), untyped("100ms")] {
        check("delivery.timeout", &value, "\"100ms\"");
    }
    check("server.listen", &quoted("[::1]:0"), "\"[::1]:0\"");
    check("storage.sync", &quoted("os"), "\"os\"");
    check("storage.max_size", &quoted("0"), "\"0\"");
    check("storage.max_size", &Value::Number(0), "\"0\"");
    check("server.max_connections", &Value::Number(7), "7");
    check("server.max_connections", &untyped("10_000"), "10000");
    check("console.enabled", &Value::Switch(false), "false");
    check("console.enabled", &untyped("false"), "false");
    check("delivery.default_signature", &quoted("ed25519"), "\"ed25519\"");
    check("inbound.spool", &quoted("/spool"), "\"/spool\"");
    check("inbound.spool", &quoted(""), "");
    check("delivery.ca_file", &quoted("/etc/ca.pem"), "\"/etc/ca.pem\"");
    check("delivery.client_cert_file", &untyped(""), "");
}

#[test]
fn wrong_types_say_what_to_write() {
    let time = "has no unit; write \"15s\" for seconds, or use ms, m, h or d";
    check_fault("delivery.timeout", &Value::Number(15), time);
    let size = "has no unit; write \"512B\" for bytes, or use KiB, MiB, GiB or TiB";
    check_fault("server.max_payload", &Value::Number(512), size);
    let count = "is not a whole number; write it without quotes, like 512";
    check_fault("delivery.max_in_flight", &quoted("512"), count);
    check_fault("delivery.max_in_flight", &untyped("many"), count);
    let switch = "is neither true nor false; write true or false, without quotes";
    check_fault("console.enabled", &quoted("true"), switch);
    check_fault("console.enabled", &untyped("yes"), switch);
    let word = "is none of the choices; write \"disk\" or \"os\"";
    check_fault("storage.sync", &quoted("Disk"), word);
    check_fault("log.format", &Value::Number(1), "is not quoted text; write \"text\" or \"json\"");
    check_fault("storage.path", &quoted(""), "is empty; write a path, like \"/var/lib/posthaste\"");
    let tilde = "begins with ~, which only a shell reads; write the whole path";
    check_fault("storage.path", &quoted("~/data"), tilde);
}

#[test]
fn an_address_is_read_with_help() {
    let fault = "is not an IP address and a port; write";
    let port = format!("{fault} \"127.0.0.1:8071\", or \"0.0.0.0:8071\" for every interface");
    check_fault("server.listen", &quoted("8071"), &port);
    check_fault("server.listen", &quoted(":8071"), &port);
    let local = format!("{fault} \"127.0.0.1:80\"");
    check_fault("server.listen", &quoted("localhost:80"), &local);
    let example = format!("{fault} it like \"127.0.0.1:8071\" or \"[::1]:8071\"");
    check_fault("server.listen", &quoted("127.0.0.1:65536"), &example);
    check_fault("server.listen", &quoted("127.0.0.1"), &example);
}

#[test]
fn schedules() {
    let key = "delivery.retry_schedule";
    let list = |items: &[&str]| Value::List(items.iter().map(|item| quoted(item)).collect());
    check(key, &list(&[]), "[]");
    check(key, &list(&["1s", "2m"]), "[\"1s\", \"2m\"]");
    check(key, &untyped("[\"1s\",\"2m\"]"), "[\"1s\", \"2m\"]");
    check(key, &untyped("[1s, 2m]"), "[\"1s\", \"2m\"]");
    check(key, &untyped("1s,2m"), "[\"1s\", \"2m\"]");
    check(key, &untyped("[]"), "[]");
    let standard = "[\"0s\", \"5s\", \"5m\", \"30m\", \"2h\", \"5h\", \"10h\", \"14h\", \"20h\", \
                    \"24h\"]";
    check(key, &quoted("standard"), standard);
    check(key, &untyped("standard"), standard);
    let example = "write [\"5s\", \"5m\"], [] for a single attempt, or \"standard\"";
    let fault = format!("is not a list of quoted texts; {example}");
    check_fault(key, &quoted("default"), &fault);
    check_fault(key, &Value::List(vec![Value::Number(5)]), &fault);
    let unit = "holds \"5\", which has no unit; write \"5s\" for seconds, or use ms, m, h or d";
    check_fault(key, &list(&["1s", "5"]), unit);
    let full = vec!["1s"; limits::RETRY_WAITS];
    assert!(shown(key, &list(&full)).is_ok());
    let over = vec!["1s"; limits::RETRY_WAITS + 1];
    check_fault(key, &list(&over), "has 51 waits; write at most 50");
}

#[test]
fn networks_are_checked_one_by_one() {
    let key = "delivery.allow_networks";
    check(key, &untyped("127.0.0.0/8,::1"), "[\"127.0.0.0/8\", \"::1/128\"]");
    let fault = shown(key, &untyped("127.0.0.0/8,10.0.0.1/8")).expect_err("bits");
    assert!(fault.starts_with("holds \"10.0.0.1/8\" has address bits past"), "{fault}");
    let list = |count| Value::List(vec![quoted("10.0.0.0/8"); count]);
    assert!(shown(key, &list(limits::ALLOW_NETWORKS)).is_ok());
    let over = list(limits::ALLOW_NETWORKS + 1);
    check_fault(key, &over, "has 257 ranges; write at most 256");
}

#[test]
fn urls() {
    check("server.public_url", &quoted("https://a.example/x/"), "\"https://a.example/x\"");
    check("server.public_url", &quoted("http://a.example"), "\"http://a.example\"");
    check("server.public_url", &quoted(""), "");
    for bad in ["a.example", "ftp://a.example", "https://u:p@a.example", "https://a.example?x=1"] {
        assert!(shown("server.public_url", &quoted(bad)).is_err(), "{bad}");
    }
    check("delivery.proxy", &quoted("socks5://127.0.0.1:1080"), "socks5://127.0.0.1:1080");
    for bad in ["proxy:3128", "ftp://proxy", "http://proxy/path", "http://proxy?x", "s3cret"] {
        let fault = shown("delivery.proxy", &quoted(bad)).expect_err(bad);
        assert!(!fault.contains(bad), "{fault}");
    }
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let password = quoted("http://user:hunter2@proxy:3128/");
    check("delivery.proxy", &password, "http://•••@proxy:3128");
    check("server.jwt_secret", &quoted("hunter2"), "•••");
    check("server.jwt_secret", &quoted("env:KEY"), "••• (env:KEY)");
    check("server.encryption_key", &quoted(&"0a".repeat(32)), "•••");
    let length = "is not 32 bytes in base64 or in 64 hex digits; make one with: openssl rand \
                  -base64 32";
    check_fault("server.encryption_key_old", &quoted("env:KEY"), length);
    let mut config = Config::builtin();
    for key in SECRET_KEYS {
        let value = if key == "delivery.proxy" { "http://u:0a0a@h" } else { &"0a".repeat(32) };
        apply(&mut config, key, &quoted(value), &BTreeMap::new()).expect(key);
    }
    assert!(!format!("{config:?}").contains("0a0a"), "{config:?}");
}

#[test]
fn the_path_is_taken_as_it_is() {
    let mut config = Config::builtin();
    apply(&mut config, "storage.path", &quoted("a/../b"), &BTreeMap::new()).expect("a path");
    assert_eq!(config.storage.path, Path::new("a/../b"));
}
