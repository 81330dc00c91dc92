//! Request bodies built from options: what was not given is not sent.

use serde_json::{Map, Value};

/// A JSON object under construction.
#[derive(Debug, Default)]
pub struct Body(Map<String, Value>);

impl Body {
    /// Sets a field.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a field if there is a value.
    #[must_use]
    pub fn set_if<T: Into<Value>>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Sets a field if the list has anything in it.
    #[must_use]
    pub fn set_list(self, name: &str, list: &[String]) -> Self {
        if list.is_empty() { self } else { self.set(name, list) }
    }

    /// Sets a field to a text, or to `null` when the text is empty: how an update clears it.
    #[must_use]
    pub fn set_or_clear(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some("") => self.set(name, Value::Null),
            Some(text) => self.set(name, text),
            None => self,
        }
    }

    /// Sets a field to a list, or to `null` when its only entry is empty.
    #[must_use]
    pub fn set_list_or_clear(self, name: &str, list: &[String]) -> Self {
        match list {
            [] => self,
            [only] if only.is_empty() => self.set(name, Value::Null),
            list => self.set(name, list),
        }
    }

    /// Sets a field to an object made of `name=value` pairs, if there are any.
    #[must_use]
    pub fn set_pairs(self, name: &str, pairs: &[(String, String)]) -> Self {
        if pairs.is_empty() {
            return self;
        }
        let object: Map<String, Value> =
            pairs.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
        self.set(name, object)
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The finished object.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// No `=`, or nothing in front of it.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("NAME=VALUE is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        let list = ["a".to_owned()];
        let empty = [String::new()];
        let body = Body::default()
            .set_if("none", None::<u32>)
            .set_if("some", Some(3))
            .set_list("no_list", &[])
            .set_list("list", &list)
            .set_or_clear("kept", None)
            .set_or_clear("cleared", Some(""))
            .set_or_clear("text", Some("x"))
            .set_list_or_clear("cleared_list", &empty)
            .set_list_or_clear("other_list", &list)
            .set_pairs("no_pairs", &[])
            .set_pairs("pairs", &[pair("k=v=w").unwrap()]);
        let expected = json!({
            "some": 3, "list": ["a"], "cleared": null, "text": "x",
            "cleared_list": null, "other_list": ["a"], "pairs": {"k": "v=w"},
        });
        assert_eq!(body.into_value(), expected);
        assert!(Body::default().is_empty());
    }

    #[test]
    fn pairs_need_a_name() {
        assert!(pair("novalue").is_err());
        assert!(pair("=x").is_err());
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
    }
}
