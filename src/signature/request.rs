//! The request as it came in, and the look-ups that every part of a profile makes in it.
//!
//! The body is the raw bytes, before any parsing, and stays borrowed. Look-ups refuse what is
//! there twice: two readers may each pick another one, and an attacker would choose for them.

use super::digest::nibble;
use super::reason::Reason;
use std::borrow::Cow;

/// Most fields that are read of one form or query.
pub const MAX_FIELDS: usize = 4096;

/// One incoming request, borrowed from whoever received it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `POST`, in upper case as on the wire.
    pub method: &'a str,
    /// The full public URL with its query. Scheme, host and path come from *configuration*, never
    /// from `Host` or `X-Forwarded-*`: some providers sign it, and a sender must not choose it.
    pub url: &'a str,
    /// All header fields as they came, repeated ones included; names in any case.
    pub headers: &'a [(String, Vec<u8>)],
    /// The exact bytes of the body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The value of a header, `None` when absent, an error when there are two.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&'a [u8]>, Reason> {
        let mut all = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let first = all.next();
        match all.next() {
            Some(_) => Err(Reason::DuplicateHeader(name.to_owned())),
            None => Ok(first.map(|(_, value)| value.as_slice())),
        }
    }

    fn is_form(&self) -> bool {
        let form = b"application/x-www-form-urlencoded";
        let Ok(Some(value)) = self.header("content-type") else { return false };
        value.get(..form.len()).is_some_and(|start| start.eq_ignore_ascii_case(form))
    }
}

/// Decoded name and value pairs of a form or query, in their order.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(Bytes<'a>, Bytes<'a>)>);

type Bytes<'a> = Cow<'a, [u8]>;

impl<'a> Fields<'a> {
    /// Reads `a=1&b=2` as browsers do (`+` is a space), keeping bytes that are not UTF-8.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Reason> {
        let mut fields = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if fields.len() == MAX_FIELDS {
                return Err(Reason::TooMany { what: "fields", limit: MAX_FIELDS });
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = halves.next().unwrap_or_default();
            fields.push((decode(name), decode(halves.next().unwrap_or_default())));
        }
        Ok(Self(fields))
    }

    /// The value of a field, `None` when absent, an error when there are two.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&[u8]>, Reason> {
        let mut all = self.0.iter().filter(|(other, _)| **other == *name.as_bytes());
        let first = all.next();
        match all.next() {
            Some(_) => Err(Reason::DuplicateParameter(name.to_owned())),
            None => Ok(first.map(|(_, value)| &**value)),
        }
    }

    /// Names and values run together, sorted by name; several values of one name are sorted too,
    /// and equal ones count once. Twilio and Mandrill sign this after the URL.
    pub(crate) fn sorted_text(&self) -> Vec<u8> {
        let mut pairs: Vec<_> = self.0.iter().collect();
        pairs.sort();
        pairs.dedup();
        pairs.into_iter().flat_map(|(name, value)| [&**name, &**value]).collect::<Vec<_>>().concat()
    }

    fn only(&self, name: &str) -> Option<&Cow<'a, [u8]>> {
        match self.0.as_slice() {
            [(only, value)] if **only == *name.as_bytes() => Some(value),
            _ => None,
        }
    }
}

/// What a profile reads out of a request, made ready once.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) query: Fields<'a>,
    pub(crate) form: Fields<'a>,
    /// The body, or the one form field that carries the JSON when the body is a form.
    pub(crate) payload: Option<Cow<'a, [u8]>>,
    /// It is a form field's.
    pub(crate) payload_is_field: bool,
}

impl<'a> View<'a> {
    /// `reads_form` says whether the profile looks at form fields at all; `payload_field` names
    /// the field in which a form carries its JSON.
    pub(crate) fn new(
        request: &Request<'a>,
        reads_form: bool,
        payload_field: Option<&str>,
    ) -> Result<Self, Reason> {
        let payload_field = payload_field.filter(|_| request.is_form());
        let form = if reads_form || payload_field.is_some() {
            Fields::parse(request.body)?
        } else {
            Fields::default()
        };
        let payload = match payload_field {
            // Exactly this field: what stands beside it would not be signed.
            Some(name) => form.only(name).cloned(),
            None => Some(Cow::Borrowed(request.body)),
        };
        Ok(Self {
            request: *request,
            query: Fields::parse(query_of(request.url))?,
            form,
            payload,
            payload_is_field: payload_field.is_some(),
        })
    }

    /// The JSON text of the request, without a byte order mark; `None` when it is not UTF-8.
    pub(crate) fn json(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.payload.as_deref()?).ok()?;
        Some(text.strip_prefix('\u{feff}').unwrap_or(text))
    }
}

fn query_of(url: &str) -> &[u8] {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    url.split_once('?').map_or("", |(_, query)| query).as_bytes()
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => nibble(*high).zip(nibble(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => bytes.push(high << 4 | low),
            None if *first == b'+' => bytes.push(b' '),
            None => bytes.push(*first),
        }
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_found_in_any_case_and_never_twice() {
        let headers = [("X-One".to_owned(), b"1".to_vec()), ("x-one".to_owned(), b"1".to_vec())];
        let request = |headers| Request { method: "POST", url: "", headers, body: b"" };
        assert_eq!(request(&headers[..1]).header("x-ONE"), Ok(Some(b"1".as_slice())));
        assert_eq!(request(&headers[..1]).header("x-two"), Ok(None));
        let duplicate = Err(Reason::DuplicateHeader("x-one".to_owned()));
        assert_eq!(request(&headers).header("x-one"), duplicate);
    }

    #[test]
    fn fields_are_decoded_as_bytes() {
        let fields = Fields::parse(b"a=h%C3%A9+%26&b&&c=%ff%2&d=%+1&=x&d=2").unwrap();
        let check = |name, value: &[u8]| assert_eq!(fields.get(name), Ok(Some(value)), "{name}");
        check("a", "hé &".as_bytes());
        check("b", b"");
        check("c", b"\xff%2");
        check("", b"x");
        assert_eq!(fields.get("e"), Ok(None));
        assert_eq!(fields.get("d"), Err(Reason::DuplicateParameter("d".to_owned())));
    }

    #[test]
    fn fields_are_limited() {
        assert!(Fields::parse("a&".repeat(MAX_FIELDS).as_bytes()).is_ok());
        let limit = Reason::TooMany { what: "fields", limit: MAX_FIELDS };
        assert_eq!(Fields::parse("a&".repeat(MAX_FIELDS + 1).as_bytes()).unwrap_err(), limit);
    }

    #[test]
    fn sorted_text_counts_equal_pairs_once() {
        let fields = Fields::parse(b"b=2&a=3&b=1&b=2&A=9").unwrap();
        assert_eq!(fields.sorted_text(), b"A9a3b1b2");
    }

    #[test]
    fn a_form_carries_its_json_in_one_field_and_nothing_beside_it() {
        let headers =
            [("content-type".to_owned(), b"Application/x-www-form-urlencoded; x".to_vec())];
        let json = |body, headers| {
            let request = Request { method: "POST", url: "", headers, body };
            let view = View::new(&request, false, Some("payload")).unwrap();
            view.json().map(str::to_owned)
        };
        assert_eq!(json(b"payload=%7B%7D", &headers[..]).as_deref(), Some("{}"));
        assert_eq!(json(b"payload=%7B%7D&x=1", &headers[..]), None);
        assert_eq!(json(b"other=%7B%7D", &headers[..]), None);
        assert_eq!(json(b"\xef\xbb\xbf{}", &[]).as_deref(), Some("{}"));
        assert_eq!(json(b"\xff", &[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>, url in "\\PC{0,40}") {
            let headers = [("content-type".to_owned(), b"application/x-www-form-urlencoded".to_vec())];
            let request = Request { method: "POST", url: &url, headers: &headers, body: &body };
            let view = View::new(&request, true, Some("payload")).unwrap();
            drop((view.json(), view.form.sorted_text(), view.query.get("a")));
        }
    }
}
