//! `POST /app/{app}/msg/search`: the list of messages with its filters in a body.

use serde::Deserialize;

use super::Api;
use super::caller::Caller;
use super::edit::moment;
use super::error::ApiError;
use super::message::{self, MessageFilter};
use super::paging::PageRequest;
use super::reply::Reply;
use super::request::Request;
use crate::model::id::first_at;

/// The names are svix's, who writes these in snake case.
#[derive(Debug, Deserialize)]
struct SearchIn {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    iterator: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    with_content: bool,
}

/// Newest first; without payloads unless they are asked for.
pub(super) fn search(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let input: SearchIn = request.json()?;
    let page = PageRequest::newest_first(input.limit, input.iterator)?;
    let mut range = page.range(|text| message::find_id(api, tenant.app.id, text))?;
    if let Some(text) = &input.before {
        let bound = first_at(moment("before", text)?);
        range.before = Some(range.before.map_or(bound, |old| old.min(bound)));
    }
    if let Some(text) = &input.after {
        let bound = first_at(moment("after", text)?);
        range.after = Some(range.after.map_or(bound, |old| old.max(bound)));
    }
    let filter =
        MessageFilter::new(input.event_types.unwrap_or_default(), input.channel, input.tag);
    message::page_out(api, tenant.app.id, &page, &range, &filter, input.with_content)
}
