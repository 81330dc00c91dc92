//! The table of operations: a method and the segments of a path, and who answers.
//!
//! Each group is a function for the router and a constant with the same rows for the document
//! (`data/openapi.json`), so that the two cannot drift apart unnoticed. A bare word in a row is a
//! segment that is handed on, a quoted one stands for itself. To add an operation: a row here, its
//! description in the document, and its row in `operations.rs` goes.

use std::sync::Arc;

use super::endpoint::Whose::{App, Operational};
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::{
    Api, api_token, application, attempt, broadcast, declared, docs, endpoint, environment,
    event_openapi, event_type, expunge, health, ingest, matching, message, metrics, operational,
    poller, portal, replay, schedule, search, session, task, usage,
};

/// What an operation gives.
pub(super) type Answer = Result<Reply, ApiError>;

#[cfg(test)]
macro_rules! segment {
    ($text:literal) => {
        $text
    };
    ($name:ident) => {
        concat!("{", stringify!($name), "}")
    };
}

macro_rules! group {
    ($(#[$doc:meta])* $name:ident, $table:ident, $prefix:literal, |$api:ident, $request:ident| {
        $($method:literal [$($segment:tt)*] => $answer:expr,)*
    }) => {
        #[cfg(test)]
        pub(super) const $table: &[(&str, &str)] =
            &[$(($method, concat!($prefix $(, "/", segment!($segment))*))),*];

        $(#[$doc])*
        pub(super) async fn $name(
            $api: &Arc<Api>,
            $request: &Request,
            method: &str,
            segments: &[&str],
        ) -> Option<Answer> {
            Some(match (method, segments) {
                $(($method, [$($segment),*]) => $answer,)*
                _ => return None,
            })
        }
    };
}

group! {
    /// Applications, their messages and attempts.
    apps, APPS, "/api/v1/app", |api, request| {
        "GET" ["stats" "count-active"] => usage::count_active(api, request),
        "GET" [] => application::list(api, request),
        "POST" [] => application::create(api, request).await,
        "GET" [app] => application::get(api, request, app),
        "PUT" [app] => application::update(api, request, app).await,
        "PATCH" [app] => application::patch(api, request, app).await,
        "DELETE" [app] => application::delete(api, request, app).await,
        "GET" [app "msg"] => message::list(api, request, app),
        "POST" [app "msg"] => message::create(api, request, app).await,
        "POST" [app "msg" "search"] => search::search(api, request, app),
        "POST" [app "msg" "precheck" "active"] => matching::precheck(api, request, app),
        "POST" [app "msg" "bulk-expunge"] => expunge::bulk(api, request, app).await,
        "POST" [app "msg" "expunge-all-contents"] => expunge::all(api, request, app).await,
        "POST" [app "match"] => matching::dry_run(api, request, app),
        "GET" [app "events"] => poller::events(api, request, app),
        "GET" [app "events" "subscription" sink] => poller::poll(api, request, app, sink),
        "GET" [app "stats" "attempts"] => usage::attempts(api, request, app).await,
        "GET" [app "msg" msg "raw"] => message::raw(api, request, app, msg),
        "GET" [app "msg" msg "explain"] => matching::explain(api, request, app, msg),
        "GET" [app "msg" msg] => message::get(api, request, app, msg),
        "DELETE" [app "msg" msg "content"] => message::expunge(api, request, app, msg).await,
        "GET" [app "msg" msg "endpoint"] => attempt::destinations(api, request, app, msg),
        "POST" [app "msg" msg "endpoint" endpoint "resend"] => {
            attempt::resend(api, request, app, msg, endpoint).await
        },
        "GET" [app "msg" msg "endpoint" endpoint "attempt"] => {
            attempt::list_by_message(api, request, app, msg, Some(endpoint))
        },
        "GET" [app "attempt" "endpoint" endpoint] => {
            attempt::list_by_endpoint(api, request, app, endpoint)
        },
        "GET" [app "attempt" "endpoint" endpoint "count"] => {
            attempt::count_by_endpoint(api, request, app, endpoint).await
        },
        "GET" [app "attempt" "msg" msg] => {
            attempt::list_by_message(api, request, app, msg, None)
        },
        "GET" [app "msg" msg "attempt"] => {
            attempt::list_by_message(api, request, app, msg, None)
        },
        "GET" [app "msg" msg "attempt" attempt] => {
            attempt::get(api, request, app, msg, attempt)
        },
        "DELETE" [app "msg" msg "attempt" attempt "content"] => {
            attempt::expunge(api, request, app, msg, attempt).await
        },
        "GET" [app "poller" sink] => poller::poll(api, request, app, sink),
        "GET" [app "poller" sink "consumer" consumer] => {
            poller::consumer_poll(api, request, app, sink, consumer).await
        },
        "POST" [app "poller" sink "consumer" consumer "seek"] => {
            poller::consumer_seek(api, request, app, sink, consumer).await
        },
        "GET" [app "polling-endpoint" sink "consumer" consumer] => {
            poller::lease(api, request, app, sink, consumer).await
        },
        "POST" [app "polling-endpoint" sink "consumer" consumer "commit"] => {
            poller::commit(api, request, app, sink, consumer).await
        },
    }
}

group! {
    /// Endpoints of an application. The application is the first segment.
    endpoints, ENDPOINTS, "/api/v1/app", |api, request| {
        "GET" [app "endpoint"] => endpoint::list(api, request, App(app)),
        "POST" [app "endpoint"] => endpoint::create(api, request, App(app)).await,
        "GET" [app "endpoint" endpoint] => endpoint::get(api, request, App(app), endpoint),
        "PUT" [app "endpoint" endpoint] => endpoint::update(api, request, App(app), endpoint).await,
        "PATCH" [app "endpoint" endpoint] => endpoint::patch(api, request, App(app), endpoint).await,
        "DELETE" [app "endpoint" endpoint] => endpoint::delete(api, request, App(app), endpoint).await,
        "GET" [app "endpoint" endpoint "secret"] => endpoint::secret::get(api, request, App(app), endpoint),
        "POST" [app "endpoint" endpoint "secret" "rotate"] => {
            endpoint::secret::rotate(api, request, App(app), endpoint).await
        },
        "GET" [app "endpoint" endpoint "headers"] => endpoint::headers::get(api, request, App(app), endpoint),
        "PUT" [app "endpoint" endpoint "headers"] => endpoint::headers::set(api, request, App(app), endpoint).await,
        "PATCH" [app "endpoint" endpoint "headers"] => {
            endpoint::headers::patch(api, request, App(app), endpoint).await
        },
        "GET" [app "endpoint" endpoint "oauth"] => endpoint::oauth::get(api, request, App(app), endpoint),
        "PUT" [app "endpoint" endpoint "oauth"] => endpoint::oauth::set(api, request, App(app), endpoint).await,
        "DELETE" [app "endpoint" endpoint "oauth"] => {
            endpoint::oauth::delete(api, request, App(app), endpoint).await
        },
        "GET" [app "endpoint" endpoint "stats"] => endpoint::stats::get(api, request, app, endpoint).await,
        "GET" [app "endpoint" endpoint "attempt-stats"] => {
            endpoint::stats::attempts(api, request, app, endpoint).await
        },
        "POST" [app "endpoint" endpoint "send-example"] => {
            endpoint::example::send(api, request, app, endpoint).await
        },
        "GET" [app "endpoint" endpoint "msg"] => attempt::attempted_messages(api, request, app, endpoint),
        "POST" [app "endpoint" endpoint "recover"] => replay::recover(api, request, app, endpoint).await,
        "POST" [app "endpoint" endpoint "replay-missing"] => {
            replay::missing(api, request, app, endpoint).await
        },
        "POST" [app "endpoint" endpoint "bulk-replay"] => replay::bulk(api, request, app, endpoint).await,
        "POST" [app "endpoint" endpoint "cancel-msgs"] => replay::cancel(api, request, app, endpoint).await,
        "GET" [app "endpoint" endpoint "rate-limit-status"] => {
            endpoint::throttle::status(api, request, app, endpoint)
        },
    }
}

group! {
    /// Event types.
    event_types, EVENT_TYPES, "/api/v1/event-type", |api, request| {
        "GET" [] => event_type::list(api, request),
        "POST" [] => event_type::create(api, request).await,
        "POST" ["import" "openapi"] => event_openapi::import(api, request).await,
        "POST" ["export" "openapi"] => event_openapi::start_export(api, request).await,
        "GET" [name "retry-schedule"] => schedule::get(api, request, name),
        "PUT" [name "retry-schedule"] => schedule::set(api, request, name).await,
        "GET" [name] => event_type::get(api, request, name),
        "PUT" [name] => event_type::update(api, request, name).await,
        "PATCH" [name] => event_type::patch(api, request, name).await,
        "DELETE" [name] => event_type::delete(api, request, name).await,
    }
}

group! {
    /// What stands by itself below the base path.
    others, OTHERS, "/api/v1", |api, request| {
        "GET" ["openapi.json"] => Ok(docs::json()),
        "GET" ["health"] => Ok(health::get(api)),
        "GET" ["health" "ping"] => Ok(Reply::no_content()),
        "POST" ["admin" "redrive-dlq"] => health::redrive(api, request),
        "POST" ["auth" "app-portal-access" app] => portal::access(api, request, app).await,
        "POST" ["auth" "dashboard-access" app] => portal::access(api, request, app).await,
        "POST" ["auth" "logout"] => session::logout(api, request).await,
        "GET" ["auth" "whoami"] => session::whoami(api, request),
        "POST" ["auth" "app" app "expire-all"] => session::expire_all(api, request, app).await,
        "POST" ["auth" "app" app "create-message-token"] => {
            api_token::for_messages(api, request, app)
        },
        "GET" ["auth" "app" app "poller" sink "token"] => {
            api_token::for_poller(api, request, app, sink)
        },
        "POST" ["auth" "app" app "poller" sink "token" "rotate"] => {
            api_token::rotate_for_poller(api, request, app, sink).await
        },
        "GET" ["background-task"] => task::list(api, request),
        "GET" ["background-task" task] => task::get(api, request, task),
        "POST" ["environment" "export"] => environment::export(api, request),
        "POST" ["environment" "import"] => environment::import(api, request).await,
        "POST" ["files" "plan"] => declared::take(api, request, "plan").await,
        "POST" ["files" "apply"] => declared::take(api, request, "apply").await,
        "POST" ["msg" "broadcast"] => broadcast::create(api, request).await,
        "POST" ["stats" "usage" "app"] => usage::by_app(api, request).await,
        "PUT" ["stats" "usage" "event-types"] => usage::by_event_type(api, request).await,
    }
}

group! {
    /// An organisation's own endpoints.
    operational_webhooks, OPERATIONAL, "/api/v1/operational-webhook/endpoint", |api, request| {
        "GET" [] => operational::list(api, request),
        "POST" [] => operational::create(api, request).await,
        "GET" [endpoint] => endpoint::get(api, request, Operational, endpoint),
        "PUT" [endpoint] => operational::update(api, request, endpoint).await,
        "DELETE" [endpoint] => endpoint::delete(api, request, Operational, endpoint).await,
        "GET" [endpoint "headers"] => endpoint::headers::get(api, request, Operational, endpoint),
        "PUT" [endpoint "headers"] => endpoint::headers::set(api, request, Operational, endpoint).await,
        "GET" [endpoint "secret"] => endpoint::secret::get(api, request, Operational, endpoint),
        "POST" [endpoint "secret" "rotate"] => {
            endpoint::secret::rotate(api, request, Operational, endpoint).await
        },
    }
}

group! {
    /// Sources of other people's events, and the endpoints of their applications.
    sources, SOURCES, "/ingest/api/v1/source", |api, request| {
        "GET" [] => ingest::list(api, request),
        "POST" [] => ingest::create(api, request).await,
        "GET" [source] => ingest::get(api, request, source),
        "PUT" [source] => ingest::update(api, request, source).await,
        "PATCH" [source] => ingest::patch(api, request, source).await,
        "DELETE" [source] => ingest::delete(api, request, source).await,
        "POST" [source "token" "rotate"] => ingest::rotate(api, request, source).await,
        "POST" [source "dashboard"] => ingest::dashboard(api, request, source).await,
        "GET" [source "log"] => ingest::refused::log(api, request, source),
        "GET" [source "refused"] => ingest::refused::list(api, request, source),
        "GET" [source "refused" capture] => ingest::refused::get(api, request, source, capture),
        "GET" [source "refused" capture "raw"] => {
            ingest::refused::raw(api, request, source, capture)
        },
        "POST" [source "refused" capture "verify"] => {
            ingest::refused::verify(api, request, source, capture)
        },
        "POST" [source "refused" capture "accept"] => {
            ingest::refused::accept(api, request, source, capture).await
        },
        "GET" [source "endpoint"] => ingest::endpoints(api, request, source, &[]).await,
        "POST" [source "endpoint"] => ingest::endpoints(api, request, source, &[]).await,
        "GET" [source "endpoint" endpoint] => {
            ingest::endpoints(api, request, source, &[endpoint]).await
        },
        "PUT" [source "endpoint" endpoint] => {
            ingest::endpoints(api, request, source, &[endpoint]).await
        },
        "DELETE" [source "endpoint" endpoint] => {
            ingest::endpoints(api, request, source, &[endpoint]).await
        },
        "GET" [source "endpoint" endpoint "headers"] => {
            ingest::endpoints(api, request, source, &[endpoint, "headers"]).await
        },
        "PUT" [source "endpoint" endpoint "headers"] => {
            ingest::endpoints(api, request, source, &[endpoint, "headers"]).await
        },
        "GET" [source "endpoint" endpoint "secret"] => {
            ingest::endpoints(api, request, source, &[endpoint, "secret"]).await
        },
        "POST" [source "endpoint" endpoint "secret" "rotate"] => {
            ingest::endpoints(api, request, source, &[endpoint, "secret", "rotate"]).await
        },
    }
}

group! {
    /// Pages for people, and figures for those who watch.
    for_people, FOR_PEOPLE, "", |api, request| {
        "GET" [""] => Ok(Reply::redirect("/docs")),
        "GET" ["docs"] => Ok(docs::page()),
        "GET" ["portal"] => Ok(portal::page()),
        "GET" ["metrics"] => metrics::get(api, request),
    }
}

/// Every operation there is.
#[cfg(test)]
pub(super) fn all() -> Vec<(&'static str, &'static str)> {
    [APPS, ENDPOINTS, EVENT_TYPES, OTHERS, OPERATIONAL, SOURCES, FOR_PEOPLE].concat()
}
