//! One attempt from start to finish: check the URL, resolve and vet, connect, sign, send, read
//! the answer, say what it means.
//!
//! Used by the scheduler's worker threads through [`Deliverer`]; the API asks [`check_url`] and
//! [`check_custom_header`] before it takes an endpoint. Nothing here knows about the store, about
//! schedules or about time: the timestamp comes with the [`Job`].
//!
//! The HTTP client (ureq) parses, writes and pools. Everything that touches the network is ours:
//! `connect` dials, `wire` is the connection, `trace` holds the deadline, so that no receiver can
//! hold a thread longer than the timeout or make it keep more than a few KiB.

mod attempt;
mod classify;
mod cloud_event;
mod connect;
#[cfg(test)]
pub(crate) mod fuzzed;
mod guard;
mod headers;
mod oauth;
mod proxy;
mod resolver;
mod route;
mod socket;
mod tls;
mod tokens;
mod trace;
mod url;
mod wire;

#[cfg(test)]
mod tests;

pub use attempt::{Deliverer, DeliveryConfig, Job, MAX_ANSWER_FIELDS};
pub use classify::MAX_RETRY_AFTER;
pub use cloud_event::{Wrapped, wrap};
pub use guard::{AddressPolicy, Cidr, Refused};
pub use headers::{HeaderProblem, MAX_HEADER_NAME, MAX_HEADER_VALUE, check_custom_header};
pub use oauth::Client;
pub use proxy::{Proxy, ProxyError};
pub use resolver::{Lookup, SystemLookup};
pub use tls::{Trust, TrustError};
pub use url::{MAX_URL, UrlProblem, check_url, host_of, says_itself};
