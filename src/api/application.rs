//! Applications.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Api;
use super::caller::Caller;
use super::edit::{Nullable, check_length, check_metadata, check_rate, check_uid, given};
use super::error::ApiError;
use super::paging::PageRequest;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use crate::model::application::{Application, Metadata};
use crate::model::id::{AppId, OrgId};
use crate::model::limits::DESCRIPTION_CHARS;
use crate::store::idempotency::Answer;
use crate::store::pages::Page;
use crate::store::{Error, Writer};

/// What a caller sends to make or replace one.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationIn {
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    throttle_rate: Option<u16>,
    #[serde(default)]
    rate_limit: Option<u16>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

impl ApplicationIn {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        check_application_name(&self.name)?;
        if let Some(uid) = &self.uid {
            check_uid("uid", uid, AppId::PREFIX)?;
        }
        check_rate(self.throttle_rate, self.rate_limit)?;
        check_metadata(self.metadata.as_ref().unwrap_or(&Metadata::new()))
    }

    fn apply(self, app: &mut Application) {
        app.name = self.name;
        app.uid = self.uid;
        app.throttle_rate = self.throttle_rate.or(self.rate_limit).map(u32::from);
        app.metadata = self.metadata.unwrap_or_default();
    }

    /// A new application.
    pub(super) fn into_new(self, writer: &Writer<'_>, org: OrgId) -> Application {
        let now = writer.now();
        let mut app = Application::new(writer.new_application_id(), org, now);
        self.apply(&mut app);
        app
    }
}

fn check_application_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid("body", "name", "name must not be empty"));
    }
    check_length("name", name, DESCRIPTION_CHARS)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationPatch {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    uid: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "given")]
    throttle_rate: Option<Nullable<u16>>,
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Nullable<u16>>,
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
}

/// An application on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationOut {
    id: String,
    uid: Option<String>,
    name: String,
    throttle_rate: Option<u32>,
    rate_limit: Option<u32>,
    metadata: Metadata,
    created_at: String,
    updated_at: String,
}

impl ApplicationOut {
    pub(super) fn of(app: &Application) -> Self {
        Self {
            id: app.id.to_string(),
            uid: app.uid.clone(),
            name: app.name.clone(),
            throttle_rate: app.throttle_rate,
            rate_limit: app.throttle_rate,
            metadata: app.metadata.clone(),
            created_at: app.created_at.to_string(),
            updated_at: app.updated_at.to_string(),
        }
    }
}

fn answer(status: u16, app: &Application) -> Answer {
    Answer::Body { status, body: Reply::json(status, &ApplicationOut::of(app)).body.to_vec() }
}

/// `GET /app`
pub(super) fn list(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let page = PageRequest::of(&Query::parse(&request.query)?, false)?;
    let range = page.range(|text| {
        // A uid may be given for an id here as anywhere.
        caller
            .tenant(api, text)
            .map(|t| t.app.id.0)
            .or_else(|_| text.parse::<AppId>().map(|id| id.0))
    })?;
    let from = range.after.or(range.before).map(AppId);
    let mut rows =
        api.store.directory().applications(caller.org, from, range.descending, page.limit + 1)?;
    let has_more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let more = rows.last().filter(|_| has_more).map(|app| app.id.0);
    let id = |app: &Arc<Application>| app.id.to_string();
    let out = page.answer(
        Page { rows, more },
        id,
        |id| AppId(id).to_string(),
        |app| ApplicationOut::of(&app),
    );
    Ok(Reply::json(200, &out))
}

/// `POST /app`
pub(super) async fn create(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let get_if_exists = Query::parse(&request.query)?.flag("get_if_exists", false)?;
    let input: ApplicationIn = request.json()?;
    input.check()?;
    api.space_for_writes()?;
    let work = move |writer: &mut Writer<'_>| {
        if let Some(uid) = input.uid.as_ref().filter(|_| get_if_exists) {
            match writer.application(caller.org, uid) {
                Ok(app) => return Ok(answer(200, &app)),
                Err(Error::NotFound(_)) => {}
                Err(err) => return Err(err),
            }
        }
        let app = input.into_new(writer, caller.org);
        Ok(answer(201, &*writer.put_application(app)?))
    };
    let (answer, _) = api.write_once(request, work).await?;
    Ok(Reply::of(answer))
}

/// `GET /app/{app}`
pub(super) fn get(api: &Api, request: &Request, app: &str) -> Result<Reply, ApiError> {
    let tenant = Caller::of(api, request)?.tenant(api, app)?;
    Ok(Reply::json(200, &ApplicationOut::of(&tenant.app)))
}

/// `PUT /app/{app}`: replaces it, or makes it when there is none with this uid.
pub(super) async fn update(api: &Arc<Api>, request: &Request, id: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let mut input: ApplicationIn = request.json()?;
    input.check()?;
    let id = id.to_owned();
    if id.parse::<AppId>().is_err() {
        check_uid("app_id", &id, AppId::PREFIX)?;
        // Or the same request would make another one each time it is sent.
        input.uid.get_or_insert_with(|| id.clone());
    }
    let answer = api.write(move |writer| match writer.application(caller.org, &id) {
        Ok(old) => {
            let mut app = Application::clone(&old);
            input.apply(&mut app);
            app.updated_at = writer.now();
            Ok(answer(200, &*writer.put_application(app)?))
        }
        Err(Error::NotFound(_)) => {
            let app = input.into_new(writer, caller.org);
            Ok(answer(201, &*writer.put_application(app)?))
        }
        Err(err) => Err(err),
    });
    Ok(Reply::of(answer.await?))
}

/// `PATCH /app/{app}`
pub(super) async fn patch(api: &Arc<Api>, request: &Request, id: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let patch: ApplicationPatch = request.json()?;
    if let Some(name) = &patch.name {
        check_application_name(name)?;
    }
    if let Some(Some(uid)) = &patch.uid {
        check_uid("uid", uid, AppId::PREFIX)?;
    }
    check_rate(patch.throttle_rate.flatten(), patch.rate_limit.flatten())?;
    if let Some(metadata) = &patch.metadata {
        check_metadata(metadata)?;
    }
    let id = id.to_owned();
    let answer = api.write(move |writer| {
        let mut app = Application::clone(&*writer.application(caller.org, &id)?);
        let throttle = patch.throttle_rate.or(patch.rate_limit);
        app.name = patch.name.unwrap_or(app.name);
        app.uid = patch.uid.unwrap_or(app.uid);
        app.throttle_rate = throttle.map_or(app.throttle_rate, |rate| rate.map(u32::from));
        app.metadata = patch.metadata.unwrap_or(app.metadata);
        app.updated_at = writer.now();
        Ok(answer(200, &*writer.put_application(app)?))
    });
    Ok(Reply::of(answer.await?))
}

/// `DELETE /app/{app}`
pub(super) async fn delete(api: &Arc<Api>, request: &Request, id: &str) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let id = id.to_owned();
    api.write(move |writer| {
        let app = writer.application(caller.org, &id)?;
        let now = writer.now();
        writer.put_application(Application {
            deleted: true,
            updated_at: now,
            ..Application::clone(&app)
        })
    })
    .await?;
    Ok(Reply::no_content())
}
