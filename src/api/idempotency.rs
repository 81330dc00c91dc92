//! The `idempotency-key` header of a POST.

use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use super::request::Request;
use crate::store::idempotency::IdempotencyKey;

/// Bytes of a key.
pub const KEY_BYTES: usize = 256;

/// The request's key, bound to who asks, the method and the path. `None` without the header.
pub(super) fn key(request: &Request) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = request.headers.get("idempotency-key") else { return Ok(None) };
    if request.method != http::Method::POST || key.is_empty() {
        return Ok(None);
    }
    if key.len() > KEY_BYTES {
        let detail =
            format!("idempotency-key has {} bytes, at most {KEY_BYTES} are taken", key.len());
        return Err(ApiError::bad_request(detail));
    }
    let auth = request.headers.get("authorization").map_or(&b""[..], |v| v.as_bytes());
    let mut hash = Sha256::new();
    for part in [auth, key.as_bytes(), request.method.as_str().as_bytes(), request.path.as_bytes()]
    {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut fingerprint = Sha256::new();
    fingerprint.update(&request.body);
    Ok(Some(IdempotencyKey {
        hash: hash.finalize().into(),
        fingerprint: fingerprint.finalize().into(),
    }))
}
