//! Who asks, and what they may do.
//!
//! An operator's token is of one organisation and may do all there. An application's token (a
//! customer's portal) sees that application alone. Nobody sees another organisation's anything.

use std::sync::Arc;

use super::Api;
use super::api_token;
use super::auth::{self, AuthError, Claims, Subject};
use super::error::ApiError;
use super::request::Request;
use crate::model::event_type::EventType;
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
    feature_flags: Option<Vec<String>>,
    /// What the token is limited to; `None` = nothing.
    capabilities: Option<Vec<Capability>>,
    /// The session the token belongs to.
    pub(super) session: Option<String>,
}

impl Caller {
    /// Reads the `Authorization` header.
    pub(super) fn of(api: &Api, request: &Request) -> Result<Self, ApiError> {
        let (token, claims) = shown(api, request)?;
        let bad = |_| ApiError::unauthorized("Invalid token");
        let org: OrgId = claims.subject.org().parse().map_err(bad)?;
        let app: Option<AppId> = match &claims.subject {
            Subject::Org(_) => None,
            Subject::App { app, .. } => Some(app.parse().map_err(bad)?),
        };
        let capabilities = claims.capabilities.as_ref().map(|names| {
            names.iter().filter_map(|name| Capability::named(name)).collect::<Vec<_>>()
        });
        let session = claims.session.clone();
        let feature_flags = claims.feature_flags.clone();
        let caller = Self { org, app, feature_flags, capabilities, session };
        if let Some(app) = app {
            caller.check_still_valid(api, app, claims.issued_at_ms)?;
            check_not_ended(api, app, token, &claims)?;
        }
        if caller.capabilities.is_some() && !caller.polls(request) {
            caller.needs(Capability::for_request(request))?;
        }
        Ok(caller)
    }

    /// Whether the request shows a token that has passed before.
    pub(super) fn is_known(api: &Api, request: &Request) -> bool {
        let now = api.store.now().seconds();
        token_of(request).is_some_and(|token| api.tokens.get(token, now).is_some())
    }

    /// A token of an application ends with it, and with `expire-all`.
    fn check_still_valid(
        &self,
        api: &Api,
        app: AppId,
        issued_at_ms: Option<u64>,
    ) -> Result<(), ApiError> {
        let tenant = api.store.directory().tenant(app)?.filter(|t| t.app.org == self.org);
        let valid_from = tenant.map(|t| t.app.tokens_valid_from.0);
        match valid_from {
            Some(from) if from == 0 || issued_at_ms.is_some_and(|at| at >= from) => Ok(()),
            _ => Err(ApiError::unauthorized("Invalid token")),
        }
    }

    /// Refuses a token that is limited to other things.
    pub(super) fn needs(&self, capability: Capability) -> Result<(), ApiError> {
        match &self.capabilities {
            Some(mine) if !mine.contains(&capability) => Err(ApiError::lacks(capability.name())),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the token is one to poll the sink that is asked for.
    fn polls(&self, request: &Request) -> bool {
        let may = self.capabilities.as_ref().is_some_and(|mine| mine.contains(&Capability::Poll));
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.get(2..).unwrap_or_default() {
            ["app", _, "poller" | "polling-endpoint", sink, ..] => {
                let session = format!("{}_", api_token::sink_session(sink));
                may && self.session.as_ref().is_some_and(|mine| mine.starts_with(&session))
            }
            _ => false,
        }
    }

    /// Refuses everybody but an operator and those whose token was made for this.
    pub(super) fn creates_messages(&self) -> Result<(), ApiError> {
        match &self.capabilities {
            Some(mine) if mine.contains(&Capability::CreateMessages) => Ok(()),
            Some(_) | None => self.operator(),
        }
    }

    /// Whether the caller may see an event type: one behind a flag is for operators, and for
    /// portals that have the flag.
    pub(super) fn sees(&self, event_type: &EventType) -> bool {
        let flags = &event_type.feature_flags;
        let has =
            |flag: &String| self.feature_flags.as_ref().is_some_and(|mine| mine.contains(flag));
        self.app.is_none() || flags.is_empty() || flags.iter().any(has)
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

/// The token of a request, and what it says.
pub(super) fn shown<'r>(
    api: &Api,
    request: &'r Request,
) -> Result<(&'r str, Arc<Claims>), ApiError> {
    if !request.headers.contains_key("authorization") {
        return Err(ApiError::unauthorized(
            "no token: send `Authorization: Bearer TOKEN`; `posthaste token` prints one",
        ));
    }
    let Some(token) = token_of(request) else {
        return Err(ApiError::unauthorized("the Authorization header must be `Bearer TOKEN`"));
    };
    Ok((token, claims(api, token, api.store.now().seconds())?))
}

/// A token of an application ends when it is logged out, and with its session.
fn check_not_ended(api: &Api, app: AppId, token: &str, claims: &Claims) -> Result<(), ApiError> {
    let session = claims.session.as_deref().map(auth::session_digest);
    for digest in [Some(auth::token_digest(token)), session].into_iter().flatten() {
        let ended = api.store.ended(app, &digest)?;
        if ended.is_some_and(|ended| ended.holds(claims.issued_at_ms, api.store.now())) {
            return Err(ApiError::unauthorized("Invalid token: it was logged out"));
        }
    }
    Ok(())
}

/// The token of an `Authorization: Bearer` header.
fn token_of(request: &Request) -> Option<&str> {
    let header = request.headers.get("authorization")?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a token says, if it is one of ours and lives at `now`.
fn claims(api: &Api, token: &str, now: u64) -> Result<Arc<Claims>, ApiError> {
    if let Some(claims) = api.tokens.get(token, now) {
        return Ok(claims);
    }
    let verified = auth::verify(&api.settings.jwt_secret, token, now);
    let claims = Arc::new(verified.map_err(|err| refused(&err))?);
    api.tokens.put(token, &claims);
    Ok(claims)
}

/// What a token of an application may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    ViewBase,
    ViewEndpointSecret,
    ManageEndpointSecret,
    ManageTransformations,
    CreateAttempts,
    ManageEndpoint,
    /// Of a program's token alone, as is the next: see [`api_token`].
    CreateMessages,
    Poll,
}

impl Capability {
    /// All that a portal's token may have.
    pub(super) const ALL: [Self; 6] = [
        Self::ViewBase,
        Self::ViewEndpointSecret,
        Self::ManageEndpointSecret,
        Self::ManageTransformations,
        Self::CreateAttempts,
        Self::ManageEndpoint,
    ];

    /// The name libraries and tokens use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ViewBase => "ViewBase",
            Self::ViewEndpointSecret => "ViewEndpointSecret",
            Self::ManageEndpointSecret => "ManageEndpointSecret",
            Self::ManageTransformations => "ManageTransformations",
            Self::CreateAttempts => "CreateAttempts",
            Self::ManageEndpoint => "ManageEndpoint",
            Self::CreateMessages => "CreateMessages",
            Self::Poll => "Poll",
        }
    }

    /// The one with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain([Self::CreateMessages, Self::Poll]);
        all.find(|capability| capability.name() == name)
    }

    /// Whether it changes nothing and shows no secret.
    pub(super) fn only_reads(self) -> bool {
        self == Self::ViewBase
    }

    /// The one a request takes. What is new and not in this list counts as managing.
    fn for_request(request: &Request) -> Self {
        // Decoded as the router decodes them, so that no spelling of a path goes round this.
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let (method, rest) = (request.method.as_str(), segments.get(2..).unwrap_or_default());
        match (method, rest) {
            ("GET" | "HEAD", ["app", _, "endpoint", _, "secret"]) => Self::ViewEndpointSecret,
            ("GET" | "HEAD", _) => Self::ViewBase,
            ("POST", path) if only_asks(path) => Self::ViewBase,
            ("POST", ["app", _, "msg"]) => Self::CreateMessages,
            ("POST", ["app", _, "endpoint", _, "secret", "rotate"]) => Self::ManageEndpointSecret,
            (_, ["app", _, "endpoint", _, "transformation", ..]) => Self::ManageTransformations,
            ("POST", ["app", _, "msg", _, "endpoint", _, "resend"]) => Self::CreateAttempts,
            ("POST", ["app", _, "endpoint", _, operation]) if sends(operation) => {
                Self::CreateAttempts
            }
            _ => Self::ManageEndpoint,
        }
    }
}

/// Questions that are too long for a URL, and leaving.
fn only_asks(path: &[&str]) -> bool {
    matches!(
        path,
        ["app", _, "match"]
            | ["app", _, "msg", "search"]
            | ["app", _, "msg", "precheck", "active"]
            | ["auth", "logout"]
    )
}

/// Whether an operation on an endpoint has something sent to it.
fn sends(operation: &str) -> bool {
    matches!(operation, "recover" | "replay-missing" | "bulk-replay" | "send-example")
}

fn refused(err: &AuthError) -> ApiError {
    if *err == AuthError::SecretAsToken {
        return ApiError::unauthorized(err.to_string());
    }
    ApiError::unauthorized(format!("Invalid token: {err}"))
}
