//! A network in CIDR notation, as the operator writes it in `delivery.allow_networks`.
//!
//! Pure. The configuration parses it, the address guard asks it. What may be dialled is not
//! decided here but in `delivery::guard`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network of an IPv4 prefix. A `const fn` for tables; bits beyond `prefix` are cut off.
    pub const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        let bits = u32::from_be_bytes([a, b, c, d]) & mask32(prefix);
        Self { address: IpAddr::V4(Ipv4Addr::from_bits(bits)), prefix }
    }

    /// The network of an IPv6 prefix given by its first two groups, which is all that the
    /// tables need. Bits beyond `prefix` are cut off.
    pub const fn v6(first: u16, second: u16, prefix: u8) -> Self {
        let bits = Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0).to_bits() & mask128(prefix);
        Self { address: IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix }
    }

    /// True when the address lies in this network. An IPv4 address is never in an IPv6 network:
    /// undo IPv4-mapped addresses first.
    pub const fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(it)) => {
                net.to_bits() == it.to_bits() & mask32(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(it)) => {
                net.to_bits() == it.to_bits() & mask128(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

const fn mask32(prefix: u8) -> u32 {
    match prefix {
        0 => 0,
        1..=31 => u32::MAX << (32 - prefix),
        _ => u32::MAX,
    }
}

const fn mask128(prefix: u8) -> u128 {
    match prefix {
        0 => 0,
        1..=127 => u128::MAX << (128 - prefix),
        _ => u128::MAX,
    }
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not an address at all.
    #[error("\"{0}\" is not a network; write one like 10.0.0.0/8 or fd00::/8, or a single address")]
    NotANetwork(String),
    /// The prefix length does not fit.
    #[error("\"{text}\" has a prefix length that is not a number from 0 to {most}")]
    Prefix {
        /// What was written.
        text: String,
        /// The longest prefix of its family.
        most: u8,
    },
    /// Bits beyond the prefix are set, so it is not clear what was meant.
    #[error(
        "\"{text}\" has bits set beyond its prefix; write {network} for the network or {address} for the one address"
    )]
    HostBits {
        /// What was written.
        text: String,
        /// The network it would be.
        network: Cidr,
        /// The single address it would be.
        address: IpAddr,
    },
    /// An IPv4 network written as IPv6.
    #[error("\"{0}\" is IPv4 written as IPv6; write it as IPv4")]
    Mapped(String),
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let not_a_network = || CidrError::NotANetwork(text.to_owned());
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_a_network())?;
        let most = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                return Err(CidrError::Mapped(text.to_owned()));
            }
            IpAddr::V6(_) => 128,
        };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().unwrap_or(u8::MAX)
            }
            Some(_) => u8::MAX,
        };
        if prefix > most {
            let text = text.to_owned();
            return Err(CidrError::Prefix { text, most });
        }
        let network = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask32(prefix))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask128(prefix))),
        };
        let network = Self { address: network, prefix };
        if network.address != address {
            return Err(CidrError::HostBits { text: text.to_owned(), network, address });
        }
        Ok(network)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "127.0.0.1/32", "fd00::/8", "::/0", "::1/128"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1".parse::<Cidr>().unwrap().to_string(), "127.0.0.1/32");
        assert_eq!(" ::1 ".parse::<Cidr>().unwrap().to_string(), "::1/128");
    }

    #[test]
    fn wrong_networks_are_named_in_the_error() {
        let cases = [
            ("localhost", "is not a network"),
            ("", "is not a network"),
            ("10.0.0/8", "is not a network"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("::/129", "from 0 to 128"),
            ("::/999", "from 0 to 128"),
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("fd00::1/8", "write fd00::/8"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn the_edges_of_a_network_are_in_it_and_their_neighbours_are_not() {
        let cases = [
            ("172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("10.0.0.7/32", "10.0.0.7", "10.0.0.7", "10.0.0.6", "10.0.0.8"),
            ("fc00::/7", "fc00::", "fdff:ffff::", "fbff:ffff::", "fe00::"),
        ];
        for (net, first, last, before, after) in cases {
            let net: Cidr = net.parse().unwrap();
            for inside in [first, last] {
                assert!(net.contains(inside.parse().unwrap()), "{inside} in {net}");
            }
            for outside in [before, after] {
                assert!(!net.contains(outside.parse().unwrap()), "{outside} in {net}");
            }
        }
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
    }
}
