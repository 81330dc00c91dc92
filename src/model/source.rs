//! A source: an inbound door. A URL with a token, a provider profile, secrets, and an application
//! that what it verifies is delivered to.
//!
//! Plain data: how a profile verifies is the business of `signature`, what happens to a request
//! that of `inbound`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::application::Metadata;
use super::clock::Timestamp;
use super::id::{AppId, OrgId, SourceId};

/// Secrets of one source: the current one and those before a rotation.
pub const SOURCE_SECRETS: usize = 10;
/// Bytes of one secret: a PEM certificate with room to spare.
pub const SOURCE_SECRET_BYTES: usize = 8 * 1024;
/// Entries in a source's settings, event type map and list of headers, each.
pub const SOURCE_ENTRIES: usize = 256;
/// Bytes of all texts of a source's record, which has to stay well inside one page of the store.
pub const SOURCE_RECORD_BYTES: usize = 10 * 1024;
/// Sources of one organisation that are not deleted.
pub const SOURCES_PER_ORG: usize = 10_000;
/// Characters of a token made by us: 24 random bytes in base64url.
pub const TOKEN_CHARS: usize = 32;
/// Bytes of a body a source takes unless it says otherwise: 1 MiB.
pub const DEFAULT_SOURCE_BODY: u32 = 1024 * 1024;
/// How long a repetition is recognised unless a source says otherwise: 3 days, the longest that
/// a common provider goes on retrying.
pub const DEFAULT_DEDUPE: Duration = Duration::from_secs(3 * 24 * 3600);
/// The longest window: 14 days.
pub const MAX_DEDUPE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Refused requests that are kept of one source.
pub const CAPTURES: usize = 100;
/// Bytes of a refused request's body that are kept.
pub const CAPTURE_BODY_BYTES: usize = 64 * 1024;

/// The provider of sources whose senders sign nothing: the token in the URL is all the proof.
pub const GENERIC: &str = "generic";

/// A provider's secret as it was given. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSecret(pub String);

impl fmt::Debug for SourceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceSecret(redacted)")
    }
}

/// An inbound door.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Set once, when it is made.
    pub id: SourceId,
    /// The organisation it belongs to; set once.
    pub org: OrgId,
    /// The application that verified events become messages of.
    pub app: AppId,
    /// Whether the application was made for this source and goes with it.
    pub owns_app: bool,
    /// The caller's own name for it, unique in the organisation; free again once deleted.
    pub uid: Option<String>,
    /// Shown to people.
    pub name: String,
    /// The profile that verifies, or [`GENERIC`].
    pub provider: String,
    /// The name that a client library gave the kind of source, when it is not the profile's.
    pub kind: Option<String>,
    /// The unguessable end of its URL.
    pub token: String,
    /// The token before a rotation, and until when it still opens the door.
    pub previous_token: Option<(String, Timestamp)>,
    /// The current secret first; any may match.
    pub secrets: Vec<SourceSecret>,
    /// The provider will send the secret itself, and has not done so yet (Asana).
    pub secret_pending: bool,
    /// Values for the profile's `{cfg:NAME}`.
    pub settings: BTreeMap<String, String>,
    /// Provider's event type → ours. What is not in it is spelled as a valid name.
    pub event_types: BTreeMap<String, String>,
    /// Put before every event type that the map did not name: `github.`.
    pub event_type_prefix: String,
    /// Patterns (`order.*`) of the event types that are wanted; others are answered and dropped.
    pub filter: Option<Vec<String>>,
    /// Names of the original headers that go along; `None` = those that say what the event is.
    pub keep_headers: Option<Vec<String>>,
    /// The public URL as the provider has it, when it is not the daemon's own.
    pub url: Option<String>,
    /// Bytes of the largest body.
    pub max_body: u32,
    /// Requests a second; `None` = no limit.
    pub rate: Option<u32>,
    /// How long a repetition is recognised; zero = never.
    pub dedupe: Duration,
    /// Whether it takes anything.
    pub enabled: bool,
    /// The caller's own notes.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Deleted: found by nobody.
    pub deleted: bool,
}

impl Source {
    /// A source with the defaults of everything that need not be said.
    pub fn new(id: SourceId, org: OrgId, app: AppId, token: String, now: Timestamp) -> Self {
        Self {
            id,
            org,
            app,
            owns_app: false,
            uid: None,
            name: String::new(),
            provider: GENERIC.to_owned(),
            kind: None,
            token,
            previous_token: None,
            secrets: Vec::new(),
            secret_pending: false,
            settings: BTreeMap::new(),
            event_types: BTreeMap::new(),
            event_type_prefix: String::new(),
            filter: None,
            keep_headers: None,
            url: None,
            max_body: DEFAULT_SOURCE_BODY,
            rate: None,
            dedupe: DEFAULT_DEDUPE,
            enabled: true,
            metadata: Metadata::new(),
            created_at: now,
            updated_at: now,
            deleted: false,
        }
    }

    /// Its path below the public URL.
    pub fn path(&self) -> String {
        format!("/in/{}/{}", self.id, self.token)
    }

    /// Bytes of all texts in it, for the limit.
    pub fn text_bytes(&self) -> usize {
        let map = |map: &BTreeMap<String, String>| {
            map.iter().map(|(k, v)| k.len() + v.len() + 4).sum::<usize>()
        };
        let list = |list: Option<&Vec<String>>| {
            list.into_iter().flatten().map(|t| t.len() + 2).sum::<usize>()
        };
        self.name.len()
            + self.secrets.iter().map(|s| s.0.len() + 2).sum::<usize>()
            + map(&self.settings)
            + map(&self.event_types)
            + map(&self.metadata)
            + list(self.filter.as_ref())
            + list(self.keep_headers.as_ref())
            + self.url.as_ref().map_or(0, String::len)
            + self.uid.as_ref().map_or(0, String::len)
    }
}

/// Shows neither the token nor settings, which may hold verify tokens.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("id", &self.id)
            .field("app", &self.app)
            .field("name", &self.name)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// Bytes of the digests that repetitions are recognised by: half of a SHA-256.
pub const DIGEST_BYTES: usize = 16;

/// What was seen before under the same dedupe key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The beginning of the SHA-256 of the body that came then.
    pub body: [u8; DIGEST_BYTES],
    /// The message it became. Its id says when.
    pub message: super::id::MessageId,
}

/// A refused request, as it is kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When it came.
    pub at: Timestamp,
    /// The status it was answered with.
    pub status: u16,
    /// The stable reason code: `signature_mismatch`, `timestamp_skew=+412s`.
    pub code: String,
    /// The sentence for people.
    pub detail: String,
    /// The code of what may be behind it: `secret_looks_like_test_key`.
    pub hint: Option<String>,
    /// Bytes the body had; more than are kept when it was cut.
    pub body_bytes: u64,
    /// The request as raw HTTP/1.1: line, headers, empty line, body.
    pub request: Vec<u8>,
}
