//! The decision function against a made-up store: limits that only a great many endpoints reach.

use std::collections::HashMap;

use super::*;
use crate::model::delivery::{QueueRow, Trigger};
use crate::model::endpoint::Endpoint;
use crate::model::id::{AppId, MessageId};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn id(n: usize) -> [u8; 20] {
    let mut id = [0; 20];
    id[12..].copy_from_slice(&(n as u64).to_be_bytes());
    id
}

fn endpoint(n: usize) -> SharedEndpoint {
    SharedEndpoint::new(Endpoint::new(EndpointId(id(n)), AppId(id(0)), "https://example.com/", NOW))
}

fn row(endpoint: EndpointId, message: usize) -> QueueRow {
    let key = QueueKey { endpoint, due: NOW, message: MessageId(id(message)) };
    QueueRow { key, attempt: 1, trigger: Trigger::Scheduled, not_before: NOW }
}

/// Endpoints with `waiting` due rows each; rows are recorded as done as soon as they are run.
struct Crowd {
    state: State,
    waiting: HashMap<EndpointId, usize>,
    most: usize,
    runs: Vec<EndpointId>,
}

impl Crowd {
    fn new(endpoints: usize, waiting: usize, max_in_flight: usize) -> Self {
        let schedule = RetrySchedule::default_schedule();
        let limits = Limits { max_in_flight, per_endpoint: 2, schedule };
        let mut crowd =
            Self { state: State::new(limits), waiting: HashMap::new(), most: 0, runs: Vec::new() };
        for n in 1..=endpoints {
            let found = endpoint(n);
            crowd.waiting.insert(found.id, waiting);
            let event = Event::Endpoint(found.id, Some(found), Some(NOW));
            crowd.state.step(NOW, event, &mut Vec::new());
        }
        crowd
    }

    /// Dispatches until nothing follows, as the shell does; all that runs is left running.
    fn dispatch(&mut self) -> Vec<(Task, SharedEndpoint)> {
        let (mut commands, mut running) = (Vec::new(), Vec::new());
        loop {
            self.state.dispatch(NOW, &mut commands);
            self.most = self.most.max(self.state.buffers().0);
            if commands.is_empty() {
                return running;
            }
            for command in std::mem::take(&mut commands) {
                match command {
                    Command::Run(task, endpoint) => {
                        self.runs.push(endpoint.id);
                        running.push((task, endpoint));
                    }
                    Command::Refill(id, rows) => self.load(id, rows),
                    Command::Record(_) | Command::Paused(..) | Command::Offline(_) => {}
                    Command::Drop(_) | Command::Look(_) => panic!("{command:?}"),
                }
            }
        }
    }

    fn load(&mut self, id: EndpointId, limit: usize) {
        let held = self.state.held(id).unwrap();
        let all = (1..=self.waiting[&id]).map(|message| row(id, message));
        let mut free: Vec<_> = all.filter(|row| !held.contains(&row.key)).collect();
        let next = (free.len() > limit).then_some(NOW);
        free.truncate(limit);
        self.state.step(NOW, Event::Loaded(id, Head { rows: free, next }), &mut Vec::new());
        self.most = self.most.max(self.state.buffers().0);
    }

    fn succeed(&mut self, task: Task, endpoint: SharedEndpoint) {
        use crate::store::events::{Events, Recorded};
        let (id, key) = (endpoint.id, task.row.key);
        let outcome = Some(Outcome {
            status: Some(204),
            body: Vec::new(),
            retry_after: None,
            failure: None,
            duration: Duration::from_millis(1),
        });
        let finished = Finished {
            task,
            endpoint,
            outcome,
            started_at: NOW,
            schedule: None,
            chance: 0.0,
            is_cut_off: false,
        };
        self.state.step(NOW, Event::Finished(Box::new(finished)), &mut Vec::new());
        *self.waiting.get_mut(&id).unwrap() -= 1;
        let recorded = vec![Recorded { key, next: None }];
        let events = Events { recorded, ..Events::default() };
        self.state.step(NOW, Event::Committed(events), &mut Vec::new());
    }
}

#[test]
fn rows_in_memory_are_bounded_however_many_endpoints_are_due() {
    let (endpoints, at_once) = (3000, 512);
    let mut crowd = Crowd::new(endpoints, 40, at_once);
    let mut running = crowd.dispatch();
    for _ in 0..20 {
        for (task, endpoint) in std::mem::take(&mut running) {
            crowd.succeed(task, endpoint);
        }
        running = crowd.dispatch();
        assert_eq!(running.len(), at_once, "threads are kept busy");
    }
    let bound = TOTAL_BUFFER + at_once;
    assert!(crowd.most <= bound, "{} rows were buffered, {bound} may be", crowd.most);
    assert!(crowd.most > TOTAL_BUFFER - REFILL_ROWS, "the bound is reached: {}", crowd.most);
}

#[test]
fn endpoints_take_turns() {
    let mut crowd = Crowd::new(50, 5, 10);
    let mut running = crowd.dispatch();
    while !running.is_empty() {
        for (task, endpoint) in std::mem::take(&mut running) {
            crowd.succeed(task, endpoint);
        }
        running = crowd.dispatch();
    }
    assert_eq!(crowd.runs.len(), 250);
    let first: HashSet<_> = crowd.runs.iter().take(50).collect();
    assert_eq!(first.len(), 50, "each had its turn before any had a second");
}

#[test]
fn nothing_is_started_while_attempts_cannot_be_recorded() {
    let mut crowd = Crowd::new(3, 2, 10);
    crowd.state.set_halted(true);
    assert_eq!(crowd.dispatch().len(), 0);
    crowd.state.set_halted(false);
    assert_eq!(crowd.dispatch().len(), 6, "all of it goes on");
}
