//! Removing payloads of many messages: some by name at once, all of them in the background.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::message;
use super::reply::Reply;
use super::request::Request;
use super::task::{Start, start};
use crate::model::id::{AppId, MessageId};
use crate::model::task::Work;
use crate::store::{Error, Writer};

/// Messages one request may name.
const MOST: usize = 1_000;

#[derive(Debug, Deserialize)]
struct BulkIn {
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BulkOut {
    results: BTreeMap<String, &'static str>,
}

/// `POST /app/{app}/msg/bulk-expunge`
pub(super) async fn bulk(api: &Arc<Api>, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let app = caller.tenant(api, app)?.app.id;
    let input: BulkIn = request.json()?;
    if input.ids.len() > MOST {
        let message = format!("ids has {} entries, at most {MOST} are taken", input.ids.len());
        return Err(ApiError::invalid("body", "ids", message));
    }
    let mut results = BTreeMap::new();
    let mut found = Vec::new();
    for name in input.ids {
        let id = message::find_id(api, app, &name).ok().map(MessageId);
        let id = match id {
            Some(id) => api.store.message(app, id)?.map(|_| id),
            None => None,
        };
        found.extend(id);
        results.insert(name, if id.is_some() { "expunged" } else { "not-found" });
    }
    while !found.is_empty() {
        found = api.write(move |writer| expunge_some(writer, app, found)).await?;
    }
    Ok(Reply::json(200, &BulkOut { results }))
}

/// As many as fit into one commit; gives the others back.
fn expunge_some(
    writer: &mut Writer<'_>,
    app: AppId,
    mut ids: Vec<MessageId>,
) -> Result<Vec<MessageId>, Error> {
    while let Some(id) = ids.pop() {
        match writer.expunge_payload(app, id) {
            // It expired a moment ago.
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(err) => return Err(err),
        }
        if writer.is_full() {
            break;
        }
    }
    Ok(ids)
}

/// `POST /app/{app}/msg/expunge-all-contents`
pub(super) async fn all(api: &Arc<Api>, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let tenant = caller.tenant(api, app)?;
    let work = Work::PurgeContent(tenant.app.id, api.store.now());
    start(api, request, Start::of(tenant.app.org, work)).await
}
