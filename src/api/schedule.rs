//! The retry schedule of an event type, in place of the global one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use crate::model::event_type::EventType;
use crate::model::limits::{RETRY_STEP_SECONDS, RETRY_STEPS};
use crate::store::Error;

/// A span of time as libraries write it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct DurationIo {
    secs: u64,
    #[serde(default)]
    nanos: u32,
}

/// Waits between tries; null = the global schedule, `[]` = one try.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScheduleIo {
    #[serde(default)]
    retry_schedule: Option<Vec<DurationIo>>,
}

/// Kept to the millisecond.
fn wait(io: DurationIo) -> std::time::Duration {
    std::time::Duration::from_millis(io.secs * 1000 + u64::from(io.nanos / 1_000_000))
}

fn out(event_type: &EventType) -> ScheduleIo {
    let wait = |wait: &std::time::Duration| DurationIo {
        secs: wait.as_secs(),
        nanos: wait.subsec_nanos(),
    };
    let schedule = event_type.retry_schedule.as_ref();
    ScheduleIo { retry_schedule: schedule.map(|s| s.iter().map(wait).collect()) }
}

/// `GET /event-type/{name}/retry-schedule`
pub(super) fn get(api: &Api, request: &Request, name: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let found = api.store.directory().event_type(caller.org, name)?;
    Ok(Reply::json(200, &out(&*found.ok_or_else(ApiError::not_found)?)))
}

/// `PUT /event-type/{name}/retry-schedule`
pub(super) async fn set(api: &Arc<Api>, request: &Request, name: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: ScheduleIo = request.json()?;
    let waits = input.retry_schedule.as_deref().unwrap_or_default();
    let invalid = |message: String| Err(ApiError::invalid("body", "retrySchedule", message));
    if waits.len() > RETRY_STEPS {
        return invalid(format!(
            "retrySchedule has {} waits, at most {RETRY_STEPS} are taken",
            waits.len()
        ));
    }
    if let Some(bad) = waits.iter().find(|w| w.secs > RETRY_STEP_SECONDS || w.nanos > 999_999_999) {
        return invalid(format!(
            "retrySchedule has a wait of {} s and {} ns, but secs must be at most {RETRY_STEP_SECONDS} and nanos at most 999999999",
            bad.secs, bad.nanos
        ));
    }
    let schedule = input.retry_schedule.map(|waits| waits.iter().map(|w| wait(*w)).collect());
    let name = name.to_owned();
    let changed = api
        .write(move |writer| {
            let old = writer.event_type(caller.org, &name)?.ok_or(Error::NotFound("event type"))?;
            let updated_at = writer.now();
            writer.put_event_type(EventType {
                retry_schedule: schedule,
                updated_at,
                ..EventType::clone(&old)
            })
        })
        .await?;
    Ok(Reply::json(200, &out(&changed)))
}
