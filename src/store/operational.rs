//! Operational webhooks: what happens to endpoints and deliveries, told to the operator through the
//! same pipe. In the same commit as what happened, so that neither is there without the other.
//!
//! They are messages of an application in the management organisation, one for each organisation.
//! Nothing is told about that application itself: a receiver of such messages that fails must not
//! make more of them.

use std::sync::Arc;

use serde::Serialize;

use super::attempts::AttemptResult;
use super::directory::{Directory, Tenant};
use super::error::Result;
use super::writer::Writer;
use crate::model::application::Application;
use crate::model::clock::Timestamp;
use crate::model::delivery::{Trigger, Verdict};
use crate::model::endpoint::Endpoint;
use crate::model::id::{AppId, AttemptId, OrgId};
use crate::model::message::NewMessage;

/// Every type of operational event.
pub const EVENT_TYPES: [&str; 7] = [
    "endpoint.created",
    "endpoint.updated",
    "endpoint.deleted",
    "endpoint.disabled",
    "message.attempt.exhausted",
    "message.attempt.failing",
    "message.attempt.recovered",
];

/// A delivery is failing when so many of its attempts have failed and there are more to come.
pub const FAILING_AFTER: u16 = 4;

/// What happened to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Created,
    Updated,
    Deleted,
    /// By a rule, not by a person.
    Disabled,
}

impl Happened {
    fn event_type(self) -> &'static str {
        match self {
            Self::Created => "endpoint.created",
            Self::Updated => "endpoint.updated",
            Self::Deleted => "endpoint.deleted",
            Self::Disabled => "endpoint.disabled",
        }
    }
}

#[derive(Serialize)]
struct Body<T> {
    #[serde(rename = "type")]
    event_type: &'static str,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointData {
    app_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<String>,
    endpoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_since: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptData {
    app_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<String>,
    endpoint_id: String,
    msg_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_event_id: Option<String>,
    last_attempt: LastAttempt,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastAttempt {
    id: String,
    response_status_code: u16,
    timestamp: String,
}

impl Directory {
    /// The application that an organisation's operational webhooks are sent from, once it has an
    /// endpoint for them.
    pub fn management_tenant(&self, org: OrgId) -> Result<Option<Arc<Tenant>>> {
        self.find_tenant(OrgId::management(), &org.to_string())
    }
}

impl Writer<'_> {
    /// The application that an organisation's operational webhooks are sent from; made when there
    /// is none yet.
    pub fn management_application(&mut self, org: OrgId) -> Result<AppId> {
        if let Some(tenant) = self.shared().directory.management_tenant(org)? {
            return Ok(tenant.app.id);
        }
        let now = self.now();
        let app = Application {
            uid: Some(org.to_string()),
            name: format!("Operational webhooks of {org}"),
            ..Application::new(self.new_application_id(), OrgId::management(), now)
        };
        Ok(self.put_application(app)?.id)
    }

    /// Tells what happened to an endpoint.
    pub(super) fn tell_of_endpoint(
        &mut self,
        happened: Happened,
        endpoint: &Endpoint,
        failing_since: Option<Timestamp>,
    ) -> Result<()> {
        let Some((app, to)) = self.listener(endpoint.app)? else { return Ok(()) };
        let data = EndpointData {
            app_id: app.id.to_string(),
            app_uid: app.uid.clone(),
            endpoint_id: endpoint.id.to_string(),
            endpoint_uid: endpoint.uid.clone(),
            fail_since: failing_since.map(|t| t.to_string()),
        };
        self.tell(to, happened.event_type(), data);
        Ok(())
    }

    /// Tells what an attempt means, if it means anything to the operator.
    pub(super) fn tell_of_attempt(
        &mut self,
        result: &AttemptResult,
        attempt: AttemptId,
    ) -> Result<()> {
        // An attempt by hand stands beside the schedule.
        if result.row.trigger == Trigger::Manual {
            return Ok(());
        }
        let event_type = match result.verdict {
            Verdict::Exhausted => "message.attempt.exhausted",
            Verdict::Retry(_) if result.row.attempt == FAILING_AFTER => "message.attempt.failing",
            Verdict::Succeeded if result.row.attempt > FAILING_AFTER => "message.attempt.recovered",
            Verdict::Succeeded | Verdict::Retry(_) | Verdict::Hold => return Ok(()),
        };
        let Some((app, to)) = self.listener(result.app)? else { return Ok(()) };
        let key = result.row.key;
        let message = self.message(result.app, key.message)?;
        let data = AttemptData {
            app_id: app.id.to_string(),
            app_uid: app.uid.clone(),
            endpoint_id: key.endpoint.to_string(),
            msg_id: key.message.to_string(),
            msg_event_id: message.and_then(|m| m.event_id),
            last_attempt: LastAttempt {
                id: attempt.to_string(),
                response_status_code: result.status.unwrap_or(0),
                timestamp: result.started_at.to_string(),
            },
        };
        self.tell(to, event_type, data);
        Ok(())
    }

    /// The application something happened in, and the one that is told of it, if there is one.
    fn listener(&self, app: AppId) -> Result<Option<(Arc<Application>, AppId)>> {
        let directory = &self.shared().directory;
        let Some(tenant) = directory.tenant(app)? else { return Ok(None) };
        if tenant.app.org == OrgId::management() {
            return Ok(None);
        }
        let listener = directory.management_tenant(tenant.app.org)?;
        let listener = listener.filter(|listener| !listener.endpoints.is_empty());
        Ok(listener.map(|listener| (Arc::clone(&tenant.app), listener.app.id)))
    }

    /// What happened is kept whatever becomes of the telling.
    fn tell<T: Serialize>(&mut self, to: AppId, event_type: &'static str, data: T) {
        let payload = serde_json::to_vec(&Body { event_type, data }).unwrap_or_default();
        let new = NewMessage::new(event_type, payload);
        if let Err(err) = self.accept(to, new) {
            tracing::warn!(%err, event_type, "an operational webhook could not be sent");
        }
    }
}
