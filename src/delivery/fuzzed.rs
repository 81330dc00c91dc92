//! What owners of endpoints and receivers send, for the fuzzer: each function reads any bytes and
//! says what kind of outcome that was.

use std::net::IpAddr;

use super::classify::{MAX_RETRY_AFTER, retry_after};
use super::oauth::{MAX_LIFETIME, error_code, granted};
use super::proxy::{Peer, ask};
use super::{AddressPolicy, Cidr, Proxy, check_custom_header, check_url};
use crate::fuzz::kind;
use crate::model::outcome::{Failure, Phase};

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

/// What a proxy says is all there is to read; what it is told goes nowhere.
struct Said<'b> {
    rest: &'b [u8],
    told: Vec<u8>,
}

impl Peer for Said<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.told.extend_from_slice(bytes);
        Ok(())
    }

    fn receive(&mut self, buf: &mut [u8]) -> Result<(), Failure> {
        let Some((read, rest)) = self.rest.split_at_checked(buf.len()) else {
            return Err(Failure::ConnectionClosed { phase: Phase::Connect });
        };
        buf.copy_from_slice(read);
        self.rest = rest;
        Ok(())
    }
}

/// The answers of a proxy, its kind before the first line break. Not a byte is read of what follows
/// them, and nothing of a refusal can move a terminal's cursor.
pub(crate) fn proxy(bytes: &[u8]) -> u64 {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (setting, said) = bytes.split_at(at);
    let said = said.get(1..).unwrap_or_default();
    let is_http = !setting.starts_with(b"socks");
    let login = if setting.ends_with(b"login") { "us:pw@" } else { "" };
    let scheme = if is_http { "http" } else { "socks5" };
    let proxy: Proxy = format!("{scheme}://{login}proxy:1").parse().unwrap();
    let mut peer = Said { rest: said, told: Vec::new() };
    let done = ask(&proxy, &mut peer, "receiver.example", 443);
    let read = said.len() - peer.rest.len();
    match done {
        Ok(()) if is_http => {
            let head = &said[..read];
            assert!(head.starts_with(b"HTTP/1.") && head.ends_with(b"\r\n\r\n"));
            assert_eq!(head.windows(4).position(|w| w == b"\r\n\r\n"), Some(read - 4));
            let status = String::from_utf8(head[9..12].to_vec()).unwrap();
            assert!((200..300).contains(&status.parse::<u16>().unwrap()), "{status:?} was taken");
            assert_eq!(head[8], b' ');
            1
        }
        Ok(()) => {
            // A choice, a login's verdict, a head, a name of up to 255 bytes, a port.
            assert!((9..=2 + 2 + 4 + 1 + 255 + 2).contains(&read), "{read} bytes were read");
            kind((2, read.min(30)))
        }
        Err(failure) => {
            let text = failure.to_string();
            assert!(!text.contains(char::is_control) && text.len() < 200, "{text:?}");
            kind((3, text.len().min(80), failure.code()))
        }
    }
}

/// The answer of a token server: a token that can be in a header and that nothing shows, or none.
pub(crate) fn token(bytes: &[u8]) -> u64 {
    let refusal = error_code(bytes, "the_secret");
    if let Some(code) = &refusal {
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && code.len() <= 40);
        assert!(!code.contains("the_secret"));
    }
    match granted(bytes) {
        Ok(granted) => {
            let value = granted.bearer.to_str().unwrap();
            let token = value.strip_prefix("Bearer ").unwrap();
            assert!(!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
            assert!(value.len() <= 4096 && granted.lifetime <= MAX_LIFETIME);
            let shown = format!("{granted:?}");
            assert!(token.len() < 12 || !shown.contains(token), "{shown}");
            // A number too large for anything is read over where nobody looks.
            if let Ok(read) = serde_json::from_slice::<serde_json::Value>(bytes) {
                assert_eq!(read["access_token"], token);
            }
            kind((1, granted.lifetime.as_secs().min(9), refusal.is_some()))
        }
        Err(why) => kind((2, why, refusal.is_some())),
    }
}
