//! An organisation's set-up, to be carried from one to another: its event types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::event_openapi::MOST;
use super::event_type::{EventTypeIn, EventTypeOut, upsert_all};
use super::reply::Reply;
use super::request::Request;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentOut {
    version: u8,
    created_at: String,
    event_types: Vec<EventTypeOut>,
    /// There are none here; libraries want the field.
    connectors: [(); 0],
    settings: Option<()>,
}

/// `POST /environment/export`
pub(super) fn export(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let types = api.store.directory().event_types(caller.org)?;
    Ok(Reply::json(
        200,
        &EnvironmentOut {
            version: 1,
            created_at: api.store.now().to_string(),
            event_types: types.iter().map(|e| EventTypeOut::of(e, true)).collect(),
            connectors: [],
            settings: None,
        },
    ))
}

/// Settings are those of another server's pages and mean nothing here: they are read over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentIn {
    #[serde(default)]
    event_types: Option<Vec<EventTypeIn>>,
    #[serde(default)]
    connectors: Option<Vec<Box<RawValue>>>,
}

/// `POST /environment/import`: makes and changes event types, and removes none.
pub(super) async fn import(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: EnvironmentIn = request.json()?;
    if input.connectors.is_some_and(|connectors| !connectors.is_empty()) {
        let message = "there are no connectors here; leave them out";
        return Err(ApiError::invalid("body", "connectors", message));
    }
    let given = input.event_types.unwrap_or_default();
    if given.len() > MOST {
        let message = format!("eventTypes has {} entries, at most {MOST} are taken", given.len());
        return Err(ApiError::invalid("body", "eventTypes", message));
    }
    let types = given.into_iter().map(|input| Ok((input.checked_name()?, input)));
    let types: Vec<(String, EventTypeIn)> = types.collect::<Result<_, ApiError>>()?;
    upsert_all(api, caller.org, types).await?;
    Ok(Reply::no_content())
}
