//! From what the network and the HTTP client say to a [`Failure`], and from an answer's headers
//! to what the scheduler needs of them. Pure.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use jiff::Timestamp;

use super::tls::tls_failure;
use crate::model::outcome::{Failure, Phase};

/// The longest wait a receiver can ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The longest `Location` that is kept, in characters.
const MAX_LOCATION: usize = 2048;
/// The longest text of a library that is kept in a failure, in characters.
const MAX_DETAIL: usize = 200;

/// The failure that a status means, `None` for 2xx.
pub fn status_failure(status: u16, location: Option<&[u8]>) -> Option<Failure> {
    match status {
        200..=299 => None,
        300..=399 => {
            let shown = |bytes| String::from_utf8_lossy(bytes).chars().take(MAX_LOCATION).collect();
            let location = location.map(shown);
            Some(Failure::Redirect { location })
        }
        _ => Some(Failure::Status(status)),
    }
}

/// Reads `Retry-After`: seconds, or a date of HTTP (RFC 9110 section 10.2.3). Clamped to
/// [`MAX_RETRY_AFTER`]; a date in the past is zero; anything else is as if it were not there.
/// `now_secs` is Unix time.
pub fn retry_after(value: &[u8], now_secs: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for a number is a very long wait, not garbage.
        text.parse().unwrap_or(u64::MAX)
    } else {
        let at: Timestamp = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        u64::try_from(at.as_second()).ok()?.saturating_sub(now_secs)
    };
    Some(Duration::from_secs(wait).min(MAX_RETRY_AFTER))
}

/// A [`Failure`] on its way through the HTTP client's error type.
#[derive(Debug)]
pub struct Carried(pub Failure);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

impl Carried {
    /// Packs a failure for the HTTP client.
    pub fn pack(failure: Failure) -> ureq::Error {
        ureq::Error::Other(Box::new(Self(failure)))
    }
}

/// The failure that an error of the HTTP client means.
#[expect(clippy::wildcard_enum_match_arm, reason = "the client's errors are non-exhaustive")]
pub fn client_failure(error: ureq::Error, phase: Phase) -> Failure {
    use ureq::Error as E;
    match error {
        E::Other(other) => match other.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => internal(&*other),
        },
        E::Io(e) => io_failure(&e, phase),
        E::Timeout(_) => Failure::Timeout { phase },
        E::LargeResponseHeader(..) => Failure::TooLarge,
        E::Protocol(e) => {
            // The type is not exported; the client gives up at 128 fields with these words.
            let detail = clipped(&e);
            if detail.contains("too many headers") {
                return Failure::TooLarge;
            }
            Failure::Protocol { detail }
        }
        E::BodyStalled => Failure::Protocol { detail: "the body makes no sense".to_owned() },
        E::Rustls(e) => tls_failure(&e),
        E::BadUri(detail) => Failure::BadUrl { detail },
        other => internal(&other),
    }
}

/// The failure that an I/O error means when it happens in this phase.
#[expect(clippy::wildcard_enum_match_arm, reason = "error kinds are non-exhaustive")]
pub fn io_failure(error: &io::Error, phase: Phase) -> Failure {
    if let Some(tls) = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>()) {
        return tls_failure(tls);
    }
    match error.kind() {
        ErrorKind::TimedOut => Failure::Timeout { phase },
        ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Failure::NetworkUnreachable,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::WriteZero
        | ErrorKind::UnexpectedEof => Failure::ConnectionClosed { phase },
        ErrorKind::InvalidData => Failure::Protocol { detail: clipped(error) },
        _ => internal(error),
    }
}

fn internal(error: &dyn fmt::Display) -> Failure {
    Failure::Internal { detail: clipped(error) }
}

/// A library's text, without control characters and not endless: parts of it may be the
/// receiver's words.
fn clipped(text: &dyn fmt::Display) -> String {
    text.to_string().chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: u64 = 1_767_225_600;

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(status_failure(status, None), None, "{status}");
        }
        for status in [100, 101, 199, 400, 404, 410, 429, 500, 599, 999] {
            assert_eq!(status_failure(status, None), Some(Failure::Status(status)));
        }
        for status in [300, 301, 302, 303, 304, 307, 308, 399] {
            let location = Some("http://x/".to_owned());
            let failure = status_failure(status, Some(b"http://x/"));
            assert_eq!(failure, Some(Failure::Redirect { location }), "{status}");
        }
    }

    #[test]
    fn a_location_is_clipped_at_its_limit() {
        for (length, kept) in [(MAX_LOCATION, MAX_LOCATION), (MAX_LOCATION + 1, MAX_LOCATION)] {
            let Some(Failure::Redirect { location }) =
                status_failure(302, Some(&vec![b'a'; length]))
            else {
                panic!("302 is a redirect");
            };
            assert_eq!(location.map(|it| it.len()), Some(kept));
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_a_date() {
        let day = 24 * 3600;
        let cases: [(&str, Option<u64>); 22] = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("86400", Some(day)),
            ("86401", Some(day)),
            ("99999999999999999999999999", Some(day)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(0)),
            ("Sat, 03 Jan 2026 00:00:00 GMT", Some(day)),
            ("Mon, 01 Jan 1900 00:00:00 GMT", None),
            ("", None),
            (" ", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("1e3", None),
            ("NaN", None),
            ("soon", None),
            ("12 34", None),
            ("2026-01-01T00:01:00Z", None),
            ("Xxx, 99 Jan 2026 00:01:00 GMT", None),
            ("１２", None),
        ];
        for (text, seconds) in cases {
            let wanted = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(text.as_bytes(), NOW), wanted, "{text:?}");
        }
        assert_eq!(retry_after(b"\xff\xfe", NOW), None);
    }

    #[test]
    fn io_errors_become_failures_with_their_phase() {
        let phase = Phase::Headers;
        let cases = [
            (ErrorKind::TimedOut, Failure::Timeout { phase }),
            (ErrorKind::ConnectionRefused, Failure::ConnectionRefused),
            (ErrorKind::ConnectionReset, Failure::ConnectionClosed { phase }),
            (ErrorKind::BrokenPipe, Failure::ConnectionClosed { phase }),
            (ErrorKind::UnexpectedEof, Failure::ConnectionClosed { phase }),
            (ErrorKind::NetworkUnreachable, Failure::NetworkUnreachable),
            (ErrorKind::HostUnreachable, Failure::NetworkUnreachable),
        ];
        for (kind, failure) in cases {
            assert_eq!(io_failure(&kind.into(), phase), failure, "{kind:?}");
        }
        let tls = io::Error::new(ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(matches!(io_failure(&tls, phase), Failure::Tls(_)));
    }

    #[test]
    fn a_packed_failure_comes_out_as_it_went_in() {
        let failure = Failure::AddressRefused { address: "::1".to_owned(), rule: "loopback (::1)" };
        let packed = Carried::pack(failure.clone());
        assert_eq!(client_failure(packed, Phase::Connect), failure);
        let through_io = ureq::Error::from(Carried::pack(failure.clone()).into_io());
        assert_eq!(client_failure(through_io, Phase::Body), failure);
    }

    #[test]
    fn a_receivers_words_are_clipped_and_cleaned() {
        let long = format!("\u{1b}[2J{}", "x".repeat(MAX_DETAIL * 2));
        let text = clipped(&long);
        assert_eq!(text.len(), MAX_DETAIL);
        assert!(text.starts_with("[2J"));
    }
}
