//! Address ranges as the operator writes them: `"10.0.0.0/8"`, `"fd00::/8"`, `"127.0.0.1"`.
//!
//! Only reading and writing. What a range means for a delivery is the address guard's business.
use super::problem::Fault;
use std::fmt;
use std::net::IpAddr;

/// A range of addresses. The bits of `address` past `prefix` are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The first address of the range.
    pub address: IpAddr,
    /// How many leading bits are fixed: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Reads `address/prefix`, or a single address.
    ///
    /// Bits past the prefix are refused: `10.1.2.3/8` may be meant as a range or as a single
    /// address, and a guess here would open a network.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(Fault::new(
                format!("\"{text}\" is not a range of addresses"),
                "write it like \"10.0.0.0/8\" or \"fd00::/8\"",
            ));
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => {
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.parse::<u8>().ok().filter(|bits| plain && *bits <= longest);
                number.ok_or_else(|| {
                    Fault::new(
                        format!("\"{text}\" has a prefix that is not a number up to {longest}"),
                        format!("write \"{address}/{longest}\" for this one address"),
                    )
                })?
            }
        };
        let network = Self { address: first_address(address, prefix), prefix };
        if network.address != address {
            return Err(Fault::new(
                format!("\"{text}\" has address bits past its prefix"),
                format!(
                    "write \"{network}\" for the range or \"{address}/{longest}\" for this one \
                     address"
                ),
            ));
        }
        Ok(network)
    }

    /// Whether the range holds every address of its family.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((address.to_bits() & mask).to_be_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_written() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let network = Network::parse(text).map(|network| network.to_string());
            assert_eq!(network.map_err(|fault| fault.what), Ok(expected.to_owned()));
        }
        check("127.0.0.0/8", "127.0.0.0/8");
        check("127.0.0.1", "127.0.0.1/32");
        check("127.0.0.1/32", "127.0.0.1/32");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("::1", "::1/128");
        check("fd00::/8", "fd00::/8");
        check("::/0", "::/0");
    }

    #[test]
    fn bad_ranges_are_refused() {
        #[track_caller]
        fn check(text: &str, what: &str, way_out: &str) {
            let fault = Network::parse(text).expect_err(text);
            assert!(fault.what.contains(what), "{}", fault.what);
            assert!(fault.way_out.contains(way_out), "{}", fault.way_out);
        }
        check("", "not a range", "\"10.0.0.0/8\"");
        check("localhost", "not a range", "\"10.0.0.0/8\"");
        check("10.0.0/8", "not a range", "\"10.0.0.0/8\"");
        check("10.0.0.0/33", "number up to 32", "\"10.0.0.0/32\"");
        check("10.0.0.0/+8", "number up to 32", "\"10.0.0.0/32\"");
        check("10.0.0.0/", "number up to 32", "\"10.0.0.0/32\"");
        check("fd00::/129", "number up to 128", "\"fd00::/128\"");
        check("127.0.0.1/8", "past its prefix", "\"127.0.0.0/8\" for the range");
        check("fd00::1/8", "past its prefix", "\"fd00::1/128\" for this one");
    }
}
