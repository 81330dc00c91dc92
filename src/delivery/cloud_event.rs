//! A message as a CloudEvent, by the HTTP binding 1.0.2: what an endpoint that asks for it is sent.
//!
//! Pure. The scheduler's workers call [`wrap`] before the attempt, so that the signature is over what
//! is sent. What came in as a CloudEvent keeps its own attributes.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::model::cloud_event::{Mode, SPEC_VERSION, STRUCTURED};
use crate::model::cloud_event::{attribute, escape, is_json, is_structured, unescape};
use crate::model::message::Message;

/// What a message without a content type of its own is.
const JSON: &str = "application/json";

/// What makes a set of `ce-` headers an event.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// What is sent in place of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped<'m> {
    /// The body.
    pub body: Cow<'m, [u8]>,
    /// Its content type.
    pub content_type: Cow<'m, str>,
    /// All headers the message goes on with.
    pub headers: Vec<(String, String)>,
}

/// The message as an event in this mode.
///
/// A message that came in as a structured event, or as a batch of them, is sent as it is in both modes.
/// One that came with the headers of a binary event keeps its attributes; any other gets the message's
/// id, type and time, and the application as its source.
pub fn wrap<'m>(mode: Mode, message: &'m Message, payload: &'m [u8]) -> Wrapped<'m> {
    let content_type = message.content_type.as_deref();
    if content_type.is_some_and(is_structured) {
        let content_type = Cow::Borrowed(content_type.unwrap_or(STRUCTURED));
        let headers = message.headers.clone();
        return Wrapped { body: Cow::Borrowed(payload), content_type, headers };
    }
    let mut headers = message.headers.clone();
    headers.retain(|(name, _)| attribute(name).is_none());
    let attributes = attributes(message);
    match mode {
        Mode::Binary => {
            let header = |(name, value): (String, String)| (format!("ce-{name}"), escape(&value));
            headers.extend(attributes.into_iter().map(header));
            let content_type = Cow::Borrowed(content_type.unwrap_or(JSON));
            Wrapped { body: Cow::Borrowed(payload), content_type, headers }
        }
        Mode::Structured => {
            let body = structured(attributes, content_type.unwrap_or(JSON), payload);
            let content_type = Cow::Owned(format!("{STRUCTURED}; charset=utf-8"));
            Wrapped { body: Cow::Owned(body), content_type, headers }
        }
    }
}

/// The attributes it came with, if it came as an event, else its own.
fn attributes(message: &Message) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in &message.headers {
        let name = attribute(name).map(str::to_ascii_lowercase).filter(|name| is_name(name));
        let (Some(name), Some(value)) = (name, unescape(value.as_bytes())) else { continue };
        if found.iter().any(|(other, _)| *other == name) {
            // Which of the two it is nobody can tell.
            return own_attributes(message);
        }
        found.push((name, value));
    }
    let has = |wanted: &str| found.iter().any(|(name, value)| name == wanted && !value.is_empty());
    let is_event = REQUIRED.into_iter().all(has)
        && found.iter().any(|(name, value)| name == "specversion" && value == SPEC_VERSION);
    if is_event { found } else { own_attributes(message) }
}

/// What an attribute may be called. The data's own names cannot be, nor what the content type says.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && !matches!(name, "data" | "datacontenttype")
}

fn own_attributes(message: &Message) -> Vec<(String, String)> {
    let own = [
        ("specversion", SPEC_VERSION.to_owned()),
        ("id", message.id.to_string()),
        ("source", format!("urn:posthaste:{}", message.app)),
        ("type", message.event_type.clone()),
        ("time", message.created_at.to_string()),
    ];
    own.map(|(name, value)| (name.to_owned(), value)).into()
}

/// One JSON object. JSON data stands in it byte for byte, anything else as base64.
fn structured(attributes: Vec<(String, String)>, content_type: &str, payload: &[u8]) -> Vec<u8> {
    let attributes = attributes.into_iter();
    let mut object: Map<String, Value> =
        attributes.map(|(name, value)| (name, Value::from(value))).collect();
    object.insert("datacontenttype".to_owned(), content_type.into());
    let mut json = None;
    if is_json(content_type) {
        json = serde_json::from_slice::<&RawValue>(payload).ok();
    }
    if json.is_none() && !payload.is_empty() {
        let data = base64::engine::general_purpose::STANDARD.encode(payload);
        object.insert("data_base64".to_owned(), data.into());
    }
    let mut bytes = Value::Object(object).to_string().into_bytes();
    if let Some(data) = json {
        bytes.pop();
        bytes.extend_from_slice(b",\"data\":");
        bytes.extend_from_slice(data.get().as_bytes());
        bytes.push(b'}');
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::id::{AppId, MessageId};

    fn message(content_type: Option<&str>, headers: &[(&str, &str)]) -> Message {
        let created_at = Timestamp(1_767_225_600_123);
        let (id, app) = (MessageId([1; 20]), AppId([2; 20]));
        Message {
            content_type: content_type.map(str::to_owned),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..Message::trial(id, app, "order.paid", created_at)
        }
    }

    fn object(wrapped: &Wrapped<'_>) -> Value {
        assert_eq!(wrapped.content_type, "application/cloudevents+json; charset=utf-8");
        serde_json::from_slice(&wrapped.body).unwrap()
    }

    #[test]
    fn a_binary_event_has_its_attributes_in_headers() {
        let message = message(None, &[("x-a", "1")]);
        let wrapped = wrap(Mode::Binary, &message, b"{\"n\":1.0}");
        assert_eq!((&*wrapped.body, &*wrapped.content_type), (&b"{\"n\":1.0}"[..], JSON));
        let expected = [
            ("x-a", "1".to_owned()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", message.id.to_string()),
            ("ce-source", format!("urn:posthaste:{}", message.app)),
            ("ce-type", "order.paid".to_owned()),
            ("ce-time", "2026-01-01T00:00:00.123Z".to_owned()),
        ];
        assert_eq!(wrapped.headers, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn structured_json_stands_byte_for_byte_and_the_rest_as_base64() {
        let json = message(None, &[]);
        let wrapped = wrap(Mode::Structured, &json, b"{\"n\": 1.0}");
        assert!(wrapped.body.ends_with(b",\"data\":{\"n\": 1.0}}"));
        let event = object(&wrapped);
        assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"order.paid".into()));
        assert_eq!(
            (&event["id"], &event["datacontenttype"]),
            (&json.id.to_string().into(), &JSON.into())
        );
        for (content_type, payload, data) in [
            (Some("text/plain"), &b"hi"[..], Some("aGk=")),
            (None, b"no json", Some("bm8ganNvbg==")),
            (None, b"\"\xff\"", Some("Iv8i")),
            (Some("text/plain"), b"", None),
        ] {
            let other = message(content_type, &[]);
            let event = object(&wrap(Mode::Structured, &other, payload));
            assert_eq!(event["data_base64"].as_str(), data, "{payload:?}");
            assert_eq!(event.get("data"), None);
        }
    }

    #[test]
    fn what_came_as_an_event_keeps_its_attributes() {
        let headers = [
            ("CE-SpecVersion", "1.0"),
            ("ce-id", "a%20b"),
            ("ce-source", "/s"),
            ("ce-type", "t"),
            ("ce-tenant", "7"),
            ("x-a", "1"),
        ];
        let binary = message(Some("text/xml"), &headers);
        let event = object(&wrap(Mode::Structured, &binary, b"<a/>"));
        assert_eq!((&event["id"], &event["tenant"]), (&"a b".into(), &"7".into()));
        assert_eq!((&event["source"], &event["data_base64"]), (&"/s".into(), &"PGEvPg==".into()));
        let again = wrap(Mode::Binary, &binary, b"<a/>");
        assert!(again.headers.contains(&("ce-id".to_owned(), "a%20b".to_owned())));
        assert_eq!(again.headers.len(), headers.len());
        let partly = message(None, &headers[1..]);
        assert_eq!(object(&wrap(Mode::Structured, &partly, b"1"))["id"], partly.id.to_string());
        let whole = message(Some("application/cloudevents+json"), &[]);
        for mode in [Mode::Structured, Mode::Binary] {
            let wrapped = wrap(mode, &whole, b"{\"specversion\":\"1.0\"}");
            assert_eq!(&*wrapped.body, b"{\"specversion\":\"1.0\"}");
            assert_eq!((&*wrapped.content_type, wrapped.headers.len()), (STRUCTURED, 0));
        }
    }
}
