//! Receivers that misbehave, one script each, and what the daemon has to make of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What an attempt has to be recorded as.
pub struct Expected {
    pub name: &'static str,
    /// The answer's status, 0 when there was none.
    pub status: u64,
    /// Why it failed; empty when it is a success.
    pub code: &'static str,
}

type Script = fn(&mut TcpStream) -> io::Result<()>;

/// Every script: scheme, name, recorded status, recorded code. It runs after the request was read,
/// or at once where the scheme is https.
const SCRIPTS: [(&str, &str, u64, &str, Script); 25] = [
    ("http", "silence", 0, "timeout_headers", |_| Ok(())),
    ("http", "dripped status line", 0, "timeout_headers", |it| drip(it, b"HTTP/1.1 200 OK")),
    ("http", "dripped headers", 0, "timeout_headers", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\n")?;
        drip(it, b"x-a: b\r\n")
    }),
    ("http", "dripped body", 200, "timeout_body", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        drip(it, b"x")
    }),
    ("http", "100 MB that never come", 200, "timeout_body", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\nsome")
    }),
    ("http", "endless body", 200, "", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        forever(it, &[b'y'; 4096])
    }),
    ("http", "endless body of an error", 500, "status", |it| {
        it.write_all(b"HTTP/1.1 500 x\r\ntransfer-encoding: chunked\r\n\r\n")?;
        forever(it, format!("1000\r\n{}\r\n", "y".repeat(4096)).as_bytes())
    }),
    ("http", "endless headers", 0, "headers_too_large", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\n")?;
        forever(it, b"x-a: b\r\n")
    }),
    ("http", "10,000 headers", 0, "headers_too_large", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\n")?;
        it.write_all("x: y\r\n".repeat(10_000).as_bytes())
    }),
    // Ten bytes of it stand for a kilobyte: nobody may unpack it.
    ("http", "gzip bomb", 200, "", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0")?;
        forever(it, &[0; 4096])
    }),
    ("http", "redirect to metadata", 302, "redirect", |it| {
        it.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\n")?;
        it.write_all(b"connection: close\r\ncontent-length: 0\r\n\r\n")
    }),
    ("http", "redirect to itself", 307, "redirect", |it| {
        let own = it.local_addr()?;
        write!(
            it,
            "HTTP/1.1 307 x\r\nlocation: http://{own}/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
    }),
    ("http", "flood of 100", 0, "protocol", |it| forever(it, b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("http", "garbage first", 0, "protocol", |it| {
        it.write_all(b"\0\x01x\r\nHTTP/1.1 200 OK\r\n\r\n")
    }),
    ("http", "HTTP/0.9", 0, "protocol", |it| it.write_all(b"<html>hello</html>\n")),
    ("http", "two lengths", 0, "protocol", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
    }),
    ("http", "closed after the request", 0, "connection_closed", close),
    ("http", "closed in the status line", 0, "connection_closed", |it| {
        it.write_all(b"HTTP/1.1 20")?;
        close(it)
    }),
    ("http", "closed in the headers", 0, "connection_closed", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
        close(it)
    }),
    ("http", "closed in the body", 200, "connection_closed", |it| {
        it.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc")?;
        close(it)
    }),
    ("http", "terminal escapes", 500, "status", |it| {
        it.write_all(
            b"HTTP/1.1 500 x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n\x1b[2J\x1b]0;x",
        )
    }),
    ("http", "asks to wait for ever", 503, "status", |it| {
        it.write_all(b"HTTP/1.1 503 x\r\nconnection: close\r\nretry-after: 99999999999999\r\ncontent-length: 0\r\n\r\n")
    }),
    ("https", "stalled handshake", 0, "timeout_tls", |_| Ok(())),
    ("https", "no TLS", 0, "tls_not_tls", |it| it.write_all(b"HTTP/1.1 200 OK\r\n\r\n")),
    ("https", "closed handshake", 0, "connection_closed", close),
];

/// All of them, each on a port of its own.
pub struct Receivers {
    urls: Vec<(String, Expected)>,
    open: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
}

impl Receivers {
    pub fn start() -> Self {
        let (open, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let urls = SCRIPTS.map(|(scheme, name, status, code, script)| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let url = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
            let (open, seen) = (Arc::clone(&open), Arc::clone(&seen));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    open.fetch_add(1, Ordering::SeqCst);
                    seen.fetch_add(1, Ordering::SeqCst);
                    let open = Arc::clone(&open);
                    std::thread::spawn(move || {
                        // Cut off while it writes, most likely.
                        drop(play(stream, scheme, script));
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
            (url, Expected { name, status, code })
        });
        Self { urls: urls.into(), open, seen }
    }

    /// The address of each, and what is to be recorded of it.
    pub fn each(&self) -> impl Iterator<Item = &(String, Expected)> {
        self.urls.iter()
    }

    /// Connections the daemon has open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections there have been.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Plays the script, then waits for the daemon to end the connection.
fn play(mut stream: TcpStream, scheme: &str, script: Script) -> io::Result<()> {
    if scheme == "http" {
        read_request(&mut stream)?;
    }
    script(&mut stream)?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let head =
        crate::support::http::Head::read(&mut io::BufReader::with_capacity(1, &mut *stream))?;
    let length = head.field("content-length").and_then(|text| text.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)])
}

/// Ends the connection from this side.
fn close(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(std::net::Shutdown::Both)
}

/// A byte every 100 ms, until the other side is gone.
fn drip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    for byte in bytes.iter().cycle() {
        stream.write_all(&[*byte])?;
        if stream.read(&mut [0]).is_ok() {
            break;
        }
    }
    Ok(())
}

fn forever(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        stream.write_all(bytes)?;
    }
}
