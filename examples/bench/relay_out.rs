//! The relay's way out: a bounded queue, a pool of threads, ureq tuned as the daemon's is.
use std::collections::VecDeque;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ureq::http::{Request, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

/// Jobs that may wait; a POST past it waits for a place.
const QUEUE_LIMIT: usize = 1024;
/// Over the whole of one request, as the daemon's default.
const TIMEOUT: Duration = Duration::from_secs(15);
const BUFFER: usize = 8 * 1024;
/// Of an answer's body.
const MAX_ANSWER: u64 = 16 * 1024;

pub struct Endpoint {
    uri: Uri,
    pub key: [u8; 24],
    /// Keyed once, cloned for each signature.
    mac: Hmac<Sha256>,
}

impl Endpoint {
    pub fn new(url: &str) -> Result<Self> {
        let mut key = [0; 24];
        getrandom::fill(&mut key).ok().context("no random bytes")?;
        let mac = Hmac::new_from_slice(&key).context("an HMAC key")?;
        Ok(Self { uri: url.parse().context("a URL")?, key, mac })
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
        let shared = Arc::new(Shared { queue: Mutex::default(), ready: Condvar::new() });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("relay-{number:03}"))
                .spawn(move || work(&shared))
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

/// One thread with an agent of its own: no lock is shared and its connection stays warm.
fn work(shared: &Shared) {
    let agent = agent();
    let mut answer = Vec::with_capacity(BUFFER);
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
        deliver(&agent, &job, &mut answer).ok();
    }
}

fn deliver(agent: &Agent, job: &Job, answer: &mut Vec<u8>) -> Result<()> {
    let at = Timestamp::now().as_second().to_string();
    let mut mac = job.endpoint.mac.clone();
    for part in [job.id.as_bytes(), b".", at.as_bytes(), b".", &job.payload] {
        mac.update(part);
    }
    let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let request = Request::post(job.endpoint.uri.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", &*job.id)
        .header("webhook-timestamp", &at)
        .header("webhook-signature", &signature)
        .header("svix-id", &*job.id)
        .header("svix-timestamp", &at)
        .header("svix-signature", &signature)
        .body(&job.payload[..])?;
    let response = agent.run(request)?;
    answer.clear();
    // Read to its end, so that the connection can be used again.
    response.into_body().into_reader().take(MAX_ANSWER).read_to_end(answer)?;
    Ok(())
}

fn agent() -> Agent {
    let config = Config::builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .accept("")
        .accept_encoding("identity")
        .user_agent("Posthaste-Relay/0")
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Literal)
}

/// Resolves literal addresses only: with a timeout set, ureq's own starts a thread for each.
#[derive(Debug)]
struct Literal;

impl Resolver for Literal {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let ip: IpAddr = host.parse().map_err(|_| ureq::Error::HostNotFound)?;
        let mut found = self.empty();
        found.push(SocketAddr::new(ip, uri.port_u16().unwrap_or(80)));
        Ok(found)
    }
}
