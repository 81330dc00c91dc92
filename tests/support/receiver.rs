//! A receiver of webhooks on a free port of the loopback that keeps a ledger of all that arrives.
//! How it behaves (answers 500, takes its time) is a policy that can be changed while it runs.
use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::Chance;
use super::http::Head;

/// One request that arrived.
#[derive(Clone)]
pub struct Arrival {
    /// The message it carries.
    pub id: String,
    pub arrived: Instant,
    /// When the answer was written; none yet, or never.
    pub answered: Option<Instant>,
    pub status: u16,
}

/// How often a request is answered with 500, and how often late.
#[derive(Clone, Copy, Default)]
pub struct Policy {
    pub fail_percent: u64,
    /// A message gets no more than this many 500s, so that its retry schedule is never used up.
    pub fails_per_message: u32,
    pub slow_percent: u64,
    pub slow_max: Duration,
}

/// What arrived, in order of arrival.
#[derive(Default)]
pub struct Ledger {
    pub arrivals: Vec<Arrival>,
    /// Payload bytes differ between two deliveries of one message: always a fault.
    pub changed: Vec<String>,
    fails: HashMap<String, u32>,
    successes: HashMap<String, u32>,
    digests: HashMap<String, u64>,
}

impl Ledger {
    /// How often this message was answered with 200.
    pub fn successes(&self, id: &str) -> u32 {
        self.successes.get(id).copied().unwrap_or(0)
    }

    /// The digest (`fnv`) of the payload that arrived for this message.
    pub fn digest(&self, id: &str) -> Option<u64> {
        self.digests.get(id).copied()
    }
}

struct Shared {
    policy: Mutex<Policy>,
    ledger: Mutex<Ledger>,
    arrived: Condvar,
    seed: u64,
    connections: AtomicU64,
}

/// The receiver; its threads end with the process.
#[derive(Clone)]
pub struct Receiver {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start(seed: u64, policy: Policy) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            policy: Mutex::new(policy),
            ledger: Mutex::default(),
            arrived: Condvar::new(),
            seed,
            connections: AtomicU64::new(0),
        });
        let receiver = Self { port, shared };
        let accepting = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = accepting.clone();
                // An error is the end of that connection, which is the daemon's to bear.
                std::thread::spawn(move || drop(serving.serve(stream)));
            }
        });
        Ok(receiver)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn set_policy(&self, policy: Policy) {
        *self.shared.policy.lock().unwrap() = policy;
    }

    /// Looks into the ledger.
    pub fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.shared.ledger.lock().unwrap())
    }

    /// Forgets what arrived so far.
    pub fn clear(&self) {
        *self.shared.ledger.lock().unwrap() = Ledger::default();
    }

    /// Waits until the ledger satisfies `done`, asking at each arrival, for at most `limit`.
    pub fn wait(&self, limit: Duration, mut done: impl FnMut(&Ledger) -> bool) -> bool {
        let ledger = self.shared.ledger.lock().unwrap();
        let (ledger, _) =
            self.shared.arrived.wait_timeout_while(ledger, limit, |ledger| !done(ledger)).unwrap();
        done(&ledger)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let mut chance = Chance::new(self.shared.seed, 1_000 + number);
        let mut stream = BufReader::new(stream);
        loop {
            let head = Head::read(&mut stream)?;
            let arrived = Instant::now();
            let body = head.read_body(&mut stream)?;
            let id = head.field("webhook-id").unwrap_or("(no webhook-id)").to_owned();
            let (place, status, delay) = self.enter(id.clone(), arrived, &body, &mut chance);
            if !delay.is_zero() {
                // sleep: not a wait for something; being slow is what is played here.
                std::thread::sleep(delay);
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
            stream.get_mut().write_all(answer.as_bytes())?;
            let mut ledger = self.shared.ledger.lock().unwrap();
            // After `clear` the place is gone, or another's.
            if let Some(arrival) = ledger.arrivals.get_mut(place).filter(|one| one.id == id) {
                arrival.answered = Some(Instant::now());
            }
            if status == 200 {
                *ledger.successes.entry(id).or_default() += 1;
            }
            drop(ledger);
            self.shared.arrived.notify_all();
        }
    }

    /// Puts the arrival into the ledger and decides its answer.
    fn enter(
        &self,
        id: String,
        arrived: Instant,
        body: &[u8],
        chance: &mut Chance,
    ) -> (usize, u16, Duration) {
        let policy = *self.shared.policy.lock().unwrap();
        let mut ledger = self.shared.ledger.lock().unwrap();
        let digest = fnv(body);
        if *ledger.digests.entry(id.clone()).or_insert(digest) != digest {
            ledger.changed.push(id.clone());
        }
        let fails = ledger.fails.entry(id.clone()).or_default();
        let status = if *fails < policy.fails_per_message && chance.percent(policy.fail_percent) {
            *fails += 1;
            500
        } else {
            200
        };
        let slow = chance.percent(policy.slow_percent);
        let most = u64::try_from(policy.slow_max.as_millis()).unwrap_or(u64::MAX - 1);
        let delay = if slow { chance.between(0, most) } else { 0 };
        ledger.arrivals.push(Arrival { id, arrived, answered: None, status });
        (ledger.arrivals.len() - 1, status, Duration::from_millis(delay))
    }
}

/// A digest to tell payloads apart (FNV-1a, 64 bits).
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}
