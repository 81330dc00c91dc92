//! Background tasks over many messages: nothing is skipped and nothing done twice, also when the
//! daemon is killed in the middle, memory stays flat, and how far a task has come can be seen.
//!
//! `POSTHASTE_TASK_MESSAGES` says over how many (2,000 when nothing is said), `POSTHASTE_TEST_BIN`
//! with which build. `--nocapture` shows the figures.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile_tools::{House, until};
use crate::support::http::Client;
use crate::support::number;
use crate::support::receiver::{Ledger, Policy, Receiver};

/// Messages a task goes over.
const MESSAGES: u64 = 2_000;
/// Connections they are sent on.
const SENDERS: u64 = 8;
/// With so many, a task is sure to be killed in its middle rather than behind its end.
const MANY: usize = 20_000;
/// A task and the deliveries it causes take no longer than this.
const LIMIT: Duration = Duration::from_secs(300);
/// A message may arrive twice when it first arrived this long before the kill at the most: then its
/// attempt was not yet recorded.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// And there are no more of these than attempts that run at once, and a group or two of records.
const MOST_TWICE: usize = 256;
/// Bytes of memory the daemon may have more while a task goes on than before it.
const MEMORY: u64 = 48 << 20;

/// A daemon that is tried again at once, and a receiver.
struct Stage {
    house: House,
    receiver: Receiver,
    app: String,
    sent: HashSet<String>,
    folder: tempfile::TempDir,
}

/// Two attempts, so that an endpoint that is paused is probed every second.
const ENV: [(&str, &str); 1] = [("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[\"1s\"]")];
const ARGS: [&str; 2] = ["--allow-network", "127.0.0.0/8"];

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = House::on(&folder.path().join("data"), &ARGS, &ENV);
        let receiver = Receiver::start(1, Policy::default()).unwrap();
        let app = house.app("tasks");
        Self { house, receiver, app, sent: HashSet::new(), folder }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/app/{}/{rest}", self.app)
    }

    fn send_all(&mut self) {
        let count = number("POSTHASTE_TASK_MESSAGES", MESSAGES);
        let path = self.path("msg");
        let (port, token) = (self.house.port, self.house.token.as_str());
        let post_some = |sender: u64| {
            let mut client = Client::connect(port, token).unwrap();
            let mine = (sender..count).step_by(usize::try_from(SENDERS).unwrap());
            let one = |number| {
                let body = json!({ "eventType": "order.paid", "payload": { "n": number } });
                let message = client.expect(202, &path, &body).unwrap();
                message["id"].as_str().unwrap().to_owned()
            };
            mine.map(one).collect::<Vec<_>>()
        };
        let sent: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..SENDERS).map(|n| scope.spawn(move || post_some(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sent.len() as u64, count);
        self.sent = sent.into_iter().collect();
        assert_eq!(self.sent.len() as u64, count, "an id was given twice");
    }

    fn task(&self, id: &str) -> Value {
        self.house.expect(200, "GET", &format!("/api/v1/background-task/{id}"), &Value::Null)
    }

    /// Kills the daemon and starts it on the same data; the moment it was killed.
    fn kill(mut self) -> (Self, Instant) {
        let data = self.house.data.clone();
        self.house.kill();
        let killed = Instant::now();
        self.house = House::on(&data, &ARGS, &ENV);
        (self, killed)
    }

    /// Starts a task, kills the daemon in its middle, waits for the end and counts what arrived.
    fn run(mut self, endpoint: &str, operation: &str) -> Self {
        self.receiver.clear();
        let begun = Instant::now();
        let app = self.house.expect(200, "GET", &format!("/api/v1/app/{}", self.app), &Value::Null);
        let body = json!({ "since": app["createdAt"] });
        let path = self.path(&format!("endpoint/{endpoint}/{operation}"));
        let before = self.house.memory();
        let task = self.house.expect(202, "POST", &path, &body);
        let id = task["id"].as_str().unwrap().to_owned();
        let total = self.sent.len() as u64;
        let mut watch = Watch::default();
        let seen = until("an eighth of the task", LIMIT, || {
            watch.look(&self, &id);
            (watch.affected() >= total / 8).then(|| watch.latest.clone())
        });
        if self.sent.len() >= MANY {
            assert_eq!(seen["status"], "running", "{seen}");
        }
        let (killed, at) = self.kill();
        self = killed;
        let again = self.task(&id);
        // What was told lasts.
        assert!(again["data"]["processed"].as_u64() >= seen["data"]["processed"].as_u64());
        until("the end of the task", LIMIT, || {
            watch.look(&self, &id);
            (watch.latest["status"] != "running").then_some(())
        });
        let ended = begun.elapsed();
        assert_eq!(watch.latest["status"], "finished", "{}", watch.latest);
        assert_eq!(watch.latest["data"]["processed"], total, "{}", watch.latest);
        assert_eq!(watch.latest["data"]["affected"], total, "{}", watch.latest);
        let sent = &self.sent;
        let all = self.receiver.wait(LIMIT, |ledger| {
            ledger.arrivals.len() >= sent.len() && sent.iter().all(|id| ledger.successes(id) > 0)
        });
        assert!(all, "{} of {total} arrived", self.receiver.ledger(|l| l.arrivals.len()));
        watch.look(&self, &id);
        let twice = self.receiver.ledger(|ledger| twice(ledger, sent, at));
        println!(
            "{operation} of {total}: killed at {} of it, task ended after {:.1} s, all arrived after \
             {:.1} s, {twice} twice; {} answers of different progress; memory {} KiB before, at most {} KiB",
            seen["data"]["affected"],
            ended.as_secs_f64(),
            begun.elapsed().as_secs_f64(),
            watch.steps,
            before / 1024,
            watch.memory / 1024
        );
        assert!(twice <= MOST_TWICE, "{twice} messages arrived twice");
        assert!(watch.memory < before + MEMORY, "{} bytes, {before} before", watch.memory);
        self
    }
}

/// What is seen of a task while it goes on.
#[derive(Default)]
struct Watch {
    latest: Value,
    /// Answers that told of more than the one before.
    steps: u32,
    memory: u64,
}

impl Watch {
    fn look(&mut self, stage: &Stage, id: &str) {
        let before = self.affected();
        self.latest = stage.task(id);
        assert!(self.affected() >= before, "progress went back: {}", self.latest);
        self.steps += u32::from(self.affected() > before);
        self.memory = self.memory.max(stage.house.memory());
    }

    fn affected(&self) -> u64 {
        self.latest["data"]["affected"].as_u64().unwrap_or(0)
    }
}

/// Checks that what arrived is what was sent, once, but for what was in flight when the daemon was
/// killed; how many that were.
fn twice(ledger: &Ledger, sent: &HashSet<String>, killed: Instant) -> usize {
    let mut arrivals: HashMap<&str, Vec<Instant>> = HashMap::new();
    for arrival in &ledger.arrivals {
        assert!(sent.contains(&arrival.id), "{} was never sent", arrival.id);
        arrivals.entry(&arrival.id).or_default().push(arrival.arrived);
    }
    assert_eq!(arrivals.len(), sent.len(), "messages were skipped");
    let more = arrivals.iter().filter(|(_, times)| times.len() > 1);
    for (id, times) in more.clone() {
        let in_flight = times[0] <= killed && killed - times[0] < IN_FLIGHT;
        assert!(times.len() == 2 && in_flight, "{id} arrived {} times", times.len());
    }
    more.count()
}

#[test]
fn recover_and_replays_of_many_over_a_kill() {
    let mut stage = Stage::start();
    let endpoint = stage.house.endpoint(&stage.app, &stage.receiver.url());
    // Nothing gets through: the endpoint is paused, and all that came is given up.
    let fails = Policy { fail_percent: 100, fails_per_message: u32::MAX, ..Policy::default() };
    stage.receiver.set_policy(fails);
    let begun = Instant::now();
    stage.send_all();
    println!("{} accepted in {:.1} s", stage.sent.len(), begun.elapsed().as_secs_f64());
    let cancel = stage.path(&format!("endpoint/{endpoint}/cancel-msgs"));
    stage.house.expect(204, "POST", &cancel, &json!({ "createdBefore": "2100-01-01T00:00:00Z" }));
    let stats = stage.path(&format!("endpoint/{endpoint}/stats"));
    until("everything to be given up", LIMIT, || {
        let stats = stage.house.expect(200, "GET", &stats, &Value::Null);
        (stats["pending"] == 0 && stats["sending"] == 0).then_some(())
    });
    stage.receiver.set_policy(Policy::default());
    let stage = stage.run(&endpoint, "recover");
    let stage = stage.run(&endpoint, "bulk-replay");
    // An endpoint that was not there when they came.
    let missed = stage.house.endpoint(&stage.app, &stage.receiver.url());
    let stage = stage.run(&missed, "replay-missing");
    let data = stage.house.data.clone();
    stage.house.stop();
    crate::support::daemon::store_check(&data).unwrap();
    drop(stage.folder);
}
