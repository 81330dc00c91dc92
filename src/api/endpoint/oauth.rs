//! How an endpoint's receiver wants us to show who we are: OAuth 2.0 client credentials. Set, shown
//! without the secret, and taken away.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Whose, edit, find};
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::reply::Reply;
use crate::api::request::Request;
use crate::delivery::check_url;
use crate::model::oauth::{AuthMethod, ClientCredentials};

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum MethodName {
    #[default]
    ClientSecretBasic,
    ClientSecretPost,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OauthIn {
    token_url: String,
    client_id: String,
    client_secret: String,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    audience: Option<String>,
    #[serde(default)]
    auth_method: MethodName,
}

/// The secret is not among what is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OauthOut<'a> {
    token_url: &'a str,
    client_id: &'a str,
    scope: Option<&'a str>,
    audience: Option<&'a str>,
    auth_method: MethodName,
}

impl OauthIn {
    fn checked(self, api: &Api) -> Result<ClientCredentials, ApiError> {
        let invalid = |field: &str, problem: &dyn std::fmt::Display| {
            ApiError::invalid("body", field, problem)
        };
        check_url(&self.token_url, api.settings.https_only, &api.settings.policy)
            .map_err(|problem| invalid("tokenUrl", &problem))?;
        let credentials = ClientCredentials {
            token_url: self.token_url,
            client_id: self.client_id,
            client_secret: self.client_secret,
            scope: self.scope,
            audience: self.audience,
            auth_method: match self.auth_method {
                MethodName::ClientSecretBasic => AuthMethod::ClientSecretBasic,
                MethodName::ClientSecretPost => AuthMethod::ClientSecretPost,
            },
        };
        credentials.check().map_err(|problem| invalid(problem.field(), &problem))?;
        Ok(credentials)
    }
}

/// `GET /app/{app}/endpoint/{endpoint}/oauth`
pub(in crate::api) fn get(
    api: &Api,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    let (_, endpoint) = find(api, request, whose, id)?;
    let oauth = endpoint.oauth.as_deref().ok_or_else(ApiError::not_found)?;
    Ok(Reply::json(
        200,
        &OauthOut {
            token_url: &oauth.token_url,
            client_id: &oauth.client_id,
            scope: oauth.scope.as_deref(),
            audience: oauth.audience.as_deref(),
            auth_method: match oauth.auth_method {
                AuthMethod::ClientSecretBasic => MethodName::ClientSecretBasic,
                AuthMethod::ClientSecretPost => MethodName::ClientSecretPost,
            },
        },
    ))
}

/// `PUT /app/{app}/endpoint/{endpoint}/oauth`
pub(in crate::api) async fn set(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    find(api, request, whose, id)?;
    let input: OauthIn = request.json()?;
    let credentials = Arc::new(input.checked(api)?);
    edit(api, request, whose, id, |endpoint| {
        endpoint.oauth = Some(credentials);
        Ok(())
    })
    .await
}

/// `DELETE /app/{app}/endpoint/{endpoint}/oauth`
pub(in crate::api) async fn delete(
    api: &Arc<Api>,
    request: &Request,
    whose: Whose<'_>,
    id: &str,
) -> Result<Reply, ApiError> {
    edit(api, request, whose, id, |endpoint| {
        endpoint.oauth = None;
        Ok(())
    })
    .await
}
