//! What the tests of a hostile world share: a real daemon whose memory and log can be looked at,
//! and requests written byte by byte.
//!
//! Not a home for assertions about a feature: those stay with the tests that make them.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binary::{Running, posthaste, stderr, stdout};

/// No answer for so long is a hang.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A running daemon on a data folder of its own.
pub struct House {
    running: Running,
    pub data: PathBuf,
    pub port: u16,
    pub token: String,
    log: tempfile::NamedTempFile,
    folder: Option<tempfile::TempDir>,
}

impl House {
    /// Starts one on a new folder, allowed to deliver to this machine.
    pub fn start(env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut house =
            Self::on(&folder.path().join("data"), &["--allow-network", "127.0.0.0/8"], env);
        house.folder = Some(folder);
        house
    }

    /// Starts one on `data` with `args` beside the usual ones.
    pub fn on(data: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(data.parent().unwrap()).unwrap();
        // Not beside the data: that disk may be full.
        let log = tempfile::NamedTempFile::new().unwrap();
        let file = log.reopen().unwrap();
        let mut command = posthaste(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(args).envs(env.iter().copied()).stderr(file);
        let mut running = Running::start(command);
        let banner = running.wait_for("listening on ");
        let port = banner.rsplit_once(':').unwrap().1.parse().unwrap();
        let mut house =
            Self { running, data: data.to_owned(), port, token: String::new(), log, folder: None };
        house.token = house.mint(&[], env);
        house
    }

    /// A token made on the command line.
    pub fn mint(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let mut command = posthaste(&["token", "--data"]);
        let output = command.arg(&self.data).args(args).envs(env.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    /// Sends a request with the operator's token, waits for the whole answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.ask_as(&self.token, method, path, body)
    }

    /// Sends a request with another token.
    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: &str) -> Reply {
        let bytes = request(method, path, &[("authorization", &format!("Bearer {token}"))], body);
        talk(self.port, bytes.as_bytes())
    }

    /// Sends a request that must be answered with `status`; the body of the answer.
    #[track_caller]
    pub fn expect(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.ask(method, path, &body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.text());
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    /// An application, by id.
    pub fn app(&self, name: &str) -> String {
        let app = self.expect(201, "POST", "/api/v1/app", &serde_json::json!({ "name": name }));
        app["id"].as_str().unwrap().to_owned()
    }

    /// An endpoint of `app` that leads to `url`, by id.
    pub fn endpoint(&self, app: &str, url: &str) -> String {
        let body = serde_json::json!({ "url": url });
        let endpoint = self.expect(201, "POST", &format!("/api/v1/app/{app}/endpoint"), &body);
        endpoint["id"].as_str().unwrap().to_owned()
    }

    /// Sends a small message; its id.
    pub fn send(&self, app: &str) -> String {
        let body = serde_json::json!({ "eventType": "order.paid", "payload": { "n": 1 } });
        let message = self.expect(202, "POST", &format!("/api/v1/app/{app}/msg"), &body);
        message["id"].as_str().unwrap().to_owned()
    }

    /// The attempts of an endpoint, newest first.
    pub fn attempts(&self, app: &str, endpoint: &str) -> Vec<Value> {
        let path = format!("/api/v1/app/{app}/attempt/endpoint/{endpoint}?limit=250");
        let page = self.expect(200, "GET", &path, &Value::Null);
        page["data"].as_array().unwrap().clone()
    }

    /// Bytes of memory the daemon has in use.
    pub fn memory(&self) -> u64 {
        self.memory_of("VmRSS:")
    }

    /// As [`House::memory`], without the files that are mapped: the binary and its libraries.
    pub fn memory_of_its_own(&self) -> u64 {
        self.memory_of("RssAnon:")
    }

    fn memory_of(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.running.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// What the daemon wrote to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Stops it in order and looks for panics and errors in what it wrote; gives the folder back.
    #[track_caller]
    pub fn stop(mut self) -> Option<tempfile::TempDir> {
        let status = self.running.terminate();
        let log = self.log();
        assert!(status.success(), "after SIGTERM: {status}; its log:\n{log}");
        assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
        self.folder.take()
    }

    /// Ends it without warning; the folder lives on.
    pub fn kill(mut self) -> Option<tempfile::TempDir> {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
        self.folder.take()
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|err| panic!("{err} in {}\n{}", self.head, self.text()))
    }

    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value.trim()))
    }
}

/// The text of a request with a `content-length` that fits.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    write!(text, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    text
}

/// A connection to the daemon that gives up in the end.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends bytes on a new connection and reads one answer. Panics when the connection ends first.
#[track_caller]
pub fn talk(port: u16, bytes: &[u8]) -> Reply {
    let mut stream = connect(port);
    stream.write_all(bytes).unwrap();
    let reply = read_reply(&mut stream);
    reply.unwrap_or_else(|| panic!("closed without an answer"))
}

/// Sends bytes, of which the other side may read as many as it likes; an answer, or `None` when
/// the connection ended without one.
pub fn push(port: u16, bytes: &[u8]) -> Option<Reply> {
    let mut stream = connect(port);
    // Refused in the middle of it, most likely.
    drop(stream.write_all(bytes));
    read_reply(&mut stream)
}

/// Reads one answer; `None` when the connection ends before it is whole. A wait of [`PATIENCE`]
/// without a byte is a hang and panics.
#[track_caller]
pub fn read_reply(stream: &mut TcpStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match read(stream, &mut byte) {
            0 => return None,
            _ => bytes.push(byte[0]),
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply { status, head, body: Vec::new() };
    let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
    reply.body = vec![0; length];
    let mut at = 0;
    while at < length {
        match read(stream, &mut reply.body[at..]) {
            0 => return None,
            n => at += n,
        }
    }
    Some(reply)
}

/// Whether the other side ends the connection, without a byte more.
#[track_caller]
pub fn is_closed(stream: &mut TcpStream) -> bool {
    read(stream, &mut [0; 64]) == 0
}

/// Reads; a reset counts as the end, a hang panics.
#[track_caller]
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    match stream.read(buffer) {
        Ok(n) => n,
        Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer: {err}"),
        Err(_) => 0,
    }
}

/// Asks until the answer is `Some`; panics after `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        // sleep: the pause between two questions to another process, within the limit.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets this process have as many open files as it may; how many that is.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    most.unwrap_or(u64::MAX)
}
