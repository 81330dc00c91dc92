//! The layers over each other, the embedded default, and the unit file beside it.
use super::super::show::changed_keys;
use super::super::{Choice as _, LogLevel};
use super::*;
use std::time::Duration;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn of_file(text: &str) -> Result<Loaded, Problems> {
    assemble(Some((Path::new("p.toml"), text)), &Overrides::default(), &Environment::new())
}

fn setting(loaded: &Loaded, key: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.key == key).expect(key);
    (setting.value.clone().unwrap_or_default(), setting.origin.to_string())
}

#[track_caller]
fn check(loaded: &Loaded, key: &str, value: &str, origin: &str) {
    assert_eq!(setting(loaded, key), (value.to_owned(), origin.to_owned()), "{key}");
}

#[test]
fn the_embedded_file_is_the_built_in_default() {
    let loaded = assemble(None, &Overrides::default(), &Environment::new()).expect("sound");
    assert_eq!(loaded.config, Config::builtin());
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.len(), KEYS.len());
    assert!(loaded.settings.iter().all(|setting| setting.origin == Origin::BuiltIn));
}

#[test]
fn every_example_in_the_embedded_file_is_valid() {
    let examples: String = BUILT_IN
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') && !key.is_empty() => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let layer = raw::parse_file(&examples, &|_| Origin::BuiltIn);
    assert_eq!(layer.problems, []);
    assert_eq!(layer.keys.into_keys().collect::<Vec<_>>(), {
        let mut keys = KEYS.to_vec();
        keys.sort_unstable();
        keys
    });
    // The examples of secrets point at files that need not exist here.
    let examples = examples.replace("file:/etc/posthaste/", "env:");
    let key = "0a".repeat(32);
    let variables = [("MY_JWT_SECRET", key.as_str()), ("encryption.key", &key)];
    let mut environment = environment(&variables);
    environment.insert("encryption-old.key".to_owned(), "0b".repeat(32));
    let file = Some((Path::new("p.toml"), examples.as_str()));
    let loaded = assemble(file, &Overrides::default(), &environment).expect("sound");
    assert_eq!(loaded.warnings, []);
    assert!(loaded.settings.iter().all(|setting| setting.value.is_some()));
}

/// The comment above each key of the embedded file, with the line of the key itself.
fn documented() -> BTreeMap<String, (String, String)> {
    let mut documented = BTreeMap::new();
    let (mut section, mut comment) = (String::new(), String::new());
    for line in BUILT_IN.lines() {
        let key = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push_str(text);
            comment.push(' ');
            continue;
        } else if let Some((name, value)) = key.split_once(" = ") {
            let name = format!("{section}.{name}");
            documented.insert(name, (std::mem::take(&mut comment), value.to_owned()));
        }
        comment.clear();
    }
    documented
}

#[test]
fn every_key_says_default_unit_limit_and_what_goes_wrong() {
    let documented = documented();
    assert_eq!(documented.len(), KEYS.len());
    let builtin = settings(&Config::builtin(), &BTreeMap::new());
    for setting in builtin {
        let key = setting.key;
        let (comment, _) = documented.get(key).expect(key);
        for part in ["Default: ", "Unit: ", "Limit: ", "Badly set: "] {
            assert!(comment.contains(part), "the comment of {key} has no {part:?}: {comment}");
        }
        let default = comment.split("Default: ").nth(1).expect(key);
        match setting.value {
            None => assert!(default.starts_with("not set"), "{key}: {default}"),
            Some(_) if key == "delivery.retry_schedule" => {}
            Some(value) if key == "storage.path" => assert!(default.contains(&value), "{default}"),
            Some(value) => assert!(default.starts_with(&value), "{key}: {default}"),
        }
    }
    for (key, least, most, ..) in meaning::tests::LIMITS {
        let (comment, _) = documented.get(key).expect(key);
        let limit = comment.split("Limit: ").nth(1).expect(key);
        let range = format!("{least} to {most}");
        assert!(limit.contains(&range), "{key} does not say {range:?}: {limit}");
    }
    for (key, count) in [
        ("delivery.retry_schedule", limits::RETRY_WAITS),
        ("delivery.allow_networks", limits::ALLOW_NETWORKS),
        ("server.jwt_secret", limits::JWT_SECRET_ADVISED),
    ] {
        let limit = documented.get(key).and_then(|(comment, _)| comment.split("Limit: ").nth(1));
        assert!(limit.expect(key).contains(&count.to_string()), "{key} does not say {count}");
    }
}

#[test]
fn the_stronger_layer_wins() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[storage]\npath = \"file\"\n[log]\nlevel = \
                \"warn\"\n";
    let file = Some((Path::new("p.toml"), text));
    let mut overrides = Overrides::default();
    let mut variables = environment(&[("STATE_DIRECTORY", "/var/lib/p:/var/lib/q")]);
    let loaded = assemble(None, &overrides, &variables).expect("sound");
    check(&loaded, "storage.path", "\"/var/lib/p\"", "environment STATE_DIRECTORY");
    let loaded = assemble(file, &overrides, &variables).expect("sound");
    check(&loaded, "storage.path", "\"file\"", "p.toml:4");
    check(&loaded, "server.listen", "\"127.0.0.1:1\"", "p.toml:2");
    check(&loaded, "log.level", "\"warn\"", "p.toml:6");
    check(&loaded, "log.format", "\"text\"", "built in");
    variables.insert("POSTHASTE_SERVER_LISTEN".to_owned(), "127.0.0.1:2".to_owned());
    variables.insert("POSTHASTE_STORAGE_PATH".to_owned(), "variable".to_owned());
    let loaded = assemble(file, &overrides, &variables).expect("sound");
    check(&loaded, "server.listen", "\"127.0.0.1:2\"", "environment POSTHASTE_SERVER_LISTEN");
    check(&loaded, "storage.path", "\"variable\"", "environment POSTHASTE_STORAGE_PATH");
    overrides.listen = Some("127.0.0.1:3".to_owned());
    overrides.data = Some("flag".into());
    let loaded = assemble(file, &overrides, &variables).expect("sound");
    check(&loaded, "server.listen", "\"127.0.0.1:3\"", "flag --listen");
    check(&loaded, "storage.path", "\"flag\"", "flag --data");
    assert_eq!(loaded.config.log.level, LogLevel::Warn);
    assert_eq!(LogLevel::Warn.word(), "warn");
}

#[test]
fn dev_lets_loopback_through_and_retries_soon() {
    let dev = Overrides { dev: true, ..Overrides::default() };
    let loaded = assemble(None, &dev, &Environment::new()).expect("sound");
    let networks = "delivery.allow_networks";
    check(&loaded, networks, "[\"127.0.0.0/8\", \"::1/128\"]", "flag --dev, added to built in");
    check(&loaded, "delivery.retry_schedule", "[\"1s\", \"2s\", \"5s\"]", "flag --dev");
    let variables = environment(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")]);
    let loaded = assemble(None, &dev, &variables).expect("sound");
    let origin = "environment POSTHASTE_DELIVERY_RETRY_SCHEDULE";
    check(&loaded, "delivery.retry_schedule", "[]", origin);
}

#[test]
fn allowed_networks_are_added() {
    let flags = Overrides {
        allow_networks: vec!["10.0.0.0/8".to_owned(), "127.0.0.0/8".to_owned(), "10.1".to_owned()],
        ..Overrides::default()
    };
    let variables = environment(&[("POSTHASTE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8")]);
    let problems = assemble(None, &flags, &variables).expect_err("one is wrong").to_string();
    assert_eq!(
        problems,
        "1 problem in the configuration\n  flag --allow-network: delivery.allow_networks = 10.1: \
         \"10.1\" is not a range of addresses; write it like \"10.0.0.0/8\" or \"fd00::/8\""
    );
    let flags = Overrides { allow_networks: flags.allow_networks[..2].to_vec(), ..flags };
    let loaded = assemble(None, &flags, &variables).expect("sound");
    let origin = "flag --allow-network, added to environment POSTHASTE_DELIVERY_ALLOW_NETWORKS";
    check(&loaded, "delivery.allow_networks", "[\"127.0.0.0/8\", \"10.0.0.0/8\"]", origin);
    let range = |number: usize| format!("10.{}.{}.0/24", number / 256, number % 256);
    let many = |count| Overrides {
        allow_networks: (0..count).map(range).collect(),
        ..Overrides::default()
    };
    assert!(assemble(None, &many(limits::ALLOW_NETWORKS), &Environment::new()).is_ok());
    assert!(assemble(None, &many(limits::ALLOW_NETWORKS + 1), &Environment::new()).is_err());
}

#[test]
fn every_problem_is_reported_at_once() {
    let text = "[server]\nmax_payload = \"9MiB\"\njwt_secret = \"env:NOT_SET\"\n\
                encryption_key = \"hunter2\"\n[storage]\nmax_size = \"1MiB\"\n[delivery]\n\
                timout = \"1s\"\ntimeout = 15\n";
    let variables = environment(&[("POSTHASTE_LOG_LEVEL", "loud")]);
    let file = Some((Path::new("p.toml"), text));
    let problems = assemble(file, &Overrides::default(), &variables).expect_err("many");
    let words = "\"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"";
    let expected = [
        "6 problems in the configuration".to_owned(),
        "  p.toml:8: delivery.timout: is no key; did you mean delivery.timeout?".to_owned(),
        "  p.toml:3: server.jwt_secret = \"env:NOT_SET\": the environment variable \"NOT_SET\" is \
         not set; set it, or name another one after env:"
            .to_owned(),
        "  p.toml:2: server.max_payload = \"9MiB\": is too large; write \"1B\" to \"8MiB\""
            .to_owned(),
        "  p.toml:4: server.encryption_key = •••: is not 32 bytes in base64 or in 64 hex digits; \
         make one with: openssl rand -base64 32"
            .to_owned(),
        "  p.toml:9: delivery.timeout = 15: has no unit; write \"15s\" for seconds, or use ms, m, \
         h or d"
            .to_owned(),
        format!(
            "  environment POSTHASTE_LOG_LEVEL: log.level = loud: is none of the choices; write \
             {words}"
        ),
    ];
    assert_eq!(problems.to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn keys_are_checked_against_each_other() {
    let problems = of_file("[storage]\nmax_size = \"1MiB\"\n[server]\nmax_payload = \"1MiB\"");
    let text = problems.expect_err("no room").to_string();
    assert!(text.contains("p.toml:2: storage.max_size = \"1MiB\": leaves no room"), "{text}");
    let loaded = of_file("[delivery]\ntimeout = \"1m\"").expect("a warning only");
    let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        ["built in: server.shutdown_grace = \"20s\": is shorter than delivery.timeout (1m), so a \
          stop can cut an attempt off and its receiver may see the message twice; make it at least \
          as long"]
    );
}

#[test]
fn files_are_read_up_to_their_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.toml");
    let limit = usize::try_from(limits::CONFIG_FILE).expect("fits");
    let overrides = Overrides { config: Some(path.clone()), ..Overrides::default() };
    let none = Environment::new();
    let missing = load(&overrides, &none).expect_err("missing").to_string();
    assert!(missing.contains("p.toml: cannot be read (No such file"), "{missing}");
    std::fs::write(&path, "#".repeat(limit)).expect("write");
    assert_eq!(load(&overrides, &none).expect("at the limit").file, Some(path.clone()));
    std::fs::write(&path, "#".repeat(limit + 1)).expect("write");
    let large = load(&overrides, &none).expect_err("past the limit").to_string();
    assert!(large.contains("is larger than 1 MiB"), "{large}");
    std::fs::write(&path, "[log]\nlevel = \"debug\"").expect("write");
    let named = environment(&[(CONFIG_VARIABLE, path.to_str().expect("text"))]);
    let loaded = load(&Overrides::default(), &named).expect("sound");
    assert_eq!(loaded.config.log.level, LogLevel::Debug);
    assert_eq!(load(&Overrides::default(), &none).expect("sound").file, None);
}

#[test]
fn a_reload_knows_what_changed() {
    let old = of_file("[server]\njwt_secret = \"0123456789abcdef0123456789abcdef\"").expect("old");
    let new = of_file(
        "[server]\njwt_secret = \"0123456789abcdef0123456789abcdeX\"\n[log]\nlevel = \"warn\"",
    )
    .expect("new");
    assert_eq!(changed_keys(&old.config, &new.config), ["server.jwt_secret", "log.level"]);
    assert_eq!(changed_keys(&old.config, &old.config), [""; 0]);
}

#[test]
fn the_process_environment_is_read_once() {
    let found = from_process_env();
    assert_eq!(found.get("PATH"), std::env::var("PATH").ok().as_ref());
}

#[test]
fn the_systemd_unit_fits_the_default() {
    let unit = include_str!("../../data/posthaste.service");
    let value = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("{name} is not in the unit"))
    };
    let stop = super::super::units::parse_duration(value("TimeoutStopSec")).expect("a duration");
    let config = Config::builtin();
    let margin = Duration::from_secs(10);
    assert!(stop >= config.server.shutdown_grace + margin, "{stop:?} leaves no time to flush");
    let files: u32 = value("LimitNOFILE").parse().expect("a number");
    assert!(files > config.server.max_connections + config.delivery.max_in_flight + 1_000);
    for (name, wanted) in [
        ("Type", "notify"),
        ("DynamicUser", "yes"),
        ("StateDirectory", "posthaste"),
        ("ProtectSystem", "strict"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert_eq!(value(name), wanted, "{name}");
    }
}
