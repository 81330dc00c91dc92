//! The address guard from outside: what must not be dialled is refused when an endpoint is made or
//! changed, refused again when a message is about to be sent, and not reached by rebinding or
//! redirects either.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile_tools::{House, until};
use crate::support::receiver::{Policy, Receiver};

/// The spellings by which others were led inside: the URL, and what its refusal has to name.
const REFUSED: [(&str, &[&str]); 37] = [
    ("http://127.0.0.1", &["127.0.0.1", "loopback", "127.0.0.0/8"]),
    ("http://2130706433", &["127.0.0.1", "loopback"]),
    ("http://0x7f.1", &["127.0.0.1", "loopback"]),
    ("http://0177.0.0.1", &["127.0.0.1", "loopback"]),
    ("http://127.1", &["127.0.0.1", "loopback"]),
    ("http://①②⑦.0.0.1", &["127.0.0.1", "loopback"]),
    ("http://127。0。0。1", &["127.0.0.1", "loopback"]),
    ("http:127.0.0.1", &["127.0.0.1", "loopback"]),
    ("http:///127.0.0.1", &["127.0.0.1", "loopback"]),
    ("http://0/", &["0.0.0.0", "this host"]),
    ("http://[::]", &["::", "this host"]),
    ("http://[::1]", &["::1", "loopback"]),
    ("http://[::ffff:127.0.0.1]", &["127.0.0.1", "loopback"]),
    ("http://[::127.0.0.1]", &["not public IPv6"]),
    ("http://[::ffff:0:7f00:1]", &["not public IPv6"]),
    ("http://[::5efe:7f00:1]", &["not public IPv6"]),
    ("http://[64:ff9b::7f00:1]", &["64:ff9b::7f00:1", "NAT64"]),
    ("http://[64:ff9b:1::1]", &["NAT64"]),
    ("http://[2002:7f00:1::]", &["2002:7f00:1::", "6to4"]),
    ("http://[2001:0:7f00:1::]", &["Teredo"]),
    ("http://[fec0::1]", &["fec0::1", "site-local"]),
    ("http://[fe80::1]", &["fe80::1", "link-local"]),
    ("http://[fd00:ec2::254]", &["fd00:ec2::254", "private network"]),
    ("http://169.254.169.254.", &["169.254.169.254", "metadata"]),
    ("http://168.63.129.16", &["168.63.129.16", "Azure"]),
    ("http://100.100.100.200", &["100.100.100.200", "carrier network"]),
    ("http://192.0.0.192", &["192.0.0.192", "protocol assignments"]),
    ("http://10.1.2.3", &["10.1.2.3", "private network"]),
    ("http://192.168.0.1:8080/x?y=1", &["192.168.0.1", "private network"]),
    ("http://172.31.255.255", &["172.31.255.255", "private network"]),
    ("http://localhost.", &["localhost", "this machine"]),
    ("http://foo.localhost", &["foo.localhost", "this machine"]),
    ("HTTP://127.0.0.1", &["127.0.0.1", "loopback"]),
    ("http://metadata.google.internal", &["metadata.google.internal", ".internal"]),
    ("http://printer.local", &["printer.local", ".local"]),
    ("http://intranet/", &["intranet", "without a dot"]),
    ("http://255.255.255.255", &["255.255.255.255", "reserved"]),
];

/// What is refused for another reason than where it leads to: the setting does not help.
const MALFORMED: [&str; 8] = [
    "http://user@127.0.0.1",
    "http://user:pass@example.com",
    "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
    "http://example.com:0",
    "http://example.com:99999",
    "http://256.256.256.256",
    "ftp://example.com",
    "file:///etc/passwd",
];

const SETTING: &str = "delivery.allow_networks";

#[track_caller]
fn check_text(url: &str, text: &str, parts: &[&str]) {
    for part in parts.iter().chain([&SETTING]) {
        assert!(text.contains(part), "{url}: {part} is missing in: {text}");
    }
}

#[test]
fn nothing_of_the_table_is_taken_when_an_endpoint_is_made_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::on(&folder.path().join("data"), &[], &[]);
    let app = house.app("ssrf");
    let path = format!("/api/v1/app/{app}/endpoint");
    let good = house.endpoint(&app, "http://example.com/hook");
    let own = format!("{path}/{good}");
    let (oauth, operational) =
        (format!("{own}/oauth"), "/api/v1/operational-webhook/endpoint".to_owned());
    for (url, parts) in REFUSED {
        for (method, path, field) in [
            ("POST", &path, "url"),
            ("PUT", &own, "url"),
            ("PATCH", &own, "url"),
            ("POST", &operational, "url"),
            ("PUT", &oauth, "tokenUrl"),
        ] {
            let body = json!({ "url": url, "tokenUrl": url, "clientId": "a", "clientSecret": "b" });
            let refusal = house.expect(422, method, path, &body);
            assert_eq!(refusal["detail"][0]["loc"], json!(["body", field]), "{url}");
            check_text(url, refusal["detail"][0]["msg"].as_str().unwrap(), parts);
        }
    }
    for url in MALFORMED {
        house.expect(422, "POST", &path, &json!({ "url": url }));
    }
    let endpoint = house.expect(200, "GET", &own, &Value::Null);
    assert_eq!(endpoint["url"], "http://example.com/hook", "unchanged");
    house.stop();
}

/// Endpoints that were made while the operator allowed everything, delivered to after that ended.
#[test]
fn nothing_of_the_table_is_dialled_when_the_operator_has_changed_their_mind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let env = [("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")];
    let open = ["--allow-network", "0.0.0.0/0", "--allow-network", "::/0"];
    let house = House::on(&data, &open, &env);
    let app = house.app("ssrf");
    let endpoints: Vec<_> =
        REFUSED.iter().map(|(url, parts)| (house.endpoint(&app, url), *url, *parts)).collect();
    // Endpoints that may be delivered to, with access tokens from where nothing may be asked.
    let tokens = house.app("tokens");
    let with_tokens = REFUSED.map(|(url, parts)| {
        let id = house.endpoint(&tokens, "http://receiver.invalid/hook");
        let path = format!("/api/v1/app/{tokens}/endpoint/{id}/oauth");
        let body = json!({ "tokenUrl": url, "clientId": "a", "clientSecret": "b" });
        house.expect(204, "PUT", &path, &body);
        (id, url, parts)
    });
    house.stop();

    let house = House::on(&data, &[], &env);
    house.send(&app);
    for (id, url, parts) in endpoints {
        let attempts = until("an attempt", Duration::from_secs(20), || {
            Some(house.attempts(&app, &id)).filter(|attempts| !attempts.is_empty())
        });
        assert_eq!(attempts.len(), 1, "{url}");
        assert_eq!(attempts[0]["failureCode"], "address_refused", "{url}");
        assert_eq!(attempts[0]["responseStatusCode"], 0, "{url}");
        check_text(url, attempts[0]["response"].as_str().unwrap(), parts);
        let example = format!("/api/v1/app/{app}/endpoint/{id}/send-example");
        let sent = house.expect(200, "POST", &example, &json!({ "eventType": "svix.ping" }));
        let message = sent["id"].as_str().unwrap().to_owned();
        until("the example's attempt", Duration::from_secs(20), || {
            let attempts = house.attempts(&app, &id);
            let found = attempts.iter().find(|attempt| attempt["msgId"] == message.as_str())?;
            assert_eq!(found["failureCode"], "address_refused", "{url}");
            Some(())
        });
    }
    house.send(&tokens);
    for (id, url, parts) in with_tokens {
        let attempts = until("an attempt", Duration::from_secs(20), || {
            Some(house.attempts(&tokens, &id)).filter(|attempts| !attempts.is_empty())
        });
        assert_eq!(attempts[0]["failureCode"], "oauth_token", "{url}");
        check_text(url, attempts[0]["response"].as_str().unwrap(), parts);
    }
    house.stop();
}

/// The stand-in for the system's resolver, or `None` where there is no C compiler.
fn resolver(folder: &std::path::Path) -> Option<PathBuf> {
    let library = folder.join("names.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/hostile_names.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .args([source, "-ldl", "-lpthread"])
        .output();
    match built {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("cc: {}", String::from_utf8_lossy(&output.stderr)),
        Err(err) => {
            assert!(std::env::var_os("CI").is_none(), "no C compiler in CI: {err}");
            println!("WARNING: no C compiler: THE TEST OF NAMES THAT REBIND IS SKIPPED");
            None
        }
    }
}

/// Names that mix, flip, hide or fail. 127.0.0.0/8 stands for the public network here, and
/// 10.0.0.1 for the private one: nothing but this machine is dialled.
#[test]
fn names_are_judged_by_all_they_lead_to_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = resolver(folder.path()) else { return };
    let names = folder.path().join("names");
    let lines = "good.test 127.0.0.1\n\
                 mixed.test 127.0.0.1 10.0.0.1\n\
                 private.test 10.0.0.1\n\
                 metadata.test 169.254.169.254\n\
                 mapped.test ::ffff:10.0.0.1\n\
                 v6.test fd00:ec2::254\n\
                 flip.test 127.0.0.1\nflip.test 10.0.0.1\n\
                 fail.test !fail\n\
                 slow.test !slow 127.0.0.1\n";
    std::fs::write(&names, lines).unwrap();
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("TEST_NAMES", names.to_str().unwrap()),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]"),
        ("POSTHASTE_DELIVERY_TIMEOUT", "1s"),
    ];
    let house = House::on(&folder.path().join("data"), &["--allow-network", "127.0.0.0/8"], &env);
    let closing =
        Closing::start(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let app = house.app("names");
    let try_once = |name: &str| {
        let id = house.endpoint(&app, &format!("http://{name}:{}/x", closing.port));
        let send = format!("/api/v1/app/{app}/endpoint/{id}/send-example");
        house.expect(200, "POST", &send, &json!({ "eventType": "svix.ping" }));
        let attempt = until("an attempt", Duration::from_secs(20), || {
            house.attempts(&app, &id).into_iter().next()
        });
        (attempt["failureCode"].as_str().unwrap_or("").to_owned(), attempt)
    };
    assert_eq!(try_once("good.test").0, "");
    assert_eq!(closing.seen(), 1);
    for name in ["mixed.test", "private.test", "metadata.test", "mapped.test", "v6.test"] {
        let (code, attempt) = try_once(name);
        assert_eq!(code, "address_refused", "{name}");
        // Whoever owns the endpoint does not learn what the resolver saw; the log tells.
        let text = attempt["response"].as_str().unwrap();
        assert!(!text.contains("10.0.0.1") && !text.contains("169.254"), "{text}");
    }
    check_text("mixed.test", &house.log(), &["10.0.0.1", "private network (10.0.0.0/8)"]);
    check_text("v6.test", &house.log(), &["fd00:ec2::254", "private network (fc00::/7)"]);
    assert_eq!(try_once("flip.test").0, "", "before it flips");
    assert_eq!(try_once("flip.test").0, "address_refused", "after");
    assert_eq!(closing.seen(), 2, "nothing was dialled but what was vetted");
    let begun = Instant::now();
    assert_eq!(try_once("good.test").0, "");
    assert!(begun.elapsed() < Duration::from_secs(5));
    house.stop();
}

/// Slow and failing look-ups, each on a daemon that has had contact with somebody else.
#[test]
fn look_ups_that_fail_or_hang_end_in_time_and_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = resolver(folder.path()) else { return };
    let names = folder.path().join("names");
    std::fs::write(&names, "fail.test !fail\nslow.test !slow 127.0.0.1\n").unwrap();
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("TEST_NAMES", names.to_str().unwrap()),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]"),
        ("POSTHASTE_DELIVERY_TIMEOUT", "1s"),
    ];
    let house = House::on(&folder.path().join("data"), &["--allow-network", "127.0.0.0/8"], &env);
    let healthy = Receiver::start(1, Policy::default()).unwrap();
    let app = house.app("names");
    let good = house.endpoint(&app, &healthy.url());
    let slow = house.endpoint(&app, "http://slow.test/x");
    let fail = house.endpoint(&app, "http://fail.test/x");
    for _ in 0..20 {
        let begun = Instant::now();
        let id = house.send(&app);
        assert!(healthy.wait(Duration::from_secs(5), |ledger| ledger.successes(&id) > 0));
        assert!(begun.elapsed() < Duration::from_secs(1), "held up for {:?}", begun.elapsed());
    }
    for (endpoint, code) in [(&slow, "timeout_dns"), (&fail, "dns"), (&good, "")] {
        let attempt = until("an attempt", Duration::from_secs(20), || {
            house.attempts(&app, endpoint).into_iter().next()
        });
        assert_eq!(attempt["failureCode"].as_str().unwrap_or_default(), code);
        assert!(attempt["responseDurationMs"].as_u64().unwrap() < 2000, "{attempt}");
    }
    house.stop();
}

/// Nobody but the owner of a name can mend it: the only thing that is sent, it is counted all the same.
#[test]
fn a_single_name_that_nobody_resolves_is_not_taken_for_a_lost_network() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = resolver(folder.path()) else { return };
    let names = folder.path().join("names");
    std::fs::write(&names, "fail.test !fail\n").unwrap();
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("TEST_NAMES", names.to_str().unwrap()),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]"),
    ];
    let house = House::on(&folder.path().join("data"), &["--allow-network", "127.0.0.0/8"], &env);
    let app = house.app("alone");
    house.endpoint(&app, "http://fail.test/x");
    let id = house.send(&app);
    let path = format!("/api/v1/app/{app}/msg/{id}/endpoint");
    // Half a minute is left for another to fail in the same manner.
    let status = until("a counted attempt", Duration::from_secs(90), || {
        let page = house.expect(200, "GET", &path, &Value::Null);
        page["data"][0]["status"].as_u64().filter(|status| *status != 1)
    });
    assert_eq!(status, 2, "its one attempt is used up");
    house.stop();
}

/// A redirect leads nowhere: neither to a private address nor to one that may be dialled.
#[test]
fn redirects_are_not_followed() {
    let house = House::start(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")]);
    let inside = Closing::start(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let app = house.app("redirects");
    for status in ["301", "302", "303", "307", "308"] {
        let answer = format!(
            "HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:{}/in\r\ncontent-length: 0\r\n\r\n",
            inside.port
        );
        let outside = Closing::start(answer.as_bytes());
        let id = house.endpoint(&app, &format!("http://127.0.0.1:{}/", outside.port));
        let send = format!("/api/v1/app/{app}/endpoint/{id}/send-example");
        house.expect(200, "POST", &send, &json!({ "eventType": "svix.ping" }));
        let attempt = until("an attempt", Duration::from_secs(20), || {
            house.attempts(&app, &id).into_iter().next()
        });
        assert_eq!(attempt["failureCode"], "redirect", "{status}");
        let text = attempt["response"].as_str().unwrap();
        assert!(text.contains("/in"), "where it wanted to go is said: {text}");
    }
    assert_eq!(inside.seen(), 0);
    house.stop();
}

/// Answers each connection once and closes it; counts them.
struct Closing {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Closing {
    fn start(answer: &[u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&seen), answer.to_owned());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
                let head = crate::support::http::Head::read(&mut reader);
                if head.is_ok_and(|head| head.read_body(&mut reader).is_ok()) {
                    drop(stream.write_all(&answer));
                }
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}
