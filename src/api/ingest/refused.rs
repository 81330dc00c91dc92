//! What a source refused: listed, looked into, verified again, accepted after all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::find;
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::paging::{PageRequest, cut};
use crate::api::query::Query;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::api::routes::Answer;
use crate::inbound::RawRequest;
use crate::inbound::capture::AgainError;
use crate::model::id::{CaptureId, SourceId};
use crate::model::source::{Refused, Source};
use crate::store::pages::Page;

/// A refused request in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusedOut {
    id: String,
    created_at: String,
    status: u16,
    code: String,
    hint: Option<String>,
    detail: String,
    body_bytes: u64,
}

impl RefusedOut {
    fn of(id: CaptureId, refused: &Refused) -> Self {
        Self {
            id: id.to_string(),
            created_at: refused.at.to_string(),
            status: refused.status,
            code: refused.code.clone(),
            hint: refused.hint.clone(),
            detail: refused.detail.clone(),
            body_bytes: refused.body_bytes,
        }
    }
}

/// One refused request, in the shape the libraries know as a log entry.
#[derive(Debug, Serialize)]
struct LogOut {
    id: String,
    source_id: String,
    created_at: String,
    updated_at: String,
    status_code: u16,
    error_text: String,
    headers: BTreeMap<String, String>,
    payload: String,
}

type Rows = Page<(CaptureId, Refused)>;

fn page(api: &Api, request: &Request, source: &Source) -> Result<(PageRequest, Rows), ApiError> {
    let page = PageRequest::of(&Query::parse(&request.query)?, true)?;
    let range = page.range(|text| text.parse::<CaptureId>().map(|id| id.0))?;
    let mut rows = api.store.refused(source.id)?;
    rows.reverse();
    let rows = cut(&page, rows, |(id, _)| id.0, &range);
    Ok((page, rows))
}

/// What a source refused, a page of it, each as `out` shows it.
fn listed<T: Serialize>(
    api: &Api,
    request: &Request,
    id: &str,
    out: impl Fn(&Source, CaptureId, Refused) -> T,
) -> Answer {
    let source = find(api, request, id)?;
    let (page, rows) = page(api, request, &source)?;
    let out = page.answer(
        rows,
        |(id, _)| id.to_string(),
        |id| CaptureId(id).to_string(),
        |(id, refused)| out(&source, id, refused),
    );
    Ok(Reply::json(200, &out))
}

/// `GET /source/{source}/refused`: newest first.
pub(in crate::api) fn list(api: &Api, request: &Request, id: &str) -> Answer {
    listed(api, request, id, |_, id, refused| RefusedOut::of(id, &refused))
}

/// `GET /source/{source}/log`: the same, whole, as the libraries know it.
pub(in crate::api) fn log(api: &Api, request: &Request, id: &str) -> Answer {
    listed(api, request, id, |source, id, listed| {
        let whole = api.store.refused_request(source.id, id).ok().flatten();
        log_out(source.id, id, &whole.unwrap_or(listed))
    })
}

fn log_out(source: SourceId, id: CaptureId, refused: &Refused) -> LogOut {
    let (headers, payload) = parts(refused);
    LogOut {
        id: id.to_string(),
        source_id: source.to_string(),
        created_at: refused.at.to_string(),
        updated_at: refused.at.to_string(),
        status_code: refused.status,
        error_text: format!("{}: {}", refused.code, refused.detail),
        headers,
        payload,
    }
}

fn parts(refused: &Refused) -> (BTreeMap<String, String>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match RawRequest::parse(&refused.request) {
        Ok(raw) => {
            let headers = raw.headers.iter().map(|(name, value)| (name.clone(), text(value)));
            (headers.collect(), text(&raw.body))
        }
        Err(_) => (BTreeMap::new(), String::new()),
    }
}

fn capture_id(text: &str) -> Result<CaptureId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}

fn whole(
    api: &Api,
    request: &Request,
    id: &str,
    capture: &str,
) -> Result<(CaptureId, Refused), ApiError> {
    let source = find(api, request, id)?;
    let capture = capture_id(capture)?;
    let found = api.store.refused_request(source.id, capture)?;
    Ok((capture, found.ok_or_else(ApiError::not_found)?))
}

/// `GET /source/{source}/refused/{id}`
pub(in crate::api) fn get(api: &Api, request: &Request, id: &str, capture: &str) -> Answer {
    let (capture, refused) = whole(api, request, id, capture)?;
    let (headers, payload) = parts(&refused);
    let out = RefusedOut::of(capture, &refused);
    let mut out = serde_json::to_value(out).map_err(ApiError::internal)?;
    if let Some(fields) = out.as_object_mut() {
        fields.insert("headers".to_owned(), json!(headers));
        fields.insert("payload".to_owned(), json!(payload));
    }
    Ok(Reply::json(200, &out))
}

/// `GET /source/{source}/refused/{id}/raw`: the bytes, as `posthaste verify` reads them.
pub(in crate::api) fn raw(api: &Api, request: &Request, id: &str, capture: &str) -> Answer {
    let (_, refused) = whole(api, request, id, capture)?;
    let mut reply = Reply::bytes(200, refused.request);
    reply.content_type = "application/octet-stream";
    Ok(reply)
}

/// `POST /source/{source}/refused/{id}/verify`: what it would be answered now.
pub(in crate::api) fn verify(api: &Api, request: &Request, id: &str, capture: &str) -> Answer {
    let source = find(api, request, id)?;
    match api.inbound.verify_again(&source, capture_id(capture)?) {
        Ok(()) => Ok(Reply::json(200, &json!({ "verdict": "accepted" }))),
        Err(AgainError::Refused(rejection)) => {
            let hint = rejection.hint.map(crate::inbound::Hint::code);
            let code = rejection.reason.code();
            let detail = rejection.to_string();
            let out = json!({ "verdict": "refused", "code": code, "hint": hint, "detail": detail });
            Ok(Reply::json(200, &out))
        }
        Err(error) => Err(again(error)),
    }
}

/// `POST /source/{source}/refused/{id}/accept`: makes a message of it, if it verifies now.
pub(in crate::api) async fn accept(
    api: &Arc<Api>,
    request: &Request,
    id: &str,
    capture: &str,
) -> Answer {
    let source = find(api, request, id)?;
    let answer = api.inbound.accept_again(&source, capture_id(capture)?).await.map_err(again)?;
    let header = |wanted: &str| {
        let found = answer.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    if !(200..300).contains(&answer.status) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(ApiError::new(answer.status, "not_accepted", text));
    }
    let repeated = header("posthaste-repeated").is_some();
    let out = json!({ "message": header("posthaste-message"), "repeated": repeated });
    Ok(Reply::json(202, &out))
}

fn again(error: AgainError) -> ApiError {
    let text = error.to_string();
    match error {
        AgainError::NotFound => ApiError::not_found(),
        AgainError::Store(error) => error.into(),
        AgainError::Cut { .. } => ApiError::new(409, "capture_cut", text),
        AgainError::Source(_) => ApiError::new(409, "source_misconfigured", text),
        AgainError::Refused(rejection) => {
            ApiError::new(409, "still_refused", format!("{}: {text}", rejection.reason.code()))
        }
    }
}
