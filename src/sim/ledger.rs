//! What was promised and what is known to have happened, kept apart from the store.

use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) payload: Vec<u8>,
}

/// See the module's text.
#[derive(Debug, Default)]
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
}

impl Ledger {
    /// A delivery to an endpoint that was accepted before `message` and has not ended.
    pub(super) fn open_before(
        &self,
        endpoint: EndpointId,
        message: MessageId,
    ) -> Option<MessageId> {
        let place = self.promised.get(&message)?.place;
        let open = self.promised.iter().find(|(id, promise)| {
            promise.place < place
                && promise.endpoints.contains(&endpoint)
                && !self.ended.contains(&(**id, endpoint))
        });
        open.map(|(id, _)| *id)
    }
}
