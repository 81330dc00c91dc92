//! What a request says of itself as a CloudEvent: sources with the setting `cloudevents = "true"`.
//!
//! Read after the request was verified, whatever the profile. Structured and binary mode of the HTTP
//! binding 1.0.2; batches are refused, since a message is one event.

use serde::Deserialize;

use crate::model::cloud_event::{SPEC_VERSION, is_one_structured, is_structured, unescape};
use crate::model::source::Source;
use crate::signature::{Reason, Request};

/// The setting of a source that takes CloudEvents only.
pub(super) const SETTING: &str = "cloudevents";

/// The attributes that every event has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct CloudEvent {
    specversion: String,
    pub(super) id: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

impl CloudEvent {
    /// What a repetition is recognised by: two events with the same source and id are the same.
    pub(super) fn key(&self) -> String {
        // No URI reference holds a line feed.
        format!("ce:{}\n{}", self.source, self.id)
    }
}

/// Whether a source takes CloudEvents only.
pub(super) fn is_wanted(source: &Source) -> bool {
    source.settings.get(SETTING).is_some_and(|value| value == "true")
}

/// What is wrong with the setting, if anything is.
pub(super) fn problem(source: &Source) -> Option<String> {
    let value = source.settings.get(SETTING)?;
    let known = matches!(value.as_str(), "true" | "false");
    (!known).then(|| format!("`{SETTING} = {value:?}` must be \"true\" or \"false\""))
}

/// Reads the event in a request.
pub(super) fn read(request: &Request<'_>) -> Result<CloudEvent, Reason> {
    let content_type = request.header("content-type")?.map(String::from_utf8_lossy);
    let content_type = content_type.unwrap_or_default();
    let event = if is_one_structured(&content_type) {
        structured(request.body)?
    } else if is_structured(&content_type) {
        let what = "only single events as JSON are taken, no batches and no other formats";
        return Err(Reason::CloudEventMalformed(what.to_owned()));
    } else {
        binary(request)?
    };
    if event.specversion != SPEC_VERSION {
        let what = format!("its specversion is not {SPEC_VERSION}");
        return Err(Reason::CloudEventMalformed(what));
    }
    for (name, value) in [("id", &event.id), ("source", &event.source), ("type", &event.kind)] {
        if value.is_empty() || value.contains('\n') {
            let what = format!("its {name} is empty or has a line feed");
            return Err(Reason::CloudEventMalformed(what));
        }
    }
    Ok(event)
}

fn structured(body: &[u8]) -> Result<CloudEvent, Reason> {
    // The library would take the attributes out of an array as well, and read over bytes that are no
    // text where it does not look.
    let text = std::str::from_utf8(body).ok().filter(|it| it.trim_start().starts_with('{'));
    // The error of the parser may quote the body, which is nobody's business.
    text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
        let what = "the body is no JSON object with the texts specversion, id, source and type";
        Reason::CloudEventMalformed(what.to_owned())
    })
}

fn binary(request: &Request<'_>) -> Result<CloudEvent, Reason> {
    let attribute = |name: &str| {
        let header = format!("ce-{name}");
        let value = request.header(&header)?.and_then(unescape);
        value.ok_or_else(|| {
            Reason::CloudEventMalformed(format!(
                "neither is the content type application/cloudevents+json, nor is there a {header} header"
            ))
        })
    };
    Ok(CloudEvent {
        specversion: attribute("specversion")?,
        id: attribute("id")?,
        source: attribute("source")?,
        kind: attribute("type")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], body: &str, expected: Result<(&str, &str), &str>) {
        let headers: Vec<_> =
            headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let url = "https://h.example/in";
        let request = Request { method: "POST", url, headers: &headers, body: body.as_bytes() };
        match (read(&request), expected) {
            (Ok(event), Ok((key, kind))) => {
                assert_eq!((event.key().as_str(), event.kind.as_str()), (key, kind));
            }
            (Err(reason), Err(text)) => assert!(reason.to_string().contains(text), "{reason}"),
            (found, expected) => panic!("{headers:?} {body}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn both_modes_are_read() {
        let binary = [
            ("CE-specversion", "1.0"),
            ("ce-id", "a%20b"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("content-type", "text/xml"),
        ];
        check(&binary, "<a/>", Ok(("ce:/s\na b", "t")));
        let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
        let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{}}"#;
        check(&structured, body, Ok(("ce:/s\n1", "t")));
    }

    #[test]
    fn what_is_no_event_says_why() {
        let whole =
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        for missing in 0..4 {
            let mut headers = whole.to_vec();
            let (name, _) = headers.remove(missing);
            check(&headers, "{}", Err(name));
            headers.push((name, ""));
            check(&headers, "{}", Err(if missing == 0 { "is not 1.0" } else { "is empty" }));
        }
        check(&[&whole[..], &[("ce-id", "2")]].concat(), "{}", Err("sent more than once"));
        let structured = [("content-type", "application/cloudevents+json")];
        check(&structured, "[]", Err("no JSON object"));
        check(&structured, r#"["1.0","1","/s","t"]"#, Err("no JSON object"));
        let number = r#"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#;
        check(&structured, number, Err("no JSON object"));
        check(&[("content-type", "application/cloudevents-batch+json")], "[]", Err("no batches"));
    }
}
