//! An endpoint's custom headers. What looks like a credential is shown by name only.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Whose, edit, find};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::delivery::check_custom_header;
use crate::model::limits::CUSTOM_HEADERS;

type Headers = BTreeMap<String, String>;

#[derive(Deserialize)]
struct HeadersIn {
    headers: Headers,
}

#[derive(Deserialize)]
struct HeadersPatch {
    headers: BTreeMap<String, Option<String>>,
    #[serde(default, rename = "deleteHeaders")]
    delete_headers: Vec<String>,
}

#[derive(Serialize)]
struct HeadersOut {
    headers: Headers,
    sensitive: Vec<String>,
}

/// Whether a header's value is kept from view.
fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(
        name.as_str(),
        "authorization" | "x-api-key" | "x-auth-token" | "cookie" | "www-authenticate"
    ) || name.starts_with("proxy-")
}

/// Checks names, values and their number.
pub(super) fn check(headers: &Headers) -> Result<(), ApiError> {
    if headers.len() > CUSTOM_HEADERS {
        let message =
            format!("there are {} headers, at most {CUSTOM_HEADERS} are taken", headers.len());
        return Err(ApiError::invalid("body", "headers", message));
    }
    headers.iter().try_for_each(|(name, value)| {
        check_custom_header(name, value)
            .map_err(|problem| ApiError::invalid("body", "headers", problem))
    })
}

/// `GET /app/{app}/endpoint/{endpoint}/headers`
pub(in crate::api) fn get(
    api: &Api,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, whose, id)?;
    let mut headers = endpoint.headers.clone();
    let sensitive: Vec<String> =
        headers.keys().filter(|name| is_sensitive(name)).cloned().collect();
    headers.retain(|name, _| !is_sensitive(name));
    Ok(Reply::json(200, &HeadersOut { headers, sensitive }))
}

/// `PUT /app/{app}/endpoint/{endpoint}/headers`
pub(in crate::api) async fn set(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    find(api, request, whose, id)?;
    let input: HeadersIn = request.json()?;
    check(&input.headers)?;
    edit(api, request, whose, id, |endpoint| {
        endpoint.headers = input.headers;
        Ok(())
    })
    .await
}

/// `PATCH /app/{app}/endpoint/{endpoint}/headers`: null takes a header away.
pub(in crate::api) async fn patch(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, whose, id)?;
    let input: HeadersPatch = request.json()?;
    let merge = move |mut headers: Headers| {
        let given = input.headers.into_iter();
        let deleted = input.delete_headers.into_iter().map(|name| (name, None));
        for (name, value) in given.chain(deleted) {
            headers.retain(|old, _| !old.eq_ignore_ascii_case(&name));
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers
    };
    // Checked against what is there now; the limit is checked again when it is written.
    check(&merge.clone()(endpoint.headers.clone()))?;
    edit(api, request, whose, id, move |endpoint| {
        let merged = merge(std::mem::take(&mut endpoint.headers));
        if merged.len() > CUSTOM_HEADERS {
            let text = format!("an endpoint may have at most {CUSTOM_HEADERS} headers");
            return Err(crate::store::Error::Limit(text));
        }
        endpoint.headers = merged;
        Ok(())
    })
    .await
}
