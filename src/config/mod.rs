//! The daemon's configuration: what was written becomes what is meant, with every problem at once.
//!
//! [`load::load`] lays flags over `POSTHASTE_*` variables over the file over the built-in default
//! and returns a [`Config`], where each value came from, and the warnings. The way of a value:
//! [`raw`] (what was written, and where) → [`meaning`] (one key to one field, within [`limits`]) →
//! [`checks`] (keys against each other) → [`show`] (for `config show`). [`watch`] says when the
//! files have changed.
//!
//! The daemon and the command line call this module. Nothing here opens the store, binds a port or
//! changes a running daemon, and nothing but [`load::from_process_env`] reads the environment.
pub mod checks;
pub mod limits;
pub mod load;
pub mod meaning;
pub mod network;
pub mod problem;
pub mod raw;
pub mod secret;
pub mod show;
pub mod units;
pub mod watch;

use network::Network;
use secret::{MasterKey, Secret};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything the daemon can be told. Each field is described, with its default, unit, limit and
/// what goes wrong, in `data/posthaste.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The HTTP side.
    pub server: Server,
    /// The store.
    pub storage: Storage,
    /// Sending to endpoints.
    pub delivery: Delivery,
    /// Receiving from elsewhere.
    pub inbound: Inbound,
    /// The web console.
    pub console: Console,
    /// What the daemon writes about itself.
    pub log: Log,
}

/// Section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Signs and checks tokens; `None` means the file `jwt-secret` in the data folder.
    pub jwt_secret: Option<Secret>,
    /// Largest payload of a message, in bytes.
    pub max_payload: u64,
    /// Open connections; one more waits or is closed.
    pub max_connections: u32,
    /// Time for a request's headers to arrive.
    pub header_timeout: Duration,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// How long a stop waits for running attempts.
    pub shutdown_grace: Duration,
    /// Encrypts secrets at rest; `None` leaves them to the file system's rights.
    pub encryption_key: Option<MasterKey>,
    /// The key before a rotation: read with, never written with.
    pub encryption_key_old: Option<MasterKey>,
    /// How the outside world reaches this daemon, without a slash at the end.
    pub public_url: Option<String>,
}

/// Section `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The data folder. A relative path counts from the working directory.
    pub path: PathBuf,
    /// What an acknowledgement survives.
    pub sync: Sync,
    /// How long messages are kept.
    pub retention: Duration,
    /// Largest size of the data folder in bytes; `None` means no limit.
    pub max_size: Option<u64>,
    /// The store's cache in bytes.
    pub cache: u64,
    /// Free bytes on the disk below which nothing more is accepted; 0 switches the check off.
    pub min_free: u64,
}

/// Section `[delivery]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The waits between attempts, before jitter. Empty means one attempt.
    pub retry_schedule: Vec<Duration>,
    /// One attempt from the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// Attempts at the same time, in all. Each is a thread.
    pub max_in_flight: u32,
    /// Attempts at the same time to one endpoint.
    pub per_endpoint_in_flight: u32,
    /// Ranges that the address guard lets through although they are not public.
    pub allow_networks: Vec<Network>,
    /// Whether endpoints must be `https`.
    pub https_only: bool,
    /// Proxy for all deliveries. May hold a password, hence a secret.
    pub proxy: Option<Secret>,
    /// Certificates of further authorities that receivers may have theirs from, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key for receivers that ask for one, PEM.
    pub client_cert_file: Option<PathBuf>,
    /// The signature of an endpoint made without a choice of its own.
    pub default_signature: Signature,
}

/// Section `[inbound]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// A folder whose event files are accepted as messages.
    pub spool: Option<PathBuf>,
}

/// Section `[console]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Whether the web console is served.
    pub enabled: bool,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// What an acknowledgement survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// A power cut: each group of commits is on the disk before it is acknowledged.
    Disk,
    /// A killed process, but not a power cut: the operating system holds the data.
    Os,
}

/// How deliveries are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// HMAC-SHA256 with a shared secret (`v1`).
    Hmac,
    /// Ed25519 with a key pair (`v1a`).
    Ed25519,
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what stops something from working.
    Error,
    /// And what will, if nobody looks.
    Warn,
    /// And what an operator wants to know.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And everything else.
    Trace,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A value that is one of a few words.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its value, in the order they are offered.
    const ALL: &'static [(&'static str, Self)];

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

impl Choice for Sync {
    const ALL: &'static [(&'static str, Self)] = &[("disk", Self::Disk), ("os", Self::Os)];
}

impl Choice for Signature {
    const ALL: &'static [(&'static str, Self)] =
        &[("hmac", Self::Hmac), ("ed25519", Self::Ed25519)];
}

impl Choice for LogLevel {
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// Where the data lies when nobody says anything, counted from the working directory.
pub const DEFAULT_STORAGE_PATH: &str = "./posthaste-data";

impl Config {
    /// The configuration of a daemon that was told nothing. Equal to `data/posthaste.toml` by test.
    pub fn builtin() -> Self {
        let (second, minute, hour) = (1, 60, 3_600);
        Self {
            server: Server {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8071)),
                jwt_secret: None,
                max_payload: 256 << 10,
                max_connections: 10_000,
                header_timeout: Duration::from_secs(10 * second),
                body_timeout: Duration::from_secs(30 * second),
                shutdown_grace: Duration::from_secs(20 * second),
                encryption_key: None,
                encryption_key_old: None,
                public_url: None,
            },
            storage: Storage {
                path: PathBuf::from(DEFAULT_STORAGE_PATH),
                sync: Sync::Disk,
                retention: Duration::from_secs(90 * 24 * hour),
                max_size: None,
                cache: 16 << 20,
                min_free: 64 << 20,
            },
            delivery: Delivery {
                retry_schedule: [
                    5 * second,
                    5 * minute,
                    30 * minute,
                    2 * hour,
                    5 * hour,
                    10 * hour,
                    10 * hour,
                ]
                .map(Duration::from_secs)
                .to_vec(),
                timeout: Duration::from_secs(15 * second),
                max_in_flight: 512,
                per_endpoint_in_flight: 16,
                allow_networks: Vec::new(),
                https_only: false,
                proxy: None,
                ca_file: None,
                client_cert_file: None,
                default_signature: Signature::Hmac,
            },
            inbound: Inbound { spool: None },
            console: Console { enabled: true },
            log: Log { level: LogLevel::Info, format: LogFormat::Text },
        }
    }
}
