//! The least and the most each number of the configuration may be.
//!
//! [`super::meaning`] enforces them, `data/posthaste.toml` names them, and a test in
//! [`super::meaning`] tries each one at the limit and one step past it. A limit here keeps a daemon
//! from being told something that cannot work; it is not advice.
use std::ops::RangeInclusive;
use std::time::Duration;

/// `server.max_payload` in bytes. A payload lives in memory once per message on its way.
pub const MAX_PAYLOAD: RangeInclusive<u64> = 1..=8 << 20;
/// `server.max_connections`. More than a million sockets is a mistake in the units.
pub const MAX_CONNECTIONS: RangeInclusive<u32> = 1..=1_000_000;
/// `server.header_timeout`.
pub const HEADER_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=minutes(5);
/// `server.body_timeout`.
pub const BODY_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=minutes(60);
/// `server.shutdown_grace`. Zero cuts running attempts short at once; they are due again.
pub const SHUTDOWN_GRACE: RangeInclusive<Duration> = Duration::ZERO..=minutes(60);
/// `storage.retention`. The most is a hundred years, which is for ever and still adds to a date.
pub const RETENTION: RangeInclusive<Duration> = Duration::from_secs(1)..=days(36_500);
/// `storage.max_size` in bytes, unless it is 0 for no limit.
pub const MAX_SIZE: RangeInclusive<u64> = 1 << 20..=64 << 40;
/// `storage.cache` in bytes. Less than a megabyte does not hold the upper levels of the trees.
pub const CACHE: RangeInclusive<u64> = 1 << 20..=64 << 30;
/// `storage.min_free` in bytes.
pub const MIN_FREE: RangeInclusive<u64> = 0..=1 << 40;
/// How many waits `delivery.retry_schedule` may hold.
pub const RETRY_WAITS: usize = 50;
/// Each wait of `delivery.retry_schedule`.
pub const RETRY_WAIT: RangeInclusive<Duration> = Duration::ZERO..=days(7);
/// `delivery.timeout`.
pub const DELIVERY_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=minutes(10);
/// `delivery.max_in_flight`. Each attempt is a thread of about 50 KB.
pub const MAX_IN_FLIGHT: RangeInclusive<u32> = 1..=8_192;
/// `delivery.per_endpoint_in_flight`.
pub const PER_ENDPOINT_IN_FLIGHT: RangeInclusive<u32> = 1..=8_192;
/// How many ranges `delivery.allow_networks` may hold; each address is compared with all of them.
pub const ALLOW_NETWORKS: usize = 256;
/// Bytes in the configuration file. The default, comments included, has about 10 KiB.
pub const CONFIG_FILE: u64 = 1 << 20;

/// A `server.jwt_secret` shorter than this can be guessed offline; RFC 7518 section 3.2 asks for as
/// many bytes as the hash has. Shorter ones are a warning, not a problem.
pub const JWT_SECRET_ADVISED: usize = 32;

const MILLISECOND: Duration = Duration::from_millis(1);

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
