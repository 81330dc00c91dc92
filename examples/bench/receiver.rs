//! The receiver: one thread, hand-written keep-alive HTTP/1.1, a book of what arrived.
//!
//! It verifies nothing unless told to, since its CPU is the server's under test too. Every
//! endpoint is a path `/e/<index>`; how a path behaves comes from the book.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::book::{Book, Expect, Manner};
use crate::mark;
use crate::stats::Clock;
use crate::wire;

/// How long a slow endpoint takes to answer.
pub const SLOW: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
const BUFFER: usize = 16 * 1024;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Runs until the program ends.
pub struct Receiver {
    pub addr: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Receiver {
    /// Binds a free port of the loopback address and starts the thread.
    pub fn start(clock: Clock, expect: Expect) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("bind the receiver")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let book = Arc::new(Mutex::new(Book::open(expect)));
        let desk = Desk { clock, book: Arc::clone(&book) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name("bench-receiver".into())
            .spawn(move || runtime.block_on(accept(listener, desk)))
            .context("start the receiver")?;
        Ok(Self { addr, book })
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Closes the old book and opens one for the next run.
    pub fn open(&self, expect: Expect) {
        *self.book() = Book::open(expect);
    }

    /// The URL of endpoint `index`.
    pub fn url(&self, index: usize) -> String {
        format!("http://{}/e/{index}", self.addr)
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Desk {
    clock: Clock,
    book: Arc<Mutex<Book>>,
}

async fn accept(listener: std::net::TcpListener, desk: Desk) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A failure shows as a connection the server finds closed, and as missing.
                tokio::spawn(serve(stream, desk.clone()));
            }
            // Out of descriptors: give the others time to close.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, desk: Desk) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = Vec::with_capacity(BUFFER);
    loop {
        let Some((head, total)) = request(&mut stream, &mut buf).await? else {
            return Ok(());
        };
        let now = desk.clock.now();
        let answer = desk.answer(&buf, head, total, now);
        buf.drain(..total);
        match answer {
            Manner::Good | Manner::Absent => stream.write_all(OK).await?,
            Manner::Refusing => stream.write_all(REFUSED).await?,
            Manner::Slow => {
                tokio::time::sleep(SLOW).await;
                stream.write_all(OK).await?;
            }
            Manner::Dead => {
                // Say nothing until the other side gives up.
                while tokio::time::timeout(IDLE, stream.read_buf(&mut buf)).await?? > 0 {
                    buf.clear();
                }
                return Ok(());
            }
        }
        if head.close {
            return Ok(());
        }
    }
}

/// Reads until one request is whole; `None` when the peer is done.
async fn request(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Result<Option<(wire::Head, usize)>> {
    let mut head = wire::head(buf)?;
    loop {
        if let Some(head) = head
            && let Some(total) = wire::whole(head, buf)?
        {
            return Ok(Some((head, total)));
        }
        if tokio::time::timeout(IDLE, stream.read_buf(buf)).await?? == 0 {
            return Ok(None);
        }
        if head.is_none() {
            head = wire::head(buf)?;
        }
    }
}

impl Desk {
    fn answer(&self, buf: &[u8], head: wire::Head, total: usize, now: u64) -> Manner {
        let front = buf.get(..head.len).unwrap_or_default();
        let body = buf.get(head.len..total).unwrap_or_default();
        let index = wire::path(front).strip_prefix(b"/e/").and_then(mark::value);
        let endpoint = index.and_then(|index| usize::try_from(index).ok()).unwrap_or(usize::MAX);
        let mark = mark::find(body);
        let mut book = lock(&self.book);
        if !book.expect.keys.is_empty() {
            let key = book.expect.keys.get(endpoint);
            if !key.is_some_and(|key| verified(key, front, body)) {
                book.forged += 1;
            }
        }
        book.note(endpoint, mark, now)
    }
}

/// Whether one of the request's `v1` signatures is right, by either family of headers.
fn verified(key: &[u8], head: &[u8], body: &[u8]) -> bool {
    ["webhook", "svix"].iter().any(|family| {
        let get = |name: &str| wire::header(head, format!("{family}-{name}").as_bytes());
        let (Some(id), Some(at), Some(signatures)) =
            (get("id"), get("timestamp"), get("signature"))
        else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return false;
        };
        for part in [id, b".", at, b".", body] {
            mac.update(part);
        }
        let want = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
        signatures.split(|byte| *byte == b' ').any(|signature| signature == want.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector published with the Standard Webhooks libraries.
    #[test]
    fn the_published_vector_verifies() {
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let body = br#"{"test": 2432232314}"#;
        let head = |signature: &str| {
            format!(
                "POST /e/0 HTTP/1.1\r\nWebhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\n\
                 Webhook-Timestamp: 1614265330\r\nWebhook-Signature: {signature}\r\n\r\n"
            )
        };
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(verified(&key, head(good).as_bytes(), body));
        assert!(verified(&key, head(&format!("v1,old {good}")).as_bytes(), body));
        assert!(!verified(&key, head("v1,g0hM").as_bytes(), body));
        assert!(!verified(&key, head(good).as_bytes(), b"{}"));
        assert!(!verified(b"another", head(good).as_bytes(), body));
    }
}
