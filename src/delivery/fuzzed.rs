//! What owners of endpoints and receivers send, for the fuzzer: each function reads any bytes and
//! says what kind of outcome that was.

use std::net::IpAddr;

use super::classify::{MAX_RETRY_AFTER, retry_after};
use super::{AddressPolicy, Cidr, Proxy, check_custom_header, check_url};
use crate::fuzz::kind;

/// A URL of an endpoint. No literal address that passes is one of this machine's or its network's.
pub(crate) fn url(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    match check_url(&text, false, &AddressPolicy::default()) {
        Ok(url) => {
            let host = url.host_str().unwrap().trim_matches(['[', ']']);
            match host.parse().map(|ip: IpAddr| ip.to_canonical()) {
                Ok(IpAddr::V4(v4)) => {
                    let inner = v4.is_loopback() || v4.is_private() || v4.is_link_local();
                    assert!(!inner && !v4.is_unspecified(), "{url} passed");
                }
                Ok(IpAddr::V6(v6)) => {
                    let inner = v6.is_loopback() || v6.is_unicast_link_local();
                    assert!(!inner && v6.to_ipv4().is_none(), "{url} passed");
                }
                Err(_) => {
                    let host = host.trim_end_matches('.');
                    let inner = host == "localhost" || host.ends_with(".localhost");
                    assert!(!inner, "{url} passed");
                }
            }
            // What is kept is what is dialled: it reads as itself.
            let again = check_url(url.as_str(), false, &AddressPolicy::default());
            assert_eq!(again.map_err(|err| err.to_string()), Ok(url));
            1
        }
        Err(problem) => kind(std::mem::discriminant(&problem)),
    }
}

/// A custom header, its name before the first line break. None that passes can begin a new line.
pub(crate) fn header(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let (name, value) = text.split_once('\n').unwrap_or((&text, ""));
    match check_custom_header(name, value) {
        Ok(()) => {
            assert!(!value.contains(['\r', '\n', '\0']) && !name.contains([':', ' ', '\r']));
            1
        }
        Err(problem) => kind(std::mem::discriminant(&problem)),
    }
}

/// `Retry-After`.
pub(crate) fn wait(bytes: &[u8]) -> u64 {
    let wait = retry_after(bytes, 1_790_000_000);
    assert!(wait.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
    kind((wait.is_some(), wait.is_some_and(|wait| wait.is_zero()), wait == Some(MAX_RETRY_AFTER)))
}

/// The operator's settings: a proxy, a network.
pub(crate) fn egress(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let (proxy, network) = (text.parse::<Proxy>(), text.parse::<Cidr>());
    kind((proxy.is_ok(), network.is_ok()))
}
