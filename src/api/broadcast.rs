//! `POST /msg/broadcast`: one message to every application, in the background.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::edit::{check_name, check_uid};
use super::error::ApiError;
use super::message::{check_channels, check_depth, retention_hours};
use super::reply::Reply;
use super::request::{Request, read};
use super::task::{Start, start};
use crate::model::id::MessageId;
use crate::model::limits::{ENDPOINT_CHANNELS, EVENT_TYPE_CHARS};
use crate::model::task::{Broadcast, Work};

/// The fewest days its payload may be kept by `payloadRetentionPeriod`.
const RETENTION_DAYS: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BroadcastIn<'a> {
    event_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    payload_retention_period: Option<u32>,
    #[serde(default)]
    payload_retention_hours: Option<u32>,
}

/// Every application that is there now gets the message.
pub(super) async fn create(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: BroadcastIn<'_> = read(&request.body)?;
    check_name("eventType", &input.event_type, EVENT_TYPE_CHARS)?;
    if let Some(event_id) = &input.event_id {
        check_uid("eventId", event_id, MessageId::PREFIX)?;
    }
    if let Some(channels) = &input.channels {
        check_channels(channels, ENDPOINT_CHANNELS)?;
    }
    if !input.payload.get().starts_with('{') {
        let message = "payload must be a JSON object; put other values into a field of one";
        return Err(ApiError::invalid("body", "payload", message));
    }
    check_depth(input.payload.get())?;
    if input.payload.get().len() > api.settings.max_payload {
        return Err(super::intake::too_large(api));
    }
    let (days, hours) = (input.payload_retention_period, input.payload_retention_hours);
    let hours = retention_hours(RETENTION_DAYS, days, hours)?;
    let message = Broadcast {
        event_type: input.event_type,
        event_id: input.event_id,
        channels: input.channels.unwrap_or_default(),
        payload_retention_hours: hours,
    };
    let payload = Bytes::copy_from_slice(input.payload.get().as_bytes());
    start(api, request, Start { payload, ..Start::of(caller.org, Work::Broadcast(message)) }).await
}
