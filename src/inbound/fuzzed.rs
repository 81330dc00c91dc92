//! What senders of CloudEvents put to a door, for the fuzzer: each function reads any bytes and says
//! what kind of outcome that was.

use super::cloud_event::{CloudEvent, read};
use crate::fuzz::kind;
use crate::model::cloud_event::is_one_structured;
use crate::signature::{RawRequest, Reason, Request};

/// A request at a door that takes CloudEvents only. What passes has its attributes, and in a
/// structured event they are those of one object.
pub(crate) fn event_in(bytes: &[u8]) -> u64 {
    let Ok(raw) = RawRequest::parse(bytes) else { return 0 };
    match read(&raw.lend("https://h.example/in")) {
        Ok(event) => {
            let content_type =
                raw.headers.iter().find(|it| it.0.eq_ignore_ascii_case("content-type"));
            let content_type = content_type.map(|it| String::from_utf8_lossy(&it.1).into_owned());
            let structured = content_type.is_some_and(|it| is_one_structured(&it));
            if structured {
                assert!(raw.body.trim_ascii_start().starts_with(b"{"), "no object passed");
                // A number too large for anything is read over where nobody looks.
                if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&raw.body) {
                    let read = (&body["id"], &body["source"], &body["type"]);
                    assert_eq!(read, (&event.id.into(), &event.source.into(), &event.kind.into()));
                }
            } else {
                assert!(!event.id.is_empty() && !event.source.contains('\n'));
            }
            kind((1, structured))
        }
        Err(reason) => kind(reason.to_string()),
    }
}

/// What an event says of itself: source and id, and its type.
pub(crate) fn attributes(
    headers: &[(String, Vec<u8>)],
    body: &[u8],
) -> Result<(String, String), Reason> {
    let request = Request { method: "POST", url: "https://h.example/in", headers, body };
    read(&request).map(|event: CloudEvent| (event.key(), event.kind))
}
