//! Endpoints: made, read, replaced, changed, deleted. Secrets and headers have files of their own.

pub mod example;
pub mod headers;
pub mod oauth;
pub mod secret;
pub mod stats;
pub mod throttle;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::{Caller, Capability};
use super::edit::{Nullable, check_length, check_metadata, check_rate, check_uid, given, shown};
use super::error::ApiError;
use super::message::check_channels;
use super::paging::{PageRequest, cut};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::delivery::check_url;
use crate::model::application::Metadata;
use crate::model::cloud_event;
use crate::model::endpoint::{DisabledReason, Endpoint, LiveSecret, SharedEndpoint};
use crate::model::event_type::EventType;
use crate::model::id::{AppId, EndpointId, ID_BYTES, OrgId};
use crate::model::limits::{DESCRIPTION_CHARS, ENDPOINT_CHANNELS, ENDPOINT_EVENT_TYPES};
use crate::model::name::check_pattern;
use crate::model::secret::SigningKey;
use crate::scheduler::shell::Board;
use crate::store::directory::Tenant;
use crate::store::idempotency::Answer;
use crate::store::operational;
use crate::store::pages::Page;
use crate::store::{Error, Writer};

/// What a caller sends to make or replace one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointIn {
    url: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    version: Option<u32>,
    #[serde(default)]
    disabled: bool,
    #[serde(default, alias = "filterTypes")]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    channels: Option<Vec<String>>,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    throttle_rate: Option<u16>,
    #[serde(default)]
    rate_limit: Option<u16>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ordered: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointPatch {
    #[serde(default, deserialize_with = "given")]
    url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    uid: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "given")]
    version: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    disabled: Option<bool>,
    #[serde(default, alias = "filterTypes", deserialize_with = "given")]
    event_types: Option<Nullable<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    channels: Option<Nullable<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    secret: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "given")]
    throttle_rate: Option<Nullable<u16>>,
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Nullable<u16>>,
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "given")]
    ordered: Option<bool>,
}

/// An endpoint on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointOut {
    id: String,
    url: String,
    description: String,
    uid: Option<String>,
    version: u32,
    disabled: bool,
    event_types: Option<Vec<String>>,
    filter_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    throttle_rate: Option<u32>,
    rate_limit: Option<u32>,
    metadata: Metadata,
    created_at: String,
    updated_at: String,
    ordered: bool,
    /// `active`, `paused` or `disabled`; the two fields below say more. Left out where the status
    /// is that of a message at this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<PausedOut>,
}

/// A pause, for people to see.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PausedOut {
    since: String,
    why: &'static str,
    next_probe: String,
}

impl EndpointOut {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            uid: endpoint.uid.clone(),
            version: endpoint.version,
            disabled: endpoint.disabled.is_some(),
            event_types: endpoint.event_types.clone(),
            filter_types: endpoint.event_types.clone(),
            channels: endpoint.channels.clone(),
            throttle_rate: endpoint.throttle_rate,
            rate_limit: endpoint.throttle_rate,
            metadata: endpoint.metadata.clone(),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
            ordered: endpoint.ordered,
            status: None,
            disabled_reason: endpoint.disabled.as_ref().map(|reason| match reason {
                DisabledReason::Manual => "manual",
                DisabledReason::Gone => "gone",
                DisabledReason::Failing => "failing",
            }),
            paused: None,
        }
    }

    /// With what the scheduler knows of it.
    pub(super) fn seen(board: &Board, endpoint: &Endpoint) -> Self {
        let paused = board.pause(endpoint.id).map(|pause| PausedOut {
            since: pause.since.to_string(),
            why: pause.why,
            next_probe: pause.next_probe.to_string(),
        });
        let known = Self::of(endpoint);
        let status = Some(status(known.disabled, paused.is_some()));
        Self { status, paused, ..known }
    }
}

/// Whether it gets anything now. Nobody probes what is disabled.
fn status(is_disabled: bool, is_paused: bool) -> &'static str {
    match (is_disabled, is_paused) {
        (true, _) => "disabled",
        (false, true) => "paused",
        (false, false) => "active",
    }
}

fn invalid(field: &str, message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid("body", field, message)
}

fn check_target(api: &Api, url: &str) -> Result<(), ApiError> {
    check_url(url, api.settings.https_only, &api.settings.policy)
        .map(|_| ())
        .map_err(|problem| invalid("url", problem))
}

fn check_event_types(patterns: &[String]) -> Result<(), ApiError> {
    if patterns.is_empty() || patterns.len() > ENDPOINT_EVENT_TYPES {
        let message = format!(
            "eventTypes has {} entries, but must have 1 to {ENDPOINT_EVENT_TYPES}; leave it out for all",
            patterns.len()
        );
        return Err(invalid("eventTypes", message));
    }
    patterns.iter().try_for_each(|pattern| {
        check_pattern(pattern)
            .map_err(|problem| invalid("eventTypes", format!("{} {problem}", shown(pattern))))
    })
}

/// Plain names must be registered, not archived, and such as the caller may see; patterns may match
/// what is yet to come. What the endpoint wants already may stay, seen or not.
fn check_registered(
    api: &Api,
    caller: &Caller,
    org: OrgId,
    patterns: Option<&Vec<String>>,
    old: Option<&SharedEndpoint>,
) -> Result<(), ApiError> {
    let has = |name| old.and_then(|old| old.event_types.as_ref()).is_some_and(|o| o.contains(name));
    for name in patterns.into_iter().flatten().filter(|name| !name.ends_with('*')) {
        if org == OrgId::management() && operational::EVENT_TYPES.contains(&name.as_str()) {
            continue;
        }
        let known = api.store.directory().event_type(org, name)?;
        let may_be_named = |e: &EventType| !e.archived && (caller.sees(e) || has(name));
        if !known.is_some_and(|event_type| may_be_named(&event_type)) {
            let message = format!(
                "event type {} is not registered or is archived; register it first (POST /api/v1/event-type)",
                shown(name)
            );
            return Err(invalid("eventTypes", message));
        }
    }
    Ok(())
}

/// One entry of an endpoint's metadata means something to us.
fn check_own_metadata(metadata: &Metadata) -> Result<(), ApiError> {
    check_metadata(metadata)?;
    cloud_event::mode(metadata).map(|_| ()).map_err(|problem| invalid("metadata", problem))
}

fn parse_key(field: &str, text: &str) -> Result<SigningKey, ApiError> {
    SigningKey::parse(text).map_err(|problem| invalid(field, problem))
}

/// The secret that was given, or a new one.
fn key_or_new(api: &Api, field: &str, text: Option<&str>) -> Result<SigningKey, ApiError> {
    text.map_or_else(|| api.new_key(), |text| parse_key(field, text))
}

impl EndpointIn {
    fn check(&self, api: &Api) -> Result<(), ApiError> {
        check_target(api, &self.url)?;
        check_length("description", &self.description, DESCRIPTION_CHARS)?;
        if let Some(uid) = &self.uid {
            check_uid("uid", uid, EndpointId::PREFIX)?;
        }
        self.event_types.as_deref().map_or(Ok(()), check_event_types)?;
        if let Some(channels) = &self.channels {
            check_channels(channels, ENDPOINT_CHANNELS)?;
        }
        check_rate(self.throttle_rate, self.rate_limit)?;
        check_own_metadata(self.metadata.as_ref().unwrap_or(&Metadata::new()))?;
        headers::check(self.headers.as_ref().unwrap_or(&BTreeMap::new()))
    }

    fn apply(self, endpoint: &mut Endpoint) {
        endpoint.url = self.url;
        endpoint.description = self.description;
        endpoint.uid = self.uid;
        endpoint.version = self.version.unwrap_or(endpoint.version);
        set_disabled(endpoint, self.disabled);
        endpoint.event_types = self.event_types;
        endpoint.channels = self.channels;
        endpoint.throttle_rate = self.throttle_rate.or(self.rate_limit).map(u32::from);
        endpoint.metadata = self.metadata.unwrap_or_default();
        endpoint.ordered = self.ordered;
        if let Some(headers) = self.headers {
            endpoint.headers = headers;
        }
    }

    fn into_new(self, writer: &Writer<'_>, app: AppId, key: SigningKey) -> Endpoint {
        let now = writer.now();
        let mut endpoint = Endpoint {
            secrets: vec![LiveSecret { key, expires_at: None }],
            ..Endpoint::new(writer.new_endpoint_id(), app, "", now)
        };
        self.apply(&mut endpoint);
        endpoint
    }
}

/// One that is disabled already keeps its reason.
fn set_disabled(endpoint: &mut Endpoint, disabled: bool) {
    if disabled != endpoint.disabled.is_some() {
        endpoint.disabled = disabled.then_some(DisabledReason::Manual);
    }
}

fn answer(board: &Board, status: u16, endpoint: &Endpoint) -> Answer {
    let body = Reply::json(status, &EndpointOut::seen(board, endpoint)).body.to_vec();
    Answer::Body { status, body }
}

/// Whose endpoints an operation is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'a> {
    /// The application with this id or uid.
    App(&'a str),
    /// The organisation's own, for operational webhooks.
    Operational,
}

impl Whose<'_> {
    /// The application, if the caller may see it.
    pub(super) fn tenant(self, api: &Api, request: &Request) -> Result<Arc<Tenant>, ApiError> {
        let caller = Caller::of(api, request)?;
        match self {
            Self::App(app) => caller.tenant(api, app),
            Self::Operational => {
                caller.operator()?;
                let tenant = api.store.directory().management_tenant(caller.org)?;
                tenant.ok_or_else(ApiError::not_found)
            }
        }
    }
}

/// The endpoint with this id or uid, if the caller may see it.
pub(super) fn find(
    api: &Api,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<(Arc<Tenant>, SharedEndpoint), ApiError> {
    let tenant = whose.tenant(api, request)?;
    let endpoint = tenant.endpoint(id).cloned().ok_or_else(ApiError::not_found)?;
    Ok((tenant, endpoint))
}

/// Changes an endpoint and answers 204.
async fn edit(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
    change: impl FnOnce(&mut Endpoint) -> Result<(), Error> + Send + 'static,
) -> Result<Reply, ApiError> {
    let (tenant, found) = find(api, request, whose, id)?;
    let (app, id) = (tenant.app.id, found.id.to_string());
    api.write(move |writer| {
        let mut endpoint = Endpoint::clone(&*writer.endpoint(app, &id)?);
        change(&mut endpoint)?;
        endpoint.updated_at = writer.now();
        writer.put_endpoint(endpoint)
    })
    .await?;
    Ok(Reply::no_content())
}

/// The place an iterator over a tenant's endpoints names: an id, also of one that is gone, or a uid.
pub(super) fn place(tenant: &Tenant, text: &str) -> Result<[u8; ID_BYTES], ()> {
    let known = tenant.endpoint(text).map(|e| e.id.0);
    known.or_else(|| text.parse::<EndpointId>().ok().map(|id| id.0)).ok_or(())
}

/// The endpoints of a page.
pub(super) fn page_of(
    tenant: &Tenant,
    page: &PageRequest,
) -> Result<Page<SharedEndpoint>, ApiError> {
    let range = page.range(|text| place(tenant, text))?;
    Ok(cut(page, tenant.endpoints.values().cloned().collect(), |e| e.id.0, &range))
}

/// `GET /app/{app}/endpoint`
pub(super) fn list(api: &Api, request: &Request, whose: Whose<'_>) -> Result<Reply, ApiError> {
    let tenant = whose.tenant(api, request)?;
    let page = PageRequest::of(&Query::parse(&request.query)?, true)?;
    let rows = page_of(&tenant, &page)?;
    let id = |endpoint: &SharedEndpoint| endpoint.id.to_string();
    let out = page.answer(
        rows,
        id,
        |id| EndpointId(id).to_string(),
        |e| EndpointOut::seen(&api.board, &e),
    );
    Ok(Reply::json(200, &out))
}

/// `POST /app/{app}/endpoint`
pub(super) async fn create(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
) -> Result<Reply, ApiError> {
    let tenant = whose.tenant(api, request)?;
    let input: EndpointIn = request.json()?;
    input.check(api)?;
    let caller = Caller::of(api, request)?;
    check_registered(api, &caller, tenant.app.org, input.event_types.as_ref(), None)?;
    let key = key_or_new(api, "secret", input.secret.as_deref())?;
    api.space_for_writes()?;
    let (app, board) = (tenant.app.id, Arc::clone(&api.board));
    let work = move |writer: &mut Writer<'_>| {
        let endpoint = input.into_new(writer, app, key);
        Ok(answer(&board, 201, &*writer.put_endpoint(endpoint)?))
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}

/// `GET /app/{app}/endpoint/{endpoint}`
pub(super) fn get(
    api: &Api,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, whose, id)?;
    Ok(Reply::json(200, &EndpointOut::seen(&api.board, &endpoint)))
}

/// `PUT /app/{app}/endpoint/{endpoint}`: replaces it, or makes it when there is none. Its secret
/// and headers stay as they are.
pub(super) async fn update(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let tenant = whose.tenant(api, request)?;
    let mut input: EndpointIn = request.json()?;
    input.check(api)?;
    let (caller, old) = (Caller::of(api, request)?, tenant.endpoint(id));
    check_registered(api, &caller, tenant.app.org, input.event_types.as_ref(), old)?;
    if id.parse::<EndpointId>().is_err() {
        check_uid("endpoint_id", id, EndpointId::PREFIX)?;
        // Or the same request would make another one each time it is sent.
        input.uid.get_or_insert_with(|| id.to_owned());
    }
    let key = key_or_new(api, "secret", input.secret.as_deref())?;
    let (app, id, board) = (tenant.app.id, id.to_owned(), Arc::clone(&api.board));
    let answer = api.write(move |writer| match writer.endpoint(app, &id) {
        Ok(old) => {
            let mut endpoint = Endpoint::clone(&old);
            input.apply(&mut endpoint);
            endpoint.updated_at = writer.now();
            Ok(answer(&board, 200, &*writer.put_endpoint(endpoint)?))
        }
        Err(Error::NotFound("endpoint")) => {
            let endpoint = input.into_new(writer, app, key);
            Ok(answer(&board, 201, &*writer.put_endpoint(endpoint)?))
        }
        Err(err) => Err(err),
    });
    Ok(Reply::of(answer.await?))
}

/// `PATCH /app/{app}/endpoint/{endpoint}`
pub(super) async fn patch(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, found) = find(api, request, whose, id)?;
    let patch: EndpointPatch = request.json()?;
    let caller = Caller::of(api, request)?;
    patch.check(api)?;
    let patterns = patch.event_types.as_ref().and_then(Option::as_ref);
    check_registered(api, &caller, tenant.app.org, patterns, Some(&found))?;
    if patch.secret.is_some() {
        caller.needs(Capability::ManageEndpointSecret)?;
    }
    let key = match &patch.secret {
        None => None,
        Some(None) => Some(api.new_key()?),
        Some(Some(text)) => Some(parse_key("secret", text)?),
    };
    let (app, id, board) = (tenant.app.id, found.id.to_string(), Arc::clone(&api.board));
    let answer = api.write(move |writer| {
        let mut endpoint = Endpoint::clone(&*writer.endpoint(app, &id)?);
        patch.apply(&mut endpoint);
        if let Some(key) = key {
            endpoint.secrets = vec![LiveSecret { key, expires_at: None }];
        }
        endpoint.updated_at = writer.now();
        Ok(answer(&board, 200, &*writer.put_endpoint(endpoint)?))
    });
    Ok(Reply::of(answer.await?))
}

impl EndpointPatch {
    fn check(&self, api: &Api) -> Result<(), ApiError> {
        self.url.as_ref().map_or(Ok(()), |url| check_target(api, url))?;
        let description = self.description.as_deref().unwrap_or_default();
        check_length("description", description, DESCRIPTION_CHARS)?;
        if let Some(Some(uid)) = &self.uid {
            check_uid("uid", uid, EndpointId::PREFIX)?;
        }
        if let Some(Some(patterns)) = &self.event_types {
            check_event_types(patterns)?;
        }
        if let Some(Some(channels)) = &self.channels {
            check_channels(channels, ENDPOINT_CHANNELS)?;
        }
        check_rate(self.throttle_rate.flatten(), self.rate_limit.flatten())?;
        self.metadata.as_ref().map_or(Ok(()), check_own_metadata)
    }

    fn apply(self, endpoint: &mut Endpoint) {
        fn set<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        set(&mut endpoint.url, self.url);
        set(&mut endpoint.description, self.description);
        set(&mut endpoint.uid, self.uid);
        set(&mut endpoint.version, self.version);
        set(&mut endpoint.event_types, self.event_types);
        set(&mut endpoint.channels, self.channels);
        set(&mut endpoint.metadata, self.metadata);
        set(&mut endpoint.ordered, self.ordered);
        let rate = self.throttle_rate.or(self.rate_limit);
        set(&mut endpoint.throttle_rate, rate.map(|rate| rate.map(u32::from)));
        if let Some(disabled) = self.disabled {
            set_disabled(endpoint, disabled);
        }
    }
}

/// `DELETE /app/{app}/endpoint/{endpoint}`
pub(super) async fn delete(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    edit(api, request, whose, id, |endpoint| {
        endpoint.deleted = true;
        Ok(())
    })
    .await
}
