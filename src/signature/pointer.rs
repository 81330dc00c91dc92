//! JSON pointers (RFC 6901) with `*` for "every element of this array", over raw JSON text.
//!
//! A body is never turned into a tree: a pointer scans the text and returns slices of it. So a
//! large body costs no memory, and a number keeps every digit it was written with.
//! A key that appears twice counts with its last value, as in every common JSON parser.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Most elements that `*` may stand for in one request.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// `/entry/0/changes` or `/value/*/id`; the empty pointer is the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A key of an object, or the index of an array when it is a number.
    Name(String),
    /// Every element of an array.
    Each,
}

/// `*` stood for more than [`MAX_ITEMS`] elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Pointer {
    /// Reads a pointer, or returns `None` when it is neither empty nor begins with `/`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text == "/" {
            return Some(Self { steps: Vec::new() });
        }
        let step = |name: &str| match name {
            "*" => Step::Each,
            _ => Step::Name(name.replace("~1", "/").replace("~0", "~")),
        };
        Some(Self { steps: text.strip_prefix('/')?.split('/').map(step).collect() })
    }

    /// Whether it may stand for more than one value.
    pub(crate) fn has_wildcard(&self) -> bool {
        self.steps.contains(&Step::Each)
    }

    /// The raw text of the first value it points to.
    pub(crate) fn first<'j>(&self, json: &'j str) -> Option<&'j str> {
        self.all(json).ok()?.into_iter().next().flatten()
    }

    /// The raw texts of all values it points to, `None` where an element lacks the rest of the
    /// path: whoever checks *every* element must see that one has nothing to check.
    pub(crate) fn all<'j>(&self, json: &'j str) -> Result<Vec<Option<&'j str>>, TooMany> {
        let mut found = vec![Some(json)];
        for step in &self.steps {
            found = match step {
                Step::Name(name) => found.iter().map(|at| child(at.as_ref()?, name)).collect(),
                Step::Each => expand(&found)?,
            };
        }
        Ok(found)
    }
}

fn expand<'j>(found: &[Option<&'j str>]) -> Result<Vec<Option<&'j str>>, TooMany> {
    let mut all = Vec::new();
    for at in found {
        match at.and_then(elements) {
            Some(some) => all.extend(some.into_iter().map(Some)),
            None => all.push(None),
        }
        if all.len() > MAX_ITEMS {
            return Err(TooMany);
        }
    }
    Ok(all)
}

/// A scalar as text: a string without its quotes and escapes, a number exactly as written,
/// `true` and `false`. `None` for null, objects, arrays and strings that are not valid Unicode.
pub(crate) fn scalar(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.to_owned()),
    }
}

/// The first key of the object that is not in `except`, in the order of the text.
pub(crate) fn first_key_except(json: &str, except: &[String]) -> Option<String> {
    struct Keys<'e>(&'e [String]);
    impl<'de> Visitor<'de> for Keys<'_> {
        type Value = Option<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if found.is_none() && !self.0.contains(&key) {
                    found = Some(key);
                }
            }
            Ok(found)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Keys(except)).ok().flatten()
}

fn elements(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

fn child<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    if !json.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let raw: Option<&RawValue> = deserializer.deserialize_any(Child(name)).ok()?;
    deserializer.end().ok()?;
    raw.map(RawValue::get)
}

/// Finds one child of an object or array and skips over the others.
struct Child<'n>(&'n str);

impl<'de> Visitor<'de> for Child<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(KeyIs(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted = index(self.0);
        let (mut found, mut at) = (None, 0);
        loop {
            if wanted == Some(at) {
                let Some(element) = seq.next_element()? else { break };
                found = Some(element);
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            at += 1;
        }
        Ok(found)
    }
}

/// An array index as RFC 6901 has it: no sign, no leading zero.
fn index(name: &str) -> Option<usize> {
    let plain = name == "0" || !name.starts_with(['0', '+']);
    if plain { name.parse().ok() } else { None }
}

/// Compares a key without allocating it.
struct KeyIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        // Not as text: a key with half a surrogate pair must not hide the others.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.as_bytes())
    }
}

/// Whether the whole text is one JSON document.
pub(crate) fn is_json(text: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    IgnoredAny::deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: &str = r#" {"id": 18446744073709551617, "a/b": {"~": "Zo\u00eb"},
        "\ud834": 0, "list": [{"x": "one"}, {"y": 2}, {"x": null}], "empty": [], "a": 1, "a": 2} "#;

    fn check(pointer: &str, expected: &[Option<&str>]) {
        let pointer = Pointer::parse(pointer).unwrap();
        assert_eq!(pointer.all(DOCUMENT).unwrap(), expected, "{pointer:?}");
    }

    #[test]
    fn pointers_find_raw_values() {
        check("/id", &[Some("18446744073709551617")]);
        check("/a~1b/~0", &[Some(r#""Zo\u00eb""#)]);
        check("/list/1/y", &[Some("2")]);
        check("/list/*/x", &[Some(r#""one""#), None, Some("null")]);
        check("/a", &[Some("2")]);
        for missing in ["/none", "/id/x", "/list/3", "/list/01", "/list/+1", "/list/x", "/id/*"] {
            check(missing, &[None]);
        }
        check("/empty/*", &[]);
        check("/empty/*/x", &[]);
        assert_eq!(Pointer::parse("list"), None);
        assert_eq!(Pointer::parse("").unwrap().first("3"), Some("3"));
    }

    #[test]
    fn what_is_not_json_has_no_values() {
        for text in
            ["", "{", "{\"id\":1", "{\"id\":1,}", "{\"id\":1} x", "nonsense", "\u{feff}{\"id\":1}"]
        {
            assert_eq!(Pointer::parse("/id").unwrap().first(text), None, "{text}");
        }
    }

    #[test]
    fn scalars_become_text() {
        let check = |raw, expected: Option<&str>| assert_eq!(scalar(raw).as_deref(), expected);
        check(r#""Zo\u00eb \"x\"""#, Some("Zoë \"x\""));
        check("10000", Some("10000"));
        check("true", Some("true"));
        for nothing in ["null", "{}", "[1]", "", r#""\ud834""#] {
            check(nothing, None);
        }
    }

    #[test]
    fn the_other_key_is_found() {
        let except = ["update_id".to_owned()];
        let key = |json| first_key_except(json, &except);
        assert_eq!(key(r#"{"update_id":1,"message":{},"x":1}"#).as_deref(), Some("message"));
        assert_eq!(key(r#"{"update_id":1}"#), None);
        assert_eq!(key("[1]"), None);
    }

    #[test]
    fn wildcards_are_limited() {
        let array = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        let pointer = Pointer::parse("/*").unwrap();
        assert_eq!(pointer.all(&array(MAX_ITEMS)).map(|all| all.len()), Ok(MAX_ITEMS));
        assert_eq!(pointer.all(&array(MAX_ITEMS + 1)), Err(TooMany));
    }

    proptest! {
        #[test]
        fn no_text_panics(json in "[\\[\\]{}\",:a0-9 \\\\]{0,60}", path in "(/[a0-9*~]{0,3}){0,4}") {
            let pointer = Pointer::parse(&path).unwrap();
            for raw in pointer.all(&json).unwrap().into_iter().flatten() {
                let _ = scalar(raw);
            }
            let _ = (first_key_except(&json, &[]), is_json(&json));
        }
    }
}
