//! Background tasks: started for other operations, listed, looked at.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::paging::PageRequest;
use super::query::{Query, bad};
use super::reply::Reply;
use super::request::Request;
use crate::model::id::{AppId, OrgId, TaskId};
use crate::model::task::{Task, TaskState, Work};
use crate::store::idempotency::Answer;
use crate::store::{Error, Writer};

/// Results of one task that are shown.
const SHOWN_RESULTS: usize = 5_000;

/// What libraries know where a task stands by.
fn status(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Finished => "finished",
        TaskState::Failed => "failed",
    }
}

/// Every kind of task that is shown.
const KINDS: [&str; 8] = [
    "endpoint.recover",
    "endpoint.replay",
    "endpoint.bulk-replay",
    "application.purge_content",
    "message.broadcast",
    "application.stats",
    "event-type.aggregate",
    "sdk.generate",
];

/// The name libraries know a kind of task by; `None` for those that are nobody's business.
fn kind(work: &Work) -> Option<&'static str> {
    Some(match work {
        Work::Recover(_) => "endpoint.recover",
        Work::ReplayMissing(_) => "endpoint.replay",
        Work::BulkReplay(..) => "endpoint.bulk-replay",
        Work::PurgeContent(..) => "application.purge_content",
        Work::Broadcast(_) => "message.broadcast",
        Work::AppUsage { .. } => "application.stats",
        Work::EventTypeUsage => "event-type.aggregate",
        Work::ExportEventTypes => "sdk.generate",
        Work::Cancel(_) | Work::ExpireTokens { .. } => return None,
    })
}

/// A task as the operation that started it answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StartedOut {
    id: String,
    status: &'static str,
    task: &'static str,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unresolved_app_ids: Option<Vec<String>>,
}

/// What a task is asked to be started with.
pub(super) struct Start {
    pub(super) org: OrgId,
    pub(super) work: Work,
    /// The payload of a broadcast.
    pub(super) payload: bytes::Bytes,
    /// Applications that were named and are not there.
    pub(super) unresolved: Option<Vec<String>>,
}

impl Start {
    /// Work that needs nothing beside it.
    pub(super) fn of(org: OrgId, work: Work) -> Self {
        Self { org, work, payload: bytes::Bytes::new(), unresolved: None }
    }
}

/// Starts a task, at most once per idempotency key: 202.
pub(super) async fn start(
    api: &Arc<Api>,
    request: &Request,
    start: Start,
) -> Result<Reply, ApiError> {
    let begin = move |writer: &mut Writer<'_>| {
        let task = if start.work == Work::ExportEventTypes {
            writer.put_finished_task(start.org, start.work)?
        } else {
            writer.start_task(start.org, start.work)?
        };
        writer.put_task_payload(task.id, &start.payload);
        let out = StartedOut {
            id: task.id.to_string(),
            status: status(task.state),
            task: kind(&task.work).unwrap_or_default(),
            updated_at: task.updated_at.to_string(),
            unresolved_app_ids: start.unresolved,
        };
        Ok(Answer::Body { status: 202, body: Reply::json(202, &out).body.to_vec() })
    };
    let (answer, _) = api.write_once(request, begin).await?;
    api.store.ring_for_tasks();
    Ok(Reply::of(answer))
}

/// A task on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskOut {
    id: String,
    status: &'static str,
    task: &'static str,
    updated_at: String,
    data: DataOut,
}

/// How far a task has come and what came of it. Each kind fills in its own.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataOut {
    /// Rows looked at.
    processed: u64,
    /// Rows something was done to.
    affected: u64,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_stats: Option<Vec<AppStatOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<EventTypeStatOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openapi: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AppStatOut {
    app_id: String,
    app_uid: Option<String>,
    message_destinations: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventTypeStatOut {
    name: String,
    messages: u64,
}

impl DataOut {
    fn of(task: &Task) -> Self {
        let mut data = Self {
            processed: task.seen,
            affected: task.done,
            created_at: task.created_at.to_string(),
            app_id: task.work.app().map(|app| app.to_string()),
            error: task.failure.clone(),
            ..Self::default()
        };
        match &task.work {
            Work::Recover(span) | Work::ReplayMissing(span) | Work::BulkReplay(span, _) => {
                data.endpoint_id = Some(span.endpoint.to_string());
                data.since = Some(span.since.to_string());
                data.until = Some(span.until.to_string());
            }
            Work::AppUsage { since, until, .. } => {
                data.since = Some(since.to_string());
                data.until = Some(until.to_string());
            }
            Work::Cancel(_)
            | Work::PurgeContent(..)
            | Work::Broadcast(_)
            | Work::EventTypeUsage
            | Work::ExportEventTypes
            | Work::ExpireTokens { .. } => {}
        }
        data
    }

    /// With what the task has found.
    fn with_results(api: &Api, task: &Task) -> Result<Self, ApiError> {
        let mut data = Self::of(task);
        let counts = || api.store.task_counts(task.id, SHOWN_RESULTS);
        match &task.work {
            Work::AppUsage { .. } => {
                let stats = counts()?.into_iter().map(|(app, count)| app_stat(api, &app, count));
                data.app_stats = Some(stats.collect::<Result<_, _>>()?);
            }
            Work::EventTypeUsage => {
                let stat = |(name, messages)| {
                    let name = String::from_utf8_lossy(name).into_owned();
                    EventTypeStatOut { name, messages }
                };
                let counts = counts()?;
                let stats = counts.iter().map(|(name, count)| (name.as_slice(), *count)).map(stat);
                data.event_types = Some(stats.collect());
            }
            Work::ExportEventTypes => {
                let types = api.store.directory().event_types(task.org)?;
                data.openapi = super::event_openapi::export(&types);
            }
            Work::Recover(_)
            | Work::ReplayMissing(_)
            | Work::BulkReplay(..)
            | Work::Cancel(_)
            | Work::PurgeContent(..)
            | Work::Broadcast(_)
            | Work::ExpireTokens { .. } => {}
        }
        Ok(data)
    }
}

fn app_stat(api: &Api, app: &[u8], count: u64) -> Result<AppStatOut, Error> {
    let id = AppId(app.try_into().unwrap_or_default());
    let tenant = api.store.directory().tenant(id)?;
    Ok(AppStatOut {
        app_id: id.to_string(),
        app_uid: tenant.and_then(|t| t.app.uid.clone()),
        message_destinations: count,
    })
}

fn out(task: &Task, data: DataOut) -> TaskOut {
    TaskOut {
        id: task.id.to_string(),
        status: status(task.state),
        task: kind(&task.work).unwrap_or_default(),
        updated_at: task.updated_at.to_string(),
        data,
    }
}

/// Whether the caller may see it: an application's token sees what is done for that application.
fn is_visible(caller: &Caller, task: &Task) -> bool {
    kind(&task.work).is_some() && (caller.app.is_none() || caller.app == task.work.app())
}

/// `GET /background-task`: newest first.
pub(super) fn list(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, true)?;
    let (wanted_status, wanted_kind) = (query.get("status"), query.get("task"));
    if let Some(other) = wanted_status
        && !["running", "finished", "failed"].contains(&other)
    {
        return Err(bad("status", other, "must be `running`, `finished` or `failed`"));
    }
    if let Some(other) = wanted_kind
        && !KINDS.contains(&other)
    {
        return Err(bad("task", other, &format!("must be one of {}", KINDS.join(", "))));
    }
    let range = page.range(|text| text.parse::<TaskId>().map(|id| id.0))?;
    let rows = api.store.page_of_tasks(caller.org, &range, |task| {
        is_visible(&caller, task)
            && wanted_status.is_none_or(|wanted| wanted == status(task.state))
            && wanted_kind.is_none_or(|wanted| Some(wanted) == kind(&task.work))
    })?;
    let id = |task: &Task| task.id.to_string();
    let answer =
        page.answer(rows, id, |id| TaskId(id).to_string(), |task| out(&task, DataOut::of(&task)));
    Ok(Reply::json(200, &answer))
}

/// `GET /background-task/{task}`
pub(super) fn get(api: &Api, request: &Request, id: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    let id: TaskId = id.parse().map_err(|_| ApiError::not_found())?;
    let task = api.store.task(caller.org, id)?.filter(|task| is_visible(&caller, task));
    let task = task.ok_or_else(ApiError::not_found)?;
    Ok(Reply::json(200, &out(&task, DataOut::with_results(api, &task)?)))
}
