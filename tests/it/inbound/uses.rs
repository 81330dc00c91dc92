//! The four uses among the examples, each against a real daemon run from its files, and the
//! receiver that verifies with our library.
//!
//! Without Python a test is skipped aloud, except under `CI=true`, where that is a failure.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::{Running, posthaste, stdout};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/uses")
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 is missing");
        eprintln!("SKIPPED: python3 is missing, the four uses were not tested");
    }
    found
}

/// What `secrets.sh` exports.
fn secrets() -> BTreeMap<String, String> {
    let text = fs::read_to_string(examples().join("secrets.sh")).unwrap();
    let words = text
        .lines()
        .filter_map(|line| line.strip_prefix("export "))
        .flat_map(str::split_whitespace);
    words
        .map(|word| word.split_once('=').unwrap())
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

/// A daemon run from a use's files, delivering to the use's own program on a free port.
struct Use {
    program: Running,
    _daemon: Running,
    url: String,
    secrets: BTreeMap<String, String>,
    folder: tempfile::TempDir,
}

impl Use {
    fn start(name: &str, program: &str, port: u16) -> Self {
        let (folder, secrets) = (tempfile::tempdir().unwrap(), secrets());
        let mut python = Command::new("python3");
        python.arg(examples().join(name).join(program)).arg("0").envs(&secrets);
        let mut program = Running::start(python);
        let address = program.wait_for("listening on ");
        let address = address.trim_start_matches("listening on ").to_owned();
        let conf_d = folder.path().join("conf.d");
        fs::create_dir(&conf_d).unwrap();
        for entry in fs::read_dir(examples().join(name).join("conf.d")).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let at = format!("127.0.0.1:{port}");
            assert!(text.contains(&at), "{name} delivers elsewhere");
            fs::write(conf_d.join(entry.file_name()), text.replace(&at, &address)).unwrap();
        }
        let config = folder.path().join("posthaste.toml");
        fs::copy(examples().join(name).join("posthaste.toml"), &config).unwrap();
        let mut command = posthaste(&["serve", "--dev", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(config).arg("--data").arg(folder.path().join("data")).envs(&secrets);
        let mut daemon = Running::start(command);
        let banner = daemon.wait_for("listening on ");
        let url = banner.split_once("listening on ").unwrap().1.to_owned();
        Self { program, _daemon: daemon, url, secrets, folder }
    }

    /// Has a provider send its event; what the program says to it.
    fn event(&mut self, provider: &str, expected: &str) {
        let upper = provider.to_uppercase();
        let (token, secret) =
            (&self.secrets[&format!("{upper}_TOKEN")], &self.secrets[&format!("{upper}_SECRET")]);
        let url = format!("{}/in/{provider}/{token}", self.url);
        let send = |secret: &str| {
            let mut python = Command::new("python3");
            python.arg(examples().join("provider.py")).args([provider, &url, secret]);
            python.output().unwrap()
        };
        let output = send(secret);
        assert!(stdout(&output).starts_with("200 msg_"), "{provider}: {output:?}");
        self.program.wait_for(expected);
        let forged = send("not the secret");
        assert!(!forged.status.success(), "{provider} was forged");
        assert!(String::from_utf8_lossy(&forged.stderr).starts_with("401 "), "{forged:?}");
    }
}

#[test]
fn a_shop_reacts_to_stripe_and_shopify() {
    if has_python() {
        let mut shop = Use::start("shop", "shop.py", 9101);
        shop.event("stripe", "order-1001 is paid: 42.00");
        shop.event("shopify", "stock of Socks: 7");
    }
}

#[test]
fn a_tracker_brings_jira_and_linear_together() {
    if has_python() {
        let mut tracker = Use::start("tracker", "tracker.py", 9102);
        tracker.event("jira", "new issue OPS-7: The printer is on fire");
        tracker.event("linear", "new issue ENG-42: The login is slow");
    }
}

#[test]
fn a_notifier_tells_of_pushes_and_pipelines() {
    if has_python() {
        let mut builds = Use::start("builds", "builds.py", 9103);
        builds.event("github", "acme/site: Mend the footer");
        builds.event("gitlab", "acme/api main: success");
    }
}

#[test]
fn a_cms_tells_its_subscribers() {
    if !has_python() {
        return;
    }
    let mut cms = Use::start("cms", "site.py", 9104);
    let token =
        posthaste(&["token", "--data"]).arg(cms.folder.path().join("data")).output().unwrap();
    let mut python = Command::new("python3");
    python.arg(examples().join("cms/publish.py")).args([&cms.url, "hello", "Hello, world"]);
    let output = python.env("POSTHASTE_TOKEN", stdout(&token).trim()).output().unwrap();
    assert!(stdout(&output).starts_with("published as msg_"), "{output:?}");
    cms.program.wait_for("rendering /hello: Hello, world");
}

#[test]
fn our_library_verifies_in_front_of_the_world_and_behind_a_door() {
    if !has_python() {
        return;
    }
    let release = !cfg!(debug_assertions);
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--example", "verify"]);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(build.status().unwrap().success());
    let target = Path::new(env!("CARGO_BIN_EXE_posthaste")).parent().unwrap();
    let secrets = secrets();
    let start = |provider: &str, secret: &str| {
        let mut command = Command::new(target.join("examples/verify"));
        command.envs([("PORT", "0"), ("PROVIDER", provider), ("SECRET", secret)]);
        let mut running = Running::start(command);
        let address = running.wait_for("listening on ");
        (running, address.trim_start_matches("listening on ").to_owned())
    };
    let (mut direct, address) = start("github", &secrets["GITHUB_SECRET"]);
    let send = |secret: &str| {
        let mut python = Command::new("python3");
        let url = format!("http://{address}/");
        python.arg(examples().join("provider.py")).args(["github", &url, secret]);
        python.output().unwrap()
    };
    assert!(send(&secrets["GITHUB_SECRET"]).status.success());
    assert!(direct.wait_for("verified push: ").contains("Mend the footer"));
    assert!(!send("wrong").status.success());
    direct.wait_for("refused: signature_mismatch");

    let (mut behind, address) = start("standard_webhooks", &secrets["ENDPOINT_SECRET"]);
    let data = tempfile::tempdir().unwrap();
    let serve = crate::binary::Serve::start(data.path());
    let secret = &secrets["ENDPOINT_SECRET"];
    let door = serve.ask(&[
        "source",
        "create",
        "In",
        "--provider",
        "github",
        "--secret",
        &secrets["GITHUB_SECRET"],
        "--json",
    ]);
    let door: serde_json::Value = serde_json::from_str(&door).unwrap();
    let (app, url) = (door["appId"].as_str().unwrap(), door["ingestUrl"].as_str().unwrap());
    let to = format!("http://{address}/");
    serve.ask(&["endpoint", "create", &to, "--app", app, "--secret", secret]);
    let mut python = Command::new("python3");
    python.arg(examples().join("provider.py")).args(["github", url, &secrets["GITHUB_SECRET"]]);
    assert!(python.status().unwrap().success());
    assert!(behind.wait_for("verified ").contains("Mend the footer"));
}
