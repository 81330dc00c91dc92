//! Attempts against scripted receivers on loopback sockets.

mod hostile;
mod oauth;
mod pool;
mod proxy;
mod request;
mod tls;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::resolver::Lookup;
use super::tls::Trust;
use super::{AddressPolicy, Deliverer, DeliveryConfig, Job};
use crate::model::outcome::{Failure, Outcome};
use crate::model::secret::SigningKey;

/// A deadline that no honest exchange on loopback meets, even on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// A deadline for receivers that are meant to meet it.
const SHORT: Duration = Duration::from_millis(300);

/// Settings that reach loopback.
fn config(timeout: Duration) -> DeliveryConfig {
    DeliveryConfig {
        timeout,
        policy: AddressPolicy { allow: vec!["127.0.0.0/8".parse().unwrap()] },
        https_only: false,
        proxy: None,
        trust: Trust::default(),
        idle_per_endpoint: 4,
    }
}

fn deliverer(timeout: Duration) -> Deliverer {
    Deliverer::new(config(timeout)).unwrap()
}

fn job(url: &str) -> Job<'_> {
    Job {
        url,
        message_id: "msg_1",
        timestamp_secs: 1_767_225_600,
        attempt: 1,
        next_retry: None,
        body: b"{}",
        content_type: "application/json",
        keys: &[],
        headers: &[],
        oauth: None,
        shard: 0,
    }
}

fn send(deliverer: &Deliverer, url: &str) -> Outcome {
    deliverer.attempt(&job(url))
}

/// A receiver whose every connection runs a script on a thread of its own.
struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// One message for each script that ended.
    ended: Receiver<()>,
}

impl Scripted {
    /// The script gets the connection and its number, from 0. It ends when the script returns;
    /// an I/O error in it is how most scripts end.
    fn start(
        script: impl Fn(&mut TcpStream, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, ended) = channel();
        let count = Arc::clone(&connections);
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, sender) = (Arc::clone(&script), sender.clone());
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    script(&mut stream, number).ok();
                    sender.send(()).ok();
                });
            }
        });
        Self { address, connections, ended }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until a script ended, which it does when its connection is gone.
    fn wait_for_end(&self) {
        self.ended.recv_timeout(LONG).expect("the connection is still there");
    }
}

/// Reads one request: its head, lines ended by `\r\n`, and its body.
fn read_request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    // Unbuffered beyond the request: the connection may carry another one.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}

/// Answers every request on a connection with the same bytes.
fn answer_all(stream: &mut (impl Read + Write), answer: &[u8]) -> io::Result<()> {
    loop {
        read_request(stream)?;
        stream.write_all(answer)?;
        stream.flush()?;
    }
}

/// Reads until the other side is gone.
fn drain(stream: &mut impl Read) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(|_| ())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A look-up with a list of answers for each name; the last answer stays.
#[derive(Debug, Default)]
struct Stub {
    answers: Mutex<HashMap<String, Vec<Vec<&'static str>>>>,
    asked: AtomicUsize,
}

impl Stub {
    fn with(name: &str, answers: &[&[&'static str]]) -> Arc<Self> {
        let stub = Self::default();
        let answers = answers.iter().map(|it| it.to_vec()).collect();
        stub.answers.lock().unwrap().insert(name.to_owned(), answers);
        Arc::new(stub)
    }
}

impl Lookup for Stub {
    fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut all = self.answers.lock().unwrap();
        let Some(answers) = all.get_mut(name) else {
            return Err(io::Error::other("no such name"));
        };
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
    }
}
