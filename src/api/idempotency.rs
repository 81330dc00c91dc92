//! The `idempotency-key` header of a POST.

use ring::digest::{Context, SHA256, digest};

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
    let mut hash = Context::new(&SHA256);
    for part in [auth, key.as_bytes(), request.method.as_str().as_bytes(), request.path.as_bytes()]
    {
        // With its length before it, so that no two requests run together into the same bytes.
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let hash = bytes(hash.finish().as_ref());
    let fingerprint = bytes(digest(&SHA256, &request.body).as_ref());
    Ok(Some(IdempotencyKey { hash, fingerprint }))
}

/// A digest of SHA-256 has 32 bytes.
fn bytes(digest: &[u8]) -> [u8; 32] {
    digest.first_chunk().copied().unwrap_or_default()
}
