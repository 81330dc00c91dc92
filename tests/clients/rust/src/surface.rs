//! Every operation of the library, called once, each in a world of its own.
//!
//! `tests/it/clients.rs` reads the library's source and fails when one is missing here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use svix::api::{Svix, V1MessageEventsParams, V1MessageEventsSubscriptionParams};
use svix::error::Error;

use crate::receiver::Receiver;
use crate::world::{World, none, verdict};
use crate::{client, token};

struct Surface<'a> {
    api: Svix,
    bodies: Value,
    receiver: &'a Receiver,
    found: BTreeMap<&'static str, String>,
}

macro_rules! op {
    ($surface:ident, $name:literal, |$world:ident| $call:expr) => {{
        let outcome = async {
            let $world = World::make(&$surface.api, &$surface.bodies, $surface.receiver).await?;
            $call.await.map(drop)
        };
        let outcome: Result<(), Error> = outcome.await;
        $surface.found.insert($name, verdict(outcome));
    }};
}

/// How each operation went: `works`, `not_implemented`, or `fails: …`.
pub async fn run(receiver: &Receiver, bodies: &str) -> BTreeMap<&'static str, String> {
    let bodies = std::fs::read_to_string(bodies).expect("bodies.json");
    let mut bodies: Value = serde_json::from_str(&bodies).expect("bodies.json is JSON");
    let now = SystemTime::now();
    bodies["$since"] = when(now - Duration::from_secs(3_600));
    bodies["$until"] = when(now);
    // Without retries: what is not built would be asked for three times.
    let mut s = Surface { api: client(token(), 0), bodies, receiver, found: BTreeMap::new() };
    operations(&mut s).await;
    messages(&mut s).await;
    other_products(&mut s).await;
    s.found
}

/// A time as the library writes it.
fn when(time: SystemTime) -> Value {
    json!(svix::models::RecoverIn::new(time.into()))["since"].clone()
}

/// Applications, endpoints, event types.
#[expect(deprecated, reason = "operations that the library advises against are tried too")]
async fn operations(s: &mut Surface<'_>) {
    op!(s, "application.list", |w| w.api.application().list(None));
    op!(s, "application.create", |w| w.api.application().create(w.body("ApplicationIn"), None));
    op!(s, "application.get_or_create", |w| w
        .api
        .application()
        .get_or_create(w.body("ApplicationIn"), None));
    op!(s, "application.get", |w| w.api.application().get(w.app()));
    op!(s, "application.upsert", |w| w.api.application().upsert(w.app(), w.body("ApplicationIn")));
    op!(s, "application.delete", |w| w.api.application().delete(w.app()));
    op!(s, "application.patch", |w| w.api.application().patch(w.app(), w.body("ApplicationPatch")));
    op!(s, "authentication.app_portal_access", |w| w.api.authentication().app_portal_access(
        w.app(),
        w.body("AppPortalAccessIn"),
        None
    ));
    op!(s, "authentication.whoami", |w| w.api.authentication().whoami());
    // Of an application's token; the operator's cannot be logged out.
    op!(s, "authentication.logout", |w| async {
        let (app, input) = (w.app(), w.body("AppPortalAccessIn"));
        let access = w.api.authentication().app_portal_access(app, input, None).await?;
        client(access.token, 0).authentication().logout(None).await
    });
    op!(s, "authentication.expire_all", |w| w.api.authentication().expire_all(
        w.app(),
        w.body("ApplicationTokenExpireIn"),
        None
    ));
    op!(s, "authentication.stream_portal_access", |w| w.api.authentication().stream_portal_access(
        none(),
        w.body("StreamPortalAccessIn"),
        None
    ));
    op!(s, "authentication.stream_logout", |w| w.api.authentication().stream_logout(None));
    op!(s, "authentication.stream_expire_all", |w| w.api.authentication().stream_expire_all(
        none(),
        w.body("StreamTokenExpireIn"),
        None
    ));
    op!(s, "authentication.rotate_stream_poller_token", |w| w
        .api
        .authentication()
        .rotate_stream_poller_token(none(), none(), w.body("RotatePollerTokenIn"), None));
    op!(s, "authentication.get_stream_poller_token", |w| w
        .api
        .authentication()
        .get_stream_poller_token(none(), none()));
    op!(s, "background_task.list", |w| w.api.background_task().list(None));
    op!(s, "background_task.get", |w| w.api.background_task().get(w.task().await?));
    op!(s, "endpoint.list", |w| w.api.endpoint().list(w.app(), None));
    op!(s, "endpoint.create", |w| w.api.endpoint().create(w.app(), w.body("EndpointIn"), None));
    op!(s, "endpoint.get", |w| w.api.endpoint().get(w.app(), w.endpoint()));
    op!(s, "endpoint.upsert", |w| w.api.endpoint().upsert(
        w.app(),
        w.endpoint(),
        w.body("EndpointUpsertIn")
    ));
    op!(s, "endpoint.delete", |w| w.api.endpoint().delete(w.app(), w.endpoint()));
    op!(s, "endpoint.patch", |w| w.api.endpoint().patch(
        w.app(),
        w.endpoint(),
        w.body("EndpointPatch")
    ));
    op!(s, "endpoint.get_secret", |w| w.api.endpoint().get_secret(w.app(), w.endpoint()));
    op!(s, "endpoint.rotate_secret", |w| w.api.endpoint().rotate_secret(
        w.app(),
        w.endpoint(),
        w.body("EndpointSecretRotateIn"),
        None
    ));
    op!(s, "endpoint.get_headers", |w| w.api.endpoint().get_headers(w.app(), w.endpoint()));
    op!(s, "endpoint.set_headers", |w| w.api.endpoint().set_headers(
        w.app(),
        w.endpoint(),
        w.body("EndpointHeadersIn")
    ));
    op!(s, "endpoint.patch_headers", |w| w.api.endpoint().patch_headers(
        w.app(),
        w.endpoint(),
        w.body("EndpointHeadersPatchIn")
    ));
    op!(s, "endpoint.replay_missing", |w| w.api.endpoint().replay_missing(
        w.app(),
        w.endpoint(),
        w.body("ReplayIn"),
        None
    ));
    op!(s, "endpoint.bulk_replay", |w| w.api.endpoint().bulk_replay(
        w.app(),
        w.endpoint(),
        w.body("BulkReplayIn"),
        None
    ));
    op!(s, "endpoint.get_stats", |w| w.api.endpoint().get_stats(w.app(), w.endpoint(), None));
    op!(s, "endpoint.get_attempt_stats", |w| w.api.endpoint().get_attempt_stats(
        w.app(),
        w.endpoint(),
        None
    ));
    op!(s, "endpoint.recover", |w| w.api.endpoint().recover(
        w.app(),
        w.endpoint(),
        w.body("RecoverIn"),
        None
    ));
    op!(s, "endpoint.send_example", |w| w.api.endpoint().send_example(
        w.app(),
        w.endpoint(),
        w.body("EventExampleIn"),
        None
    ));
    op!(s, "endpoint.transformation_partial_update", |w| w
        .api
        .endpoint()
        .transformation_partial_update(w.app(), w.endpoint(), w.body("EndpointTransformationIn")));
    op!(s, "endpoint.transformation.get", |w| w
        .api
        .endpoint()
        .transformation()
        .get(w.app(), w.endpoint()));
    op!(s, "endpoint.transformation.patch", |w| w.api.endpoint().transformation().patch(
        w.app(),
        w.endpoint(),
        w.body("EndpointTransformationPatch")
    ));
    op!(s, "environment.export", |w| w.api.environment().export(None));
    op!(s, "environment.import", |w| w.api.environment().import(w.body("EnvironmentIn"), None));
    op!(s, "event_type.list", |w| w.api.event_type().list(None));
    op!(s, "event_type.create", |w| w.api.event_type().create(w.body("EventTypeIn"), None));
    op!(s, "event_type.import_openapi", |w| w
        .api
        .event_type()
        .import_openapi(w.body("EventTypeImportOpenApiIn"), None));
    op!(s, "event_type.get", |w| w.api.event_type().get(w.event_type()));
    op!(s, "event_type.upsert", |w| w
        .api
        .event_type()
        .upsert(w.event_type(), w.body("EventTypeUpsertIn")));
    op!(s, "event_type.delete", |w| w.api.event_type().delete(w.event_type(), None));
    op!(s, "event_type.patch", |w| w
        .api
        .event_type()
        .patch(w.event_type(), w.body("EventTypePatch")));
    op!(s, "health.get", |w| w.api.health().get());
}

/// Messages, attempts, operational webhooks, statistics.
async fn messages(s: &mut Surface<'_>) {
    op!(s, "message.list", |w| w.api.message().list(w.app(), None));
    op!(s, "message.create", |w| w.api.message().create(w.app(), w.body("MessageIn"), None));
    op!(s, "message.precheck", |w| w.api.message().precheck(
        w.app(),
        w.body("MessagePrecheckIn"),
        None
    ));
    op!(s, "message.get", |w| w.api.message().get(w.app(), w.message(), None));
    op!(s, "message.expunge_content", |w| w.api.message().expunge_content(w.app(), w.message()));
    op!(s, "message.events", |w| w.api.message().events(events(w.app())));
    op!(s, "message.events_subscription", |w| w
        .api
        .message()
        .events_subscription(subscription(w.app())));
    op!(s, "message.bulk_expunge_content", |w| w.api.message().bulk_expunge_content(
        w.app(),
        w.body("BulkExpungeContentsIn"),
        None
    ));
    op!(s, "message.expunge_all_contents", |w| w.api.message().expunge_all_contents(w.app(), None));
    op!(s, "message_attempt.list_by_endpoint", |w| w.api.message_attempt().list_by_endpoint(
        w.app(),
        w.endpoint(),
        None
    ));
    op!(s, "message_attempt.list_by_msg", |w| w.api.message_attempt().list_by_msg(
        w.app(),
        w.message(),
        None
    ));
    op!(s, "message_attempt.list_attempted_messages", |w| w
        .api
        .message_attempt()
        .list_attempted_messages(w.app(), w.endpoint(), None));
    op!(s, "message_attempt.list_attempted_destinations", |w| w
        .api
        .message_attempt()
        .list_attempted_destinations(w.app(), w.message(), None));
    op!(s, "message_attempt.get", |w| w.api.message_attempt().get(
        w.app(),
        w.message(),
        w.attempt().await?,
        None
    ));
    op!(s, "message_attempt.expunge_content", |w| w.api.message_attempt().expunge_content(
        w.app(),
        w.message(),
        w.attempt().await?
    ));
    op!(s, "message_attempt.resend", |w| w.api.message_attempt().resend(
        w.app(),
        w.message(),
        w.endpoint(),
        None
    ));
    op!(s, "message.poller.poll", |w| w.api.message().poller().poll(w.app(), none(), None));
    op!(s, "message.poller.consumer_seek", |w| w.api.message().poller().consumer_seek(
        w.app(),
        none(),
        none(),
        w.body("PollingEndpointConsumerSeekIn"),
        None
    ));
    op!(s, "message.poller.consumer_poll", |w| w.api.message().poller().consumer_poll(
        w.app(),
        none(),
        none(),
        None
    ));
    op!(s, "operational_webhook.endpoint.list", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .list(None));
    op!(s, "operational_webhook.endpoint.create", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .create(w.body("OperationalWebhookEndpointIn"), None));
    op!(s, "operational_webhook.endpoint.get", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .get(w.operational_endpoint().await?));
    op!(s, "operational_webhook.endpoint.upsert", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .upsert(w.operational_endpoint().await?, w.body("OperationalWebhookEndpointUpsertIn")));
    op!(s, "operational_webhook.endpoint.delete", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .delete(w.operational_endpoint().await?));
    op!(s, "operational_webhook.endpoint.get_secret", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .get_secret(w.operational_endpoint().await?));
    op!(s, "operational_webhook.endpoint.rotate_secret", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .rotate_secret(
            w.operational_endpoint().await?,
            w.body("OperationalWebhookEndpointSecretIn"),
            None
        ));
    op!(s, "operational_webhook.endpoint.get_headers", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .get_headers(w.operational_endpoint().await?));
    op!(s, "operational_webhook.endpoint.set_headers", |w| w
        .api
        .operational_webhook()
        .endpoint()
        .set_headers(
            w.operational_endpoint().await?,
            w.body("OperationalWebhookEndpointHeadersIn")
        ));
    op!(s, "statistics.aggregate_event_types", |w| w.api.statistics().aggregate_event_types());
    op!(s, "statistics.aggregate_app_stats", |w| w
        .api
        .statistics()
        .aggregate_app_stats(w.body("AppUsageStatsIn"), None));
}

/// Sources, streams, connectors, destinations.
async fn other_products(s: &mut Surface<'_>) {
    op!(s, "autoconfig_subscription.create", |w| w.api.autoconfig_subscription().create(
        w.app(),
        w.body("CreateAutoConfigSubscriptionIn"),
        None
    ));
    op!(s, "autoconfig_subscription.delete", |w| w
        .api
        .autoconfig_subscription()
        .delete(w.app(), none()));
    op!(s, "autoconfig_subscription.rotate", |w| w.api.autoconfig_subscription().rotate(
        w.app(),
        none(),
        w.body("RotateSubscriptionIn2"),
        None
    ));
    op!(s, "connector.list", |w| w.api.connector().list(None));
    op!(s, "connector.create", |w| w.api.connector().create(w.body("ConnectorIn"), None));
    op!(s, "connector.get", |w| w.api.connector().get(none()));
    op!(s, "connector.upsert", |w| w.api.connector().upsert(none(), w.body("ConnectorUpsertIn")));
    op!(s, "connector.delete", |w| w.api.connector().delete(none()));
    op!(s, "connector.patch", |w| w.api.connector().patch(none(), w.body("ConnectorPatch")));
    op!(s, "destination.list", |w| w.api.destination().list(w.app(), None));
    op!(s, "destination.create", |w| w.api.destination().create(
        w.app(),
        w.body("DestinationIn"),
        None
    ));
    op!(s, "destination.get", |w| w.api.destination().get(w.app(), none()));
    op!(s, "destination.upsert", |w| w.api.destination().upsert(
        w.app(),
        none(),
        w.body("DestinationIn")
    ));
    op!(s, "destination.delete", |w| w.api.destination().delete(w.app(), none()));
    op!(s, "destination.patch", |w| w.api.destination().patch(
        w.app(),
        none(),
        w.body("DestinationPatch")
    ));
    op!(s, "destination.rotate_secret", |w| w.api.destination().rotate_secret(
        w.app(),
        none(),
        w.body("EndpointSecretRotateIn"),
        None
    ));
    op!(s, "destination.transformation.get", |w| w
        .api
        .destination()
        .transformation()
        .get(w.app(), none()));
    op!(s, "destination.transformation.patch", |w| w.api.destination().transformation().patch(
        w.app(),
        none(),
        w.body("DestinationTransformIn")
    ));
    op!(s, "ingest.authentication.consumer_portal_access", |w| w
        .api
        .ingest()
        .authentication()
        .consumer_portal_access(
            w.source().await?,
            w.body("IngestSourceConsumerPortalAccessIn"),
            None
        ));
    op!(s, "ingest.endpoint.list", |w| w.api.ingest().endpoint().list(w.source().await?, None));
    op!(s, "ingest.endpoint.create", |w| w.api.ingest().endpoint().create(
        w.source().await?,
        w.body("IngestEndpointIn"),
        None
    ));
    op!(s, "ingest.endpoint.get", |w| w
        .api
        .ingest()
        .endpoint()
        .get(w.source().await?, w.ingest_endpoint().await?));
    op!(s, "ingest.endpoint.upsert", |w| w.api.ingest().endpoint().upsert(
        w.source().await?,
        w.ingest_endpoint().await?,
        w.body("IngestEndpointUpsertIn")
    ));
    op!(s, "ingest.endpoint.delete", |w| w
        .api
        .ingest()
        .endpoint()
        .delete(w.source().await?, w.ingest_endpoint().await?));
    op!(s, "ingest.endpoint.get_secret", |w| w
        .api
        .ingest()
        .endpoint()
        .get_secret(w.source().await?, w.ingest_endpoint().await?));
    op!(s, "ingest.endpoint.rotate_secret", |w| w.api.ingest().endpoint().rotate_secret(
        w.source().await?,
        w.ingest_endpoint().await?,
        w.body("IngestEndpointSecretIn"),
        None
    ));
    op!(s, "ingest.endpoint.get_headers", |w| w
        .api
        .ingest()
        .endpoint()
        .get_headers(w.source().await?, w.ingest_endpoint().await?));
    op!(s, "ingest.endpoint.set_headers", |w| w.api.ingest().endpoint().set_headers(
        w.source().await?,
        w.ingest_endpoint().await?,
        w.body("IngestEndpointHeadersIn")
    ));
    op!(s, "ingest.endpoint.transformation.get", |w| w
        .api
        .ingest()
        .endpoint()
        .transformation()
        .get(w.source().await?, w.ingest_endpoint().await?));
    op!(s, "ingest.endpoint.transformation.patch", |w| w
        .api
        .ingest()
        .endpoint()
        .transformation()
        .patch(
            w.source().await?,
            w.ingest_endpoint().await?,
            w.body("IngestEndpointTransformationPatch")
        ));
    op!(s, "ingest.source.list", |w| w.api.ingest().source().list(None));
    op!(s, "ingest.source.create", |w| w
        .api
        .ingest()
        .source()
        .create(w.body("IngestSourceIn"), None));
    op!(s, "ingest.source.get", |w| w.api.ingest().source().get(w.source().await?));
    op!(s, "ingest.source.upsert", |w| w
        .api
        .ingest()
        .source()
        .upsert(w.source().await?, w.body("IngestSourceIn")));
    op!(s, "ingest.source.delete", |w| w.api.ingest().source().delete(w.source().await?));
    op!(s, "ingest.source.rotate_token", |w| w
        .api
        .ingest()
        .source()
        .rotate_token(w.source().await?, None));
    op!(s, "integration.list", |w| w.api.integration().list(w.app(), None));
    op!(s, "integration.create", |w| w.api.integration().create(
        w.app(),
        w.body("IntegrationIn"),
        None
    ));
    op!(s, "integration.get", |w| w.api.integration().get(w.app(), none()));
    op!(s, "integration.update", |w| w.api.integration().update(
        w.app(),
        none(),
        w.body("IntegrationUpdate")
    ));
    op!(s, "integration.delete", |w| w.api.integration().delete(w.app(), none()));
    op!(s, "integration.rotate_key", |w| w.api.integration().rotate_key(w.app(), none(), None));
    op!(s, "streaming.sink_headers_get", |w| w.api.streaming().sink_headers_get(none(), none()));
    op!(s, "streaming.sink_headers_patch", |w| w.api.streaming().sink_headers_patch(
        none(),
        none(),
        w.body("HttpSinkHeadersPatchIn")
    ));
    op!(s, "streaming.event_type.list", |w| w.api.streaming().event_type().list(None));
    op!(s, "streaming.event_type.create", |w| w
        .api
        .streaming()
        .event_type()
        .create(w.body("StreamEventTypeIn"), None));
    op!(s, "streaming.event_type.get", |w| w.api.streaming().event_type().get(none()));
    op!(s, "streaming.event_type.upsert", |w| w
        .api
        .streaming()
        .event_type()
        .upsert(none(), w.body("StreamEventTypeIn")));
    op!(s, "streaming.event_type.delete", |w| w.api.streaming().event_type().delete(none(), None));
    op!(s, "streaming.event_type.patch", |w| w
        .api
        .streaming()
        .event_type()
        .patch(none(), w.body("StreamEventTypePatch")));
    op!(s, "streaming.events.get", |w| w.api.streaming().events().get(none(), none(), None));
    op!(s, "streaming.events.create", |w| w.api.streaming().events().create(
        none(),
        w.body("CreateStreamEventsIn"),
        None
    ));
    op!(s, "streaming.sink.list", |w| w.api.streaming().sink().list(none(), None));
    op!(s, "streaming.sink.create", |w| w.api.streaming().sink().create(
        none(),
        w.body("StreamSinkIn"),
        None
    ));
    op!(s, "streaming.sink.get", |w| w.api.streaming().sink().get(none(), none()));
    op!(s, "streaming.sink.upsert", |w| w.api.streaming().sink().upsert(
        none(),
        none(),
        w.body("StreamSinkIn")
    ));
    op!(s, "streaming.sink.delete", |w| w.api.streaming().sink().delete(none(), none()));
    op!(s, "streaming.sink.patch", |w| w.api.streaming().sink().patch(
        none(),
        none(),
        w.body("StreamSinkPatch")
    ));
    op!(s, "streaming.sink.get_secret", |w| w.api.streaming().sink().get_secret(none(), none()));
    op!(s, "streaming.sink.rotate_secret", |w| w.api.streaming().sink().rotate_secret(
        none(),
        none(),
        w.body("EndpointSecretRotateIn"),
        None
    ));
    op!(s, "streaming.sink.transformation.get", |w| w
        .api
        .streaming()
        .sink()
        .transformation()
        .get(none(), none()));
    op!(s, "streaming.sink.transformation.patch", |w| w
        .api
        .streaming()
        .sink()
        .transformation()
        .patch(none(), none(), w.body("SinkTransformIn")));
    op!(s, "streaming.stream.list", |w| w.api.streaming().stream().list(None));
    op!(s, "streaming.stream.create", |w| w
        .api
        .streaming()
        .stream()
        .create(w.body("StreamIn"), None));
    op!(s, "streaming.stream.get", |w| w.api.streaming().stream().get(none()));
    op!(s, "streaming.stream.upsert", |w| w
        .api
        .streaming()
        .stream()
        .upsert(none(), w.body("StreamIn")));
    op!(s, "streaming.stream.delete", |w| w.api.streaming().stream().delete(none()));
    op!(s, "streaming.stream.patch", |w| w
        .api
        .streaming()
        .stream()
        .patch(none(), w.body("StreamPatch")));
}

fn events(app_id: String) -> V1MessageEventsParams {
    V1MessageEventsParams {
        app_id,
        limit: None,
        iterator: None,
        event_types: None,
        channels: None,
        after: None,
    }
}

fn subscription(app_id: String) -> V1MessageEventsSubscriptionParams {
    V1MessageEventsSubscriptionParams {
        app_id,
        subscription_id: none(),
        limit: None,
        iterator: None,
        event_types: None,
        channels: None,
        after: None,
    }
}
