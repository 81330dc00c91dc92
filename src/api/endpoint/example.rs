//! Sending an example: a message made from the event type's own schema, to one endpoint alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Whose, find};
use crate::api::Api;
use crate::api::caller::Caller;
use crate::api::edit::check_name;
use crate::api::error::ApiError;
use crate::api::message;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::model::event_type::EventType;
use crate::model::limits::EVENT_TYPE_CHARS;
use crate::model::message::NewMessage;
use crate::store::Writer;
use crate::store::idempotency::Answer;

/// An event type that every endpoint can be asked to be sent, registered or not.
const PING: &str = "svix.ping";
/// What is sent for it.
const PING_PAYLOAD: &[u8] = br#"{"success":true}"#;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExampleIn {
    event_type: String,
}

/// Of a JSON Schema only the examples are of interest here.
#[derive(Debug, Deserialize)]
struct SchemaIn<'a> {
    #[serde(borrow, default)]
    examples: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    example: Option<&'a RawValue>,
}

/// The first example in the newest schema: the one with the greatest version.
fn example_of(event_type: &EventType) -> Option<Bytes> {
    let schemas: BTreeMap<String, &RawValue> =
        serde_json::from_str(event_type.schemas.as_deref()?).ok()?;
    let newest = schemas.iter().max_by_key(|(version, _)| version.parse::<u64>().unwrap_or(0))?;
    let schema: SchemaIn<'_> = serde_json::from_str(newest.1.get()).ok()?;
    let example = schema.examples.first().copied().or(schema.example)?;
    example.get().starts_with('{').then(|| Bytes::copy_from_slice(example.get().as_bytes()))
}

fn payload_for(api: &Api, caller: &Caller, name: &str) -> Result<Bytes, ApiError> {
    if name == PING {
        return Ok(Bytes::from_static(PING_PAYLOAD));
    }
    let event_type = api.store.directory().event_type(caller.org, name)?;
    event_type.filter(|e| caller.sees(e)).and_then(|e| example_of(&e)).ok_or_else(|| {
        let detail = format!(
            "event type {name:?} has no schema with an object in `examples`; add one (PATCH /api/v1/event-type/{name}) or use {PING}"
        );
        ApiError::new(400, "invalid_scheme", detail)
    })
}

/// `POST /app/{app}/endpoint/{endpoint}/send-example`: whatever the endpoint subscribes to.
pub(crate) async fn send(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    let (tenant, endpoint) = find(api, request, Whose::App(app), id)?;
    let input: ExampleIn = request.json()?;
    check_name("eventType", &input.event_type, EVENT_TYPE_CHARS)?;
    if endpoint.disabled.is_some() {
        let detail = "the endpoint is disabled; enable it first (PATCH it with disabled: false)";
        return Err(ApiError::bad_request(detail));
    }
    let payload = payload_for(api, &caller, &input.event_type)?;
    let new = NewMessage::new(input.event_type, payload);
    let (app, endpoint) = (tenant.app.id, endpoint.id);
    let work = move |writer: &mut Writer<'_>| {
        let message = writer.accept_for(app, endpoint, new)?;
        Ok(Answer::Message { app, message: message.id })
    };
    let (answer, _) = api.write_once(request, work).await?;
    message::stored_reply(api, 200, answer, true)
}
