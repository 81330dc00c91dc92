//! The load: client threads that post messages as fast as they get answers, in bursts, and keep a
//! ledger of what they were told. When the daemon dies under them they wait for the next one and
//! send again what they can send again: requests with an idempotency key or an `eventId`.
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::support::Chance;
use crate::support::http::{Answer, Client};

/// A daemon that died is followed by the next one within this time.
const NEXT_DAEMON: Duration = Duration::from_secs(120);
/// In so many per cent of cases a client sends again what was already acknowledged to it.
const ECHO_PERCENT: u64 = 2;
/// A client remembers so many acknowledged requests to send again.
const ECHO_MEMORY: usize = 64;
/// A refusal (429, 503, 507) is tried again after this pause, and at most this often in a row.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);
const MAX_REFUSALS: u32 = 500;

/// Where the daemon is right now; shared by the clients and the test.
pub struct Stage {
    pub token: String,
    pub app: String,
    now: Mutex<Now>,
    changed: Condvar,
    /// Key and id of the first message of each daemon.
    probes: Mutex<Vec<(String, String)>>,
}

#[derive(Clone, Copy, Default)]
struct Now {
    /// Counts the daemons that listened.
    generation: u64,
    port: u16,
    /// The daemon is about to be killed: from here on connections may break.
    closing: bool,
    /// No new messages any more.
    finishing: bool,
}

impl Stage {
    pub fn new(token: String, app: String) -> Arc<Self> {
        Arc::new(Self {
            token,
            app,
            now: Mutex::default(),
            changed: Condvar::new(),
            probes: Mutex::default(),
        })
    }

    /// The next daemon listens on this port.
    pub fn open(&self, port: u16) {
        let mut now = self.now.lock().unwrap();
        now.generation += 1;
        now.port = port;
        now.closing = false;
        self.changed.notify_all();
    }

    /// The daemon is killed next.
    pub fn close(&self) {
        self.now.lock().unwrap().closing = true;
    }

    pub fn port(&self) -> Option<u16> {
        let now = self.now.lock().unwrap();
        (now.generation > 0).then_some(now.port)
    }

    /// Waits for a daemon later than the one given.
    fn later_than(&self, generation: u64) -> Result<Now, String> {
        let now = self.now.lock().unwrap();
        let (now, _) = self
            .changed
            .wait_timeout_while(now, NEXT_DAEMON, |now| now.generation <= generation)
            .unwrap();
        if now.generation <= generation {
            return Err("no restart followed".to_owned());
        }
        Ok(*now)
    }

    /// Whether this daemon was alive and meant to be, so that its connections must hold.
    fn is_up(&self, generation: u64) -> bool {
        let now = self.now.lock().unwrap();
        now.generation == generation && !now.closing
    }

    fn finishing(&self) -> bool {
        self.now.lock().unwrap().finishing
    }
}

/// What a request carries that makes it safe to send again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Safety {
    Nothing,
    EventId,
    IdempotencyKey,
    Both,
}

#[derive(Clone)]
struct Request {
    /// Names the message in its payload, and serves as `eventId` and idempotency key.
    key: String,
    safety: Safety,
    /// How often it was sent without a known answer.
    doubts: u32,
    refusals: u32,
    acknowledged: Option<String>,
}

/// What the clients were told. Keys and ids are those of single messages.
#[derive(Default)]
pub struct Ledger {
    /// Key to message id, for every `202` (and for every `409` that led to the message).
    pub acknowledged: HashMap<String, String>,
    /// Sent once, without any answer, and not to be sent again.
    pub in_doubt: Vec<String>,
    /// Sent again after a kill with a key or an `eventId`.
    pub sent_again: u64,
    /// Sent again although acknowledged.
    pub echoed: u64,
    pub refused: u64,
    pub problems: Vec<String>,
}

impl Ledger {
    fn join(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.in_doubt.extend(other.in_doubt);
        self.sent_again += other.sent_again;
        self.echoed += other.echoed;
        self.refused += other.refused;
        self.problems.extend(other.problems);
    }
}

/// The running client threads.
pub struct Clients {
    threads: Vec<JoinHandle<Ledger>>,
}

impl Clients {
    pub fn start(stage: &Arc<Stage>, count: u64, seed: u64) -> Self {
        let threads = (0..count).map(|number| {
            let stage = Arc::clone(stage);
            std::thread::spawn(move || Sender::new(&stage, number, seed).run())
        });
        Self { threads: threads.collect() }
    }

    /// No new messages; waits until each client has a clear answer to what it can send again.
    pub fn finish(self, stage: &Stage) -> Result<Ledger, String> {
        stage.now.lock().unwrap().finishing = true;
        let mut all = Ledger::default();
        for thread in self.threads {
            all.join(thread.join().map_err(|_| "a client thread panicked")?);
        }
        all.acknowledged.extend(stage.probes.lock().unwrap().iter().cloned());
        Ok(all)
    }
}

/// One message on a connection of its own, to see that a fresh daemon accepts.
pub fn probe(stage: &Stage, port: u16, number: usize) -> Result<(), String> {
    let key = format!("probe-{number}");
    let mut client = Client::connect(port, &stage.token).map_err(|error| error.to_string())?;
    let body = json!({"eventType": "crash.test", "payload": payload(&key)});
    let answer = client.expect(202, &format!("/api/v1/app/{}/msg", stage.app), &body)?;
    let id = answer["id"].as_str().ok_or("a 202 without an id")?.to_owned();
    stage.probes.lock().unwrap().push((key, id));
    Ok(())
}

/// The payload that belongs to a key: mostly small, sometimes of several store chunks.
pub fn payload(key: &str) -> serde_json::Value {
    let digest = crate::support::receiver::fnv(key.as_bytes());
    let size = if digest.is_multiple_of(50) { 20_000 } else { 100 + digest % 1_200 };
    let fill = "0123456789abcdef".chars().cycle().take(usize::try_from(size).unwrap_or(0));
    json!({"key": key, "fill": fill.collect::<String>()})
}

struct Sender<'a> {
    stage: &'a Stage,
    number: u64,
    chance: Chance,
    made: u64,
    again: VecDeque<Request>,
    answered: VecDeque<Request>,
    ledger: Ledger,
}

impl<'a> Sender<'a> {
    fn new(stage: &'a Stage, number: u64, seed: u64) -> Self {
        Self {
            stage,
            number,
            chance: Chance::new(seed, 10 + number),
            made: 0,
            again: VecDeque::new(),
            answered: VecDeque::new(),
            ledger: Ledger::default(),
        }
    }

    fn run(mut self) -> Ledger {
        if let Err(problem) = self.generations() {
            self.ledger.problems.push(format!("client {}: {problem}", self.number));
        }
        self.ledger
    }

    /// One daemon after the other, until the test wants no more messages.
    fn generations(&mut self) -> Result<(), String> {
        let mut generation = 0;
        loop {
            let now = self.stage.later_than(generation)?;
            generation = now.generation;
            // An error of the connection is what a kill looks like from here.
            if let Ok(mut client) = Client::connect(now.port, &self.stage.token)
                && self.one_daemon(&mut client)?
            {
                return Ok(());
            }
            if self.stage.is_up(generation) {
                return Err("a connection broke though nobody killed the daemon".to_owned());
            }
        }
    }

    /// Sends until the connection breaks (false) or all is done (true).
    fn one_daemon(&mut self, client: &mut Client) -> Result<bool, String> {
        let mut burst = self.chance.between(20, 80);
        loop {
            let Some(request) = self.next_request() else { return Ok(true) };
            if !self.send(client, request)? {
                return Ok(false);
            }
            burst -= 1;
            if burst == 0 {
                // sleep: load comes in bursts, so that groups of all sizes are committed.
                std::thread::sleep(Duration::from_millis(self.chance.between(20, 200)));
                burst = self.chance.between(20, 80);
            }
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        if let Some(request) = self.again.pop_front() {
            return Some(request);
        }
        if self.stage.finishing() {
            return None;
        }
        if self.chance.percent(ECHO_PERCENT)
            && let Some(request) = self.answered.pop_front()
        {
            self.ledger.echoed += 1;
            return Some(request);
        }
        self.made += 1;
        let safety = match self.chance.between(0, 3) {
            0 => Safety::Nothing,
            1 => Safety::EventId,
            2 => Safety::IdempotencyKey,
            _ => Safety::Both,
        };
        let key = format!("c{}-{}", self.number, self.made);
        Some(Request { key, safety, doubts: 0, refusals: 0, acknowledged: None })
    }

    /// One request; false when the connection broke.
    fn send(&mut self, client: &mut Client, mut request: Request) -> Result<bool, String> {
        let has_event_id = matches!(request.safety, Safety::EventId | Safety::Both);
        let has_key = matches!(request.safety, Safety::IdempotencyKey | Safety::Both);
        let mut body = json!({"eventType": "crash.test", "payload": payload(&request.key)});
        if has_event_id {
            body["eventId"] = json!(request.key);
        }
        let headers: &[_] =
            if has_key { &[("idempotency-key", request.key.as_str())] } else { &[] };
        let path = format!("/api/v1/app/{}/msg", self.stage.app);
        if let Ok(answer) = client.post(&path, headers, &body.to_string()) {
            self.answered(client, request, &answer)
        } else {
            if request.safety == Safety::Nothing {
                self.ledger.in_doubt.push(request.key);
            } else {
                request.doubts += 1;
                self.ledger.sent_again += 1;
                self.again.push_back(request);
            }
            Ok(false)
        }
    }

    fn answered(
        &mut self,
        client: &mut Client,
        mut request: Request,
        answer: &Answer,
    ) -> Result<bool, String> {
        let sent_before = request.doubts > 0 || request.acknowledged.is_some();
        match answer.status {
            202 => {
                let id = answer.body["id"].as_str().ok_or("a 202 without an id")?.to_owned();
                self.acknowledge(request, id)?;
            }
            // The eventId is taken: by this very message, or something is wrong.
            409 if request.safety == Safety::EventId && sent_before => {
                let path = format!("/api/v1/app/{}/msg/{}", self.stage.app, request.key);
                let Ok(found) = client.get(&path) else {
                    self.again.push_back(request);
                    return Ok(false);
                };
                let Some(id) = found.body["id"].as_str().filter(|_| found.status == 200) else {
                    return Err(format!("409, but GET {path}: {} {}", found.status, found.body));
                };
                self.acknowledge(request, id.to_owned())?;
            }
            429 | 503 | 507 => {
                self.ledger.refused += 1;
                request.refusals += 1;
                if request.refusals > MAX_REFUSALS {
                    return Err(format!("{}: refused without end: {}", request.key, answer.status));
                }
                // sleep: a client that is told to come back later does so.
                std::thread::sleep(REFUSED_PAUSE);
                self.again.push_back(request);
            }
            status => {
                return Err(format!(
                    "{} (sent before: {sent_before}): {status} {}",
                    request.key, answer.body
                ));
            }
        }
        Ok(true)
    }

    fn acknowledge(&mut self, mut request: Request, id: String) -> Result<(), String> {
        let known = self.ledger.acknowledged.insert(request.key.clone(), id.clone());
        if known.as_ref().is_some_and(|known| *known != id) {
            return Err(format!("{}: first {known:?}, then {id:?}: two messages", request.key));
        }
        if request.safety != Safety::Nothing && request.acknowledged.is_none() {
            request.acknowledged = Some(id);
            self.answered.push_back(request);
            if self.answered.len() > ECHO_MEMORY {
                self.answered.pop_front();
            }
        }
        Ok(())
    }
}
