//! Which URLs a message may be sent to, as far as the URL alone tells.
//!
//! Pure: no look-ups. The same check runs when an endpoint is created or changed and before
//! every attempt, so an old row cannot go round a new rule. Addresses behind a name are vetted
//! later, by `resolver`, when they are known.
//!
//! Host checks use the parsed host, never text: the parser turns every spelling of an IPv4
//! address (`0x7f.1`, `2130706433`, full-width digits) into the address itself.

use std::net::IpAddr;

use url::{Host, Url};

use super::guard::{AddressPolicy, Refused};
use crate::model::outcome::Failure;

/// The longest URL taken, in characters, before and after parsing.
pub const MAX_URL: usize = 2048;

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// Longer than [`MAX_URL`].
    #[error("the URL is longer than {MAX_URL} characters")]
    TooLong,
    /// The parser does not take it.
    #[error("the URL cannot be parsed: {0}")]
    Unparsable(url::ParseError),
    /// Neither `http` nor `https`.
    #[error("the scheme \"{0}\" cannot be used; write https or http")]
    Scheme(String),
    /// Not `https` where `delivery.https_only` is set.
    #[error("only https can be used here (delivery.https_only is set)")]
    NotHttps,
    /// A user name or password in the URL.
    #[error(
        "a user name or password in the URL cannot be used; set an authorization header instead"
    )]
    UserInfo,
    /// A part after `#`, which is never sent.
    #[error("the part after # is never sent; remove it")]
    Fragment,
    /// Port 0.
    #[error("port 0 cannot be used")]
    PortZero,
    /// No host, or an empty label in it.
    #[error("the host name \"{0}\" is not valid")]
    Host(String),
    /// A name that only means something inside a network.
    #[error(
        "the host name \"{name}\" is refused: {rule}; if messages may go there, add its network to delivery.allow_networks in the configuration file"
    )]
    Name {
        /// The name.
        name: String,
        /// The rule that refused it.
        rule: &'static str,
    },
    /// A literal address that the guard refuses.
    #[error(
        "{0}; if messages may go there, add it to delivery.allow_networks in the configuration file"
    )]
    Address(#[from] Refused),
}

/// Parses a URL and refuses it when a message must not go there.
///
/// The result is the URL to dial and to keep: all later steps use this object, so that nothing
/// is parsed in two ways.
pub fn check_url(text: &str, https_only: bool, policy: &AddressPolicy) -> Result<Url, UrlProblem> {
    if text.chars().count() > MAX_URL {
        return Err(UrlProblem::TooLong);
    }
    let url = Url::parse(text).map_err(UrlProblem::Unparsable)?;
    if url.as_str().len() > MAX_URL {
        return Err(UrlProblem::TooLong);
    }
    match url.scheme() {
        "http" if https_only => return Err(UrlProblem::NotHttps),
        "http" | "https" => {}
        other => return Err(UrlProblem::Scheme(other.to_owned())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlProblem::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(UrlProblem::Fragment);
    }
    if url.port() == Some(0) {
        return Err(UrlProblem::PortZero);
    }
    match url.host() {
        Some(Host::Ipv4(v4)) => policy.vet(IpAddr::V4(v4))?,
        Some(Host::Ipv6(v6)) => policy.vet(IpAddr::V6(v6))?,
        Some(Host::Domain(name)) => check_name(name, policy)?,
        None => return Err(UrlProblem::Host(String::new())),
    }
    Ok(url)
}

/// Whether the URL itself says what was refused: a literal address, or this very name. If not, it
/// is what the resolver saw, which is no business of the endpoint's owner.
pub fn says_itself(url: &str, refused: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        Some(Host::Domain(name)) => name == refused,
        None => false,
    }
}

/// The host of a URL, empty when it has none.
pub fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned()
}

/// Refuses names that lead inside by convention, whatever they resolve to.
fn check_name(name: &str, policy: &AddressPolicy) -> Result<(), UrlProblem> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() || bare.split('.').any(str::is_empty) {
        return Err(UrlProblem::Host(name.to_owned()));
    }
    let refuse = |rule| {
        let name = name.to_owned();
        Err(UrlProblem::Name { name, rule })
    };
    let last = bare.rsplit('.').next().unwrap_or(bare);
    match last {
        "localhost" if !policy.allows_loopback() => refuse("the name of this machine"),
        "localhost" => Ok(()),
        _ if policy.allows_internal_names() => Ok(()),
        "local" => refuse("names under .local belong to a local network"),
        "internal" => refuse("names under .internal belong to a local network"),
        _ if last == bare => refuse("a name without a dot belongs to a local network"),
        _ => Ok(()),
    }
}

impl From<UrlProblem> for Failure {
    fn from(problem: UrlProblem) -> Self {
        match problem {
            UrlProblem::Address(refused) => refused.into(),
            UrlProblem::Name { name, rule } => Self::AddressRefused { address: name, rule },
            UrlProblem::TooLong
            | UrlProblem::Unparsable(_)
            | UrlProblem::Scheme(_)
            | UrlProblem::NotHttps
            | UrlProblem::UserInfo
            | UrlProblem::Fragment
            | UrlProblem::PortZero
            | UrlProblem::Host(_) => Self::BadUrl { detail: problem.to_string() },
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::AddressRefused { address: refused.address.to_string(), rule: refused.rule }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn check(text: &str) -> Result<Url, UrlProblem> {
        check_url(text, false, &AddressPolicy::default())
    }

    fn allowing(networks: &[&str]) -> AddressPolicy {
        AddressPolicy { allow: networks.iter().map(|net| net.parse().unwrap()).collect() }
    }

    /// The spellings by which others were led to addresses they meant to refuse.
    pub const REFUSED: [&str; 37] = [
        "http://127.0.0.1",
        "http://2130706433",
        "http://0x7f.1",
        "http://0177.0.0.1",
        "http://127.1",
        "http://①②⑦.0.0.1",
        "http://127。0。0。1",
        "http:127.0.0.1",
        "http:///127.0.0.1",
        "http://0/",
        "http://[::]",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://[::127.0.0.1]",
        "http://[::ffff:0:7f00:1]",
        "http://[::5efe:7f00:1]",
        "http://[64:ff9b::7f00:1]",
        "http://[64:ff9b:1::1]",
        "http://[2002:7f00:1::]",
        "http://[2001:0:7f00:1::]",
        "http://[fec0::1]",
        "http://[fd00:ec2::254]",
        "http://169.254.169.254.",
        "http://168.63.129.16",
        "http://100.100.100.200",
        "http://localhost.",
        "http://LOCALHOST:8080/x",
        "http://foo.localhost",
        "http://foo.localhost.",
        "HTTP://127.0.0.1",
        "http://user@127.0.0.1",
        "http://example.com:0",
        "http://1.1.1.1 &@127.0.0.1/",
        "http://1.1.1.1@127.0.0.1/",
        "http://metadata.google.internal/",
        "http://printer.local/",
        "http://intranet/",
    ];

    #[test]
    fn the_whole_table_is_refused_by_default() {
        for text in REFUSED {
            let verdict = check(text);
            assert!(verdict.is_err(), "{text} passed as {verdict:?}");
        }
    }

    #[test]
    fn only_what_the_url_says_is_told() {
        for (url, refused, expected) in [
            ("http://2130706433/", "127.0.0.1", true),
            ("http://[::1]/", "::1", true),
            ("http://foo.localhost/", "foo.localhost", true),
            ("http://example.com/", "10.0.0.1", false),
            ("nonsense", "10.0.0.1", false),
        ] {
            assert_eq!(says_itself(url, refused), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        let cases = [
            ("", "cannot be parsed"),
            ("example.com/x", "cannot be parsed"),
            ("http://", "cannot be parsed"),
            ("http://256.256.256.256/", "cannot be parsed"),
            ("http://a%00b.example/", "cannot be parsed"),
            ("http://example.com:99999/", "cannot be parsed"),
            ("http://[fe80::1%25eth0]/", "cannot be parsed"),
            ("ftp://example.com/", "scheme"),
            ("file:///etc/passwd", "scheme"),
            ("javascript:alert(1)", "scheme"),
            ("https://user@example.com/", "user name or password"),
            ("https://:secret@example.com/", "user name or password"),
            ("https://example.com/#part", "after #"),
            ("https://example.com:0/", "port 0"),
            ("https://a..example.com/", "not valid"),
        ];
        for (text, part) in cases {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn public_targets_pass_and_are_written_the_one_way() {
        let cases = [
            ("https://example.com/hook?a=1", "https://example.com/hook?a=1"),
            ("HTTPS://Example.COM:443/a b", "https://example.com/a%20b"),
            ("http://8.8.8.8:8080", "http://8.8.8.8:8080/"),
            ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
            ("https://example.com./", "https://example.com./"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            // Not a trick any more once parsed: the host is example.com.
            ("http://example.com\\@127.0.0.1/", "http://example.com/@127.0.0.1/"),
        ];
        for (text, written) in cases {
            assert_eq!(check(text).unwrap().as_str(), written, "{text}");
        }
    }

    #[test]
    fn the_length_limit_is_exact() {
        let longest = format!("https://example.com/{}", "a".repeat(MAX_URL - 20));
        assert_eq!(longest.len(), MAX_URL);
        assert!(check(&longest).is_ok());
        assert_eq!(check(&format!("{longest}a")), Err(UrlProblem::TooLong));
        // Short as written, long once escaped.
        let grows = format!("https://example.com/{}", "ü".repeat(MAX_URL / 3));
        assert_eq!(check(&grows), Err(UrlProblem::TooLong));
    }

    #[test]
    fn https_only_refuses_http() {
        let policy = AddressPolicy::default();
        let refused = check_url("http://example.com/", true, &policy);
        assert_eq!(refused, Err(UrlProblem::NotHttps));
        assert!(check_url("https://example.com/", true, &policy).is_ok());
    }

    #[test]
    fn the_operators_list_opens_addresses_and_names() {
        let loopback = allowing(&["127.0.0.0/8"]);
        for text in
            ["http://127.0.0.1:1/", "http://localhost/", "http://a.internal/", "http://box/"]
        {
            assert!(check_url(text, false, &loopback).is_ok(), "{text}");
        }
        let private = allowing(&["10.0.0.0/8"]);
        assert!(check_url("http://a.internal/", false, &private).is_ok());
        assert!(check_url("http://10.1.1.1/", false, &private).is_ok());
        assert!(check_url("http://localhost/", false, &private).is_err());
        assert!(check_url("http://127.0.0.1/", false, &private).is_err());
    }

    #[test]
    fn refused_addresses_and_names_name_rule_and_setting() {
        let cases = [
            ("http://10.0.0.1/", "10.0.0.1", "private network (10.0.0.0/8)"),
            ("http://localhost/", "localhost", "the name of this machine"),
        ];
        for (text, address, rule) in cases {
            let problem = check(text).unwrap_err();
            for part in [address, rule, "delivery.allow_networks"] {
                assert!(problem.to_string().contains(part), "{text}: {problem}");
            }
            let address = address.to_owned();
            assert_eq!(Failure::from(problem), Failure::AddressRefused { address, rule });
        }
    }
}
