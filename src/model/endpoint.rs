//! An endpoint: a subscription. A URL, what it wants, its secrets, headers and limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::application::Metadata;
use super::clock::Timestamp;
use super::id::{AppId, EndpointId};
use super::oauth::ClientCredentials;
use super::secret::SigningKey;

/// A secret and how long it is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSecret {
    /// The key.
    pub key: SigningKey,
    /// Signed with until then; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

/// Why an endpoint is disabled. A disabled endpoint gets no new messages and no attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisabledReason {
    /// A person or a program said so through the API.
    Manual,
    /// It answered 410 Gone.
    Gone,
    /// Nothing but failure for longer than [`DISABLE_AFTER`].
    Failing,
}

/// Failing for this long without one success disables an endpoint: 5 days.
pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// A subscription.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Set once, when it is made.
    pub id: EndpointId,
    /// Its application; set once.
    pub app: AppId,
    /// The caller's own name for it, unique in the application; free again once deleted.
    pub uid: Option<String>,
    /// Where deliveries go.
    pub url: String,
    /// Shown to people.
    pub description: String,
    /// Kept for the wire's sake; means nothing here.
    pub version: u32,
    /// `Some` while disabled, with why.
    pub disabled: Option<DisabledReason>,
    /// Names and patterns (`order.*`) of the event types it wants; `None` = all.
    pub event_types: Option<Vec<String>>,
    /// Channels it listens on; `None` = every message whatever its channels.
    pub channels: Option<Vec<String>>,
    /// Messages a second.
    pub throttle_rate: Option<u32>,
    /// One at a time, strictly in order of acceptance.
    pub ordered: bool,
    /// The caller's own notes.
    pub metadata: Metadata,
    /// The current secret first, then older ones that have not expired.
    pub secrets: Vec<LiveSecret>,
    /// Custom headers, sent with every attempt.
    pub headers: BTreeMap<String, String>,
    /// How to get the access token that every attempt is sent with, if its receiver wants one.
    pub oauth: Option<Arc<ClientCredentials>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by a person or a program, never by a delivery.
    pub updated_at: Timestamp,
    /// Deleted: kept for what refers to it, found by nobody, attempted never.
    pub deleted: bool,
}

/// Shows neither the values of headers nor the query of the URL: they hold other people's tokens.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("app", &self.app)
            .field("url", &self.url.split(['?', '#']).next())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("oauth", &self.oauth)
            .field("secrets", &self.secrets)
            .field("disabled", &self.disabled)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint that is sent everything, with nothing but what it must have, made at `now`. It
    /// has no secret yet.
    pub fn new(id: EndpointId, app: AppId, url: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            app,
            uid: None,
            url: url.into(),
            description: String::new(),
            version: 1,
            disabled: None,
            event_types: None,
            channels: None,
            throttle_rate: None,
            ordered: false,
            metadata: Metadata::new(),
            secrets: Vec::new(),
            headers: BTreeMap::new(),
            oauth: None,
            created_at: now,
            updated_at: now,
            deleted: false,
        }
    }

    /// Whether messages may be scheduled for it and attempts made.
    pub fn is_active(&self) -> bool {
        !self.deleted && self.disabled.is_none()
    }

    /// The keys to sign with at `now`: current first.
    pub fn live_keys(&self, now: Timestamp) -> Vec<&SigningKey> {
        let live = |s: &&LiveSecret| s.expires_at.is_none_or(|until| until > now);
        self.secrets.iter().filter(live).map(|s| &s.key).collect()
    }
}

/// An endpoint as the running house shares it.
pub type SharedEndpoint = Arc<Endpoint>;
