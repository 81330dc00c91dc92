//! The load generator: keep-alive connections with one prepared request each, stamped in place.
//!
//! Closed loop (as fast as the answers come) or open loop at a rate. One thread.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::mark::{self, Mark};
use crate::receiver::lock;
use crate::stats::{Clock, Histogram};
use crate::wire;

/// After the last POST went out, how long its answer may take.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// Pause after a refusal or a broken connection, so that an outage is not a busy loop.
const BACK_OFF: Duration = Duration::from_millis(10);
/// Digits of a channel's number: `c000017`.
const CHANNEL_DIGITS: usize = 6;

/// What to send, where, how fast and until when.
#[derive(Debug, Clone)]
pub struct Load {
    pub addr: SocketAddr,
    pub token: String,
    pub app: String,
    /// The path of a door: signed events are sent there instead of messages.
    pub door: Option<String>,
    pub run: u32,
    /// Bytes of the payload.
    pub payload: usize,
    pub connections: usize,
    /// Messages a second; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Stop after so many messages.
    pub messages: u32,
    /// Stop after so long.
    pub limit: Duration,
    /// Message `n` names channel `n mod channels`; 0 is none.
    pub channels: usize,
    /// Send an `idempotency-key` with each POST, as the svix libraries do.
    pub idempotency: bool,
    /// Ask for an answer without the payload.
    pub lean: bool,
    /// Large messages among them.
    pub large: Option<Large>,
}

/// A large message after so many others.
#[derive(Debug, Clone, Copy)]
pub struct Large {
    pub every: u32,
    /// Bytes of its payload.
    pub bytes: usize,
}

/// What became of it.
#[derive(Debug)]
pub struct Sent {
    /// Sequence numbers answered 2xx.
    pub accepted: Vec<u32>,
    /// From writing the POST to its 2xx.
    pub latency: Histogram,
    /// Answers other than 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Connections that failed or broke before the answer.
    pub broken: u64,
    /// Open loop: how far behind its schedule each POST went out.
    pub late: Histogram,
    pub began: u64,
    /// When the last answer came.
    pub ended: u64,
}

/// Sends on this thread until a limit is reached.
pub fn run(clock: Clock, load: &Load) -> Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = clock.now();
    let shared = Arc::new(Shared {
        clock,
        began,
        until: began + u64::try_from(load.limit.as_nanos()).unwrap_or(u64::MAX / 2),
        ticket: AtomicU32::new(0),
        messages: load.messages,
        rate: load.rate,
        addr: load.addr,
        sent: Mutex::new(Sent::new(began)),
    });
    let templates = Templates::new(load)?;
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..load.connections {
            all.spawn(connection(Arc::clone(&shared), templates.clone()));
        }
        let done = async { while all.join_next().await.is_some() {} };
        // What has no answer by then stays unanswered; the counts so far are kept.
        tokio::time::timeout(load.limit + LAST_ANSWER, done).await.ok();
    });
    drop(runtime);
    let shared = Arc::into_inner(shared).context("a connection outlived its runtime")?;
    let sent = shared.sent.into_inner().ok().context("the load generator panicked")?;
    if sent.accepted.is_empty() {
        bail!("nothing was accepted: {}", sent.troubles());
    }
    Ok(sent)
}

impl Sent {
    fn new(began: u64) -> Self {
        Self {
            accepted: Vec::new(),
            latency: Histogram::new(),
            refused: BTreeMap::new(),
            broken: 0,
            late: Histogram::new(),
            began,
            ended: began,
        }
    }

    pub fn troubles(&self) -> String {
        format!("refused by status {:?}, broken connections {}", self.refused, self.broken)
    }
}

struct Shared {
    clock: Clock,
    began: u64,
    until: u64,
    ticket: AtomicU32,
    messages: u32,
    rate: Option<f64>,
    addr: SocketAddr,
    sent: Mutex<Sent>,
}

impl Shared {
    /// The next sequence number, once it is due; `None` when the run is over.
    async fn take(&self) -> Option<u32> {
        if self.clock.now() >= self.until {
            return None;
        }
        let seq = self.ticket.fetch_add(1, Ordering::Relaxed);
        if seq >= self.messages {
            return None;
        }
        let Some(rate) = self.rate else {
            return Some(seq);
        };
        let offset = Duration::from_secs_f64(f64::from(seq) / rate);
        let due = self.began + u64::try_from(offset.as_nanos()).ok()?;
        if due >= self.until {
            return None;
        }
        let ahead = due.saturating_sub(self.clock.now());
        if ahead > 0 {
            tokio::time::sleep(Duration::from_nanos(ahead)).await;
        }
        lock(&self.sent).late.add(self.clock.now().saturating_sub(due));
        Some(seq)
    }

    fn note(&self, seq: u32, status: u16, sent: u64) {
        let now = self.clock.now();
        let mut book = lock(&self.sent);
        if (200..300).contains(&status) {
            book.accepted.push(seq);
            book.latency.add(now.saturating_sub(sent));
            book.ended = now;
        } else {
            *book.refused.entry(status).or_insert(0) += 1;
        }
    }
}

async fn connection(shared: Arc<Shared>, mut templates: Templates) {
    let mut link = None;
    let mut answer = Vec::with_capacity(8 * 1024);
    while let Some(seq) = shared.take().await {
        let Some(mut stream) = connected(link.take(), shared.addr).await else {
            lock(&shared.sent).broken += 1;
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let template = templates.pick(seq);
        let sent = shared.clock.now();
        template.stamp(seq, sent);
        let status = if let Ok(reply) = exchange(&mut stream, &template.bytes, &mut answer).await {
            shared.note(seq, reply.status, sent);
            if !reply.close {
                link = Some(stream);
            }
            reply.status
        } else {
            lock(&shared.sent).broken += 1;
            0
        };
        if !(200..300).contains(&status) {
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

async fn connected(link: Option<TcpStream>, addr: SocketAddr) -> Option<TcpStream> {
    if link.is_some() {
        return link;
    }
    let stream = TcpStream::connect(addr).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

struct Reply {
    status: u16,
    close: bool,
}

async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Result<Reply> {
    answer.clear();
    stream.write_all(request).await?;
    let mut head = None;
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("closed before the answer");
        }
        if head.is_none() {
            head = wire::head(answer)?;
        }
        if let Some(head) = head
            && wire::whole(head, answer)?.is_some()
        {
            return Ok(Reply { status: wire::status(answer), close: head.close });
        }
    }
}

/// What a connection sends.
#[derive(Debug, Clone)]
struct Templates {
    usual: Template,
    large: Option<(u32, Template)>,
}

impl Templates {
    fn new(load: &Load) -> Result<Self> {
        let large = |large: Large| {
            let template = Template::new(&Load { payload: large.bytes, ..load.clone() })?;
            Ok::<_, anyhow::Error>((large.every, template))
        };
        Ok(Self { usual: Template::new(load)?, large: load.large.map(large).transpose()? })
    }

    fn pick(&mut self, seq: u32) -> &mut Template {
        match &mut self.large {
            Some((every, large)) if seq % (*every + 1) == *every => large,
            _ => &mut self.usual,
        }
    }
}

/// One prepared request; only digits change between messages.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    run: u32,
    mark_at: usize,
    /// Where the channel's digits begin, and how many channels there are.
    channel: Option<(usize, usize)>,
    /// Where the digits of the idempotency key, or of the event's id, begin.
    key_at: Option<usize>,
    signature: Option<Signature>,
}

/// What an event at a door is signed with, and where.
#[derive(Debug, Clone)]
struct Signature {
    key: hmac::Key,
    /// Where its hex digits begin.
    at: usize,
    /// Where the body begins, which is what is signed.
    body_at: usize,
}

/// The secret of the source that events are sent to.
pub const SECRET: &str = "bench-github-secret";
/// The digits of an id, as they stand in a request before it is stamped.
const BLANK_ID: &str = "0000000000\r\n";
const SIGNATURE: &str = "x-hub-signature-256: sha256=";

/// The name of channel `index`.
pub fn channel(index: usize) -> String {
    format!("c{index:06}")
}

impl Template {
    fn new(load: &Load) -> Result<Self> {
        if let Some(path) = &load.door {
            return Self::event(load, path);
        }
        let payload = mark::payload(load.payload);
        let channels = match load.channels {
            0 => String::new(),
            _ => format!(r#","channels":["{}"]"#, channel(0)),
        };
        let body = format!(r#"{{"eventType":"bench.sent","payload":{payload}{channels}}}"#);
        let query = if load.lean { "?with_content=false" } else { "" };
        let key = if load.idempotency { idempotency_key()? } else { String::new() };
        let head = format!(
            "POST /api/v1/app/{}/msg{query} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             {key}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            load.app,
            load.addr,
            load.token,
            body.len()
        );
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let find = |text: &str| {
            bytes.windows(text.len()).position(|w| w == text.as_bytes()).map(|at| at + text.len())
        };
        let channel = find(r#""channels":["c"#).map(|at| (at, load.channels));
        let key_at = load.idempotency.then(|| find(BLANK_ID)).flatten();
        let key_at = key_at.map(|end| end - BLANK_ID.len());
        let mark_at = mark::position(&bytes).context("the payload has no mark")?;
        Ok(Self { run: load.run, mark_at, channel, key_at, signature: None, bytes })
    }

    /// A request as GitHub sends it.
    fn event(load: &Load, path: &str) -> Result<Self> {
        let body = mark::payload(load.payload);
        let nonce = nonce()?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             user-agent: GitHub-Hookshot/044aadd\r\nx-github-event: push\r\n\
             x-github-delivery: {nonce:016x}-{BLANK_ID}\
             {SIGNATURE}{:064}\r\ncontent-length: {}\r\n\r\n",
            load.addr,
            0,
            body.len()
        );
        let find = |text: &str| head.find(text).map(|at| at + text.len());
        let at = find(SIGNATURE).context("no signature")?;
        let key_at = find(BLANK_ID).map(|end| end - BLANK_ID.len());
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = Some(Signature { key, at, body_at: head.len() });
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let mark_at = mark::position(&bytes).context("the payload has no mark")?;
        Ok(Self { run: load.run, mark_at, channel: None, key_at, signature, bytes })
    }

    fn stamp(&mut self, seq: u32, sent: u64) {
        mark::stamp(&mut self.bytes, self.mark_at, Mark { run: self.run, seq, sent });
        if let Some((at, channels)) = self.channel
            && let Some(place) = self.bytes.get_mut(at..at + CHANNEL_DIGITS)
        {
            mark::digits(place, u64::from(seq) % channels.max(1) as u64);
        }
        if let Some(at) = self.key_at
            && let Some(place) = self.bytes.get_mut(at..at + 10)
        {
            mark::digits(place, u64::from(seq));
        }
        if let Some(signature) = &self.signature {
            signature.write(&mut self.bytes);
        }
    }
}

impl Signature {
    /// Signs the body of a request, in place.
    fn write(&self, request: &mut [u8]) {
        let tag = hmac::sign(&self.key, request.get(self.body_at..).unwrap_or_default());
        let places = request.get_mut(self.at..).unwrap_or_default().chunks_exact_mut(2);
        let digit =
            |value: u8| b"0123456789abcdef".get(usize::from(value)).copied().unwrap_or(b'0');
        for (place, byte) in places.zip(tag.as_ref()) {
            place.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn nonce() -> Result<u64> {
    getrandom::u64().ok().context("no random bytes")
}

/// A key no earlier run has used: a server may remember keys for hours.
fn idempotency_key() -> Result<String> {
    Ok(format!("idempotency-key: auto_{:016x}-{BLANK_ID}", nonce()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            addr: ([127, 0, 0, 1], 8071).into(),
            token: "t".into(),
            app: "app_1".into(),
            door: None,
            run: 5,
            payload: 300,
            connections: 1,
            rate: None,
            messages: 1,
            limit: Duration::from_secs(1),
            channels: 0,
            idempotency: false,
            lean: false,
            large: None,
        }
    }

    fn stamped(load: &Load, seq: u32) -> (String, serde_json::Value) {
        let mut template = Template::new(load).expect("a template");
        template.stamp(seq, 77);
        let head = wire::head(&template.bytes).expect("framing").expect("a head");
        assert_eq!(wire::whole(head, &template.bytes), Ok(Some(template.bytes.len())));
        let (head, body) = template.bytes.split_at(head.len);
        assert_eq!(mark::find(body), Some(Mark { run: 5, seq, sent: 77 }));
        let body = serde_json::from_slice(body).expect("JSON");
        (String::from_utf8(head.to_vec()).expect("ASCII"), body)
    }

    #[test]
    fn a_request_is_whole_and_stamped() {
        let (head, body) = stamped(&load(), 1234);
        assert!(head.starts_with("POST /api/v1/app/app_1/msg HTTP/1.1\r\n"), "{head}");
        assert_eq!(body["eventType"], "bench.sent");
        assert_eq!(body.get("channels"), None);
        assert_eq!(body["payload"].to_string().len(), 300);
    }

    #[test]
    fn an_event_is_signed_as_github_signs() {
        let load = Load { door: Some("/in/s/t".into()), ..load() };
        let (head, body) = stamped(&load, 1234);
        assert!(head.starts_with("POST /in/s/t HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("-0000001234\r\n"), "{head}");
        assert_eq!(body.to_string().len(), 300);
        let mut template = Template::new(&load).expect("a template");
        template.stamp(1234, 77);
        let body_at = template.signature.as_ref().expect("a signature").body_at;
        let (head, body) = template.bytes.split_at(body_at);
        let headers = String::from_utf8(head.to_vec()).expect("ASCII");
        let signature = headers.split(SIGNATURE).nth(1).and_then(|rest| rest.get(..64));
        let tag: Vec<u8> = (0..32)
            .map(|n| {
                u8::from_str_radix(&signature.expect("hex")[2 * n..2 * n + 2], 16).expect("hex")
            })
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        hmac::verify(&key, body, &tag).expect("the signature of this body");
    }

    #[test]
    fn a_large_one_comes_after_so_many_others() {
        let load = Load { large: Some(Large { every: 3, bytes: 5000 }), ..load() };
        let mut templates = Templates::new(&load).expect("templates");
        let large: Vec<u32> =
            (0..9).filter(|seq| templates.pick(*seq).bytes.len() > 5000).collect();
        assert_eq!(large, [3, 7]);
    }

    #[test]
    fn channels_and_keys_follow_the_sequence() {
        let load = Load { channels: 100, idempotency: true, lean: true, ..load() };
        let (head, body) = stamped(&load, 1234);
        assert_eq!(body["channels"][0], channel(34));
        assert!(head.contains("-0000001234\r\n"), "{head}");
        assert!(head.contains("/msg?with_content=false "), "{head}");
    }
}
