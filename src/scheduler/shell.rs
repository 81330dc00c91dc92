//! The scheduler's hands: one thread that takes events in, lets [`super::core`] decide, and does
//! what it says.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::breaker::Pause;
use super::core::{Command, Event, LONGEST_SLEEP, Limits, State};
use super::lane::Task;
use super::pool::{Pool, RELIEF};
use super::worker::{Deliver, Worker};
use crate::model::clock::{Clock, Timestamp};
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::EndpointId;
use crate::store::{Error, Result, Store, spine};

/// Events taken in before the next decision: enough to spare work under load, few enough not to
/// keep receivers waiting.
const BUNCH: usize = 256;

/// After a bunch of so many more is on its way.
const BUSY: usize = 2;
/// So often is looked whether there is room on the disk again.
const HALT: Duration = Duration::from_secs(1);
/// While busy, so long is waited for more: threads have something ahead, and every wake-up costs.
const GATHER: Duration = Duration::from_micros(400);

/// What reaches the scheduler's thread.
#[derive(Debug)]
pub enum Input {
    /// Something happened.
    Event(Event),
    /// End the thread. Sent when nothing runs any more.
    End,
}

/// How the scheduler is set.
pub struct Settings {
    /// The limits it decides under.
    pub limits: Limits,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Makes the attempts.
    pub deliverer: Arc<dyn Deliver>,
}

/// What others may see of the scheduler.
#[derive(Debug, Default)]
pub struct Board {
    paused: Mutex<HashMap<EndpointId, Pause>>,
    counts: Mutex<Counts>,
}

/// Figures of the present moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that are being made.
    pub in_flight: usize,
    /// The daemon's own network is down.
    pub offline: bool,
    /// The scheduler has nothing running and nothing waiting to be recorded.
    pub settled: bool,
}

impl Board {
    /// The endpoint's pause, if it is paused.
    pub fn pause(&self, id: EndpointId) -> Option<Pause> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Figures of the present moment.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many endpoints are paused.
    pub fn paused(&self) -> usize {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// `true` when it was not paused and is now.
    fn set_pause(&self, id: EndpointId, pause: Option<Pause>) -> bool {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pause) = pause else {
            paused.remove(&id);
            return false;
        };
        paused.insert(id, pause).is_none()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The running scheduler.
pub struct Scheduler {
    sender: Sender<Input>,
    thread: Mutex<Option<JoinHandle<()>>>,
    board: Arc<Board>,
}

impl Scheduler {
    /// Where the store's events are to be sent; made before the store is opened.
    pub fn channel() -> (Sender<Input>, Receiver<Input>) {
        mpsc::channel()
    }

    /// Starts the scheduler over an open store. `inputs` is the other end of what the store's
    /// events go into.
    pub fn start(
        settings: Settings,
        store: Arc<Store>,
        sender: Sender<Input>,
        inputs: Receiver<Input>,
    ) -> Result<Self> {
        let board = Arc::new(Board::default());
        let worker = Arc::new(Worker {
            store: Arc::clone(&store),
            deliverer: settings.deliverer,
            clock: Arc::clone(&settings.clock),
            reports: sender.clone(),
        });
        let pool =
            Pool::new(move |(task, endpoint): (Task, SharedEndpoint)| worker.run(task, endpoint));
        let shell = Shell {
            per_endpoint: settings.limits.per_endpoint,
            state: State::new(settings.limits),
            time: SteadyTime::new(settings.clock),
            store,
            pool,
            board: Arc::clone(&board),
            sender: sender.clone(),
        };
        let thread = spine::spawn("scheduler", move || shell.run(&inputs)).map_err(|err| {
            Error::Io { doing: "starting the scheduler", detail: err.to_string() }
        })?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)), board })
    }

    /// What others may see.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Starts nothing more, waits for running attempts up to `grace`, and ends. What was not
    /// finished is not recorded: it is due again at the next start. Gives how many that were.
    pub fn stop(&self, grace: Duration) -> usize {
        drop(self.sender.send(Input::Event(Event::Stop)));
        let deadline = Instant::now() + grace;
        while !self.board.counts().settled && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = self.board.counts().in_flight;
        drop(self.sender.send(Input::End));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
        left
    }
}

struct Shell {
    state: State,
    time: SteadyTime,
    store: Arc<Store>,
    pool: Pool<EndpointId, (Task, SharedEndpoint)>,
    /// Attempts running at once for one endpoint.
    per_endpoint: usize,
    board: Arc<Board>,
    sender: Sender<Input>,
}

impl Shell {
    fn run(mut self, inputs: &Receiver<Input>) -> Result<()> {
        self.load()?;
        let mut commands = Vec::new();
        let mut taken = 0;
        loop {
            let now = self.time.now();
            self.halt();
            self.decide(now, &mut commands)?;
            if taken >= BUSY {
                std::thread::sleep(GATHER);
            }
            self.board.change(|counts| {
                counts.in_flight = self.state.in_flight();
                counts.settled = self.state.is_settled();
            });
            let longest = match self.pool.relieve() {
                true => RELIEF,
                false if self.state.is_halted() => HALT,
                false => LONGEST_SLEEP,
            };
            let wait = self.state.next_wake().map_or(longest, |at| at.since(now));
            match inputs.recv_timeout(wait.min(longest)) {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Input::Event(event)) => {
                    let now = self.time.now();
                    self.step(now, event, &mut commands);
                    match self.take_more(now, inputs, &mut commands) {
                        Some(more) => taken = more,
                        None => break,
                    }
                }
                Err(RecvTimeoutError::Timeout) => taken = 0,
            }
        }
        self.pool.close();
        Ok(())
    }

    /// Takes an event in. At a stop, attempts that no thread has begun are not made: they are due
    /// again after the next start.
    fn step(&mut self, now: Timestamp, event: Event, commands: &mut Vec<Command>) {
        let is_stop = matches!(event, Event::Stop);
        self.state.step(now, event, commands);
        if is_stop {
            for (task, _) in self.pool.take_back() {
                self.state.step(now, Event::NotMade(task.row.key), commands);
            }
        }
    }

    /// While the disk is so full that attempts could not be recorded, none is made.
    fn halt(&mut self) {
        let halted = self.store.space().is_critical();
        if halted == self.state.is_halted() {
            return;
        }
        if halted {
            tracing::error!("the disk is full: deliveries wait for room to record them");
        } else {
            tracing::info!("there is room on the disk again: deliveries go on");
        }
        self.state.set_halted(halted);
    }

    /// Takes in what waits already, and says how much. `None` when the end was among it.
    fn take_more(
        &mut self,
        now: Timestamp,
        inputs: &Receiver<Input>,
        commands: &mut Vec<Command>,
    ) -> Option<usize> {
        for taken in 0..BUNCH {
            match inputs.try_recv() {
                Ok(Input::Event(event)) => self.step(now, event, commands),
                Ok(Input::End) => return None,
                Err(_) => return Some(taken),
            }
        }
        Some(BUNCH)
    }

    /// The head of every endpoint's queue.
    fn load(&mut self) -> Result<()> {
        let now = self.time.now();
        let mut commands = Vec::new();
        for app in self.store.directory().application_ids()? {
            let tenant = self.store.directory().tenant(app)?;
            if let Some(rate) = tenant.and_then(|tenant| tenant.app.throttle_rate) {
                self.state.step(now, Event::Rate(app, Some(rate)), &mut commands);
            }
        }
        for id in self.store.directory().endpoint_ids()? {
            let endpoint = self.store.directory().endpoint(id)?;
            let ordered = endpoint.as_ref().is_some_and(|e| e.ordered);
            if let Some(first) = self.store.queue_first(id, ordered)? {
                self.state.step(now, Event::Endpoint(id, endpoint, Some(first)), &mut commands);
            }
        }
        Ok(())
    }

    /// Dispatches, and does what was decided until nothing more follows from it.
    fn decide(&mut self, now: Timestamp, commands: &mut Vec<Command>) -> Result<()> {
        loop {
            // What is known to have changed counts before anything more is started.
            while !commands.is_empty() {
                for command in std::mem::take(commands) {
                    self.execute(now, command, commands)?;
                }
            }
            self.state.dispatch(now, commands);
            if commands.is_empty() {
                return Ok(());
            }
        }
    }

    fn execute(&mut self, now: Timestamp, command: Command, more: &mut Vec<Command>) -> Result<()> {
        match command {
            Command::Run(task, endpoint) => self.start_attempt(task, endpoint),
            Command::Refill(id, rows) => {
                let none = HashSet::new();
                let held = self.state.held(id).unwrap_or(&none);
                let endpoint = self.store.directory().endpoint(id)?;
                let ordered = endpoint.is_some_and(|e| e.ordered);
                let loaded = self.store.queue_head(id, now, held, ordered, rows)?;
                self.state.step(now, Event::Loaded(id, loaded), more);
            }
            Command::Record(result) => {
                let (kept, sender) = (Arc::clone(&result), self.sender.clone());
                self.store.write_lazily(
                    move |writer| writer.record(&result),
                    move |recorded| {
                        let Err(err) = recorded else { return };
                        if !matches!(err, Error::Closing) {
                            tracing::error!(%err, message = %kept.row.key.message, "an attempt could not be recorded; it is tried again");
                            drop(sender.send(Input::Event(Event::Unrecorded(kept))));
                        }
                    },
                );
            }
            Command::Drop(key) => {
                let drop_row = move |writer: &mut crate::store::Writer<'_>| {
                    writer.drop_queue_row(&key);
                    Ok(())
                };
                self.store.write_lazily(drop_row, on_drop);
            }
            Command::Look(id) => {
                let endpoint = self.store.directory().endpoint(id)?;
                let first = match &endpoint {
                    Some(endpoint) if endpoint.is_active() => {
                        self.store.queue_first(id, endpoint.ordered)?
                    }
                    _ => None,
                };
                self.state.step(now, Event::Endpoint(id, endpoint, first), more);
            }
            Command::Paused(id, pause) => {
                if let Some(Pause { why, next_probe, .. }) = pause {
                    tracing::warn!(endpoint = %id, why, %next_probe, "endpoint paused");
                } else {
                    tracing::info!(endpoint = %id, "endpoint resumed");
                }
                if self.board.set_pause(id, pause) {
                    self.store.counters().paused.add(1);
                }
            }
            Command::Offline(offline) => {
                tracing::warn!(offline, "the daemon's own network");
                self.board.change(|counts| counts.offline = offline);
            }
        }
        Ok(())
    }

    /// Hands an attempt to a thread. When the system has no thread for it, it is made to look like
    /// a failure of ours: it is tried again by the schedule.
    fn start_attempt(&self, task: Task, endpoint: SharedEndpoint) {
        let (id, quick) = (endpoint.id, task.quick);
        let started = self.pool.run(id, self.per_endpoint, quick, (task, endpoint));
        let Err(((task, endpoint), err)) = started else { return };
        tracing::error!(%err, "no thread for an attempt");
        let failure = crate::model::outcome::Failure::Internal { detail: err.to_string() };
        let finished = super::core::Finished {
            task,
            endpoint,
            outcome: Some(crate::model::outcome::Outcome::failed(failure, Duration::ZERO)),
            started_at: self.time.latest,
            schedule: None,
            chance: 1.0,
            is_cut_off: false,
        };
        drop(self.sender.send(Input::Event(Event::Finished(Box::new(finished)))));
    }
}

/// A row that leads to no message stays when it cannot be removed: it does so after a restart.
fn on_drop(result: Result<()>) {
    if let Err(err) = result
        && !matches!(err, Error::Closing)
    {
        tracing::error!(%err, "a queue row without a message could not be removed");
    }
}

/// Wall-clock time that never goes back: when the clock is set back it goes on at the speed of the
/// monotonic clock, so that nothing that was due has to wait for the clock to catch up.
struct SteadyTime {
    clock: Arc<dyn Clock>,
    latest: Timestamp,
    at: Instant,
}

impl SteadyTime {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let latest = clock.now();
        Self { clock, latest, at: Instant::now() }
    }

    fn now(&mut self) -> Timestamp {
        let at = Instant::now();
        let steady = self.latest.plus(at.saturating_duration_since(self.at));
        let wall = self.clock.now();
        if wall > steady {
            self.at = at;
            self.latest = wall;
            return wall;
        }
        if at.saturating_duration_since(self.at) > Duration::from_secs(1) {
            self.at = at;
            self.latest = steady;
        }
        steady
    }
}
