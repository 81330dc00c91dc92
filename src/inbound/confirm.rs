//! Amazon SNS asks whether a subscription is wanted, and takes the fetching of an address as a yes.
//!
//! The address was checked by `signature`: `https` at SNS itself, and signed. It is fetched only when
//! the source names its topic: every topic of every customer of Amazon is signed with the same key, so
//! without that any stranger could subscribe us. Otherwise the question becomes a message like any
//! other, and whoever gets it may fetch the address.

use std::sync::Arc;

use super::Inbound;
use super::answer::Answer;
use crate::model::source::Source;
use crate::signature::TOPIC_SETTING;

/// Seconds after which SNS may ask again.
const AGAIN: u32 = 30;

impl Inbound {
    /// Confirms a subscription, if that is what was asked. SNS asks again when it is not told yes.
    pub(super) async fn confirmed(&self, source: &Source, url: Option<&str>) -> Option<Answer> {
        let url = url?.to_owned();
        let named = source.settings.get(TOPIC_SETTING).is_some_and(|topic| !topic.is_empty());
        let confirmer = self.confirmer.get().filter(|_| named).map(Arc::clone);
        let Some(confirmer) = confirmer else {
            tracing::info!(source = %source.id, url, "fetch this address to confirm the subscription, or set {TOPIC_SETTING} to have it done");
            return None;
        };
        let again = |detail| Some(Answer::later(503, "not_confirmed", detail, AGAIN));
        let Ok(_permit) = self.confirming.try_acquire() else {
            return again("too many subscriptions are being confirmed");
        };
        let fetched = tokio::task::spawn_blocking(move || confirmer.confirm(&url)).await;
        match fetched.map_err(|err| err.to_string()).and_then(|fetched| fetched) {
            Ok(()) => {
                tracing::info!(source = %source.id, "a subscription was confirmed");
                Some(Answer::ok(None).with("posthaste-confirmed", "true"))
            }
            Err(cause) => {
                tracing::warn!(source = %source.id, cause, "a subscription could not be confirmed");
                again("the address that confirms the subscription could not be fetched")
            }
        }
    }
}
