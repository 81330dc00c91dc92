//! Which endpoints a message is for, and why: before it is sent, and after.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::attempt::{next_attempt, status_of};
use super::caller::Caller;
use super::edit::check_name;
use super::endpoint;
use super::error::ApiError;
use super::message::{self, check_channels};
use super::paging::{ListOut, PageRequest};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::model::attempt::Attempt;
use crate::model::delivery::{Delivery, State};
use crate::model::endpoint::{DisabledReason, Endpoint};
use crate::model::id::EndpointId;
use crate::model::limits::{ENDPOINT_CHANNELS, EVENT_TYPE_CHARS};
use crate::model::matching::{Verdict, explain as verdict_of};
use crate::model::message::Message;
use crate::store::pages::Range;

/// Attempts of one message that are looked at.
const ATTEMPTS: usize = 1_000;
/// Attempts that are shown for one endpoint, the latest ones.
const SHOWN_ATTEMPTS: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatchIn {
    event_type: String,
    #[serde(default)]
    channels: Option<Vec<String>>,
}

impl MatchIn {
    fn of(request: &Request) -> Result<(String, Vec<String>), ApiError> {
        let input: Self = request.json()?;
        check_name("eventType", &input.event_type, EVENT_TYPE_CHARS)?;
        if let Some(channels) = &input.channels {
            check_channels(channels, ENDPOINT_CHANNELS)?;
        }
        Ok((input.event_type, input.channels.unwrap_or_default()))
    }
}

#[derive(Debug, Serialize)]
struct PrecheckOut {
    active: bool,
}

/// `POST /app/{app}/msg/precheck/active`: whether any endpoint would get such a message.
pub(super) fn precheck(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let (event_type, channels) = MatchIn::of(request)?;
    let active = !tenant.matcher().matches(&event_type, &channels).is_empty();
    Ok(Reply::json(200, &PrecheckOut { active }))
}

/// An endpoint, and whether a message is for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchOut {
    endpoint_id: String,
    endpoint_uid: Option<String>,
    url: String,
    matches: bool,
    /// `matches`, `disabled`, `event_type` or `channel`.
    reason: &'static str,
    detail: String,
}

impl MatchOut {
    fn of(endpoint: &Endpoint, event_type: &str, channels: &[String]) -> Self {
        let verdict = verdict_of(endpoint, event_type, channels);
        let (reason, detail) = reason(verdict, endpoint, event_type);
        Self {
            endpoint_id: endpoint.id.to_string(),
            endpoint_uid: endpoint.uid.clone(),
            url: endpoint.url.clone(),
            matches: verdict == Verdict::Matches,
            reason,
            detail,
        }
    }
}

fn reason(verdict: Verdict, endpoint: &Endpoint, event_type: &str) -> (&'static str, String) {
    let list = |names: Option<&Vec<String>>| names.map(|n| n.join(", ")).unwrap_or_default();
    match verdict {
        Verdict::Matches => {
            let detail = match &endpoint.event_types {
                None => "it wants every event type".to_owned(),
                Some(_) => format!("{event_type} is on its list of event types"),
            };
            ("matches", detail)
        }
        Verdict::Disabled => {
            let why = match endpoint.disabled {
                Some(DisabledReason::Gone) => "it answered 410 Gone",
                Some(DisabledReason::Failing) => "nothing succeeded for 5 days",
                Some(DisabledReason::Manual) | None => "through the API",
            };
            ("disabled", format!("it is disabled: {why}"))
        }
        Verdict::EventType => {
            let wanted = list(endpoint.event_types.as_ref());
            ("event_type", format!("it wants {wanted}, not {event_type}"))
        }
        Verdict::Channel => {
            let wanted = list(endpoint.channels.as_ref());
            ("channel", format!("it listens on {wanted}, the message is for none of these"))
        }
    }
}

/// `POST /app/{app}/match`: the dry run for a message that is not sent.
pub(super) fn dry_run(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let (event_type, channels) = MatchIn::of(request)?;
    let page = PageRequest::of(&Query::parse(&request.query)?, false)?;
    let rows = endpoint::page_of(&tenant, &page)?;
    let out = page.answer(
        rows,
        |endpoint| endpoint.id.to_string(),
        |id| EndpointId(id).to_string(),
        |endpoint| MatchOut::of(&endpoint, &event_type, &channels),
    );
    Ok(Reply::json(200, &out))
}

/// What became of a message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainOut {
    msg_id: String,
    event_type: String,
    channels: Option<Vec<String>>,
    timestamp: String,
    deliver_at: Option<String>,
    /// Its payload is gone: it cannot be sent again.
    expired: bool,
    #[serde(flatten)]
    endpoints: ListOut<EndpointExplained>,
}

/// What became of it at one endpoint of the application.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointExplained {
    #[serde(flatten)]
    matching: MatchOut,
    /// A delivery was made for it, at once or by a replay.
    scheduled: bool,
    status: Option<u8>,
    status_text: Option<&'static str>,
    next_attempt: Option<String>,
    attempt_count: usize,
    attempts: Vec<AttemptBrief>,
    /// What would change that.
    remedy: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptBrief {
    id: String,
    timestamp: String,
    response_status_code: u16,
    response_duration_ms: u32,
    /// A stable code for what went wrong; empty for a success.
    failure: String,
    trigger_type: u8,
}

impl AttemptBrief {
    fn of(attempt: &Attempt) -> Self {
        Self {
            id: attempt.id.to_string(),
            timestamp: attempt.started_at.to_string(),
            response_status_code: attempt.status.unwrap_or(0),
            response_duration_ms: attempt.duration_ms,
            failure: attempt.failure_code.clone(),
            trigger_type: attempt.trigger as u8,
        }
    }
}

/// `GET /app/{app}/msg/{msg}/explain`
pub(super) fn explain(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    msg: &str,
) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    let message = message::find(api, tenant.app.id, msg)?.0;
    let page = PageRequest::of(&Query::parse(&request.query)?, false)?;
    let rows = endpoint::page_of(&tenant, &page)?;
    let deliveries = api.store.deliveries_of_message(message.id)?.into_iter();
    let deliveries: HashMap<EndpointId, Delivery> = deliveries.map(|d| (d.endpoint, d)).collect();
    let newest = Range { after: None, before: None, descending: true, limit: ATTEMPTS };
    let mut attempts: HashMap<EndpointId, Vec<Attempt>> = HashMap::new();
    for attempt in api.store.page_of_attempts_of_message(message.id, &newest, |_| Ok(true))?.rows {
        attempts.entry(attempt.endpoint).or_default().push(attempt);
    }
    let endpoints = page.answer(
        rows,
        |endpoint| endpoint.id.to_string(),
        |id| EndpointId(id).to_string(),
        |endpoint| {
            let delivery = deliveries.get(&endpoint.id);
            let made = attempts.get(&endpoint.id).map(Vec::as_slice).unwrap_or_default();
            explain_one(api, &message, &endpoint, delivery, made)
        },
    );
    let channels = Some(message.channels.clone()).filter(|channels| !channels.is_empty());
    Ok(Reply::json(
        200,
        &ExplainOut {
            msg_id: message.id.to_string(),
            event_type: message.event_type,
            channels,
            timestamp: message.created_at.to_string(),
            deliver_at: message.deliver_at.map(|at| at.to_string()),
            expired: message.payload_gone,
            endpoints,
        },
    ))
}

fn explain_one(
    api: &Api,
    message: &Message,
    endpoint: &Endpoint,
    delivery: Option<&Delivery>,
    attempts: &[Attempt],
) -> EndpointExplained {
    let scheduled = delivery.is_some() || message.endpoints.contains(&endpoint.id);
    let (status, status_text) = status_of(delivery);
    let matching = MatchOut::of(endpoint, &message.event_type, &message.channels);
    EndpointExplained {
        remedy: remedy(api, message, endpoint, delivery, scheduled, &matching),
        matching,
        scheduled,
        status: scheduled.then_some(status),
        status_text: scheduled.then_some(status_text),
        next_attempt: if scheduled { next_attempt(delivery, message) } else { None },
        attempt_count: attempts.len(),
        attempts: attempts.iter().take(SHOWN_ATTEMPTS).map(AttemptBrief::of).collect(),
    }
}

/// In words, what would change where a message stands at an endpoint.
fn remedy(
    api: &Api,
    message: &Message,
    endpoint: &Endpoint,
    delivery: Option<&Delivery>,
    scheduled: bool,
    matching: &MatchOut,
) -> String {
    if !scheduled {
        return why_not_sent(message, endpoint, matching);
    }
    let again = if message.payload_gone {
        "its payload is gone, so it cannot be sent again"
    } else {
        "resend tries once more, recover starts the schedule anew"
    };
    match delivery.map_or(State::Pending, |d| d.state) {
        State::Succeeded => "it was delivered; nothing has to change".to_owned(),
        State::Exhausted => format!("every try of the schedule failed: {again}"),
        State::Cancelled => format!("it was given up before its schedule ended: {again}"),
        State::Pending if endpoint.disabled.is_some() => {
            "the endpoint is disabled: what waits is sent once it is enabled".to_owned()
        }
        State::Pending => match api.board.pause(endpoint.id) {
            Some(pause) => format!(
                "the endpoint is paused since {} ({}): one success resumes it, the next probe is at {}",
                pause.since, pause.why, pause.next_probe
            ),
            None => match next_attempt(delivery, message) {
                Some(at) => format!("it is tried at {at}, or when its turn comes after that"),
                None => "it is tried when its turn comes".to_owned(),
            },
        },
    }
}

fn why_not_sent(message: &Message, endpoint: &Endpoint, matching: &MatchOut) -> String {
    if message.payload_gone {
        return "it was not sent here, and its payload is gone".to_owned();
    }
    let replay = "replay-missing sends it";
    if !matching.matches {
        let change = match matching.reason {
            "disabled" => "enable the endpoint".to_owned(),
            "event_type" => format!("add {} to its event types", message.event_type),
            _ => "add one of the message's channels to it".to_owned(),
        };
        return format!("{change}; then {replay}");
    }
    if endpoint.created_at > message.created_at {
        return format!("the endpoint was made after the message: {replay}");
    }
    format!("the endpoint did not want it when it was accepted, but does now: {replay}")
}
