//! Failed logins, counted for each address that makes them.
//!
//! Past [`FAILURES`] within [`WINDOW`] an address gets 429 for every token that is not known to be
//! good, unseen. Tokens that passed before still pass: whoever shares the address (a proxy, an
//! office) is not shut out by one bad neighbour.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;

/// Failures of one address within [`WINDOW`] that are answered as what they are.
pub const FAILURES: u32 = 30;
/// How long failures are remembered.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered at once; one more makes all be forgotten.
pub const MOST: usize = 4096;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Doors {
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Doors {
    /// How long this address has to wait, when it has failed too often.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.lock();
        let entry = failures.get(&neighbourhood(address))?;
        let left = WINDOW.saturating_sub(now.saturating_duration_since(entry.since));
        (entry.count >= FAILURES && !left.is_zero()).then_some(left)
    }

    /// Takes note of a failure.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = self.lock();
        if failures.len() >= MOST {
            failures.retain(|_, entry| now.saturating_duration_since(entry.since) < WINDOW);
        }
        if failures.len() >= MOST {
            failures.clear();
        }
        let entry =
            failures.entry(neighbourhood(address)).or_insert(Failures { since: now, count: 0 });
        if now.saturating_duration_since(entry.since) >= WINDOW {
            *entry = Failures { since: now, count: 0 };
        }
        entry.count = entry.count.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Who is at the door: the other end of the connection. When that is this machine, it is most
/// likely a proxy, and the last address in `X-Forwarded-For` is the one it saw itself.
pub(super) fn visitor(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !peer.to_canonical().is_loopback() {
        return peer;
    }
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_limit_is_where_it_is_said_to_be_and_passes_with_time() {
        let (doors, now) = (Doors::default(), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..FAILURES - 1 {
            doors.failed(one, now);
        }
        assert_eq!(doors.wait(one, now), None);
        doors.failed(one, now);
        assert_eq!(doors.wait(one, now), Some(WINDOW));
        assert_eq!(doors.wait(other, now), None);
        assert_eq!(doors.wait(one, now + WINDOW), None);
        doors.failed(one, now + WINDOW);
        assert_eq!(doors.wait(one, now + WINDOW), None, "counted anew");
    }

    #[test]
    fn ipv6_neighbours_are_one_and_the_table_is_bounded() {
        let (doors, now) = (Doors::default(), Instant::now());
        for n in 0..FAILURES {
            doors.failed(address(&format!("2001:db8::{n:x}")), now);
        }
        assert!(doors.wait(address("2001:db8::ffff"), now).is_some());
        assert!(doors.wait(address("2001:db8:0:1::"), now).is_none());
        for n in 0..2 * u32::try_from(MOST).unwrap() {
            doors.failed(IpAddr::V4(n.into()), now);
            assert!(doors.lock().len() <= MOST);
        }
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.7".parse().unwrap());
        headers.append("x-forwarded-for", "10.9.9.9, 203.0.113.5".parse().unwrap());
        for (peer, expected) in [
            ("127.0.0.1", "203.0.113.5"),
            ("::1", "203.0.113.5"),
            ("::ffff:127.0.0.1", "203.0.113.5"),
            ("192.0.2.9", "192.0.2.9"),
        ] {
            assert_eq!(visitor(address(peer), &headers), address(expected), "{peer}");
        }
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(visitor(address("127.0.0.1"), &headers), address("127.0.0.1"));
    }
}
