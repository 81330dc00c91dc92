//! Whether this machine has a way out. It tells a receiver that cannot be reached from a network of
//! our own that is gone; asked only after an attempt failed for want of a name or a route.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that the way out leads to. Nothing is sent: connecting a UDP socket only looks into
/// the system's table of routes. Both are set aside for documents, and nobody's.
const ELSEWHERE: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9),
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];

/// Whether there is a route to addresses elsewhere, over IPv4 or IPv6.
pub(super) fn is_there() -> bool {
    ELSEWHERE.iter().any(|to| {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        UdpSocket::bind(any).and_then(|socket| socket.connect(to)).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel's tables hold a default route (destination and mask 0).
    fn has_default() -> bool {
        let v4 = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
        let v4 = v4.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"));
        let v6 = v6.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            line.starts_with(&"0".repeat(32)) && fields.get(1) == Some(&"00") && fields[9] != "lo"
        });
        v4 || v6
    }

    #[test]
    fn it_says_what_the_kernels_tables_say() {
        assert_eq!(is_there(), has_default());
    }
}
