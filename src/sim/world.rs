//! One simulated daemon: store, decisions, attempts in flight, and everything outside of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Dice;
use super::ledger::Ledger;
use super::receiver::Manner;
use crate::model::clock::{Clock, Timestamp};
use crate::model::delivery::{State as Stands, Trigger};
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::{AppId, EndpointId};
use crate::model::retry::RetrySchedule;
use crate::scheduler::Task;
use crate::scheduler::core::{
    Command, Event, Finished, Limits, REFILL_ROWS, State, TOTAL_BUFFER, TOTAL_BUFFER_BYTES,
};
use crate::store::events::Events;
use crate::store::messages::Payload;
use crate::store::{Options, Store, Sync};

/// The wall clock of the simulated world.
#[derive(Debug)]
pub(super) struct WallClock(AtomicU64);

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// An attempt in flight.
pub(super) struct Flight {
    task: Task,
    endpoint: SharedEndpoint,
    started_at: Timestamp,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) wall: Arc<WallClock>,
    /// The scheduler's time: never goes back.
    now: Timestamp,
    folder: tempfile::TempDir,
    lives: u32,
    pub(super) store: Store,
    state: State,
    events: Arc<Mutex<Vec<Events>>>,
    pub(super) flights: Vec<Flight>,
    pub(super) ledger: Ledger,
    pub(super) apps: Vec<AppId>,
    pub(super) manners: BTreeMap<EndpointId, Manner>,
    pub(super) counted: u64,
    /// Endpoints that people are told are paused.
    pub(super) paused: BTreeSet<EndpointId>,
}

/// Messages are kept for so long in the simulated world.
pub(super) const RETENTION: Duration = Duration::from_secs(20 * 24 * 3600);

pub(super) fn schedule() -> RetrySchedule {
    RetrySchedule([5, 60, 300, 1800, 3600].map(Duration::from_secs).to_vec())
}

fn open(path: &Path, wall: &Arc<WallClock>, seed: u64, events: &Arc<Mutex<Vec<Events>>>) -> Store {
    let (mut dice, events) = (Dice::new(seed), Arc::clone(events));
    let options = Options {
        path: path.to_path_buf(),
        sync: Sync::Os,
        cache: 1 << 20,
        retention: RETENTION,
        min_free: 0,
        max_size: 0,
        clock: Arc::clone(wall) as Arc<dyn Clock>,
        entropy: Box::new(move |buffer| {
            buffer.chunks_mut(8).for_each(|chunk| {
                let bytes = dice.next().to_le_bytes();
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            });
        }),
        threaded: false,
        answers: None,
    };
    Store::open(options, Box::new(move |group| events.lock().unwrap().push(group))).unwrap()
}

fn limits() -> Limits {
    Limits { max_in_flight: 12, per_endpoint: 3, schedule: schedule() }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() {
            tempfile::tempdir_in(shm).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let wall = Arc::new(WallClock(AtomicU64::new(1_790_000_000_000)));
        let events = Arc::default();
        let store = open(&folder.path().join("life-0"), &wall, seed, &events);
        Self {
            dice: Dice::new(seed),
            now: wall.now(),
            wall,
            folder,
            lives: 0,
            store,
            state: State::new(limits()),
            events,
            flights: Vec::new(),
            ledger: Ledger::default(),
            apps: Vec::new(),
            manners: BTreeMap::new(),
            counted: 0,
            paused: BTreeSet::new(),
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, by: Duration) {
        self.wall.0.store(self.wall.now().plus(by).0, Ordering::Relaxed);
        self.now = self.now.plus(by).max(self.wall.now());
    }

    /// The wall clock is set.
    pub(super) fn set_wall(&mut self, at: Timestamp) {
        self.wall.0.store(at.0, Ordering::Relaxed);
        self.now = self.now.max(at);
    }

    /// Lets the scheduler hear what happened and do what follows: as the shell does.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let mut commands = Vec::new();
        loop {
            for events in std::mem::take(&mut *self.events.lock().unwrap()) {
                self.state.step(self.now, Event::Committed(events), &mut commands);
            }
            while !commands.is_empty() {
                for command in std::mem::take(&mut commands) {
                    self.execute(command, &mut commands)?;
                }
            }
            if !self.events.lock().unwrap().is_empty() {
                continue;
            }
            self.state.dispatch(self.now, &mut commands);
            if commands.is_empty() {
                return self.check_bounds();
            }
        }
    }

    fn execute(&mut self, command: Command, more: &mut Vec<Command>) -> Result<(), String> {
        match command {
            Command::Run(task, endpoint) => self.take_off(task, endpoint)?,
            Command::Refill(id) => {
                let none = HashSet::new();
                let held = self.state.held(id).unwrap_or(&none);
                let endpoint = self.store.directory().endpoint(id).unwrap();
                let ordered = endpoint.is_some_and(|e| e.ordered);
                let loaded =
                    self.store.queue_head(id, self.now, held, ordered, REFILL_ROWS).unwrap();
                self.state.step(self.now, Event::Loaded(id, loaded), more);
            }
            Command::Record(result) => {
                self.store
                    .write(move |writer| writer.record(&result), |done| assert!(done.is_ok()));
            }
            Command::Drop(key) => {
                let drop_row = move |writer: &mut crate::store::Writer<'_>| {
                    writer.drop_queue_row(&key);
                    Ok(())
                };
                self.store.write(drop_row, |done| done.unwrap());
            }
            Command::Look(id) => {
                let endpoint = self.store.directory().endpoint(id).unwrap();
                let first = endpoint.as_ref().filter(|e| e.is_active());
                let first = first.and_then(|e| self.store.queue_first(id, e.ordered).unwrap());
                self.state.step(self.now, Event::Endpoint(id, endpoint, first), more);
            }
            Command::Paused(id, Some(_)) => drop(self.paused.insert(id)),
            Command::Paused(id, None) => drop(self.paused.remove(&id)),
            Command::Offline(_) => {}
        }
        Ok(())
    }

    /// An attempt begins: is it one that may?
    fn take_off(&mut self, task: Task, endpoint: SharedEndpoint) -> Result<(), String> {
        let (key, attempt) = (task.row.key, task.row.attempt);
        let pair = (key.message, key.endpoint);
        let now = self.store.directory().endpoint(key.endpoint).unwrap();
        if now.is_none_or(|e| !e.is_active()) {
            return Err(format!("{pair:?} is tried, but its endpoint is disabled or deleted"));
        }
        let scheduled = task.row.trigger == Trigger::Scheduled;
        if scheduled && self.ledger.succeeded.contains(&pair) {
            return Err(format!("{pair:?} is tried again although it was recorded as done"));
        }
        if usize::from(attempt) > schedule().attempts() {
            return Err(format!("{pair:?}: attempt {attempt} is more than the schedule has"));
        }
        if endpoint.ordered
            && scheduled
            && let Some(earlier) = self.ledger.open_before(key.endpoint, key.message)
        {
            let stands = self.store.delivery(earlier, key.endpoint).unwrap();
            let flying = self.flights.iter().map(|f| f.task.row).collect::<Vec<_>>();
            return Err(format!(
                "{:?} is tried before {earlier}, out of order: {stands:?}, in flight {flying:?}",
                task.row
            ));
        }
        if self.flights.iter().any(|f| f.task.row.key == key) {
            return Err(format!("{pair:?} is tried twice at once"));
        }
        self.flights.push(Flight { task, endpoint, started_at: self.wall.now() });
        Ok(())
    }

    /// One attempt in flight ends.
    pub(super) fn land(&mut self, index: usize) -> Result<(), String> {
        let Flight { task, endpoint, started_at } = self.flights.swap_remove(index);
        let key = task.row.key;
        let message = self.store.message(endpoint.app, key.message).unwrap();
        if let (Some((_, Payload::Here(bytes))), Some(promise)) =
            (&message, self.ledger.promised.get(&key.message))
        {
            assert_eq!(bytes[..], promise.payload[..], "another payload is sent");
        }
        // What was at hand when it began is sent even if the message is removed meanwhile.
        let outcome = (message.is_some() || task.content.is_some()).then(|| {
            let manner = self.manners.get(&key.endpoint).copied().unwrap_or(Manner::Well);
            manner.answer(&mut self.dice)
        });
        let chance = f64::from(u32::try_from(self.dice.below(1000)).unwrap()) / 1000.0;
        let finished = Finished { task, endpoint, outcome, started_at, schedule: None, chance };
        let mut commands = Vec::new();
        self.state.step(self.now, Event::Finished(Box::new(finished)), &mut commands);
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                self.execute(command, &mut commands)?;
            }
        }
        self.note(key.message, key.endpoint);
        Ok(())
    }

    /// Takes down where the store says a delivery stands.
    pub(super) fn note(&mut self, message: crate::model::id::MessageId, endpoint: EndpointId) {
        let Some(delivery) = self.store.delivery(message, endpoint).unwrap() else { return };
        let pair = (message, endpoint);
        match delivery.state {
            Stands::Pending => {
                self.ledger.ended.remove(&pair);
                self.ledger.succeeded.remove(&pair);
            }
            Stands::Succeeded => {
                self.ledger.ended.insert(pair);
                self.ledger.succeeded.insert(pair);
            }
            Stands::Exhausted | Stands::Cancelled => {
                self.ledger.ended.insert(pair);
            }
        }
        self.counted = self.counted.max(u64::from(delivery.attempts));
    }

    /// The power goes: the folder as it is now is all that is left.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.lives += 1;
        let old = self.folder.path().join(format!("life-{}", self.lives - 1));
        let new = self.folder.path().join(format!("life-{}", self.lives));
        copy(&old, &new);
        self.events.lock().unwrap().clear();
        self.flights.clear();
        self.paused.clear();
        let seed = self.dice.next();
        self.store = open(&new, &self.wall, seed, &self.events);
        std::fs::remove_dir_all(old).unwrap();
        self.state = State::new(limits());
        for (id, promise) in &self.ledger.promised {
            let found = self.store.message(promise.app, *id).unwrap();
            if found.is_none() {
                return Err(format!("{id} was acknowledged and is lost after a crash"));
            }
        }
        let pairs: Vec<_> = self.ledger.ended.iter().copied().collect();
        for (message, endpoint) in pairs {
            if self.store.delivery(message, endpoint).unwrap().is_none() {
                return Err(format!("the end of {message} to {endpoint} is gone after a crash"));
            }
        }
        let mut commands = Vec::new();
        let mut ids = self.store.directory().endpoint_ids().unwrap();
        ids.sort_unstable();
        for id in ids {
            let endpoint = self.store.directory().endpoint(id).unwrap();
            let ordered = endpoint.as_ref().is_some_and(|e| e.ordered);
            let first = self.store.queue_first(id, ordered).unwrap();
            self.state.step(self.now, Event::Endpoint(id, endpoint, first), &mut commands);
        }
        self.settle()
    }

    pub(super) fn check_store(&self) -> Result<(), String> {
        let report = self.store.check().unwrap();
        if report.is_clean() { Ok(()) } else { Err(report.faults.join("; ")) }
    }

    /// Nothing is remembered of endpoints that are deleted or disabled, once nothing runs.
    pub(super) fn check_forgotten(&self) -> Result<(), String> {
        let known = self.state.lanes();
        for id in known.iter().chain(&self.paused) {
            let found = self.store.directory().endpoint(*id).unwrap();
            if found.is_none_or(|endpoint| !endpoint.is_active()) {
                let paused = self.paused.contains(id);
                return Err(format!("{id} is gone and still remembered (as paused: {paused})"));
            }
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), String> {
        let (rows, bytes) = self.state.buffers();
        if rows > TOTAL_BUFFER || bytes > TOTAL_BUFFER_BYTES {
            return Err(format!("{rows} rows and {bytes} bytes are buffered"));
        }
        if self.state.in_flight() != self.flights.len() {
            let (told, real) = (self.state.in_flight(), self.flights.len());
            return Err(format!("the scheduler counts {told} attempts, there are {real}"));
        }
        Ok(())
    }

    /// Every receiver is well from now on: everything that was promised has to end.
    pub(super) fn heal_and_finish(&mut self) -> Result<(), String> {
        self.manners.values_mut().for_each(|manner| *manner = Manner::Well);
        for _ in 0..4000 {
            self.settle()?;
            if !self.flights.is_empty() {
                self.land(0)?;
                continue;
            }
            let Some(next) = self.state.next_wake() else { break };
            let wait = next.since(self.now).max(Duration::from_millis(1));
            self.pass(wait);
        }
        self.settle()?;
        self.check_store()?;
        self.check_forgotten()?;
        for (id, promise) in &self.ledger.promised {
            for endpoint in &promise.endpoints {
                let active = self.store.directory().endpoint(*endpoint).unwrap();
                let ended = self.ledger.ended.contains(&(*id, *endpoint));
                if active.is_some_and(|e| e.is_active()) && !ended {
                    let stands = self.store.delivery(*id, *endpoint).unwrap();
                    return Err(format!("{id} to {endpoint} never ended: lost ({stands:?})"));
                }
            }
        }
        Ok(())
    }

    /// The scheduler's time.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// When the scheduler wants to be woken.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.state.next_wake()
    }
}

fn copy(from: &Path, to: &PathBuf) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
