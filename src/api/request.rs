//! A request, taken in whole and under limits.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::error::ApiError;

/// Characters of a key that are shown when something is wrong with its value.
const PLACE_CHARS: usize = 64;

/// A request whose body has arrived.
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
    /// Errors: as [`read`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        read(body)
    }
}

/// Reads a JSON object.
///
/// Errors: 422 naming the field that does not fit, or saying that it is no JSON.
pub fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    // A list would be taken for the fields in order of their definition, which is nobody's business.
    if body.trim_ascii_start().first() == Some(&b'[') {
        let message = "the body is a list, but must be a JSON object";
        return Err(ApiError::invalid("body", "", message));
    }
    serde_json::from_slice(body).map_err(|err| {
        if !err.is_data() {
            let message = format!("this is not JSON: {err}");
            return ApiError::invalid_as("value_error.jsondecode", "body", "", message);
        }
        let text = err.to_string();
        ApiError::invalid_at(&place_of::<T>(body, &text), text)
    })
}

/// Where in a body the error `text` is. Read once more for it, so that what is right costs nothing.
fn place_of<'de, T: Deserialize<'de>>(body: &'de [u8], text: &str) -> Vec<String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut place = vec!["body".to_owned()];
    if let Err(err) = serde_path_to_error::deserialize::<_, T>(&mut json) {
        place.extend(err.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.chars().take(PLACE_CHARS).collect()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        }));
    }
    // serde names the field in back-quotes, when it is one that is missing or unknown.
    let named = text.starts_with("missing field") || text.starts_with("unknown field");
    let field = text.split('`').nth(1).filter(|_| named);
    place.extend(
        field.filter(|field| place.last().is_none_or(|last| last != field)).map(str::to_owned),
    );
    place
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
    fn what_is_wrong_is_named_by_its_place() {
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[serde(rename = "n")]
            _n: u8,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Body {
            #[serde(rename = "text")]
            _text: String,
            #[serde(rename = "list")]
            _list: Vec<u8>,
            #[serde(rename = "inner")]
            _inner: Option<Inner>,
        }
        for (body, place) in [
            (r#"{"text":null}"#, r#"["body","text"]"#),
            (r#"{"list":[1,"a"]}"#, r#"["body","list","1"]"#),
            (r#"{"inner":{"n":256}}"#, r#"["body","inner","n"]"#),
            (r#"{"inner":{}}"#, r#"["body","inner","n"]"#),
            (r#"["a",[],null]"#, r#"["body"]"#),
            (" \n[]", r#"["body"]"#),
            ("7", r#"["body"]"#),
            ("{", r#"["body"]"#),
        ] {
            let error = read::<Body>(body.as_bytes()).unwrap_err().into_reply();
            assert_eq!(error.status, 422, "{body}");
            let answer: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
            assert_eq!(answer["detail"][0]["loc"].to_string(), place, "{body}: {answer}");
        }
        assert!(read::<Body>(br#"{"text":"a","list":[1],"inner":{"n":1},"more":0}"#).is_ok());
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
