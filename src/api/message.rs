//! Messages: accept, list, get, expunge. Accepting is the hot path.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Api;
use super::application::ApplicationIn;
use super::caller::Caller;
use super::edit::{check_name, check_uid, moment};
use super::error::ApiError;
use super::paging::PageRequest;
use super::query::Query;
use super::reply::Reply;
use super::request::{Request, depth, read};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, MessageId};
use crate::model::limits::{
    CHANNEL_CHARS, EVENT_TYPE_CHARS, JSON_DEPTH, MESSAGE_CHANNELS, MESSAGE_TAGS,
};
use crate::model::message::{Message, NewMessage};
use crate::store::Error;
use crate::store::idempotency::Answer;
use crate::store::messages::Payload;
use crate::store::pages::Range;

/// The fewest days a payload may be kept by `payloadRetentionPeriod`.
const RETENTION_DAYS: u32 = 5;
/// And the most.
const MOST_RETENTION_DAYS: u32 = 90;
/// Hours it may be kept by `payloadRetentionHours`.
const RETENTION_HOURS: std::ops::RangeInclusive<u32> = 1..=2160;
/// `deliverAt` is so far ahead at the least: what is nearer may as well be sent now.
const DELAY_LEAST: Duration = Duration::from_secs(60);
/// And so far at the most.
const DELAY_MOST: Duration = Duration::from_secs(24 * 3600);

/// What payloads are sent as unless something else is said.
const JSON: &str = "application/json";

/// Bytes of a raw payload's content type.
const CONTENT_TYPE_BYTES: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageIn<'a> {
    event_type: String,
    /// Kept as the bytes that came; never parsed further, never written anew.
    #[serde(borrow, alias = "data")]
    payload: &'a RawValue,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    payload_retention_period: Option<u32>,
    #[serde(default)]
    payload_retention_hours: Option<u32>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    deliver_at: Option<String>,
    #[serde(default)]
    application: Option<ApplicationIn>,
    #[serde(default)]
    transformations_params: Option<TransformationsIn>,
}

/// What libraries use to send a payload that is not JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransformationsIn {
    #[serde(default)]
    raw_payload: Option<String>,
    #[serde(default)]
    headers: Option<std::collections::BTreeMap<String, String>>,
}

impl MessageIn<'_> {
    fn check(&self, api: &Api) -> Result<(), ApiError> {
        check_name("eventType", &self.event_type, EVENT_TYPE_CHARS)?;
        if let Some(event_id) = &self.event_id {
            check_uid("eventId", event_id, MessageId::PREFIX)?;
        }
        if let Some(channels) = &self.channels {
            check_channels(channels, MESSAGE_CHANNELS)?;
        }
        self.retention_hours()?;
        check_tags(self.tags.as_deref().unwrap_or_default())?;
        if !self.payload.get().starts_with('{') && self.raw_payload().is_none() {
            let message = "payload must be a JSON object; put other values into a field of one";
            return Err(ApiError::invalid("body", "payload", message));
        }
        let content_type = self.content_type();
        check_content_type(content_type.as_deref())?;
        if content_type.is_none() {
            check_depth(self.raw_payload().unwrap_or(self.payload.get()))?;
        }
        if self.raw_payload().map_or(self.payload.get().len(), str::len) > api.settings.max_payload
        {
            return Err(super::intake::too_large(api));
        }
        self.application.as_ref().map_or(Ok(()), ApplicationIn::check)
    }

    fn raw_payload(&self) -> Option<&str> {
        self.transformations_params.as_ref()?.raw_payload.as_deref()
    }

    /// What a raw payload is sent as. `None`, which is JSON, only when it is a JSON object: then
    /// it may stand in our answers as it is.
    fn content_type(&self) -> Option<String> {
        let params = self.transformations_params.as_ref()?;
        let raw = params.raw_payload.as_ref()?;
        let mut headers = params.headers.iter().flatten();
        let given = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = given.map_or(JSON, |(_, value)| value.as_str());
        let is_object =
            raw.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(raw).is_ok();
        (content_type != JSON || !is_object).then(|| content_type.to_owned())
    }

    fn retention_hours(&self) -> Result<Option<u32>, ApiError> {
        let (days, hours) = (self.payload_retention_period, self.payload_retention_hours);
        retention_hours(RETENTION_DAYS, days, hours)
    }

    /// The moment before which it is not to be tried.
    fn deliver_at(&self, api: &Api) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = &self.deliver_at else { return Ok(None) };
        let (at, now) = (moment("deliverAt", text)?, api.store.now());
        if at < now.plus(DELAY_LEAST) || at > now.plus(DELAY_MOST) {
            let message = format!("deliverAt is {at}, but must be 1 minute to 24 hours from now");
            return Err(ApiError::invalid("body", "deliverAt", message));
        }
        Ok(Some(at))
    }

    /// The message, its payload a slice of the request's own bytes.
    fn into_new(
        self,
        api: &Api,
        body: &Bytes,
    ) -> Result<(NewMessage, Option<ApplicationIn>), ApiError> {
        let deliver_at = self.deliver_at(api)?;
        let payload_retention_hours = self.retention_hours()?;
        let payload = match self.raw_payload() {
            Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
            None => body.slice_ref(self.payload.get().as_bytes()),
        };
        let content_type = self.content_type();
        let message = NewMessage {
            event_id: self.event_id,
            channels: self.channels.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            deliver_at,
            payload_retention_hours,
            content_type,
            ..NewMessage::new(self.event_type, payload)
        };
        Ok((message, self.application))
    }
}

/// For how many hours a payload is kept, by whichever of the two was given; hours come first.
pub(super) fn retention_hours(
    least_days: u32,
    days: Option<u32>,
    hours: Option<u32>,
) -> Result<Option<u32>, ApiError> {
    if let Some(days) = days.filter(|days| !(least_days..=MOST_RETENTION_DAYS).contains(days)) {
        let message = format!(
            "payloadRetentionPeriod is {days}, but must be {least_days} to {MOST_RETENTION_DAYS} days"
        );
        return Err(ApiError::invalid("body", "payloadRetentionPeriod", message));
    }
    if let Some(hours) = hours.filter(|hours| !RETENTION_HOURS.contains(hours)) {
        let message = format!("payloadRetentionHours is {hours}, but must be 1 to 2160");
        return Err(ApiError::invalid("body", "payloadRetentionHours", message));
    }
    Ok(hours.or(days.map(|days| days * 24)))
}

/// Checks tags: their number, and each by its own pattern.
pub(super) fn check_tags(tags: &[String]) -> Result<(), ApiError> {
    if tags.len() > MESSAGE_TAGS {
        let message = format!("tags has {} entries, at most {MESSAGE_TAGS} are taken", tags.len());
        return Err(ApiError::invalid("body", "tags", message));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./\\#".contains(&byte);
    match tags
        .iter()
        .find(|tag| tag.is_empty() || tag.len() > CHANNEL_CHARS || !tag.bytes().all(fits))
    {
        None => Ok(()),
        Some(tag) => {
            let message = format!(
                "tags has {}, but a tag is 1 to {CHANNEL_CHARS} letters, digits and -_./\\#",
                super::edit::shown(tag)
            );
            Err(ApiError::invalid("body", "tags", message))
        }
    }
}

/// Receivers, and the libraries that read our answers, must be able to parse it.
pub(super) fn check_depth(payload: &str) -> Result<(), ApiError> {
    let depth = depth(payload);
    if depth > JSON_DEPTH {
        let message = format!(
            "payload is nested {depth} levels deep, but may be {JSON_DEPTH}; send it flatter"
        );
        return Err(ApiError::invalid("body", "payload", message));
    }
    Ok(())
}

/// Whether a body can be read as a message: for the fuzzer.
#[cfg(test)]
pub(super) fn is_message(body: &[u8]) -> bool {
    let message: Result<MessageIn<'_>, _> = serde_json::from_slice(body);
    message.is_ok_and(|message| check_depth(message.payload.get()).is_ok())
}

fn check_content_type(content_type: Option<&str>) -> Result<(), ApiError> {
    let content_type = content_type.unwrap_or_default();
    if content_type.len() > CONTENT_TYPE_BYTES
        || !content_type.bytes().all(|b| (b' '..=b'~').contains(&b))
    {
        let message = format!(
            "the content type must be visible ASCII and at most {CONTENT_TYPE_BYTES} characters"
        );
        return Err(ApiError::invalid("body", "transformationsParams.headers", message));
    }
    Ok(())
}

/// Checks a list of channels: between 1 and `most`, each by the pattern.
pub(super) fn check_channels(channels: &[String], most: usize) -> Result<(), ApiError> {
    if channels.is_empty() || channels.len() > most {
        let message = format!(
            "channels has {} entries, but must have 1 to {most}; leave it out for none",
            channels.len()
        );
        return Err(ApiError::invalid("body", "channels", message));
    }
    channels.iter().try_for_each(|channel| check_name("channels", channel, CHANNEL_CHARS))
}

/// `POST /app/{app}/msg`: 202 once the message and every delivery it causes are on disk.
pub(super) async fn create(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.creates_messages()?;
    let with_content =
        request.query.is_empty() || Query::parse(&request.query)?.flag("with_content", true)?;
    let input: MessageIn<'_> = read(&request.body)?;
    input.check(api)?;
    let (new, inline) = input.into_new(api, &request.body)?;
    let tenant = caller.tenant(api, app);
    let app_id = match (tenant, inline) {
        (Ok(tenant), _) => tenant.app.id,
        (Err(_), Some(inline)) if caller.app.is_none() => {
            make_inline(api, &caller, app, inline).await?
        }
        (Err(error), _) => return Err(error),
    };
    let payload = new.payload.clone();
    let key = super::idempotency::key(request)?;
    let (answer, fresh) = api
        .write(move |writer| {
            let mut fresh = None;
            let (answer, _) = writer.once(key.as_ref(), |writer| {
                let message = writer.accept(app_id, new)?;
                let id = message.id;
                fresh = Some(message);
                Ok(Answer::Message { app: app_id, message: id })
            })?;
            Ok((answer, fresh))
        })
        .await?;
    if let Some(message) = fresh {
        return Ok(reply(202, &message, &Payload::Here(payload), with_content));
    }
    stored_reply(api, 202, answer, with_content)
}

/// An answer made from the message as it is kept: for requests whose idempotency key was seen
/// before, and where nobody counts microseconds.
pub(super) fn stored_reply(
    api: &Api,
    status: u16,
    answer: Answer,
    with_content: bool,
) -> Result<Reply, ApiError> {
    let Answer::Message { app, message } = answer else { return Ok(Reply::of(answer)) };
    let (message, payload) = api.store.message(app, message)?.ok_or_else(ApiError::not_found)?;
    Ok(reply(status, &message, &payload, with_content))
}

/// Makes the application that a message brings with it, when there is none yet.
pub(super) async fn make_inline(
    api: &Arc<Api>,
    caller: &Caller,
    app: &str,
    inline: ApplicationIn,
) -> Result<AppId, ApiError> {
    let org = caller.org;
    let problem = match &inline.uid {
        None => {
            Some(("application_uid_missing", "application.uid is missing, but the path names one"))
        }
        Some(uid) if uid != app => {
            Some(("application_uid_mismatch", "application.uid is not the uid in the path"))
        }
        Some(_) => None,
    };
    if let Some((kind, message)) = problem {
        return Err(ApiError::invalid_as(kind, "body", "application.uid", message));
    }
    let uid = app.to_owned();
    api.write(move |writer| match writer.application(org, &uid) {
        Ok(app) => Ok(app.id),
        Err(Error::NotFound(_)) => {
            let app = inline.into_new(writer, org);
            Ok(writer.put_application(app)?.id)
        }
        Err(err) => Err(err),
    })
    .await
}

/// A message on the wire with more fields behind its own; `more` begins with a comma or is empty. A
/// payload was read as JSON when it came; should it not be, the message is left out.
pub(super) fn object(
    message: &Message,
    payload: &Payload,
    with_content: bool,
    more: &str,
) -> Option<Box<RawValue>> {
    let mut text = String::from("{");
    write_out(&mut text, message, payload, with_content);
    text.push_str(more);
    text.push('}');
    RawValue::from_string(text).ok()
}

/// A message on the wire. Written by hand around the payload's own bytes.
pub(super) fn write_out(
    out: &mut String,
    message: &Message,
    payload: &Payload,
    with_content: bool,
) {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    // Writing to a String cannot fail.
    let mut put = |text: &str| out.push_str(text);
    put("\"id\":\"");
    put(&message.id.to_string());
    put("\",\"eventType\":");
    put(&quoted(&message.event_type));
    put(",\"payload\":");
    match payload {
        Payload::Gone => put("{\"expired\":true}"),
        Payload::Here(_) if !with_content => put("{}"),
        Payload::Here(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if message.content_type.is_none() => put(text),
            // Libraries read an object here, whatever was sent.
            _ => {
                put("{\"rawPayload\":");
                put(&quoted(&String::from_utf8_lossy(bytes)));
                put("}");
            }
        },
    }
    put(",\"timestamp\":\"");
    put(&message.created_at.to_string());
    put("\",\"eventId\":");
    put(&message.event_id.as_deref().map_or_else(|| "null".to_owned(), quoted));
    put(",\"channels\":");
    if message.channels.is_empty() {
        put("null");
    } else {
        put(&serde_json::to_string(&message.channels).unwrap_or_default());
    }
    if !message.tags.is_empty() {
        put(",\"tags\":");
        put(&serde_json::to_string(&message.tags).unwrap_or_default());
    }
    if let Some(at) = message.deliver_at {
        put(",\"deliverAt\":\"");
        put(&at.to_string());
        put("\"");
    }
}

/// A message as an answer.
pub(super) fn reply(
    status: u16,
    message: &Message,
    payload: &Payload,
    with_content: bool,
) -> Reply {
    let length = if let Payload::Here(bytes) = payload { bytes.len() } else { 0 };
    let mut out = String::with_capacity(256 + length);
    out.push('{');
    write_out(&mut out, message, payload, with_content);
    out.push('}');
    Reply::bytes(status, out)
}

/// The message with this id or `eventId`.
pub(super) fn find(
    api: &Api,
    app: AppId,
    id_or_event_id: &str,
) -> Result<(Message, Payload), ApiError> {
    let id = match id_or_event_id.parse::<MessageId>() {
        Ok(id) => Some(id),
        Err(_) => api.store.message_of_event(app, id_or_event_id)?,
    };
    let id = id.ok_or_else(ApiError::not_found)?;
    api.store.message(app, id)?.ok_or_else(ApiError::not_found)
}

/// What lists of messages and attempts are narrowed down by.
#[derive(Debug)]
pub(super) struct MessageFilter {
    event_types: Vec<String>,
    channel: Option<String>,
    tag: Option<String>,
}

impl MessageFilter {
    /// With what a body says.
    pub(super) fn new(
        event_types: Vec<String>,
        channel: Option<String>,
        tag: Option<String>,
    ) -> Self {
        Self { event_types, channel, tag }
    }

    pub(super) fn of(query: &Query) -> Self {
        Self {
            event_types: query.list("event_types"),
            channel: query.get("channel").map(str::to_owned),
            tag: query.get("tag").map(str::to_owned),
        }
    }

    /// The same, which lets these event types through too.
    pub(super) fn with_event_types(mut self, more: Vec<String>) -> Self {
        self.event_types.extend(more);
        self
    }

    /// Whether it lets everything through.
    pub(super) fn is_open(&self) -> bool {
        self.event_types.is_empty() && self.channel.is_none() && self.tag.is_none()
    }

    pub(super) fn lets(&self, message: &Message) -> bool {
        (self.event_types.is_empty() || self.event_types.contains(&message.event_type))
            && self.channel.as_ref().is_none_or(|c| message.channels.contains(c))
            && self.tag.as_ref().is_none_or(|t| message.tags.contains(t))
    }
}

/// Narrows a range of ids down to `before` and `after`: ids carry their time.
pub(super) fn narrow(range: &mut Range, query: &Query) -> Result<(), ApiError> {
    // An id's time is exact to 4 ms; the smallest id of a moment has no random part.
    let first_at = |t: Timestamp| crate::model::id::first_at(t);
    if let Some(before) = query.moment("before")? {
        let bound = first_at(before);
        range.before = Some(range.before.map_or(bound, |old| old.min(bound)));
    }
    if let Some(after) = query.moment("after")? {
        let bound = first_at(after);
        range.after = Some(range.after.map_or(bound, |old| old.max(bound)));
    }
    Ok(())
}

/// `GET /app/{app}/msg`: newest first.
pub(super) fn list(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, true)?;
    let filter = MessageFilter::of(&query);
    let with_content = query.flag("with_content", true)?;
    let mut range = page.range(|text| find_id(api, tenant.app.id, text))?;
    narrow(&mut range, &query)?;
    page_out(api, tenant.app.id, &page, &range, &filter, with_content)
}

/// A page of messages as an answer.
pub(super) fn page_out(
    api: &Api,
    app: AppId,
    page: &PageRequest,
    range: &Range,
    filter: &MessageFilter,
    with_content: bool,
) -> Result<Reply, ApiError> {
    let rows = api.store.page_of_messages(app, range, with_content, |m| filter.lets(m))?;
    let id = |(message, _): &(Message, Payload)| message.id.to_string();
    let out = page.answer(
        rows,
        id,
        |id| MessageId(id).to_string(),
        |(message, payload)| object(&message, &payload, with_content, ""),
    );
    Ok(Reply::json(200, &out))
}

pub(super) fn find_id(api: &Api, app: AppId, text: &str) -> Result<[u8; 20], ApiError> {
    if let Ok(id) = text.parse::<MessageId>() {
        return Ok(id.0);
    }
    let found = api.store.message_of_event(app, text)?;
    found.map(|id| id.0).ok_or_else(ApiError::not_found)
}

/// `GET /app/{app}/msg/{msg}`
pub(super) fn get(api: &Api, request: &Request, app: &str, msg: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let with_content = Query::parse(&request.query)?.flag("with_content", true)?;
    let (message, payload) = find(api, tenant.app.id, msg)?;
    Ok(reply(200, &message, &payload, with_content))
}

/// `DELETE /app/{app}/msg/{msg}/content`
pub(super) async fn expunge(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    msg: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let app = caller.tenant(api, app)?.app.id;
    let id = find(api, app, msg)?.0.id;
    api.write(move |writer| writer.expunge_payload(app, id)).await?;
    Ok(Reply::no_content())
}

#[derive(Debug, Serialize)]
struct RawOut {
    payload: String,
}

/// `GET /app/{app}/msg/{msg}/raw`: the payload as the text that came.
pub(super) fn raw(api: &Api, request: &Request, app: &str, msg: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    match find(api, tenant.app.id, msg)?.1 {
        Payload::Here(bytes) => {
            let payload = String::from_utf8_lossy(&bytes).into_owned();
            Ok(Reply::json(200, &RawOut { payload }))
        }
        Payload::Gone => Err(Error::PayloadGone.into()),
    }
}
