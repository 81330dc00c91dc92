//! A blocking HTTP/1.1 client on one kept-alive connection: just enough to post messages as fast
//! as a client can, and to know for certain whether an answer came.
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer for this long is an error: the request is then in doubt.
const PATIENCE: Duration = Duration::from_secs(20);
/// Larger answers are an error.
const MAX_BODY: usize = 64 << 20;

/// One connection to the daemon, with the token it sends.
pub struct Client {
    stream: BufReader<TcpStream>,
    token: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Client {
    pub fn connect(port: u16, token: &str) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), token: token.to_owned() })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, &[], "")
    }

    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        self.call("POST", path, headers, body)
    }

    pub fn delete(&mut self, path: &str) -> io::Result<Answer> {
        self.call("DELETE", path, &[], "")
    }

    /// Like `post`, but any answer other than `status` is an error that shows the answer.
    pub fn expect(&mut self, status: u16, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self
            .post(path, &[], &body.to_string())
            .map_err(|error| format!("POST {path}: {error}"))?;
        if answer.status != status {
            return Err(format!("POST {path}: {} {}", answer.status, answer.body));
        }
        Ok(answer.body)
    }

    /// Shows every message of an application to `see`, newest first, page by page.
    pub fn each_message(&mut self, app: &str, mut see: impl FnMut(&Value)) -> Result<(), String> {
        let mut iterator = String::new();
        loop {
            let path = format!("/api/v1/app/{app}/msg?limit=250{iterator}");
            let answer = self.get(&path).map_err(|error| format!("GET {path}: {error}"))?;
            if answer.status != 200 {
                return Err(format!("GET {path}: {} {}", answer.status, answer.body));
            }
            let Some(page) = answer.body["data"].as_array() else {
                return Err(format!("GET {path}: no list in {}", answer.body));
            };
            page.iter().for_each(&mut see);
            match (answer.body["done"].as_bool(), answer.body["iterator"].as_str()) {
                (Some(true), _) => return Ok(()),
                (Some(false), Some(next)) if !page.is_empty() => {
                    iterator = format!("&iterator={next}");
                }
                _ => return Err(format!("GET {path}: no way to the next page")),
            }
        }
    }

    fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n",
            self.token
        );
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        if method != "GET" {
            request.push_str("content-type: application/json\r\n");
            let _ = write!(request, "content-length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let head = Head::read(&mut self.stream)?;
        let body = head.read_body(&mut self.stream)?;
        let status = head.first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let Some(status) = status else { return Err(bad("no status in the answer")) };
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()))
        };
        Ok(Answer { status, body })
    }
}

/// The first line and the header fields of a request or an answer.
pub struct Head {
    pub first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads up to the empty line; `UnexpectedEof` when the connection ends before or in it.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        if lines.is_empty() {
            return Err(bad("no first line"));
        }
        let first = lines.remove(0);
        let fields = lines
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { first, fields })
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Reads a body with a `content-length`, or a chunked one; none of both is an empty body.
    pub fn read_body(&self, stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
        if self.field("transfer-encoding").is_some() {
            return read_chunks(stream);
        }
        let length = self.field("content-length").map_or(Ok(0), str::parse);
        let Ok(length) = length else { return Err(bad("content-length is no number")) };
        read_exactly(stream, length)
    }
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Ok(length) = usize::from_str_radix(line.trim(), 16) else {
            return Err(bad("chunk length is no number"));
        };
        body.extend(read_exactly(stream, length)?);
        stream.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(body);
        }
    }
}

fn read_exactly(stream: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_BODY {
        return Err(bad("body is too large"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
