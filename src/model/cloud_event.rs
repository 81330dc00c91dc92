//! CloudEvents 1.0 as its HTTP binding spells them: media types, header names, the escapes of header
//! values, and how an endpoint says that it wants them.
//!
//! Pure text. `delivery` writes events, `inbound` reads them.

use super::application::Metadata;
use super::endpoint::Endpoint;

/// The only version there is.
pub const SPEC_VERSION: &str = "1.0";
/// What the content type of a structured event begins with.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// What every content type of the binding's structured and batched modes begins with.
pub const ANY_STRUCTURED: &str = "application/cloudevents";
/// What the headers of a binary event begin with.
pub const HEADER_PREFIX: &str = "ce-";

/// The entry of an endpoint's metadata that asks for CloudEvents. It lies there, and not in a field of
/// its own, so that every client library can set it.
pub const OPTION: &str = "cloudevents";

/// How an event lies in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The attributes and the data in one JSON object.
    Structured,
    /// The attributes in headers, the data as the body.
    Binary,
}

/// Why an entry [`OPTION`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the entry `{OPTION}` is {0:?}, but must be `structured` or `binary`; leave it out for plain events"
)]
pub struct NoMode(pub String);

/// How an endpoint with this metadata wants its events; `None` = as they are.
///
/// # Errors
/// The entry is neither.
pub fn mode(metadata: &Metadata) -> Result<Option<Mode>, NoMode> {
    match metadata.get(OPTION).map(String::as_str) {
        None => Ok(None),
        Some("structured") => Ok(Some(Mode::Structured)),
        Some("binary") => Ok(Some(Mode::Binary)),
        Some(other) => Err(NoMode(other.chars().take(40).collect())),
    }
}

impl Endpoint {
    /// How it wants its events. An entry from before it was checked means nothing.
    pub fn cloud_events(&self) -> Option<Mode> {
        mode(&self.metadata).ok().flatten()
    }
}

/// Whether a content type is of the structured or the batched mode.
pub fn is_structured(content_type: &str) -> bool {
    starts_with(content_type.trim_start(), ANY_STRUCTURED)
}

/// Whether a content type is one structured event as JSON, with or without parameters.
pub fn is_one_structured(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(STRUCTURED)
}

/// Whether a content type means JSON: `application/json`, `…/…+json`.
pub fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// The attribute that a header carries: `ce-type` is `type`.
pub fn attribute(header: &str) -> Option<&str> {
    header.split_at_checked(HEADER_PREFIX.len()).and_then(|(start, name)| {
        let is_one = start.eq_ignore_ascii_case(HEADER_PREFIX) && !name.is_empty();
        is_one.then_some(name)
    })
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// A value as a header carries it: a space, `"`, `%` and all outside visible ASCII are escaped
/// (section 3.1.3.2 of the binding).
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (b'!'..=b'~').contains(&byte) && byte != b'"' && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for nibble in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(nibble), 16).unwrap_or_default();
                escaped.push(digit.to_ascii_uppercase());
            }
        }
    }
    escaped
}

/// The value that a header carries; `None` when it is not text.
pub fn unescape(header: &[u8]) -> Option<String> {
    let mut value = Vec::with_capacity(header.len());
    let mut rest = header;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        let byte = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            value.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            // A lone `%` is left as it is, as the binding says.
            value.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_the_binding_shows_it() {
        for (value, header) in [
            ("Euro \u{20ac} \u{1f600}", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("a\"b%c", "a%22b%25c"),
            ("/app/app_1~x", "/app/app_1~x"),
            ("", ""),
        ] {
            assert_eq!(escape(value), header);
            assert_eq!(unescape(header.as_bytes()).as_deref(), Some(value));
        }
        assert_eq!(unescape(b"100%").as_deref(), Some("100%"));
        assert_eq!(unescape(b"%+1%zz").as_deref(), Some("%+1%zz"));
        assert_eq!(unescape(b"%ff"), None);
    }

    #[test]
    fn media_types_have_parameters_and_any_case() {
        assert!(is_one_structured("Application/CloudEvents+JSON; charset=utf-8"));
        assert!(!is_one_structured("application/cloudevents-batch+json"));
        assert!(is_structured("application/cloudevents-batch+json"));
        assert!(is_json("application/vnd.a+json;x=1") && is_json("text/json"));
        assert!(!is_json("application/jsonp") && !is_json("json"));
    }

    #[test]
    fn an_endpoint_says_how_it_wants_them() {
        let said = |value: &str| mode(&Metadata::from([(OPTION.to_owned(), value.to_owned())]));
        assert_eq!(mode(&Metadata::new()), Ok(None));
        assert_eq!(said("binary"), Ok(Some(Mode::Binary)));
        assert_eq!(said("structured"), Ok(Some(Mode::Structured)));
        assert!(said("Batch").unwrap_err().to_string().contains("\"Batch\", but must be"));
        assert_eq!(
            (attribute("CE-Type"), attribute("cent"), attribute("ce-")),
            (Some("Type"), None, None)
        );
    }
}
