//! From the configuration to what each part of the house wants to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::api::ApiSettings;
use crate::api::auth::Secret;
use crate::api::serve::ServeLimits;
use crate::config::secret::read_file;
use crate::config::{Config, LogFormat, LogLevel, Signature, Sync};
use crate::delivery::{AddressPolicy, Cidr, Deliverer, DeliveryConfig, Trust};
use crate::inbound::Confirm;
use crate::model::clock::SystemClock;
use crate::model::retry::RetrySchedule;
use crate::scheduler::Settings;
use crate::scheduler::core::Limits;
use crate::store::{Keys, Options};

/// Makes the data folder, readable by its owner alone. An empty one that is there, as installers
/// make it, is closed to others; one that has been open to them with something in it is refused, for
/// nobody knows what they read or put there.
pub(super) fn make_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o7777;
    let by_others = mode & 0o007;
    if by_others == 0 {
        return Ok(());
    }
    // What others may delete in is no folder of ours: /tmp, for one.
    let is_shared = mode & 0o1000 != 0;
    if !is_shared && std::fs::read_dir(folder)?.next().is_none() {
        return Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?);
    }
    anyhow::bail!(
        "it is open to every user of this machine (mode {mode:04o}), and secrets lie in it: \
         run `chmod 700 {}`, or name a folder of its own (storage.path, --data)",
        folder.display()
    )
}

/// Confirms subscriptions through the guard that deliveries go through.
pub(super) struct Confirmer(pub(super) Arc<Deliverer>);

impl Confirm for Confirmer {
    fn confirm(&self, url: &str) -> Result<(), String> {
        self.0.fetch(url).map_err(|failure| failure.to_string())
    }
}

pub(super) fn secret(config: &Config, folder: &Path) -> anyhow::Result<Secret> {
    match &config.server.jwt_secret {
        Some(text) => Secret::from_text(text.reveal(), "server.jwt_secret"),
        None => Secret::load_or_create(folder),
    }
    .context("failed to get the secret that tokens are signed with")
}

/// What the store's secrets are sealed with.
pub fn keys(config: &Config) -> Keys {
    Keys {
        current: config.server.encryption_key.as_ref().map(|key| *key.reveal()),
        old: config.server.encryption_key_old.as_ref().map(|key| *key.reveal()),
    }
}

pub(super) fn store(config: &Config, path: PathBuf, http: &Handle) -> Options {
    let http = http.clone();
    Options {
        path,
        sync: match config.storage.sync {
            Sync::Disk => crate::store::Sync::Disk,
            Sync::Os => crate::store::Sync::Os,
        },
        cache: config.storage.cache,
        retention: config.storage.retention,
        min_free: config.storage.min_free,
        max_size: config.storage.max_size.unwrap_or(0),
        keys: keys(config),
        clock: Arc::new(SystemClock),
        entropy: Box::new(|buffer| {
            if let Err(err) = getrandom::fill(buffer) {
                // Ids without chance are still unique: they are made strictly increasing.
                tracing::error!(%err, "the system gives no random bytes");
            }
        }),
        threaded: true,
        // Most who wait are requests: woken from one of their own threads they cost one wake-up a
        // group rather than one each.
        answers: Some(Box::new(move |answers| {
            drop(http.spawn(async move { answers.into_iter().for_each(|answer| answer()) }));
        })),
    }
}

/// What may be dialled, by the operator's list.
pub(super) fn policy(config: &Config) -> anyhow::Result<AddressPolicy> {
    let mut allow = Vec::new();
    for network in &config.delivery.allow_networks {
        let text = network.to_string();
        let cidr: Cidr =
            text.parse().with_context(|| format!("delivery.allow_networks: {text}"))?;
        allow.push(cidr);
    }
    Ok(AddressPolicy { allow })
}

pub(super) fn delivery(config: &Config) -> anyhow::Result<DeliveryConfig> {
    let proxy = config.delivery.proxy.as_ref();
    Ok(DeliveryConfig {
        timeout: config.delivery.timeout,
        policy: policy(config)?,
        https_only: config.delivery.https_only,
        proxy: proxy.map(|p| p.reveal().parse()).transpose().context("delivery.proxy")?,
        trust: trust(config)?,
        idle_per_endpoint: usize::try_from(config.delivery.per_endpoint_in_flight)?,
    })
}

/// Largest file of `delivery.ca_file`, in bytes.
const CA_FILE_BYTES: u64 = 1024 * 1024;

/// Reads the files of certificates.
fn trust(config: &Config) -> anyhow::Result<Trust> {
    let delivery = &config.delivery;
    let extra_roots = delivery.ca_file.as_deref().map(|path| {
        read_certificates(path).with_context(|| {
            format!("delivery.ca_file: the file {} cannot be used", path.display())
        })
    });
    let client_identity = delivery.client_cert_file.as_deref().map(|path| {
        read_file(path).map(String::into_bytes).map_err(|fault| {
            anyhow::anyhow!("delivery.client_cert_file: {}; {}", fault.what, fault.way_out)
        })
    });
    Ok(Trust {
        extra_roots: extra_roots.transpose()?,
        client_identity: client_identity.transpose()?,
    })
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    std::fs::File::open(path)?.take(CA_FILE_BYTES + 1).read_to_end(&mut pem)?;
    anyhow::ensure!(pem.len() as u64 <= CA_FILE_BYTES, "it is larger than 1 MiB");
    Ok(pem)
}

pub(super) fn scheduler(config: &Config, deliverer: Arc<Deliverer>) -> Settings {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Settings {
        limits: Limits {
            max_in_flight: count(config.delivery.max_in_flight),
            per_endpoint: count(config.delivery.per_endpoint_in_flight),
            schedule: RetrySchedule(config.delivery.retry_schedule.clone()),
        },
        clock: Arc::new(SystemClock),
        deliverer,
    }
}

/// `address` is where it listens: the way in as long as nothing else is configured.
pub(super) fn api(config: &Config, jwt_secret: Secret, address: SocketAddr) -> ApiSettings {
    ApiSettings {
        jwt_secret,
        max_payload: usize::try_from(config.server.max_payload).unwrap_or(usize::MAX),
        https_only: config.delivery.https_only,
        policy: policy(config).unwrap_or_default(),
        ed25519_by_default: config.delivery.default_signature == Signature::Ed25519,
        base_url: match &config.server.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", dialled(address)),
        },
    }
}

/// An address that can be dialled for one that only says where to listen.
fn dialled(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

pub(super) fn serve_limits(config: &Config) -> ServeLimits {
    ServeLimits {
        max_connections: usize::try_from(config.server.max_connections).unwrap_or(usize::MAX),
        header_timeout: config.server.header_timeout,
        body_timeout: config.server.body_timeout,
        grace: config.server.shutdown_grace.min(Duration::from_secs(5)),
    }
}

/// Two are enough for most; more where there are more cores.
pub(super) fn http_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8)
}

/// Starts logging to stderr, as configured. Does nothing when something logs already.
pub(super) fn log(config: &Config) {
    let level = match config.log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match config.log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
