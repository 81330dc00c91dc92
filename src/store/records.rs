//! Records: the types on disk. Their own set, apart from the domain's and the wire's.
//!
//! Field order and types are the format. A new field is a new version (see `codec`), never a
//! change of an old one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::error::{Error, Result};
use super::trees::Tree;
use crate::model::application::Application;
use crate::model::attempt::Attempt;
use crate::model::clock::Timestamp;
use crate::model::delivery::{Delivery, QueueKey, QueueRow, State, Trigger};
use crate::model::endpoint::{DisabledReason, Endpoint, LiveSecret};
use crate::model::event_type::EventType;
use crate::model::id::{AppId, AttemptId, EndpointId, ID_BYTES, MessageId, OrgId};
use crate::model::message::Message;
use crate::model::oauth::{AuthMethod, ClientCredentials};
use crate::model::secret::SigningKey;

type RawId = [u8; ID_BYTES];

/// Reads a record of `tree`, with the place in the error when it cannot be read.
pub(super) fn read<T: serde::de::DeserializeOwned>(tree: Tree, bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|err| damaged(tree, &err))
}

/// Reads a record of `tree` and the raw bytes behind it.
pub(super) fn read_with_tail<T: serde::de::DeserializeOwned>(
    tree: Tree,
    bytes: &[u8],
) -> Result<(T, &[u8])> {
    codec::decode_with_tail(bytes).map_err(|err| damaged(tree, &err))
}

fn damaged(tree: Tree, err: &CodecError) -> Error {
    Error::corrupt(tree.name(), err)
}

#[derive(Serialize, Deserialize)]
pub(super) struct ApplicationRecord {
    uid: Option<String>,
    name: String,
    throttle_rate: Option<u32>,
    metadata: BTreeMap<String, String>,
    created_at: u64,
    updated_at: u64,
    deleted: bool,
    tokens_valid_from: u64,
}

impl ApplicationRecord {
    pub(super) fn of(app: &Application) -> Self {
        Self {
            uid: app.uid.clone(),
            name: app.name.clone(),
            throttle_rate: app.throttle_rate,
            metadata: app.metadata.clone(),
            created_at: app.created_at.0,
            updated_at: app.updated_at.0,
            deleted: app.deleted,
            tokens_valid_from: app.tokens_valid_from.0,
        }
    }

    pub(super) fn into_domain(self, org: OrgId, id: AppId) -> Application {
        Application {
            id,
            org,
            uid: self.uid,
            name: self.name,
            throttle_rate: self.throttle_rate,
            metadata: self.metadata,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            deleted: self.deleted,
            tokens_valid_from: Timestamp(self.tokens_valid_from),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SecretRecord {
    /// The key's text (`whsec_…`, `whsk_…`).
    text: String,
    expires_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct OauthRecord {
    token_url: String,
    client_id: String,
    client_secret: String,
    scope: Option<String>,
    audience: Option<String>,
    /// Id and secret stand in the form rather than in a header.
    in_form: bool,
}

impl OauthRecord {
    fn of(oauth: &ClientCredentials) -> Self {
        Self {
            token_url: oauth.token_url.clone(),
            client_id: oauth.client_id.clone(),
            client_secret: oauth.client_secret.clone(),
            scope: oauth.scope.clone(),
            audience: oauth.audience.clone(),
            in_form: oauth.auth_method == AuthMethod::ClientSecretPost,
        }
    }

    fn into_domain(self) -> ClientCredentials {
        ClientCredentials {
            token_url: self.token_url,
            client_id: self.client_id,
            client_secret: self.client_secret,
            scope: self.scope,
            audience: self.audience,
            auth_method: if self.in_form {
                AuthMethod::ClientSecretPost
            } else {
                AuthMethod::ClientSecretBasic
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct EndpointRecord {
    uid: Option<String>,
    url: String,
    description: String,
    version: u32,
    /// 0 enabled, 1 by hand, 2 gone, 3 failing.
    disabled: u8,
    event_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    throttle_rate: Option<u32>,
    ordered: bool,
    metadata: BTreeMap<String, String>,
    secrets: Vec<SecretRecord>,
    headers: BTreeMap<String, String>,
    oauth: Option<OauthRecord>,
    created_at: u64,
    updated_at: u64,
    deleted: bool,
}

impl EndpointRecord {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let secret = |s: &LiveSecret| SecretRecord {
            text: s.key.to_text(),
            expires_at: s.expires_at.map(|t| t.0),
        };
        Self {
            uid: endpoint.uid.clone(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            version: endpoint.version,
            disabled: match endpoint.disabled {
                None => 0,
                Some(DisabledReason::Manual) => 1,
                Some(DisabledReason::Gone) => 2,
                Some(DisabledReason::Failing) => 3,
            },
            event_types: endpoint.event_types.clone(),
            channels: endpoint.channels.clone(),
            throttle_rate: endpoint.throttle_rate,
            ordered: endpoint.ordered,
            metadata: endpoint.metadata.clone(),
            secrets: endpoint.secrets.iter().map(secret).collect(),
            headers: endpoint.headers.clone(),
            oauth: endpoint.oauth.as_deref().map(OauthRecord::of),
            created_at: endpoint.created_at.0,
            updated_at: endpoint.updated_at.0,
            deleted: endpoint.deleted,
        }
    }

    pub(super) fn into_domain(self, app: AppId, id: EndpointId) -> Result<Endpoint> {
        let bad = |detail: String| Error::corrupt(format!("endpoint {id}"), detail);
        let disabled = match self.disabled {
            0 => None,
            1 => Some(DisabledReason::Manual),
            2 => Some(DisabledReason::Gone),
            3 => Some(DisabledReason::Failing),
            other => return Err(bad(format!("unknown state {other}"))),
        };
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for secret in self.secrets {
            let key = SigningKey::parse(&secret.text).map_err(|err| bad(err.to_string()))?;
            secrets.push(LiveSecret { key, expires_at: secret.expires_at.map(Timestamp) });
        }
        Ok(Endpoint {
            id,
            app,
            uid: self.uid,
            url: self.url,
            description: self.description,
            version: self.version,
            disabled,
            event_types: self.event_types,
            channels: self.channels,
            throttle_rate: self.throttle_rate,
            ordered: self.ordered,
            metadata: self.metadata,
            secrets,
            headers: self.headers,
            oauth: self.oauth.map(|oauth| oauth.into_domain().into()),
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            deleted: self.deleted,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventTypeRecord {
    description: String,
    archived: bool,
    deprecated: bool,
    schemas: Option<String>,
    feature_flags: Vec<String>,
    group_name: Option<String>,
    /// Milliseconds.
    retry_schedule: Option<Vec<u64>>,
    created_at: u64,
    updated_at: u64,
}

impl EventTypeRecord {
    pub(super) fn of(event_type: &EventType) -> Self {
        let ms = |wait: &Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            description: event_type.description.clone(),
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: event_type.schemas.clone(),
            feature_flags: event_type.feature_flags.clone(),
            group_name: event_type.group_name.clone(),
            retry_schedule: event_type.retry_schedule.as_ref().map(|s| s.iter().map(ms).collect()),
            created_at: event_type.created_at.0,
            updated_at: event_type.updated_at.0,
        }
    }

    pub(super) fn into_domain(self, org: OrgId, name: String) -> EventType {
        let schedule = |s: Vec<u64>| s.into_iter().map(Duration::from_millis).collect();
        EventType {
            org,
            name,
            description: self.description,
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self.schemas,
            feature_flags: self.feature_flags,
            group_name: self.group_name,
            retry_schedule: self.retry_schedule.map(schedule),
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        }
    }
}

/// A message's header. Its payload stands behind it in the same value when it is small.
#[derive(Serialize, Deserialize)]
pub(super) struct MessageRecord {
    pub(super) event_type: String,
    pub(super) event_id: Option<String>,
    pub(super) channels: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) created_at: u64,
    pub(super) deliver_at: Option<u64>,
    pub(super) payload_expires_at: u64,
    pub(super) payload_gone: bool,
    pub(super) content_type: Option<String>,
    /// Bytes of payload that lie in `payloads`; 0 when the payload is behind this record.
    pub(super) payload_elsewhere: u32,
    /// Endpoints, unless there are more than fit: then `endpoints_elsewhere` says how many lie in
    /// `message_endpoints`.
    pub(super) endpoints: Vec<RawId>,
    pub(super) endpoints_elsewhere: u32,
    pub(super) headers: Vec<(String, String)>,
}

impl MessageRecord {
    pub(super) fn into_domain(self, app: AppId, id: MessageId) -> Message {
        Message {
            id,
            app,
            event_type: self.event_type,
            event_id: self.event_id,
            channels: self.channels,
            tags: self.tags,
            created_at: Timestamp(self.created_at),
            deliver_at: self.deliver_at.map(Timestamp),
            payload_expires_at: Timestamp(self.payload_expires_at),
            payload_gone: self.payload_gone,
            content_type: self.content_type,
            headers: self.headers,
            endpoints: self.endpoints.into_iter().map(EndpointId).collect(),
        }
    }
}

/// What stands in a queue row beside its key.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) struct QueueRecord {
    pub(super) attempt: u16,
    pub(super) trigger: u8,
    pub(super) not_before: u64,
}

impl QueueRecord {
    pub(super) fn of(row: &QueueRow) -> Self {
        Self { attempt: row.attempt, trigger: row.trigger as u8, not_before: row.not_before.0 }
    }

    pub(super) fn into_domain(self, key: QueueKey) -> Result<QueueRow> {
        let trigger = trigger(self.trigger, Tree::Queue)?;
        Ok(QueueRow { key, attempt: self.attempt, trigger, not_before: Timestamp(self.not_before) })
    }
}

/// Reads the number of a trigger.
pub(super) fn trigger(number: u8, tree: Tree) -> Result<Trigger> {
    match number {
        0 => Ok(Trigger::Scheduled),
        1 => Ok(Trigger::Manual),
        other => Err(Error::corrupt(tree.name(), format!("unknown trigger {other}"))),
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeliveryRecord {
    state: u8,
    attempts: u16,
    next_due: Option<u64>,
    queued_due: Option<u64>,
    first_attempt: Option<RawId>,
    last_attempt: Option<RawId>,
    updated_at: u64,
}

impl DeliveryRecord {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self {
            state: delivery.state as u8,
            attempts: delivery.attempts,
            next_due: delivery.next_due.map(|t| t.0),
            queued_due: delivery.queued_due.map(|t| t.0),
            first_attempt: delivery.first_attempt.map(|a| a.0),
            last_attempt: delivery.last_attempt.map(|a| a.0),
            updated_at: delivery.updated_at.0,
        }
    }

    pub(super) fn into_domain(self, message: MessageId, endpoint: EndpointId) -> Result<Delivery> {
        let state = match self.state {
            0 => State::Pending,
            1 => State::Succeeded,
            2 => State::Exhausted,
            3 => State::Cancelled,
            other => {
                let place = format!("delivery of {message} to {endpoint}");
                return Err(Error::corrupt(place, format!("unknown state {other}")));
            }
        };
        Ok(Delivery {
            message,
            endpoint,
            state,
            attempts: self.attempts,
            next_due: self.next_due.map(Timestamp),
            queued_due: self.queued_due.map(Timestamp),
            first_attempt: self.first_attempt.map(AttemptId),
            last_attempt: self.last_attempt.map(AttemptId),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

/// An attempt. Its response stands behind it in the same value when it is small.
#[derive(Serialize, Deserialize)]
pub(super) struct AttemptRecord {
    message: RawId,
    url: String,
    number: u16,
    trigger: u8,
    started_at: u64,
    duration_ms: u32,
    pub(super) succeeded: bool,
    status: Option<u16>,
    failure_code: String,
    /// Bytes of response that lie in `responses`; 0 when it is behind this record.
    pub(super) response_elsewhere: u32,
}

impl AttemptRecord {
    pub(super) fn of(attempt: &Attempt, response_elsewhere: u32) -> Self {
        Self {
            message: attempt.message.0,
            url: attempt.url.clone(),
            number: attempt.number,
            trigger: attempt.trigger as u8,
            started_at: attempt.started_at.0,
            duration_ms: attempt.duration_ms,
            succeeded: attempt.succeeded,
            status: attempt.status,
            failure_code: attempt.failure_code.clone(),
            response_elsewhere,
        }
    }

    pub(super) fn message_id(&self) -> MessageId {
        MessageId(self.message)
    }

    pub(super) fn into_domain(
        self,
        endpoint: EndpointId,
        id: AttemptId,
        response: Vec<u8>,
    ) -> Result<Attempt> {
        Ok(Attempt {
            id,
            message: MessageId(self.message),
            endpoint,
            url: self.url,
            number: self.number,
            trigger: trigger(self.trigger, Tree::Attempts)?,
            started_at: Timestamp(self.started_at),
            duration_ms: self.duration_ms,
            succeeded: self.succeeded,
            status: self.status,
            response,
            failure_code: self.failure_code,
        })
    }
}

/// A stored answer to a request with an idempotency key.
#[derive(Serialize, Deserialize)]
pub(super) struct IdempotencyRecord {
    pub(super) fingerprint: [u8; 32],
    pub(super) expires_at: u64,
    pub(super) answer: AnswerRecord,
}

#[derive(Serialize, Deserialize)]
pub(super) enum AnswerRecord {
    Body { status: u16, body: Vec<u8> },
    Message { app: RawId, message: RawId },
}
