//! A receiver of webhooks on a free port: keeps what arrives, answers 500 as often as told to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde::{Deserialize, Serialize};

use crate::PATIENCE;

/// One request that arrived; header names in lower case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrival {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

#[derive(Default)]
struct Ledger {
    arrivals: Vec<Arrival>,
    failures: HashMap<String, u32>,
}

/// Its threads end with the process.
#[derive(Clone)]
pub struct Receiver {
    port: u16,
    shared: Arc<(Mutex<Ledger>, Condvar)>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let receiver = Self { port, shared: Arc::default() };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // The end of a connection is the daemon's business.
                std::thread::spawn(move || drop(serving.serve(stream)));
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next `times` requests to this path are answered with 500.
    pub fn fail(&self, path: &str, times: u32) {
        self.shared.0.lock().expect("no thread panics").failures.insert(path.to_owned(), times);
    }

    /// The `count`th arrival of a message.
    pub fn wait(&self, message: &str, count: usize) -> Arrival {
        let (ledger, changed) = &*self.shared;
        let those = |ledger: &Ledger| {
            let id = Some(message);
            let is = |one: &&Arrival| one.headers.get("svix-id").map(String::as_str) == id;
            ledger.arrivals.iter().filter(is).cloned().collect::<Vec<_>>()
        };
        let ledger = ledger.lock().expect("no thread panics");
        let (ledger, _) = changed
            .wait_timeout_while(ledger, PATIENCE, |ledger| those(ledger).len() < count)
            .expect("no thread panics");
        let those = those(&ledger);
        let number = those.len();
        those
            .into_iter()
            .nth(count - 1)
            .unwrap_or_else(|| panic!("{message} arrived {number} times, not {count}"))
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if stream.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut headers = HashMap::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line)?;
                let Some((name, value)) = line.split_once(':') else { break };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let length = headers.get("content-length").and_then(|text| text.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body)?;
            let body = String::from_utf8_lossy(&body).into_owned();
            let (ledger, changed) = &*self.shared;
            let mut ledger = ledger.lock().expect("no thread panics");
            let left = ledger.failures.entry(path.clone()).or_default();
            let status = if *left > 0 { 500 } else { 200 };
            *left = left.saturating_sub(1);
            ledger.arrivals.push(Arrival { path, headers, body });
            drop(ledger);
            changed.notify_all();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
            stream.get_mut().write_all(answer.as_bytes())?;
        }
    }
}
