//! What strangers send to the API, for the fuzzer: each function reads any bytes and says what kind
//! of outcome that was.

use std::sync::LazyLock;

use super::auth::{self, Secret};
use super::paging::PageRequest;
use super::query::Query;
use super::request::{Request, depth};
use crate::fuzz::kind;
use crate::model::id::MessageId;

const NOW: u64 = 1_790_000_000;

static SECRET: LazyLock<Secret> =
    LazyLock::new(|| Secret::from_text("a secret of the fuzzer, long enough", "here").unwrap());

/// A genuine token to begin with.
pub(crate) fn genuine_token() -> String {
    let subject = auth::Subject::Org(auth::DEFAULT_ORG.to_owned());
    auth::mint(&SECRET, &subject, NOW, std::time::Duration::from_secs(3600))
}

/// A token. Whatever passes is the genuine one.
pub(crate) fn token(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    match auth::verify(&SECRET, &text, NOW) {
        Ok(claims) => {
            assert_eq!(text, genuine_token(), "a forged token passed as {claims:?}");
            kind("ok")
        }
        Err(err) => kind(std::mem::discriminant(&err)),
    }
}

/// The claims of a token with a good signature: a key that svix's tools share with us.
pub(crate) fn claims(bytes: &[u8]) -> u64 {
    let token = auth::sign_claims(&SECRET, bytes);
    match auth::verify(&SECRET, &token, NOW) {
        Ok(claims) => {
            assert!(auth::is_id("org_", claims.subject.org()), "{claims:?}");
            kind((claims.issued_at.is_some(), claims.feature_flags.is_some()))
        }
        Err(err) => kind(std::mem::discriminant(&err)),
    }
}

/// A query: page, iterator, list, flag, moment.
pub(crate) fn query(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let Ok(query) = Query::parse(&text) else { return kind("query") };
    let page = PageRequest::of(&query, true);
    let range = page.as_ref().map(|page| page.range(|text| text.parse().map(|id: MessageId| id.0)));
    let (flag, moment) = (query.flag("with_content", true), query.moment("before"));
    let list = query.list("event_types");
    kind((
        page.is_ok(),
        range.is_ok_and(|r| r.is_ok()),
        flag.is_ok(),
        moment.is_ok(),
        list.len().min(8),
    ))
}

/// The body of a message, and how deep it is nested.
pub(crate) fn message(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    kind((super::message::is_message(bytes), depth(&text).min(200) / 8))
}

/// A path: its segments hold what is behind the percent signs, and no slash was made of them.
pub(crate) fn path(bytes: &[u8]) -> u64 {
    let request = Request {
        method: http::Method::GET,
        path: String::from_utf8_lossy(bytes).into_owned(),
        query: String::new(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let segments = request.segments();
    assert_eq!(segments.len(), request.path.matches('/').count());
    kind(segments.len().min(8))
}
