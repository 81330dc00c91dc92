//! What was refused is kept: a bounded ring for each source, for a person to list, look into, and
//! verify again once the secret is mended.
//!
//! A request is kept as raw HTTP text, which is what `posthaste verify` reads. The token in its
//! path is left out. Anybody can cause refusals, so both their number in a second and the room
//! they take are limited.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::Answer;
use super::compiled::{Check, Compiled, Fault};
use super::door::{Arrived, lend, verify};
use super::{CAPTURES_A_SECOND, Inbound};
use crate::model::id::CaptureId;
use crate::model::source::{CAPTURE_BODY_BYTES, Refused, Source};
use crate::signature::{Profile, RawRequest, Rejection, Request};
use crate::store::Error;

/// Bytes of names and values of headers that are kept.
const HEADER_BYTES: usize = 16 * 1024;

/// Why a request was refused.
pub(super) struct Why<'w> {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) detail: &'w str,
    pub(super) hint: Option<&'static str>,
}

/// Why a kept request cannot be verified again.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    /// The ring has dropped it, or it never was.
    #[error("there is no such refused request; the oldest are dropped")]
    NotFound,
    /// Its body was too large to be kept whole.
    #[error("only {kept} of its {whole} bytes were kept, so it cannot be verified again")]
    Cut {
        /// Bytes that were kept.
        kept: usize,
        /// Bytes it had.
        whole: u64,
    },
    /// The source itself cannot be used.
    #[error(transparent)]
    Source(#[from] Fault),
    /// It is refused again.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Inbound {
    /// Looks closer at a rejection and keeps the request, unless too many came in this second.
    pub(super) fn capture_rejection(
        &self,
        compiled: &Compiled,
        request: &Arrived,
        lent: &Request<'_>,
        status: u16,
        rejection: Rejection,
    ) {
        let source = &compiled.source;
        if !self.may_capture(source) {
            return;
        }
        let now = self.store.now().0;
        let (profile, rejection) = match &compiled.check {
            Check::Profile(profile, secrets) => {
                let cfg = &source.settings;
                (Some(&**profile), profile.explain(rejection, lent, secrets, cfg, now))
            }
            Check::Token => (None, rejection),
        };
        let detail = rejection.to_string();
        let code = rejection.reason.code().into_owned();
        tracing::info!(source = %source.id, code, "an inbound request was refused");
        let hint = rejection.hint.map(crate::signature::Hint::code);
        self.keep(source, profile, request, &Why { status, code, detail: &detail, hint });
    }

    /// Keeps the request, unless too many came in this second.
    pub(super) fn capture(
        &self,
        source: &Source,
        profile: Option<&Profile>,
        request: &Arrived,
        why: &Why<'_>,
    ) {
        if self.may_capture(source) {
            self.keep(source, profile, request, why);
        }
    }

    fn may_capture(&self, source: &Source) -> bool {
        self.capture_rates.take(source.id, CAPTURES_A_SECOND, self.store.now())
    }

    fn keep(&self, source: &Source, profile: Option<&Profile>, request: &Arrived, why: &Why<'_>) {
        let body = request.body.get(..CAPTURE_BODY_BYTES).unwrap_or(&request.body);
        let target = match request.query.as_str() {
            "" => format!("/in/{}", source.id),
            query => format!("/in/{}?{query}", source.id),
        };
        let raw = RawRequest {
            method: request.method.clone(),
            target,
            headers: kept_headers(profile, &request.headers),
            body: body.to_vec(),
        };
        let refused = Refused {
            at: self.store.now(),
            status: why.status,
            code: why.code.clone(),
            detail: why.detail.to_owned(),
            hint: why.hint.map(str::to_owned),
            body_bytes: u64::try_from(request.body.len()).unwrap_or(u64::MAX),
            request: raw.to_bytes(),
        };
        let id = source.id;
        self.store.write_lazily(
            move |writer| writer.keep_refused(id, &refused),
            move |result| {
                if let Err(error) = result {
                    tracing::warn!(source = %id, %error, "a refused request could not be kept");
                }
            },
        );
    }

    /// Verifies a kept request again, as of the moment it came, with the source as it is now.
    ///
    /// # Errors
    /// See [`AgainError`].
    pub fn verify_again(&self, source: &Arc<Source>, id: CaptureId) -> Result<(), AgainError> {
        let (request, at) = self.kept_request(source, id)?;
        let compiled = self.compiled(source)?;
        let url = self.signed_url(source, &request);
        let verdict = verify(&compiled, &lend(&request, &url), at);
        verdict.map(drop).map_err(AgainError::Refused)
    }

    /// Verifies a kept request again and makes a message of it, as if it had come just now. The
    /// answer is what its sender would have got.
    ///
    /// # Errors
    /// See [`AgainError`].
    pub async fn accept_again(
        &self,
        source: &Arc<Source>,
        id: CaptureId,
    ) -> Result<Answer, AgainError> {
        let (request, at) = self.kept_request(source, id)?;
        let compiled = self.compiled(source)?;
        let url = self.signed_url(source, &request);
        let event = verify(&compiled, &lend(&request, &url), at)?;
        Ok(self.accept(source, &event, &request).await)
    }

    fn kept_request(&self, source: &Source, id: CaptureId) -> Result<(Arrived, u64), AgainError> {
        let refused = self.store.refused_request(source.id, id)?.ok_or(AgainError::NotFound)?;
        let raw = RawRequest::parse(&refused.request).map_err(|_| AgainError::NotFound)?;
        let kept = raw.body.len();
        if (kept as u64) < refused.body_bytes {
            return Err(AgainError::Cut { kept, whole: refused.body_bytes });
        }
        let query = raw.target.split_once('?').map_or("", |(_, query)| query).to_owned();
        let request = Arrived {
            method: raw.method,
            path: source.path(),
            query,
            headers: raw.headers,
            body: Bytes::from(raw.body),
        };
        Ok((request, refused.at.0))
    }
}

/// The headers, as far as they fit. Cookies and the like are nobody's business here; what the
/// profile verifies stays, or the request could not be verified again.
fn kept_headers(
    profile: Option<&Profile>,
    headers: &[(String, Vec<u8>)],
) -> Vec<(String, Vec<u8>)> {
    let mut room = HEADER_BYTES;
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let private = ["cookie", "authorization", "proxy-authorization"]
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it));
        if private && !profile.is_some_and(|p| p.has_secret_in(name)) {
            continue;
        }
        let Some(left) = room.checked_sub(name.len() + value.len() + 4) else { continue };
        room = left;
        kept.push((name.clone(), value.clone()));
    }
    kept
}
