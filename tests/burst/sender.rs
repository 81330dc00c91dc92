//! Senders of signed events: as a provider does, each event is sent until it has an answer.
use std::collections::HashMap;
use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ring::hmac;

use super::support::Chance;
use super::support::http::Head;

pub const SECRET: &str = "wh_live_8f2c11";

/// No answer for this long is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many of a hundred events are sent again at once.
const DUPLICATES: u64 = 10;

/// The body of an event.
pub fn body(event: u64) -> Vec<u8> {
    let pad = "x".repeat(usize::try_from(event % 400).unwrap());
    format!("{{\"ref\":\"refs/heads/main\",\"number\":{event},\"pad\":\"{pad}\"}}").into_bytes()
}

/// A signed request, whole.
fn request(path: &str, event: u64) -> Vec<u8> {
    let body = body(event);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let mac = hmac::sign(&key, &body);
    let hex: Vec<String> = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
         user-agent: GitHub-Hookshot/044aadd\r\nx-github-event: push\r\n\
         x-github-delivery: 72d3162e-cc78-11e3-81ab-{event:012}\r\n\
         x-hub-signature-256: sha256={}\r\ncontent-length: {}\r\n\r\n",
        hex.concat(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}

/// Requests made beforehand: to the door, or with a token as messages of the same size.
pub fn requests(path: &str, events: u64, token: Option<&str>) -> Vec<Vec<u8>> {
    let message = |token: &str, event: u64| {
        let payload = String::from_utf8(body(event)).unwrap();
        let body = format!("{{\"eventType\":\"push\",\"payload\":{payload}}}");
        format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    (0..events)
        .map(|event| match token {
            Some(token) => message(token, event),
            None => request(path, event),
        })
        .collect()
}

/// One connection.
struct Wire(BufReader<TcpStream>);

struct Answered {
    status: u16,
    message: Option<String>,
    repeated: bool,
}

impl Wire {
    fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, request: &[u8]) -> io::Result<Answered> {
        self.0.get_mut().write_all(request)?;
        let head = Head::read(&mut self.0)?;
        head.read_body(&mut self.0)?;
        let status = head.first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let message = head.field("posthaste-message").map(str::to_owned);
        Ok(Answered { status, message, repeated: head.field("posthaste-repeated").is_some() })
    }
}

/// What sending all of them took.
pub struct Sent {
    pub took: Duration,
    pub spread: String,
}

/// Sends every request once over so many connections; anything but a 2xx is an error.
pub fn send_all(port: u16, clients: u64, requests: &[Vec<u8>]) -> Result<Sent, String> {
    let next = AtomicU64::new(0);
    let times = Mutex::new(Vec::with_capacity(requests.len()));
    let begun = Instant::now();
    let work = || -> Result<(), String> {
        let mut wire = Wire::connect(port).map_err(|error| error.to_string())?;
        let mut mine = Vec::new();
        loop {
            let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
            let Some(request) = requests.get(at) else { break };
            let begun = Instant::now();
            let answer = wire.send(request).map_err(|error| error.to_string())?;
            mine.push(begun.elapsed());
            if !(200..300).contains(&answer.status) {
                return Err(format!("request {at} was answered with {}", answer.status));
            }
        }
        times.lock().unwrap().extend(mine);
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "panicked")?)
    })?;
    let took = begun.elapsed();
    Ok(Sent { took, spread: spread(times.into_inner().unwrap()) })
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    let last = times.last().copied().unwrap_or_default();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!("p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms", ms(at(50)), ms(at(99)), ms(last))
}

#[derive(Default)]
struct State {
    port: Option<u16>,
    /// Event → the message it was answered with.
    answered: HashMap<u64, String>,
    times: Vec<Duration>,
    requests: u64,
    repeated: u64,
    fault: Option<String>,
}

/// What the senders share.
pub struct Stage {
    path: String,
    events: u64,
    seed: u64,
    next: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Stage {
    pub fn new(path: String, events: u64, seed: u64) -> Arc<Self> {
        let (next, state, changed) = (AtomicU64::new(0), Mutex::default(), Condvar::new());
        Arc::new(Self { path, events, seed, next, state, changed })
    }

    pub fn open(&self, port: u16) {
        self.state.lock().unwrap().port = Some(port);
        self.changed.notify_all();
    }

    pub fn close(&self) {
        self.state.lock().unwrap().port = None;
    }

    pub fn port(&self) -> Option<u16> {
        self.state.lock().unwrap().port
    }

    pub fn ledger(&self) -> Vec<(u64, String)> {
        let state = self.state.lock().unwrap();
        state.answered.iter().map(|(event, message)| (*event, message.clone())).collect()
    }

    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap();
        (state.requests, state.repeated)
    }

    pub fn spread(&self) -> String {
        spread(self.state.lock().unwrap().times.clone())
    }

    /// Waits until so many events have an answer.
    pub fn wait_for(&self, count: u64, limit: Duration) -> Result<(), String> {
        let state = self.state.lock().unwrap();
        let waiting =
            |state: &mut State| state.fault.is_none() && (state.answered.len() as u64) < count;
        let (state, timeout) = self.changed.wait_timeout_while(state, limit, waiting).unwrap();
        match &state.fault {
            Some(fault) => Err(fault.clone()),
            None if timeout.timed_out() => {
                Err(format!("{count} events have no answer after {limit:?}"))
            }
            None => Ok(()),
        }
    }

    pub fn start(self: &Arc<Self>, clients: u64) -> Vec<JoinHandle<Result<(), String>>> {
        let start = |number| {
            let stage = Arc::clone(self);
            std::thread::spawn(move || {
                let outcome = stage.work(number);
                if let Err(fault) = &outcome {
                    stage.state.lock().unwrap().fault = Some(fault.clone());
                    stage.changed.notify_all();
                }
                outcome
            })
        };
        (0..clients).map(start).collect()
    }

    fn work(&self, number: u64) -> Result<(), String> {
        let mut chance = Chance::new(self.seed, 100 + number);
        let mut wire = None;
        loop {
            let event = self.next.fetch_add(1, Ordering::Relaxed);
            if event >= self.events {
                return Ok(());
            }
            self.deliver(event, &mut wire)?;
            if chance.percent(DUPLICATES) {
                self.deliver(event, &mut wire)?;
            }
        }
    }

    /// Sends an event until it has an answer, as a provider does.
    fn deliver(&self, event: u64, wire: &mut Option<Wire>) -> Result<(), String> {
        let request = request(&self.path, event);
        loop {
            let open = match wire.take() {
                Some(open) => open,
                None => match Wire::connect(self.wait_for_port()?) {
                    Ok(open) => open,
                    // The daemon is gone again; the next port is waited for.
                    Err(_) => continue,
                },
            };
            let mut open = open;
            let begun = Instant::now();
            let Ok(answer) = open.send(&request) else { continue };
            let took = begun.elapsed();
            *wire = Some(open);
            match answer.status {
                200..300 => return self.note(event, answer, Some(took)),
                // What it will get over is sent again.
                429 | 503 => {}
                other => return Err(format!("event {event} was answered with {other}")),
            }
        }
    }

    fn note(&self, event: u64, answer: Answered, took: Option<Duration>) -> Result<(), String> {
        let message = answer.message.ok_or("an accepted event names no message")?;
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        state.repeated += u64::from(answer.repeated);
        state.times.extend(took);
        let known = state.answered.get(&event).cloned();
        if let Some(known) = known {
            if known != message {
                return Err(format!("event {event} became {known} and then {message}"));
            }
            if !answer.repeated {
                return Err(format!("event {event} was not recognised when it came again"));
            }
        } else {
            state.answered.insert(event, message);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn wait_for_port(&self) -> Result<u16, String> {
        let state = self.state.lock().unwrap();
        let waiting = |state: &mut State| state.port.is_none() && state.fault.is_none();
        let (state, _) = self.changed.wait_timeout_while(state, PATIENCE, waiting).unwrap();
        state.port.ok_or_else(|| "the daemon did not come back".to_owned())
    }

    /// Sends events again that were acknowledged before: each has to be recognised.
    pub fn again(&self, port: u16, count: usize) -> Result<(), String> {
        let mut known = self.ledger();
        known.sort_unstable();
        let step = (known.len() / count).max(1);
        let mut wire = Wire::connect(port).map_err(|error| error.to_string())?;
        for (event, _) in known.into_iter().step_by(step).take(count) {
            let answer = wire.send(&request(&self.path, event));
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status != 200 {
                return Err(format!("event {event}, sent again: {}", answer.status));
            }
            self.note(event, answer, None)?;
        }
        Ok(())
    }
}
