//! Why a signature did not match, when it can be found out.
//!
//! The commonest reason is a proxy or a framework that parsed the body and wrote it again. A few
//! other spellings of the same body are tried; when one matches, the sender is genuine and the
//! operator is told what to look for. The request stays refused.

use super::digest::{Hash, hex};
use super::key::Secret;
use super::profile::{Profile, Scheme};
use super::reason::{Hint, Reason, Rejection};
use super::reencode::spellings;
use super::request::{Request, View};
use super::source::{Scope, Settings};

/// Longest body that other spellings are tried for: a refusal must stay cheap.
pub const MAX_DIAGNOSED_BYTES: usize = 64 * 1024;

/// The rejection for a signature that does not match.
pub(crate) fn mismatch(
    profile: &Profile,
    request: &Request<'_>,
    secrets: &[Secret],
    cfg: Settings<'_>,
    now_ms: u64,
) -> Rejection {
    if let Some(what) = reencoded(profile, request, secrets, cfg, now_ms) {
        return Reason::BodyWasReencoded(what).into();
    }
    let of_secret = secrets.iter().find_map(|secret| secret.hint);
    let hint = of_secret.or_else(|| profile.signed.has_url().then_some(Hint::UrlIsSigned));
    Rejection { reason: Reason::SignatureMismatch, hint }
}

fn reencoded(
    profile: &Profile,
    request: &Request<'_>,
    secrets: &[Secret],
    cfg: Settings<'_>,
    now_ms: u64,
) -> Option<&'static str> {
    let symmetric = matches!(profile.scheme, Scheme::Hmac(_));
    let with_body = profile.signed.has_body() && request.body.len() <= MAX_DIAGNOSED_BYTES;
    if !symmetric || !with_body {
        return None;
    }
    let matches = |body: &[u8]| {
        let request = Request { body, ..*request };
        let view = View::new(&request, profile.reads_form, profile.payload_field.as_deref());
        let Ok(view) = view else { return false };
        let scope = Scope { view: &view, json: view.json(), fields: &[], cfg };
        // What comes after the signature, such as the time, is not the question here.
        let verdict = profile.check(&scope, secrets, now_ms);
        matches!(verdict, Ok(_) | Err(Reason::TimestampSkew { .. } | Reason::BodyDigestMismatch))
    };
    let mut tried = vec![hex(&Hash::Sha256.digest(&[request.body]))];
    spellings(request.body).into_iter().find_map(|(what, body)| {
        let digest = hex(&Hash::Sha256.digest(&[&body]));
        if tried.contains(&digest) {
            return None;
        }
        tried.push(digest);
        matches(&body).then_some(what)
    })
}
