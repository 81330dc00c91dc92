//! Recording an attempt: its row, the delivery's new state and the queue row's move or removal,
//! all in one piece of work.

use super::accept::CHUNK_BYTES;
use super::error::{Error, Result};
use super::events::Recorded;
use super::operational::Happened;
use super::records::{AttemptRecord, DeliveryRecord, QueueRecord};
use super::trees::{ROW_BYTES, Tree};
use super::writer::Writer;
use super::{codec, keys, records};
use crate::model::attempt::Attempt;
use crate::model::clock::Timestamp;
use crate::model::delivery::{Delivery, QueueKey, QueueRow, State, Trigger, Verdict};
use crate::model::endpoint::{DISABLE_AFTER, DisabledReason, Endpoint};
use crate::model::id::{AppId, AttemptId, EndpointId, MessageId};

/// Bytes of an answer that are kept while the disk is full.
const SHORT_RESPONSE: usize = 256;

/// What came of one attempt, as the scheduler hands it in.
#[derive(Debug, Clone)]
pub struct AttemptResult {
    /// The queue row it was made for.
    pub row: QueueRow,
    /// The endpoint's application.
    pub app: AppId,
    /// The URL it went to.
    pub url: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// What is kept of the answer, at most [`crate::model::limits::RESPONSE_BYTES`].
    pub response: Vec<u8>,
    /// A stable code for what went wrong, empty for a success.
    pub failure_code: &'static str,
    /// What it means for the delivery.
    pub verdict: Verdict,
    /// A delivery that is tried again keeps its place in the queue (ordered endpoints).
    pub keeps_place: bool,
    /// The receiver answered 410: it wants nothing more.
    pub gone: bool,
    /// A failure says something of the endpoint, not of our own network.
    pub blames_endpoint: bool,
}

impl Writer<'_> {
    /// Records an attempt.
    ///
    /// If its queue row is gone (the endpoint was deleted, the delivery cancelled) the attempt is
    /// kept for people to see, and the delivery is left as it is. If its message is gone nothing is
    /// kept: nothing would ever remove it.
    pub fn record(&mut self, result: &AttemptResult) -> Result<Option<AttemptId>> {
        let key = result.row.key;
        // After a cancellation a resend or a recovery may have taken its place.
        let found = self.queue_row(&key)?;
        let still_queued = found == Some(result.row);
        // A scheduled row goes with its message, so it is only asked where it can make a difference.
        let may_be_gone = !still_queued || result.row.trigger == Trigger::Manual;
        if may_be_gone
            && self.get(Tree::Messages, &keys::message(result.app, key.message))?.is_none()
        {
            self.drop_queue_row(&key);
            self.note_health(result)?;
            return Ok(None);
        }
        self.shared().counters.attempted(result.verdict);
        let attempt = self.put_attempt(result);
        let mut next = found.map(|row| row.not_before);
        if still_queued {
            next = self.move_on(result, attempt)?;
            self.tell_of_attempt(result, attempt)?;
        } else {
            self.index_attempt(&key, attempt);
        }
        self.note_health(result)?;
        self.events().recorded.push(Recorded { key, next });
        Ok(Some(attempt))
    }

    /// What stands at a place in a queue.
    fn queue_row(&self, key: &QueueKey) -> Result<Option<QueueRow>> {
        match self.get(Tree::Queue, &keys::queue(key))? {
            Some(row) => {
                let record: QueueRecord = records::read(Tree::Queue, &row)?;
                record.into_domain(*key).map(Some)
            }
            None => Ok(None),
        }
    }

    fn put_attempt(&mut self, result: &AttemptResult) -> AttemptId {
        let key = result.row.key;
        let attempt = Attempt {
            id: AttemptId(self.new_id()),
            message: key.message,
            endpoint: key.endpoint,
            url: result.url.clone(),
            number: result.row.attempt,
            trigger: result.row.trigger,
            started_at: result.started_at,
            duration_ms: result.duration_ms,
            succeeded: result.verdict == Verdict::Succeeded,
            status: result.status,
            response: Vec::new(),
            failure_code: result.failure_code.to_owned(),
        };
        let mut kept = result.response.as_slice();
        if self.shared().space.is_short() {
            kept = kept.get(..SHORT_RESPONSE).unwrap_or(kept);
        }
        self.write_attempt(&attempt, kept);
        attempt.id
    }

    /// A delivery's first attempt is found by the delivery's own row, the others by this one: most
    /// deliveries need one attempt, and rows are what a message costs.
    fn index_attempt(&mut self, key: &QueueKey, attempt: AttemptId) {
        let index = keys::attempt_of_message(key.message, attempt);
        self.put(Tree::AttemptsByMessage, &index, &key.endpoint.0);
    }

    /// Writes an attempt's row, and its response behind it or in chunks.
    pub(super) fn write_attempt(&mut self, attempt: &Attempt, response: &[u8]) {
        let mut row = codec::encode(&AttemptRecord::of(attempt, 0));
        if row.len() + response.len() <= ROW_BYTES {
            row.extend_from_slice(response);
        } else {
            let elsewhere = u32::try_from(response.len()).unwrap_or(u32::MAX);
            row = codec::encode(&AttemptRecord::of(attempt, elsewhere));
            for (n, chunk) in (0u16..).zip(response.chunks(CHUNK_BYTES)) {
                self.put(Tree::Responses, &keys::chunk(&attempt.id.0, n), chunk);
            }
        }
        self.put(Tree::Attempts, &keys::attempt(attempt.endpoint, attempt.id), row);
    }

    /// The delivery's new state, and the queue row for its next try.
    fn move_on(&mut self, result: &AttemptResult, attempt: AttemptId) -> Result<Option<Timestamp>> {
        let key = result.row.key;
        let manual = result.row.trigger == Trigger::Manual;
        let mut delivery = match self.delivery(key.message, key.endpoint)? {
            Some(delivery) => delivery,
            None => self.first_state(result)?,
        };
        match delivery.first_attempt {
            None => delivery.first_attempt = Some(attempt),
            Some(_) => self.index_attempt(&key, attempt),
        }
        delivery.last_attempt = Some(attempt);
        delivery.updated_at = self.now();
        let next = match result.verdict {
            Verdict::Hold => Some(result.row.not_before),
            Verdict::Succeeded => {
                self.remove(Tree::Queue, &keys::queue(&key));
                if manual {
                    self.drop_scheduled_row(result.app, &delivery)?;
                }
                delivery.end(State::Succeeded);
                None
            }
            // A manual try stands beside the schedule: its failure changes nothing.
            Verdict::Retry(_) | Verdict::Exhausted if manual => {
                self.remove(Tree::Queue, &keys::queue(&key));
                None
            }
            Verdict::Retry(at) => {
                self.requeue(&result.row, at, result.keeps_place, &mut delivery)?;
                Some(at)
            }
            Verdict::Exhausted => {
                self.remove(Tree::Queue, &keys::queue(&key));
                delivery.end(State::Exhausted);
                None
            }
        };
        if !manual && result.verdict != Verdict::Hold {
            delivery.attempts = result.row.attempt;
        }
        self.put_delivery(&delivery);
        Ok(next)
    }

    /// A delivery whose first attempt is being recorded.
    fn first_state(&self, result: &AttemptResult) -> Result<Delivery> {
        let key = result.row.key;
        let mut delivery = Delivery::untried(key.message, key.endpoint, self.now());
        if result.row.trigger == Trigger::Scheduled {
            delivery.next_due = Some(key.due);
            delivery.queued_due = Some(key.due);
        } else if result.verdict != Verdict::Hold
            && self.scheduled_key(result.app, key.message, key.endpoint)?.is_none()
        {
            // Sent by hand to an endpoint it was never scheduled for: nothing more will come.
            delivery.end(State::Exhausted);
        }
        Ok(delivery)
    }

    fn requeue(
        &mut self,
        row: &QueueRow,
        at: Timestamp,
        keeps_place: bool,
        delivery: &mut Delivery,
    ) -> Result<()> {
        let mut key = row.key;
        #[cfg(test)]
        let forgets = super::planted::is(super::planted::Bug::ForgetQueueRow);
        #[cfg(not(test))]
        let forgets = false;
        if !keeps_place {
            if !forgets {
                self.remove(Tree::Queue, &keys::queue(&key));
            }
            key.due = at;
            // A resend may stand there already.
            while self.get(Tree::Queue, &keys::queue(&key))?.is_some() {
                key.due.0 += 1;
            }
        }
        let attempt = row.attempt.saturating_add(1);
        self.put_queue_row(&QueueRow { key, attempt, trigger: Trigger::Scheduled, not_before: at });
        delivery.state = State::Pending;
        delivery.next_due = Some(at);
        delivery.queued_due = Some(key.due);
        Ok(())
    }

    /// After a manual success the schedule has nothing left to do: its queue row goes too.
    fn drop_scheduled_row(&mut self, app: AppId, delivery: &Delivery) -> Result<()> {
        if let Some(key) = self.scheduled_key(app, delivery.message, delivery.endpoint)? {
            self.remove(Tree::Queue, &keys::queue(&key));
            self.events().changed.push(delivery.endpoint);
        }
        Ok(())
    }

    /// The queue row the schedule has for this delivery, if there is one.
    pub(super) fn scheduled_key(
        &self,
        app: AppId,
        message: MessageId,
        endpoint: EndpointId,
    ) -> Result<Option<QueueKey>> {
        let due = match self.delivery(message, endpoint)? {
            Some(Delivery { state: State::Pending, queued_due: Some(due), .. }) => Some(due),
            // Only manual attempts so far: the first scheduled one still stands where it was put.
            Some(Delivery { state: State::Pending, attempts: 0, .. }) | None => {
                self.message(app, message)?.map(|m| super::accept::first_due(&m))
            }
            Some(_) => None,
        };
        let Some(due) = due else { return Ok(None) };
        let key = QueueKey { endpoint, due, message };
        match self.get(Tree::Queue, &keys::queue(&key))? {
            Some(row) => {
                let record: QueueRecord = records::read(Tree::Queue, &row)?;
                Ok((record.trigger == Trigger::Scheduled as u8).then_some(key))
            }
            None => Ok(None),
        }
    }

    pub(super) fn put_delivery(&mut self, delivery: &Delivery) {
        let key = keys::delivery(delivery.message, delivery.endpoint);
        self.put(Tree::Deliveries, &key, codec::encode(&DeliveryRecord::of(delivery)));
    }

    /// The delivery's row; `None` while no attempt was recorded.
    pub(super) fn delivery(
        &self,
        message: MessageId,
        endpoint: EndpointId,
    ) -> Result<Option<Delivery>> {
        super::messages::delivery(self, message, endpoint)
    }

    /// Remembers since when an endpoint fails, and disables it when that is too long or it said
    /// 410. Pending deliveries stay: they are sent if a person enables it again.
    fn note_health(&mut self, result: &AttemptResult) -> Result<()> {
        let id = result.row.key.endpoint;
        let is_there = || Ok::<_, Error>(self.shared().directory.endpoint(id)?.is_some());
        if !result.blames_endpoint || (result.verdict != Verdict::Succeeded && !is_there()?) {
            return Ok(());
        }
        if result.verdict == Verdict::Succeeded {
            self.forget_failing(id);
            return Ok(());
        }
        let since = self.failing_since(id);
        if since.is_none() {
            self.put(Tree::EndpointHealth, &id.0, codec::encode(&self.now().0));
            self.set_failing(id, Some(self.now()));
        }
        let too_long = since.is_some_and(|s| self.now().since(s) > DISABLE_AFTER);
        let reason = match (result.gone, too_long) {
            (true, _) => DisabledReason::Gone,
            (false, true) => DisabledReason::Failing,
            (false, false) => return Ok(()),
        };
        let Some(endpoint) = self.shared().directory.endpoint(id)?.filter(|e| e.is_active()) else {
            return Ok(());
        };
        tracing::warn!(endpoint = %id, ?reason, "endpoint disabled");
        self.shared().counters.disabled.add(1);
        let disabled = Endpoint { disabled: Some(reason), ..Endpoint::clone(&endpoint) };
        let disabled = self.write_endpoint(disabled)?;
        self.tell_of_endpoint(Happened::Disabled, &disabled, since.or(Some(self.now())))
    }

    fn failing_since(&self, id: EndpointId) -> Option<Timestamp> {
        let map = self.shared().failing_since.lock();
        map.unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).copied()
    }

    fn set_failing(&self, id: EndpointId, since: Option<Timestamp>) {
        let map = self.shared().failing_since.lock();
        let mut map = map.unwrap_or_else(std::sync::PoisonError::into_inner);
        match since {
            Some(since) => map.insert(id, since),
            None => map.remove(&id),
        };
    }

    /// The endpoint is well, or starts anew.
    pub(super) fn forget_failing(&mut self, id: EndpointId) {
        if self.failing_since(id).is_some() {
            self.remove(Tree::EndpointHealth, &id.0);
            self.set_failing(id, None);
        }
    }

    /// Removes the response of an attempt; the attempt itself stays.
    pub fn expunge_response(&mut self, endpoint: EndpointId, attempt: AttemptId) -> Result<()> {
        let key = keys::attempt(endpoint, attempt);
        let row = self.get(Tree::Attempts, &key)?.ok_or(Error::NotFound("attempt"))?;
        let (record, _): (AttemptRecord, _) = records::read_with_tail(Tree::Attempts, &row)?;
        self.reclaim_prefix(Tree::Responses, &attempt.0)?;
        let attempt = record.into_domain(endpoint, attempt, Vec::new())?;
        self.write_attempt(&attempt, EXPUNGED.as_bytes());
        Ok(())
    }
}

/// What stands in the place of a response that was expunged.
pub const EXPUNGED: &str = "EXPUNGED";
