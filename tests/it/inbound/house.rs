//! The real door on a free port, over a real store whose clock the test holds.
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste::api::auth::{self, DEFAULT_ORG, Secret, Subject};
use posthaste::api::serve::{ServeLimits, serve};
use posthaste::api::{Api, ApiSettings};
use posthaste::delivery::AddressPolicy;
use posthaste::model::application::Application;
use posthaste::model::clock::{Clock, Timestamp};
use posthaste::model::id::{MessageId, OrgId};
use posthaste::model::source::{Source, SourceSecret};
use posthaste::scheduler::shell::Board;
use posthaste::store::messages::Payload;
use posthaste::store::{Options, Store, Sync};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// No answer for this long is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that stands still until it is set.
#[derive(Default)]
pub struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// An answer, its body as text and, if it is that, as JSON.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The message the event became.
    #[track_caller]
    pub fn message(&self) -> MessageId {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        self.header("posthaste-message").expect("a message").parse().unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The house. Stops when it is dropped.
pub struct House {
    pub store: Arc<Store>,
    pub address: SocketAddr,
    pub clock: Arc<Hands>,
    pub api: Arc<Api>,
    runtime: Runtime,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    folder: TempDir,
}

/// What stands for the limits of a daemon, short enough to be waited for.
pub fn limits() -> ServeLimits {
    ServeLimits {
        max_connections: 200,
        header_timeout: Duration::from_secs(2),
        body_timeout: Duration::from_secs(2),
        grace: Duration::from_secs(1),
    }
}

impl House {
    pub fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap(), Arc::default())
    }

    fn on(folder: TempDir, clock: Arc<Hands>) -> Self {
        if clock.now().0 == 0 {
            clock.0.store(1_790_000_000_000, Ordering::Relaxed);
        }
        let options = Options {
            path: folder.path().join("store"),
            sync: Sync::Os,
            cache: 1 << 20,
            retention: Duration::from_secs(90 * 24 * 3600),
            min_free: 0,
            max_size: 0,
            keys: posthaste::store::Keys::default(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Box::new(|buffer| getrandom::fill(buffer).unwrap()),
            threaded: true,
            answers: None,
        };
        let store = Arc::new(Store::open(options, Box::new(drop)).unwrap());
        let settings = ApiSettings {
            jwt_secret: Secret::from_text("a secret of enough bytes", "test").unwrap(),
            max_payload: 64 * 1024,
            https_only: false,
            policy: AddressPolicy::default(),
            ed25519_by_default: false,
            base_url: "https://hooks.example.com".to_owned(),
        };
        let api = Arc::new(Api::new(Arc::clone(&store), Arc::new(Board::default()), settings));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = Arc::clone(&api);
        runtime.spawn(serve(listener, served, limits(), async move { drop(stopped.await) }));
        Self { store, address, clock, api, runtime, stop: Some(stop), folder }
    }

    /// Closes everything and opens it again on the same folder.
    pub fn restart(mut self) -> Self {
        drop(self.stop.take());
        self.store.close().unwrap();
        let Self { store, api, runtime, folder, clock, .. } = self;
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(api);
        assert_eq!(Arc::strong_count(&store), 1, "somebody still holds the store");
        drop(store);
        Self::on(folder, clock)
    }

    pub fn set_clock(&self, seconds: u64) {
        self.clock.0.store(seconds * 1000, Ordering::Relaxed);
    }

    /// An operator's token.
    pub fn token(&self) -> String {
        let subject = Subject::Org(DEFAULT_ORG.to_owned());
        let secret = Secret::from_text("a secret of enough bytes", "test").unwrap();
        auth::mint(&secret, &subject, self.clock.now().seconds(), Duration::from_secs(600))
    }

    /// Makes an application and a source that delivers to it.
    pub fn source(
        &self,
        provider: &str,
        secrets: &[String],
        change: impl FnOnce(&mut Source) + Send + 'static,
    ) -> Arc<Source> {
        let provider = provider.to_owned();
        let secrets = secrets.iter().cloned().map(SourceSecret).collect();
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let token = random.map(|byte| format!("{byte:02x}")).concat();
        self.store
            .write_and_wait(move |writer| {
                let (org, now) = (OrgId::default_org(), writer.now());
                let app = writer.put_application(Application {
                    name: "in".to_owned(),
                    ..Application::new(writer.new_application_id(), org, now)
                })?;
                let mut source = Source::new(writer.new_source_id(), org, app.id, token, now);
                source.provider = provider;
                source.secrets = secrets;
                change(&mut source);
                posthaste::inbound::check(&source, posthaste::signature::Providers::builtin())
                    .expect("a sound source");
                writer.put_source(source)
            })
            .unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request with exactly these headers and bytes.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Got {
        let mut stream = self.connect();
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let named = |wanted: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(wanted));
        if !named("host") {
            head.extend_from_slice(b"host: not-to-be-trusted.example\r\n");
        }
        for (name, value) in headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        head.extend_from_slice(body);
        stream.write_all(&head).unwrap();
        read(stream).expect("an answer")
    }

    /// An event at a source's door.
    pub fn post(&self, source: &Source, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.send("POST", &source.path(), &owned(headers), body)
    }

    /// A request to the API as an operator.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Got {
        let token = format!("Bearer {}", self.token());
        let headers = owned(&[("authorization", &token), ("content-type", "application/json")]);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &headers, body.as_bytes())
    }

    /// The payload as it is kept.
    pub fn payload(&self, source: &Source, id: MessageId) -> Vec<u8> {
        match self.store.message(source.app, id).unwrap().expect("kept").1 {
            Payload::Here(bytes) => bytes.to_vec(),
            Payload::Gone => panic!("{id} has no payload"),
        }
    }

    /// How many messages the source's application has.
    pub fn count(&self, source: &Source) -> usize {
        use posthaste::store::pages::Range;
        let range = Range { after: None, before: None, descending: false, limit: 1000 };
        self.store.page_of_messages(source.app, &range, false, |_| true).unwrap().rows.len()
    }

    /// The reason codes of what was refused, newest first; there must be `count` at least.
    pub fn refused(&self, source: &Source, count: usize) -> Vec<String> {
        // They are written without anybody waiting for them, but in order: a write behind them
        // that is waited for takes them along.
        self.store.write_and_wait(|_| Ok(())).unwrap();
        let found = self.store.refused(source.id).unwrap();
        assert!(found.len() >= count, "{} refused requests are kept", found.len());
        found.into_iter().map(|(_, refused)| refused.code).collect()
    }
}

pub fn owned(headers: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect()
}

/// Reads one answer; an error when the connection ends before there is one.
pub fn read(stream: TcpStream) -> std::io::Result<Got> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).or_else(|err| if length == 0 { Ok(()) } else { Err(err) })?;
    Ok(Got { status, headers, body })
}
