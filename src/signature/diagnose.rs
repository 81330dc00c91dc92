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
use std::collections::BTreeMap;

/// Longest body that other spellings are tried for: a refusal must stay cheap.
pub const MAX_DIAGNOSED_BYTES: usize = 64 * 1024;

impl Profile {
    /// Looks closer at a refusal: when the signature did not match, is it right for another
    /// spelling of the body ([`Reason::BodyWasReencoded`])? Any other rejection comes back as it
    /// is.
    ///
    /// It takes some twenty verifications of bodies up to [`MAX_DIAGNOSED_BYTES`], milliseconds at
    /// worst, so a server calls it only for refusals that a person will see, at a limited rate:
    /// anybody can cause refusals. The arguments are those that [`Profile::verify`] had.
    pub fn explain(
        &self,
        rejection: Rejection,
        request: &Request<'_>,
        secrets: &[Secret],
        cfg: &BTreeMap<String, String>,
        now_ms: u64,
    ) -> Rejection {
        if rejection.reason != Reason::SignatureMismatch {
            return rejection;
        }
        let cfg = Settings { given: cfg, defaults: &self.defaults };
        match reencoded(self, request, secrets, cfg, now_ms) {
            Some(what) => Reason::BodyWasReencoded(what).into(),
            None => rejection,
        }
    }
}

/// The rejection for a signature that does not match.
pub(crate) fn mismatch(profile: &Profile, secrets: &[Secret]) -> Rejection {
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
