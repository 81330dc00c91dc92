//! One simulated daemon: store, decisions, attempts in flight, and everything outside of it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::Dice;
use super::ledger::Ledger;
use super::lives::open;
use super::receiver::{Manner, no_network};
use crate::model::clock::{Clock, Timestamp};
use crate::model::delivery::{QueueKey, State as Stands, Trigger, Verdict};
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::{AppId, EndpointId, MessageId};
use crate::model::outcome::{Failure, Outcome};
use crate::model::retry::RetrySchedule;
use crate::scheduler::Task;
use crate::scheduler::core::{
    Command, Event, Finished, Limits, State, TOTAL_BUFFER, TOTAL_BUFFER_BYTES,
};
use crate::store::attempts::AttemptResult;
use crate::store::events::Events;
use crate::store::messages::Payload;
use crate::store::{Error, Store, Writer};

/// The wall clock of the simulated world.
#[derive(Debug)]
pub(super) struct WallClock(pub(super) AtomicU64);

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

/// A write that nobody waits for: it lasts with the next group.
enum Lazy {
    Record(Arc<AttemptResult>),
    Drop(QueueKey),
}

/// What to do once a gathered group is written.
type After = Box<dyn FnOnce(&mut World) -> Result<(), String>>;

/// One thing that writes can be: a record of what happened or a change that was asked for.
type Work<T> = Box<dyn FnOnce(&mut Writer<'_>) -> Result<T, Error> + Send>;

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) wall: Arc<WallClock>,
    /// The scheduler's time: never goes back.
    pub(super) now: Timestamp,
    pub(super) folder: tempfile::TempDir,
    pub(super) lives: u32,
    pub(super) store: Store,
    pub(super) state: State,
    pub(super) events: Arc<Mutex<Vec<Events>>>,
    /// The scheduler and the commit thread take their time.
    pub(super) lags: bool,
    lazy: VecDeque<Lazy>,
    /// Set while a group is gathered.
    afters: Option<Vec<After>>,
    /// Deliveries to look at when all of a group is known.
    notes: Option<Vec<(MessageId, EndpointId)>>,
    /// Our own network is gone.
    pub(super) is_cut_off: bool,
    /// It is gone further away: this machine still has a route, but names are not resolved.
    pub(super) keeps_route: bool,
    pub(super) flights: Vec<Flight>,
    pub(super) ledger: Ledger,
    pub(super) apps: Vec<AppId>,
    pub(super) manners: BTreeMap<EndpointId, Manner>,
    pub(super) counted: u64,
    /// Attempts that were begun.
    pub(super) begun_in_all: u64,
    /// Endpoints that people are told are paused.
    pub(super) paused: BTreeSet<EndpointId>,
    /// When attempts to throttled endpoints began since they were last changed.
    begun: BTreeMap<EndpointId, Vec<Timestamp>>,
    /// The same of applications, and what the scheduler was told of their rates.
    begun_of: BTreeMap<AppId, Vec<Timestamp>>,
    pub(super) rates: BTreeMap<AppId, u32>,
}

/// Messages are kept for so long in the simulated world.
pub(super) const RETENTION: Duration = Duration::from_secs(20 * 24 * 3600);

/// A `Retry-After` of a day, a probe, a clock that was set back: all is done so long after
/// receivers are well, or it never will.
const LONGEST_END: Duration = Duration::from_secs(4 * 24 * 3600);

/// One more attempt begins: not more than twice the rate within a second.
fn check_begun(begun: &mut Vec<Timestamp>, now: Timestamp, rate: u32) -> Result<(), String> {
    begun.retain(|at| now.since(*at) < Duration::from_secs(1));
    begun.push(now);
    let count = begun.len();
    if count <= 2 * rate as usize {
        return Ok(());
    }
    Err(format!("{count} attempts began in a second, at a rate of {rate}"))
}

pub(super) fn schedule() -> RetrySchedule {
    RetrySchedule([5, 60, 300, 1800, 3600].map(Duration::from_secs).to_vec())
}

pub(super) fn limits() -> Limits {
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
            lags: false,
            lazy: VecDeque::new(),
            afters: None,
            notes: None,
            is_cut_off: false,
            keeps_route: false,
            flights: Vec::new(),
            ledger: Ledger::default(),
            apps: Vec::new(),
            manners: BTreeMap::new(),
            counted: 0,
            begun_in_all: 0,
            paused: BTreeSet::new(),
            begun: BTreeMap::new(),
            begun_of: BTreeMap::new(),
            rates: BTreeMap::new(),
        }
    }

    /// Has `work` done, and then `after`: at once, or with the group that is being gathered.
    pub(super) fn write<T: Send + 'static>(
        &mut self,
        work: Work<T>,
        after: impl FnOnce(&mut Self, Result<T, Error>) -> Result<(), String> + 'static,
    ) -> Result<(), String> {
        self.write_lazy()?;
        self.write_now(work, after)
    }

    fn write_now<T: Send + 'static>(
        &mut self,
        work: Work<T>,
        after: impl FnOnce(&mut Self, Result<T, Error>) -> Result<(), String> + 'static,
    ) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel();
        self.store.write(work, move |result| sender.send(result).unwrap());
        match &mut self.afters {
            None => after(self, receiver.try_recv().unwrap()),
            Some(afters) => {
                afters.push(Box::new(move |world| after(world, receiver.try_recv().unwrap())));
                Ok(())
            }
        }
    }

    /// Has all that `gather` writes done as one group.
    pub(super) fn in_one_group(
        &mut self,
        gather: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.store.gather();
        self.afters = Some(Vec::new());
        let gathered = gather(self);
        self.store.do_gathered().unwrap();
        let afters = self.afters.take().unwrap_or_default();
        gathered?;
        self.notes = Some(Vec::new());
        afters.into_iter().try_for_each(|after| after(self))?;
        let notes = self.notes.take().unwrap_or_default();
        notes.into_iter().try_for_each(|(message, endpoint)| self.note(message, endpoint))
    }

    /// What nobody waited for is written.
    pub(super) fn write_lazy(&mut self) -> Result<(), String> {
        while let Some(lazy) = self.lazy.pop_front() {
            match lazy {
                Lazy::Record(result) => self.record(result)?,
                Lazy::Drop(key) => {
                    let drop_row: Work<()> = Box::new(move |writer| {
                        writer.drop_queue_row(&key);
                        Ok(())
                    });
                    self.write_now(drop_row, |_, done| done.map_err(|err| err.to_string()))?;
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, result: Arc<AttemptResult>) -> Result<(), String> {
        let key = result.row.key;
        let uncounted = result.verdict == Verdict::Hold || result.row.trigger == Trigger::Manual;
        let before = self.store.delivery(key.message, key.endpoint).unwrap();
        let before = before.map_or(0, |delivery| delivery.attempts);
        // Another record of the same delivery may be in the same group.
        let most = before + u16::from(!uncounted || self.afters.is_some());
        let work: Work<_> = Box::new(move |writer| writer.record(&result));
        self.write_now(work, move |world, done| {
            done.map_err(|err| err.to_string())?;
            let after = world.store.delivery(key.message, key.endpoint).unwrap();
            let after = after.map_or(0, |delivery| delivery.attempts);
            if after > most || usize::from(after) > schedule().attempts() {
                return Err(format!("{key:?}: {after} attempts are counted, {before} were before"));
            }
            world.note(key.message, key.endpoint)
        })
    }

    /// What was in memory is gone.
    pub(super) fn forget_memory(&mut self) {
        self.events.lock().unwrap().clear();
        self.flights.clear();
        self.paused.clear();
        self.lazy.clear();
        self.begun.clear();
        self.begun_of.clear();
        self.rates.clear();
        self.state = State::new(limits());
        self.now = self.wall.now();
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
        if self.lags && self.dice.one_in(4) {
            return Ok(());
        }
        loop {
            // What was decided is done before anything more is heard of.
            while !commands.is_empty() {
                for command in std::mem::take(&mut commands) {
                    self.execute(command, &mut commands)?;
                }
            }
            if !self.lags || self.dice.one_in(3) {
                self.write_lazy()?;
            }
            let heard = std::mem::take(&mut *self.events.lock().unwrap());
            for events in heard {
                events.rates.iter().for_each(|(app, rate)| self.hear_rate(*app, *rate));
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
            let waits = !self.lags && !self.lazy.is_empty();
            if commands.is_empty() && !waits {
                return self.check_bounds();
            }
        }
    }

    fn execute(&mut self, command: Command, more: &mut Vec<Command>) -> Result<(), String> {
        match command {
            Command::Run(task, endpoint) => self.take_off(task, endpoint)?,
            Command::Refill(id, rows) => {
                let none = HashSet::new();
                let held = self.state.held(id).unwrap_or(&none);
                let endpoint = self.store.directory().endpoint(id).unwrap();
                let ordered = endpoint.is_some_and(|e| e.ordered);
                let loaded = self.store.queue_head(id, self.now, held, ordered, rows).unwrap();
                self.state.step(self.now, Event::Loaded(id, loaded), more);
            }
            Command::Record(result) => self.lazy.push_back(Lazy::Record(result)),
            Command::Drop(key) => self.lazy.push_back(Lazy::Drop(key)),
            Command::Look(id) => {
                self.begun.remove(&id);
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
            let stands = self.store.delivery(key.message, key.endpoint).unwrap();
            let row = task.row;
            return Err(format!("{row:?} is tried although it was recorded as done: {stands:?}"));
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
        self.check_rate(&endpoint)?;
        self.begun_in_all += 1;
        self.flights.push(Flight { task, endpoint, started_at: self.wall.now() });
        Ok(())
    }

    /// Throttled endpoints and applications get a second's worth at once, and then their rate.
    fn check_rate(&mut self, endpoint: &SharedEndpoint) -> Result<(), String> {
        let (id, app) = (endpoint.id, endpoint.app);
        if let Some(rate) = endpoint.throttle_rate {
            check_begun(self.begun.entry(id).or_default(), self.now, rate)
                .map_err(|err| format!("{id}: {err}"))?;
        }
        if let Some(rate) = self.rates.get(&app) {
            check_begun(self.begun_of.entry(app).or_default(), self.now, *rate)
                .map_err(|err| format!("{app}: {err}"))?;
        }
        Ok(())
    }

    /// The scheduler hears of an application's rate.
    pub(super) fn hear_rate(&mut self, app: AppId, rate: Option<u32>) {
        self.begun_of.remove(&app);
        match rate {
            Some(rate) => self.rates.insert(app, rate),
            None => self.rates.remove(&app),
        };
    }

    /// One attempt in flight ends.
    pub(super) fn land(&mut self, index: usize) -> Result<(), String> {
        let Flight { task, endpoint, started_at } = self.flights.swap_remove(index);
        let key = task.row.key;
        let payload = match &task.content {
            Some((_, bytes)) => Some(Payload::Here(bytes.clone())),
            None => self.store.message(endpoint.app, key.message).unwrap().map(|found| found.1),
        };
        let mut schedule = None;
        let outcome = match payload {
            None => None,
            Some(Payload::Gone) => {
                // As the worker does.
                schedule = Some(RetrySchedule(Vec::new()));
                let detail = "the payload was removed".to_owned();
                Some(Outcome::failed(Failure::Internal { detail }, Duration::ZERO))
            }
            Some(Payload::Here(bytes)) => Some(self.send(key, &bytes)?),
        };
        let chance = f64::from(u32::try_from(self.dice.below(1000)).unwrap()) / 1000.0;
        let is_cut_off = self.is_cut_off && !self.keeps_route;
        let finished =
            Finished { task, endpoint, outcome, started_at, schedule, chance, is_cut_off };
        let mut commands = Vec::new();
        self.state.step(self.now, Event::Finished(Box::new(finished)), &mut commands);
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                self.execute(command, &mut commands)?;
            }
        }
        Ok(())
    }

    /// A request reaches its receiver, or does not.
    fn send(&mut self, key: QueueKey, bytes: &[u8]) -> Result<Outcome, String> {
        if self.ledger.promised.get(&key.message).is_some_and(|p| bytes != p.payload) {
            return Err(format!("{key:?}: another payload is sent"));
        }
        if self.is_cut_off {
            return Ok(no_network(self.keeps_route));
        }
        let manner = self.manners.entry(key.endpoint).or_insert(Manner::Well);
        Ok(manner.answer(&mut self.dice))
    }

    /// Takes down where the store says a delivery stands.
    pub(super) fn note(&mut self, message: MessageId, endpoint: EndpointId) -> Result<(), String> {
        if let Some(notes) = &mut self.notes {
            notes.push((message, endpoint));
            return Ok(());
        }
        let Some(delivery) = self.store.delivery(message, endpoint).unwrap() else {
            return Ok(());
        };
        if !self.ledger.promised.contains_key(&message) {
            return Ok(());
        }
        let pair = (message, endpoint);
        match delivery.state {
            Stands::Pending => {
                if self.ledger.ended.contains(&pair) {
                    return Err(format!("{pair:?} had ended and is pending: {delivery:?}"));
                }
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
        Ok(())
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
        if rows > TOTAL_BUFFER + limits().max_in_flight || bytes > TOTAL_BUFFER_BYTES {
            return Err(format!("{rows} rows and {bytes} bytes are buffered"));
        }
        if self.state.in_flight() != self.flights.len() {
            let (told, real) = (self.state.in_flight(), self.flights.len());
            return Err(format!("the scheduler counts {told} attempts, there are {real}"));
        }
        Ok(())
    }

    /// Every receiver is well from now on: everything that was promised has to end, and soon.
    pub(super) fn heal_and_finish(&mut self) -> Result<(), String> {
        self.manners.values_mut().for_each(|manner| *manner = Manner::Well);
        (self.is_cut_off, self.lags) = (false, false);
        if self.dice.one_in(2) {
            super::steps::enable_all(self)?;
        }
        let begun = self.now;
        loop {
            self.settle()?;
            if !self.flights.is_empty() {
                self.land(0)?;
                continue;
            }
            let Some(next) = self.state.next_wake() else { break };
            let wait = next.since(self.now).max(Duration::from_millis(1));
            self.pass(wait);
            if self.now.since(begun) > LONGEST_END {
                let left = self.store.queue_length();
                return Err(format!("{left} rows wait {LONGEST_END:?} after all are well"));
            }
        }
        self.settle()?;
        self.check_store()?;
        self.check_forgotten()?;
        self.state.step(self.now, Event::Stop, &mut Vec::new());
        if !self.state.is_settled() {
            return Err("nothing runs, and yet something waits to be recorded".to_owned());
        }
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
