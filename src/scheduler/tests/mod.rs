//! The decisions, tried on a desk: queues are maps, time is a number, nothing really runs.
//!
//! The desk does what the shell and the store do, as far as the decisions can tell.

mod buffers;
mod limits;
mod verdicts;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Pause;
use super::core::{Command, Event, Finished, Limits, State};
use super::lane::Task;
use crate::model::clock::Timestamp;
use crate::model::delivery::{QueueKey, QueueRow, Trigger, Verdict};
use crate::model::endpoint::{Endpoint, SharedEndpoint};
use crate::model::id::{AppId, EndpointId, MessageId};
use crate::model::message::Message;
use crate::model::outcome::{Failure, Outcome, Phase};
use crate::model::retry::RetrySchedule;
use crate::store::attempts::AttemptResult;
use crate::store::events::{Accepted, Events, Recorded};
use crate::store::queue::Head;

const APP: AppId = AppId([1; 20]);
const OTHER_APP: AppId = AppId([2; 20]);

fn endpoint_id(n: u16) -> EndpointId {
    let mut id = [0; 20];
    id[..2].copy_from_slice(&n.to_be_bytes());
    EndpointId(id)
}

fn endpoint(n: u16) -> Endpoint {
    Endpoint::new(endpoint_id(n), APP, format!("https://r{n}.example/"), Timestamp(0))
}

fn ok() -> Outcome {
    Outcome {
        status: Some(200),
        body: Vec::new(),
        retry_after: None,
        failure: None,
        duration: Duration::from_millis(5),
    }
}

fn status(code: u16) -> Outcome {
    let failed = Outcome::failed(Failure::Status(code), Duration::from_millis(5));
    Outcome { status: Some(code), ..failed }
}

fn timeout() -> Outcome {
    Outcome::failed(Failure::Timeout { phase: Phase::Headers }, Duration::from_secs(15))
}

fn no_network() -> Outcome {
    Outcome::failed(Failure::NetworkUnreachable, Duration::from_millis(1))
}

fn limits(max_in_flight: usize, per_endpoint: usize) -> Limits {
    Limits { max_in_flight, per_endpoint, schedule: RetrySchedule::default_schedule() }
}

/// State, queues and what runs.
struct Desk {
    state: State,
    now: Timestamp,
    queue: BTreeMap<QueueKey, QueueRow>,
    endpoints: BTreeMap<EndpointId, SharedEndpoint>,
    /// What was started and has not come back, oldest first.
    running: VecDeque<(Task, SharedEndpoint)>,
    /// Everything that was recorded.
    records: Vec<AttemptResult>,
    /// What was recorded and is not yet committed, when commits are held up.
    uncommitted: Option<Vec<AttemptResult>>,
    /// What could not be recorded, while nothing can.
    refuses_records: bool,
    refused: Vec<Arc<AttemptResult>>,
    paused: Vec<(EndpointId, Option<Pause>)>,
    offline: Vec<bool>,
    /// The machine has lost its way out.
    is_cut_off: bool,
    refills: usize,
    accepted: u64,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        Self {
            state: State::new(limits),
            now: Timestamp(1_790_000_000_000),
            queue: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            running: VecDeque::new(),
            records: Vec::new(),
            uncommitted: None,
            refuses_records: false,
            refused: Vec::new(),
            paused: Vec::new(),
            offline: Vec::new(),
            is_cut_off: false,
            refills: 0,
            accepted: 0,
        }
    }

    /// A desk with `count` plain endpoints, numbered from 1.
    fn with(limits: Limits, count: u16) -> Self {
        let mut desk = Self::new(limits);
        (1..=count).for_each(|n| desk.put(endpoint(n)));
        desk
    }

    fn put(&mut self, endpoint: Endpoint) {
        let id = endpoint.id;
        self.endpoints.insert(id, Arc::new(endpoint));
        self.step(Event::Committed(Events { changed: vec![id], ..Events::default() }));
    }

    /// Endpoint `n` has answered, and stays in memory.
    fn make_known(&mut self, n: u16) {
        self.accept(n);
        self.dispatch();
        self.accept_with(n, b"{}", self.now.plus(Duration::from_secs(1_000_000)));
        self.finish(ok());
    }

    /// Changes an endpoint as a person would.
    fn change(&mut self, n: u16, change: impl FnOnce(&mut Endpoint)) {
        let mut endpoint = Endpoint::clone(&self.endpoints[&endpoint_id(n)]);
        change(&mut endpoint);
        self.put(endpoint);
    }

    fn pass(&mut self, by: Duration) {
        self.now = self.now.plus(by);
        self.dispatch();
    }

    /// Accepts a message for endpoint `n`, due at once. Starts nothing.
    fn accept(&mut self, n: u16) -> QueueKey {
        self.accept_with(n, b"{}", self.now)
    }

    fn accept_with(&mut self, n: u16, payload: &[u8], due: Timestamp) -> QueueKey {
        self.accepted += 1;
        let mut id = [0; 20];
        id[..8].copy_from_slice(&self.accepted.to_be_bytes());
        let key = QueueKey { endpoint: endpoint_id(n), due, message: MessageId(id) };
        let row = QueueRow { key, attempt: 1, trigger: Trigger::Scheduled, not_before: due };
        self.queue.insert(key, row);
        let message = Message::trial(key.message, APP, "a.b", self.now);
        let message = Arc::new(Message { endpoints: vec![key.endpoint], ..message });
        let endpoint = Arc::clone(&self.endpoints[&key.endpoint]);
        let payload = bytes::Bytes::copy_from_slice(payload);
        let accepted = Accepted { message, payload, deliveries: vec![(row, endpoint)] };
        self.step(Event::Committed(Events { accepted: vec![accepted], ..Events::default() }));
        key
    }

    /// Queues a manual attempt of what stands at `key`.
    fn resend(&mut self, key: QueueKey) -> QueueKey {
        let key = QueueKey { due: self.now, ..key };
        let row = QueueRow { key, attempt: 1, trigger: Trigger::Manual, not_before: self.now };
        self.queue.insert(key, row);
        self.step(Event::Committed(Events { queued: vec![key], ..Events::default() }));
        key
    }

    fn step(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.state.step(self.now, event, &mut commands);
        self.execute(commands);
    }

    /// Starts what may start, and gives what that was.
    fn dispatch(&mut self) -> Vec<QueueKey> {
        let before = self.running.len();
        loop {
            let mut commands = Vec::new();
            self.state.dispatch(self.now, &mut commands);
            if commands.is_empty() {
                break;
            }
            self.execute(commands);
        }
        self.running.iter().skip(before).map(|(task, _)| task.row.key).collect()
    }

    fn execute(&mut self, mut commands: Vec<Command>) {
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                match command {
                    Command::Run(task, endpoint) => self.running.push_back((task, endpoint)),
                    Command::Refill(id, rows) => {
                        self.refills += 1;
                        let head = self.head(id, rows);
                        self.state.step(self.now, Event::Loaded(id, head), &mut commands);
                    }
                    Command::Record(result) => match &mut self.uncommitted {
                        _ if self.refuses_records => self.refused.push(result),
                        Some(waiting) => waiting.push(AttemptResult::clone(&result)),
                        None => self.record(AttemptResult::clone(&result), &mut commands),
                    },
                    Command::Drop(key) => {
                        self.queue.remove(&key);
                        self.tell_recorded(Recorded { key, next: None }, &mut commands);
                    }
                    Command::Look(id) => {
                        let endpoint = self.endpoints.get(&id).filter(|e| !e.deleted).cloned();
                        let first = endpoint.as_ref().filter(|e| e.is_active());
                        let first = first.and_then(|_| self.first(id));
                        let event = Event::Endpoint(id, endpoint, first);
                        self.state.step(self.now, event, &mut commands);
                    }
                    Command::Paused(id, pause) => self.paused.push((id, pause)),
                    Command::Offline(offline) => self.offline.push(offline),
                }
            }
        }
    }

    fn rows(&self, id: EndpointId) -> impl Iterator<Item = &QueueRow> {
        let first = QueueKey { endpoint: id, due: Timestamp(0), message: MessageId([0; 20]) };
        self.queue.range(first..).map(|(_, row)| row).take_while(move |row| row.key.endpoint == id)
    }

    fn first(&self, id: EndpointId) -> Option<Timestamp> {
        let may = |row: &QueueRow| row.key.due.max(row.not_before);
        let rows = self.rows(id).map(may);
        if self.endpoints[&id].ordered { { rows }.next() } else { rows.min() }
    }

    /// As the store reads it.
    fn head(&self, id: EndpointId, limit: usize) -> Head {
        let none = HashSet::new();
        let held = self.state.held(id).unwrap_or(&none);
        let ordered = self.endpoints[&id].ordered;
        let mut found = Head { rows: Vec::new(), next: None };
        for row in self.rows(id).filter(|row| !held.contains(&row.key)) {
            let may = row.key.due.max(row.not_before);
            if may <= self.now && found.rows.len() < limit {
                found.rows.push(*row);
                continue;
            }
            found.next = Some(found.next.map_or(may, |next| next.min(may)));
            if ordered || row.key.due > self.now || found.rows.len() >= limit {
                break;
            }
        }
        found
    }

    /// As the store records it.
    fn record(&mut self, result: AttemptResult, commands: &mut Vec<Command>) {
        let key = result.row.key;
        let next = match result.verdict {
            Verdict::Hold => Some(result.row.not_before),
            Verdict::Retry(at) if result.row.trigger == Trigger::Scheduled => {
                self.queue.remove(&key);
                let key = if result.keeps_place { key } else { QueueKey { due: at, ..key } };
                let attempt = result.row.attempt + 1;
                self.queue.insert(key, QueueRow { key, attempt, not_before: at, ..result.row });
                Some(at)
            }
            Verdict::Retry(_) | Verdict::Succeeded | Verdict::Exhausted => {
                self.queue.remove(&key);
                None
            }
        };
        self.records.push(result);
        self.tell_recorded(Recorded { key, next }, commands);
    }

    fn tell_recorded(&mut self, recorded: Recorded, commands: &mut Vec<Command>) {
        let events = Events { recorded: vec![recorded], ..Events::default() };
        self.state.step(self.now, Event::Committed(events), commands);
    }

    /// The oldest attempt that runs ends. Starts nothing.
    fn finish(&mut self, outcome: Outcome) -> QueueKey {
        self.finish_with(Some(outcome))
    }

    fn finish_with(&mut self, outcome: Option<Outcome>) -> QueueKey {
        let (task, endpoint) = self.running.pop_front().expect("an attempt runs");
        let key = task.row.key;
        self.step(Event::Finished(Box::new(Finished {
            task,
            endpoint,
            outcome,
            started_at: self.now,
            schedule: None,
            chance: 0.0,
            is_cut_off: self.is_cut_off,
        })));
        key
    }

    /// The oldest attempt to endpoint `n` ends. Starts nothing.
    fn finish_one_of(&mut self, n: u16, outcome: Outcome) -> QueueKey {
        let at = self.running.iter().position(|(task, _)| task.row.key.endpoint == endpoint_id(n));
        let found = self.running.remove(at.expect("an attempt to it runs")).expect("it is there");
        self.running.push_front(found);
        self.finish(outcome)
    }

    /// What was recorded meanwhile becomes durable.
    fn commit(&mut self) {
        let mut commands = Vec::new();
        for result in self.uncommitted.replace(Vec::new()).unwrap_or_default() {
            self.record(result, &mut commands);
        }
        self.execute(commands);
    }

    fn running_of(&self, n: u16) -> usize {
        self.running.iter().filter(|(task, _)| task.row.key.endpoint == endpoint_id(n)).count()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.records.iter().map(|result| result.verdict).collect()
    }

    /// Everything that runs succeeds, and what follows, until nothing more starts. Gives what was
    /// sent, in order.
    fn drain(&mut self) -> Vec<QueueKey> {
        let mut sent = Vec::new();
        loop {
            self.dispatch();
            if self.running.is_empty() {
                return sent;
            }
            sent.push(self.finish(ok()));
        }
    }
}
