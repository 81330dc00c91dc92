//! An event type: a registered dotted name, with schemas for people and tools.

use std::time::Duration;

use super::clock::Timestamp;
use super::id::OrgId;

/// A registered name. Messages may use names that are not registered; endpoints may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventType {
    /// Its organisation.
    pub org: OrgId,
    /// The name: the key, never changed.
    pub name: String,
    /// Shown to people.
    pub description: String,
    /// Hidden from lists; endpoints may no longer choose it.
    pub archived: bool,
    /// Shown as deprecated.
    pub deprecated: bool,
    /// JSON Schemas by version, as the JSON text that came.
    pub schemas: Option<String>,
    /// Names under which portals may see it; empty = everybody.
    pub feature_flags: Vec<String>,
    /// A heading that portals group it under.
    pub group_name: Option<String>,
    /// Waits between tries for messages of this type, in place of the global schedule.
    pub retry_schedule: Option<Vec<Duration>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
