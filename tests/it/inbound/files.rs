//! A daemon run from files: reloaded while it runs and works, `plan`, `apply`, and what the API may
//! not change.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::binary::{Running, Serve, eventually, posthaste, stderr, stdout};
use crate::support::receiver::{Ledger, Policy, Receiver};

/// A daemon with a configuration file and `conf.d`, its log in a file.
struct House {
    running: Running,
    url: String,
    folder: tempfile::TempDir,
}

const APP: &str = "[applications.shop]\nname = \"Shop\"\n";
const SOURCE: &str = "[sources.in]\nprovider = \"generic\"\napplication = \"shop\"\n\
                      token = \"0123456789abcdef\"\n";

impl House {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("posthaste.toml"), "[log]\nlevel = \"info\"\n").unwrap();
        prepare(folder.path());
        let (config, data) = (folder.path().join("posthaste.toml"), folder.path().join("data"));
        let mut command = posthaste(&["serve", "--dev", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(config).arg("--data").arg(data);
        command.stderr(fs::File::create(folder.path().join("log")).unwrap());
        let mut running = Running::start(command);
        let banner = running.wait_for("listening on ");
        let url = banner.split_once("listening on ").unwrap().1.to_owned();
        Self { running, url, folder }
    }

    fn conf_d(&self, name: &str) -> PathBuf {
        self.folder.path().join("conf.d").join(name)
    }

    /// Log lines about `conf.d`, one for each time it was looked at.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().filter(|line| line.contains("conf.d")).map(str::to_owned).collect()
    }

    /// The line that comes after `count` others.
    fn line(&self, count: usize) -> String {
        eventually("a log line", || {
            std::thread::yield_now();
            self.lines().get(count).cloned()
        })
    }

    fn ask(&self, args: &[&str]) -> Output {
        let mut command = posthaste(args);
        command.args(["--server", &self.url, "--data"]).arg(self.folder.path().join("data"));
        command.output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.ask(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    fn pid(&self) -> String {
        self.running.child.id().to_string()
    }
}

/// Replaces a file the way a careful editor does.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn files_are_applied_at_the_start_and_on_a_signal() {
    let house = House::start(|folder| {
        fs::create_dir(folder.join("conf.d")).unwrap();
        fs::write(folder.join("conf.d/10.toml"), format!("{APP}{SOURCE}")).unwrap();
    });
    assert!(house.line(0).contains("is applied: 2 created"), "{:?}", house.lines());
    let source = house.json(&["source", "get", "in"]);
    assert!(source["ingestUrl"].as_str().unwrap().ends_with("/0123456789abcdef"), "{source}");
    assert_eq!(source["metadata"]["managed-by"], "files");
    assert!(Command::new("kill").args(["-HUP", &house.pid()]).status().unwrap().success());
    assert!(house.line(1).contains("nothing to change"), "{:?}", house.lines());
    let other = tempfile::tempdir().unwrap();
    let output = house.ask(&["apply", other.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let folder = house.conf_d("").display().to_string();
    let expected = format!("run from the files in {}: change those", folder.trim_end_matches('/'));
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    replace(&house.conf_d("10.toml"), APP);
    assert!(house.line(2).contains("1 removed"), "{:?}", house.lines());
    replace(&house.conf_d("10.toml"), "[applications.shop\n");
    let line = house.line(3);
    assert!(line.contains("not applied") && line.contains("10.toml:1"), "{line}");
    assert_eq!(house.json(&["app", "get", "shop"])["name"], "Shop", "the last good state stays");
    fs::remove_dir_all(house.folder.path().join("conf.d")).unwrap();
    assert!(house.line(4).contains("is not there"), "{:?}", house.lines());
    assert_eq!(house.json(&["app", "get", "shop"])["name"], "Shop");
}

#[test]
fn what_files_manage_changes_through_the_api_only_by_force() {
    let house = House::start(|folder| {
        fs::create_dir(folder.join("conf.d")).unwrap();
        let endpoint = "[applications.shop.endpoints.crm]\nurl = \"https://crm.example.com/\"\n";
        let kind = "[event_types.\"order.paid\"]\ndescription = \"paid\"\n";
        fs::write(folder.join("conf.d/10.toml"), format!("{kind}{APP}{endpoint}{SOURCE}")).unwrap();
    });
    house.line(0);
    for args in [
        &["app", "update", "shop", "--name", "Other"][..],
        &["app", "rm", "shop"],
        &["endpoint", "update", "crm", "--app", "shop", "--url", "https://x.example/"],
        &["endpoint", "rotate", "crm", "--app", "shop"],
        &["endpoint", "rm", "crm", "--app", "shop"],
        &["event-type", "update", "order.paid", "--description", "x"],
        &["source", "update", "in", "--name", "x"],
        &["source", "rotate", "in"],
        &["source", "rm", "in"],
    ] {
        let output = house.ask(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stdout(&output));
        assert!(stderr(&output).contains("managed by configuration files"), "{}", stderr(&output));
    }
    let made = house.ask(&["endpoint", "create", "https://mine.example/", "--app", "shop"]);
    assert!(made.status.success(), "what is new is not theirs: {}", stderr(&made));
    let token = stdout(&house.ask(&["token"])).trim().to_owned();
    let forced = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PATCH"])
        .args(["-H", &format!("authorization: Bearer {token}"), "-d", "{\"name\":\"Forced\"}"])
        .arg(format!("{}/api/v1/app/shop?force=true", house.url))
        .output();
    if let Ok(output) = forced {
        assert_eq!(stdout(&output), "200");
        assert_eq!(house.json(&["app", "get", "shop"])["name"], "Forced");
        assert!(Command::new("kill").args(["-HUP", &house.pid()]).status().unwrap().success());
        assert!(house.line(1).contains("1 changed"), "{:?}", house.lines());
        assert_eq!(house.json(&["app", "get", "shop"])["name"], "Shop");
    }
}

#[test]
fn plan_shows_and_apply_makes_the_difference() {
    let data = tempfile::tempdir().unwrap();
    let serve = Serve::start(data.path());
    let files = tempfile::tempdir().unwrap();
    let dir = files.path().to_str().unwrap();
    fs::write(files.path().join("a.toml"), format!("{APP}{SOURCE}")).unwrap();
    assert_eq!(serve.ask(&["plan", dir]), "+ application shop\n+ source in");
    assert_eq!(serve.ask(&["plan", dir]), "+ application shop\n+ source in", "it changed nothing");
    assert_eq!(serve.ask(&["apply", dir]), "+ application shop\n+ source in");
    assert_eq!(serve.ask(&["plan", dir]), "no changes");
    fs::write(files.path().join("a.toml"), APP.replace("Shop", "Shop 2")).unwrap();
    assert_eq!(serve.ask(&["plan", dir]), "- source in\n~ application shop (name)");
    fs::write(files.path().join("b.toml"), "[sources.x]\nprovider = \"github\"\n").unwrap();
    let refused = serve.try_ask(&["apply", dir]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("needs the secret"), "{}", stderr(&refused));
    assert!(!serve.ask(&["app", "get", "shop"]).contains("Shop 2"), "all or nothing");
    fs::write(
        files.path().join("b.toml"),
        "[sources.x]\nprovider = \"github\"\nsecrets = [\"env:NO_SUCH\"]\n",
    )
    .unwrap();
    let refused = serve.try_ask(&["plan", dir]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("b.toml:3"), "{}", stderr(&refused));
}

#[test]
fn strict_checks_look_into_the_folder_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("posthaste.toml");
    fs::write(&config, "").unwrap();
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), format!("{APP}{SOURCE}")).unwrap();
    let check = |strict: &[&str]| {
        let args = [&["config", "check", "--config", config.to_str().unwrap()], strict].concat();
        posthaste(&args).output().unwrap()
    };
    assert_eq!(check(&["--strict"]).status.code(), Some(0));
    fs::write(folder.path().join("conf.d/a.toml"), SOURCE.replace("generic", "github")).unwrap();
    assert_eq!(check(&[]).status.code(), Some(0), "the daemon's own settings are sound");
    let output = check(&["--strict"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("a.toml:1: sources.in"), "{}", stderr(&output));
}

/// One change of the folder, and whether the result is valid.
struct Change {
    what: &'static str,
    valid: bool,
}

/// Makes the `n`th change; the name that the application has once it is applied.
fn change(house: &House, endpoint: &str, n: usize) -> Change {
    let file = house.conf_d("10.toml");
    let text = |name: &str| format!("{}{endpoint}{SOURCE}", APP.replace("Shop", name));
    let name = format!("Shop {n}");
    match n % 6 {
        0 => replace(&file, &text(&name)),
        1 => {
            fs::write(&file, "[applications.shop]\nname = \"half").unwrap();
            return Change { what: "half-written", valid: false };
        }
        2 => {
            replace(&file, &format!("{}\n[sources.bad]\nprovider = \"github\"\n", text(&name)));
            return Change { what: "invalid", valid: false };
        }
        3 => {
            // Another file takes its place.
            fs::remove_file(&file).unwrap();
            replace(&house.conf_d("20.toml"), &text(&name));
            return Change { what: "renamed", valid: true };
        }
        4 => {
            // As a config map does it: the file is a link into a folder that is swapped whole.
            let version = house.folder.path().join(format!("conf.d/..{n}"));
            fs::create_dir(&version).unwrap();
            fs::write(version.join("20.toml"), text(&name)).unwrap();
            let (data, link) = (house.conf_d("..data"), house.conf_d("20.toml"));
            symlink(format!("..{n}"), house.conf_d("..data_tmp")).unwrap();
            fs::rename(house.conf_d("..data_tmp"), data).unwrap();
            symlink("..data/20.toml", house.conf_d("..link")).unwrap();
            fs::rename(house.conf_d("..link"), link).unwrap();
            return Change { what: "swapped", valid: true };
        }
        _ => {
            fs::remove_file(house.conf_d("20.toml")).ok();
            replace(&file, &text(&name));
        }
    }
    Change { what: "replaced", valid: true }
}

#[test]
fn two_hundred_changes_under_load_lose_nothing() {
    let count = std::env::var("POSTHASTE_CHANGES").map_or(24, |text| text.parse().unwrap());
    let receiver = Receiver::start(1, Policy::default()).unwrap();
    let endpoint = format!("[applications.shop.endpoints.me]\nurl = {:?}\n", receiver.url());
    let house = House::start(|folder| {
        fs::create_dir(folder.join("conf.d")).unwrap();
        let text = format!("{APP}{endpoint}{SOURCE}");
        fs::write(folder.join("conf.d/10.toml"), text).unwrap();
    });
    house.line(0);
    let running = Arc::new(AtomicBool::new(true));
    let accepted = Arc::new(AtomicUsize::new(0));
    let sender = {
        let (running, accepted) = (Arc::clone(&running), Arc::clone(&accepted));
        let address = house.url.trim_start_matches("http://").to_owned();
        std::thread::spawn(move || {
            while running.load(Ordering::Relaxed) {
                let status = knock(&address);
                assert_eq!(status, 200, "a request failed");
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut expected = "Shop".to_owned();
    for n in 0..count {
        let made = change(&house, &endpoint, n);
        let line = house.line(n + 1);
        assert_eq!(line.contains(" is applied: "), made.valid, "change {n}, {}: {line}", made.what);
        if made.valid {
            expected = format!("Shop {n}");
        }
        let name = house.json(&["app", "get", "shop"])["name"].clone();
        assert_eq!(name, expected, "change {n}, {}: {line}", made.what);
        assert_eq!(house.lines().len(), n + 2, "one line each: {:?}", house.lines());
    }
    running.store(false, Ordering::Relaxed);
    sender.join().expect("no request failed");
    let messages = house.json(&["message", "ls", "--app", "shop", "--all"]);
    let kept = messages["data"].as_array().unwrap().len();
    assert_eq!(kept, accepted.load(Ordering::Relaxed), "every accepted event is a message");
    let ids: Vec<&str> =
        messages["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    let all_came = |ledger: &Ledger| ids.iter().all(|id| ledger.successes(id) == 1);
    assert!(receiver.wait(Duration::from_secs(30), all_came), "a delivery was lost, or made twice");
}

/// Sends one event; the status.
fn knock(address: &str) -> u16 {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = "POST /in/in/0123456789abcdef HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
                   content-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_file_that_is_spooled_becomes_one_message() {
    let spool = tempfile::tempdir().unwrap();
    let path = |name: &str| spool.path().join(name);
    let house = House::start(|folder| {
        let text = format!("[inbound]\nspool = {:?}\n", spool.path().display().to_string());
        fs::write(folder.join("posthaste.toml"), text).unwrap();
        fs::create_dir(folder.join("conf.d")).unwrap();
        fs::write(folder.join("conf.d/10.toml"), APP).unwrap();
    });
    house.line(0);
    let drop_in = |name: &str, text: &str| {
        fs::write(path(".new"), text).unwrap();
        fs::rename(path(".new"), path(name)).unwrap();
    };
    let wait = |name: &str| {
        eventually(name, || {
            std::thread::yield_now();
            path(name).exists().then_some(())
        });
    };
    let good =
        "{\"application\":\"shop\",\"eventType\":\"order.paid\",\"payload\":{ \"n\" : 1.0 }}";
    drop_in("a.json", good);
    wait("done/a.json");
    for (name, text, why) in [
        ("b.json", "{", "it is no event"),
        ("c.json", &good.replace("shop", "none"), "there is no application \"none\""),
        ("d.json", &good.replace("order.paid", "a b"), "eventType"),
        ("e.json", &good.replace("{ \"n\" : 1.0 }", "[1]"), "payload must be a JSON object"),
        ("f.json", &good.replace("payload", "paylod"), "paylod"),
    ] {
        drop_in(name, text);
        wait(&format!("failed/{name}"));
        let reason = fs::read_to_string(path(&format!("failed/{name}.reason"))).unwrap();
        assert!(reason.contains(why), "{name}: {reason}");
    }
    fs::rename(path("done/a.json"), path("a.json")).unwrap();
    wait("done/a.json");
    fs::write(path("still-written.tmp"), "{").unwrap();
    drop_in("g.json", &good.replace("1.0", "2.0"));
    wait("done/g.json");
    assert!(path("still-written.tmp").exists());
    let messages = house.json(&["message", "ls", "--app", "shop"]);
    let payloads: Vec<&Value> =
        messages["data"].as_array().unwrap().iter().map(|message| &message["payload"]).collect();
    assert_eq!(payloads, [&serde_json::json!({"n": 2.0}), &serde_json::json!({"n": 1.0})]);
}
