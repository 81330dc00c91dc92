//! Sources, in the shapes of svix's Ingest API: `/ingest/api/v1/source…`.
//!
//! A source's endpoints are those of its application, so that part of the API is handed on to
//! [`super::endpoint`]. What a source has beyond the published shapes (several secrets, settings,
//! a map of event types, limits) stands beside them under names of its own.

pub(super) mod refused;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::caller::Caller;
use super::endpoint::{self, Whose};
use super::error::ApiError;
use super::paging::{PageRequest, cut};
use super::portal;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;
use crate::inbound::{self, check};
use crate::model::application::{Application, Metadata};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, OrgId, SourceId};
use crate::model::source::Source;
use crate::store::idempotency::Answer as Kept;
use crate::store::{Error, Writer};

use wire::{SourceIn, SourceOut, SourcePatch};

/// Seconds the old token may go on opening the door: a week.
const MAX_GRACE: u64 = 7 * 24 * 3600;

/// `POST /source/{source}/dashboard`: access for the people of the source's application.
pub(super) async fn dashboard(api: &Arc<Api>, request: &Request, id: &str) -> Answer {
    let source = find(api, request, id)?;
    portal::access(api, request, &source.app.to_string()).await
}

/// `/source/{source}/endpoint…`: the endpoints of the source's application.
pub(super) async fn endpoints(
    api: &Arc<Api>,
    request: &Request,
    id: &str,
    rest: &[&str],
) -> Answer {
    let app = find(api, request, id)?.app.to_string();
    let app = Whose::App(&app);
    match (request.method.as_str(), rest) {
        ("GET" | "HEAD", []) => endpoint::list(api, request, app),
        ("POST", []) => endpoint::create(api, request, app).await,
        ("GET" | "HEAD", [ep]) => endpoint::get(api, request, app, ep),
        ("PUT", [ep]) => endpoint::update(api, request, app, ep).await,
        ("DELETE", [ep]) => endpoint::delete(api, request, app, ep).await,
        ("GET" | "HEAD", [ep, "headers"]) => endpoint::headers::get(api, request, app, ep),
        ("PUT", [ep, "headers"]) => endpoint::headers::set(api, request, app, ep).await,
        ("GET" | "HEAD", [ep, "secret"]) => endpoint::secret::get(api, request, app, ep),
        ("POST", [ep, "secret", "rotate"]) => {
            // Here the published answer has no body.
            let rotated = endpoint::secret::rotate(api, request, app, ep).await;
            rotated.map(|_| Reply::no_content())
        }
        _ => Err(ApiError::not_found()),
    }
}

/// The source with this id or uid. Sources are for operators alone.
fn find(api: &Api, request: &Request, id: &str) -> Result<Arc<Source>, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let found = api.store.directory().find_source(caller.org, id)?;
    found.ok_or_else(ApiError::not_found)
}

fn checked(api: &Api, source: &Source) -> Result<(), ApiError> {
    check(source, &api.inbound.providers())
        .map_err(|fault| ApiError::invalid("body", fault.field, fault.what))
}

fn answer(api: &Api, status: u16, source: &Source) -> Kept {
    let out = SourceOut::of(source, &api.inbound.url_of(source));
    Kept::Body { status, body: Reply::json(status, &out).body.to_vec() }
}

fn new_token() -> Result<String, ApiError> {
    inbound::new_token().map_err(ApiError::internal)
}

pub(super) fn list(api: &Api, request: &Request) -> Answer {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let page = PageRequest::of(&Query::parse(&request.query)?, false)?;
    let range = page.range(|text| {
        let found = api.store.directory().find_source(caller.org, text).ok().flatten();
        found.map(|s| s.id).or_else(|| text.parse::<SourceId>().ok()).map(|id| id.0).ok_or(())
    })?;
    let rows = cut(&page, api.store.directory().sources(caller.org)?, |s| s.id.0, &range);
    let id = |source: &Arc<Source>| source.id.to_string();
    let out = page.answer(
        rows,
        id,
        |id| SourceId(id).to_string(),
        |source| SourceOut::of(&source, &api.inbound.url_of(&source)),
    );
    Ok(Reply::json(200, &out))
}

pub(super) fn get(api: &Api, request: &Request, id: &str) -> Answer {
    let source = find(api, request, id)?;
    Ok(Reply::json(200, &SourceOut::of(&source, &api.inbound.url_of(&source))))
}

pub(super) async fn create(api: &Arc<Api>, request: &Request) -> Answer {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: SourceIn = request.json()?;
    let draft = draft(api, caller.org, input)?;
    api.space_for_writes()?;
    let shared = Arc::clone(api);
    let work = move |writer: &mut Writer<'_>| {
        let made = make(writer, draft)?;
        Ok(answer(&shared, 201, &made))
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}

/// A source that has everything but its ids.
struct Draft {
    source: Source,
    /// The application it names; one is made for it when it names none.
    app: Option<AppId>,
}

fn draft(api: &Api, org: OrgId, input: SourceIn) -> Result<Draft, ApiError> {
    let nobody = (SourceId([0; 20]), AppId([0; 20]));
    let mut source = Source::new(nobody.0, org, nobody.1, new_token()?, Timestamp(0));
    let app = match input.application() {
        None => None,
        Some(name) => Some(application(api, org, name)?),
    };
    input.apply(&mut source, &api.inbound.providers())?;
    checked(api, &source)?;
    Ok(Draft { source, app })
}

fn application(api: &Api, org: OrgId, name: &str) -> Result<AppId, ApiError> {
    let found = api.store.directory().find_tenant(org, name)?;
    found.map(|tenant| tenant.app.id).ok_or_else(|| {
        let message = format!("there is no application {name:?}; make it first, or leave this out");
        ApiError::invalid("body", "app", message)
    })
}

/// Writes the source, and an application of its own when it has none.
fn make(writer: &mut Writer<'_>, draft: Draft) -> Result<Arc<Source>, Error> {
    let Draft { mut source, app } = draft;
    source.id = writer.new_source_id();
    (source.created_at, source.updated_at) = (writer.now(), writer.now());
    // Before the application is made: it must not stay behind.
    writer.check_source(&source)?;
    source.app = if let Some(app) = app {
        app
    } else {
        let app = writer.put_application(own_application(writer, &source))?;
        source.owns_app = true;
        app.id
    };
    writer.put_source(source)
}

fn own_application(writer: &Writer<'_>, source: &Source) -> Application {
    Application {
        name: source.name.clone(),
        metadata: Metadata::from([("source".to_owned(), source.id.to_string())]),
        ..Application::new(writer.new_application_id(), source.org, writer.now())
    }
}

/// `PUT`: replaces it, or makes it when there is none with this uid. Secrets that are not given
/// stay, and so does the token.
pub(super) async fn update(api: &Arc<Api>, request: &Request, id: &str) -> Answer {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let mut input: SourceIn = request.json()?;
    let (shared, id) = (Arc::clone(api), id.to_owned());
    let Some(old) = api.store.directory().find_source(caller.org, &id)? else {
        if id.parse::<SourceId>().is_ok() {
            return Err(ApiError::not_found());
        }
        super::edit::check_uid("source_id", &id, SourceId::PREFIX)?;
        input.name_it(&id);
        let draft = draft(api, caller.org, input)?;
        api.space_for_writes()?;
        let made = api.write(move |writer| Ok(answer(&shared, 201, &*make(writer, draft)?)));
        return Ok(Reply::of(made.await?));
    };
    let mut new = Source::clone(&old);
    if let Some(name) = input.application() {
        new.app = application(api, caller.org, name)?;
    }
    input.apply(&mut new, &api.inbound.providers())?;
    checked(api, &new)?;
    Ok(Reply::of(replace(api, old, new).await?))
}

pub(super) async fn patch(api: &Arc<Api>, request: &Request, id: &str) -> Answer {
    let old = find(api, request, id)?;
    let patch: SourcePatch = request.json()?;
    let mut new = Source::clone(&old);
    if let Some(name) = patch.application() {
        new.app = application(api, old.org, name)?;
    }
    patch.apply(&mut new)?;
    checked(api, &new)?;
    Ok(Reply::of(replace(api, old, new).await?))
}

/// Writes what was made of `old`, unless somebody changed it meanwhile: then the caller hears so.
async fn replace(api: &Arc<Api>, old: Arc<Source>, new: Source) -> Result<Kept, ApiError> {
    let shared = Arc::clone(api);
    api.write(move |writer| {
        let found = writer.source(old.org, &old.id.to_string())?;
        if !Arc::ptr_eq(&found, &old) {
            return Err(Error::Conflict { field: "source", value: old.id.to_string() });
        }
        let owns_app = new.owns_app && new.app == old.app;
        let new = Source { updated_at: writer.now(), owns_app, ..new };
        Ok(answer(&shared, 200, &*writer.put_source(new)?))
    })
    .await
}

pub(super) async fn delete(api: &Arc<Api>, request: &Request, id: &str) -> Answer {
    let source = find(api, request, id)?;
    api.write(move |writer| {
        let source = writer.source(source.org, &source.id.to_string())?;
        if source.owns_app {
            let app = writer.application(source.org, &source.app.to_string())?;
            // Takes its sources along.
            let gone =
                Application { deleted: true, updated_at: writer.now(), ..Application::clone(&app) };
            writer.put_application(gone).map(drop)
        } else {
            writer.put_source(Source { deleted: true, ..Source::clone(&source) }).map(drop)
        }
    })
    .await?;
    Ok(Reply::no_content())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RotateIn {
    grace_period_seconds: u64,
}

/// A new token. The old one opens nothing any more, unless a time of grace is asked for.
pub(super) async fn rotate(api: &Arc<Api>, request: &Request, id: &str) -> Answer {
    let source = find(api, request, id)?;
    let input: RotateIn = request.json()?;
    let grace = input.grace_period_seconds;
    if grace > MAX_GRACE {
        let message = format!("gracePeriodSeconds is {grace}, at most {MAX_GRACE} are taken");
        return Err(ApiError::invalid("body", "gracePeriodSeconds", message));
    }
    let token = new_token()?;
    let shared = Arc::clone(api);
    let work = move |writer: &mut Writer<'_>| {
        let mut source = Source::clone(&*writer.source(source.org, &source.id.to_string())?);
        let until = writer.now().plus(Duration::from_secs(grace));
        let old = std::mem::replace(&mut source.token, token);
        source.previous_token = (grace > 0).then_some((old, until));
        source.updated_at = writer.now();
        let source = writer.put_source(source)?;
        let out = json!({ "ingestUrl": shared.inbound.url_of(&source) });
        Ok(Kept::Body { status: 200, body: out.to_string().into_bytes() })
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}
