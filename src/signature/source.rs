//! Where a value comes from: `header:X`, `json:/pointer`, `query:x` and the like.
//!
//! One small language for signatures, timestamps, ids, event types, conditions and templates.
//! It only finds values; what they mean is the engine's business.

use super::pointer::{self, MAX_ITEMS, Pointer};
use super::reason::Reason;
use super::request::View;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Highest number that `header*:PREFIX` counts to.
pub(crate) const MAX_NUMBERED: u32 = 100;

/// A place in a request. Its text form is in [`Source::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `header:NAME`, in lower case.
    Header(String),
    /// `header*:PREFIX`: the headers PREFIX1, PREFIX2, … up to [`MAX_NUMBERED`], those that are there.
    NumberedHeaders(String),
    /// `query:NAME` of the URL.
    Query(String),
    /// `form:NAME` of the body.
    Form(String),
    /// `json:/pointer`, where `*` is every element of an array.
    Json(Pointer, String),
    /// `jsonkey:/pointer except NAME…`: the first key of an object that is not one of these.
    JsonKey(Pointer, Vec<String>),
    /// `sig:FIELD` of the signature header, after it was split.
    SignatureField(String),
    /// `const:TEXT`.
    Const(String),
}

/// What sources are looked up in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) view: &'s View<'s>,
    /// Where JSON pointers start: the whole document, or one item of `each`.
    pub(crate) json: Option<&'s str>,
    /// The fields of the signature header.
    pub(crate) fields: &'s [(String, String)],
    pub(crate) cfg: Settings<'s>,
}

/// What `{cfg:NAME}` stands for: the source's settings, then the profile's defaults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'s> {
    pub(crate) given: &'s BTreeMap<String, String>,
    pub(crate) defaults: &'s BTreeMap<String, String>,
}

impl<'s> Settings<'s> {
    /// A setting that has a value; an empty one counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<&'s str> {
        let value = self.given.get(name).or_else(|| self.defaults.get(name))?;
        (!value.is_empty()).then_some(value)
    }
}

type Value<'s> = Cow<'s, [u8]>;

impl Source {
    /// Reads the text form; the error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(format!("`{text}` is no source; write one of {}", Self::FORMS));
        };
        if rest.is_empty() {
            return Err(format!("`{text}` needs a name after the colon"));
        }
        let pointer = |text: &str| {
            Pointer::parse(text).ok_or(format!("`{text}` is no JSON pointer; begin it with `/`"))
        };
        match kind {
            "header" => Ok(Self::Header(rest.to_ascii_lowercase())),
            "header*" => Ok(Self::NumberedHeaders(rest.to_ascii_lowercase())),
            "query" => Ok(Self::Query(rest.to_owned())),
            "form" => Ok(Self::Form(rest.to_owned())),
            "json" | "json*" => Ok(Self::Json(pointer(rest)?, rest.to_owned())),
            "jsonkey" => {
                let (at, except) = rest.split_once(" except ").unwrap_or((rest, ""));
                let except = except.split_whitespace().map(str::to_owned).collect();
                Ok(Self::JsonKey(pointer(at.trim())?, except))
            }
            "sig" => Ok(Self::SignatureField(rest.to_owned())),
            "const" => Ok(Self::Const(rest.to_owned())),
            _ => Err(format!("`{kind}:` is no kind of source; write one of {}", Self::FORMS)),
        }
    }

    /// What [`Source::parse`] reads.
    pub(crate) const FORMS: &'static str = "header:NAME, header*:PREFIX, query:NAME, form:NAME, \
        json:/pointer, jsonkey:/pointer except NAME, sig:FIELD, const:TEXT";

    /// Whether it may give several values.
    pub(crate) fn is_multiple(&self) -> bool {
        match self {
            Self::NumberedHeaders(_) => true,
            Self::Json(pointer, _) => pointer.has_wildcard(),
            Self::Header(_)
            | Self::Query(_)
            | Self::Form(_)
            | Self::JsonKey(..)
            | Self::SignatureField(_)
            | Self::Const(_) => false,
        }
    }

    /// The value, or the first of several.
    pub(crate) fn value<'s>(&self, scope: &Scope<'s>) -> Result<Option<Value<'s>>, Reason> {
        Ok(self.values(scope)?.into_iter().next().flatten())
    }

    /// All values. `None` stands for an element of an array that lacks one.
    pub(crate) fn values<'s>(&self, scope: &Scope<'s>) -> Result<Vec<Option<Value<'s>>>, Reason> {
        let borrowed = |value: Option<&'s [u8]>| vec![value.map(Cow::Borrowed)];
        let owned = |text: String| Cow::Owned(text.into_bytes());
        Ok(match self {
            Self::Header(name) => borrowed(scope.view.request.header(name)?),
            Self::NumberedHeaders(prefix) => numbered(scope, prefix)?,
            Self::Query(name) => borrowed(scope.view.query.get(name)?),
            Self::Form(name) => borrowed(scope.view.form.get(name)?),
            Self::Json(pointer, _) => {
                let found = scope.json.map_or(Ok(Vec::new()), |json| pointer.all(json));
                let too_many = |_| Reason::TooMany { what: "items", limit: MAX_ITEMS };
                let text = |raw: Option<&str>| raw.and_then(pointer::scalar).map(owned);
                found.map_err(too_many)?.into_iter().map(text).collect()
            }
            Self::JsonKey(at, except) => {
                let object = scope.json.and_then(|json| at.first(json));
                vec![object.and_then(|json| pointer::first_key_except(json, except)).map(owned)]
            }
            Self::SignatureField(name) => borrowed(field(scope.fields, name)?.map(str::as_bytes)),
            Self::Const(text) => vec![Some(owned(text.clone()))],
        })
    }

    /// The value as text, `None` when absent, empty or not UTF-8.
    pub(crate) fn text(&self, scope: &Scope<'_>) -> Result<Option<String>, Reason> {
        let value = self.value(scope)?;
        let text = value.and_then(|value| String::from_utf8(value.into_owned()).ok());
        Ok(text.filter(|text| !text.is_empty()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::NumberedHeaders(prefix) => write!(f, "header*:{prefix}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Json(_, text) => write!(f, "json:{text}"),
            Self::JsonKey(..) => f.write_str("jsonkey"),
            Self::SignatureField(name) => write!(f, "sig:{name}"),
            Self::Const(text) => write!(f, "const:{text}"),
        }
    }
}

/// `PREFIX1`, `PREFIX2`, …; a gap ends nothing, since a key may have been taken away in the middle.
fn numbered<'s>(scope: &Scope<'s>, prefix: &str) -> Result<Vec<Option<Value<'s>>>, Reason> {
    let mut values = Vec::new();
    for number in 1..=MAX_NUMBERED {
        if let Some(value) = scope.view.request.header(&format!("{prefix}{number}"))? {
            values.push(Some(Cow::Borrowed(value)));
        }
    }
    Ok(values)
}

fn field<'s>(fields: &'s [(String, String)], name: &str) -> Result<Option<&'s str>, Reason> {
    let mut all = fields.iter().filter(|(other, _)| other == name);
    let first = all.next();
    match all.next() {
        Some(_) => Err(Reason::DuplicateParameter(name.to_owned())),
        None => Ok(first.map(|(_, value)| value.as_str())),
    }
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Source::to_string).collect::<Vec<_>>().join(" + "))
    }
}

/// Several places joined into one value, each of which must hold something:
/// `header:x-github-event + json:/action`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined(pub(crate) Vec<Source>);

impl Joined {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(
            text.split(" + ").map(|part| Source::parse(part.trim())).collect::<Result<_, _>>()?,
        ))
    }

    /// All parts joined by `separator`, or `None` when one of them is missing.
    ///
    /// A source with several values (every event of a batch) gives them all, joined by a comma.
    pub(crate) fn text(
        &self,
        scope: &Scope<'_>,
        separator: &str,
    ) -> Result<Option<String>, Reason> {
        let mut parts = Vec::with_capacity(self.0.len());
        for source in &self.0 {
            let values = source.values(scope)?;
            let texts = values.into_iter().map(|value| String::from_utf8(value?.into_owned()).ok());
            let texts: Option<Vec<String>> = texts.collect();
            let Some(part) = texts.map(|texts| texts.join(",")).filter(|text| !text.is_empty())
            else {
                return Ok(None);
            };
            parts.push(part);
        }
        Ok(Some(parts.join(separator)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Request;
    use super::*;

    const BODY: &[u8] =
        br#"{"update_id":7,"message":{"text":"hi"},"value":[{"id":"a"},{"id":2},{}]}"#;

    fn look_up(text: &str) -> Result<Vec<Option<String>>, Reason> {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers = [
            header("X-Sig-1", "one"),
            header("X-Sig-2", "two"),
            header("X-Sig-4", "four"),
            header("X-Twice", "a"),
            header("x-twice", "b"),
        ];
        let url = "https://h.example/in?q=1&r=1&r=2#x?q=9";
        let request = Request { method: "POST", url, headers: &headers, body: BODY };
        let view = View::new(&request, false, None).unwrap();
        let fields = [("t", "1"), ("v", "a"), ("v", "b")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let none = BTreeMap::new();
        let cfg = Settings { given: &none, defaults: &none };
        let scope = Scope { view: &view, json: view.json(), fields: &fields, cfg };
        let values = Source::parse(text).unwrap().values(&scope)?;
        let text = |value: Cow<'_, [u8]>| String::from_utf8(value.into_owned()).unwrap();
        Ok(values.into_iter().map(|value| value.map(text)).collect())
    }

    fn check(text: &str, expected: &[Option<&str>]) {
        let found = look_up(text).unwrap();
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn every_kind_finds_its_value() {
        check("header:X-SIG-1", &[Some("one")]);
        check("header:none", &[None]);
        check("header*:X-Sig-", &[Some("one"), Some("two"), Some("four")]);
        check("query:q", &[Some("1")]);
        check("json:/update_id", &[Some("7")]);
        check("json:/value/*/id", &[Some("a"), Some("2"), None]);
        check("json*:/value/*/id", &[Some("a"), Some("2"), None]);
        check("json:/message", &[None]);
        check("jsonkey:/ except update_id", &[Some("message")]);
        check("sig:t", &[Some("1")]);
        check("const:list_folder", &[Some("list_folder")]);
    }

    #[test]
    fn what_is_there_twice_is_refused() {
        let parameter = |name: &str| Err(Reason::DuplicateParameter(name.to_owned()));
        assert_eq!(look_up("query:r"), parameter("r"));
        assert_eq!(look_up("sig:v"), parameter("v"));
        assert_eq!(look_up("header:x-twice"), Err(Reason::DuplicateHeader("x-twice".to_owned())));
    }

    #[test]
    fn what_is_no_source_says_what_is() {
        for (text, expected) in [
            ("x-sig", "write one of header:NAME"),
            ("heder:x", "`heder:` is no kind of source"),
            ("header:", "needs a name after the colon"),
            ("json:id", "begin it with `/`"),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
