//! Reading an application's messages as a log, in the order they were accepted: with an iterator
//! the reader keeps (`events`, `poller`), or one that is kept here, durably, for each consumer.
//!
//! A sink that names an endpoint of the application is narrowed down to what that endpoint wants,
//! whether it is disabled or not; any other name is the whole log. A consumer that asks again
//! without having said how far it came gets the same messages again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::edit::{check_path_name, moment};
use super::error::ApiError;
use super::message::{self, MessageFilter};
use super::paging::PageRequest;
use super::query::{Query, bad};
use super::reply::Reply;
use super::request::Request;
use crate::model::endpoint::{Endpoint, SharedEndpoint};
use crate::model::id::{ID_BYTES, MessageId, first_at};
use crate::model::matching::{Verdict, explain};
use crate::model::message::Message;
use crate::store::cursors::{ConsumerKey, Cursor};
use crate::store::directory::Tenant;
use crate::store::messages::Payload;
use crate::store::pages::{Page, Range};
use crate::store::{Error, Writer};

/// How long a consumer holds what it was given when nothing is said: a minute.
const DEFAULT_LEASE: u64 = 60_000;
/// Milliseconds it may ask for: a second to 12 hours.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1_000..=12 * 3600 * 1000;

/// What of the log is read.
struct Wanted {
    filter: MessageFilter,
    channels: Vec<String>,
    endpoint: Option<SharedEndpoint>,
}

impl Wanted {
    /// By the query alone.
    fn of(query: &Query) -> Self {
        let channels = query.list("channels");
        let filter = MessageFilter::of(query).with_event_types(query.list("event_type"));
        Self { filter, channels, endpoint: None }
    }

    /// By the query and the sink.
    fn of_sink(query: &Query, tenant: &Tenant, sink: &str) -> Result<Self, ApiError> {
        check_path_name("sink_id", sink)?;
        let endpoint = tenant.endpoint(sink).cloned();
        let endpoint =
            endpoint.map(|e| Arc::new(Endpoint { disabled: None, ..Endpoint::clone(&e) }));
        Ok(Self { endpoint, ..Self::of(query) })
    }

    fn lets(&self, message: &Message) -> bool {
        let channels = &message.channels;
        self.filter.lets(message)
            && (self.channels.is_empty() || self.channels.iter().any(|c| channels.contains(c)))
            && self.endpoint.as_ref().is_none_or(|endpoint| {
                explain(endpoint, &message.event_type, channels) == Verdict::Matches
            })
    }
}

/// A piece of the log on the wire.
#[derive(Debug, Serialize)]
struct LogOut {
    data: Vec<Option<Box<RawValue>>>,
    /// Where to go on; the one that was given when there was nothing new.
    iterator: String,
    done: bool,
}

/// A request to read the log.
struct Reading {
    tenant: Arc<Tenant>,
    query: Query,
    wanted: Wanted,
    limit: usize,
}

impl Reading {
    /// Of the log, or of what a sink wants of it.
    fn of(api: &Api, request: &Request, app: &str, sink: Option<&str>) -> Result<Self, ApiError> {
        let tenant = Caller::of(api, request)?.tenant(api, app)?;
        let query = Query::parse(&request.query)?;
        let wanted = match sink {
            None => Wanted::of(&query),
            Some(sink) => Wanted::of_sink(&query, &tenant, sink)?,
        };
        let limit = PageRequest::limit_of(&query)?;
        Ok(Self { tenant, query, wanted, limit })
    }

    /// The messages behind `after`.
    fn behind(&self, api: &Api, after: MessageId) -> Result<Page<(Message, Payload)>, ApiError> {
        let range =
            Range { after: Some(after.0), before: None, descending: false, limit: self.limit };
        let wanted = |message: &Message| self.wanted.lets(message);
        Ok(api.store.page_of_messages(self.tenant.app.id, &range, true, wanted)?)
    }

    /// The same on the wire.
    fn answer(&self, api: &Api, after: MessageId) -> Result<Reply, ApiError> {
        Ok(Reply::json(200, &log_out(&self.behind(api, after)?, after)))
    }

    /// From where the reader says, or from the start.
    fn answer_as_asked(&self, api: &Api) -> Result<Reply, ApiError> {
        self.answer(api, place(&self.query)?.unwrap_or(MessageId([0; ID_BYTES])))
    }
}

fn log_out(page: &Page<(Message, Payload)>, after: MessageId) -> LogOut {
    let last = page.rows.last().map(|(message, _)| message.id);
    let iterator = page.more.map(MessageId).or(last).unwrap_or(after);
    LogOut {
        done: page.more.is_none(),
        data: page
            .rows
            .iter()
            .map(|(message, payload)| message::object(message, payload, true, ""))
            .collect(),
        iterator: iterator.to_string(),
    }
}

/// The message a reader names, or the one before everything accepted at `after`.
fn place(query: &Query) -> Result<Option<MessageId>, ApiError> {
    if let Some(text) = query.get("iterator") {
        let way_out = "must be the `iterator` of an earlier answer";
        return text.parse().map(Some).map_err(|_| bad("iterator", text, way_out));
    }
    Ok(query.moment("after")?.map(|after| MessageId(first_at(after))))
}

/// `GET /app/{app}/events`
pub(super) fn events(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    Reading::of(api, request, app, None)?.answer_as_asked(api)
}

/// `GET /app/{app}/poller/{sink}`
pub(super) fn poll(api: &Api, request: &Request, app: &str, sink: &str) -> Result<Reply, ApiError> {
    Reading::of(api, request, app, Some(sink))?.answer_as_asked(api)
}

fn consumer_key(tenant: &Tenant, sink: &str, consumer: &str) -> Result<ConsumerKey, ApiError> {
    check_path_name("consumer_id", consumer)?;
    let (sink, consumer) = (sink.to_owned(), consumer.to_owned());
    Ok(ConsumerKey { app: tenant.app.id, sink, consumer })
}

/// `GET /app/{app}/poller/{sink}/consumer/{consumer}`: an iterator that is given says that all up to
/// it was dealt with.
pub(super) async fn consumer_poll(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    sink: &str,
    consumer: &str,
) -> Result<Reply, ApiError> {
    let reading = Reading::of(api, request, app, Some(sink))?;
    let key = consumer_key(&reading.tenant, sink, consumer)?;
    let known = api.store.cursor(&key)?;
    let given = place(&reading.query)?;
    let after = given.or(known.as_ref().map(|c| c.position)).unwrap_or(Cursor::start().position);
    if known.is_none_or(|cursor| cursor.position != after) {
        api.write(move |writer| writer.put_cursor(&key, &Cursor::at(after))).await?;
    }
    reading.answer(api, after)
}

#[derive(Debug, Deserialize)]
struct SeekIn {
    after: String,
}

#[derive(Debug, Serialize)]
struct SeekOut {
    iterator: String,
}

/// `POST /app/{app}/poller/{sink}/consumer/{consumer}/seek`
pub(super) async fn consumer_seek(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    sink: &str,
    consumer: &str,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    check_path_name("sink_id", sink)?;
    let key = consumer_key(&tenant, sink, consumer)?;
    let input: SeekIn = request.json()?;
    let position = MessageId(first_at(moment("after", &input.after)?));
    api.write(move |writer| writer.put_cursor(&key, &Cursor::at(position))).await?;
    Ok(Reply::json(200, &SeekOut { iterator: position.to_string() }))
}

/// Messages a consumer holds.
#[derive(Debug, Serialize)]
struct LeaseOut {
    data: Vec<Option<Box<RawValue>>>,
    done: bool,
}

/// `GET /app/{app}/polling-endpoint/{sink}/consumer/{consumer}`: the consumer holds what it is given
/// until it commits or the lease ends; meanwhile nobody else is given anything under its name.
pub(super) async fn lease(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    sink: &str,
    consumer: &str,
) -> Result<Reply, ApiError> {
    let reading = Reading::of(api, request, app, Some(sink))?;
    let lease = reading.query.number("lease_duration_ms")?.unwrap_or(DEFAULT_LEASE);
    if !LEASE_MS.contains(&lease) {
        let way_out = "must be 1000 to 43200000 milliseconds";
        return Err(bad("lease_duration_ms", &lease.to_string(), way_out));
    }
    let key = lease_key(&reading.tenant, sink, consumer)?;
    let cursor = match api.store.cursor(&key)? {
        Some(cursor) => cursor,
        None => Cursor::at(starting_position(api, &reading)?),
    };
    let now = api.store.now();
    if !cursor.leased.is_empty() && cursor.leased_until > now {
        return Ok(Reply::json(200, &LeaseOut { data: Vec::new(), done: false }));
    }
    let page = reading.behind(api, cursor.position)?;
    let leased: Vec<MessageId> = page.rows.iter().map(|(message, _)| message.id).collect();
    let leased_until = now.plus(Duration::from_millis(lease));
    let taken = match page.more {
        // Nothing was found as far as it was looked: the next one looks on from there.
        Some(passed) if leased.is_empty() => {
            Cursor { position: MessageId(passed), ..cursor.clone() }
        }
        _ => Cursor { leased, leased_until, ..cursor.clone() },
    };
    let was_first = api.write(move |writer| take_lease(writer, &key, &cursor, &taken)).await?;
    let Some(offset) = was_first else {
        return Ok(Reply::json(200, &LeaseOut { data: Vec::new(), done: false }));
    };
    let rows = page.rows.iter().zip(offset..);
    let data = rows.map(|((message, payload), offset)| {
        message::object(message, payload, true, &format!(",\"offset\":{offset}"))
    });
    Ok(Reply::json(200, &LeaseOut { data: data.collect(), done: page.more.is_none() }))
}

/// Of two that come at once the first gets it. Gives the offset of the first message.
fn take_lease(
    writer: &mut Writer<'_>,
    key: &ConsumerKey,
    seen: &Cursor,
    taken: &Cursor,
) -> Result<Option<u64>, Error> {
    match writer.cursor(key)? {
        Some(now) if now != *seen => return Ok(None),
        Some(_) | None => writer.put_cursor(key, taken)?,
    }
    Ok(Some(taken.offset))
}

/// Leases and iterators of the same names are apart.
fn lease_key(tenant: &Tenant, sink: &str, consumer: &str) -> Result<ConsumerKey, ApiError> {
    let key = consumer_key(tenant, sink, consumer)?;
    Ok(ConsumerKey { sink: format!("{}\u{1}lease", key.sink), ..key })
}

/// After which message a consumer begins. An id holds its moment to 4 ms: what comes last is asked
/// for, not what time it is.
fn starting_position(api: &Api, reading: &Reading) -> Result<MessageId, ApiError> {
    match reading.query.get("starting_position") {
        None | Some("earliest") => Ok(Cursor::start().position),
        Some("latest") => {
            let newest = Range { after: None, before: None, descending: true, limit: 1 };
            let page =
                api.store.page_of_messages(reading.tenant.app.id, &newest, false, |_| true)?;
            let last = page.rows.first().map(|(message, _)| message.id);
            Ok(last.unwrap_or(MessageId(first_at(api.store.now()))))
        }
        Some(other) => Err(bad("starting_position", other, "must be `earliest` or `latest`")),
    }
}

#[derive(Debug, Deserialize)]
struct CommitIn {
    offset: u64,
}

/// `POST /app/{app}/polling-endpoint/{sink}/consumer/{consumer}/commit`: all up to and with this offset
/// was dealt with; what is left of the lease is given back.
pub(super) async fn commit(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    sink: &str,
    consumer: &str,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    check_path_name("sink_id", sink)?;
    let key = lease_key(&tenant, sink, consumer)?;
    let input: CommitIn = request.json()?;
    let committed = api.write(move |writer| commit_to(writer, &key, input.offset)).await?;
    if committed {
        return Ok(Reply::no_content());
    }
    let message = format!("offset is {}, which is not among the messages held", input.offset);
    Err(ApiError::invalid("body", "offset", message))
}

fn commit_to(writer: &mut Writer<'_>, key: &ConsumerKey, offset: u64) -> Result<bool, Error> {
    let cursor = writer.cursor(key)?.ok_or(Error::NotFound("consumer"))?;
    if offset < cursor.offset {
        // Committed before: an answer got lost.
        return Ok(true);
    }
    let index = usize::try_from(offset - cursor.offset).unwrap_or(usize::MAX);
    let Some(position) = cursor.leased.get(index) else { return Ok(false) };
    let next = Cursor { offset: offset + 1, ..Cursor::at(*position) };
    writer.put_cursor(key, &next)?;
    Ok(true)
}
