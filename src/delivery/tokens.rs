//! Access tokens in memory, one for each endpoint that wants them, fetched by one thread at a time.
//!
//! Asked by `oauth` for attempts to such endpoints alone: all others neither allocate nor lock here.
//! Tokens are never written anywhere. What it fetches with, and when now is, are arguments.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ureq::http::HeaderValue;

use super::oauth::{Client, Granted, not_reached};
use crate::model::id::EndpointId;
use crate::model::oauth::ClientCredentials;
use crate::model::outcome::{Failure, Phase};

/// Endpoints whose tokens are kept. Past it those that nobody is using go, and are fetched again.
pub const MAX_TOKENS: usize = 4096;

/// The tokens of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<EndpointId, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_fetching: bool,
    /// How many fetches have ended.
    round: u64,
    latest: Option<Latest>,
}

/// What the latest fetch gave.
#[derive(Debug)]
struct Latest {
    /// What it was fetched with. Other settings need another token.
    credentials: Arc<ClientCredentials>,
    result: Result<HeaderValue, Failure>,
    /// The token may be used before then, in Unix seconds.
    until_secs: u64,
}

impl Tokens {
    /// The token for `client`: a kept one, or one that `fetch` gets. While another thread fetches
    /// for the same endpoint this one waits, until the deadline at most, and takes what came of it.
    pub(super) fn get(
        &self,
        client: &Client<'_>,
        now_secs: u64,
        deadline: Instant,
        fetch: impl FnOnce() -> Result<Granted, Failure>,
    ) -> Result<HeaderValue, Failure> {
        let slot = self.slot(client.endpoint, now_secs);
        let mut state = lock(&slot.state);
        let asked_in = state.round;
        loop {
            if let Some(found) = state.usable(client.credentials, now_secs, asked_in) {
                return found;
            }
            if !state.is_fetching {
                state.is_fetching = true;
                drop(state);
                return fetch_for(&slot, client, now_secs, fetch);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(not_reached(Failure::Timeout { phase: Phase::Headers }));
            }
            state = slot.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The receiver did not take this token: the next attempt fetches another.
    pub(super) fn forget(&self, endpoint: EndpointId, bearer: &HeaderValue) {
        let slot = lock(&self.slots).get(&endpoint).cloned();
        let Some(slot) = slot else { return };
        let mut state = lock(&slot.state);
        if state.latest.as_ref().is_some_and(|it| it.result.as_ref() == Ok(bearer)) {
            state.latest = None;
        }
    }

    fn slot(&self, endpoint: EndpointId, now_secs: u64) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&endpoint) {
            return Arc::clone(slot);
        }
        // A fetch follows: there is time to look who is gone.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || lock(&slot.state).lasts(now_secs));
        if slots.len() >= MAX_TOKENS {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(endpoint).or_default())
    }
}

impl State {
    /// What there is to use at `now_secs` with these settings, for who asked when `asked_in` fetches
    /// had ended: a token that lasts, or whatever came of a fetch that ended since.
    fn usable(
        &self,
        credentials: &Arc<ClientCredentials>,
        now_secs: u64,
        asked_in: u64,
    ) -> Option<Result<HeaderValue, Failure>> {
        let latest = self.latest.as_ref()?;
        let is_same =
            Arc::ptr_eq(&latest.credentials, credentials) || latest.credentials == *credentials;
        let is_new = self.round > asked_in;
        (is_same && (is_new || self.lasts(now_secs))).then(|| latest.result.clone())
    }

    /// Whether there is a token that may be used.
    fn lasts(&self, now_secs: u64) -> bool {
        self.latest.as_ref().is_some_and(|it| it.result.is_ok() && now_secs < it.until_secs)
    }
}

/// Fetches, and lets those know who wait, even if it panics.
fn fetch_for(
    slot: &Slot,
    client: &Client<'_>,
    now_secs: u64,
    fetch: impl FnOnce() -> Result<Granted, Failure>,
) -> Result<HeaderValue, Failure> {
    let mut running =
        Running { slot, credentials: client.credentials, result: Err(lost()), until_secs: 0 };
    let granted = fetch();
    if let Ok(granted) = &granted {
        running.until_secs = now_secs.saturating_add(granted.lifetime.as_secs());
    }
    running.result = granted.map(|it| it.bearer);
    running.result.clone()
}

/// A fetch; when it is dropped its result is there for all.
struct Running<'a> {
    slot: &'a Slot,
    credentials: &'a Arc<ClientCredentials>,
    result: Result<HeaderValue, Failure>,
    until_secs: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(lost()));
        let mut state = lock(&self.slot.state);
        state.is_fetching = false;
        state.round += 1;
        let credentials = Arc::clone(self.credentials);
        state.latest = Some(Latest { credentials, result, until_secs: self.until_secs });
        drop(state);
        self.slot.ended.notify_all();
    }
}

fn lost() -> Failure {
    Failure::Internal { detail: "the fetch of a token ended without a result".to_owned() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::model::oauth::AuthMethod;
    use crate::model::outcome::TokenFailure;

    const LIMIT: Duration = Duration::from_secs(10);

    fn settings(secret: &str) -> Arc<ClientCredentials> {
        Arc::new(ClientCredentials {
            token_url: "https://id.example/".to_owned(),
            client_id: "a".to_owned(),
            client_secret: secret.to_owned(),
            scope: None,
            audience: None,
            auth_method: AuthMethod::ClientSecretBasic,
        })
    }

    fn endpoint(n: usize) -> EndpointId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&n.to_be_bytes());
        EndpointId(id)
    }

    fn token(text: &'static str, seconds: u64) -> Granted {
        let lifetime = Duration::from_secs(seconds);
        Granted { bearer: HeaderValue::from_static(text), lifetime }
    }

    /// Asks at `now`; a fetch would give `text` for 100 s.
    fn ask(
        tokens: &Tokens,
        credentials: &Arc<ClientCredentials>,
        now: u64,
        text: &'static str,
    ) -> HeaderValue {
        let client = Client { endpoint: endpoint(1), credentials };
        tokens.get(&client, now, Instant::now() + LIMIT, || Ok(token(text, 100))).unwrap()
    }

    #[test]
    fn a_token_is_kept_for_its_life_and_no_longer() {
        let (tokens, settings) = (Tokens::default(), settings("x"));
        for (now, text, expected) in
            [(1000, "one", "one"), (1099, "two", "one"), (1100, "three", "three")]
        {
            assert_eq!(ask(&tokens, &settings, now, text), expected, "at {now}");
        }
    }

    #[test]
    fn other_settings_and_a_refused_token_need_a_new_one() {
        let tokens = Tokens::default();
        assert_eq!(ask(&tokens, &settings("x"), 0, "one"), "one");
        assert_eq!(ask(&tokens, &settings("x"), 0, "two"), "one", "equal settings");
        assert_eq!(ask(&tokens, &settings("y"), 0, "three"), "three");
        tokens.forget(endpoint(1), &HeaderValue::from_static("one"));
        assert_eq!(ask(&tokens, &settings("y"), 0, "four"), "three", "another one was refused");
        tokens.forget(endpoint(1), &HeaderValue::from_static("three"));
        assert_eq!(ask(&tokens, &settings("y"), 0, "five"), "five");
    }

    #[test]
    fn one_fetches_and_all_who_wait_take_what_came_of_it() {
        for (result, lifetime) in [(Ok("one"), 100), (Ok("one"), 0), (Err(()), 0)] {
            let (tokens, settings, fetches) =
                (Tokens::default(), settings("x"), AtomicUsize::new(0));
            let client = Client { endpoint: endpoint(1), credentials: &settings };
            let (inside, entered) = channel();
            let (open, gate) = channel::<()>();
            let gate = Mutex::new(gate);
            let fetch = || {
                fetches.fetch_add(1, Ordering::SeqCst);
                inside.send(()).unwrap();
                lock(&gate).recv_timeout(LIMIT).unwrap();
                let refused = TokenFailure::Refused { status: 401, error: None };
                result.map(|text| token(text, lifetime)).map_err(|()| Failure::Token(refused))
            };
            let get = || tokens.get(&client, 0, Instant::now() + LIMIT, fetch);
            let results: Vec<_> = std::thread::scope(|scope| {
                let first = scope.spawn(get);
                entered.recv_timeout(LIMIT).unwrap();
                let waiting: Vec<_> = (0..3).map(|_| scope.spawn(get)).collect();
                // Each holds its slot while it waits.
                while Arc::strong_count(&lock(&tokens.slots)[&endpoint(1)]) < 5 {
                    std::thread::yield_now();
                }
                // Nobody is between having the slot and waiting: both take this lock.
                while lock(&tokens.slots)[&endpoint(1)].state.try_lock().is_err() {
                    std::thread::yield_now();
                }
                open.send(()).unwrap();
                std::iter::once(first).chain(waiting).map(|it| it.join().unwrap()).collect()
            });
            assert!(results.iter().all(|it| it == &results[0]), "{results:?}");
            assert_eq!(results[0].is_ok(), result.is_ok());
            // Who came only after it had ended would have fetched again, and hung.
            assert_eq!(fetches.load(Ordering::SeqCst), 1);
        }
    }

    #[test]
    fn who_waits_for_another_ends_at_its_own_deadline() {
        let (tokens, settings) = (Tokens::default(), settings("x"));
        let client = Client { endpoint: endpoint(1), credentials: &settings };
        let late = tokens.get(&client, 0, Instant::now() + LIMIT, || {
            let soon = Instant::now() + Duration::from_millis(20);
            let other = tokens.get(&client, 0, soon, || panic!("two at a time"));
            assert_eq!(other, Err(not_reached(Failure::Timeout { phase: Phase::Headers })));
            Ok(token("one", 0))
        });
        assert_eq!(late.unwrap(), "one");
    }

    #[test]
    fn a_fetch_that_panics_holds_nobody_up() {
        let (tokens, settings) = (Tokens::default(), settings("x"));
        let client = Client { endpoint: endpoint(1), credentials: &settings };
        let fetch = || tokens.get(&client, 0, Instant::now() + LIMIT, || panic!("planted"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(fetch)).is_err());
        assert_eq!(ask(&tokens, &settings, 0, "two"), "two");
    }

    #[test]
    fn tokens_are_limited_in_number_and_old_ones_go() {
        let (tokens, settings) = (Tokens::default(), settings("x"));
        let get = |n, now| {
            let client = Client { endpoint: endpoint(n), credentials: &settings };
            tokens.get(&client, now, Instant::now() + LIMIT, || Ok(token("t", 100))).unwrap();
            lock(&tokens.slots).len()
        };
        for n in 1..=MAX_TOKENS {
            assert_eq!(get(n, 0), n);
        }
        assert_eq!(get(MAX_TOKENS + 1, 0), 1, "past the limit");
        assert_eq!(get(1, 50), 2);
        assert_eq!(get(2, 120), 2, "the first has expired");
    }
}
