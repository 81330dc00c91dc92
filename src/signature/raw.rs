//! A request as raw HTTP/1.1 text: written where refused ones are kept, read by `posthaste verify`.
//!
//! The body is every byte behind the empty line, exactly; nothing is decoded but a chunked one.

use super::request::Request;

/// Header fields that are read of one request.
pub const MAX_RAW_HEADERS: usize = 200;

/// A request that owns its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// `POST`.
    pub method: String,
    /// What stands behind the method: a path with its query, or a whole URL.
    pub target: String,
    /// All fields as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The exact bytes of the body.
    pub body: Vec<u8>,
}

/// Why a text is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RawProblem {
    /// The first line is not `POST /path HTTP/1.1`.
    #[error(
        "the first line {0:?} is no request line; it must be a method, a path and HTTP/1.1, as in `POST /in HTTP/1.1`"
    )]
    Line(String),
    /// A line before the empty one is no `name: value`.
    #[error("line {0} is no header; write `name: value`, and an empty line before the body")]
    Header(usize),
    /// A header goes on in the next line, which HTTP gave up.
    #[error(
        "line {0} begins with a blank: headers are not folded any more; join it to the line above"
    )]
    Folded(usize),
    /// More than [`MAX_RAW_HEADERS`].
    #[error("there are more than {MAX_RAW_HEADERS} header fields")]
    TooMany,
    /// No empty line at all.
    #[error("there is no empty line after the headers, so it cannot be told where the body begins")]
    NoBody,
}

impl RawRequest {
    /// Reads a request. Lines may end in CRLF or LF. The body is what stands behind the empty line;
    /// a line end that an editor put behind what `content-length` says is cut off, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, RawProblem> {
        let mut rest = bytes;
        let first = line(&mut rest).unwrap_or(rest);
        let text = String::from_utf8_lossy(first).into_owned();
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RawProblem::Line(text.chars().take(80).collect()));
        };
        let is_method = method.bytes().all(|b| b.is_ascii_uppercase());
        if !is_method || !version.starts_with("HTTP/") {
            return Err(RawProblem::Line(text.chars().take(80).collect()));
        }
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = Vec::new();
        for number in 2.. {
            let Some(field) = line(&mut rest) else { return Err(RawProblem::NoBody) };
            if field.is_empty() {
                break;
            }
            if headers.len() == MAX_RAW_HEADERS {
                return Err(RawProblem::TooMany);
            }
            if field.starts_with(b" ") || field.starts_with(b"\t") {
                return Err(RawProblem::Folded(number));
            }
            headers.push(header(field).ok_or(RawProblem::Header(number))?);
        }
        let body = body(&headers, rest);
        Ok(Self { method, target, headers, body })
    }

    /// What `content-length` says of the body when it is not what is there: the capture was cut, or
    /// a tool changed it.
    pub fn other_length(&self) -> Option<usize> {
        said_length(&self.headers).filter(|said| *said != self.body.len())
    }

    /// The text that [`RawRequest::parse`] reads back. `content-length` is set to what the body
    /// has, and a `transfer-encoding` is left out: the body is written as it is.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            let framing = ["content-length", "transfer-encoding"];
            if framing.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                continue;
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// The request for the engine, under a public URL that the caller knows. The query is that of
    /// the request unless `url` has one.
    pub fn url(&self, url: &str) -> String {
        match self.target.split_once('?') {
            Some((_, query)) if !url.contains('?') => format!("{url}?{query}"),
            _ => url.to_owned(),
        }
    }

    /// Lends the parts to the engine.
    pub fn lend<'a>(&'a self, url: &'a str) -> Request<'a> {
        Request { method: &self.method, url, headers: &self.headers, body: &self.body }
    }
}

/// The next line without its end, if there is a whole one.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, tail) = rest.split_at(end);
    *rest = tail.get(1..).unwrap_or_default();
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

fn header(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    let (name, value) = field.split_at(colon);
    let name = std::str::from_utf8(name).ok()?;
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let valid = !name.is_empty() && name.bytes().all(token);
    valid.then(|| (name.to_owned(), value.to_vec()))
}

fn value<'h>(headers: &'h [(String, Vec<u8>)], wanted: &str) -> Option<&'h str> {
    let found = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.and_then(|(_, value)| std::str::from_utf8(value).ok())
}

fn is_chunked(headers: &[(String, Vec<u8>)]) -> bool {
    value(headers, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

fn said_length(headers: &[(String, Vec<u8>)]) -> Option<usize> {
    value(headers, "content-length").filter(|_| !is_chunked(headers))?.parse().ok()
}

fn body(headers: &[(String, Vec<u8>)], rest: &[u8]) -> Vec<u8> {
    if is_chunked(headers)
        && let Some(body) = unchunk(rest)
    {
        return body;
    }
    let said = said_length(headers).and_then(|said| rest.split_at_checked(said));
    match said {
        Some((body, b"\n" | b"\r\n")) => body.to_vec(),
        _ => rest.to_vec(),
    }
}

/// A chunked body put together; `None` when it is not one (many tools print it put together).
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = std::str::from_utf8(line(&mut rest)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let (chunk, tail) = rest.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        rest = tail;
        if !line(&mut rest)?.is_empty() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_request_is_read_to_the_byte() {
        let raw = RawRequest::parse(b"POST /in?a=1 HTTP/1.1\r\nX-A:  b \r\nx-a: c\r\n\r\n\xff\n\n")
            .unwrap();
        assert_eq!((raw.method.as_str(), raw.target.as_str()), ("POST", "/in?a=1"));
        let headers = [("X-A".to_owned(), b"b".to_vec()), ("x-a".to_owned(), b"c".to_vec())];
        assert_eq!(raw.headers, headers);
        assert_eq!(raw.body, b"\xff\n\n");
        assert_eq!(raw.url("https://h/in"), "https://h/in?a=1");
        assert_eq!(raw.url("https://h/in?b=2"), "https://h/in?b=2");
    }

    #[test]
    fn the_length_and_chunks_are_minded() {
        let body = |text: &str| RawRequest::parse(text.as_bytes()).map(|raw| raw.body);
        let head = "POST / HTTP/1.1\n";
        for (text, expected, other) in [
            ("2\n\nab", "ab", None),
            ("2\n\nab\n", "ab", None),
            ("2\n\nab\r\n", "ab", None),
            ("2\n\nabc", "abc", Some(2)),
            ("2\n\nab\n\n", "ab\n\n", Some(2)),
            ("3\n\nab", "ab", Some(3)),
            ("x\n\nab", "ab", None),
        ] {
            let raw =
                RawRequest::parse(format!("{head}content-length: {text}").as_bytes()).unwrap();
            assert_eq!((raw.body.as_slice(), raw.other_length()), (expected.as_bytes(), other));
        }
        let chunked = format!("{head}transfer-encoding: chunked\n\n");
        assert_eq!(
            body(&format!("{chunked}2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n")),
            Ok(b"abc".to_vec())
        );
        assert_eq!(body(&format!("{chunked}{{}}")), Ok(b"{}".to_vec()), "put together already");
    }

    #[test]
    fn what_is_no_request_is_said() {
        let check = |text: &str, expected: RawProblem| {
            assert_eq!(RawRequest::parse(text.as_bytes()), Err(expected), "{text:?}");
        };
        check("", RawProblem::Line(String::new()));
        check("{\"a\":1}\n\n", RawProblem::Line("{\"a\":1}".to_owned()));
        check("POST / HTTP/1.1\r\nno header\r\n\r\n", RawProblem::Header(2));
        check("POST / HTTP/1.1\r\na: b\r\n", RawProblem::NoBody);
        check("POST / HTTP/1.1\r\na: b\r\n c\r\n\r\n", RawProblem::Folded(3));
        check("{\"a\":1}", RawProblem::Line("{\"a\":1}".to_owned()));
        let many = |n| format!("GET / HTTP/1.1\n{}\n", "a: b\n".repeat(n));
        assert!(RawRequest::parse(many(MAX_RAW_HEADERS).as_bytes()).is_ok());
        check(&many(MAX_RAW_HEADERS + 1), RawProblem::TooMany);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(body in proptest::collection::vec(any::<u8>(), 0..200), value in "[!-~]{0,20}") {
            let headers = vec![
                ("x-value".to_owned(), value.into_bytes()),
                ("content-length".to_owned(), body.len().to_string().into_bytes()),
            ];
            let raw = RawRequest { method: "POST".to_owned(), target: "/in".to_owned(), headers, body };
            prop_assert_eq!(RawRequest::parse(&raw.to_bytes()), Ok(raw));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(RawRequest::parse(&bytes));
        }
    }
}
