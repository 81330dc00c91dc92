//! What came back from one attempt: the answer, or the reason why there is none.
//!
//! A failed attempt is data, not an `Err`. The scheduler reads an [`Outcome`] to decide what
//! happens next, the store keeps it, the API shows it. Nothing here does I/O, and nothing here
//! is serialised: the store and the API have types of their own.

use std::fmt;
use std::time::Duration;

/// How much of an answer's body is kept, in bytes. What comes after it is not read.
pub const MAX_KEPT_BODY: usize = 16 * 1024;

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status, when a status line was read. It can be there beside a failure: a `200`
    /// whose body never ended is `Some(200)` with [`Failure::Timeout`].
    pub status: Option<u16>,
    /// The first [`MAX_KEPT_BODY`] bytes of the answer's body, as they came. Hostile input.
    pub body: Vec<u8>,
    /// What the receiver asked for with `Retry-After` on a non-2xx answer, clamped to 24 hours.
    pub retry_after: Option<Duration>,
    /// Why the attempt failed. `None` is success: a 2xx whose answer arrived in full, or at
    /// least up to the part that is kept.
    pub failure: Option<Failure>,
    /// Wall time of the attempt, from before the name look-up to after the body.
    pub duration: Duration,
}

impl Outcome {
    /// An attempt that ended without any answer.
    pub fn failed(failure: Failure, duration: Duration) -> Self {
        Self { status: None, body: Vec::new(), retry_after: None, failure: Some(failure), duration }
    }

    /// True when the receiver took the message.
    pub fn is_success(&self) -> bool {
        self.failure.is_none()
    }

    /// True when the attempt ran into its deadline, in whatever phase.
    pub fn is_timeout(&self) -> bool {
        self.failure.as_ref().is_some_and(|it| matches!(it.root(), Failure::Timeout { .. }))
    }

    /// True when the cause may be the daemon's own network: no DNS or no route.
    pub fn is_network_down(&self) -> bool {
        self.failure.as_ref().is_some_and(Failure::is_network_down)
    }

    /// True when the receiver is overloaded and must be given more time: 429, 502, 503, 504 or
    /// a timeout.
    pub fn slows_down(&self) -> bool {
        self.failure.as_ref().is_some_and(Failure::slows_down)
    }
}

/// Why an attempt failed.
///
/// [`Failure::code`] is stable and for programs. `Display` is for the operator and the log.
/// [`Failure::public_text`] is for the owner of the endpoint, who must not learn what the
/// daemon's resolver saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An answer that is neither 2xx nor a redirect.
    Status(u16),
    /// A 3xx answer; redirects are never followed.
    Redirect {
        /// The `Location` of the answer, at most 2,048 characters, when there was one.
        location: Option<String>,
    },
    /// The deadline passed.
    Timeout {
        /// What was going on when it passed.
        phase: Phase,
    },
    /// The name could not be resolved.
    Dns {
        /// What the resolver said.
        detail: String,
        /// The resolver was there, and says that there is no such name. `false`: it could not
        /// say, which may be the fault of our own network.
        is_answer: bool,
    },
    /// The address guard refused the address, or the name.
    AddressRefused {
        /// The address, or the name when the name itself is refused.
        address: String,
        /// The rule that refused it.
        rule: &'static str,
    },
    /// No route to the address.
    NetworkUnreachable,
    /// Nobody listens there.
    ConnectionRefused,
    /// The receiver closed the connection before the answer was complete.
    ConnectionClosed {
        /// What was going on when it was closed.
        phase: Phase,
    },
    /// No TLS connection could be made.
    Tls(TlsFailure),
    /// What came back is not HTTP/1.1, or not the HTTP this client accepts.
    Protocol {
        /// What was wrong with it.
        detail: String,
    },
    /// The answer's header section passed its limits.
    TooLarge,
    /// The operator's proxy could not be reached, or would not make the connection.
    Proxy {
        /// What it said.
        detail: String,
    },
    /// The URL cannot be delivered to.
    BadUrl {
        /// What is wrong with it.
        detail: String,
    },
    /// There is no access token to send it with.
    Token(TokenFailure),
    /// Something on our side went wrong.
    Internal {
        /// What it was; for the log.
        detail: String,
    },
}

/// Why no access token could be got (OAuth 2.0 client credentials). Never holds what the token
/// server wrote, but for the code that the RFC has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFailure {
    /// Asking for it failed as an attempt may fail.
    NotReached(Box<Failure>),
    /// The token server answered with anything but a 2xx.
    Refused {
        /// The status.
        status: u16,
        /// The error code of RFC 6749, section 5.2, when there was one.
        error: Option<String>,
    },
    /// Its answer has no token that can be used.
    NoToken(&'static str),
}

/// The phases of an attempt, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Looking the name up.
    Resolve,
    /// Opening the connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the status line and the headers.
    Headers,
    /// Reading the answer's body.
    Body,
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is self-signed or of an authority that is not trusted here.
    UnknownAuthority,
    /// No TLS version or cipher in common. TLS 1.2 is the oldest version spoken.
    NoCommonCipher,
    /// The server does not speak TLS on this port.
    NotTls,
    /// The receiver asks for a certificate of ours and got none.
    ClientCertificate,
    /// Anything else, with the library's words.
    Other(String),
}

impl Failure {
    /// The stable code of this failure, in `snake_case`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Redirect { .. } => "redirect",
            Self::Timeout { phase } => match phase {
                Phase::Resolve => "timeout_dns",
                Phase::Connect => "timeout_connect",
                Phase::Tls => "timeout_tls",
                Phase::Send => "timeout_send",
                Phase::Headers => "timeout_headers",
                Phase::Body => "timeout_body",
            },
            Self::Dns { .. } => "dns",
            Self::AddressRefused { .. } => "address_refused",
            Self::NetworkUnreachable => "network_unreachable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionClosed { .. } => "connection_closed",
            Self::Tls(kind) => kind.code(),
            Self::Protocol { .. } => "protocol",
            Self::TooLarge => "headers_too_large",
            Self::Proxy { .. } => "proxy",
            Self::BadUrl { .. } => "bad_url",
            Self::Token(_) => "oauth_token",
            Self::Internal { .. } => "internal",
        }
    }

    /// The text for the owner of the endpoint. The same as `Display`, except that a refused
    /// address, a failed look-up, a missing route and an internal fault are told without
    /// details: they would turn an endpoint into a scanner of the operator's network.
    pub fn public_text(&self) -> String {
        match self {
            Self::AddressRefused { .. } => {
                "the URL does not lead to an address that messages may be sent to".to_owned()
            }
            Self::Dns { .. } => "the host name could not be resolved".to_owned(),
            Self::Proxy { .. } | Self::Internal { .. } => {
                "the attempt could not be made".to_owned()
            }
            Self::Status(_)
            | Self::Redirect { .. }
            | Self::Timeout { .. }
            | Self::NetworkUnreachable
            | Self::ConnectionRefused
            | Self::ConnectionClosed { .. }
            | Self::Tls(_)
            | Self::Protocol { .. }
            | Self::TooLarge
            | Self::BadUrl { .. }
            | Self::Token(TokenFailure::Refused { .. } | TokenFailure::NoToken(_)) => {
                self.to_string()
            }
            Self::Token(TokenFailure::NotReached(why)) => not_asked(&why.public_text()),
        }
    }

    /// True for a failure that the daemon's own lost network would cause: no DNS, no route, no
    /// proxy.
    pub fn is_network_down(&self) -> bool {
        matches!(
            self.root(),
            Self::Dns { .. }
                | Self::NetworkUnreachable
                | Self::Proxy { .. }
                | Self::Timeout { phase: Phase::Resolve }
        )
    }

    /// True when the resolver answered that there is no such name: it was there to be asked.
    pub fn is_unknown_name(&self) -> bool {
        matches!(self.root(), Self::Dns { is_answer: true, .. })
    }

    /// The address, or the name, that the guard refused.
    pub fn refused_address(&self) -> Option<&str> {
        if let Self::AddressRefused { address, .. } = self.root() { Some(address) } else { None }
    }

    /// What went wrong on the network, whether on the way to the receiver or to its token server.
    fn root(&self) -> &Self {
        if let Self::Token(TokenFailure::NotReached(why)) = self { why } else { self }
    }

    /// True for 429, 502, 503, 504 and every timeout.
    pub fn slows_down(&self) -> bool {
        matches!(
            self.root(),
            Self::Timeout { .. }
                | Self::Status(429 | 502 | 503 | 504)
                | Self::Token(TokenFailure::Refused { status: 429 | 502 | 503 | 504, .. })
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the receiver answered {status}"),
            Self::Redirect { location: None } => {
                f.write_str("the receiver answered with a redirect; redirects are not followed")
            }
            Self::Redirect { location: Some(to) } => write!(
                f,
                "the receiver answered with a redirect, which is not followed; \
                 if it is right, change the endpoint's URL to {to}"
            ),
            Self::Timeout { phase } => write!(f, "the deadline passed while {phase}"),
            Self::Dns { detail, .. } => write!(f, "the host name could not be resolved: {detail}"),
            Self::AddressRefused { address, rule } => write!(
                f,
                "{address} is refused: {rule}; if messages may go there, \
                 add it to delivery.allow_networks in the configuration file"
            ),
            Self::NetworkUnreachable => f.write_str("there is no route to the receiver"),
            Self::ConnectionRefused => f.write_str("the receiver refused the connection"),
            Self::ConnectionClosed { phase } => {
                write!(f, "the receiver closed the connection while {phase}")
            }
            Self::Tls(kind) => write!(f, "no TLS connection: {kind}"),
            Self::Protocol { detail } => write!(f, "the answer is not usable HTTP: {detail}"),
            Self::TooLarge => {
                f.write_str("the answer's headers are larger than 16 KiB or more than 64 fields")
            }
            Self::Proxy { detail } => write!(f, "the proxy (delivery.proxy): {detail}"),
            Self::BadUrl { detail } => write!(f, "the URL cannot be used: {detail}"),
            Self::Token(why) => why.fmt(f),
            Self::Internal { detail } => write!(f, "internal fault: {detail}"),
        }
    }
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached(why) => f.write_str(&not_asked(&why.to_string())),
            Self::Refused { status, error } => {
                write!(f, "no access token: the token server answered {status}")?;
                if let Some(error) = error {
                    write!(f, " ({error})")?;
                }
                if (300..400).contains(status) {
                    f.write_str("; redirects are not followed")?;
                }
                Ok(())
            }
            Self::NoToken(why) => write!(f, "no access token from the token server: {why}"),
        }
    }
}

/// The words for an attempt, said of a request for a token.
fn not_asked(why: &str) -> String {
    format!("no access token: {}", why.replace("the receiver", "the token server"))
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up the host name",
            Self::Connect => "connecting",
            Self::Tls => "agreeing on TLS",
            Self::Send => "sending the request",
            Self::Headers => "waiting for the answer",
            Self::Body => "reading the answer's body",
        })
    }
}

impl TlsFailure {
    /// The stable code, used by [`Failure::code`].
    fn code(&self) -> &'static str {
        match self {
            Self::Expired => "tls_cert_expired",
            Self::NotYetValid => "tls_cert_not_yet_valid",
            Self::NameMismatch => "tls_name_mismatch",
            Self::UnknownAuthority => "tls_unknown_ca",
            Self::NoCommonCipher => "tls_no_common_cipher",
            Self::NotTls => "tls_not_tls",
            Self::ClientCertificate => "tls_client_certificate",
            Self::Other(_) => "tls",
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet (compare the clocks)",
            Self::NameMismatch => "the certificate is for another name",
            Self::UnknownAuthority => {
                "the certificate is self-signed or of an unknown authority, \
                 or the server leaves out an intermediate certificate; \
                 an authority of your own is named in delivery.ca_file"
            }
            Self::NoCommonCipher => {
                "no TLS version or cipher in common; TLS 1.2 with ECDHE is the least"
            }
            Self::NotTls => "the server does not speak TLS on this port",
            Self::ClientCertificate => {
                "the receiver asks for a certificate of ours; \
                 set delivery.client_cert_file to one that it accepts"
            }
            Self::Other(detail) => detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failure: Failure) -> Outcome {
        Outcome::failed(failure, Duration::ZERO)
    }

    #[test]
    fn overload_slows_down_and_other_failures_do_not() {
        for status in [429, 502, 503, 504] {
            assert!(outcome(Failure::Status(status)).slows_down(), "{status}");
        }
        for status in [400, 404, 410, 428, 430, 500, 501, 505] {
            assert!(!outcome(Failure::Status(status)).slows_down(), "{status}");
        }
        let timeout = outcome(Failure::Timeout { phase: Phase::Body });
        assert!(timeout.slows_down() && timeout.is_timeout());
        assert!(!outcome(Failure::ConnectionRefused).slows_down());
    }

    #[test]
    fn only_dns_and_routes_speak_for_a_lost_network() {
        let dns = Failure::Dns { detail: "x".to_owned(), is_answer: false };
        let resolve = Failure::Timeout { phase: Phase::Resolve };
        for failure in [dns, resolve, Failure::NetworkUnreachable] {
            assert!(outcome(failure.clone()).is_network_down(), "{failure:?}");
        }
        let connect = Failure::Timeout { phase: Phase::Connect };
        for failure in [connect, Failure::ConnectionRefused, Failure::Status(503)] {
            assert!(!outcome(failure.clone()).is_network_down(), "{failure:?}");
        }
    }

    #[test]
    fn a_refusal_names_address_rule_and_setting_but_not_to_the_public() {
        let refused = Failure::AddressRefused {
            address: "10.0.0.1".to_owned(),
            rule: "private network (10.0.0.0/8)",
        };
        let text = refused.to_string();
        for part in ["10.0.0.1", "10.0.0.0/8", "delivery.allow_networks"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
            assert!(!refused.public_text().contains(part));
        }
    }
}
