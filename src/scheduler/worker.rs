//! One delivery on its thread: read what is missing, make the attempt, report.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::core::{Event, Finished};
use super::lane::{Content, Task};
use super::shell::Input;
use crate::delivery::{Client, Deliverer, Job, wrap};
use crate::model::clock::Clock;
use crate::model::endpoint::SharedEndpoint;
use crate::model::message::Message;
use crate::model::outcome::{Failure, Outcome};
use crate::model::retry::RetrySchedule;
use crate::store::Store;
use crate::store::messages::Payload;

/// What all workers share.
pub(super) struct Worker {
    pub(super) store: Arc<Store>,
    pub(super) deliverer: Arc<dyn Deliver>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reports: Sender<Input>,
}

/// Makes one attempt. The daemon's is [`Deliverer`]; the simulator scripts its own.
pub trait Deliver: Send + Sync {
    /// Sends `payload` to `endpoint` as attempt `number`, and waits for what comes back.
    fn deliver(&self, attempt: &AttemptRequest<'_>) -> Outcome;

    /// Whether this machine has lost its way out. Asked after an attempt that may have failed for it.
    fn is_cut_off(&self) -> bool {
        false
    }
}

/// An attempt to be made.
#[derive(Debug, Clone, Copy)]
pub struct AttemptRequest<'a> {
    /// The message.
    pub message: &'a Message,
    /// Its payload.
    pub payload: &'a [u8],
    /// To whom.
    pub endpoint: &'a SharedEndpoint,
    /// Which try this is: 1 for the first.
    pub number: u16,
    /// The moment it is made.
    pub now: crate::model::clock::Timestamp,
}

impl Deliver for Deliverer {
    fn deliver(&self, request: &AttemptRequest<'_>) -> Outcome {
        let AttemptRequest { message, payload, endpoint, number, now } = *request;
        let mut headers: Vec<_> =
            endpoint.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let event = endpoint.cloud_events().map(|mode| wrap(mode, message, payload));
        for (name, value) in event.as_ref().map_or(&message.headers, |event| &event.headers) {
            if !endpoint.headers.keys().any(|own| own.eq_ignore_ascii_case(name)) {
                headers.push((name.clone(), value.clone()));
            }
        }
        let plain = message.content_type.as_deref().unwrap_or("application/json");
        self.attempt(&Job {
            url: &endpoint.url,
            message_id: &message.id.to_string(),
            timestamp_secs: now.seconds(),
            attempt: u32::from(number),
            next_retry: None,
            body: event.as_ref().map_or(payload, |event| &event.body),
            content_type: event.as_ref().map_or(plain, |event| &event.content_type),
            keys: &endpoint.live_keys(now),
            headers: &headers,
            oauth: endpoint
                .oauth
                .as_ref()
                .map(|credentials| Client { endpoint: endpoint.id, credentials }),
            shard: shard(endpoint),
        })
    }

    fn is_cut_off(&self) -> bool {
        Self::is_cut_off(self)
    }
}

/// A number that is the same for all attempts to an endpoint: the end of its id is chance.
fn shard(endpoint: &SharedEndpoint) -> u64 {
    endpoint.id.0.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Worker {
    /// Makes the attempt and reports it to the scheduler.
    pub(super) fn run(&self, task: Task, endpoint: SharedEndpoint) {
        let started_at = self.clock.now();
        let done = self.finish(task, endpoint, started_at);
        // The scheduler is gone only when the process is about to be.
        drop(self.reports.send(Input::Event(Event::Finished(Box::new(done)))));
    }

    fn finish(
        &self,
        task: Task,
        endpoint: SharedEndpoint,
        started_at: crate::model::clock::Timestamp,
    ) -> Finished {
        let (mut schedule, mut jitter) = (None, 0.0);
        let outcome = match self.content(&task, &endpoint) {
            Ok(Some((message, payload))) => {
                let outcome = self.deliverer.deliver(&AttemptRequest {
                    message: &message,
                    payload: &payload,
                    endpoint: &endpoint,
                    number: task.row.attempt,
                    now: started_at,
                });
                if !outcome.is_success() {
                    tell_refused(&endpoint, &outcome);
                    schedule = self.own_schedule(&endpoint, &message);
                    jitter = chance();
                }
                Some(outcome)
            }
            Ok(None) => None,
            Err((failure, last)) => {
                (schedule, jitter) = (last, chance());
                Some(Outcome::failed(failure, std::time::Duration::ZERO))
            }
        };
        let is_network_down = outcome.as_ref().is_some_and(Outcome::is_network_down);
        let is_cut_off = is_network_down && self.deliverer.is_cut_off();
        Finished { task, endpoint, outcome, started_at, schedule, chance: jitter, is_cut_off }
    }

    /// What is to be sent; `None` when the message is gone. With a failure comes the schedule that
    /// follows from it: a payload that was removed will not come back.
    fn content(
        &self,
        task: &Task,
        endpoint: &SharedEndpoint,
    ) -> Result<Option<Content>, (Failure, Option<RetrySchedule>)> {
        if let Some(content) = &task.content {
            return Ok(Some(content.clone()));
        }
        match self.store.message(endpoint.app, task.row.key.message) {
            Ok(Some((message, Payload::Here(payload)))) => Ok(Some((Arc::new(message), payload))),
            Ok(Some((_, Payload::Gone))) => {
                let failure = Failure::Internal { detail: "the payload was removed".to_owned() };
                Err((failure, Some(RetrySchedule(Vec::new()))))
            }
            Ok(None) => Ok(None),
            Err(err) => {
                tracing::error!(%err, message = %task.row.key.message, "cannot read a message");
                Err((Failure::Internal { detail: err.to_string() }, None))
            }
        }
    }

    fn own_schedule(&self, endpoint: &SharedEndpoint, message: &Message) -> Option<RetrySchedule> {
        let directory = self.store.directory();
        let tenant = directory.tenant(endpoint.app).ok()??;
        let event_type = directory.event_type(tenant.app.org, &message.event_type).ok()??;
        event_type.retry_schedule.clone().map(RetrySchedule)
    }
}

/// An address that the guard refused is for the operator to know: the owner of the endpoint is not
/// told what a name led to.
fn tell_refused(endpoint: &SharedEndpoint, outcome: &Outcome) {
    if let Some(failure) = outcome.failure.as_ref().filter(|it| it.refused_address().is_some()) {
        tracing::warn!(endpoint = %endpoint.id, app = %endpoint.app, "not delivered: {failure}");
    }
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance every retry comes at the same moment after its failure: bearable.
    getrandom::fill(&mut bytes).ok();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
