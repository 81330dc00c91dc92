//! Operations of the published libraries that are not built: they answer 501 with their name,
//! so that nobody takes a missing feature for a missing message.

/// `(method, path, operation)`; `{}` stands for one segment. Remove a row when its operation is
/// built.
const NOT_BUILT: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/app/{}/endpoint/{}/msg/test-attempt", "v1.message.test-attempt"),
    ("GET", "/api/v1/app/{}/endpoint/{}/transformation", "v1.endpoint.transformation.get"),
    ("PATCH", "/api/v1/app/{}/endpoint/{}/transformation", "v1.endpoint.transformation.patch"),
    (
        "POST",
        "/api/v1/app/{}/endpoint/{}/transformation/simulate",
        "v1.endpoint.transformation.simulate",
    ),
    ("GET", "/api/v1/app/{}/msg/{}/attempt/{}/headers", "v1.message-attempt.get-headers"),
    (
        "GET",
        "/ingest/api/v1/source/{}/endpoint/{}/transformation",
        "v1.ingest.endpoint.transformation.get",
    ),
    (
        "PATCH",
        "/ingest/api/v1/source/{}/endpoint/{}/transformation",
        "v1.ingest.endpoint.transformation.patch",
    ),
];

/// The name of the operation with this method and path, if it is one that is not built.
pub(super) fn not_built(method: &str, segments: &[&str]) -> Option<&'static str> {
    let mut rows = NOT_BUILT.iter().chain(OTHER_PRODUCTS);
    let found = rows.find(|(m, path, _)| *m == method && fits(path, segments));
    found.map(|(_, _, operation)| *operation)
}

fn fits(path: &str, segments: &[&str]) -> bool {
    let mut pattern = path.split('/').skip(1);
    let all = segments.iter().all(|s| pattern.next().is_some_and(|p| p == "{}" || p == *s));
    all && pattern.next().is_none()
}

/// What belongs to other products of the same libraries, and the latest of their operations.
const OTHER_PRODUCTS: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/app/{}/autoconfig", "v1.autoconfig-subscription.create"),
    ("DELETE", "/api/v1/app/{}/autoconfig/{}", "v1.autoconfig-subscription.delete"),
    ("POST", "/api/v1/app/{}/autoconfig/{}/rotate", "v1.autoconfig-subscription.rotate"),
    ("GET", "/api/v1/app/{}/destination", "v1.destination.list"),
    ("POST", "/api/v1/app/{}/destination", "v1.destination.create"),
    ("DELETE", "/api/v1/app/{}/destination/{}", "v1.destination.delete"),
    ("GET", "/api/v1/app/{}/destination/{}", "v1.destination.get"),
    ("PATCH", "/api/v1/app/{}/destination/{}", "v1.destination.patch"),
    ("PUT", "/api/v1/app/{}/destination/{}", "v1.destination.upsert"),
    ("POST", "/api/v1/app/{}/destination/{}/secret/rotate", "v1.destination.rotate-secret"),
    ("GET", "/api/v1/app/{}/destination/{}/transformation", "v1.destination.transformation.get"),
    (
        "PATCH",
        "/api/v1/app/{}/destination/{}/transformation",
        "v1.destination.transformation.patch",
    ),
    ("GET", "/api/v1/app/{}/integration", "v1.integration.list"),
    ("POST", "/api/v1/app/{}/integration", "v1.integration.create"),
    ("DELETE", "/api/v1/app/{}/integration/{}", "v1.integration.delete"),
    ("GET", "/api/v1/app/{}/integration/{}", "v1.integration.get"),
    ("PUT", "/api/v1/app/{}/integration/{}", "v1.integration.update"),
    ("POST", "/api/v1/app/{}/integration/{}/key/rotate", "v1.integration.rotate-key"),
    ("POST", "/api/v1/auth/stream-logout", "v1.authentication.stream-logout"),
    ("POST", "/api/v1/auth/stream-portal-access/{}", "v1.authentication.stream-portal-access"),
    ("POST", "/api/v1/auth/stream/{}/expire-all", "v1.authentication.stream-expire-all"),
    (
        "GET",
        "/api/v1/auth/stream/{}/sink/{}/poller/token",
        "v1.authentication.get-stream-poller-token",
    ),
    (
        "POST",
        "/api/v1/auth/stream/{}/sink/{}/poller/token/rotate",
        "v1.authentication.rotate-stream-poller-token",
    ),
    ("GET", "/api/v1/connector", "v1.connector.list"),
    ("POST", "/api/v1/connector", "v1.connector.create"),
    ("DELETE", "/api/v1/connector/{}", "v1.connector.delete"),
    ("GET", "/api/v1/connector/{}", "v1.connector.get"),
    ("PATCH", "/api/v1/connector/{}", "v1.connector.patch"),
    ("PUT", "/api/v1/connector/{}", "v1.connector.upsert"),
    ("GET", "/api/v1/stream", "v1.streaming.stream.list"),
    ("POST", "/api/v1/stream", "v1.streaming.stream.create"),
    ("GET", "/api/v1/stream/event-type", "v1.streaming.event-type.list"),
    ("POST", "/api/v1/stream/event-type", "v1.streaming.event-type.create"),
    ("DELETE", "/api/v1/stream/event-type/{}", "v1.streaming.event-type.delete"),
    ("GET", "/api/v1/stream/event-type/{}", "v1.streaming.event-type.get"),
    ("PATCH", "/api/v1/stream/event-type/{}", "v1.streaming.event-type.patch"),
    ("PUT", "/api/v1/stream/event-type/{}", "v1.streaming.event-type.upsert"),
    ("DELETE", "/api/v1/stream/{}", "v1.streaming.stream.delete"),
    ("GET", "/api/v1/stream/{}", "v1.streaming.stream.get"),
    ("PATCH", "/api/v1/stream/{}", "v1.streaming.stream.patch"),
    ("PUT", "/api/v1/stream/{}", "v1.streaming.stream.upsert"),
    ("POST", "/api/v1/stream/{}/events", "v1.streaming.events.create"),
    ("GET", "/api/v1/stream/{}/sink", "v1.streaming.sink.list"),
    ("POST", "/api/v1/stream/{}/sink", "v1.streaming.sink.create"),
    ("DELETE", "/api/v1/stream/{}/sink/{}", "v1.streaming.sink.delete"),
    ("GET", "/api/v1/stream/{}/sink/{}", "v1.streaming.sink.get"),
    ("PATCH", "/api/v1/stream/{}/sink/{}", "v1.streaming.sink.patch"),
    ("PUT", "/api/v1/stream/{}/sink/{}", "v1.streaming.sink.upsert"),
    ("GET", "/api/v1/stream/{}/sink/{}/events", "v1.streaming.events.get"),
    ("GET", "/api/v1/stream/{}/sink/{}/headers", "v1.streaming.sink-headers-get"),
    ("PATCH", "/api/v1/stream/{}/sink/{}/headers", "v1.streaming.sink-headers-patch"),
    ("GET", "/api/v1/stream/{}/sink/{}/secret", "v1.streaming.sink.get-secret"),
    ("POST", "/api/v1/stream/{}/sink/{}/secret/rotate", "v1.streaming.sink.rotate-secret"),
    ("GET", "/api/v1/stream/{}/sink/{}/transformation", "v1.streaming.sink.transformation.get"),
    ("PATCH", "/api/v1/stream/{}/sink/{}/transformation", "v1.streaming.sink.transformation.patch"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_operations_by_shape() {
        let path = ["api", "v1", "app", "app_1", "endpoint", "e", "msg", "test-attempt"];
        assert_eq!(not_built("POST", &path), Some("v1.message.test-attempt"));
        assert_eq!(not_built("GET", &path), None);
        assert_eq!(not_built("POST", &[&path[..], &["x"]].concat()), None);
        assert_eq!(not_built("POST", &["api", "v1"]), None);
        let stream = not_built("GET", &["api", "v1", "stream"]);
        assert_eq!(stream, Some("v1.streaming.stream.list"));
    }
}
