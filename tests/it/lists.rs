//! Lists of an application with many messages and endpoints: every page comes fast, also far from
//! the end the list begins at, and where a filter finds little or nothing.
//!
//! `POSTHASTE_LIST_MESSAGES` says how many messages (1,000 when nothing is said),
//! `POSTHASTE_TEST_BIN` with which build: of a release build with a whole 100,000 each page has to come
//! within [`PAGE`]. `--nocapture` shows the figures.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile_tools::{House, connect, read_reply, request, until};
use crate::support::http::Client;
use crate::support::receiver::{Policy, Receiver};
use crate::support::{is_release, number};

/// Messages when nothing is said.
const MESSAGES: u64 = 1_000;
/// Endpoints of the application.
const ENDPOINTS: u64 = 1_000;
/// Connections the messages are sent on.
const SENDERS: u64 = 8;
/// No page of a release build takes longer.
const PAGE: Duration = Duration::from_millis(20);
/// A page that came late is asked for again so often: the machine has other things to do.
const AGAIN: u32 = 3;
/// All deliveries are made within this.
const LIMIT: Duration = Duration::from_secs(300);
/// Pages of one list that are looked at.
const MOST_PAGES: usize = 2_000;

/// One list, walked from its first page to its last.
struct Walk {
    rows: usize,
    times: Vec<Duration>,
}

/// Asks on a kept connection; how long the answer took.
fn ask(stream: &mut TcpStream, token: &str, path: &str) -> (Value, Duration) {
    let header = format!("Bearer {token}");
    let text = request("GET", path, &[("authorization", &header)], "");
    let begun = Instant::now();
    stream.write_all(text.as_bytes()).unwrap();
    let reply = read_reply(stream).unwrap();
    let took = begun.elapsed();
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    (reply.json(), took)
}

fn walk(house: &House, path: &str) -> Walk {
    let mut stream = connect(house.port);
    let mut walk = Walk { rows: 0, times: Vec::new() };
    let mut iterator = String::new();
    let join = if path.contains('?') { '&' } else { '?' };
    while walk.times.len() < MOST_PAGES {
        let path = format!("/api/v1{path}{join}limit=250{iterator}");
        let (mut page, mut took) = ask(&mut stream, &house.token, &path);
        for _ in 0..AGAIN {
            if took < PAGE {
                break;
            }
            let (same, again) = ask(&mut stream, &house.token, &path);
            (page, took) = (same, took.min(again));
        }
        walk.times.push(took);
        walk.rows += page["data"].as_array().map_or(0, Vec::len);
        if page["done"] != false {
            return walk;
        }
        iterator = format!("&iterator={}", page["iterator"].as_str().expect("a way on"));
    }
    walk
}

/// Sends `count` messages of [`ENDPOINTS`] types in turn, with the odd tag and channel.
fn send(house: &House, app: &str, count: u64) {
    let path = format!("/api/v1/app/{app}/msg");
    let (port, token, path) = (house.port, house.token.as_str(), path.as_str());
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let mut client = Client::connect(port, token).unwrap();
                for n in (sender..count).step_by(usize::try_from(SENDERS).unwrap()) {
                    let mut body = json!({
                        "eventType": format!("type.{}", n % ENDPOINTS),
                        "payload": { "number": n, "text": "x".repeat(200) },
                    });
                    if n == 0 {
                        body["tags"] = json!(["first"]);
                        body["channels"] = json!(["first"]);
                    }
                    client.expect(202, path, &body).unwrap();
                }
            });
        }
    });
}

/// What there is to list: an application and its oldest endpoint, which gets everything, while each
/// other gets one type of event; and a message that went to all.
struct Filled {
    app: String,
    all: String,
    to_all: String,
}

fn fill(house: &House, receiver: &Receiver, count: u64) -> Filled {
    let app = house.app("lists");
    let all = house.endpoint(&app, &receiver.url());
    let mut client = Client::connect(house.port, &house.token).unwrap();
    for n in 1..ENDPOINTS {
        let names = [format!("type.{n}"), "to.all".to_owned()];
        for name in &names[..if n == 1 { 2 } else { 1 }] {
            let body = json!({ "name": name, "description": "" });
            client.expect(201, "/api/v1/event-type", &body).unwrap();
        }
        let body = json!({ "url": receiver.url(), "eventTypes": names });
        client.expect(201, &format!("/api/v1/app/{app}/endpoint"), &body).unwrap();
    }
    let begun = Instant::now();
    send(house, &app, count);
    let accepted = begun.elapsed();
    let body = json!({ "eventType": "to.all", "payload": {} });
    let to_all = house.expect(202, "POST", &format!("/api/v1/app/{app}/msg"), &body);
    let to_all = to_all["id"].as_str().unwrap().to_owned();
    // Type 0 has no endpoint of its own.
    let deliveries = count * 2 - count.div_ceil(ENDPOINTS) + ENDPOINTS;
    until("every delivery", LIMIT, || {
        receiver.ledger(|ledger| ledger.arrivals.len() as u64 >= deliveries).then_some(())
    });
    println!("{count} accepted in {:.1} s, {deliveries} delivered", accepted.as_secs_f64());
    Filled { app, all, to_all }
}

/// Name, path, and how many rows there are in all of its pages.
type List = (String, String, u64);

fn lists(filled: &Filled, count: u64) -> Vec<List> {
    let Filled { app, all, to_all } = filled;
    let list = |name: &str, path: String, rows: u64| (name.to_owned(), path, rows);
    let of_app = |rest: &str| format!("/app/{app}/{rest}");
    let of_all = |rest: &str| of_app(&format!("attempt/endpoint/{all}{rest}"));
    let of_one = |rest: &str| of_app(&format!("attempt/msg/{to_all}{rest}"));
    let sent = of_app(&format!("endpoint/{all}/msg"));
    let reached = of_app(&format!("msg/{to_all}/endpoint"));
    let mut lists = vec![
        list("applications", "/app".to_owned(), 1),
        list("endpoints", of_app("endpoint"), ENDPOINTS),
        list("event types", "/event-type".to_owned(), ENDPOINTS),
        list("messages", of_app("msg"), count + 1),
        list("messages without content", of_app("msg?with_content=false"), count + 1),
        list("attempts", of_all(""), count + 1),
        list("attempts with messages", of_all("?with_msg=true"), count + 1),
        list("attempts, status 2", of_all("?status=2"), 0),
        list("attempts, class 500", of_all("?status_code_class=500"), 0),
        list("sent", sent.clone(), count + 1),
        list("sent, status 2", format!("{sent}?status=2"), 0),
        list("attempts of a message to all", of_one(""), ENDPOINTS),
        list("attempts of it, status 2", of_one("?status=2"), 0),
        list("endpoints of a message to all", reached, ENDPOINTS),
        list("events", of_app("events"), count + 1),
        list("events, no such type", of_app("events?event_types=nothing"), 0),
        list("a sink", of_app(&format!("poller/{all}")), count + 1),
    ];
    let filters = [
        ("no such type", "event_types=nothing", 0),
        ("one type", "event_types=type.7", count / ENDPOINTS),
        ("no such channel", "channel=nothing", 0),
        ("the first of all by its tag", "tag=first", 1),
        ("before there was any", "before=2020-01-01T00:00:00Z", 0),
        ("after there was any", "after=2100-01-01T00:00:00Z", 0),
    ];
    for (kind, path) in [("messages", of_app("msg")), ("attempts", of_all("")), ("sent", sent)] {
        for (name, filter, rows) in filters {
            lists.push((format!("{kind}, {name}"), format!("{path}?{filter}"), rows));
        }
    }
    lists
}

#[test]
fn every_page_comes_fast() {
    let count = number("POSTHASTE_LIST_MESSAGES", MESSAGES);
    let house = House::start(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")]);
    let receiver = Receiver::start(1, Policy::default()).unwrap();
    let filled = fill(&house, &receiver, count);
    let mut late = Vec::new();
    for (name, path, rows) in lists(&filled, count) {
        let mut walked = walk(&house, &path);
        walked.times.sort_unstable();
        let (middle, most) = (walked.times[walked.times.len() / 2], walked.times.last().unwrap());
        let text = format!(
            "{name:45} {:6} rows, {:4} pages, median {:6.2} ms, most {:6.2} ms",
            walked.rows,
            walked.times.len(),
            middle.as_secs_f64() * 1e3,
            most.as_secs_f64() * 1e3
        );
        println!("{text}");
        assert_eq!(walked.rows as u64, rows, "{name}");
        if *most >= PAGE {
            late.push(text);
        }
    }
    // No lists: these count, on a thread that may take its time.
    for rest in ["endpoint/{}/stats", "attempt/endpoint/{}/count?status=2"] {
        let path = format!("/api/v1/app/{}/{}", filled.app, rest.replace("{}", &filled.all));
        let (answer, took) = ask(&mut connect(house.port), &house.token, &path);
        println!("{path}: {answer}, {:.2} ms", took.as_secs_f64() * 1e3);
    }
    assert!(!is_release() || late.is_empty(), "{late:#?}");
    house.stop();
}
