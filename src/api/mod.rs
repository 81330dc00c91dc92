//! The HTTP API: JSON in the shapes of svix's published API, under `/api/v1`.
//!
//! [`serve`] takes connections and bodies in, under limits; [`router`] finds the operation; one
//! file per resource does it. Reads go straight to the store, every write is one piece of work for
//! its commit thread. Nothing here keeps state of its own.

mod api_token;
pub mod application;
pub mod attempt;
pub mod auth;
mod broadcast;
mod caller;
mod declared;
mod docs;
mod door;
mod doors;
mod edit;
pub mod endpoint;
mod environment;
pub mod error;
mod event_openapi;
pub mod event_type;
mod expunge;
#[cfg(test)]
pub(crate) mod fuzzed;
mod health;
mod idempotency;
mod ingest;
mod intake;
mod matching;
pub mod message;
mod metrics;
mod operational;
mod operations;
mod paging;
mod poller;
mod portal;
mod query;
mod remembered;
mod replay;
pub mod reply;
pub mod request;
mod router;
mod routes;
mod schedule;
mod search;
pub mod serve;
mod session;
mod task;
mod usage;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::delivery::AddressPolicy;
use crate::inbound::Inbound;
use crate::model::secret::SigningKey;
use crate::scheduler::shell::Board;
use crate::store::idempotency::Answer;
use crate::store::{Error, Store, Writer};

use error::ApiError;
use request::Request;

/// What an operator sets.
pub struct ApiSettings {
    /// The secret tokens are signed with.
    pub jwt_secret: auth::Secret,
    /// Bytes of a message's payload.
    pub max_payload: usize,
    /// Endpoints must have `https` URLs.
    pub https_only: bool,
    /// What endpoints may lead to.
    pub policy: AddressPolicy,
    /// New endpoints get an Ed25519 key rather than an HMAC one.
    pub ed25519_by_default: bool,
    /// Where the daemon is reached from outside, without a slash at its end. Never taken from a
    /// request.
    pub base_url: String,
}

/// Takes descriptions of event types, applications, endpoints and sources whole: what stands behind
/// `posthaste plan` and `apply`. The daemon brings it.
pub trait Declared: Send + Sync {
    /// The changes that a description (JSON) would make.
    ///
    /// # Errors
    /// Everything that is wrong with it, a sentence each.
    fn plan(&self, body: &[u8]) -> Result<serde_json::Value, Vec<String>>;

    /// Makes the changes, all or none. May wait for the disk.
    ///
    /// # Errors
    /// As [`Declared::plan`].
    fn apply(&self, body: &[u8]) -> Result<serde_json::Value, Vec<String>>;
}

/// The API over an open store.
pub struct Api {
    declared: std::sync::OnceLock<Arc<dyn Declared>>,
    pub(crate) store: Arc<Store>,
    pub(crate) board: Arc<Board>,
    pub(crate) settings: ApiSettings,
    pub(crate) inbound: Arc<Inbound>,
    tokens: remembered::Remembered,
    doors: doors::Doors,
}

impl Api {
    /// An API over `store`; `board` shows what the scheduler knows.
    pub fn new(store: Arc<Store>, board: Arc<Board>, settings: ApiSettings) -> Self {
        let inbound = Arc::new(Inbound::new(Arc::clone(&store), &settings.base_url));
        Self {
            declared: std::sync::OnceLock::new(),
            store,
            board,
            settings,
            inbound,
            tokens: remembered::Remembered::default(),
            doors: doors::Doors::default(),
        }
    }

    /// Says who takes descriptions. The first one stays.
    pub fn set_declared(&self, declared: Arc<dyn Declared>) {
        drop(self.declared.set(declared));
    }

    /// The doors for other people's events.
    pub fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }

    /// Has `work` done by the commit thread and waits until it lasts.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        // Whoever asked may have gone away; the work is done all the same.
        self.store.write(work, move |result| drop(sender.send(result)));
        let result = receiver.await.unwrap_or(Err(Error::Closing));
        Ok(result?)
    }

    /// Like [`Api::write`], at most once per idempotency key of the request. The flag says whether
    /// the answer is the one of an earlier request.
    pub(crate) async fn write_once(
        &self,
        request: &Request,
        work: impl FnOnce(&mut Writer<'_>) -> Result<Answer, Error> + Send + 'static,
    ) -> Result<(Answer, bool), ApiError> {
        let key = idempotency::key(request)?;
        self.write(move |writer| writer.once(key.as_ref(), work)).await
    }

    /// Refuses what would make the store grow while there is no room.
    pub(crate) fn space_for_writes(&self) -> Result<(), ApiError> {
        let room = self.store.space().check();
        Ok(room.inspect_err(|_| self.store.counters().refused_for_room.add(1))?)
    }

    /// A new signing key of the kind the operator chose.
    pub(crate) fn new_key(&self) -> Result<SigningKey, ApiError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(ApiError::internal)?;
        Ok(if self.settings.ed25519_by_default {
            SigningKey::ed25519_from_random(random)
        } else {
            SigningKey::symmetric_from_random(random)
        })
    }
}
