//! One attempt: check the URL, sign, send, read the answer, say what it means.
//!
//! This is the whole of the module's work put together. The scheduler's worker threads call
//! [`Deliverer::attempt`]; it blocks for at most the timeout and never panics.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request};
use ureq::{Agent, AsSendBody, Body};
use url::Url;

use super::classify::{client_failure, retry_after, status_failure};
use super::connect::Dialler;
use super::guard::AddressPolicy;
use super::headers::check_custom_header;
use super::oauth::Client;
use super::proxy::Proxy;
use super::resolver::{Deferred, Lookup, Names, SystemLookup};
use super::tls::{Trust, TrustError, client_config};
use super::tokens::Tokens;
use super::url::check_url;
use super::wire::{MAX_AGE, MAX_HEADER_BYTES};
use super::{route, trace};
use crate::model::outcome::{Failure, MAX_KEPT_BODY, Outcome, Phase};
use crate::model::secret::SigningKey;
use crate::signature::sign;

/// The most header fields of an answer.
pub const MAX_ANSWER_FIELDS: usize = 64;
/// How many connection pools there are. An endpoint always uses the same one, so that threads
/// of different endpoints rarely wait for each other's lock.
const SHARDS: usize = 32;
/// The most idle connections of a shard; it bounds idle sockets to 1,024 in all.
const IDLE_PER_SHARD: usize = 32;
/// An answer to a token that was not taken.
const UNAUTHORIZED: u16 = 401;
/// What we call ourselves.
const USER_AGENT: &str = concat!("Posthaste/", env!("CARGO_PKG_VERSION"));

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const SVIX_ID: HeaderName = HeaderName::from_static("svix-id");
const SVIX_TIMESTAMP: HeaderName = HeaderName::from_static("svix-timestamp");
const SVIX_SIGNATURE: HeaderName = HeaderName::from_static("svix-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("posthaste-attempt");
const NEXT_RETRY: HeaderName = HeaderName::from_static("posthaste-next-retry");

/// The settings of all attempts.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// The total time of an attempt: look-up, connection, TLS, request, answer with its body.
    pub timeout: Duration,
    /// What may be dialled.
    pub policy: AddressPolicy,
    /// Refuse `http` URLs.
    pub https_only: bool,
    /// The operator's proxy.
    pub proxy: Option<Proxy>,
    /// Extra authorities and our own certificate.
    pub trust: Trust,
    /// How many idle connections to keep for an endpoint: as many as it may have in flight.
    pub idle_per_endpoint: usize,
}

/// One attempt to make.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Where to.
    pub url: &'a str,
    /// Id of the message; the same for every attempt.
    pub message_id: &'a str,
    /// Unix time of this attempt, in seconds.
    pub timestamp_secs: u64,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Unix time of the next attempt, should this one fail, in seconds.
    pub next_retry: Option<u64>,
    /// The payload, sent as it is.
    pub body: &'a [u8],
    /// Its content type.
    pub content_type: &'a str,
    /// The endpoint's live secrets, current first.
    pub keys: &'a [&'a SigningKey],
    /// The endpoint's custom headers.
    pub headers: &'a [(String, String)],
    /// Whose access token it is sent with; it takes the place of a custom header `authorization`.
    pub oauth: Option<Client<'a>>,
    /// A number that is the same for all attempts to an endpoint.
    pub shard: u64,
}

/// Makes attempts. Shared by all worker threads.
#[derive(Debug)]
pub struct Deliverer {
    pub(super) config: DeliveryConfig,
    shards: Vec<Shard>,
    pub(super) tokens: Tokens,
    /// There has been a way out.
    was_routed: AtomicBool,
}

impl Deliverer {
    /// A deliverer that looks names up with the system's resolver.
    pub fn new(config: DeliveryConfig) -> Result<Self, TrustError> {
        Self::with_lookup(config, Arc::new(SystemLookup))
    }

    /// A deliverer with a look-up of one's own.
    pub fn with_lookup(
        config: DeliveryConfig,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, TrustError> {
        let names = Arc::new(Names::new(config.policy.clone(), lookup));
        let tls = client_config(&config.trust)?;
        let proxy = config.proxy.clone().map(Arc::new);
        let agent = |_| {
            let dialler =
                Dialler { names: Arc::clone(&names), tls: Arc::clone(&tls), proxy: proxy.clone() };
            Agent::with_parts(client_settings(config.idle_per_endpoint), dialler, Deferred)
        };
        let shard = |n| Shard { agent: agent(n), passed: Mutex::default() };
        let shards = (0..SHARDS).map(shard).collect();
        let was_routed = AtomicBool::new(route::is_there());
        Ok(Self { config, shards, tokens: Tokens::default(), was_routed })
    }

    /// Whether this machine has lost its way out. One that never had any delivers to a network
    /// without one, and its absence says nothing.
    pub fn is_cut_off(&self) -> bool {
        if route::is_there() {
            self.was_routed.store(true, Ordering::Relaxed);
            return false;
        }
        self.was_routed.load(Ordering::Relaxed)
    }

    /// Makes one attempt. Whatever happens to it is in the [`Outcome`].
    pub fn attempt(&self, job: &Job<'_>) -> Outcome {
        let start = Instant::now();
        let answer =
            catch_unwind(AssertUnwindSafe(|| self.answer(job, start + self.config.timeout)))
                .unwrap_or_else(|_| {
                    let detail = "a panic during the attempt".to_owned();
                    Err(Failure::Internal { detail })
                });
        trace::end();
        let duration = start.elapsed();
        match answer {
            Ok(answer) => Outcome { duration, ..answer },
            Err(failure) => Outcome::failed(failure, duration),
        }
    }

    /// Fetches an address and drops what comes back: how a subscription is confirmed at a provider
    /// that asks for it. Under the same guard, timeout and limits as an attempt, on a connection that
    /// no endpoint uses.
    ///
    /// # Errors
    /// It was refused, could not be reached, or was answered with anything but a 2xx.
    pub fn fetch(&self, url: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + self.config.timeout;
        let caught = catch_unwind(AssertUnwindSafe(|| self.get(url, deadline)));
        trace::end();
        caught.unwrap_or_else(|_| Err(internal("a panic during the request")))
    }

    fn get(&self, url: &str, deadline: Instant) -> Result<(), Failure> {
        let outcome = self.ask(url, deadline, |request| request.method(Method::GET).body(()))?;
        outcome.failure.map_or(Ok(()), Err)
    }

    /// Asks somebody other than an endpoint's receiver, under the same guard and limits as an
    /// attempt. `write` gets a request for the URL that passed. The connection is a new one: it is
    /// seldom, and never meets one that is being closed.
    pub(super) fn ask<B: AsSendBody>(
        &self,
        url: &str,
        deadline: Instant,
        write: impl FnOnce(request::Builder) -> http::Result<Request<B>>,
    ) -> Result<Outcome, Failure> {
        let url = self.vet(url)?;
        let agent = &self.shard(0)?.agent;
        let request = write(Request::builder().uri(url.as_str())).map_err(bad_url)?;
        trace::begin(deadline);
        run(agent, on_new_connection(agent, request), 0)
    }

    fn vet(&self, url: &str) -> Result<Url, Failure> {
        Ok(check_url(url, self.config.https_only, &self.config.policy)?)
    }

    fn shard(&self, number: u64) -> Result<&Shard, Failure> {
        let shard = usize::try_from(number % SHARDS as u64).unwrap_or_default();
        self.shards.get(shard).ok_or_else(|| internal("no such shard"))
    }

    /// The URL to dial, or why a message must not go there.
    fn check(&self, shard: &Shard, text: &str) -> Result<Arc<str>, Failure> {
        let lock = || shard.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(passed) = lock().as_ref().filter(|passed| passed.text == text) {
            return Ok(Arc::clone(&passed.url));
        }
        let url: Arc<str> = self.vet(text)?.as_str().into();
        *lock() = Some(Passed { text: text.to_owned(), url: Arc::clone(&url) });
        Ok(url)
    }

    fn answer(&self, job: &Job<'_>, deadline: Instant) -> Result<Outcome, Failure> {
        let shard = self.shard(job.shard)?;
        let url = self.check(shard, job.url)?;
        let bearer = match &job.oauth {
            Some(client) => Some(self.authorize(client, job.timestamp_secs, deadline)?),
            None => None,
        };
        let send = |connection| {
            trace::begin(deadline);
            exchange(&shard.agent, &url, job, bearer.as_ref(), connection)
        };
        let done = match send(Connection::PooledOrNew) {
            Err(Failure::ConnectionClosed { .. }) if was_stale() => send(Connection::New),
            done => done,
        };
        if let (Some(client), Some(bearer), Ok(outcome)) = (&job.oauth, &bearer, &done)
            && outcome.status == Some(UNAUTHORIZED)
        {
            self.tokens.forget(client.endpoint, bearer);
        }
        done
    }
}

/// What the endpoints of one shard share.
#[derive(Debug)]
struct Shard {
    agent: Agent,
    /// The URL that its latest attempt went to, if it passed: it is checked once in a row. The rules do
    /// not change, and what a name leads to is looked at when it is dialled.
    passed: Mutex<Option<Passed>>,
}

/// A URL as it was written, and as it is dialled.
#[derive(Debug)]
struct Passed {
    text: String,
    url: Arc<str>,
}

/// True when the request met a pooled connection that the receiver was closing: not a byte of an
/// answer came. Any other request that was cut off may have been acted upon, and is left to the
/// schedule.
fn was_stale() -> bool {
    let trace = trace::current();
    !trace.fresh && !trace.answered
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    PooledOrNew,
    New,
}

fn client_settings(idle_per_endpoint: usize) -> ureq::config::Config {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .max_response_header_size(MAX_HEADER_BYTES)
        .max_idle_connections(IDLE_PER_SHARD.max(idle_per_endpoint))
        .max_idle_connections_per_host(idle_per_endpoint)
        .max_idle_age(MAX_AGE)
        .build()
}

/// Sends the request and reads the answer.
fn exchange(
    agent: &Agent,
    url: &str,
    job: &Job<'_>,
    bearer: Option<&HeaderValue>,
    connection: Connection,
) -> Result<Outcome, Failure> {
    let mut request =
        Request::builder().method(Method::POST).uri(url).body(job.body).map_err(bad_url)?;
    *request.headers_mut() = headers_of(job, bearer)?;
    if connection == Connection::New {
        request = on_new_connection(agent, request);
    }
    run(agent, request, job.timestamp_secs)
}

fn on_new_connection<B: AsSendBody>(agent: &Agent, request: Request<B>) -> Request<B> {
    // No idle connection is young enough for this.
    agent.configure_request(request).max_idle_age(Duration::ZERO).build()
}

/// Sends the request, and reads what comes back as far as the limits allow.
fn run(
    agent: &Agent,
    request: Request<impl AsSendBody>,
    now_secs: u64,
) -> Result<Outcome, Failure> {
    let failed = |error| client_failure(error, trace::current().phase);
    let response = agent.run(request).map_err(failed)?;
    if response.headers().len() > MAX_ANSWER_FIELDS {
        return Err(Failure::TooLarge);
    }
    Ok(read_answer(response, now_secs))
}

/// What the answer means. Its body is read up to the limit; then the connection is dropped.
fn read_answer(response: Response<Body>, now_secs: u64) -> Outcome {
    trace::update(|it| it.phase = Phase::Body);
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes);
    let refused = status_failure(status, location);
    let wait = response.headers().get(RETRY_AFTER).filter(|_| refused.is_some());
    let wait = wait.and_then(|value| retry_after(value.as_bytes(), now_secs));
    let mut body = Vec::new();
    let cut_short = read_body(response.into_body(), &mut body).err();
    Outcome {
        status: Some(status),
        body,
        retry_after: wait,
        // What the status says is known and comes first. A 2xx counts only with its whole body,
        // else a receiver could hold a thread for the whole deadline and be called healthy.
        failure: refused.or(cut_short),
        duration: Duration::ZERO,
    }
}

fn read_body(body: Body, kept: &mut Vec<u8>) -> Result<(), Failure> {
    let mut reader = body.into_reader();
    let mut chunk = [0; 4096];
    while kept.len() < MAX_KEPT_BODY {
        let most = chunk.len().min(MAX_KEPT_BODY - kept.len());
        let n = reader
            .read(chunk.get_mut(..most).unwrap_or_default())
            .map_err(|e| client_failure(e.into(), Phase::Body))?;
        match chunk.get(..n) {
            None | Some([]) => break,
            Some(read) => kept.extend_from_slice(read),
        }
    }
    Ok(())
}

/// The headers of the request: the endpoint's own first, then ours, which nothing replaces.
fn headers_of(job: &Job<'_>, bearer: Option<&HeaderValue>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::with_capacity(16 + job.headers.len());
    for (name, value) in job.headers {
        if check_custom_header(name, value).is_err() {
            continue;
        }
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if let Some(bearer) = bearer {
        headers.insert(AUTHORIZATION, bearer.clone());
    }
    let id = value_of(job.message_id)?;
    let timestamp = HeaderValue::from(job.timestamp_secs);
    headers.insert(CONTENT_TYPE, value_of(job.content_type)?);
    headers.insert(WEBHOOK_ID, id.clone());
    headers.insert(WEBHOOK_TIMESTAMP, timestamp.clone());
    headers.insert(SVIX_ID, id);
    headers.insert(SVIX_TIMESTAMP, timestamp);
    if !job.keys.is_empty() {
        let signature = sign(job.keys, job.message_id, job.timestamp_secs, job.body);
        let signature = HeaderValue::try_from(signature).map_err(|e| internal(&e.to_string()))?;
        headers.insert(WEBHOOK_SIGNATURE, signature.clone());
        headers.insert(SVIX_SIGNATURE, signature);
    }
    headers.insert(ATTEMPT, HeaderValue::from(job.attempt));
    if let Some(next) = job.next_retry {
        headers.insert(NEXT_RETRY, HeaderValue::from(next));
    }
    Ok(headers)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn bad_url(err: http::Error) -> Failure {
    Failure::BadUrl { detail: err.to_string() }
}

fn value_of(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| internal(&format!("{text:?} cannot be in a header")))
}

pub(super) fn internal(detail: &str) -> Failure {
    Failure::Internal { detail: detail.to_owned() }
}
