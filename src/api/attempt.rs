//! Attempts and deliveries: what was tried, where it stands, try again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::endpoint::{self, EndpointOut, Whose};
use super::error::ApiError;
use super::message::{self, MessageFilter};
use super::paging::{PageRequest, cut};
use super::query::{Query, bad};
use super::reply::Reply;
use super::request::Request;
use crate::model::attempt::Attempt;
use crate::model::delivery::{Delivery, State};
use crate::model::id::{AppId, AttemptId, EndpointId, MessageId};
use crate::model::message::Message;
use crate::store::idempotency::Answer;
use crate::store::messages::Payload;
use crate::store::pages::{PAGE_BYTES, Page, Range};
use crate::store::{Error, Writer};

/// svix's numbers for where a delivery stands, and their names.
pub(super) const SUCCESS: (u8, &str) = (0, "success");
pub(super) const PENDING: (u8, &str) = (1, "pending");
pub(super) const FAIL: (u8, &str) = (2, "fail");
pub(super) const CANCELED: (u8, &str) = (4, "canceled");

pub(super) fn status_of(delivery: Option<&Delivery>) -> (u8, &'static str) {
    match delivery.map(|d| d.state) {
        None | Some(State::Pending) => PENDING,
        Some(State::Succeeded) => SUCCESS,
        Some(State::Exhausted) => FAIL,
        Some(State::Cancelled) => CANCELED,
    }
}

pub(super) fn next_attempt(delivery: Option<&Delivery>, message: &Message) -> Option<String> {
    let due = match delivery {
        Some(delivery) => delivery.next_due,
        None => Some(message.deliver_at.unwrap_or(message.created_at)),
    };
    due.map(|t| t.to_string())
}

/// An attempt on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptOut {
    id: String,
    url: String,
    response: String,
    response_status_code: i16,
    response_duration_ms: u32,
    status: u8,
    status_text: &'static str,
    trigger_type: u8,
    msg_id: String,
    endpoint_id: String,
    timestamp: String,
    /// Ours: why it failed, as a stable word. A status alone does not tell when an answer of 200
    /// never ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    failure_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<Box<RawValue>>,
}

impl AttemptOut {
    fn of(attempt: &Attempt) -> Self {
        let (status, status_text) = if attempt.succeeded { SUCCESS } else { FAIL };
        Self {
            id: attempt.id.to_string(),
            url: attempt.url.clone(),
            response: String::from_utf8_lossy(&attempt.response).into_owned(),
            response_status_code: attempt.status.map_or(0, |s| i16::try_from(s).unwrap_or(0)),
            response_duration_ms: attempt.duration_ms,
            status,
            status_text,
            trigger_type: attempt.trigger as u8,
            msg_id: attempt.message.to_string(),
            endpoint_id: attempt.endpoint.to_string(),
            timestamp: attempt.started_at.to_string(),
            failure_code: attempt.failure_code.clone(),
            msg: None,
        }
    }
}

/// What lists of attempts are narrowed down by.
struct AttemptFilter {
    status: Option<u64>,
    status_code_class: Option<u64>,
    endpoint: Option<EndpointId>,
    messages: MessageFilter,
}

impl AttemptFilter {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let status = query.number("status")?;
        if let Some(status) = status.filter(|s| *s > 4) {
            let way_out = "must be 0 (success), 1 (pending), 2 (fail), 3 (sending) or 4 (canceled)";
            return Err(bad("status", &status.to_string(), way_out));
        }
        let status_code_class = query.number("status_code_class")?;
        if let Some(class) = status_code_class.filter(|c| ![0, 100, 200, 300, 400, 500].contains(c))
        {
            return Err(bad(
                "status_code_class",
                &class.to_string(),
                "must be 0, 100, 200, 300, 400 or 500",
            ));
        }
        Ok(Self { status, status_code_class, endpoint: None, messages: MessageFilter::of(query) })
    }

    fn lets(&self, api: &Api, app: AppId, attempt: &Attempt) -> Result<bool, Error> {
        let status = if attempt.succeeded { SUCCESS.0 } else { FAIL.0 };
        let class = u64::from(attempt.status.unwrap_or(0) / 100 * 100);
        if self.status.is_some_and(|wanted| wanted != u64::from(status))
            || self.status_code_class.is_some_and(|wanted| wanted != class)
            || self.endpoint.is_some_and(|wanted| wanted != attempt.endpoint)
        {
            return Ok(false);
        }
        if self.messages.is_open() {
            return Ok(true);
        }
        let message = api.store.message_head(app, attempt.message)?;
        Ok(message.is_some_and(|message| self.messages.lets(&message)))
    }
}

fn attempt_id(text: &str) -> Result<[u8; 20], ApiError> {
    text.parse::<AttemptId>().map(|id| id.0).map_err(|_| ApiError::not_found())
}

fn list_out(
    api: &Api,
    app: AppId,
    page: &PageRequest,
    mut rows: Page<Attempt>,
    query: &Query,
) -> Result<Reply, ApiError> {
    let with_content = query.flag("with_content", true)?;
    let with_msg = query.flag("with_msg", false)?;
    let mut messages = std::collections::HashMap::new();
    if with_msg {
        let (mut bytes, mut shown) = (0, 0);
        for row in &rows.rows {
            if bytes >= PAGE_BYTES {
                break;
            }
            if let Some((message, payload)) = api.store.message(app, row.message)? {
                bytes += payload.bytes();
                messages.insert(row.message, message::object(&message, &payload, true, ""));
            }
            shown += 1;
        }
        // As a page of messages ends: behind so many bytes, with a way to go on.
        if shown < rows.rows.len() {
            rows.rows.truncate(shown);
            rows.more = rows.rows.last().map(|attempt| attempt.id.0);
        }
    }
    let id = |attempt: &Attempt| attempt.id.to_string();
    let out = page.answer(
        rows,
        id,
        |id| AttemptId(id).to_string(),
        |attempt| {
            let mut out = AttemptOut::of(&attempt);
            out.msg = messages.get(&attempt.message).cloned().flatten();
            if !with_content {
                out.response.clear();
            }
            out
        },
    );
    Ok(Reply::json(200, &out))
}

/// `GET /app/{app}/attempt/endpoint/{endpoint}`: newest first.
pub(super) fn list_by_endpoint(
    api: &Api,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, true)?;
    let filter = AttemptFilter::of(&query)?;
    let mut range = page.range(attempt_id)?;
    message::narrow(&mut range, &query)?;
    let app = tenant.app.id;
    let rows = api
        .store
        .page_of_attempts_of_endpoint(endpoint.id, &range, |a| filter.lets(api, app, a))?;
    list_out(api, app, &page, rows, &query)
}

#[derive(Debug, Serialize)]
struct CountOut {
    count: u64,
    approximated: bool,
}

/// `GET /app/{app}/attempt/endpoint/{endpoint}/count`
pub(super) async fn count_by_endpoint(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let query = Query::parse(&request.query)?;
    let filter = AttemptFilter::of(&query)?;
    let mut range = Range { after: None, before: None, descending: false, limit: 0 };
    message::narrow(&mut range, &query)?;
    let (asked, app) = (Arc::clone(api), tenant.app.id);
    let count =
        move || asked.store.count_attempts(endpoint.id, &range, |a| filter.lets(&asked, app, a));
    let (count, approximated) =
        tokio::task::spawn_blocking(count).await.map_err(ApiError::internal)??;
    Ok(Reply::json(200, &CountOut { count, approximated }))
}

/// `GET /app/{app}/attempt/msg/{msg}`: newest first; of one endpoint when that is given.
pub(super) fn list_by_message(
    api: &Api,
    request: &Request,
    app: &str,
    msg: &str,
    endpoint: Option<&str>,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let message = message::find(api, tenant.app.id, msg)?.0;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, true)?;
    let mut filter = AttemptFilter::of(&query)?;
    if let Some(id) = endpoint.or(query.get("endpoint_id")) {
        filter.endpoint = Some(tenant.endpoint(id).ok_or_else(ApiError::not_found)?.id);
    }
    let mut range = page.range(attempt_id)?;
    message::narrow(&mut range, &query)?;
    let app = tenant.app.id;
    let rows =
        api.store.page_of_attempts_of_message(message.id, &range, |a| filter.lets(api, app, a))?;
    list_out(api, app, &page, rows, &query)
}

fn find_attempt(
    api: &Api,
    request: &Request,
    app: &str,
    msg: &str,
    attempt: &str,
) -> Result<Attempt, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let message = message::find(api, tenant.app.id, msg)?.0;
    let id = attempt.parse().map_err(|_| ApiError::not_found())?;
    api.store.attempt_of_message(message.id, id)?.ok_or_else(ApiError::not_found)
}

/// `GET /app/{app}/msg/{msg}/attempt/{attempt}`
pub(super) fn get(
    api: &Api,
    request: &Request,
    app: &str,
    msg: &str,
    attempt: &str,
) -> Result<Reply, ApiError> {
    let attempt = find_attempt(api, request, app, msg, attempt)?;
    Ok(Reply::json(200, &AttemptOut::of(&attempt)))
}

/// `DELETE /app/{app}/msg/{msg}/attempt/{attempt}/content`
pub(super) async fn expunge(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    msg: &str,
    attempt: &str,
) -> Result<Reply, ApiError> {
    Caller::of(api, request)?.operator()?;
    let attempt = find_attempt(api, request, app, msg, attempt)?;
    api.write(move |writer| writer.expunge_response(attempt.endpoint, attempt.id)).await?;
    Ok(Reply::no_content())
}

/// An endpoint a message was sent to, with where the delivery stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationOut {
    #[serde(flatten)]
    endpoint: EndpointOut,
    status: u8,
    status_text: &'static str,
    next_attempt: Option<String>,
}

/// `GET /app/{app}/msg/{msg}/endpoint`
pub(super) fn destinations(
    api: &Api,
    request: &Request,
    app: &str,
    msg: &str,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let message = message::find(api, tenant.app.id, msg)?.0;
    let page = PageRequest::of(&Query::parse(&request.query)?, false)?;
    let range = page.range(|text| endpoint::place(&tenant, text))?;
    let mut rows: BTreeMap<EndpointId, Option<Delivery>> =
        message.endpoints.iter().map(|id| (*id, None)).collect();
    for delivery in api.store.deliveries_of_message(message.id)? {
        rows.insert(delivery.endpoint, Some(delivery));
    }
    // A deleted endpoint is found by nobody.
    rows.retain(|id, _| tenant.endpoints.contains_key(id));
    let rows: Vec<(EndpointId, Option<Delivery>)> = rows.into_iter().collect();
    let rows = cut(&page, rows, |(id, _)| id.0, &range);
    let out = page.answer(
        rows,
        |(id, _)| id.to_string(),
        |id| EndpointId(id).to_string(),
        |(id, delivery)| {
            let endpoint = tenant.endpoints.get(&id)?;
            let (status, status_text) = status_of(delivery.as_ref());
            let next_attempt = next_attempt(delivery.as_ref(), &message);
            Some(DestinationOut {
                endpoint: EndpointOut::of(endpoint),
                status,
                status_text,
                next_attempt,
            })
        },
    );
    Ok(Reply::json(200, &out))
}

/// `GET /app/{app}/endpoint/{endpoint}/msg`: messages with an attempt to it, newest attempt first.
pub(super) fn attempted_messages(
    api: &Api,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, true)?;
    let filter = MessageFilter::of(&query);
    let wanted_status = query.number("status")?;
    let with_content = query.flag("with_content", true)?;
    let app = tenant.app.id;
    let mut range = page.range(|text| message::find_id(api, app, text))?;
    message::narrow(&mut range, &query)?;
    let rows = api.store.page_of_messages_where(app, &range, with_content, |message| {
        if !filter.lets(message) {
            return Ok(None);
        }
        let delivery = api.store.delivery(message.id, endpoint.id)?;
        let status = u64::from(status_of(delivery.as_ref()).0);
        let is_wanted = wanted_status.is_none_or(|wanted| wanted == status);
        Ok(delivery.filter(|d| is_wanted && d.last_attempt.is_some()))
    })?;
    let id = |(message, _, _): &(Message, Payload, Delivery)| message.id.to_string();
    let out = page.answer(
        rows,
        id,
        |id| MessageId(id).to_string(),
        |(message, payload, delivery)| {
            let (status, text) = status_of(Some(&delivery));
            let next = next_attempt(Some(&delivery), &message);
            let next = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
            let more =
                format!(",\"status\":{status},\"statusText\":\"{text}\",\"nextAttempt\":{next}");
            message::object(&message, &payload, with_content, &more)
        },
    );
    Ok(Reply::json(200, &out))
}

/// `POST /app/{app}/msg/{msg}/endpoint/{endpoint}/resend`
pub(super) async fn resend(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    msg: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let message = message::find(api, tenant.app.id, msg)?.0;
    if endpoint.disabled.is_some() {
        let detail = "the endpoint is disabled; enable it first (PATCH it with disabled: false)";
        return Err(ApiError::bad_request(detail));
    }
    let (app, message, endpoint) = (tenant.app.id, message.id, endpoint.id);
    let work = move |writer: &mut Writer<'_>| {
        writer.resend(app, message, endpoint)?;
        Ok(Answer::Body { status: 202, body: b"{}".to_vec() })
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}
