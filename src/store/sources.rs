//! Sources: made and changed, what was seen of each, what was refused.
//!
//! What makes a repetition recognisable is written in the same commit as the message it belongs
//! to: a refusal, or a crash in between, never burns a sender's retry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accept::CHUNK_BYTES;
use super::error::{Error, Result};
use super::expiry::STEP_ROWS;
use super::messages::Rows;
use super::trees::Tree;
use super::writer::Writer;
use super::{Shared, Store, codec, keys, records};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, CaptureId, ID_BYTES, MessageId, OrgId, SourceId};
use crate::model::message::{Message, NewMessage};
use crate::model::source::{
    CAPTURES, DIGEST_BYTES, MAX_DEDUPE, Refused, SOURCE_RECORD_BYTES, SOURCES_PER_ORG, Seen,
    Source, SourceSecret,
};

/// Rows of what was seen within so many milliseconds share a bucket: four days. Buckets let them
/// expire from the front without an index row for each; this size keeps the usual window of three
/// days within two of them, each of which costs an event a look.
const BUCKET_MS: u64 = 4 * 24 * 3600 * 1000;

/// What a repetition of a request is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedupe {
    /// Digest of the provider's id, or of signature and body.
    pub key: [u8; DIGEST_BYTES],
    /// Digest of the body.
    pub body: [u8; DIGEST_BYTES],
    /// How long it is recognised.
    pub window: Duration,
    /// Whether another body under the same key is a new event: only when the signature covers it.
    pub accept_other_body: bool,
}

/// What became of a verified request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A message.
    Accepted(Arc<Message>),
    /// It was one already.
    Repeated(Seen),
    /// The same id came with another body, and nothing says who changed it.
    Altered(Seen),
}

#[expect(clippy::struct_excessive_bools, reason = "as in the domain")]
#[derive(Serialize, Deserialize)]
struct SourceRecord {
    app: [u8; ID_BYTES],
    owns_app: bool,
    uid: Option<String>,
    name: String,
    provider: String,
    kind: Option<String>,
    token: String,
    previous_token: Option<(String, u64)>,
    secrets: Vec<String>,
    secret_pending: bool,
    settings: BTreeMap<String, String>,
    event_types: BTreeMap<String, String>,
    event_type_prefix: String,
    filter: Option<Vec<String>>,
    keep_headers: Option<Vec<String>>,
    url: Option<String>,
    max_body: u32,
    rate: Option<u32>,
    dedupe_ms: u64,
    enabled: bool,
    metadata: BTreeMap<String, String>,
    created_at: u64,
    updated_at: u64,
    deleted: bool,
}

impl SourceRecord {
    fn of(source: &Source) -> Self {
        let source = source.clone();
        Self {
            app: source.app.0,
            owns_app: source.owns_app,
            uid: source.uid,
            name: source.name,
            provider: source.provider,
            kind: source.kind,
            token: source.token,
            previous_token: source.previous_token.map(|(token, until)| (token, until.0)),
            secrets: source.secrets.into_iter().map(|s| s.0).collect(),
            secret_pending: source.secret_pending,
            settings: source.settings,
            event_types: source.event_types,
            event_type_prefix: source.event_type_prefix,
            filter: source.filter,
            keep_headers: source.keep_headers,
            url: source.url,
            max_body: source.max_body,
            rate: source.rate,
            dedupe_ms: millis(source.dedupe),
            enabled: source.enabled,
            metadata: source.metadata,
            created_at: source.created_at.0,
            updated_at: source.updated_at.0,
            deleted: source.deleted,
        }
    }

    fn into_domain(self, org: OrgId, id: SourceId) -> Source {
        Source {
            id,
            org,
            app: AppId(self.app),
            owns_app: self.owns_app,
            uid: self.uid,
            name: self.name,
            provider: self.provider,
            kind: self.kind,
            token: self.token,
            previous_token: self.previous_token.map(|(token, until)| (token, Timestamp(until))),
            secrets: self.secrets.into_iter().map(SourceSecret).collect(),
            secret_pending: self.secret_pending,
            settings: self.settings,
            event_types: self.event_types,
            event_type_prefix: self.event_type_prefix,
            filter: self.filter,
            keep_headers: self.keep_headers,
            url: self.url,
            max_body: self.max_body,
            rate: self.rate,
            dedupe: Duration::from_millis(self.dedupe_ms),
            enabled: self.enabled,
            metadata: self.metadata,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            deleted: self.deleted,
        }
    }
}

/// What stands under a dedupe key.
#[derive(Serialize, Deserialize)]
struct SeenRecord {
    body: [u8; DIGEST_BYTES],
    message: [u8; ID_BYTES],
}

/// A refused request; its bytes lie in chunks.
#[derive(Serialize, Deserialize)]
struct RefusedRecord {
    at: u64,
    status: u16,
    code: String,
    detail: String,
    hint: Option<String>,
    body_bytes: u64,
    kept_bytes: u32,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Writer<'_> {
    /// A new source id, later than every id before.
    pub fn new_source_id(&self) -> SourceId {
        SourceId(self.new_id())
    }

    /// The source of `org` with this id or uid.
    pub fn source(&self, org: OrgId, id_or_uid: &str) -> Result<Arc<Source>> {
        let found = self.shared().directory.find_source(org, id_or_uid)?;
        found.ok_or(Error::NotFound("source"))
    }

    /// Writes a source, new or changed. Its uid must be free and its application there.
    pub fn put_source(&mut self, source: Source) -> Result<Arc<Source>> {
        if !source.deleted {
            self.check_source(&source)?;
            let tenant = self.shared().directory.tenant(source.app)?;
            tenant.filter(|t| t.app.org == source.org).ok_or(Error::NotFound("application"))?;
        }
        self.write_source(source)
    }

    /// Checks a source against all others, before anything is written for its sake.
    pub fn check_source(&self, source: &Source) -> Result<()> {
        let directory = &self.shared().directory;
        let taken = |other: Option<Arc<Source>>| other.is_some_and(|o| o.id != source.id);
        if let Some(uid) = &source.uid
            && taken(directory.find_source(source.org, uid)?)
        {
            return Err(Error::Conflict { field: "uid", value: uid.clone() });
        }
        if taken(directory.source_by_token(&source.token)?) {
            return Err(Error::Conflict { field: "token", value: "(not shown)".to_owned() });
        }
        let is_new = directory.source(source.id)?.is_none();
        if is_new && directory.sources(source.org)?.len() >= SOURCES_PER_ORG {
            return Err(Error::Limit(format!(
                "an organisation may have at most {SOURCES_PER_ORG} sources; delete some"
            )));
        }
        let bytes = source.text_bytes();
        if bytes > SOURCE_RECORD_BYTES {
            return Err(Error::Limit(format!(
                "the source has {bytes} bytes of names, secrets, settings and lists, at most {SOURCE_RECORD_BYTES} are taken; shorten them"
            )));
        }
        Ok(())
    }

    fn write_source(&mut self, source: Source) -> Result<Arc<Source>> {
        let key = keys::pair(&source.org.0, &source.id.0);
        if source.deleted {
            self.remove(Tree::Sources, &key);
        } else {
            let record = codec::encode(&SourceRecord::of(&source));
            self.put_sealed(Tree::Sources, &key, record)?;
        }
        let source = Arc::new(source);
        self.shared().directory.put_source(Arc::clone(&source))?;
        Ok(source)
    }

    /// Deletes every source that delivers to `app`, which is being deleted.
    pub(super) fn delete_sources_of(&mut self, app: AppId) -> Result<()> {
        for source in self.shared().directory.sources_of(app)? {
            self.write_source(Source { deleted: true, ..Source::clone(&source) })?;
        }
        Ok(())
    }

    /// Accepts a verified request as a message of its source's application, unless it is a
    /// repetition. Message, deliveries and what a repetition is recognised by are one commit.
    ///
    /// Errors: as [`Writer::accept`].
    pub fn accept_inbound(
        &mut self,
        source: &Source,
        dedupe: Option<&Dedupe>,
        new: NewMessage,
        headers: Vec<(String, String)>,
    ) -> Result<Inbound> {
        if let Some(dedupe) = dedupe
            && let Some(known) = known(self, source.id, dedupe, self.now())?
        {
            return Ok(known);
        }
        let message = self.accept_with_headers(source.app, new, headers)?;
        if let Some(dedupe) = dedupe {
            let record = SeenRecord { body: dedupe.body, message: message.id.0 };
            let key = seen_key(source.id, self.now().0 / BUCKET_MS, &dedupe.key);
            self.put(Tree::Seen, &key, codec::encode(&record));
        }
        Ok(Inbound::Accepted(message))
    }

    /// Keeps a refused request, and drops the oldest ones of its source past [`CAPTURES`].
    pub fn keep_refused(&mut self, source: SourceId, refused: &Refused) -> Result<CaptureId> {
        self.shared().space.check()?;
        let kept = self.scan(Tree::Refused, &source.0, usize::MAX)?;
        let too_many = (kept.len() + 1).saturating_sub(CAPTURES);
        for (key, _) in kept.into_iter().take(too_many) {
            self.remove_refused(&key)?;
        }
        let id = CaptureId(self.new_id());
        for (n, chunk) in (0u16..).zip(refused.request.chunks(CHUNK_BYTES)) {
            self.put_sealed(Tree::RefusedBytes, &keys::chunk(&id.0, n), chunk.to_vec())?;
        }
        let record = RefusedRecord {
            at: refused.at.0,
            status: refused.status,
            code: refused.code.clone(),
            detail: refused.detail.clone(),
            hint: refused.hint.clone(),
            body_bytes: refused.body_bytes,
            kept_bytes: u32::try_from(refused.request.len()).unwrap_or(u32::MAX),
        };
        let key = keys::pair(&source.0, &id.0);
        self.put_sealed(Tree::Refused, &key, codec::encode(&record))?;
        Ok(id)
    }

    fn remove_refused(&mut self, key: &[u8]) -> Result<()> {
        if let Some((_, id)) = keys::split_pair(key) {
            self.reclaim_prefix(Tree::RefusedBytes, &id)?;
        }
        self.remove(Tree::Refused, key);
        Ok(())
    }
}

impl Store {
    /// What [`Writer::accept_inbound`] would tell of a request that is not a new event: repeated
    /// or altered.
    pub fn known(&self, source: SourceId, dedupe: &Dedupe) -> Result<Option<Inbound>> {
        known(self, source, dedupe, self.now())
    }

    /// Refused requests of a source, newest first, without their bytes.
    pub fn refused(&self, source: SourceId) -> Result<Vec<(CaptureId, Refused)>> {
        let mut found = Vec::new();
        for row in self.shared.trees.tree(Tree::Refused).scan_prefix(source.0).rev() {
            let (key, value) = row?;
            let (_, id) = keys::split_pair(&key)
                .ok_or_else(|| Error::corrupt("refused", "a key has the wrong length"))?;
            let value = self.shared.sealer.open(Tree::Refused, &key, &value)?;
            let (refused, _) = read_refused(&value)?;
            found.push((CaptureId(id), refused));
        }
        Ok(found)
    }

    /// One refused request, whole.
    pub fn refused_request(&self, source: SourceId, id: CaptureId) -> Result<Option<Refused>> {
        let key = keys::pair(&source.0, &id.0);
        let row = self.shared.trees.tree(Tree::Refused).get(key)?;
        let Some(row) = row else { return Ok(None) };
        let row = self.shared.sealer.open(Tree::Refused, &key, &row)?;
        let (mut refused, length) = read_refused(&row)?;
        refused.request = Vec::with_capacity(length);
        for chunk in self.shared.trees.tree(Tree::RefusedBytes).scan_prefix(id.0) {
            let (key, chunk) = chunk?;
            let chunk = self.shared.sealer.open(Tree::RefusedBytes, &key, &chunk)?;
            refused.request.extend_from_slice(&chunk);
        }
        // The ring may have dropped it between the two reads.
        Ok((refused.request.len() == length).then_some(refused))
    }

    /// One step over what was seen and refused: rows past the window, and all of deleted sources.
    /// `true` when there may be more.
    pub fn expire_seen(&self) -> Result<bool> {
        let mut old = Vec::new();
        for source in self.source_prefixes(Tree::Seen)? {
            let window = self.directory().source(source)?.map(|s| s.dedupe);
            let horizon = window.map(|w| self.now().minus(w).0 / BUCKET_MS);
            for row in self.shared.trees.tree(Tree::Seen).scan_prefix(source.0).keys() {
                let key = row?;
                let bucket = bucket_of(&key);
                if old.len() >= STEP_ROWS || horizon.is_some_and(|h| bucket >= h) {
                    break;
                }
                old.push(key);
            }
        }
        let mut orphans = Vec::new();
        for source in self.source_prefixes(Tree::Refused)? {
            if self.directory().source(source)?.is_none() {
                let rows = self.shared.trees.tree(Tree::Refused).scan_prefix(source.0).keys();
                orphans.extend(rows.filter_map(std::result::Result::ok));
            }
        }
        let mut full = old.len() >= STEP_ROWS;
        if !old.is_empty() || !orphans.is_empty() {
            full |= self.write_and_wait(move |writer| {
                old.iter().for_each(|key| writer.remove(Tree::Seen, key));
                writer.reclaim_each(orphans, |writer, key| writer.remove_refused(&key))
            })?;
        }
        Ok(full)
    }

    /// The sources that have rows in a tree whose keys begin with one: a jump for each.
    fn source_prefixes(&self, tree: Tree) -> Result<Vec<SourceId>> {
        let tree = self.shared.trees.tree(tree);
        let (mut found, mut from) = (Vec::new(), Vec::new());
        while let Some(row) = tree.range(from.clone()..).next() {
            let (key, _) = row?;
            let Some(id) = key.first_chunk::<ID_BYTES>() else { break };
            found.push(SourceId(*id));
            let Some(next) = keys::after_prefix(id) else { break };
            from = next;
        }
        Ok(found)
    }
}

/// Whether a row of what was seen can be read.
pub(super) fn check_seen(key: &[u8], row: &[u8]) -> Result<()> {
    if key.len() != SEEN_BYTES {
        return Err(Error::corrupt("seen", "a key has the wrong length"));
    }
    let _record: SeenRecord = records::read(Tree::Seen, row)?;
    Ok(())
}

fn read_refused(row: &[u8]) -> Result<(Refused, usize)> {
    let record: RefusedRecord = records::read(Tree::Refused, row)?;
    let refused = Refused {
        at: Timestamp(record.at),
        status: record.status,
        code: record.code,
        detail: record.detail,
        hint: record.hint,
        body_bytes: record.body_bytes,
        request: Vec::new(),
    };
    Ok((refused, record.kept_bytes as usize))
}

/// What a request is that is not a new event; `None` for a new one.
fn known(
    rows: &impl Rows,
    source: SourceId,
    dedupe: &Dedupe,
    now: Timestamp,
) -> Result<Option<Inbound>> {
    let Some(seen) = seen(rows, source, dedupe, now)? else { return Ok(None) };
    if seen.body == dedupe.body {
        return Ok(Some(Inbound::Repeated(seen)));
    }
    tracing::warn!(%source, first = %seen.message, "an id came again with another body");
    Ok((!dedupe.accept_other_body).then_some(Inbound::Altered(seen)))
}

/// What came under this key within its window before `now`: the newest.
fn seen(
    rows: &impl Rows,
    source: SourceId,
    dedupe: &Dedupe,
    now: Timestamp,
) -> Result<Option<Seen>> {
    let window = dedupe.window.min(MAX_DEDUPE);
    let buckets = now.minus(window).0 / BUCKET_MS..=now.0 / BUCKET_MS;
    for bucket in buckets.rev() {
        if let Some(row) = rows.row(Tree::Seen, &seen_key(source, bucket, &dedupe.key))? {
            let record: SeenRecord = records::read(Tree::Seen, &row)?;
            let seen = Seen { body: record.body, message: MessageId(record.message) };
            return Ok((now.since(seen.message.made_at()) < window).then_some(seen));
        }
    }
    Ok(None)
}

/// Bytes of a key of what was seen.
const SEEN_BYTES: usize = ID_BYTES + 8 + DIGEST_BYTES;

/// `source_id ‖ be(bucket u64) ‖ digest`.
fn seen_key(source: SourceId, bucket: u64, hash: &[u8; DIGEST_BYTES]) -> [u8; SEEN_BYTES] {
    let mut key = [0; SEEN_BYTES];
    let (id, rest) = key.split_at_mut(ID_BYTES);
    let (number, end) = rest.split_at_mut(8);
    id.copy_from_slice(&source.0);
    number.copy_from_slice(&bucket.to_be_bytes());
    end.copy_from_slice(hash);
    key
}

fn bucket_of(key: &[u8]) -> u64 {
    let rest = key.get(ID_BYTES..).and_then(|rest| rest.first_chunk::<8>());
    rest.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Fills the directory with sources, when the store is opened and its applications are known.
pub(super) fn load(shared: &Shared) -> Result<()> {
    for row in shared.trees.walk(Tree::Sources) {
        let (key, value) = row?;
        let (org, id) = keys::split_pair(&key)
            .ok_or_else(|| Error::corrupt("sources", "a key has the wrong length"))?;
        let value = shared.sealer.open(Tree::Sources, &key, &value)?;
        let record: SourceRecord = records::read(Tree::Sources, &value)?;
        shared.directory.put_source(Arc::new(record.into_domain(OrgId(org), SourceId(id))))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
