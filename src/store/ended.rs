//! Tokens and sessions that were ended before their time. A token carries all it says, so that one
//! is ended can only be told from a row here. Durable: what was logged out stays out.
//!
//! The store knows neither tokens nor sessions, only digests that the API makes of them.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::trees::Tree;
use super::writer::Writer;
use super::{Store, codec, records};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, ID_BYTES};

/// Rows that one commit removes.
const STEP_ROWS: usize = 256;

/// SHA-256 of a token, or of a session's name.
pub type Digest = [u8; 32];

/// What was ended, and until when that has to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Tokens made before this moment, unix milliseconds; those made later are another session's.
    pub made_before: u64,
    /// They work until this moment, unix milliseconds.
    pub from: u64,
    /// No such token lives longer than this, unix milliseconds.
    pub kept_until: u64,
}

impl Ended {
    /// Whether it holds at `now` for a token made at `made` (unix milliseconds).
    pub fn holds(&self, made: Option<u64>, now: Timestamp) -> bool {
        self.from <= now.0 && made.is_none_or(|made| made < self.made_before)
    }

    /// Both at once. What has ended never comes back: the earlier end holds for all.
    fn and(self, other: Self) -> Self {
        Self {
            made_before: self.made_before.max(other.made_before),
            from: self.from.min(other.from),
            kept_until: self.kept_until.max(other.kept_until),
        }
    }
}

/// `app_id ‖ digest`.
fn key_of(app: AppId, digest: &Digest) -> [u8; ID_BYTES + 32] {
    let mut key = [0; ID_BYTES + 32];
    let (a, b) = key.split_at_mut(ID_BYTES);
    a.copy_from_slice(&app.0);
    b.copy_from_slice(digest);
    key
}

impl Store {
    /// What was said about the end of this token or session.
    pub fn ended(&self, app: AppId, digest: &Digest) -> Result<Option<Ended>> {
        let row = self.shared.trees.tree(Tree::Ended).get(key_of(app, digest))?;
        row.map(|row| records::read(Tree::Ended, &row)).transpose()
    }

    /// Forgets what has no living token any more. Reads all there is: call it rarely.
    pub fn expire_ended(&self) -> Result<bool> {
        let mut old = Vec::new();
        for row in self.shared.trees.tree(Tree::Ended) {
            let (key, value) = row?;
            let ended: Ended = records::read(Tree::Ended, &value)?;
            if ended.kept_until < self.now().0 {
                old.push(key);
            }
            if old.len() == STEP_ROWS {
                break;
            }
        }
        let full = old.len() == STEP_ROWS;
        if !old.is_empty() {
            self.write_and_wait(move |writer| {
                old.iter().for_each(|key| writer.remove(Tree::Ended, key));
                Ok(())
            })?;
        }
        Ok(full)
    }

    /// Every row can be read.
    pub(super) fn check_ended(&self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        for row in self.shared.trees.tree(Tree::Ended) {
            let (key, value) = row?;
            if key.len() != ID_BYTES + 32 {
                faults.push("ended: a key has the wrong length".to_owned());
            }
            if let Err(err) = records::read::<Ended>(Tree::Ended, &value) {
                faults.push(err.to_string());
            }
        }
        Ok(faults)
    }
}

impl Writer<'_> {
    /// What was said about the end of this token or session.
    pub fn ended(&self, app: AppId, digest: &Digest) -> Result<Option<Ended>> {
        let row = self.get(Tree::Ended, &key_of(app, digest))?;
        row.map(|row| records::read(Tree::Ended, &row)).transpose()
    }

    /// Ends a token or a session of an application.
    pub fn end(&mut self, app: AppId, digest: &Digest, ended: Ended) -> Result<()> {
        let before = self.ended(app, digest)?;
        let ended = before.map_or(ended, |before| before.and(ended));
        self.put(Tree::Ended, &key_of(app, digest), codec::encode(&ended));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_from_its_moment_for_what_was_made_before() {
        let ended = Ended { made_before: 100, from: 200, kept_until: 300 };
        for (made, now, expected) in [
            (Some(99), 200, true),
            (Some(99), 199, false),
            (Some(100), 200, false),
            (None, 200, true),
            (None, 199, false),
        ] {
            assert_eq!(ended.holds(made, Timestamp(now)), expected, "{made:?} at {now}");
        }
    }
}
