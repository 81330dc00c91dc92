//! An endpoint's secret: shown, and rotated with a time of grace for the old one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Whose, find, key_or_new};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::model::endpoint::{Endpoint, LiveSecret};
use crate::model::limits::OLD_SECRETS;
use crate::model::secret::SigningKey;
use crate::store::idempotency::Answer;
use crate::store::{Error, Writer};

/// Seconds the old key is signed with beside the new one, when nothing is said: a day.
const DEFAULT_GRACE: u64 = 24 * 3600;
/// And at the most: a week.
const MAX_GRACE: u64 = 7 * 24 * 3600;

#[derive(Serialize)]
struct SecretOut {
    key: String,
}

/// `GET /app/{app}/endpoint/{endpoint}/secret`. Of an Ed25519 key only the public half is shown:
/// it is what verifies.
pub(in crate::api) fn get(
    api: &Api,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, whose, id)?;
    let current =
        endpoint.secrets.first().ok_or_else(|| ApiError::internal("an endpoint has no secret"))?;
    Ok(Reply::json(200, &SecretOut { key: shown(&current.key) }))
}

/// A key as its owner needs it to verify.
fn shown(key: &SigningKey) -> String {
    key.public_text().unwrap_or_else(|| key.to_text())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateIn {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    grace_period_seconds: Option<u64>,
}

/// `POST /app/{app}/endpoint/{endpoint}/secret/rotate`
pub(in crate::api) async fn rotate(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (tenant, found) = find(api, request, whose, id)?;
    let input: RotateIn = request.json()?;
    let grace = input.grace_period_seconds.unwrap_or(DEFAULT_GRACE);
    if grace > MAX_GRACE {
        let message = format!("gracePeriodSeconds is {grace}, at most {MAX_GRACE} are taken");
        return Err(ApiError::invalid("body", "gracePeriodSeconds", message));
    }
    let key = key_or_new(api, "key", input.key.as_deref())?;
    let (app, id) = (tenant.app.id, found.id.to_string());
    let work = move |writer: &mut Writer<'_>| {
        let mut endpoint = Endpoint::clone(&*writer.endpoint(app, &id)?);
        let now = writer.now();
        endpoint.secrets.retain(|secret| secret.expires_at.is_none_or(|until| until > now));
        if endpoint.secrets.len() > OLD_SECRETS {
            return Err(Error::Limit(format!(
                "the endpoint has {OLD_SECRETS} old secrets already; wait until one expires"
            )));
        }
        let expires_at = Some(now.plus(Duration::from_secs(grace)));
        if let Some(current) = endpoint.secrets.first_mut() {
            current.expires_at = expires_at;
        }
        let shown = SecretOut { key: shown(&key) };
        endpoint.secrets.insert(0, LiveSecret { key, expires_at: None });
        endpoint.updated_at = now;
        writer.put_endpoint(endpoint)?;
        // The libraries of version 2 read the new secret from here; the earlier ones, made for a
        // 204, take any 2xx and read nothing.
        Ok(Answer::Body { status: 200, body: Reply::json(200, &shown).body.to_vec() })
    };
    Ok(Reply::of(api.write_once(request, work).await?.0))
}
