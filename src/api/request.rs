//! A request, taken in whole and under limits.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A request whose body has arrived.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it came, without a trailing slash.
    pub path: String,
    /// The query as it came; empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The segments of the path, percent-decoded.
    pub fn segments(&self) -> Vec<Cow<'_, str>> {
        self.path.split('/').skip(1).map(decode).collect()
    }

    /// The body as JSON. An empty body is read as `{}`: libraries leave it out where every field
    /// may be left out.
    ///
    /// Errors: 400 for what is not JSON, 422 naming the field for what is not of this shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|err| bad_json(&err))
    }
}

/// What a JSON error is to a caller.
pub fn bad_json(err: &serde_json::Error) -> ApiError {
    let text = err.to_string();
    if err.is_data() {
        ApiError::invalid("body", &field_of(&text), text)
    } else {
        ApiError::invalid_as(
            "value_error.jsondecode",
            "body",
            "",
            format!("this is not JSON: {text}"),
        )
    }
}

/// How deep arrays and objects are nested in a JSON text. Looks at nothing else.
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// serde names the field in back-quotes, when it is one that is missing or unknown.
fn field_of(text: &str) -> String {
    let named = text.starts_with("missing field") || text.starts_with("unknown field");
    let field = text.split('`').nth(1).filter(|_| named);
    field.unwrap_or_default().to_owned()
}

fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    // What separates fields of a form means itself in a path.
    let form = format!("k={}", segment.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(form.as_bytes()).next();
    Cow::Owned(decoded.map(|(_, value)| value.into_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        for (json, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[[1],{"b":2}]}"#, 3),
            (r#"{"a":"[[[{{{"}"#, 1),
            (r#"{"a":"\"[[","b":"\\"}"#, 1),
            (r#"["\\",[1]]"#, 2),
            ("]]]]", 0),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        for (segment, expected) in [
            ("a%2Fb", "a/b"),
            ("a+b", "a+b"),
            ("a%20b", "a b"),
            ("%zz", "%zz"),
            ("x&y=%31", "x&y=1"),
            ("", ""),
        ] {
            assert_eq!(decode(segment), expected, "{segment}");
        }
    }
}
