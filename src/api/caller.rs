//! Who asks, and what they may do.
//!
//! An operator's token is of one organisation and may do all there. An application's token (a
//! customer's portal) sees that application alone. Nobody sees another organisation's anything.

use std::sync::Arc;

use super::Api;
use super::auth::{self, AuthError, Subject};
use super::error::ApiError;
use super::request::Request;
use crate::model::id::{AppId, OrgId};
use crate::store::directory::Tenant;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The organisation.
    pub(super) org: OrgId,
    /// The application the token is limited to; `None` for an operator.
    pub(super) app: Option<AppId>,
    /// Feature flags in the token.
    pub(super) feature_flags: Option<Vec<String>>,
}

impl Caller {
    /// Reads the `Authorization` header.
    pub(super) fn of(api: &Api, request: &Request) -> Result<Self, ApiError> {
        let header = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let Some(header) = header else {
            return Err(ApiError::unauthorized(
                "no token: send `Authorization: Bearer TOKEN`; `posthaste token` prints one",
            ));
        };
        let token =
            header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(ApiError::unauthorized("the Authorization header must be `Bearer TOKEN`"));
        };
        let now = api.store.now().seconds();
        let claims = auth::verify(&api.settings.jwt_secret, token.trim(), now)
            .map_err(|err| refused(&err))?;
        let bad = |_| ApiError::unauthorized("Invalid token");
        let org: OrgId = claims.subject.org().parse().map_err(bad)?;
        let app: Option<AppId> = match &claims.subject {
            Subject::Org(_) => None,
            Subject::App { app, .. } => Some(app.parse().map_err(bad)?),
        };
        let caller = Self { org, app, feature_flags: claims.feature_flags };
        if let Some(app) = app {
            caller.check_still_valid(api, app, claims.issued_at)?;
        }
        Ok(caller)
    }

    /// A token of an application ends with it, and with `expire-all`.
    fn check_still_valid(
        &self,
        api: &Api,
        app: AppId,
        issued_at: Option<u64>,
    ) -> Result<(), ApiError> {
        let tenant = api.store.directory().tenant(app)?.filter(|t| t.app.org == self.org);
        let valid_from = tenant.map(|t| t.app.tokens_valid_from.seconds());
        match valid_from {
            Some(from) if from == 0 || issued_at.is_some_and(|at| at >= from) => Ok(()),
            _ => Err(ApiError::unauthorized("Invalid token")),
        }
    }

    /// Refuses everybody but an operator.
    pub(super) fn operator(&self) -> Result<(), ApiError> {
        if self.app.is_some() { Err(ApiError::forbidden()) } else { Ok(()) }
    }

    /// The application with this id or uid, if the caller may see it.
    pub(super) fn tenant(&self, api: &Api, id_or_uid: &str) -> Result<Arc<Tenant>, ApiError> {
        let tenant = api.store.directory().find_tenant(self.org, id_or_uid)?;
        let visible = tenant.filter(|t| self.app.is_none_or(|mine| mine == t.app.id));
        visible.ok_or_else(ApiError::not_found)
    }
}

fn refused(err: &AuthError) -> ApiError {
    let is_secret = matches!(err, AuthError::SecretAsToken);
    let detail = if is_secret { err.to_string() } else { format!("Invalid token: {err}") };
    ApiError::unauthorized(detail)
}
