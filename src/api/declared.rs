//! What files describe: taken whole (`POST /api/v1/files/plan` and `…/apply`), and protected from
//! changes by anybody else.

use std::sync::Arc;

use http::Method;
use serde_json::json;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::query::Query;
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;
use crate::model::id::OrgId;
use crate::store::managed::Managed;

/// `POST /api/v1/files/{plan,apply}`
pub(super) async fn take(api: &Arc<Api>, request: &Request, verb: &str) -> Answer {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    // Files describe the daemon's own organisation: no other one's operator may change it.
    if caller.org != OrgId::default_org() {
        return Err(ApiError::forbidden());
    }
    let Some(declared) = api.declared.get().cloned() else {
        return Err(ApiError::new(501, "not_implemented", "this daemon takes no descriptions"));
    };
    let (body, applies) = (request.body.clone(), verb == "apply");
    if applies {
        api.space_for_writes()?;
    }
    // It waits for the disk, which no thread that answers requests may do.
    let work = move || if applies { declared.apply(&body) } else { declared.plan(&body) };
    match tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)? {
        Ok(changes) => Ok(Reply::json(200, &json!({ "changes": changes }))),
        Err(problems) => Err(ApiError::all_invalid(&problems)),
    }
}

/// Refuses a change of what files manage: 409, unless it is forced with `?force=true`. A forced
/// change lasts until the files are applied again.
pub(super) fn guard(api: &Api, request: &Request, segments: &[&str]) -> Result<(), ApiError> {
    if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let changes = |rest: &[&str]| match rest {
        [] | ["headers"] => request.method != Method::POST,
        ["secret" | "token", "rotate"] => true,
        _ => false,
    };
    let (app, kind, rest) = match segments {
        ["api", "v1", "app", app, "endpoint", id, rest @ ..] if changes(rest) => {
            (Some(*app), "endpoint", *id)
        }
        ["api", "v1", "app", app] if changes(&[]) => (None, "application", *app),
        ["api", "v1", "event-type", name] if changes(&[]) => (None, "event type", *name),
        ["ingest", "api", "v1", "source", _, "endpoint", id, rest @ ..] if changes(rest) => {
            (None, "endpoint", *id)
        }
        ["ingest", "api", "v1", "source", id, rest @ ..] if changes(rest) => (None, "source", *id),
        _ => return Ok(()),
    };
    // Only who may ask at all hears that something is managed.
    let Ok(caller) = Caller::of(api, request) else { return Ok(()) };
    let directory = api.store.directory();
    let what = match kind {
        "application" => {
            directory.find_tenant(caller.org, rest)?.map(|t| Managed::Application(t.app.id))
        }
        "event type" => Some(Managed::EventType(caller.org, rest.to_owned())),
        "source" => directory.find_source(caller.org, rest)?.map(|s| Managed::Source(s.id)),
        _ => {
            let tenant = match (app, segments) {
                (Some(app), _) => directory.find_tenant(caller.org, app)?,
                (None, [_, _, _, _, source, ..]) => {
                    match directory.find_source(caller.org, source)? {
                        Some(source) => directory.tenant(source.app)?,
                        None => None,
                    }
                }
                (None, _) => None,
            };
            tenant.and_then(|t| t.endpoint(rest).map(|e| Managed::Endpoint(e.id)))
        }
    };
    let managed = what.is_some_and(|what| directory.is_managed(&what).unwrap_or(false));
    if !managed || Query::parse(&request.query)?.flag("force", false)? {
        return Ok(());
    }
    let detail = format!(
        "the {kind} {rest:?} is managed by configuration files: change those, or add ?force=true, \
         which lasts until they are applied again"
    );
    Err(ApiError::new(409, "managed_by_files", detail))
}
