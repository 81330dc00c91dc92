//! What was written: files with their lines, variables, and "did you mean".
use super::*;

fn file(text: &str) -> Layer {
    parse_file(text, &lines_of(Path::new("p.toml")))
}

#[track_caller]
fn check_problems(text: &str, expected: &[&str]) {
    let found: Vec<String> = file(text).problems.iter().map(Problem::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn values_keep_their_type_and_line() {
    let layer = file(
        "# comment\n[server]\nlisten = \"a\"\nmax_connections = 1_000\n\n[console]\nenabled = \
         true\n[delivery]\nallow_networks = [\n  \"x\",\n]\ntimeout = 1.5\nmax_in_flight = 0xff\n\
         proxy = 2024-01-01\n",
    );
    assert_eq!(layer.problems, []);
    let found: Vec<(&str, String, String)> = layer
        .keys
        .iter()
        .map(|(key, w)| (*key, w.value.to_string(), w.origin.to_string()))
        .collect();
    let expected = [
        ("console.enabled", "true", "p.toml:7"),
        ("delivery.allow_networks", "[\"x\"]", "p.toml:9"),
        ("delivery.max_in_flight", "255", "p.toml:13"),
        ("delivery.proxy", "2024-01-01", "p.toml:14"),
        ("delivery.timeout", "1.5", "p.toml:12"),
        ("server.listen", "\"a\"", "p.toml:3"),
        ("server.max_connections", "1000", "p.toml:4"),
    ];
    let expected = expected.map(|(key, value, line)| (key, value.to_owned(), line.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn dotted_keys_and_inline_tables_are_the_same() {
    for text in ["server.listen = \"a\"", "server = { listen = \"a\" }"] {
        assert!(file(text).keys.contains_key("server.listen"), "{text}");
        assert_eq!(file(text).problems, [], "{text}");
    }
}

#[test]
fn unknown_keys_are_refused_with_a_guess() {
    let check = |text: &str, guess: &str| {
        let found = file(text).problems;
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].way_out, guess, "{text}");
    };
    check("[delivery]\ntimout = \"1s\"", "did you mean delivery.timeout?");
    check("[server]\nmaxPayload = \"1KiB\"", "did you mean server.max_payload?");
    check("[server]\nmax-payload = \"1KiB\"", "did you mean server.max_payload?");
    check("[server]\ntimeout = \"1s\"", "did you mean delivery.timeout?");
    check(
        "[server.tls]\ncert = \"a\"",
        "the keys of [server] are listen, jwt_secret, max_payload, \
         max_connections, header_timeout, body_timeout, shutdown_grace, encryption_key, \
         encryption_key_old, public_url",
    );
    check("[log]\ndestination = \"a\"", "the keys of [log] are level, format");
    check("[sever]\nlisten = \"a\"", "did you mean [server]?");
    check("listen = \"a\"", "write it below a line that says [server]");
    check("server = 3", "write [server] on a line and its keys below it");
    check("[x]", "the sections are server, storage, delivery, inbound, console, log");
    check(&format!("[log]\n{} = 1", "l".repeat(200)), "the keys of [log] are level, format");
}

#[test]
fn every_fault_of_a_file_is_found_at_once() {
    check_problems(
        "[server]\nlisten = \"a\nport = 1\nlisten = \"b\"\nlisten = \"c\"\n[lgo]\nlevel = \"info\"",
        &[
            "p.toml:2: syntax: invalid basic string, expected `\"`; mend the TOML; see \
             https://toml.io",
            "p.toml:3: server.port: is no key; the keys of [server] are listen, jwt_secret, \
             max_payload, max_connections, header_timeout, body_timeout, shutdown_grace, \
             encryption_key, encryption_key_old, public_url",
            "p.toml:4: syntax: duplicate key; mend the TOML; see https://toml.io",
            "p.toml:5: syntax: duplicate key; mend the TOML; see https://toml.io",
            "p.toml:6: lgo: is no section; did you mean [log]?",
        ],
    );
}

#[test]
fn every_key_is_a_variable() {
    let environment = KEYS.map(|key| (variable(key), key.to_owned())).into();
    let layer = parse_environment(&environment);
    assert_eq!(layer.keys.len(), KEYS.len());
    for (key, written) in &layer.keys {
        assert_eq!(written.value, Value::Untyped((*key).to_owned()));
        assert_eq!(written.origin, Origin::Environment(variable(key)));
    }
    assert_eq!(variable("delivery.timeout"), "POSTHASTE_DELIVERY_TIMEOUT");
}

#[test]
fn variables_that_are_no_key() {
    #[track_caller]
    fn check(name: &str, value: &str, keys: &[&str], warning: Option<&str>) {
        let layer = parse_environment(&[(name.to_owned(), value.to_owned())].into());
        assert_eq!(layer.keys.into_keys().collect::<Vec<_>>(), keys, "{name}");
        let warnings: Vec<&str> = layer.warnings.iter().map(|w| w.way_out.as_str()).collect();
        assert_eq!(warnings, Vec::from_iter(warning), "{name}");
        assert_eq!(layer.problems, [], "{name}");
    }
    check("POSTHASTE_LOG_LEVEL", "info", &["log.level"], None);
    check("POSTHASTE_LOG_LEVEL", "", &[], None);
    check("POSTHASTE_JWT_SECRET", "x", &["server.jwt_secret"], None);
    check("POSTHASTE_CONFIG", "x", &[], None);
    check("PATH", "x", &[], None);
    check("POSTHASTE_SERVICE_HOST", "10.0.0.1", &[], None);
    check("POSTHASTE_PORT_8071_TCP", "tcp://10.0.0.1:8071", &[], None);
    check("POSTHASTE_LOG_LEVLE", "x", &[], Some("did you mean POSTHASTE_LOG_LEVEL?"));
    check("POSTHASTE_NONSENSE", "x", &[], Some("see posthaste config show for the keys"));
}

#[test]
fn the_regular_variable_wins_over_the_short_one() {
    let environment = ["POSTHASTE_JWT_SECRET", "POSTHASTE_SERVER_JWT_SECRET"]
        .map(|name| (name.to_owned(), name.to_owned()))
        .into();
    let written = parse_environment(&environment).keys.remove("server.jwt_secret");
    let expected = Value::Untyped("POSTHASTE_SERVER_JWT_SECRET".to_owned());
    assert_eq!(written.map(|written| written.value), Some(expected));
}

#[test]
fn edits_are_counted() {
    for (from, to, count) in
        [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0)]
    {
        assert_eq!(edits(from, to), count, "{from} {to}");
        assert_eq!(edits(to, from), count, "{to} {from}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}|[a-z=\\[\\]\".{}\n0-9]{0,60}") {
        let layer = file(&text);
        for problem in &layer.problems {
            let place = problem.origin.as_ref().map(Origin::to_string).unwrap_or_default();
            let line: usize = place.trim_start_matches("p.toml:").parse().expect("a line");
            proptest::prop_assert!(line >= 1 && line <= text.matches('\n').count() + 1);
        }
    }
}
