//! Which of a request's own headers go along with the message.

use crate::model::source::Source;
use crate::signature::Profile;

/// Bytes of names and values that go along: they stand in the message's own row.
pub const KEPT_HEADER_BYTES: usize = 2 * 1024;
/// Header fields that go along.
const KEPT_HEADERS: usize = 32;

/// Of the connection, of proxies on the way, of browsers, of tracing; and what is a secret.
const NOT_OF_THE_EVENT: [&str; 34] = [
    "accept",
    "authorization",
    "baggage",
    "cache-control",
    "cdn-loop",
    "connection",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "metadata",
    "origin",
    "pragma",
    "priority",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-api-key",
    "x-auth-token",
    "x-hook-secret",
    "x-real-ip",
    "x-request-start",
];

/// First parts of such names.
const NOT_OF_THE_EVENT_FROM: [&str; 12] = [
    "accept-",
    "cf-",
    "content-",
    "fly-",
    "if-",
    "proxy-",
    "sec-",
    "x-amzn-",
    "x-b3-",
    "x-envoy-",
    "x-forwarded-",
    "x-original-",
];

/// The headers that go along: those the source names, or all that say something of the event.
/// Never one that carries the secret, and nothing that could not stand in a request of ours.
pub(super) fn kept(
    source: &Source,
    profile: Option<&Profile>,
    headers: &[(String, Vec<u8>)],
) -> Vec<(String, String)> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let wanted = match &source.keep_headers {
            Some(names) => names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)),
            None => is_of_the_event(name),
        };
        if !wanted || profile.is_some_and(|p| p.has_secret_in(name)) {
            continue;
        }
        let visible = value.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b));
        let Some(value) = std::str::from_utf8(value).ok().filter(|_| visible) else { continue };
        if kept.len() == KEPT_HEADERS || bytes + name.len() + value.len() > KEPT_HEADER_BYTES {
            // Shorter ones behind it may still fit.
            continue;
        }
        bytes += name.len() + value.len();
        kept.push((name.clone(), value.to_owned()));
    }
    kept
}

fn is_of_the_event(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !NOT_OF_THE_EVENT.contains(&name.as_str())
        && !NOT_OF_THE_EVENT_FROM.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::id::{AppId, OrgId, SourceId};
    use crate::signature::Providers;

    fn kept_names(keep: Option<&[&str]>, provider: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let (id, org, app) = (SourceId([1; 20]), OrgId([0; 20]), AppId([2; 20]));
        let mut source = Source::new(id, org, app, String::new(), Timestamp(0));
        source.keep_headers = keep.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
        let headers: Vec<_> =
            headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let profile = Providers::builtin().get(provider);
        kept(&source, profile, &headers).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_says_something_of_the_event_goes_along() {
        let headers = [
            ("host", "h"),
            ("x-github-event", "push"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-forwarded-for", "1.2.3.4"),
            ("authorization", "Bearer t"),
            ("content-length", "2"),
            ("ce-id", "1"),
        ];
        let expected = ["x-github-event", "x-hub-signature-256", "ce-id"];
        assert_eq!(kept_names(None, "github", &headers), expected);
        let chosen = Some(&["X-GitHub-Event", "user-agent"][..]);
        assert_eq!(kept_names(chosen, "github", &headers), ["x-github-event"]);
        assert_eq!(kept_names(Some(&[]), "github", &headers), [""; 0]);
    }

    #[test]
    fn a_header_that_is_the_secret_stays_even_when_it_is_named() {
        let headers = [("x-gitlab-token", "t"), ("x-gitlab-event", "Push Hook")];
        assert_eq!(kept_names(None, "gitlab_token", &headers), ["x-gitlab-event"]);
        let chosen = Some(&["x-gitlab-token"][..]);
        assert_eq!(kept_names(chosen, "gitlab_token", &headers), [""; 0]);
    }

    #[test]
    fn the_room_is_limited_and_values_are_visible_ascii() {
        let value = "v".repeat(KEPT_HEADER_BYTES - 3);
        assert_eq!(kept_names(None, "github", &[("x-a", &value)]), ["x-a"]);
        let headers = [("x-ab", value.as_str()), ("x-c", "v"), ("x-d", "é"), ("x-e", "a\u{1}")];
        assert_eq!(kept_names(None, "github", &headers), ["x-c"]);
        let many: Vec<_> = (0..=KEPT_HEADERS).map(|_| ("x-a", "v")).collect();
        assert_eq!(kept_names(None, "github", &many).len(), KEPT_HEADERS);
    }
}
