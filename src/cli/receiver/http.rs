//! Just enough HTTP/1.1 to receive webhooks: a request with a body, and a short answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longest request line and headers, in bytes together.
pub const MAX_HEAD_BYTES: u64 = 32 * 1024;

/// Largest body, in bytes: the daemon's own largest payload.
pub const MAX_BODY_BYTES: u64 = 8 * 1024 * 1024;

/// Longest silence of a sender in the middle of things; longer than its pool keeps a connection.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// A request that was read completely.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The bytes that were signed.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name (given in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Why a request was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Not HTTP/1.1 as understood here.
    Malformed,
    /// Head or body over its limit.
    TooLarge,
    /// The connection broke or fell silent.
    Broken,
}

impl Refusal {
    /// The status to say so with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 413,
            Self::Broken => 408,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        // Not UTF-8 in a head is the sender's fault, everything else the connection's.
        if error.kind() == io::ErrorKind::InvalidData { Self::Malformed } else { Self::Broken }
    }
}

/// One connection, kept alive between requests.
pub struct Connection<'a> {
    stream: &'a TcpStream,
    reader: BufReader<&'a TcpStream>,
}

impl<'a> Connection<'a> {
    /// Takes a connection over.
    ///
    /// # Errors
    /// The socket does not take its settings.
    pub fn new(stream: &'a TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, reader: BufReader::new(stream) })
    }

    /// The next request; `None` when the sender closed the connection between two.
    ///
    /// # Errors
    /// The request is not taken; after answering the connection must be closed.
    pub fn next(&mut self) -> Result<Option<Request>, Refusal> {
        let mut head = (&mut self.reader).take(MAX_HEAD_BYTES);
        let first = read_line(&mut head)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut request = request_line(&first)?;
        loop {
            let line = read_line(&mut head)?;
            let text = line.trim_end();
            if !line.ends_with('\n') {
                return Err(if head.limit() == 0 { Refusal::TooLarge } else { Refusal::Broken });
            }
            if text.is_empty() {
                break;
            }
            let (name, value) = text.split_once(':').ok_or(Refusal::Malformed)?;
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = self.body(&request)?;
        Ok(Some(request))
    }

    /// Answers the last request, with no body.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn answer(&mut self, status: u16) -> io::Result<()> {
        let length = if status == 204 { "" } else { "content-length: 0\r\n" };
        let text = format!("HTTP/1.1 {status} {}\r\n{length}\r\n", reason(status));
        self.stream.write_all(text.as_bytes())
    }

    fn body(&mut self, request: &Request) -> Result<Vec<u8>, Refusal> {
        let chunked = request.header("transfer-encoding");
        if chunked.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks();
        }
        if chunked.is_some() {
            return Err(Refusal::Malformed);
        }
        let length = match request.header("content-length") {
            Some(length) => length.parse().map_err(|_| Refusal::Malformed)?,
            None => 0,
        };
        let mut body = Vec::new();
        self.read_exactly(length, &mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        loop {
            let line = read_line(&mut (&mut self.reader).take(MAX_HEAD_BYTES))?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| Refusal::Malformed)?;
            if size == 0 {
                // Trailers, if any, up to the empty line.
                let mut trailers = (&mut self.reader).take(MAX_HEAD_BYTES);
                while !read_line(&mut trailers)?.trim().is_empty() {}
                return Ok(body);
            }
            self.read_exactly(size, &mut body)?;
            read_line(&mut (&mut self.reader).take(2))?;
        }
    }

    fn read_exactly(&mut self, length: u64, body: &mut Vec<u8>) -> Result<(), Refusal> {
        if length.saturating_add(body.len() as u64) > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        let read = (&mut self.reader).take(length).read_to_end(body)?;
        if read as u64 == length { Ok(()) } else { Err(Refusal::Broken) }
    }
}

fn read_line(from: &mut io::Take<&mut BufReader<&TcpStream>>) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line)
}

fn request_line(line: &str) -> Result<Request, Refusal> {
    let mut parts = line.split_whitespace();
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(target), Some(version), None) if version.starts_with("HTTP/1.") => {
            Ok(Request { target: target.to_owned(), ..Request::default() })
        }
        _ => Err(Refusal::Malformed),
    }
}

/// The words of the statuses that matter to someone reading along; the rest need none.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "As Told",
    }
}
