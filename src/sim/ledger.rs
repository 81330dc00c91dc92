//! What was promised and what is known to have happened, kept apart from the store.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::clock::Timestamp;
use crate::model::id::{AppId, EndpointId, MessageId};

/// A delivery.
pub(super) type Pair = (MessageId, EndpointId);

/// A message that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    /// Its place in the order of acceptance: ids are in that order only within one life.
    pub(super) place: usize,
    pub(super) app: AppId,
    pub(super) endpoints: Vec<EndpointId>,
    pub(super) event_id: Option<String>,
    pub(super) payload: Vec<u8>,
}

/// A request that was answered under an idempotency key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// Stands for the body that came with it.
    pub(super) body: u8,
    pub(super) message: MessageId,
    pub(super) at: Timestamp,
}

/// See the module's text.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger {
    /// Acknowledged and neither expired nor expunged.
    pub(super) promised: BTreeMap<MessageId, Promise>,
    /// How many ever were.
    pub(super) accepted: usize,
    /// Ended in the store: recorded as succeeded or exhausted, or cancelled.
    pub(super) ended: BTreeSet<Pair>,
    /// Of these, the succeeded ones.
    pub(super) succeeded: BTreeSet<Pair>,
    /// Started anew after they had ended: the order of acceptance is no longer theirs.
    pub(super) restarted: BTreeSet<Pair>,
    /// Requests answered under an idempotency key.
    pub(super) answered: BTreeMap<(AppId, u8), Answered>,
    /// A group may have lasted that was never answered, or the clock went back: there may be
    /// answers that are not in `answered`.
    pub(super) unsure: bool,
}

impl Ledger {
    /// A message is no longer kept.
    pub(super) fn forget(&mut self, id: MessageId) {
        self.promised.remove(&id);
        self.answered.retain(|_, answer| answer.message != id);
        for pairs in [&mut self.ended, &mut self.succeeded, &mut self.restarted] {
            pairs.retain(|(message, _)| *message != id);
        }
    }

    /// A delivery to an endpoint that was accepted before `message` and has not ended.
    pub(super) fn open_before(
        &self,
        endpoint: EndpointId,
        message: MessageId,
    ) -> Option<MessageId> {
        if self.restarted.contains(&(message, endpoint)) {
            return None;
        }
        let place = self.promised.get(&message)?.place;
        let open = self.promised.iter().find(|(id, promise)| {
            promise.place < place
                && promise.endpoints.contains(&endpoint)
                && !self.ended.contains(&(**id, endpoint))
                && !self.restarted.contains(&(**id, endpoint))
        });
        open.map(|(id, _)| *id)
    }
}
