//! The spool folder (`inbound.spool`): an event file that is renamed into it becomes a message.
//!
//! A file is JSON: `{"application": "shop", "eventType": "order.paid", "payload": {…}}`, with
//! `eventId` and `channels` if wanted. It is moved to `done/` once the message is on disk, or to
//! `failed/` with the reason beside it. A crash in between leaves the file where it was; it is
//! recognised by its name and content for twelve hours, so it becomes one message all the same.
//!
//! The folder is looked at by time, not by watching: that works on every file system.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rounds::{Left, Rounds};
use crate::model::id::{MessageId, OrgId};
use crate::model::limits::{CHANNEL_CHARS, EVENT_TYPE_CHARS, MESSAGE_CHANNELS};
use crate::model::message::NewMessage;
use crate::model::name;
use crate::store::idempotency::{Answer, IdempotencyKey};
use crate::store::{Error, Store};

/// It is looked at so often.
const PERIOD: Duration = Duration::from_millis(500);
/// Files taken in one look; the rest waits for the next, which comes at once.
const AT_ONCE: usize = 256;
/// Bytes a file may have beside its payload.
const SLACK: u64 = 64 * 1024;

/// Why a file is no message.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    /// It will never be one.
    #[error("{0}")]
    Wrong(String),
    /// It will be one later: the disk is full, the daemon stops.
    #[error(transparent)]
    NotNow(Error),
}

/// Looks at `folder`, and makes it and its subfolders when they are not there.
///
/// # Errors
/// A folder cannot be made, or no thread be started.
pub(super) fn start(folder: &Path, store: Arc<Store>, max_payload: u64) -> std::io::Result<Rounds> {
    let spool = Looker { folder: folder.to_owned(), store, most: max_payload + SLACK, max_payload };
    for sub in ["done", "failed"] {
        fs::create_dir_all(folder.join(sub))?;
    }
    Rounds::start("spool", PERIOD, move || if spool.look() { Left::More } else { Left::Nothing })
}

struct Looker {
    folder: PathBuf,
    store: Arc<Store>,
    /// Bytes of the largest file.
    most: u64,
    max_payload: u64,
}

impl Looker {
    /// One look. `true` when there is more to take at once.
    fn look(&self) -> bool {
        let names = match self.names() {
            Ok(names) => names,
            Err(err) => {
                tracing::error!(%err, folder = %self.folder.display(), "the spool folder cannot be read");
                return false;
            }
        };
        let mut taken = 0;
        for name in names.iter().take(AT_ONCE) {
            match self.take(name) {
                Ok(id) => {
                    tracing::debug!(%id, name, "a spooled file is accepted");
                    self.put_away(name, "done");
                }
                Err(Unfit::Wrong(why)) => {
                    tracing::warn!(name, why, "a spooled file is no message");
                    let reason = self.folder.join("failed").join(format!("{name}.reason"));
                    if let Err(err) = fs::write(&reason, format!("{why}\n")) {
                        tracing::error!(%err, "the reason cannot be written");
                    }
                    self.put_away(name, "failed");
                }
                Err(Unfit::NotNow(err)) => {
                    tracing::warn!(%err, name, "a spooled file has to wait");
                    return false;
                }
            }
            taken += 1;
        }
        taken == AT_ONCE
    }

    /// Plain files, in the order of their names. Hidden ones and `*.tmp` are still being written.
    fn names(&self) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let unfinished =
                name.starts_with('.') || Path::new(&name).extension().is_some_and(|e| e == "tmp");
            if !unfinished && entry.file_type()?.is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn put_away(&self, name: &str, sub: &str) {
        let to = self.folder.join(sub).join(name);
        if let Err(err) = fs::rename(self.folder.join(name), &to) {
            // It is looked at again, and recognised.
            tracing::error!(%err, to = %to.display(), "a spooled file cannot be moved");
        }
    }

    fn take(&self, name: &str) -> Result<MessageId, Unfit> {
        let wrong = |what: String| Unfit::Wrong(what);
        let file = fs::File::open(self.folder.join(name))
            .map_err(|err| wrong(format!("it cannot be read: {err}")))?;
        let mut bytes = Vec::new();
        file.take(self.most + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| wrong(format!("it cannot be read: {err}")))?;
        if bytes.len() as u64 > self.most {
            return Err(wrong(format!("it is larger than {} bytes", self.most)));
        }
        let event: EventFile<'_> = serde_json::from_slice(&bytes)
            .map_err(|err| wrong(format!("it is no event: {err}")))?;
        event.check(self.max_payload).map_err(wrong)?;
        let org = OrgId::default_org();
        let tenant = self.store.directory().find_tenant(org, &event.application);
        let tenant = tenant.map_err(Unfit::NotNow)?;
        let app = tenant
            .ok_or_else(|| wrong(format!("there is no application {:?}", event.application)))?
            .app
            .id;
        let content = digest(&SHA256, &bytes);
        let key = IdempotencyKey {
            hash: sha256(&[b"spool\0", name.as_bytes(), b"\0", content.as_ref()].concat()),
            fingerprint: sha256(&bytes),
        };
        let new = event.into_new();
        let accepted = self.store.write_and_wait(move |writer| {
            writer.once(Some(&key), |writer| {
                let message = writer.accept(app, new)?.id;
                Ok(Answer::Message { app, message })
            })
        });
        match accepted {
            Ok((Answer::Message { message, .. }, _)) => Ok(message),
            Ok((Answer::Body { .. }, _)) => Err(wrong("another request had its key".to_owned())),
            Err(err @ (Error::Conflict { .. } | Error::NotFound(_) | Error::Limit(_))) => {
                Err(wrong(err.to_string()))
            }
            Err(err) => Err(Unfit::NotNow(err)),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventFile<'a> {
    application: String,
    event_type: String,
    /// Kept as the bytes that stand there.
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
}

impl EventFile<'_> {
    fn check(&self, max_payload: u64) -> Result<(), String> {
        let named = |field: &str, value: &str, limit| {
            name::check(value, limit).map_err(|problem| format!("{field} {value:?} {problem}"))
        };
        named("eventType", &self.event_type, EVENT_TYPE_CHARS)?;
        if let Some(id) = &self.event_id {
            name::check_uid(id, MessageId::PREFIX)
                .map_err(|problem| format!("eventId {id:?} {problem}"))?;
        }
        if self.channels.len() > MESSAGE_CHANNELS {
            return Err(format!("channels has more than {MESSAGE_CHANNELS} entries"));
        }
        self.channels.iter().try_for_each(|channel| named("channels", channel, CHANNEL_CHARS))?;
        if !self.payload.get().starts_with('{') {
            return Err("payload must be a JSON object".to_owned());
        }
        if self.payload.get().len() as u64 > max_payload {
            return Err(format!("payload is larger than {max_payload} bytes (server.max_payload)"));
        }
        Ok(())
    }

    fn into_new(self) -> NewMessage {
        NewMessage {
            event_id: self.event_id,
            channels: self.channels,
            ..NewMessage::new(
                self.event_type,
                Bytes::copy_from_slice(self.payload.get().as_bytes()),
            )
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}
