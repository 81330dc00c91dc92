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
    ("POST", "/api/v1/auth/app/{}/create-message-token", "v1.authentication.create-message-token"),
    ("GET", "/api/v1/auth/app/{}/poller/{}/token", "v1.authentication.get-poller-token"),
    ("POST", "/api/v1/auth/app/{}/poller/{}/token/rotate", "v1.authentication.rotate-poller-token"),
    ("GET", "/ingest/api/v1/source", "v1.ingest.source.list"),
    ("POST", "/ingest/api/v1/source", "v1.ingest.source.create"),
    ("DELETE", "/ingest/api/v1/source/{}", "v1.ingest.source.delete"),
    ("GET", "/ingest/api/v1/source/{}", "v1.ingest.source.get"),
    ("PATCH", "/ingest/api/v1/source/{}", "v1.ingest.source.patch"),
    ("PUT", "/ingest/api/v1/source/{}", "v1.ingest.source.upsert"),
    (
        "POST",
        "/ingest/api/v1/source/{}/dashboard",
        "v1.ingest.authentication.consumer-portal-access",
    ),
    ("GET", "/ingest/api/v1/source/{}/endpoint", "v1.ingest.endpoint.list"),
    ("POST", "/ingest/api/v1/source/{}/endpoint", "v1.ingest.endpoint.create"),
    ("DELETE", "/ingest/api/v1/source/{}/endpoint/{}", "v1.ingest.endpoint.delete"),
    ("GET", "/ingest/api/v1/source/{}/endpoint/{}", "v1.ingest.endpoint.get"),
    ("PUT", "/ingest/api/v1/source/{}/endpoint/{}", "v1.ingest.endpoint.upsert"),
    ("GET", "/ingest/api/v1/source/{}/endpoint/{}/headers", "v1.ingest.endpoint.get-headers"),
    ("PUT", "/ingest/api/v1/source/{}/endpoint/{}/headers", "v1.ingest.endpoint.set-headers"),
    ("GET", "/ingest/api/v1/source/{}/endpoint/{}/secret", "v1.ingest.endpoint.get-secret"),
    (
        "POST",
        "/ingest/api/v1/source/{}/endpoint/{}/secret/rotate",
        "v1.ingest.endpoint.rotate-secret",
    ),
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
    ("GET", "/ingest/api/v1/source/{}/log", "v1.ingest.log.list"),
    ("POST", "/ingest/api/v1/source/{}/token/rotate", "v1.ingest.source.rotate-token"),
];

/// The name of the operation with this method and path, if it is one that is not built.
pub(super) fn not_built(method: &str, segments: &[&str]) -> Option<&'static str> {
    let found = NOT_BUILT.iter().find(|(m, path, _)| *m == method && fits(path, segments));
    found.map(|(_, _, operation)| *operation)
}

fn fits(path: &str, segments: &[&str]) -> bool {
    let mut pattern = path.split('/').skip(1);
    let all = segments.iter().all(|s| pattern.next().is_some_and(|p| p == "{}" || p == *s));
    all && pattern.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_operations_by_shape() {
        let path = ["api", "v1", "auth", "app", "app_1", "create-message-token"];
        let token = not_built("POST", &path);
        assert_eq!(token, Some("v1.authentication.create-message-token"));
        assert_eq!(not_built("GET", &path), None);
        assert_eq!(not_built("POST", &[&path[..], &["x"]].concat()), None);
        assert_eq!(not_built("POST", &["api", "v1"]), None);
    }
}
