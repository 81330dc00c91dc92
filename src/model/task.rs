//! A background task: work that is too long for one request, done in small durable steps.

use super::clock::Timestamp;
use super::delivery::State;
use super::id::{AppId, EndpointId, OrgId, TaskId};

/// Where a task stands. The numbers are on disk and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskState {
    /// There is more to do, or the moment for it has not come.
    Running = 0,
    /// All is done.
    Finished = 1,
    /// It cannot go on; [`Task::failure`] says why.
    Failed = 2,
}

/// Messages of one endpoint in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The application.
    pub app: AppId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Messages accepted from then on.
    pub since: Timestamp,
    /// Up to and including then.
    pub until: Timestamp,
}

/// What a bulk replay is narrowed down by. Empty lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayFilter {
    /// Any of these; empty = all.
    pub event_types: Vec<String>,
    /// Sent to this channel.
    pub channel: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Whose delivery stands there.
    pub state: Option<State>,
    /// Whose last attempt was answered so: 200 for 2xx; 0 = not at all.
    pub status_class: Option<u16>,
}

/// A message that goes to every application of an organisation. Its payload lies beside the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// The dotted name of what happened.
    pub event_type: String,
    /// The caller's own id, in each application.
    pub event_id: Option<String>,
    /// Channels it is for.
    pub channels: Vec<String>,
    /// Hours its payload is kept; `None` = the store's retention.
    pub payload_retention_hours: Option<u32>,
}

/// What a task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Starts the schedule anew for deliveries that have failed.
    Recover(Span),
    /// Sends what the endpoint wants and was never sent.
    ReplayMissing(Span),
    /// Sends again what was sent to the endpoint.
    BulkReplay(Span, ReplayFilter),
    /// Gives up deliveries that wait, of messages accepted before `until`.
    Cancel(Span),
    /// Removes the payloads of all messages accepted up to then.
    PurgeContent(AppId, Timestamp),
    /// Accepts a message for every application that was there when the task was made.
    Broadcast(Broadcast),
    /// Counts the deliveries of these applications (empty = all) in a span of time.
    AppUsage {
        /// Which.
        apps: Vec<AppId>,
        /// From then on.
        since: Timestamp,
        /// Before then.
        until: Timestamp,
    },
    /// Counts all messages by event type.
    EventTypeUsage,
    /// A document of the event types; made when it is asked for.
    ExportEventTypes,
    /// Ends tokens of an application at a later moment.
    ExpireTokens {
        /// Whose.
        app: AppId,
        /// Tokens made before this.
        issued_before: Timestamp,
        /// When they end.
        at: Timestamp,
    },
}

impl Work {
    /// The application it is done for, if it is a single one.
    pub fn app(&self) -> Option<AppId> {
        match self {
            Self::Recover(span)
            | Self::ReplayMissing(span)
            | Self::BulkReplay(span, _)
            | Self::Cancel(span) => Some(span.app),
            Self::PurgeContent(app, _) | Self::ExpireTokens { app, .. } => Some(*app),
            Self::Broadcast(_)
            | Self::AppUsage { .. }
            | Self::EventTypeUsage
            | Self::ExportEventTypes => None,
        }
    }
}

/// A background task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Set once.
    pub id: TaskId,
    /// Its organisation; set once.
    pub org: OrgId,
    /// What it does; set once.
    pub work: Work,
    /// Where it stands.
    pub state: TaskState,
    /// How far it has come: a key of whatever it walks over. Empty = not begun.
    pub cursor: Vec<u8>,
    /// Rows it has looked at.
    pub seen: u64,
    /// Rows it did something to.
    pub done: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its latest step was taken.
    pub updated_at: Timestamp,
    /// Why it failed.
    pub failure: Option<String>,
}
