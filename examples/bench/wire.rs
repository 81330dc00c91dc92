//! Just enough HTTP/1.1 framing for the load generator and the receiver: where a message ends.
//!
//! Pure, no sockets. Both ends share two cores with the server under test, so this reads only what
//! decides the framing and leaves every other header alone. Not a general parser.

/// A head larger than this is not one of ours.
pub const MAX_HEAD: usize = 64 * 1024;
/// A body larger than this is refused; the API's own limit is 8 MiB.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// What the head of a request or a response says about the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes up to and including the blank line.
    pub len: usize,
    pub body: Framing,
    /// The peer will close after this message.
    pub close: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

/// Why a message can never become whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    #[error("body is larger than {MAX_BODY} bytes")]
    BodyTooLarge,
    #[error("content-length is not a number")]
    Length,
    #[error("chunk size is not a number")]
    Chunk,
}

/// Reads the head at the front of `buf`; `None` while it is not all there.
pub fn head(buf: &[u8]) -> Result<Option<Head>, WireError> {
    let Some(at) = buf.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buf.len() > MAX_HEAD { Err(WireError::HeadTooLarge) } else { Ok(None) };
    };
    let mut head = Head { len: at + 4, body: Framing::Length(0), close: false };
    for line in buf.get(..at).unwrap_or_default().split(|byte| *byte == b'\n').skip(1) {
        // Most lines are told apart by their first letter.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            continue;
        }
        if let Some(value) = value_of(line, b"content-length") {
            let length = number(value, 10).ok_or(WireError::Length)?;
            if length > MAX_BODY {
                return Err(WireError::BodyTooLarge);
            }
            head.body = Framing::Length(length);
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if value.eq_ignore_ascii_case(b"chunked") {
                head.body = Framing::Chunked;
            }
        } else if let Some(value) = value_of(line, b"connection") {
            head.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(head))
}

/// Length of the whole message at the front of `buf`; `None` while it is not all there.
pub fn whole(head: Head, buf: &[u8]) -> Result<Option<usize>, WireError> {
    match head.body {
        Framing::Length(length) => {
            let total = head.len + length;
            Ok((buf.len() >= total).then_some(total))
        }
        Framing::Chunked => chunked(head.len, buf),
    }
}

fn chunked(mut at: usize, buf: &[u8]) -> Result<Option<usize>, WireError> {
    loop {
        let rest = buf.get(at..).unwrap_or_default();
        let Some(eol) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let line = rest.get(..eol).unwrap_or_default();
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(size, 16).ok_or(WireError::Chunk)?;
        if at + size > MAX_HEAD + MAX_BODY {
            return Err(WireError::BodyTooLarge);
        }
        at += eol + 2 + size + 2;
        if size == 0 {
            return Ok((buf.len() >= at).then_some(at));
        }
    }
}

/// The value of the first header called `name` (lower case) in a head.
pub fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| value_of(line, name))
}

/// The path of a request, without its query.
pub fn path(buf: &[u8]) -> &[u8] {
    let target = buf.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The status code of a response; 0 when there is none.
pub fn status(buf: &[u8]) -> u16 {
    let code = buf.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    number(code, 10).and_then(|code| u16::try_from(code).ok()).unwrap_or(0)
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (front, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    front.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(text: &[u8], radix: u32) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(text.trim_ascii()).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<Option<usize>, WireError>) {
        let buf = text.as_bytes();
        let got = head(buf).and_then(|head| head.map_or(Ok(None), |head| whole(head, buf)));
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn a_message_ends_where_its_framing_says() {
        check("HTTP/1.1 200 OK\r\n", Ok(None));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok(Some(27)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Ok(None));
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", Ok(Some(41)));
        check("POST / HTTP/1.1\r\nCONTENT-LENGTH:0\r\nhost: a\r\n\r\n", Ok(Some(46)));
        check("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Err(WireError::Length));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        check(chunked, Ok(None));
        check(&format!("{chunked}3\r\nabc\r\n"), Ok(None));
        check(&format!("{chunked}3\r\nabc\r\n0\r\n\r\n"), Ok(Some(60)));
        check(&format!("{chunked}3;a=b\r\nabc\r\n0\r\n\r\nrest"), Ok(Some(64)));
        check(&format!("{chunked}z\r\n"), Err(WireError::Chunk));
    }

    #[test]
    fn heads_and_bodies_have_limits() {
        check(&"x".repeat(MAX_HEAD), Ok(None));
        check(&"x".repeat(MAX_HEAD + 1), Err(WireError::HeadTooLarge));
        let with = |length: usize| format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        check(&with(MAX_BODY), Ok(None));
        check(&with(MAX_BODY + 1), Err(WireError::BodyTooLarge));
    }

    #[test]
    fn paths_statuses_and_headers_are_found() {
        assert_eq!(path(b"POST /e/17?a=b HTTP/1.1\r\n\r\n"), b"/e/17");
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\n\r\n"), 202);
        assert_eq!(status(b"nonsense"), 0);
        let head = b"POST / HTTP/1.1\r\nWebhook-Id: msg_1\r\nwebhook-idle: no\r\n\r\n";
        assert_eq!(header(head, b"webhook-id"), Some(&b"msg_1"[..]));
        assert_eq!(header(head, b"webhook-signature"), None);
    }

    #[test]
    fn a_closing_peer_is_noticed() {
        let close = head(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").expect("framing");
        assert!(close.expect("whole").close);
    }
}
