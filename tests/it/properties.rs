//! Requests made up from the `OpenAPI` document the daemon serves, good ones and bad ones: none may
//! fail inside the daemon, and every answer must be one the document promises.
//!
//! `schemathesis` makes them, in the version that `tests/clients/schema` names. Without Python the
//! tests are skipped aloud, except under `CI=true`, where that is a failure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::clients::{finish, venv};
use crate::hostile_tools::House;

/// Seconds of each of the two runs.
const SECONDS: &str = "20";
/// For starting, both phases and the report, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(150);

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/schema")
}

/// A run of schemathesis against a new daemon, with further arguments.
fn check(config: Option<&Path>, arguments: &[&str]) {
    let Some(bin) = venv("schema", &sources().join("requirements.txt")) else { return };
    // Made-up endpoints lead anywhere: a proxy that is not there keeps what they are sent at home.
    let house = House::start(&[("POSTHASTE_DELIVERY_PROXY", "http://127.0.0.1:9")]);
    house.expect(201, "POST", "/api/v1/app", &json!({ "name": "shop", "uid": "shop" }));
    let event_type = json!({ "name": "order.paid", "description": "an order was paid" });
    house.expect(201, "POST", "/api/v1/event-type", &event_type);
    let message = json!({ "eventType": "order.paid", "eventId": "order-1", "payload": {} });
    let endpoint = json!({ "url": "http://127.0.0.1:9/", "uid": "door" });
    house.expect(201, "POST", "/api/v1/app/shop/endpoint", &endpoint);
    house.expect(202, "POST", "/api/v1/app/shop/msg", &message);

    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let seed = std::env::var("POSTHASTE_SEED").unwrap_or_else(|_| now.to_string());
    eprintln!("seed {seed} (POSTHASTE_SEED)");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(bin.join("schemathesis"));
    if let Some(config) = config {
        command.arg("--config-file").arg(config);
    }
    command.arg("run").arg(format!("http://127.0.0.1:{}/api/v1/openapi.json", house.port));
    command.args(["--no-color", "--seed", &seed, "--max-time", SECONDS, "--checks", CHECKS]);
    command.args(["--request-timeout", "20", "--warnings", "off"]).args(arguments);
    command.arg("--header").arg(format!("Authorization: Bearer {}", house.token));
    command.current_dir(folder.path());
    eprintln!("{}", finish(command, LIMIT));
    house.stop();
}

#[test]
fn made_up_requests_are_answered_as_the_document_says() {
    check(None, &[]);
}

/// As above, about things that are there: nothing that takes them away is asked for.
#[test]
fn made_up_requests_about_what_is_there_are_answered_as_the_document_says() {
    let config = sources().join("schemathesis.toml");
    let kept = ["--exclude-method", "DELETE", "--exclude-path-regex", "/auth/"];
    check(Some(&config), &kept);
}
