//! Who a token speaks for, and the end of tokens.

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;

/// `POST /auth/logout`: tokens carry all there is to a session, so there is nothing to end here.
/// What ends an application's tokens before their time is `expire-all`.
pub(super) fn logout(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    Caller::of(api, request)?;
    Ok(Reply::no_content())
}
