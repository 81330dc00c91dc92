//! The store's verbs on a real store in a temporary folder, every write done on the spot.
//!
//! Whoever changes something here ends with [`Shelf::check`]: no verb may leave a store that the
//! checker finds fault with.

mod accept;
mod again;
mod check;
mod ended;
mod expiry;
mod fresh;
mod idempotency;
mod opening;
mod pages;
mod queue;
mod record;
mod seal;
mod syncing;
mod tenants;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::attempts::AttemptResult;
use super::events::Events;
use super::{Options, Result, Store, Writer};
use crate::model::application::Application;
use crate::model::clock::{Clock, Timestamp};
use crate::model::delivery::{Delivery, QueueRow, State, Verdict};
use crate::model::endpoint::{Endpoint, LiveSecret};
use crate::model::id::{AppId, AttemptId, EndpointId, OrgId};
use crate::model::message::{Message, NewMessage};
use crate::model::secret::SigningKey;

const START: Timestamp = Timestamp(1_790_000_000_000);
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// A clock that is set by hand.
#[derive(Debug)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A store with one application.
struct Shelf {
    store: Store,
    clock: Arc<HandClock>,
    events: Arc<Mutex<Vec<Events>>>,
    app: AppId,
    folder: tempfile::TempDir,
}

fn options(path: PathBuf, clock: &Arc<HandClock>) -> Options {
    let mut last = 0_u64;
    let entropy = Box::new(move |buffer: &mut [u8]| {
        for chunk in buffer.chunks_mut(8) {
            last = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chunk.copy_from_slice(&last.to_be_bytes()[..chunk.len()]);
        }
    });
    Options {
        retention: RETENTION,
        ..Options::trial(path, Arc::clone(clock) as Arc<dyn Clock>, entropy)
    }
}

fn temporary() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn new_application(writer: &Writer<'_>) -> Application {
    Application {
        name: "shelf".to_owned(),
        ..Application::new(writer.new_application_id(), OrgId::default_org(), writer.now())
    }
}

fn new_endpoint(writer: &Writer<'_>, app: AppId) -> Endpoint {
    Endpoint {
        secrets: vec![LiveSecret {
            key: SigningKey::symmetric_from_random([7; 32]),
            expires_at: None,
        }],
        ..Endpoint::new(writer.new_endpoint_id(), app, "https://example.com/", writer.now())
    }
}

fn new_message(payload: &[u8]) -> NewMessage {
    NewMessage::new("order.paid", bytes::Bytes::copy_from_slice(payload))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Shelf {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let folder = temporary();
        let clock = Arc::new(HandClock(AtomicU64::new(START.0)));
        let options = change(options(folder.path().join("store"), &clock));
        let events: Arc<Mutex<Vec<Events>>> = Arc::default();
        let heard = Arc::clone(&events);
        let tell = Box::new(move |group| heard.lock().unwrap().push(group));
        let store = Store::open(options, tell).unwrap();
        let app = store.write_and_wait(|w| w.put_application(new_application(w))).unwrap().id;
        let shelf = Self { store, clock, events, app, folder };
        shelf.heard();
        shelf
    }

    /// The same folder, opened anew, as after a kill.
    fn reopened(self) -> Self {
        let Self { store, clock, events, app, folder } = self;
        drop(store);
        let heard = Arc::clone(&events);
        let tell = Box::new(move |group| heard.lock().unwrap().push(group));
        let store = Store::open(options(folder.path().join("store"), &clock), tell).unwrap();
        Self { store, clock, events, app, folder }
    }

    fn pass(&self, by: Duration) {
        self.set(self.store.now().plus(by));
    }

    fn set(&self, at: Timestamp) {
        self.clock.0.store(at.0, Ordering::Relaxed);
    }

    /// What the store told since this was last asked.
    fn heard(&self) -> Events {
        let mut all = Events::default();
        self.events.lock().unwrap().drain(..).for_each(|group| all.append(group));
        all
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.write_and_wait(work)
    }

    fn endpoint(&self) -> EndpointId {
        self.endpoint_with(|_| {})
    }

    fn endpoint_with(&self, change: impl FnOnce(&mut Endpoint) + Send + 'static) -> EndpointId {
        let app = self.app;
        let made = self.write(move |writer| {
            let mut endpoint = new_endpoint(writer, app);
            change(&mut endpoint);
            writer.put_endpoint(endpoint)
        });
        made.unwrap().id
    }

    fn change(&self, id: EndpointId, change: impl FnOnce(&mut Endpoint)) {
        let mut endpoint = Endpoint::clone(&self.store.directory().endpoint(id).unwrap().unwrap());
        change(&mut endpoint);
        self.write(move |writer| writer.put_endpoint(endpoint)).unwrap();
    }

    fn try_accept(&self, new: NewMessage) -> Result<Arc<Message>> {
        let app = self.app;
        self.write(move |writer| writer.accept(app, new))
    }

    fn accept(&self) -> Arc<Message> {
        self.try_accept(new_message(b"{}")).unwrap()
    }

    /// The rows in an endpoint's queue, due or not, in order.
    fn queue(&self, endpoint: EndpointId) -> Vec<QueueRow> {
        let end = Timestamp(u64::MAX);
        self.store.queue_head(endpoint, end, &HashSet::new(), false, usize::MAX).unwrap().rows
    }

    /// The only row in an endpoint's queue.
    fn row(&self, endpoint: EndpointId) -> QueueRow {
        let rows = self.queue(endpoint);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0]
    }

    /// What a worker would report for `row`.
    fn result(&self, row: QueueRow, verdict: Verdict) -> AttemptResult {
        let succeeded = verdict == Verdict::Succeeded;
        AttemptResult {
            row,
            app: self.app,
            url: "https://example.com/".to_owned(),
            started_at: self.store.now(),
            duration_ms: 3,
            status: Some(if succeeded { 204 } else { 500 }),
            response: Vec::new(),
            failure_code: if succeeded { "" } else { "status" },
            verdict,
            keeps_place: false,
            gone: false,
            blames_endpoint: true,
        }
    }

    fn record(&self, result: AttemptResult) -> Option<AttemptId> {
        self.write(move |writer| writer.record(&result)).unwrap()
    }

    /// Records an attempt of the only row in an endpoint's queue.
    fn tried(&self, endpoint: EndpointId, verdict: Verdict) -> Option<AttemptId> {
        self.record(self.result(self.row(endpoint), verdict))
    }

    fn delivery(&self, message: &Message, endpoint: EndpointId) -> Option<Delivery> {
        self.store.delivery(message.id, endpoint).unwrap()
    }

    fn stands(&self, message: &Message, endpoint: EndpointId) -> State {
        self.delivery(message, endpoint).expect("it has a row").state
    }

    /// Rows in a tree.
    fn rows(&self, tree: &str) -> usize {
        let report = self.store.check().unwrap();
        report.rows.iter().find(|(name, _)| *name == tree).expect("there is such a tree").1
    }

    fn check(&self) {
        let report = self.store.check().unwrap();
        assert_eq!(report.faults, [""; 0]);
    }
}
