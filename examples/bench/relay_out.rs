//! The relay's way out: a bounded queue and a pool of threads that make the daemon's own attempts.
//!
//! The same deliverer, so that transport and signature are tuned alike and what differs is what
//! the daemon keeps, schedules and records.
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use jiff::Timestamp;
use posthaste::delivery::{self, AddressPolicy, Deliverer, DeliveryConfig, Trust};
use posthaste::model::secret::SigningKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Jobs that may wait; a POST past it waits for a place. The queue is the latency at full load.
const QUEUE_LIMIT: usize = 256;
/// Over the whole of one request, as the daemon's default.
const TIMEOUT: Duration = Duration::from_secs(15);

pub struct Endpoint {
    url: String,
    pub key: SigningKey,
    /// The same for all attempts to it.
    shard: u64,
}

impl Endpoint {
    pub fn new(url: String, shard: u64) -> Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).ok().context("no random bytes")?;
        Ok(Self { url, key: SigningKey::symmetric_from_random(random), shard })
    }
}

/// One request to be made.
pub struct Job {
    pub endpoint: Arc<Endpoint>,
    pub id: Arc<str>,
    pub payload: Bytes,
}

/// The queue before the threads.
pub struct Outgoing {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
    /// Threads that wait; nobody is woken when there are none.
    idle: usize,
}

impl Outgoing {
    pub fn start(threads: usize) -> Result<Self> {
        let deliverer = Arc::new(deliverer(threads)?);
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Condvar::new() });
        for number in 0..threads {
            let (shared, deliverer) = (Arc::clone(&shared), Arc::clone(&deliverer));
            thread::Builder::new()
                .name(format!("relay-{number:03}"))
                .spawn(move || work(&shared, &deliverer))
                .context("start a relay thread")?;
        }
        Ok(Self { shared, places: Arc::new(Semaphore::new(QUEUE_LIMIT)) })
    }

    /// Waits while the queue is full: the pace of the way out reaches the way in.
    pub async fn push(&self, job: Job) {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return;
        };
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back((job, place));
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.shared.ready.notify_one();
        }
    }
}

fn work(shared: &Shared, deliverer: &Deliverer) {
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            if let Some((job, place)) = queue.jobs.pop_front() {
                drop(place);
                break job;
            }
            queue.idle += 1;
            queue = shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        };
        drop(queue);
        // Nothing is kept and nothing is tried again: a failure shows as missing.
        deliverer.attempt(&delivery::Job {
            url: &job.endpoint.url,
            message_id: &job.id,
            timestamp_secs: Timestamp::now().as_second().unsigned_abs(),
            attempt: 1,
            next_retry: None,
            body: &job.payload,
            content_type: "application/json",
            keys: &[&job.endpoint.key],
            headers: &[],
            oauth: None,
            shard: job.endpoint.shard,
        });
    }
}

fn deliverer(threads: usize) -> Result<Deliverer> {
    let loopback = "127.0.0.0/8".parse().context("the loopback network")?;
    let config = DeliveryConfig {
        timeout: TIMEOUT,
        policy: AddressPolicy { allow: vec![loopback] },
        https_only: false,
        proxy: None,
        trust: Trust::default(),
        idle_per_endpoint: threads,
    };
    Deliverer::new(config).context("make a deliverer")
}
