//! The command line from outside: what it prints, and the exit codes.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::binary::{Running, Serve, eventually, posthaste, run, stderr, stdout};

/// An address where nothing listens any more.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[track_caller]
fn check(output: &Output, code: i32, in_stdout: &str, in_stderr: &str) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    assert!(out.contains(in_stdout), "stdout: {out}");
    assert!(err.contains(in_stderr), "stderr: {err}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    check(&run(&[]), 2, "", "Usage: posthaste <COMMAND>");
    check(&run(&["--help"]), 0, "Exit codes:", "");
    check(&run(&["--version"]), 0, concat!("posthaste ", env!("CARGO_PKG_VERSION")), "");
    check(&run(&["nonsense"]), 2, "", "unrecognized subcommand");
    check(&run(&["send", "--app", "a", "--type", "t", "{"]), 2, "", "is not JSON");
    check(&run(&["app", "ls", "--server", "nonsense", "--token", "t"]), 2, "", "server address");
    check(&run(&["app", "ls", "--server", &nobody(), "--token", "t"]), 3, "", "posthaste serve");
    check(&run(&["app", "ls", "--server", &nobody(), "--data", data]), 3, "", "posthaste serve");
    check(&run(&["config", "show", "--config", "/no/such/file"]), 2, "", "/no/such/file");
    check(&run(&["token", "--org", "x", "--data", data]), 2, "", "--org");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = posthaste(&["config", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before a byte of it is read.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    check(&output, 0, "", "");
    assert_eq!(stderr(&output), "");
}

#[test]
fn config_check_lists_every_problem_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("posthaste.toml");
    std::fs::write(&file, "[delivery]\ntimeout = \"soon\"\nmax_in_fligt = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let output = run(&["config", "check", "--config", file]);
    check(&output, 2, "", "delivery.timeout");
    check(&output, 2, "", "max_in_flight");
    assert!(stderr(&output).contains(&format!("{file}:2")), "{}", stderr(&output));
    std::fs::write(file, "[delivery]\ntimeout = \"3s\"\n").unwrap();
    check(&run(&["config", "check", "--config", file]), 0, "would start", "");
    let shown: Value =
        serde_json::from_slice(&run(&["config", "show", "--json", "--config", file]).stdout)
            .unwrap();
    let settings = shown["settings"].as_array().unwrap();
    let timeout = settings.iter().find(|s| s["key"] == "delivery.timeout").unwrap();
    assert_eq!(timeout["value"], "\"3s\"");
    assert_eq!(timeout["from"], format!("{file}:2"));
}

#[test]
fn token_needs_no_daemon_and_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new");
    let data = data.to_str().unwrap();
    let output = run(&["token", "--data", data]);
    check(&output, 0, "", "");
    let token = stdout(&output);
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    assert_eq!(token.lines().count(), 1, "{token}");
    let app = "app_2srLjEbSzWSv1YCLXZ6wZcSnB0F";
    check(&run(&["token", "--data", data, "--app", app, "--expires", "1h"]), 0, ".", "");
    let by_uid = run(&["token", "--data", data, "--app", "shop", "--server", &nobody()]);
    check(&by_uid, 3, "", "an id needs no daemon");
    let secret = std::path::Path::new(data).join("jwt-secret");
    std::fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    check(&run(&["token", "--data", data]), 1, "", "chmod 600");
}

#[test]
fn doctor_says_what_is_missing_and_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap().to_string();
    drop(listener);
    let doctor = |args: &[&str]| {
        let mut command = posthaste(&["doctor", "--data", data.to_str().unwrap()]);
        command.args(args).env("POSTHASTE_SERVER_LISTEN", &listen).output().unwrap()
    };
    check(&doctor(&[]), 3, "`posthaste serve`", "");
    let found: Value = serde_json::from_slice(&doctor(&["--json"]).stdout).unwrap();
    assert_eq!(found["well"], false);
    let about: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["about"].as_str().unwrap())
        .collect();
    assert_eq!(about, ["config", "clock", "data", "disk", "daemon"]);
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    check(&doctor(&[]), 1, "can be written by all", "");
    assert!(!data.join("jwt-secret").exists(), "the doctor changes nothing");
}

#[test]
fn store_check_wants_a_store_that_nobody_holds() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let path = data.to_str().unwrap();
    check(&run(&["store", "check", "--data", path]), 2, "", "no store at");
    let mut serve = Serve::start(&data);
    check(&run(&["store", "check", "--data", path]), 1, "", "in use by another posthaste");
    assert!(serve.running.terminate().success());
    check(&run(&["store", "check", "--data", path]), 0, "no fault", "");
    let found = run(&["store", "check", "--json", "--data", path]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((&found["clean"], &found["faults"]), (&true.into(), &Value::Array(Vec::new())));
}

#[test]
fn a_record_is_made_shown_changed_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let serve = Serve::start(&data.path().join("data"));
    let app = serve.ask(&["app", "create", "Corner shop", "--uid", "shop"]);
    assert!(app.starts_with("app_"), "{app}");
    assert_eq!(serve.ask(&["app", "create", "Shop", "--uid", "shop", "--if-new"]), app);
    check(&serve.try_ask(&["app", "create", "Shop", "--uid", "shop"]), 1, "", "409");
    let table = serve.ask(&["app", "ls"]);
    assert!(table.starts_with("ID  ") && table.contains("Corner shop"), "{table}");
    let listed: Value = serde_json::from_str(&serve.ask(&["app", "ls", "--json"])).unwrap();
    assert_eq!(listed["data"][0]["id"], app);
    serve.ask(&["app", "update", "shop", "--name", "Big shop", "--metadata", "plan=gold"]);
    let shown: Value = serde_json::from_str(&serve.ask(&["app", "get", "shop", "--json"])).unwrap();
    assert_eq!((&shown["name"], &shown["metadata"]["plan"]), (&"Big shop".into(), &"gold".into()));
    check(&serve.try_ask(&["app", "update", "shop"]), 2, "", "nothing to change");

    assert_eq!(serve.ask(&["event-type", "create", "order.paid"]), "order.paid");
    assert!(serve.ask(&["event-type", "ls"]).contains("order.paid"));
    let create = ["endpoint", "create", "http://127.0.0.1:1/", "--app", "shop"];
    let endpoint = serve.ask(&[&create[..], &["--type", "order.paid"]].concat());
    check(
        &serve.try_ask(&[&create[..], &["--type", "no.such"]].concat()),
        1,
        "",
        "422: body.eventTypes",
    );
    let secret = serve.ask(&["endpoint", "secret", &endpoint, "--app", "shop"]);
    assert!(secret.starts_with("whsec_"), "{secret}");
    let rotated = serve.ask(&["endpoint", "rotate", &endpoint, "--app", "shop"]);
    assert!(rotated.starts_with("whsec_") && rotated != secret, "{rotated}");
    let row = serve.ask(&["endpoint", "ls", "--app", "shop"]);
    assert!(row.contains("order.paid") && row.contains("enabled"), "{row}");
    serve.ask(&["endpoint", "update", &endpoint, "--app", "shop", "--type", ""]);
    let shown = serve.ask(&["endpoint", "get", &endpoint, "--app", "shop", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["eventTypes"], Value::Null);
    assert_eq!(
        serve.ask(&["endpoint", "rm", &endpoint, "--app", "shop"]),
        format!("removed {endpoint}")
    );
    serve.ask(&["app", "rm", "shop"]);
    check(&serve.try_ask(&["app", "get", "shop"]), 1, "", "not_found");
}

#[test]
fn listen_subscribes_verifies_fails_as_told_and_unsubscribes() {
    let data = tempfile::tempdir().unwrap();
    let mut serve = Serve::start(&data.path().join("data"));
    let app = serve.ask(&["app", "create", "Shop"]);
    let listen = ["listen", "--app", &app, "--fail", "1", "--count", "1", "--json"];
    let mut command = serve.command(&listen);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let subscribed = notes.find(|line| line.as_ref().unwrap().contains("subscribed as ep_"));
    assert!(subscribed.is_some());
    let message = serve.ask(&["send", "--app", &app, "--type", "order.paid", r#"{"n":1}"#]);
    let output = child.wait_with_output().unwrap();
    check(&output, 0, "", "");
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, (attempt, answered)) in lines.iter().zip([(1, 500), (2, 204)]) {
        assert_eq!(line["id"], message.as_str());
        assert_eq!(line["eventType"], "order.paid");
        assert_eq!(line["verified"], true);
        assert_eq!((&line["attempt"], &line["answered"]), (&attempt.into(), &answered.into()));
    }
    let left = serve.ask(&["endpoint", "ls", "--app", &app, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&left).unwrap()["data"], Value::Array(Vec::new()));
    assert!(serve.running.terminate().success());
}

/// `listen` subscribes before it takes anything; its own word of it goes to stderr.
fn wait_for_endpoint(serve: &Serve, app: &str) {
    eventually("an endpoint", || {
        serve.ask(&["endpoint", "ls", "--app", app]).contains("ep_").then_some(())
    });
}

#[test]
fn listen_unsubscribes_when_interrupted() {
    let data = tempfile::tempdir().unwrap();
    let serve = Serve::start(&data.path().join("data"));
    let app = serve.ask(&["app", "create", "Shop"]);
    let mut listen = Running::start(serve.command(&["listen", "--app", &app]));
    wait_for_endpoint(&serve, &app);
    assert_eq!(listen.terminate().code(), Some(130));
    assert!(!serve.ask(&["endpoint", "ls", "--app", &app]).contains("ep_"));
}

#[test]
fn messages_can_be_listed_shown_and_sent_again() {
    let data = tempfile::tempdir().unwrap();
    let serve = Serve::start(&data.path().join("data"));
    let app = serve.ask(&["app", "create", "Shop"]);
    let mut receiver = Running::start(serve.command(&["listen", "--app", &app]));
    wait_for_endpoint(&serve, &app);
    let send = ["send", "--app", &app, "--type", "a.b", "--event-id", "e-1", "--channel", "eu"];
    let message = serve.ask(&[&send[..], &["{\"deep\": {\"n\": 1.50}}"]].concat());
    assert!(receiver.wait_for(&message).contains("verified"));
    check(&serve.try_ask(&[&send[..], &["{}"]].concat()), 1, "", "409");
    let table = serve.ask(&["message", "ls", "--app", &app, "--type", "a.b"]);
    assert!(table.contains(&message) && table.contains("e-1") && table.contains("eu"), "{table}");
    let shown = serve.ask(&["message", "get", &message, "--app", &app, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let endpoint = shown["endpoints"][0]["id"].as_str().unwrap();
    serve.ask(&["message", "resend", &message, "--app", &app, "--endpoint", endpoint]);
    assert!(receiver.wait_for(&message).contains("verified"));
    let table = eventually("two attempts on record", || {
        let table = serve.ask(&["message", "attempts", &message, "--app", &app]);
        (table.lines().count() == 3).then_some(table)
    });
    assert!(table.lines().nth(1).unwrap().contains("yes"), "newest first, made by hand: {table}");
}

#[test]
fn demo_does_the_whole_job() {
    let output = run(&["demo"]);
    check(&output, 0, "everything arrived as it should", "");
    let text = stdout(&output);
    assert!(text.contains("filtered out"), "{text}");
    assert!(text.contains("attempt 3"), "{text}");
    assert!(!text.contains("NOT VERIFIED"), "{text}");
}
