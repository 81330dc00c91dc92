//! An application: a tenant, whoever owns a set of endpoints.

use std::collections::BTreeMap;

use super::clock::Timestamp;
use super::id::{AppId, OrgId};

/// Strings a caller keeps beside a record and Posthaste never reads.
pub type Metadata = BTreeMap<String, String>;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Set once, when it is made.
    pub id: AppId,
    /// The organisation it belongs to; set once.
    pub org: OrgId,
    /// The caller's own name for it, unique in the organisation; free again once deleted.
    pub uid: Option<String>,
    /// Shown to people.
    pub name: String,
    /// Messages a second over all its endpoints.
    pub throttle_rate: Option<u32>,
    /// The caller's own notes.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by a person or a program, never by a delivery.
    pub updated_at: Timestamp,
    /// Deleted: kept for what refers to it, found by nobody.
    pub deleted: bool,
    /// Tokens of this application made before this moment are refused (`expire-all`).
    pub tokens_valid_from: Timestamp,
}

impl Application {
    /// An application with nothing but what it must have, made at `now`.
    pub fn new(id: AppId, org: OrgId, now: Timestamp) -> Self {
        Self {
            id,
            org,
            uid: None,
            name: String::new(),
            throttle_rate: None,
            metadata: Metadata::new(),
            created_at: now,
            updated_at: now,
            deleted: false,
            tokens_valid_from: Timestamp(0),
        }
    }
}
