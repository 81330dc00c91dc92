//! Secrets at rest, on the real binary: sealed with the operator's key, refused without it, and a
//! data folder that is nobody else's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::{posthaste, stderr, stdout};
use crate::hostile_tools::House;
use crate::support::receiver::{Policy, Receiver};

const FIRST: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const SECOND: &str = "CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws=";
const HEADER: &str = "Bearer hunter2-of-the-receiver";

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs a command on the data folder with `keys` set: exit code, stdout and stderr.
fn run(args: &[&str], data: &Path, keys: &[(&str, &str)]) -> (i32, String) {
    let mut command = posthaste(args);
    command.arg("--data").arg(data).envs(keys.iter().copied());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), format!("{}{}", stdout(&output), stderr(&output)))
}

#[test]
fn secrets_are_sealed_with_the_key_and_readable_with_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = [("POSTHASTE_SERVER_ENCRYPTION_KEY", "env:MY_KEY"), ("MY_KEY", FIRST)];
    let allow = ["--allow-network", "127.0.0.0/8"];
    let receiver = Receiver::start(1, Policy::default()).unwrap();

    let house = House::on(&data, &allow, &first);
    let app = house.app("sealed");
    let endpoint = house.endpoint(&app, &receiver.url());
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let headers = json!({ "headers": { "authorization": HEADER } });
    house.expect(204, "PUT", &format!("{path}/headers"), &headers);
    let secret = house.expect(200, "GET", &format!("{path}/secret"), &Value::Null);
    let secret = secret["key"].as_str().unwrap().to_owned();
    let id = house.send(&app);
    let arrived = receiver.wait(Duration::from_secs(20), |ledger| ledger.successes(&id) > 0);
    assert!(arrived, "signed with the opened secret, with the opened header");
    assert!(!house.log().contains(&secret) && !house.log().contains("hunter2"), "{}", house.log());
    house.stop();

    assert_eq!(mode(&data), 0o700);
    for file in files(&data) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        let bytes = std::fs::read(&file).unwrap();
        for secret in [&secret, HEADER] {
            let is_there = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!is_there, "{secret} in {}", file.display());
        }
    }

    for args in [["serve", "--listen", "127.0.0.1:0"].as_slice(), &["store", "check"]] {
        let (code, text) = run(args, &data, &[]);
        assert_eq!(code, 1, "{args:?}: {text}");
        assert!(text.contains("server.encryption_key is not set"), "{args:?}: {text}");
        let (code, text) = run(args, &data, &[("POSTHASTE_SERVER_ENCRYPTION_KEY", SECOND)]);
        assert_eq!(code, 1, "{args:?}: {text}");
        assert!(text.contains("as server.encryption_key_old beside"), "{args:?}: {text}");
        assert!(!text.contains(SECOND), "{text}");
    }
    let (code, text) = run(&["store", "check"], &data, &first);
    assert!(code == 0 && text.contains("no fault"), "{code}: {text}");

    // Another key, with the one before it for one start.
    let second = ("POSTHASTE_SERVER_ENCRYPTION_KEY", SECOND);
    House::on(&data, &allow, &[second, ("POSTHASTE_SERVER_ENCRYPTION_KEY_OLD", FIRST)]).stop();
    let house = House::on(&data, &allow, &[second]);
    let found = house.expect(200, "GET", &format!("{path}/secret"), &Value::Null);
    assert_eq!(found["key"], secret);
    house.stop();
}

#[test]
fn a_data_folder_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let set =
        |mode| std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).unwrap();
    // As an installer makes it: empty, so it is closed.
    std::fs::create_dir(&data).unwrap();
    set(0o755);
    House::on(&data, &[], &[]).stop();
    assert_eq!(mode(&data), 0o700);
    for open in [0o755, 0o701, 0o704, 0o777] {
        set(open);
        let (code, text) = run(&["serve", "--listen", "127.0.0.1:0"], &data, &[]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("chmod 700") && text.contains(&format!("{open:04o}")), "{text}");
        assert_eq!(mode(&data), open, "it is left as it is");
    }
    for closed in [0o700, 0o750] {
        set(closed);
        House::on(&data, &[], &[]).stop();
    }
}
