//! Inbound: the doors for other people's events.
//!
//! A request to `/in/{source}/{token}` is admitted ([`Inbound::admit`], before its body is read),
//! verified on its exact bytes, and becomes a message of the source's application in the same
//! commit as what a repetition is recognised by ([`Inbound::answer`]). Whatever is refused is kept
//! in a bounded ring for a person to look at ([`capture`]).
//!
//! The API takes connections and bodies in and manages sources; nothing here knows sockets, tokens
//! of operators or JSON shapes of the API. How a provider signs is a row of a table in `signature`.

mod answer;
pub mod capture;
mod cloud_event;
mod compiled;
mod confirm;
mod door;
#[cfg(test)]
pub(crate) mod fuzzed;
mod headers;
mod names;
mod rate;

pub use answer::Answer;
pub use compiled::{Fault, check};
pub use door::{Admitted, Arrived};
pub use headers::KEPT_HEADER_BYTES;
pub use names::event_type;

pub use crate::signature::{Hint, Profile, Providers, RawRequest};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use compiled::Compiled;
use rate::Rates;

use crate::model::id::SourceId;
use crate::model::source::Source;
use crate::store::Store;

/// A new token for a source's URL: 24 random bytes, which fit a URL as they are.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_token() -> Result<String, String> {
    use base64::Engine as _;
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|err| err.to_string())?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

/// Refused requests of one source that are kept in a second; more are refused without.
const CAPTURES_A_SECOND: u32 = 10;

/// Confirmations that are fetched at once; senders of more are told to come again.
const CONFIRMATIONS: usize = 4;

/// The doors over an open store.
pub struct Inbound {
    store: Arc<Store>,
    /// What the world reaches us by, without a slash at the end. Some providers sign it.
    base_url: String,
    providers: RwLock<Arc<Providers>>,
    compiled: RwLock<HashMap<SourceId, Arc<Compiled>>>,
    rates: Rates,
    capture_rates: Rates,
    confirmer: OnceLock<Arc<dyn Confirm>>,
    /// How many confirmations may be fetched at once.
    confirming: tokio::sync::Semaphore,
}

/// Says yes to a provider by fetching an address. May block; the daemon's goes through the guard that
/// deliveries go through.
pub trait Confirm: Send + Sync {
    /// Fetches it.
    ///
    /// # Errors
    /// Why it was not answered with a 2xx, for the log.
    fn confirm(&self, url: &str) -> Result<(), String>;
}

impl Inbound {
    /// The doors over `store`, reached at `base_url`.
    pub fn new(store: Arc<Store>, base_url: &str) -> Self {
        Self {
            store,
            base_url: base_url.trim_end_matches('/').to_owned(),
            providers: RwLock::new(Arc::new(Providers::builtin().clone())),
            compiled: RwLock::default(),
            rates: Rates::default(),
            capture_rates: Rates::default(),
            confirmer: OnceLock::new(),
            confirming: tokio::sync::Semaphore::new(CONFIRMATIONS),
        }
    }

    /// Gives it who fetches confirmations; without one none is fetched. The first one stays.
    pub fn set_confirmer(&self, confirmer: Arc<dyn Confirm>) {
        drop(self.confirmer.set(confirmer));
    }

    /// What the world reaches us by.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The whole URL to give to a provider.
    pub fn url_of(&self, source: &Source) -> String {
        format!("{}{}", self.base_url(), source.path())
    }

    /// Replaces the profiles that sources may name: the built-in ones and the operator's own.
    pub fn set_providers(&self, providers: Providers) {
        *self.providers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(providers);
    }

    /// The profiles that sources may name.
    pub fn providers(&self) -> Arc<Providers> {
        Arc::clone(&self.providers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The source ready for use: made once, and again when the source or the profiles changed.
    fn compiled(&self, source: &Arc<Source>) -> Result<Arc<Compiled>, Fault> {
        let providers = self.providers();
        let known = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&source.id)
            && known.is_of(source, &providers)
        {
            return Ok(Arc::clone(known));
        }
        drop(known);
        let made = Arc::new(Compiled::new(source, &providers)?);
        let mut known = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        // What was deleted goes when there is more of it than of what is there.
        if known.len() > 64 {
            known.retain(|id, _| self.store.directory().source(*id).is_ok_and(|s| s.is_some()));
        }
        known.insert(source.id, Arc::clone(&made));
        Ok(made)
    }
}
