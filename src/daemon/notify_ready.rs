//! Telling systemd that we are ready, alive, stopping (`Type=notify`, `WatchdogSec=`).
//!
//! Protocol: `sd_notify(3)`, datagrams to the socket named by `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Requests are answered.
pub(super) fn ready() {
    send("READY=1");
}

/// The end has begun.
pub(super) fn stopping() {
    send("STOPPING=1");
}

/// Still alive.
pub(super) fn alive() {
    send("WATCHDOG=1");
}

/// How often systemd wants to hear that we are alive: half of what it set.
pub(super) fn watchdog_period() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros / 2))
}

fn send(message: &str) {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
    });
    if let Err(err) = sent {
        tracing::warn!(%err, message, "systemd could not be told");
    }
}
