//! Event types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Api;
use super::caller::Caller;
use super::edit::{Nullable, check_length, check_name, given};
use super::error::ApiError;
use super::paging::{ListOut, PageRequest};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::model::event_type::EventType;
use crate::model::id::OrgId;
use crate::model::limits::{DESCRIPTION_CHARS, EVENT_TYPE_CHARS, SCHEMAS_BYTES};
use crate::store::idempotency::Answer;
use crate::store::{Error, Writer};

/// Feature flags of one event type.
const FLAGS: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventTypeIn {
    #[serde(default)]
    name: Option<String>,
    description: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    schemas: Option<Box<RawValue>>,
    #[serde(default)]
    feature_flag: Option<String>,
    #[serde(default)]
    feature_flags: Option<Vec<String>>,
    #[serde(default)]
    group_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventTypePatch {
    #[serde(default, deserialize_with = "given")]
    description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    archived: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    deprecated: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    schemas: Option<Nullable<Box<RawValue>>>,
    #[serde(default, deserialize_with = "given")]
    feature_flag: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "given")]
    feature_flags: Option<Nullable<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    group_name: Option<Nullable<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventTypeOut {
    name: String,
    description: String,
    archived: bool,
    deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<Box<RawValue>>,
    feature_flag: Option<String>,
    feature_flags: Option<Vec<String>>,
    group_name: Option<String>,
    created_at: String,
    updated_at: String,
}

impl EventTypeOut {
    pub(super) fn of(event_type: &EventType, with_content: bool) -> Self {
        let schemas = event_type.schemas.clone().filter(|_| with_content);
        let flags = &event_type.feature_flags;
        Self {
            name: event_type.name.clone(),
            description: event_type.description.clone(),
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: schemas.and_then(|text| RawValue::from_string(text).ok()),
            feature_flag: flags.first().cloned(),
            feature_flags: (!flags.is_empty()).then(|| flags.clone()),
            group_name: event_type.group_name.clone(),
            created_at: event_type.created_at.to_string(),
            updated_at: event_type.updated_at.to_string(),
        }
    }
}

fn check_texts(description: Option<&str>, schemas: Option<&RawValue>) -> Result<(), ApiError> {
    check_length("description", description.unwrap_or_default(), DESCRIPTION_CHARS)?;
    let Some(schemas) = schemas else { return Ok(()) };
    if schemas.get().len() > SCHEMAS_BYTES {
        let message =
            format!("schemas has {} bytes, at most {SCHEMAS_BYTES} are taken", schemas.get().len());
        return Err(ApiError::invalid("body", "schemas", message));
    }
    if !schemas.get().starts_with('{') {
        return Err(ApiError::invalid(
            "body",
            "schemas",
            "schemas must be an object from version to JSON Schema",
        ));
    }
    Ok(())
}

fn check_flags(flag: Option<&String>, flags: Option<&Vec<String>>) -> Result<(), ApiError> {
    let count = flags.map_or(0, Vec::len);
    if count > FLAGS {
        let message = format!("featureFlags has {count} entries, at most {FLAGS} are taken");
        return Err(ApiError::invalid("body", "featureFlags", message));
    }
    flag.map_or(Ok(()), |flag| check_name("featureFlag", flag, EVENT_TYPE_CHARS))?;
    let mut flags = flags.into_iter().flatten();
    flags.try_for_each(|flag| check_name("featureFlags", flag, EVENT_TYPE_CHARS))
}

fn check_group(name: Option<&String>) -> Result<(), ApiError> {
    name.map_or(Ok(()), |name| check_name("groupName", name, EVENT_TYPE_CHARS))
}

/// `null` in a raw field is no schema.
fn text_of(schemas: Option<Box<RawValue>>) -> Option<String> {
    schemas.map(|raw| raw.get().to_owned()).filter(|text| text != "null")
}

impl EventTypeIn {
    /// One that was read out of another document.
    pub(super) fn described(
        description: String,
        deprecated: bool,
        schemas: Option<Box<RawValue>>,
        feature_flags: Option<Vec<String>>,
        group_name: Option<String>,
    ) -> Self {
        Self {
            name: None,
            description,
            archived: false,
            deprecated,
            schemas,
            feature_flag: None,
            feature_flags,
            group_name,
        }
    }

    /// Its name, if it has one and nothing is wrong with it.
    pub(super) fn checked_name(&self) -> Result<String, ApiError> {
        let Some(name) = self.name.clone() else {
            return Err(ApiError::invalid("body", "name", "missing field `name`"));
        };
        check_name("name", &name, EVENT_TYPE_CHARS)?;
        self.check()?;
        Ok(name)
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        let schemas = self.schemas.as_deref().filter(|raw| raw.get() != "null");
        check_texts(Some(&self.description), schemas)?;
        check_flags(self.feature_flag.as_ref(), self.feature_flags.as_ref())?;
        check_group(self.group_name.as_ref())
    }

    fn apply(self, event_type: &mut EventType) {
        event_type.description = self.description;
        event_type.archived = self.archived;
        event_type.deprecated = self.deprecated;
        event_type.schemas = text_of(self.schemas);
        event_type.feature_flags =
            self.feature_flags.unwrap_or_else(|| self.feature_flag.into_iter().collect());
        event_type.group_name = self.group_name;
    }
}

fn blank(writer: &Writer<'_>, org: OrgId, name: &str) -> EventType {
    EventType {
        org,
        name: name.to_owned(),
        description: String::new(),
        archived: false,
        deprecated: false,
        schemas: None,
        feature_flags: Vec::new(),
        group_name: None,
        retry_schedule: None,
        created_at: writer.now(),
        updated_at: writer.now(),
    }
}

fn answer(status: u16, event_type: &EventType) -> Answer {
    Answer::Body {
        status,
        body: Reply::json(status, &EventTypeOut::of(event_type, true)).body.to_vec(),
    }
}

/// `GET /event-type`: by name.
pub(super) fn list(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    let query = Query::parse(&request.query)?;
    let page = PageRequest::of(&query, false)?;
    let include_archived = query.flag("include_archived", false)?;
    let with_content = query.flag("with_content", false)?;
    let mut rows = api.store.directory().event_types(caller.org)?;
    rows.retain(|e| (include_archived || !e.archived) && caller.sees(e));
    let descending = page.descending != page.backwards;
    if descending {
        rows.reverse();
    }
    if let Some(from) = &page.iterator {
        rows.retain(|e| if descending { e.name < *from } else { e.name > *from });
    }
    let has_more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let out = ListOut::by_name(
        &page,
        rows,
        has_more,
        |e| e.name.clone(),
        |e| EventTypeOut::of(&e, with_content),
    );
    Ok(Reply::json(200, &out))
}

/// `POST /event-type`: an archived namesake is taken up again.
pub(super) async fn create(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: EventTypeIn = request.json()?;
    let name = input.checked_name()?;
    api.space_for_writes()?;
    let taken = ApiError::new(
        409,
        "event_type_exists",
        format!("event type {name:?} exists already; PUT changes it"),
    );
    let work = move |writer: &mut Writer<'_>| {
        let mut event_type = match writer.event_type(caller.org, &name)? {
            Some(old) if !old.archived => {
                return Err(Error::Conflict { field: "event type", value: name });
            }
            Some(old) => EventType { updated_at: writer.now(), ..EventType::clone(&old) },
            None => blank(writer, caller.org, &name),
        };
        input.apply(&mut event_type);
        Ok(answer(201, &*writer.put_event_type(event_type)?))
    };
    match api.write_once(request, work).await {
        Ok((answer, _)) => Ok(Reply::of(answer)),
        Err(error) if error.is_conflict() => Err(taken),
        Err(error) => Err(error),
    }
}

/// `GET /event-type/{name}`
pub(super) fn get(api: &Api, request: &Request, name: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    let found = api.store.directory().event_type(caller.org, name)?;
    let found = found.filter(|e| caller.sees(e)).ok_or_else(ApiError::not_found)?;
    Ok(Reply::json(200, &EventTypeOut::of(&found, true)))
}

/// `PUT /event-type/{name}`
pub(super) async fn update(
    api: &Arc<Api>,
    request: &Request,
    name: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    check_name("event_type_name", name, EVENT_TYPE_CHARS)?;
    let input: EventTypeIn = request.json()?;
    input.check()?;
    let name = name.to_owned();
    let answer = api.write(move |writer| {
        let status = if writer.event_type(caller.org, &name)?.is_some() { 200 } else { 201 };
        Ok(answer(status, &*upsert(writer, caller.org, &name, input)?))
    });
    Ok(Reply::of(answer.await?))
}

/// Makes an event type, or gives the one that is there its new contents.
fn upsert(
    writer: &mut Writer<'_>,
    org: OrgId,
    name: &str,
    input: EventTypeIn,
) -> Result<Arc<EventType>, Error> {
    let mut event_type = match writer.event_type(org, name)? {
        Some(old) => EventType { updated_at: writer.now(), ..EventType::clone(&old) },
        None => blank(writer, org, name),
    };
    input.apply(&mut event_type);
    writer.put_event_type(event_type)
}

/// Event types written in one commit: their schemas may be large.
const AT_ONCE: usize = 2;

/// Makes and changes many, a few at a time.
pub(super) async fn upsert_all(
    api: &Arc<Api>,
    org: OrgId,
    types: Vec<(String, EventTypeIn)>,
) -> Result<(), ApiError> {
    api.space_for_writes()?;
    let mut types = types.into_iter().peekable();
    while types.peek().is_some() {
        let some: Vec<_> = types.by_ref().take(AT_ONCE).collect();
        api.write(move |writer| {
            some.into_iter()
                .try_for_each(|(name, input)| upsert(writer, org, &name, input).map(drop))
        })
        .await?;
    }
    Ok(())
}

/// Archives all that are not named; their names.
pub(super) async fn archive_others(
    api: &Arc<Api>,
    org: OrgId,
    named: &[String],
) -> Result<Vec<String>, ApiError> {
    let types = api.store.directory().event_types(org)?;
    let others = types.iter().filter(|e| !e.archived && !named.contains(&e.name));
    let others: Vec<String> = others.map(|e| e.name.clone()).collect();
    for name in others.clone() {
        api.write(move |writer| archive(writer, org, &name)).await?;
    }
    Ok(others)
}

fn archive(writer: &mut Writer<'_>, org: OrgId, name: &str) -> Result<(), Error> {
    let Some(old) = writer.event_type(org, name)? else { return Ok(()) };
    let updated_at = writer.now();
    writer.put_event_type(EventType { archived: true, updated_at, ..EventType::clone(&old) })?;
    Ok(())
}

/// `PATCH /event-type/{name}`
pub(super) async fn patch(
    api: &Arc<Api>,
    request: &Request,
    name: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let patch: EventTypePatch = request.json()?;
    check_texts(patch.description.as_deref(), patch.schemas.as_ref().and_then(|s| s.as_deref()))?;
    check_flags(
        patch.feature_flag.as_ref().and_then(Option::as_ref),
        patch.feature_flags.as_ref().and_then(Option::as_ref),
    )?;
    check_group(patch.group_name.as_ref().and_then(Option::as_ref))?;
    let name = name.to_owned();
    let answer = api.write(move |writer| {
        let old = writer.event_type(caller.org, &name)?.ok_or(Error::NotFound("event type"))?;
        let mut new = EventType { updated_at: writer.now(), ..EventType::clone(&old) };
        new.description = patch.description.unwrap_or(new.description);
        new.archived = patch.archived.unwrap_or(new.archived);
        new.deprecated = patch.deprecated.unwrap_or(new.deprecated);
        new.schemas = patch.schemas.map_or(new.schemas, text_of);
        new.group_name = patch.group_name.unwrap_or(new.group_name);
        if let Some(flags) = patch.feature_flags {
            new.feature_flags = flags.unwrap_or_default();
        } else if let Some(flag) = patch.feature_flag {
            new.feature_flags = flag.into_iter().collect();
        }
        Ok(answer(200, &*writer.put_event_type(new)?))
    });
    Ok(Reply::of(answer.await?))
}

/// `DELETE /event-type/{name}`: archives it; `?expunge=true` removes it for good.
pub(super) async fn delete(
    api: &Arc<Api>,
    request: &Request,
    name: &str,
) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let expunge = Query::parse(&request.query)?.flag("expunge", false)?;
    let name = name.to_owned();
    api.write(move |writer| {
        writer.event_type(caller.org, &name)?.ok_or(Error::NotFound("event type"))?;
        if expunge {
            return writer.remove_event_type(caller.org, &name);
        }
        archive(writer, caller.org, &name)
    })
    .await?;
    Ok(Reply::no_content())
}
