//! Records what the daemon does to its files while it is put under load, killed, stopped and
//! started again, all in one history.
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::disk::{Disk, Stretch};
use crate::support::daemon::{self, Daemon};
use crate::support::http::{Answer, Client};
use crate::support::receiver::{Policy, Receiver, fnv};
use crate::support::{Chance, poll};
use crate::trace::{self, Promises};

pub const START_LIMIT: Duration = Duration::from_secs(30);
/// All messages of one life of the daemon are sent within this time.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
pub const RETRIES: (&str, &str) = ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", r#"["1s","1s","2s"]"#);
/// Lives of the daemon in one recording, and how each ends.
const LIVES: [End; 3] = [End::Kill, End::Stop, End::Kill];
const CLIENTS: u64 = 6;
const MESSAGES_PER_CLIENT: u64 = 30;
/// Messages of each life that nobody is promised anything about: their payloads go at once, so that
/// places of sled's file are freed and taken again, and the store has to tidy up.
const LITTER: u64 = 40;
/// Their event type; see [`crate::trace::Promises`].
pub const LITTER_TYPE: &str = "power.litter";
/// Bytes of each: some twenty rows.
const LITTER_BYTES: usize = 100_000;
/// Messages of an application that is then deleted: the next life removes them as it starts.
const BULK_LITTER: u64 = 40;
/// Bytes of each: some fifty rows.
const BULK_BYTES: usize = 250_000;
/// Endpoints of one more application, where nobody listens. Each of its messages fills a batch of fresh
/// deliveries. It is deleted as the life ends, so that the next one finds the batches and removes them.
const FAN_ENDPOINTS: u64 = 100;
/// Its messages in each life.
const FAN_MESSAGES: u64 = 60;
const EVENT_TYPE: &str = "power.test";
/// A start is over after so many records, or at the next acknowledgement.
const START_RECORDS: u64 = 80;
/// Name of the data folder in the folder that is recorded.
pub const DATA: &str = "data";
/// Slow enough that some deliveries are always under way or still to come.
const POLICY: Policy = Policy {
    fail_percent: 5,
    fails_per_message: 1,
    slow_percent: 40,
    slow_max: Duration::from_millis(120),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGKILL in the middle of the load.
    Kill,
    /// SIGTERM after the load.
    Stop,
}

/// What one daemon did, and what it promised to whom.
pub struct Recording {
    pub disk: Disk,
    pub promises: Promises,
    /// Where each life of the daemon begins in the trace.
    pub starts: Vec<u64>,
    /// Every place where a file or a name begins to change.
    pub changes: Vec<u64>,
    /// The last place of the trace.
    pub last: u64,
    /// Batches of fresh deliveries that one of the kills left, at the most.
    pub batches: u64,
    pub app: String,
    pub receiver: Receiver,
}

/// Builds the shim; `None` where there is no C compiler (or no Linux), said loudly.
pub fn build_shim(folder: &Path) -> Result<Option<PathBuf>, String> {
    let library = folder.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/shim.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-pthread", "-o"])
        .args([&library, &source])
        .output();
    match built {
        Ok(output) if output.status.success() => Ok(Some(library)),
        Ok(output) if cfg!(target_os = "linux") => {
            Err(format!("cc fails on shim.c:\n{}", String::from_utf8_lossy(&output.stderr)))
        }
        _ if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            Err("CI=true, but there is no `cc` (or no Linux): the power test cannot run".to_owned())
        }
        _ => {
            daemon::say("WARNING: no `cc` (or no Linux): THE POWER TEST IS SKIPPED");
            Ok(None)
        }
    }
}

/// Records one history. `sync` is the value of `storage.sync`; `premade` says whether the data
/// folder exists (as systemd's `StateDirectory=` makes it) or the daemon makes it.
pub fn record(
    shim: &Path,
    folder: &Path,
    seed: u64,
    sync: &str,
    premade: bool,
) -> Result<Recording, String> {
    let root = folder.join("recorded");
    std::fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    let root = root.canonicalize().map_err(|error| error.to_string())?;
    let folders: &[&str] = if premade { &[DATA] } else { &[] };
    for made in folders {
        std::fs::create_dir(root.join(made)).map_err(|error| error.to_string())?;
    }
    let receiver = Receiver::start(seed, POLICY).map_err(|error| error.to_string())?;
    let mut recording = Recording {
        disk: Disk::new(&root, folders),
        promises: Promises::default(),
        starts: Vec::new(),
        changes: Vec::new(),
        last: 0,
        batches: 0,
        app: String::new(),
        receiver,
    };
    let mut told = HashMap::new();
    for (number, end) in LIVES.iter().enumerate() {
        let trace = folder.join(format!("trace-{number}"));
        let env = [
            ("LD_PRELOAD", shim.as_os_str()),
            ("POWER_ROOT", root.as_os_str()),
            ("POWER_TRACE", trace.as_os_str()),
            ("POSTHASTE_STORAGE_SYNC", OsStr::new(sync)),
            (RETRIES.0, OsStr::new(RETRIES.1)),
        ];
        let mut daemon = Daemon::spawn(&root.join(DATA), &folder.join("stderr"), &env)?;
        let life = live(&mut daemon, &root.join(DATA), &mut recording, number as u64, *end);
        told.extend(life.map_err(|problem| daemon.tell(&problem))?);
        drop(daemon);
        recording.take(&trace)?;
        if *end == End::Kill {
            recording.count_batches(&root.join(DATA), &folder.join("copy"))?;
        }
        std::fs::remove_file(&trace).map_err(|error| error.to_string())?;
    }
    recording.complete(&told)?;
    Ok(recording)
}

/// One life of the daemon; what the clients were told: message id to its number.
fn live(
    daemon: &mut Daemon,
    data: &Path,
    recording: &mut Recording,
    life: u64,
    end: End,
) -> Result<HashMap<String, u64>, String> {
    let port = daemon.port(START_LIMIT)?;
    let token = daemon::token(data)?;
    if recording.app.is_empty() {
        recording.app = prepare(port, &token, &recording.receiver.url())?;
    }
    // The life after a stop finds this to remove as well, the one after a kill batches alone.
    if end == End::Stop {
        bulk(port, &token)?;
    }
    let fan = fan(port, &token)?;
    let path = format!("/api/v1/app/{}/msg", recording.app);
    let count = AtomicU64::new(0);
    let enough = match end {
        End::Kill => CLIENTS * MESSAGES_PER_CLIENT * 2 / 3,
        End::Stop => CLIENTS * MESSAGES_PER_CLIENT,
    };
    std::thread::scope(|scope| {
        let numbers = |client| (life * CLIENTS + client) * MESSAGES_PER_CLIENT;
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (path, token, count) = (&path, &token, &count);
                scope.spawn(move || send(port, token, path, numbers(client), count))
            })
            .collect();
        let litter = scope.spawn(|| litter(port, &token, &path));
        let fanned = scope.spawn(|| fan_out(port, &token, &fan));
        let reached = poll(LOAD_LIMIT, || {
            let done = threads.iter().all(std::thread::ScopedJoinHandle::is_finished);
            (done || count.load(Ordering::Relaxed) >= enough).then_some(())
        });
        let deleted = delete(port, &token, &fan);
        let ended = if end == End::Kill { daemon.kill() } else { Ok(()) };
        let mut told = HashMap::new();
        for thread in threads {
            told.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        litter.join().map_err(|_| "the client that litters panicked")??;
        fanned.join().map_err(|_| "the client that fans out panicked")??;
        deleted?;
        ended?;
        if reached.is_none() || count.load(Ordering::Relaxed) < enough {
            return Err(format!("only {count:?} of {enough} messages were acknowledged"));
        }
        if end == End::Stop {
            daemon.stop()?;
        }
        Ok(told)
    })
}

fn prepare(port: u16, token: &str, url: &str) -> Result<String, String> {
    let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
    let app = application(&mut client, "power test")?;
    let endpoint = json!({"url": url, "filterTypes": [EVENT_TYPE]});
    for event_type in [EVENT_TYPE, LITTER_TYPE] {
        let body = json!({"name": event_type, "description": "of the power test"});
        client.expect(201, "/api/v1/event-type", &body)?;
    }
    client.expect(201, &format!("/api/v1/app/{app}/endpoint"), &endpoint)?;
    Ok(app)
}

/// Makes an application; its id.
fn application(client: &mut Client, name: &str) -> Result<String, String> {
    let app = client.expect(201, "/api/v1/app", &json!({"name": name}))?;
    Ok(app["id"].as_str().ok_or("the application has no id")?.to_owned())
}

/// Sends messages until all are sent or the daemon is gone; what was acknowledged.
fn send(
    port: u16,
    token: &str,
    path: &str,
    first: u64,
    count: &AtomicU64,
) -> Result<HashMap<String, u64>, String> {
    let mut told = HashMap::new();
    let Ok(mut client) = Client::connect(port, token) else { return Ok(told) };
    for number in first..first + MESSAGES_PER_CLIENT {
        let body = json!({"eventType": EVENT_TYPE, "payload": payload(number)});
        let Ok(answer) = client.post(path, &[], &body.to_string()) else { break };
        let Some(id) = answer.body["id"].as_str().filter(|_| answer.status == 202) else {
            return Err(format!("POST {path}: {} {}", answer.status, answer.body));
        };
        told.insert(id.to_owned(), number);
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(told)
}

/// Fills an application with large messages and deletes it.
fn bulk(port: u16, token: &str) -> Result<(), String> {
    let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
    let app = format!("/api/v1/app/{}", application(&mut client, "litter")?);
    for _ in 0..BULK_LITTER {
        let posted = post_litter(&mut client, &format!("{app}/msg"), BULK_BYTES)?;
        posted.ok_or("the daemon is gone before the load")?;
    }
    delete(port, token, &app)
}

/// Makes an application with many endpoints; its path.
fn fan(port: u16, token: &str) -> Result<String, String> {
    let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
    let app = format!("/api/v1/app/{}", application(&mut client, "fan")?);
    for _ in 0..FAN_ENDPOINTS {
        let endpoint = json!({"url": "http://127.0.0.1:1/", "filterTypes": [LITTER_TYPE]});
        client.expect(201, &format!("{app}/endpoint"), &endpoint)?;
    }
    Ok(app)
}

/// Sends messages to all of its endpoints, until enough or until it or the daemon is gone.
fn fan_out(port: u16, token: &str, app: &str) -> Result<(), String> {
    let Ok(mut client) = Client::connect(port, token) else { return Ok(()) };
    let body = json!({"eventType": LITTER_TYPE, "payload": {"fill": "litter"}}).to_string();
    for _ in 0..FAN_MESSAGES {
        match client.post(&format!("{app}/msg?with_content=false"), &[], &body) {
            Ok(Answer { status: 202, .. }) => {}
            Ok(Answer { status: 404, .. }) | Err(_) => break,
            Ok(answer) => return Err(format!("POST {app}: {} {}", answer.status, answer.body)),
        }
    }
    Ok(())
}

fn delete(port: u16, token: &str, path: &str) -> Result<(), String> {
    let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
    gone(&client.delete(path).map_err(|error| error.to_string())?)
}

/// Sends large messages and has their payloads removed, until enough or until the daemon is gone.
fn litter(port: u16, token: &str, path: &str) -> Result<(), String> {
    let Ok(mut client) = Client::connect(port, token) else { return Ok(()) };
    for _ in 0..LITTER {
        let Some(id) = post_litter(&mut client, path, LITTER_BYTES)? else { break };
        let Ok(answer) = client.delete(&format!("{path}/{id}/content")) else { break };
        gone(&answer)?;
    }
    Ok(())
}

fn gone(answer: &Answer) -> Result<(), String> {
    if answer.status == 204 {
        Ok(())
    } else {
        Err(format!("DELETE: {} {}", answer.status, answer.body))
    }
}

/// Its id; `None` when the daemon is gone.
fn post_litter(client: &mut Client, path: &str, bytes: usize) -> Result<Option<String>, String> {
    let body = json!({"eventType": LITTER_TYPE, "payload": {"fill": "litter".repeat(bytes / 6)}});
    let short = format!("{path}?with_content=false");
    let Ok(answer) = client.post(&short, &[], &body.to_string()) else { return Ok(None) };
    match answer.body["id"].as_str().filter(|_| answer.status == 202) {
        Some(id) => Ok(Some(id.to_owned())),
        None => Err(format!("POST {path}: {} {}", answer.status, answer.body)),
    }
}

/// The payload of a message: bytes that are unlike those of any other, some of several chunks.
pub fn payload(number: u64) -> Value {
    let mut chance = Chance::new(number, 3);
    let words = if number % 20 == 7 { 1_600 } else { chance.between(4, 100) };
    let mut fill = String::new();
    for _ in 0..words {
        let _ = write!(fill, "{:016x}", chance.next());
    }
    json!({"number": number, "fill": fill})
}

impl Recording {
    /// Appends the trace of a daemon that has ended.
    fn take(&mut self, trace: &Path) -> Result<(), String> {
        self.starts.push(self.last);
        for record in trace::read(trace)? {
            self.last += 1;
            self.disk.see(self.last, &record)?;
            if record.changes_something() {
                self.changes.push(self.last);
            }
            self.promises.see(self.last, &record);
        }
        self.promises.end_of_process();
        self.last += 1;
        self.disk.settle(self.last)
    }

    /// Counts the batches in a copy of the daemon's folder, since whoever looks changes something.
    fn count_batches(&mut self, data: &Path, copy: &Path) -> Result<(), String> {
        daemon::copy_folder(data, copy).map_err(|error| error.to_string())?;
        self.batches = self.batches.max(daemon::store_rows(copy, "fresh")?);
        std::fs::remove_dir_all(copy).map_err(|error| error.to_string())
    }

    /// From this start of the daemon to where it is surely over.
    pub fn while_starting(&self, start: u64) -> std::ops::RangeInclusive<u64> {
        let later = self.promises.acknowledged.values().copied().filter(|place| *place > start);
        let next = later.min().map_or(self.last, |place| place - 1);
        start..=next.min(start + START_RECORDS)
    }

    /// The stretches between barriers while it ran, the one with most bytes first. When it starts sled
    /// overwrites what is free with zeros: that is much, and loses nothing.
    pub fn longest_stretches(&self) -> Vec<Stretch> {
        let starting: Vec<_> =
            self.starts.iter().map(|start| self.while_starting(*start)).collect();
        let mut stretches = self.disk.stretches.clone();
        stretches.retain(|stretch| !starting.iter().any(|range| range.contains(&stretch.begin)));
        stretches.sort_unstable_by_key(|stretch| std::cmp::Reverse(stretch.bytes));
        stretches
    }

    /// The trace must hold every acknowledgement that a client got, and every delivery.
    fn complete(&self, told: &HashMap<String, u64>) -> Result<(), String> {
        let missed = told.keys().find(|id| !self.promises.acknowledged.contains_key(*id));
        if let Some(id) = missed {
            return Err(format!("the shim did not see the 202 of {id}"));
        }
        let tried = &self.promises.tried;
        let missed = self.receiver.ledger(|ledger| {
            ledger.arrivals.iter().map(|one| one.id.clone()).find(|id| !tried.contains_key(id))
        });
        if let Some(id) = missed {
            return Err(format!("the shim did not see the delivery of {id}"));
        }
        let changed = self.receiver.ledger(|ledger| {
            told.iter()
                .find(|(id, number)| {
                    let sent = fnv(payload(**number).to_string().as_bytes());
                    ledger.digest(id).is_some_and(|digest| digest != sent)
                })
                .map(|(id, _)| id.clone())
        });
        changed.map_or(Ok(()), |id| Err(format!("{id} arrived with another payload than was sent")))
    }
}
