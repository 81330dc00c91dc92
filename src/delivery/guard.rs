//! The address guard: which addresses a message may be sent to.
//!
//! Pure. It judges the binary address that will be dialled and nothing else: no names, no text,
//! no look-ups. `resolver` asks it for every address of a name, `url` for literal addresses.
//! The default is "public addresses only"; the operator opens networks with
//! `delivery.allow_networks`, and nobody else can.
//!
//! Source of the tables: the IANA special-purpose registries for IPv4 and IPv6, and the metadata
//! addresses of the large clouds.

use std::net::{IpAddr, Ipv6Addr};

pub use crate::model::cidr::Cidr;

/// What may be dialled: public addresses, and what the operator allows on top.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    /// Networks that are allowed whatever the tables say (`delivery.allow_networks`).
    pub allow: Vec<Cidr>,
}

/// An address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is refused: {rule}")]
pub struct Refused {
    /// The address as it would be dialled.
    pub address: IpAddr,
    /// The rule that refused it.
    pub rule: &'static str,
}

/// IPv4 that is not public. Whatever is missing here is public.
const IPV4_REFUSED: [(Cidr, &str); 16] = [
    (Cidr::v4(0, 0, 0, 0, 8), "this host (0.0.0.0/8)"),
    (Cidr::v4(10, 0, 0, 0, 8), "private network (10.0.0.0/8)"),
    // Alibaba Cloud keeps its metadata at 100.100.100.200.
    (Cidr::v4(100, 64, 0, 0, 10), "carrier network (100.64.0.0/10)"),
    (Cidr::v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    // A public address by the registries; inside Azure it is the control plane.
    (Cidr::v4(168, 63, 129, 16, 32), "Azure metadata (168.63.129.16)"),
    (Cidr::v4(169, 254, 0, 0, 16), "link-local and cloud metadata (169.254.0.0/16)"),
    (Cidr::v4(172, 16, 0, 0, 12), "private network (172.16.0.0/12)"),
    // Oracle Cloud keeps its metadata at 192.0.0.192.
    (Cidr::v4(192, 0, 0, 0, 24), "protocol assignments (192.0.0.0/24)"),
    (Cidr::v4(192, 0, 2, 0, 24), "documentation (192.0.2.0/24)"),
    (Cidr::v4(192, 88, 99, 0, 24), "6to4 relay (192.88.99.0/24)"),
    (Cidr::v4(192, 168, 0, 0, 16), "private network (192.168.0.0/16)"),
    (Cidr::v4(198, 18, 0, 0, 15), "benchmarking (198.18.0.0/15)"),
    (Cidr::v4(198, 51, 100, 0, 24), "documentation (198.51.100.0/24)"),
    (Cidr::v4(203, 0, 113, 0, 24), "documentation (203.0.113.0/24)"),
    (Cidr::v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (Cidr::v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
];

/// The only part of IPv6 that is public. Naming it removes every way to write an IPv4 address
/// as IPv6 (mapped, compatible, SIIT, ISATAP, NAT64), and every private range, in one rule.
const IPV6_PUBLIC: Cidr = Cidr::v6(0x2000, 0, 3);

/// What is not public inside [`IPV6_PUBLIC`].
const IPV6_REFUSED: [(Cidr, &str); 5] = [
    (Cidr::v6(0x2001, 0, 23), "protocol assignments and Teredo (2001::/23)"),
    (Cidr::v6(0x2001, 0x0db8, 32), "documentation (2001:db8::/32)"),
    (Cidr::v6(0x2002, 0, 16), "6to4, which hides an IPv4 address (2002::/16)"),
    (Cidr::v6(0x3ffe, 0, 16), "6bone (3ffe::/16)"),
    (Cidr::v6(0x3fff, 0, 20), "documentation (3fff::/20)"),
];

/// The rule for IPv6 outside [`IPV6_PUBLIC`], when no better name is known.
const IPV6_NOT_PUBLIC: &str = "not public IPv6 (outside 2000::/3)";

impl AddressPolicy {
    /// Refuses an address that must not be dialled.
    pub fn vet(&self, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        if self.allow.iter().any(|net| net.contains(address)) {
            return Ok(());
        }
        match refusal(address) {
            None => Ok(()),
            Some(rule) => Err(Refused { address, rule }),
        }
    }

    /// True when the operator lets messages go to this machine itself, so that the name
    /// `localhost` may be used.
    pub fn allows_loopback(&self) -> bool {
        let loopback = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        loopback.into_iter().any(|it| self.allow.iter().any(|net| net.contains(it)))
    }

    /// True when the operator allows any network at all, so that names of internal networks may
    /// be used. What they resolve to is still vetted.
    pub fn allows_internal_names(&self) -> bool {
        !self.allow.is_empty()
    }
}

/// The rule that refuses this address, or `None` when it is public.
fn refusal(address: IpAddr) -> Option<&'static str> {
    let find = |table: &[(Cidr, &'static str)]| {
        table.iter().find(|(net, _)| net.contains(address)).map(|(_, rule)| *rule)
    };
    match address {
        IpAddr::V4(_) => find(&IPV4_REFUSED),
        IpAddr::V6(_) if IPV6_PUBLIC.contains(address) => find(&IPV6_REFUSED),
        IpAddr::V6(v6) => Some(name_of_special_v6(v6)),
    }
}

/// A better word than "not public" for the ranges that people meet.
fn name_of_special_v6(address: Ipv6Addr) -> &'static str {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback (::1)",
        [0, 0, 0, 0, 0, 0, 0, 0] => "this host (::)",
        [0x64, 0xff9b, ..] => "NAT64, which hides an IPv4 address (64:ff9b::/32)",
        [0xfc00..=0xfdff, ..] => "private network (fc00::/7)",
        [0xfe80..=0xfebf, ..] => "link-local (fe80::/10)",
        [0xfec0..=0xfeff, ..] => "site-local (fec0::/10)",
        [0xff00..=0xffff, ..] => "multicast (ff00::/8)",
        _ => IPV6_NOT_PUBLIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &AddressPolicy, address: &str, allowed: bool) {
        let verdict = policy.vet(address.parse().unwrap());
        assert_eq!(verdict.is_ok(), allowed, "{address}: {verdict:?}");
    }

    fn allow(networks: &[&str]) -> AddressPolicy {
        AddressPolicy { allow: networks.iter().map(|net| net.parse().unwrap()).collect() }
    }

    #[test]
    fn both_edges_of_every_ipv4_range_are_refused_and_their_neighbours_are_not() {
        let public = AddressPolicy::default();
        // First and last address, then the public neighbours on both sides where there are any.
        let ranges = [
            ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
            ("224.0.0.0", "239.255.255.255", "223.255.255.255", ""),
            ("240.0.0.0", "255.255.255.255", "", ""),
        ];
        assert_eq!(ranges.len(), IPV4_REFUSED.len());
        for (first, last, before, after) in ranges {
            check(&public, first, false);
            check(&public, last, false);
            for neighbour in [before, after].into_iter().filter(|it| !it.is_empty()) {
                check(&public, neighbour, true);
            }
        }
        for metadata in ["100.100.100.200", "192.0.0.192", "169.254.169.254"] {
            check(&public, metadata, false);
        }
    }

    #[test]
    fn only_public_ipv6_passes() {
        let public = AddressPolicy::default();
        let refused = [
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:7f00:1",
            "::5efe:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::",
            "2001:db8::1",
            "2002:7f00:1::",
            "3ffe::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "1fff:ffff::1",
        ];
        for address in refused {
            check(&public, address, false);
        }
        let allowed = [
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2606:4700::1111",
            "3ffd::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
        ];
        for address in allowed {
            check(&public, address, true);
        }
    }

    #[test]
    fn the_operators_list_opens_what_it_names_and_nothing_else() {
        let policy = allow(&["127.0.0.0/8", "fd00::/8"]);
        for address in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "fd00::1", "8.8.8.8"] {
            check(&policy, address, true);
        }
        for address in ["10.0.0.1", "::1", "fc00::1", "::127.0.0.1", "169.254.169.254"] {
            check(&policy, address, false);
        }
    }

    #[test]
    fn loopback_names_need_loopback_and_internal_names_need_any_network() {
        let cases = [
            (allow(&[]), false, false),
            (allow(&["10.0.0.0/8"]), false, true),
            (allow(&["127.0.0.0/8"]), true, true),
            (allow(&["::1/128"]), true, true),
            (allow(&["127.0.0.2/32"]), false, true),
        ];
        for (policy, loopback, internal) in cases {
            assert_eq!(policy.allows_loopback(), loopback, "{policy:?}");
            assert_eq!(policy.allows_internal_names(), internal, "{policy:?}");
        }
    }

    #[test]
    fn the_refusal_names_the_address_that_would_be_dialled_and_the_rule() {
        let refused = AddressPolicy::default().vet("::ffff:10.0.0.1".parse().unwrap());
        let Err(refused) = refused else {
            panic!("10.0.0.1 was allowed");
        };
        assert_eq!(refused.address, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(refused.rule, "private network (10.0.0.0/8)");
    }
}
