//! Cursors on an application's message log: how far each consumer has come. Durable, so that a
//! consumer goes on where it was, whatever is restarted.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::messages::Rows;
use super::trees::Tree;
use super::writer::Writer;
use super::{Store, codec, keys, records};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, ID_BYTES, MessageId};

/// Consumers of one application.
pub const CONSUMERS: usize = 1_000;

/// Which consumer: the name of what it reads and its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerKey {
    /// The application.
    pub app: AppId,
    /// What it reads.
    pub sink: String,
    /// Its name.
    pub consumer: String,
}

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this message is behind it.
    pub position: MessageId,
    /// How many messages it has put behind it by committing.
    pub offset: u64,
    /// Messages it holds for now, the next one first. Their offsets go on from `offset`.
    pub leased: Vec<MessageId>,
    /// Until when it holds them.
    pub leased_until: Timestamp,
}

impl Cursor {
    /// Before the first message.
    pub fn start() -> Self {
        Self::at(MessageId([0; ID_BYTES]))
    }

    /// Behind this message, which need not be there.
    pub fn at(position: MessageId) -> Self {
        Self { position, offset: 0, leased: Vec::new(), leased_until: Timestamp(0) }
    }
}

#[derive(Serialize, Deserialize)]
struct CursorRecord {
    position: [u8; ID_BYTES],
    offset: u64,
    leased: Vec<[u8; ID_BYTES]>,
    leased_until: u64,
    updated_at: u64,
}

/// `app_id‖sink‖0‖consumer`: names hold no zero byte.
fn key_of(key: &ConsumerKey) -> Vec<u8> {
    keys::named(&key.app.0, &format!("{}\0{}", key.sink, key.consumer))
}

fn read(rows: &impl Rows, key: &ConsumerKey) -> Result<Option<Cursor>> {
    let Some(row) = rows.row(Tree::Cursors, &key_of(key))? else { return Ok(None) };
    let record: CursorRecord = records::read(Tree::Cursors, &row)?;
    Ok(Some(Cursor {
        position: MessageId(record.position),
        offset: record.offset,
        leased: record.leased.into_iter().map(MessageId).collect(),
        leased_until: Timestamp(record.leased_until),
    }))
}

impl Store {
    /// Where a consumer stands; `None` when it never read anything.
    pub fn cursor(&self, key: &ConsumerKey) -> Result<Option<Cursor>> {
        read(self, key)
    }
}

impl Writer<'_> {
    /// Where a consumer stands; `None` when it never read anything.
    pub fn cursor(&self, key: &ConsumerKey) -> Result<Option<Cursor>> {
        read(self, key)
    }

    /// Moves a consumer.
    ///
    /// Errors: a new one where there are too many already.
    pub fn put_cursor(&mut self, key: &ConsumerKey, cursor: &Cursor) -> Result<()> {
        let row = key_of(key);
        if self.get(Tree::Cursors, &row)?.is_none()
            && self.scan(Tree::Cursors, &key.app.0, CONSUMERS)?.len() >= CONSUMERS
        {
            return Err(Error::Limit(format!(
                "an application may have at most {CONSUMERS} consumers; use one of them"
            )));
        }
        let record = CursorRecord {
            position: cursor.position.0,
            offset: cursor.offset,
            leased: cursor.leased.iter().map(|id| id.0).collect(),
            leased_until: cursor.leased_until.0,
            updated_at: self.now().0,
        };
        self.put(Tree::Cursors, &row, codec::encode(&record));
        Ok(())
    }

    /// Forgets the consumers of an application that is gone.
    pub(super) fn remove_cursors(&mut self, app: AppId) -> Result<()> {
        for (key, _) in self.scan(Tree::Cursors, &app.0, CONSUMERS)? {
            self.remove(Tree::Cursors, &key);
        }
        Ok(())
    }
}
