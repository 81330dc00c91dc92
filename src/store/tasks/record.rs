//! A task on disk. Variants keep their place and their fields for ever; a new kind of work is a new
//! variant at the end.

use serde::{Deserialize, Serialize};

use crate::model::clock::Timestamp;
use crate::model::delivery::State;
use crate::model::id::{AppId, EndpointId, ID_BYTES, OrgId, TaskId};
use crate::model::task::{Broadcast, ReplayFilter, Span, Task, TaskState, Work};
use crate::store::error::{Error, Result};

type RawId = [u8; ID_BYTES];

#[derive(Serialize, Deserialize)]
pub(super) struct TaskRecord {
    work: WorkRecord,
    state: u8,
    cursor: Vec<u8>,
    seen: u64,
    done: u64,
    created_at: u64,
    updated_at: u64,
    failure: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SpanRecord {
    app: RawId,
    endpoint: RawId,
    since: u64,
    until: u64,
}

#[derive(Serialize, Deserialize)]
struct FilterRecord {
    event_types: Vec<String>,
    channel: Option<String>,
    tag: Option<String>,
    state: Option<u8>,
    status_class: Option<u16>,
}

#[derive(Serialize, Deserialize)]
struct BroadcastRecord {
    event_type: String,
    event_id: Option<String>,
    channels: Vec<String>,
    payload_retention_hours: Option<u32>,
}

#[derive(Serialize, Deserialize)]
enum WorkRecord {
    Recover(SpanRecord),
    ReplayMissing(SpanRecord),
    BulkReplay(SpanRecord, FilterRecord),
    Cancel(SpanRecord),
    PurgeContent { app: RawId, until: u64 },
    Broadcast(BroadcastRecord),
    AppUsage { apps: Vec<RawId>, since: u64, until: u64 },
    EventTypeUsage,
    ExportEventTypes,
    ExpireTokens { app: RawId, issued_before: u64, at: u64 },
}

impl SpanRecord {
    fn of(span: &Span) -> Self {
        Self {
            app: span.app.0,
            endpoint: span.endpoint.0,
            since: span.since.0,
            until: span.until.0,
        }
    }

    fn into_domain(self) -> Span {
        Span {
            app: AppId(self.app),
            endpoint: EndpointId(self.endpoint),
            since: Timestamp(self.since),
            until: Timestamp(self.until),
        }
    }
}

impl FilterRecord {
    fn of(filter: &ReplayFilter) -> Self {
        Self {
            event_types: filter.event_types.clone(),
            channel: filter.channel.clone(),
            tag: filter.tag.clone(),
            state: filter.state.map(|state| state as u8),
            status_class: filter.status_class,
        }
    }

    fn into_domain(self) -> Result<ReplayFilter> {
        let state = match self.state {
            None => None,
            Some(0) => Some(State::Pending),
            Some(1) => Some(State::Succeeded),
            Some(2) => Some(State::Exhausted),
            Some(3) => Some(State::Cancelled),
            Some(other) => return Err(Error::corrupt("tasks", format!("unknown state {other}"))),
        };
        Ok(ReplayFilter {
            event_types: self.event_types,
            channel: self.channel,
            tag: self.tag,
            state,
            status_class: self.status_class,
        })
    }
}

impl WorkRecord {
    fn of(work: &Work) -> Self {
        match work {
            Work::Recover(span) => Self::Recover(SpanRecord::of(span)),
            Work::ReplayMissing(span) => Self::ReplayMissing(SpanRecord::of(span)),
            Work::BulkReplay(span, filter) => {
                Self::BulkReplay(SpanRecord::of(span), FilterRecord::of(filter))
            }
            Work::Cancel(span) => Self::Cancel(SpanRecord::of(span)),
            Work::PurgeContent(app, until) => Self::PurgeContent { app: app.0, until: until.0 },
            Work::Broadcast(message) => Self::Broadcast(BroadcastRecord {
                event_type: message.event_type.clone(),
                event_id: message.event_id.clone(),
                channels: message.channels.clone(),
                payload_retention_hours: message.payload_retention_hours,
            }),
            Work::AppUsage { apps, since, until } => Self::AppUsage {
                apps: apps.iter().map(|app| app.0).collect(),
                since: since.0,
                until: until.0,
            },
            Work::EventTypeUsage => Self::EventTypeUsage,
            Work::ExportEventTypes => Self::ExportEventTypes,
            Work::ExpireTokens { app, issued_before, at } => {
                Self::ExpireTokens { app: app.0, issued_before: issued_before.0, at: at.0 }
            }
        }
    }

    fn into_domain(self) -> Result<Work> {
        Ok(match self {
            Self::Recover(span) => Work::Recover(span.into_domain()),
            Self::ReplayMissing(span) => Work::ReplayMissing(span.into_domain()),
            Self::BulkReplay(span, filter) => {
                Work::BulkReplay(span.into_domain(), filter.into_domain()?)
            }
            Self::Cancel(span) => Work::Cancel(span.into_domain()),
            Self::PurgeContent { app, until } => Work::PurgeContent(AppId(app), Timestamp(until)),
            Self::Broadcast(message) => Work::Broadcast(Broadcast {
                event_type: message.event_type,
                event_id: message.event_id,
                channels: message.channels,
                payload_retention_hours: message.payload_retention_hours,
            }),
            Self::AppUsage { apps, since, until } => Work::AppUsage {
                apps: apps.into_iter().map(AppId).collect(),
                since: Timestamp(since),
                until: Timestamp(until),
            },
            Self::EventTypeUsage => Work::EventTypeUsage,
            Self::ExportEventTypes => Work::ExportEventTypes,
            Self::ExpireTokens { app, issued_before, at } => Work::ExpireTokens {
                app: AppId(app),
                issued_before: Timestamp(issued_before),
                at: Timestamp(at),
            },
        })
    }
}

impl TaskRecord {
    pub(super) fn of(task: &Task) -> Self {
        Self {
            work: WorkRecord::of(&task.work),
            state: task.state as u8,
            cursor: task.cursor.clone(),
            seen: task.seen,
            done: task.done,
            created_at: task.created_at.0,
            updated_at: task.updated_at.0,
            failure: task.failure.clone(),
        }
    }

    pub(super) fn into_domain(self, org: OrgId, id: TaskId) -> Result<Task> {
        let state = match self.state {
            0 => TaskState::Running,
            1 => TaskState::Finished,
            2 => TaskState::Failed,
            other => {
                return Err(Error::corrupt(format!("task {id}"), format!("unknown state {other}")));
            }
        };
        Ok(Task {
            id,
            org,
            work: self.work.into_domain()?,
            state,
            cursor: self.cursor,
            seen: self.seen,
            done: self.done,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            failure: self.failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec;

    fn span() -> Span {
        Span {
            app: AppId([1; 20]),
            endpoint: EndpointId([2; 20]),
            since: Timestamp(3),
            until: Timestamp(4),
        }
    }

    #[test]
    fn every_kind_of_work_comes_back_as_it_was() {
        let filter = ReplayFilter {
            event_types: vec!["a".to_owned()],
            channel: Some("c".to_owned()),
            tag: Some("t".to_owned()),
            state: Some(State::Exhausted),
            status_class: Some(500),
        };
        let message = Broadcast {
            event_type: "a".to_owned(),
            event_id: Some("e".to_owned()),
            channels: vec!["c".to_owned()],
            payload_retention_hours: Some(7),
        };
        let app = AppId([1; 20]);
        let kinds = [
            Work::Recover(span()),
            Work::ReplayMissing(span()),
            Work::BulkReplay(span(), filter),
            Work::BulkReplay(span(), ReplayFilter::default()),
            Work::Cancel(span()),
            Work::PurgeContent(app, Timestamp(9)),
            Work::Broadcast(message),
            Work::AppUsage { apps: vec![app], since: Timestamp(1), until: Timestamp(2) },
            Work::EventTypeUsage,
            Work::ExportEventTypes,
            Work::ExpireTokens { app, issued_before: Timestamp(1), at: Timestamp(2) },
        ];
        for work in kinds {
            let task = Task {
                id: TaskId([5; 20]),
                org: OrgId([6; 20]),
                work,
                state: TaskState::Failed,
                cursor: vec![7, 8],
                seen: 9,
                done: 10,
                created_at: Timestamp(11),
                updated_at: Timestamp(12),
                failure: Some("why".to_owned()),
            };
            let bytes = codec::encode(&TaskRecord::of(&task));
            let record: TaskRecord = codec::decode(&bytes).unwrap();
            assert_eq!(record.into_domain(task.org, task.id).unwrap(), task);
        }
    }
}
