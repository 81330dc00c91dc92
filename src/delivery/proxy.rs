//! The operator's way out: an HTTP proxy (`CONNECT`) or a SOCKS5 proxy (RFC 1928, RFC 1929).
//!
//! Set by `delivery.proxy` alone; the environment's proxy variables are not read. The proxy
//! resolves names, so the address guard can vet only literal addresses then.

use std::fmt;
use std::net::{IpAddr, TcpStream};
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::Url;

use super::classify::io_failure;
use super::socket;
use crate::model::outcome::{Failure, Phase};

/// The most bytes of a proxy's answer to `CONNECT`.
const MAX_PROXY_HEAD: usize = 4096;

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    /// Its host: a name or an address, IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    login: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

/// Why a proxy setting cannot be used. The value is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write http://host:port or socks5://host:port, with user:password@ before the host where needed"
)]
pub struct ProxyError(&'static str);

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_| ProxyError("the proxy is not a URL"))?;
        let (kind, default_port) = match url.scheme() {
            "http" => (Kind::Http, 80),
            // Names are always resolved by the proxy, so both mean the same here.
            "socks5" | "socks5h" => (Kind::Socks5, 1080),
            _ => return Err(ProxyError("the proxy's scheme is neither http nor socks5")),
        };
        let host = url.host_str().filter(|it| !it.is_empty());
        let host = host.ok_or(ProxyError("the proxy has no host"))?.to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyError("the proxy has a path"));
        }
        let user = decoded(url.username())?;
        let password = decoded(url.password().unwrap_or_default())?;
        if user.len() > 255 || password.len() > 255 {
            return Err(ProxyError("the proxy's user name or password is longer than 255 bytes"));
        }
        let login = (!user.is_empty()).then_some((user, password));
        Ok(Self { kind, host, port: url.port().unwrap_or(default_port), login })
    }
}

/// Undoes the percent-encoding of a user name or password.
fn decoded(text: &str) -> Result<String, ProxyError> {
    let pairs = format!("x={}", text.replace('+', "%2B"));
    let decoded =
        url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.ok_or(ProxyError("the proxy's user name or password is not valid"))
}

/// Never shows the login.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({:?} {}:{})", self.kind, self.host, self.port)
    }
}

/// Asks a connected proxy for a connection to `host`.
pub fn open_tunnel(
    proxy: &Proxy,
    stream: &TcpStream,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    ask(proxy, &mut &*stream, host, port)
}

/// The dialogue with a proxy, over whatever it is at the end of.
pub(super) fn ask(
    proxy: &Proxy,
    peer: &mut impl Peer,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    match proxy.kind {
        Kind::Http => connect_http(proxy, peer, host, port),
        Kind::Socks5 => connect_socks(proxy, peer, host, port),
    }
}

fn connect_http(proxy: &Proxy, peer: &mut impl Peer, host: &str, port: u16) -> Result<(), Failure> {
    let mut ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\n");
    if let Some((user, password)) = &proxy.login {
        let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
        ask.push_str("proxy-authorization: Basic ");
        ask.push_str(&login);
        ask.push_str("\r\n");
    }
    ask.push_str("\r\n");
    peer.send(ask.as_bytes())?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head already belongs to the tunnel.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.receive(&mut byte)?;
        head.extend_from_slice(&byte);
        if head.len() > MAX_PROXY_HEAD {
            return Err(refused("its answer to CONNECT is too long"));
        }
    }
    match status_of(&head) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(refused("it wants a user name and password")),
        Some(code) => Err(refused(&format!("it answered {code} to CONNECT"))),
        None => Err(refused("it does not answer in HTTP")),
    }
}

/// The status in the first line: three digits behind `HTTP/1.x` and a space.
fn status_of(head: &[u8]) -> Option<u16> {
    let (digits, rest) = head.strip_prefix(b"HTTP/1.")?.get(2..)?.split_at_checked(3)?;
    let is_apart = head.get(8) == Some(&b' ') && matches!(rest.first(), Some(b' ' | b'\r'));
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_apart)
}

fn connect_socks(
    proxy: &Proxy,
    peer: &mut impl Peer,
    host: &str,
    port: u16,
) -> Result<(), Failure> {
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    let method = if proxy.login.is_some() { LOGIN } else { NO_LOGIN };
    peer.send(&[5, 1, method])?;
    let mut chosen = [0; 2];
    peer.receive(&mut chosen)?;
    if chosen != [5, method] {
        return Err(refused("it takes neither this login nor none, or is not SOCKS5"));
    }
    if let Some((user, password)) = &proxy.login {
        let mut login = vec![1];
        for part in [user, password] {
            login.push(u8::try_from(part.len()).map_err(|_| refused("login too long"))?);
            login.extend_from_slice(part.as_bytes());
        }
        peer.send(&login)?;
        let mut verdict = [0; 2];
        peer.receive(&mut verdict)?;
        if verdict != [1, 0] {
            return Err(refused("it refused the user name and password"));
        }
    }
    let mut ask = vec![5, 1, 0];
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => {
            ask.push(1);
            ask.extend_from_slice(&v4.octets());
        }
        Ok(IpAddr::V6(v6)) => {
            ask.push(4);
            ask.extend_from_slice(&v6.octets());
        }
        Err(_) => {
            ask.push(3);
            ask.push(u8::try_from(host.len()).map_err(|_| refused("the host name is too long"))?);
            ask.extend_from_slice(host.as_bytes());
        }
    }
    ask.extend_from_slice(&port.to_be_bytes());
    peer.send(&ask)?;
    read_socks_answer(peer)
}

fn read_socks_answer(peer: &mut impl Peer) -> Result<(), Failure> {
    let mut head = [0; 4];
    peer.receive(&mut head)?;
    let [version, code, _, kind] = head;
    if version != 5 {
        return Err(refused("it is not SOCKS5"));
    }
    match code {
        0 => {}
        2 => return Err(refused("its rules do not allow the connection")),
        3 | 4 => return Err(Failure::NetworkUnreachable),
        5 => return Err(Failure::ConnectionRefused),
        other => return Err(refused(&format!("it answered with SOCKS error {other}"))),
    }
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let mut length = [0];
            peer.receive(&mut length)?;
            usize::from(length[0])
        }
        _ => return Err(refused("its answer cannot be read")),
    };
    let mut bound = vec![0; length + 2];
    peer.receive(&mut bound)
}

fn refused(detail: &str) -> Failure {
    Failure::Proxy { detail: detail.to_owned() }
}

/// The other end of a connection, within the deadline.
pub(super) trait Peer {
    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure>;
    /// Fills `buf`.
    fn receive(&mut self, buf: &mut [u8]) -> Result<(), Failure>;
}

impl Peer for &TcpStream {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        socket::write_all(self, bytes).map_err(|e| io_failure(&e, Phase::Connect))
    }

    fn receive(&mut self, buf: &mut [u8]) -> Result<(), Failure> {
        socket::read_exact(self, buf).map_err(|e| io_failure(&e, Phase::Connect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_their_password_is_never_shown() {
        let proxy: Proxy = "http://us%40r:p%2Bw+d@proxy.example:3128".parse().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        let login = ("us@r".to_owned(), "p+w+d".to_owned());
        assert_eq!(proxy.login, Some(login));
        assert_eq!(format!("{proxy:?}"), "Proxy(Http proxy.example:3128)");
        let socks: Proxy = "socks5://[::1]".parse().unwrap();
        assert_eq!((socks.kind, socks.host.as_str(), socks.port), (Kind::Socks5, "[::1]", 1080));
    }

    #[test]
    fn unusable_proxies_are_refused_without_repeating_them() {
        for text in [
            "",
            "proxy:3128",
            "https://proxy:1",
            "http://",
            "http://a:secret@p:1/path",
            "socks4://p",
        ] {
            let error = text.parse::<Proxy>().unwrap_err().to_string();
            assert!(
                error.contains("socks5://host:port") && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }
}
