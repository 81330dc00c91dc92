//! Operational webhooks: an organisation's own endpoints, which hear of what happens to the others.
//!
//! They are endpoints like any other, of an application in the management organisation.

use std::sync::Arc;

use super::Api;
use super::caller::Caller;
use super::endpoint::{self, Whose};
use super::error::ApiError;
use super::paging::{ListOut, PageRequest};
use super::query::Query;
use super::reply::Reply;
use super::request::Request;

/// `GET /operational-webhook/endpoint`
pub(super) fn list(api: &Api, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    if api.store.directory().management_tenant(caller.org)?.is_some() {
        return endpoint::list(api, request, Whose::Operational);
    }
    let page = PageRequest::of(&Query::parse(&request.query)?, true)?;
    let none = ListOut::<()>::by_name(&page, Vec::<()>::new(), false, |()| String::new(), |()| ());
    Ok(Reply::json(200, &none))
}

/// `POST /operational-webhook/endpoint`
pub(super) async fn create(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    make_application(api, request).await?;
    endpoint::create(api, request, Whose::Operational).await
}

/// `PUT /operational-webhook/endpoint/{endpoint}`
pub(super) async fn update(api: &Arc<Api>, request: &Request, id: &str) -> Result<Reply, ApiError> {
    make_application(api, request).await?;
    endpoint::update(api, request, Whose::Operational, id).await
}

/// Makes the application that holds them when there is none yet.
async fn make_application(api: &Arc<Api>, request: &Request) -> Result<(), ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    if api.store.directory().management_tenant(caller.org)?.is_none() {
        api.space_for_writes()?;
        api.write(move |writer| writer.management_application(caller.org)).await?;
    }
    Ok(())
}
