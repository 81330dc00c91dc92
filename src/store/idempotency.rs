//! Idempotency keys: the same key, method and path is answered as it was the first time.
//!
//! Key and answer are written in the same commit as what the request did, so a crash between the
//! two cannot be. The rows lie in buckets of four hours by the time they were written, so that
//! expiry removes from the front.

use super::error::{Error, Result};
use super::records::{AnswerRecord, IdempotencyRecord};
use super::trees::Tree;
use super::writer::Writer;
use super::{codec, records};
use crate::model::id::{AppId, MessageId};

/// How long an answer is kept: 12 hours.
pub const KEPT_MS: u64 = 12 * 3600 * 1000;
/// Rows written within so many milliseconds share a bucket.
pub(super) const BUCKET_MS: u64 = 4 * 3600 * 1000;

/// What a caller sent with a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Hash of who asks, the key, the method and the path.
    pub hash: [u8; 32],
    /// Hash of the request's body.
    pub fingerprint: [u8; 32],
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A status and the bytes of its body.
    Body {
        /// The status.
        status: u16,
        /// The body.
        body: Vec<u8>,
    },
    /// A message was accepted: its answer is made from the message, which is kept anyway.
    Message {
        /// The application.
        app: AppId,
        /// The message.
        message: MessageId,
    },
}

impl Writer<'_> {
    /// Runs `work` once per key: gives what it gave the first time, or runs it and keeps that.
    /// Without a key it just runs. The flag says whether the answer is a repeated one.
    ///
    /// Errors: [`Error::IdempotencyMismatch`] when the key came with another body before.
    pub fn once(
        &mut self,
        key: Option<&IdempotencyKey>,
        work: impl FnOnce(&mut Self) -> Result<Answer>,
    ) -> Result<(Answer, bool)> {
        let Some(key) = key else { return Ok((work(self)?, false)) };
        if let Some(answer) = self.earlier_answer(key)? {
            return Ok((answer, true));
        }
        let answer = work(self)?;
        let record = IdempotencyRecord {
            fingerprint: key.fingerprint,
            expires_at: self.now().0 + KEPT_MS,
            answer: match answer.clone() {
                Answer::Body { status, body } => AnswerRecord::Body { status, body },
                Answer::Message { app, message } => {
                    AnswerRecord::Message { app: app.0, message: message.0 }
                }
            },
        };
        let row = bucket_key(self.now().0 / BUCKET_MS, &key.hash);
        // An answer that was kept in this bucket has not expired, and would have been given.
        self.put_new_long(Tree::Idempotency, &row, &codec::encode(&record));
        Ok((answer, false))
    }

    fn earlier_answer(&self, key: &IdempotencyKey) -> Result<Option<Answer>> {
        // One more than now: the clock may have been set back since.
        let newest = self.now().0 / BUCKET_MS + 1;
        let oldest = self.now().0.saturating_sub(KEPT_MS) / BUCKET_MS;
        for bucket in (oldest..=newest).rev() {
            let Some(row) = self.get_long(Tree::Idempotency, &bucket_key(bucket, &key.hash))?
            else {
                continue;
            };
            let record: IdempotencyRecord = records::read(Tree::Idempotency, &row)?;
            if record.expires_at <= self.now().0 {
                return Ok(None);
            }
            if record.fingerprint != key.fingerprint {
                return Err(Error::IdempotencyMismatch);
            }
            return Ok(Some(match record.answer {
                AnswerRecord::Body { status, body } => Answer::Body { status, body },
                AnswerRecord::Message { app, message } => {
                    Answer::Message { app: AppId(app), message: MessageId(message) }
                }
            }));
        }
        Ok(None)
    }
}

/// `be(bucket u64) ‖ hash`.
pub(super) fn bucket_key(bucket: u64, hash: &[u8; 32]) -> [u8; 40] {
    let mut key = [0; 40];
    let (a, b) = key.split_at_mut(8);
    a.copy_from_slice(&bucket.to_be_bytes());
    b.copy_from_slice(hash);
    key
}
