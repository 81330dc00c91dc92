//! Many clients that want the same thing at the same moment: one gets it, the others are told so,
//! also when the daemon is killed in the middle.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Barrier, mpsc};

use serde_json::{Value, json};

use crate::hostile_tools::{House, Reply, connect, read_reply, request};

/// Clients in a race.
const CLIENTS: usize = 64;

/// Sends `CLIENTS` requests at once, each on a connection of its own. After `kill_after` answers
/// the daemon is killed. What was answered, in the order it came.
fn race(house: House, kill_after: Option<usize>, requests: &[String]) -> (Race, Option<House>) {
    let (send, answers) = mpsc::channel::<Option<Reply>>();
    let ready = Barrier::new(requests.len() + 1);
    let mut house = Some(house);
    let mut folder = None;
    let mut got = Vec::new();
    let port = house.as_ref().unwrap().port;
    std::thread::scope(|scope| {
        for text in requests {
            let (send, ready) = (send.clone(), &ready);
            scope.spawn(move || {
                let mut stream = connect(port);
                ready.wait();
                // The daemon may be gone before it has read this.
                drop(stream.write_all(text.as_bytes()));
                send.send(read_reply(&mut stream)).unwrap();
            });
        }
        drop(send);
        ready.wait();
        if kill_after == Some(0) {
            folder = house.take().unwrap().kill();
        }
        for answer in answers {
            got.extend(answer);
            if kill_after == Some(got.len())
                && let Some(house) = house.take()
            {
                folder = house.kill();
            }
        }
    });
    (Race { answers: got, folder }, house)
}

struct Race {
    answers: Vec<Reply>,
    folder: Option<tempfile::TempDir>,
}

impl Race {
    fn with(&self, status: u16) -> Vec<&Reply> {
        self.answers.iter().filter(|answer| answer.status == status).collect()
    }

    /// The ids in all answers of this status.
    fn ids(&self, status: u16) -> BTreeSet<String> {
        self.with(status).iter().map(|one| id(&one.json())).collect()
    }

    /// Nothing but the one status for winners and the other, with its code, for losers; how many
    /// won.
    #[track_caller]
    fn judge(&self, won: u16, lost: u16, code: &str) -> usize {
        for answer in &self.answers {
            if answer.status != won {
                assert_eq!((answer.status, code_of(answer).as_str()), (lost, code));
            }
        }
        self.with(won).len()
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn code_of(answer: &Reply) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

fn post(house: &House, path: &str, headers: &[(&str, &str)], body: &Value) -> String {
    let token = format!("Bearer {}", house.token);
    let headers = [&[("authorization", token.as_str())], headers].concat();
    request("POST", &format!("/api/v1{path}"), &headers, &body.to_string())
}

/// `CLIENTS` requests that differ in what `body` makes of their number.
fn many(house: &House, path: &str, body: impl Fn(usize) -> Value) -> Vec<String> {
    (0..CLIENTS).map(|number| post(house, path, &[], &body(number))).collect()
}

/// The ids of a list that fits into one page.
fn listed(house: &House, path: &str) -> Vec<String> {
    let page = house.expect(200, "GET", &format!("/api/v1{path}?limit=250"), &Value::Null);
    assert_eq!(page["done"], true);
    page["data"].as_array().unwrap().iter().map(id).collect()
}

/// What a client sends, by its number.
type Body<'a> = &'a dyn Fn(usize) -> Value;

fn message(number: usize) -> Value {
    json!({ "eventType": "order.paid", "eventId": "order-17", "payload": { "n": number } })
}

#[test]
fn of_64_clients_one_creates_and_the_others_are_told() {
    let mut house = House::start(&[]);
    let app = house.app("shop");
    let named = |number| json!({ "name": format!("client {number}"), "uid": "same" });
    let endpoint =
        |number| json!({ "url": format!("https://example.com/{number}"), "uid": "same" });
    let event_type = |number: usize| json!({ "name": "same", "description": number.to_string() });
    let cases: [(String, Body, u16, &str); 4] = [
        ("/app".to_owned(), &named, 201, "conflict"),
        (format!("/app/{app}/endpoint"), &endpoint, 201, "conflict"),
        (format!("/app/{app}/msg"), &message, 202, "conflict"),
        ("/event-type".to_owned(), &event_type, 201, "event_type_exists"),
    ];
    for (path, body, won, code) in cases {
        let requests = many(&house, &path, body);
        let (race, still) = race(house, None, &requests);
        house = still.unwrap();
        assert_eq!(race.answers.len(), CLIENTS, "{path}");
        assert_eq!(race.judge(won, 409, code), 1, "{path}");
    }
    assert_eq!(listed(&house, "/app").len(), 2);
    assert_eq!(listed(&house, &format!("/app/{app}/endpoint")).len(), 1);
    assert_eq!(listed(&house, &format!("/app/{app}/msg")).len(), 1);
    house.stop();
}

#[test]
fn get_if_exists_gives_all_64_clients_the_same() {
    let house = House::start(&[]);
    let requests = many(&house, "/app?get_if_exists=true", |_| json!({ "name": "a", "uid": "u" }));
    let (race, house) = race(house, None, &requests);
    assert_eq!(race.with(201).len(), 1);
    assert_eq!(race.with(200).len(), CLIENTS - 1);
    assert_eq!(race.ids(200), race.ids(201));
    let house = house.unwrap();
    assert_eq!(listed(&house, "/app").len(), 1);
    house.stop();
}

#[test]
fn one_idempotency_key_is_one_message() {
    let house = House::start(&[]);
    let app = house.app("shop");
    let path = format!("/app/{app}/msg");
    let key = |key| [("idempotency-key", key)];
    let same = json!({ "eventType": "order.paid", "payload": { "n": 1 } });
    let requests = vec![post(&house, &path, &key("one"), &same); CLIENTS];
    let (first, house) = race(house, None, &requests);
    assert_eq!(first.with(202).len(), CLIENTS);
    assert_eq!(first.ids(202).len(), 1);
    // With bodies that differ, one is taken and the others are told that the key is in use.
    let house = house.unwrap();
    let differ = |number: usize| {
        let body = json!({ "eventType": "order.paid", "payload": { "n": number } });
        post(&house, &path, &key("two"), &body)
    };
    let requests: Vec<String> = (0..CLIENTS).map(differ).collect();
    let (second, house) = race(house, None, &requests);
    assert_eq!(second.answers.len(), CLIENTS);
    assert_eq!(second.judge(202, 409, "idempotency_conflict"), 1);
    let house = house.unwrap();
    assert_eq!(listed(&house, &path).len(), 2);
    house.stop();
}

/// Answers to wait for before the daemon is killed. With none it is killed at the start, when
/// nothing, or something nobody was told of, may have been written.
const KILLS: [usize; 4] = [0, 1, 8, 40];

/// Kills the daemon in the middle of a race, starts it again and has the race once more.
fn killed(kill_after: usize, requests: impl Fn(&House) -> Vec<String>) -> (Race, Race, House) {
    let house = House::start(&[]);
    house.expect(201, "POST", "/api/v1/app", &json!({ "name": "shop", "uid": "shop" }));
    let data = house.data.clone();
    let texts = requests(&house);
    let (before, gone) = race(house, Some(kill_after), &texts);
    assert!(gone.is_none(), "the daemon was not killed");
    let house = House::on(&data, &[], &[]);
    // A token's text tells when it was made, and a key is bound to it: the same requests again.
    let (after, house) = race(house, None, &texts);
    assert_eq!(after.answers.len(), CLIENTS);
    (before, after, house.unwrap())
}

#[test]
fn one_application_has_a_uid_also_across_a_kill() {
    for kill_after in KILLS {
        let body = |number| json!({ "name": format!("client {number}"), "uid": "same" });
        let (before, after, house) = killed(kill_after, |house| many(house, "/app", body));
        let won = before.judge(201, 409, "conflict") + after.judge(201, 409, "conflict");
        let there = house.expect(200, "GET", "/api/v1/app/same", &Value::Null);
        // Nobody won when the winner was written, and the daemon killed before it was told.
        assert!(won <= 1, "{won} won");
        let told: BTreeSet<String> = before.ids(201).union(&after.ids(201)).cloned().collect();
        assert!(told.iter().all(|told| *told == id(&there)), "{told:?}, {there}");
        // Whoever was told that another won was told what lasts.
        assert!(before.answers.is_empty() || after.with(201).is_empty());
        assert_eq!(listed(&house, "/app").len(), 2);
        drop(before.folder);
    }
}

#[test]
fn one_message_has_an_event_id_also_across_a_kill() {
    for kill_after in KILLS {
        let path = "/app/shop/msg";
        let (before, after, house) = killed(kill_after, |house| many(house, path, message));
        let won = before.judge(202, 409, "conflict") + after.judge(202, 409, "conflict");
        assert!(won <= 1, "{won} won");
        assert!(before.answers.is_empty() || after.with(202).is_empty());
        let there = listed(&house, path);
        assert_eq!(there.len(), 1);
        let told: BTreeSet<String> = before.ids(202).union(&after.ids(202)).cloned().collect();
        assert!(told.iter().all(|told| *told == there[0]), "{told:?}, {there:?}");
        drop(before.folder);
    }
}

#[test]
fn one_idempotency_key_is_one_message_also_across_a_kill() {
    for kill_after in KILLS {
        let path = "/app/shop/msg";
        let body = json!({ "eventType": "order.paid", "payload": { "n": 1 } });
        let headers = [("idempotency-key", "one")];
        let (before, after, house) =
            killed(kill_after, |house| vec![post(house, path, &headers, &body); CLIENTS]);
        assert_eq!(before.with(202).len(), before.answers.len());
        assert_eq!(after.with(202).len(), CLIENTS);
        let told: BTreeSet<String> = before.ids(202).union(&after.ids(202)).cloned().collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(listed(&house, path), told.into_iter().collect::<Vec<_>>());
        drop(before.folder);
    }
}
