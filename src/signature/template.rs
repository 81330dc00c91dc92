//! Templates: the text that was signed, and the text of a handshake's answer.
//!
//! `{name}` and `{kind:argument}` are replaced, everything else is literal; a brace that is not
//! followed by a lower-case letter is literal too, so JSON can be written as it is.

use super::digest::{Encoding, Hash};
use super::reason::Reason;
use super::source::{Scope, Source};
use std::borrow::Cow;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `{body}`: the exact bytes.
    Body,
    /// `{payload}`: the body, or the form field that carries the JSON.
    Payload,
    /// `{body_crc32}`: in decimal, for `paypal`.
    BodyCrc32,
    /// `{form_sorted}`.
    FormSorted,
    /// `{method}`.
    Method,
    /// `{url}`: the configured public URL with the query of the request.
    Url,
    /// `{ts}`: the timestamp exactly as it was sent.
    Ts,
    /// `{id}`: the id exactly as it was sent.
    Id,
    /// `{cfg:NAME}`.
    Cfg(String),
    /// `{header:X}`, `{json:/p}`, `{query:x}`, `{form:x}`, `{sig:f}`.
    Source(Source),
    /// `{hmac_sha256_hex:SOURCE}` and `{hmac_sha256_base64:SOURCE}`, by the first secret.
    Hmac(Encoding, Source),
}

/// What a template is filled with, besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'s> {
    pub(crate) url: &'s str,
    pub(crate) ts: &'s str,
    pub(crate) id: &'s str,
    /// For `{hmac_…}`.
    pub(crate) key: Option<&'s [u8]>,
}

impl Template {
    /// Reads a template; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let tail = &rest.get(next.len_utf8()..).unwrap_or_default();
            if next != '{' || !tail.starts_with(|c: char| c.is_ascii_lowercase()) {
                literal.push(next);
                rest = tail;
                continue;
            }
            let Some((name, after)) = tail.split_once('}') else {
                return Err(format!("`{rest}` has no closing brace"));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::parse(name)?);
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// The pieces of the signed text, in order; the body is borrowed, never copied.
    ///
    /// An absent JSON value is the empty text (Adyen signs it so); any other absent value is an
    /// error, because no sender signs a header that it did not send.
    pub(crate) fn pieces<'s>(
        &'s self,
        scope: &Scope<'s>,
        filling: &Filling<'s>,
    ) -> Result<Vec<Cow<'s, [u8]>>, Reason> {
        self.0.iter().map(|part| part.fill(scope, filling)).collect()
    }

    /// The filled template as one text, every value escaped for use inside a JSON string if
    /// `json`. `None` when a value is missing: an answer with a hole in it helps nobody.
    pub(crate) fn answer(
        &self,
        scope: &Scope<'_>,
        filling: &Filling<'_>,
        json: bool,
    ) -> Result<Option<Vec<u8>>, Reason> {
        let mut text = Vec::new();
        for part in &self.0 {
            let piece = match part.fill(scope, filling) {
                Err(Reason::SignedValueMissing(_)) => return Ok(None),
                piece => piece?,
            };
            if piece.is_empty() {
                return Ok(None);
            }
            if json && !matches!(part, Part::Literal(_)) {
                text.extend_from_slice(escaped(&piece).as_bytes());
            } else {
                text.extend_from_slice(&piece);
            }
        }
        Ok(Some(text))
    }

    /// Whether the signed text says anything about the body as a whole.
    pub(crate) fn covers_body(&self) -> bool {
        let whole = |part| matches!(part, Part::Body | Part::Payload | Part::BodyCrc32);
        self.0.iter().any(|part| whole(part.clone()) || *part == Part::FormSorted)
    }

    /// Whether other bodies make the same text: a form's fields, sorted, or a checksum.
    pub(crate) fn has_body_by_meaning(&self) -> bool {
        self.0.contains(&Part::FormSorted) || self.0.contains(&Part::BodyCrc32)
    }

    /// Whether it holds the JSON that may stand in a field of a form.
    pub(crate) fn has_payload(&self) -> bool {
        self.0.contains(&Part::Payload)
    }

    /// Whether it holds the exact bytes of the body.
    pub(crate) fn has_body(&self) -> bool {
        self.0.contains(&Part::Body) || self.has_payload()
    }

    pub(crate) fn has_url(&self) -> bool {
        self.0.contains(&Part::Url)
    }

    /// Whether it signs something of the request, which only answers may.
    pub(crate) fn signs(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Hmac(..)))
    }

    pub(crate) fn has_ts(&self) -> bool {
        self.0.contains(&Part::Ts)
    }

    pub(crate) fn has_id(&self) -> bool {
        self.0.contains(&Part::Id)
    }

    /// Whether it reads the body as a form.
    pub(crate) fn reads_form(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::FormSorted | Part::Source(Source::Form(_))))
    }

    /// The settings it needs.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|part| if let Part::Cfg(name) = part { Some(name.as_str()) } else { None })
    }
}

impl Part {
    const NAMES: &'static str = "{body} {payload} {body_crc32} {form_sorted} {method} {url} {ts} \
        {id} {cfg:NAME} {header:NAME} {json:/pointer} {query:NAME} {form:NAME} {sig:FIELD} \
        {hmac_sha256_hex:SOURCE} {hmac_sha256_base64:SOURCE}";

    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "body" => Self::Body,
            "payload" => Self::Payload,
            "body_crc32" => Self::BodyCrc32,
            "form_sorted" => Self::FormSorted,
            "method" => Self::Method,
            "url" => Self::Url,
            "ts" => Self::Ts,
            "id" => Self::Id,
            _ => match name.split_once(':') {
                Some(("cfg", setting)) if !setting.is_empty() => Self::Cfg(setting.to_owned()),
                Some(("hmac_sha256_hex", source)) => {
                    Self::Hmac(Encoding::Hex, Source::parse(source)?)
                }
                Some(("hmac_sha256_base64", source)) => {
                    Self::Hmac(Encoding::Base64, Source::parse(source)?)
                }
                Some(("header" | "json" | "query" | "form" | "sig", _)) => {
                    Self::Source(Source::parse(name)?)
                }
                _ => return Err(format!("`{{{name}}}` is unknown; there are {}", Self::NAMES)),
            },
        })
    }

    fn fill<'s>(
        &'s self,
        scope: &Scope<'s>,
        filling: &Filling<'s>,
    ) -> Result<Cow<'s, [u8]>, Reason> {
        let view = scope.view;
        Ok(match self {
            Self::Literal(text) => Cow::Borrowed(text.as_bytes()),
            Self::Body => Cow::Borrowed(view.request.body),
            Self::Payload => match view.payload.as_deref() {
                Some(payload) => Cow::Borrowed(payload),
                None => return Err(Reason::SignedValueMissing("the form's one field".to_owned())),
            },
            Self::BodyCrc32 => {
                Cow::Owned(crc32fast::hash(view.request.body).to_string().into_bytes())
            }
            Self::FormSorted => Cow::Owned(view.form.sorted_text()),
            Self::Method => Cow::Borrowed(view.request.method.as_bytes()),
            Self::Url => Cow::Borrowed(filling.url.as_bytes()),
            Self::Ts => Cow::Borrowed(filling.ts.as_bytes()),
            Self::Id => Cow::Borrowed(filling.id.as_bytes()),
            Self::Cfg(name) => match scope.cfg.get(name) {
                Some(value) => Cow::Borrowed(value.as_bytes()),
                None => return Err(Reason::ConfigMissing(name.clone())),
            },
            Self::Source(source) => found(source, scope)?,
            Self::Hmac(encoding, source) => {
                let key = filling.key.ok_or(Reason::NoSecret)?;
                let value = found(source, scope)?;
                // Whoever asks chooses the value and gets it signed. A plain token can never be
                // the body of an event, which is what the same key signs.
                if !value.iter().all(|byte| is_token(*byte)) {
                    return Err(Reason::HandshakeMalformed("the value to sign is no plain token"));
                }
                let mac = Hash::Sha256.hmac(key, &[value]);
                Cow::Owned(encoding.encode(&mac).into_bytes())
            }
        })
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn found<'s>(source: &Source, scope: &Scope<'s>) -> Result<Cow<'s, [u8]>, Reason> {
    match (source.value(scope)?, source) {
        (Some(value), _) => Ok(value),
        (None, Source::Json(..)) => Ok(Cow::Borrowed(b"")),
        (None, _) => Err(Reason::SignedValueMissing(source.to_string())),
    }
}

/// Text as it stands between the quotes of a JSON string.
fn escaped(value: &[u8]) -> String {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(value)).to_string();
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::request::{Request, View};
    use super::super::source::Settings;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn with_scope<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
        let headers = [("x-one".to_owned(), b"\xff1".to_vec())];
        let body = br#"{"a":"say \"hi\"","n":5}"#;
        let url = "https://h.example/in?q=%2Fx";
        let request = Request { method: "POST", url, headers: &headers, body };
        let view = View::new(&request, true, None).unwrap();
        let given = BTreeMap::from([("hook".to_owned(), "WH-1".to_owned())]);
        let cfg = Settings { given: &given, defaults: &BTreeMap::new() };
        run(&Scope { view: &view, json: view.json(), fields: &[], cfg })
    }

    const FILLING: Filling<'_> =
        Filling { url: "https://h.example/in", ts: "12", id: "ev", key: Some(b"Jefe") };

    fn signed(template: &str) -> Result<Vec<u8>, Reason> {
        let template = Template::parse(template).unwrap();
        with_scope(|scope| template.pieces(scope, &FILLING).map(|pieces| pieces.concat()))
    }

    fn check(template: &str, expected: &[u8]) {
        assert_eq!(signed(template).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn every_part_is_filled() {
        check("{id}.{ts}.{body}", br#"ev.12.{"a":"say \"hi\"","n":5}"#);
        check("v0:{ts}:{payload}", br#"v0:12:{"a":"say \"hi\"","n":5}"#);
        check("{method}{url}|{cfg:hook}|{query:q}", b"POSThttps://h.example/in|WH-1|/x");
        check("{header:X-One}{json:/a}{json:/n}{json:/none}", b"\xff1say \"hi\"5");
        check("{body_crc32}", b"1090600495");
        check("{ {\"{}", b"{ {\"{}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |name: &str| Err(Reason::SignedValueMissing(name.to_owned()));
        assert_eq!(signed("{header:x-two}"), missing("header:x-two"));
        assert_eq!(signed("{cfg:none}"), Err(Reason::ConfigMissing("none".to_owned())));
    }

    #[test]
    fn answers_are_escaped_and_never_have_holes() {
        let answer = |template: &str| {
            let template = Template::parse(template).unwrap();
            let text = with_scope(|scope| template.answer(scope, &FILLING, true)).unwrap();
            text.map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(answer(r#"{"v":"{json:/a}"}"#).as_deref(), Some(r#"{"v":"say \"hi\""}"#));
        let mac = "101d7dd864999970530079791d1adf1e88afbfd5740059b517cfc3be5332f2bd";
        assert_eq!(answer("{hmac_sha256_hex:json:/n}").as_deref(), Some(mac));
        assert_eq!(answer("{json:/none}"), None);
        assert_eq!(answer("{header:none}"), None);
    }

    #[test]
    fn what_is_no_template_says_why() {
        for (text, expected) in [
            ("{body", "has no closing brace"),
            ("{bdy}", "`{bdy}` is unknown; there are {body}"),
            ("{cfg:}", "`{cfg:}` is unknown"),
            ("{json:x}", "begin it with `/`"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}a-z:/.é]{0,30}") {
            if let Ok(template) = Template::parse(&text) {
                with_scope(|scope| drop(template.pieces(scope, &FILLING)));
            }
        }
    }
}
