//! Sending again, and giving up, by the thousand: recover, replay-missing, bulk-replay, cancel-msgs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Api;
use super::attempt::{CANCELED, FAIL, PENDING, SUCCESS};
use super::edit::moment;
use super::endpoint::{self, Whose};
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::task::{Start, start};
use crate::model::clock::Timestamp;
use crate::model::delivery::State;
use crate::model::endpoint::SharedEndpoint;
use crate::model::id::OrgId;
use crate::model::task::{ReplayFilter, Span, Work};
use crate::store::directory::Tenant;
use crate::store::tasks::Step;

/// How far back `recover` may go: 14 days.
const RECOVER_SPAN: Duration = Duration::from_secs(14 * 24 * 3600);
/// `cancel-msgs` answers after so long at the latest; what is left is done after that.
const CANCEL_WAIT: Duration = Duration::from_secs(10);
/// Event types a bulk replay may be narrowed down to.
const FILTER_EVENT_TYPES: usize = 250;

#[derive(Debug, Deserialize)]
struct SpanIn {
    since: String,
    #[serde(default)]
    until: Option<String>,
}

/// The span of time a body names: until now when nothing is said.
fn span(
    api: &Api,
    tenant: &Tenant,
    endpoint: &SharedEndpoint,
    since: &str,
    until: Option<&str>,
) -> Result<Span, ApiError> {
    let since = moment("since", since)?;
    let until = until.map_or(Ok(api.store.now()), |text| moment("until", text))?;
    if until < since {
        return Err(ApiError::invalid(
            "body",
            "until",
            "until (now, if not given) is before since",
        ));
    }
    Ok(Span { app: tenant.app.id, endpoint: endpoint.id, since, until })
}

/// The organisation, and the span a body that names nothing else asks for.
fn asked_span(
    api: &Api,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<(OrgId, Span), ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let input: SpanIn = request.json()?;
    let span = span(api, &tenant, &endpoint, &input.since, input.until.as_deref())?;
    Ok((tenant.app.org, span))
}

/// `POST /app/{app}/endpoint/{endpoint}/recover`: starts the schedule anew for what failed since.
pub(super) async fn recover(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (org, span) = asked_span(api, request, app, id)?;
    if api.store.now().since(span.since) > RECOVER_SPAN {
        let message = "since is more than 14 days ago; give a later one";
        return Err(ApiError::invalid("body", "since", message));
    }
    start(api, request, Start::of(org, Work::Recover(span))).await
}

/// `POST /app/{app}/endpoint/{endpoint}/replay-missing`: sends what the endpoint wants and never got,
/// because it was made, enabled or changed later.
pub(super) async fn missing(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (org, span) = asked_span(api, request, app, id)?;
    start(api, request, Start::of(org, Work::ReplayMissing(span))).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BulkIn {
    since: String,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    tag: Option<String>,
    #[serde(default)]
    status: Option<u8>,
    #[serde(default)]
    status_code_class: Option<u16>,
}

impl BulkIn {
    fn filter(self) -> Result<ReplayFilter, ApiError> {
        let state = match self.status {
            None => None,
            Some(number) if number == SUCCESS.0 => Some(State::Succeeded),
            // What is being sent is not told from what waits.
            Some(number) if number == PENDING.0 || number == 3 => Some(State::Pending),
            Some(number) if number == FAIL.0 => Some(State::Exhausted),
            Some(number) if number == CANCELED.0 => Some(State::Cancelled),
            Some(other) => {
                let message = format!("status is {other}, but must be 0, 1, 2, 3 or 4");
                return Err(ApiError::invalid("body", "status", message));
            }
        };
        if let Some(class) = self.status_code_class
            && ![0, 100, 200, 300, 400, 500].contains(&class)
        {
            let message =
                format!("statusCodeClass is {class}, but must be 0, 100, 200, 300, 400 or 500");
            return Err(ApiError::invalid("body", "statusCodeClass", message));
        }
        let event_types = self.event_types.unwrap_or_default();
        if event_types.len() > FILTER_EVENT_TYPES {
            let message = format!(
                "eventTypes has {} entries, at most {FILTER_EVENT_TYPES} are taken",
                event_types.len()
            );
            return Err(ApiError::invalid("body", "eventTypes", message));
        }
        super::edit::check_names("eventTypes", &event_types)?;
        super::edit::check_names("channel", self.channel.as_slice())?;
        super::message::check_tags(self.tag.as_slice())?;
        Ok(ReplayFilter {
            event_types,
            channel: self.channel,
            tag: self.tag,
            state,
            status_class: self.status_code_class,
        })
    }
}

/// `POST /app/{app}/endpoint/{endpoint}/bulk-replay`: sends again what was sent to it, whatever came of
/// it, unless a filter says otherwise.
pub(super) async fn bulk(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let input: BulkIn = request.json()?;
    let span = span(api, &tenant, &endpoint, &input.since, input.until.as_deref())?;
    let work = Work::BulkReplay(span, input.filter()?);
    start(api, request, Start::of(tenant.app.org, work)).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelIn {
    created_before: String,
}

/// `POST /app/{app}/endpoint/{endpoint}/cancel-msgs`: gives up what waits and is older than that.
pub(super) async fn cancel(
    api: &Arc<Api>,
    request: &Request,
    app: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, endpoint) = endpoint::find(api, request, Whose::App(app), id)?;
    let input: CancelIn = request.json()?;
    let until = moment("createdBefore", &input.created_before)?;
    let span = Span { app: tenant.app.id, endpoint: endpoint.id, since: Timestamp(0), until };
    let org = tenant.app.org;
    // A task, so that it is finished whatever happens to this request.
    let task = api.write(move |writer| Ok(writer.start_task(org, Work::Cancel(span))?.id)).await?;
    let store = Arc::clone(&api.store);
    let steps = move || {
        let deadline = Instant::now() + CANCEL_WAIT;
        while store.step_task(org, task)? == Step::More {
            if Instant::now() > deadline {
                store.ring_for_tasks();
                break;
            }
        }
        Ok::<_, crate::store::Error>(())
    };
    tokio::task::spawn_blocking(steps).await.map_err(ApiError::internal)??;
    Ok(Reply::no_content())
}
