//! The decision function: `step(state, now, event) -> commands`. Pure: no clock, no chance, no
//! store, no threads. The shell around it does what the commands say and tells it what happened.
//!
//! What it decides: which due delivery runs next (round-robin over endpoints, under the limits),
//! when rows are read from the store, and what a finished attempt means (counted or not, tried
//! again when).

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::Pause;
use super::judge;
use super::lane::{Lane, Pace, Task};
use super::offline::Network;
use super::rates::Rates;
use super::round::Round;
use crate::model::clock::Timestamp;
use crate::model::delivery::QueueKey;
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::{AppId, EndpointId};
use crate::model::outcome::Outcome;
use crate::model::retry::RetrySchedule;
use crate::store::attempts::AttemptResult;
use crate::store::events::{Accepted, Events, Recorded};
use crate::store::queue::Head;

/// Rows read from the store for one endpoint at a time.
pub const REFILL_ROWS: usize = 32;
/// Rows kept in memory over all endpoints, beside one for each attempt that may run. Past it fresh
/// messages are read back when it is their turn, and rows are read one at a time.
pub const TOTAL_BUFFER: usize = 16 * 1024;
/// Bytes of payload kept in memory for them.
pub const TOTAL_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// The limits it decides under.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Attempts running at once, over all endpoints.
    pub max_in_flight: usize,
    /// Attempts running at once for one endpoint.
    pub per_endpoint: usize,
    /// Waits between tries, where nothing else is said.
    pub schedule: RetrySchedule,
}

/// An attempt that was made.
#[derive(Debug)]
pub struct Finished {
    /// For which delivery.
    pub task: Task,
    /// The endpoint as it was when the attempt was made.
    pub endpoint: SharedEndpoint,
    /// What came back. `None`: there was nothing to send, the message is gone.
    pub outcome: Option<Outcome>,
    /// When it began.
    pub started_at: Timestamp,
    /// The event type's own schedule.
    pub schedule: Option<RetrySchedule>,
    /// Between 0 and 1: the jitter of the next try.
    pub chance: f64,
    /// It failed for want of a name or a route, and this machine has lost its way out.
    pub is_cut_off: bool,
}

/// Everything that can make the scheduler move.
#[derive(Debug)]
pub enum Event {
    /// A group was committed.
    Committed(Events),
    /// An endpoint's state now, and when the first row of its queue may be tried.
    Endpoint(EndpointId, Option<SharedEndpoint>, Option<Timestamp>),
    /// An application's own rate, in messages a second over all its endpoints.
    Rate(AppId, Option<u32>),
    /// Rows that were asked for with [`Command::Refill`].
    Loaded(EndpointId, Head),
    /// An attempt was made.
    Finished(Box<Finished>),
    /// An attempt could not be recorded.
    Unrecorded(Arc<AttemptResult>),
    /// A started attempt was given back before it was made.
    NotMade(QueueKey),
    /// Time passed.
    Tick,
    /// Start nothing more.
    Stop,
}

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Make an attempt.
    Run(Task, SharedEndpoint),
    /// Read up to so many due rows that are not held (see [`State::held`]).
    Refill(EndpointId, usize),
    /// Record an attempt.
    Record(Arc<AttemptResult>),
    /// Remove a queue row that leads to no message.
    Drop(QueueKey),
    /// Look the endpoint up again and come back with [`Event::Endpoint`].
    Look(EndpointId),
    /// An endpoint was paused or resumed: tell people.
    Paused(EndpointId, Option<Pause>),
    /// The daemon went offline (`true`) or came back.
    Offline(bool),
}

/// Everything the scheduler remembers.
#[derive(Debug)]
pub struct State {
    pub(super) limits: Limits,
    pub(super) lanes: HashMap<EndpointId, Lane>,
    pub(super) round: Round,
    /// Ready, but the slow lane is full.
    pub(super) parked: VecDeque<(AppId, EndpointId)>,
    /// Ready, but we are offline, and their latest attempts failed for it.
    cut_off: VecDeque<(AppId, EndpointId)>,
    /// Applications with a rate, and who is ready but for it.
    rates: Rates,
    wakes: BTreeSet<(Timestamp, EndpointId)>,
    pub(super) in_flight: usize,
    /// Endpoints that have something running.
    pub(super) busy: usize,
    pub(super) slow_in_flight: usize,
    /// When it is looked for slow ones again.
    pub(super) next_look: Timestamp,
    pub(super) buffered: usize,
    pub(super) buffered_bytes: usize,
    /// Lanes that wait for rows from the store, and how many rows they may get.
    loads: usize,
    asked: usize,
    pub(super) network: Network,
    /// Attempts that could not be recorded, and when it is tried again.
    unrecorded: VecDeque<(Timestamp, Arc<AttemptResult>)>,
    stopping: bool,
    /// Attempts could not be recorded: none may be made.
    halted: bool,
}

impl State {
    /// Nothing known, nothing running.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            round: Round::default(),
            parked: VecDeque::new(),
            cut_off: VecDeque::new(),
            rates: Rates::default(),
            wakes: BTreeSet::new(),
            in_flight: 0,
            busy: 0,
            slow_in_flight: 0,
            next_look: Timestamp(0),
            buffered: 0,
            buffered_bytes: 0,
            loads: 0,
            asked: 0,
            network: Network::default(),
            unrecorded: VecDeque::new(),
            stopping: false,
            halted: false,
        }
    }

    /// Takes an event in. What it leads to is in `out`, in order. Call [`State::dispatch`] after
    /// a bunch of events.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Committed(events) => self.committed(now, events, out),
            Event::Endpoint(id, endpoint, first) => self.endpoint(now, id, endpoint, first, out),
            Event::Rate(app, rate) => self.set_rate(app, rate),
            Event::Loaded(id, head) => self.loaded(now, id, head),
            Event::Finished(finished) => judge::finished(self, now, *finished, out),
            Event::Unrecorded(result) => {
                self.unrecorded.push_back((now.plus(RECORD_AGAIN), result));
            }
            Event::Tick => {}
            Event::Stop => self.stopping = true,
            Event::NotMade(key) => {
                self.ended(now, key.endpoint, None);
                if let Some(lane) = self.lanes.get_mut(&key.endpoint) {
                    lane.held.remove(&key);
                }
            }
        }
    }

    /// Starts what may be started, and asks for what must be read first.
    pub fn dispatch(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.wake(now);
        let late = self.unrecorded.iter().take_while(|(at, _)| *at <= now).count();
        out.extend(self.unrecorded.drain(..late).map(|(_, result)| Command::Record(result)));
        self.look_for_slow_ones(now);
        let online = self.network.offline_since().is_none();
        let back = if online { self.cut_off.len() } else { usize::from(self.network.may_try(now)) };
        for (app, id) in self.cut_off.drain(..back.min(self.cut_off.len())) {
            self.round.push(app, id);
        }
        let mut progress = true;
        while progress {
            progress = false;
            for _ in 0..self.round.len() {
                // Whoever has rows read for it gets its turn with them.
                let full = self.in_flight + self.loads >= self.limits.max_in_flight;
                if self.stopping || self.halted || full {
                    return;
                }
                let Some(id) = self.round.pop() else { return };
                progress |= self.run_one(now, id, out);
            }
        }
    }

    /// When [`State::dispatch`] has to be called next if nothing happens.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let lanes = self.wakes.first().map(|(at, _)| *at);
        let unrecorded = self.unrecorded.front().map(|(at, _)| *at);
        let lanes = [lanes, self.rates.next_wake(), unrecorded].into_iter().flatten().min();
        // A probe that cannot be made yet waits for an attempt to end, not for a moment.
        let may_start = !self.stopping && !self.halted;
        let may_probe = may_start && self.in_flight < self.limits.max_in_flight;
        match self.network.next_probe() {
            Some(probe) if may_probe && !self.cut_off.is_empty() => {
                Some(lanes.map_or(probe, |at| at.min(probe)))
            }
            _ => lanes,
        }
    }

    /// Whether no attempt may be made, since it could not be recorded.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Makes no more attempts, or goes on with the next [`State::dispatch`].
    pub fn set_halted(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Rows of this endpoint that must not be read again.
    pub fn held(&self, id: EndpointId) -> Option<&HashSet<QueueKey>> {
        self.lanes.get(&id).map(|lane| &lane.held)
    }

    /// Rows and bytes of payload kept in memory.
    pub fn buffers(&self) -> (usize, usize) {
        (self.buffered, self.buffered_bytes)
    }

    /// Attempts that are being made.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether it was told to stop, nothing runs and nothing waits to be recorded.
    pub fn is_settled(&self) -> bool {
        self.stopping
            && self.in_flight == 0
            && self.lanes.values().all(|l| l.held.len() == l.buffer.len())
    }

    /// Endpoints it remembers anything of.
    #[cfg(test)]
    pub fn lanes(&self) -> Vec<EndpointId> {
        self.lanes.keys().copied().collect()
    }

    fn committed(&mut self, now: Timestamp, events: Events, out: &mut Vec<Command>) {
        for (app, rate) in events.rates {
            self.set_rate(app, rate);
        }
        for accepted in events.accepted {
            self.accepted(now, accepted);
        }
        for recorded in events.recorded {
            self.recorded(now, &recorded);
        }
        for key in events.queued {
            match self.lanes.get_mut(&key.endpoint) {
                Some(lane) => {
                    lane.note_stored(key.due);
                    self.settle(now, key.endpoint);
                }
                None => out.push(Command::Look(key.endpoint)),
            }
        }
        for id in events.changed {
            out.push(Command::Look(id));
        }
    }

    fn accepted(&mut self, now: Timestamp, accepted: Accepted) {
        let Accepted { message, payload, deliveries } = accepted;
        for (row, endpoint) in deliveries {
            let id = endpoint.id;
            let ample =
                self.buffered < TOTAL_BUFFER / 2 && self.buffered_bytes < TOTAL_BUFFER_BYTES / 2;
            let fits = self.buffered < TOTAL_BUFFER
                && self.buffered_bytes + payload.len() <= TOTAL_BUFFER_BYTES;
            let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(endpoint));
            if lane.held.contains(&row.key) {
                continue;
            }
            let is_first = lane.takes_fresh(now) && lane.has_room(ample);
            if fits && is_first && row.not_before <= now && lane.endpoint.is_active() {
                let content = Some((Arc::clone(&message), payload.clone()));
                let task = Task { row, content, quick: false };
                self.buffered += 1;
                self.buffered_bytes += task.bytes();
                lane.held.insert(row.key);
                lane.buffer.push_back(task);
            } else {
                lane.note_stored(row.not_before);
            }
            self.settle(now, id);
        }
    }

    fn recorded(&mut self, now: Timestamp, recorded: &Recorded) {
        let id = recorded.key.endpoint;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.held.remove(&recorded.key);
        if let Some(next) = recorded.next {
            lane.note_stored(next);
            if lane.endpoint.ordered {
                // It keeps its place: what is in memory stands behind it.
                self.unbuffer(id, next);
            }
        }
        self.settle(now, id);
    }

    fn endpoint(
        &mut self,
        now: Timestamp,
        id: EndpointId,
        endpoint: Option<SharedEndpoint>,
        first: Option<Timestamp>,
        out: &mut Vec<Command>,
    ) {
        let Some(endpoint) = endpoint.filter(|e| e.is_active()) else {
            self.forget(id, out);
            return;
        };
        let lane =
            self.lanes.entry(id).or_insert_with(|| Lane::new(SharedEndpoint::clone(&endpoint)));
        lane.throttle.set_rate(endpoint.throttle_rate);
        lane.endpoint = endpoint;
        if let Some(first) = first {
            lane.note_stored(first);
        }
        // Rows may have been taken out of the queue: what is in memory is read again.
        self.unbuffer(id, now);
        self.settle(now, id);
    }

    /// The endpoint takes nothing more: what waits in memory goes, what runs is still recorded.
    fn forget(&mut self, id: EndpointId, out: &mut Vec<Command>) {
        self.unbuffer(id, Timestamp(0));
        if let Some(lane) = self.lanes.get_mut(&id) {
            if lane.breaker.is_paused() {
                out.push(Command::Paused(id, None));
            }
            let mut endpoint = crate::model::endpoint::Endpoint::clone(&lane.endpoint);
            endpoint.deleted = true;
            lane.endpoint = SharedEndpoint::new(endpoint);
            lane.breaker = super::breaker::Breaker::default();
            self.settle(Timestamp(0), id);
        }
    }

    /// Gives buffered rows back to the store.
    pub(super) fn unbuffer(&mut self, id: EndpointId, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        for task in std::mem::take(&mut lane.buffer) {
            self.buffered -= 1;
            self.buffered_bytes -= task.bytes();
            lane.held.remove(&task.row.key);
            lane.note_stored(now);
        }
    }

    fn loaded(&mut self, now: Timestamp, id: EndpointId, head: Head) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        self.loads -= 1;
        self.asked -= lane.loading.take().unwrap_or_default();
        lane.stored = head.next;
        if lane.endpoint.is_active() {
            for row in head.rows {
                if lane.held.insert(row.key) {
                    self.buffered += 1;
                    lane.buffer.push_back(Task { row, content: None, quick: false });
                }
            }
        }
        // Its turn had come before the rows were read.
        self.settle_as(now, id, Turn::Now);
    }

    /// Puts a lane where it belongs after it changed: into the round, among the wake-ups, or out.
    pub(super) fn settle(&mut self, now: Timestamp, id: EndpointId) {
        self.settle_as(now, id, Turn::Last);
    }

    fn settle_as(&mut self, now: Timestamp, id: EndpointId, turn: Turn) {
        let room = self.room();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.endpoint.is_active() {
            // Nothing is read for it. When it is enabled again, it is looked at anew.
            lane.stored = None;
        }
        let ready = lane.has_work(now)
            && !lane.is_gated(now)
            && lane.throttle.next_token(now).is_none()
            && lane.loading.is_none()
            && !lane.is_awaiting_record()
            && lane.running < lane.allowed(self.limits.per_endpoint, room);
        if ready && !lane.in_round {
            lane.in_round = true;
            match turn {
                Turn::Now => self.round.push_first(id),
                Turn::Last => self.round.push(lane.endpoint.app, id),
            }
        }
        let wake = if ready { None } else { lane.next_wake(now) };
        if wake != lane.wake {
            if let Some(old) = lane.wake {
                self.wakes.remove(&(old, id));
            }
            if let Some(new) = wake {
                self.wakes.insert((new, id));
            }
            lane.wake = wake;
        }
        if lane.is_idle() && !lane.in_round {
            self.lanes.remove(&id);
        }
    }

    fn set_rate(&mut self, app: AppId, rate: Option<u32>) {
        for id in self.rates.set(app, rate) {
            self.round.push(app, id);
        }
    }

    fn wake(&mut self, now: Timestamp) {
        for (app, id) in self.rates.due(now) {
            self.round.push(app, id);
        }
        while let Some((at, id)) = self.wakes.first().copied().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, id));
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.wake = None;
            }
            self.settle(now, id);
        }
    }

    /// Gives a lane its turn. `true` when it started something.
    fn run_one(&mut self, now: Timestamp, id: EndpointId, out: &mut Vec<Command>) -> bool {
        let room = self.room();
        let pace = self.lanes.get(&id).map_or(Pace::Unproven, |lane| lane.pace);
        let slow_full = self.is_slow_lane_full(pace);
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        let app = lane.endpoint.app;
        lane.in_round = false;
        if !lane.has_work(now)
            || lane.is_gated(now)
            || lane.loading.is_some()
            || lane.is_awaiting_record()
        {
            self.settle(now, id);
            return false;
        }
        if lane.running >= lane.allowed(self.limits.per_endpoint, room) {
            // Whatever finishes puts it back.
            return false;
        }
        if slow_full {
            // Comes back when something slow finishes.
            lane.in_round = true;
            self.parked.push_back((app, id));
            return false;
        }
        if lane.network_since.is_some() && !self.network.may_try(now) {
            // Others may not know yet that we are offline, or know better: only it waits.
            lane.in_round = true;
            self.cut_off.push_back((app, id));
            return false;
        }
        if !self.rates.allows(app, now) {
            lane.in_round = true;
            self.rates.wait(app, id, now);
            return false;
        }
        if lane.buffer.is_empty() {
            let fits = self.buffered + self.asked + REFILL_ROWS <= TOTAL_BUFFER;
            let rows = if fits { REFILL_ROWS } else { 1 };
            lane.loading = Some(rows);
            self.loads += 1;
            self.asked += rows;
            out.push(Command::Refill(id, rows));
            return false;
        }
        if !lane.throttle.take(now) {
            self.settle(now, id);
            return false;
        }
        self.rates.take(app, now);
        self.start(now, id, out)
    }

    /// Starts the first of a lane's rows in memory.
    fn start(&mut self, now: Timestamp, id: EndpointId, out: &mut Vec<Command>) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        let Some(mut task) = lane.buffer.pop_front() else { return false };
        self.buffered -= 1;
        self.buffered_bytes -= task.bytes();
        if lane.running == 0 {
            lane.heard_at = now;
            self.busy += 1;
        }
        lane.running += 1;
        self.in_flight += 1;
        task.quick = lane.quick;
        self.slow_in_flight += usize::from(lane.pace.is_slow());
        if lane.network_since.is_some() {
            self.network.tried(now);
        }
        out.push(Command::Run(task, SharedEndpoint::clone(&lane.endpoint)));
        self.settle(now, id);
        true
    }

    /// An attempt of a lane has ended.
    pub(super) fn ended(&mut self, now: Timestamp, id: EndpointId, pace: Option<Pace>) {
        self.in_flight -= 1;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let was = lane.slow_running();
        lane.running -= 1;
        lane.heard_at = now;
        lane.pace = pace.unwrap_or(lane.pace);
        self.busy -= usize::from(lane.running == 0);
        let is = lane.slow_running();
        self.slow_lane(was, is);
    }
}

/// Where a lane that is ready stands in the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Last,
    Now,
}

/// An attempt that could not be recorded is recorded so much later. Until then its delivery is
/// neither sent again nor forgotten.
pub const RECORD_AGAIN: Duration = Duration::from_secs(10);

/// How long the shell may sleep at most: a step of the wall clock is noticed by then.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
