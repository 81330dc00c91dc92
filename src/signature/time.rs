//! The timestamps that senders put into requests.
//!
//! Strict on purpose: some libraries read `+1767225600`, ` 1767225600 ` or `1767225600abc` as a
//! number. What is signed is the text, so only one text per time is accepted.

use jiff::Timestamp;

/// How a provider writes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Unix seconds.
    Unix,
    /// Unix milliseconds.
    UnixMs,
    /// RFC 3339, with any offset.
    Rfc3339,
}

/// Longest number taken: 15 digits, which as milliseconds reach far past the year 9999.
const MAX_DIGITS: usize = 15;
/// Longest RFC 3339 text taken: date, time, nine decimals, offset.
const MAX_RFC3339: usize = 40;

impl Format {
    pub(crate) const NAMES: &'static str = "unix, unix_ms, rfc3339";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "unix" => Some(Self::Unix),
            "unix_ms" => Some(Self::UnixMs),
            "rfc3339" => Some(Self::Rfc3339),
            _ => None,
        }
    }

    /// For messages.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Unix => "unix seconds in plain digits",
            Self::UnixMs => "unix milliseconds in plain digits",
            Self::Rfc3339 => "in RFC 3339, as 2026-01-31T12:00:00Z",
        }
    }

    /// Unix milliseconds, or `None` when the text is not in this format.
    pub(crate) fn read(self, text: &str) -> Option<i64> {
        match self {
            Self::Unix => plain_number(text)?.checked_mul(1000),
            Self::UnixMs => plain_number(text),
            Self::Rfc3339 if text.len() > MAX_RFC3339 => None,
            Self::Rfc3339 => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        }
    }

    /// How far the sender's time lies behind `now_ms`, in milliseconds; negative when ahead.
    ///
    /// Times in whole seconds are compared in whole seconds, as every reference library does.
    pub(crate) fn age_ms(self, sent_ms: i64, now_ms: i64) -> i64 {
        match self {
            Self::Unix => now_ms.div_euclid(1000).saturating_mul(1000).saturating_sub(sent_ms),
            Self::UnixMs | Self::Rfc3339 => now_ms.saturating_sub(sent_ms),
        }
    }
}

/// `0|[1-9][0-9]{0,14}`.
fn plain_number(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    if !digits || !plain || text.is_empty() || text.len() > MAX_DIGITS {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(format: Format, text: &str, expected: Option<i64>) {
        assert_eq!(format.read(text), expected, "{format:?} {text:?}");
    }

    #[test]
    fn one_text_per_time() {
        check(Format::Unix, "1767225600", Some(1_767_225_600_000));
        check(Format::Unix, "0", Some(0));
        check(Format::UnixMs, "999999999999999", Some(999_999_999_999_999));
        let bad = ["", "00", "01", "+1", "-1", " 1", "1 ", "1.9", "1abc", "1e3", "١"];
        for text in bad.into_iter().chain(["1000000000000000"]) {
            check(Format::Unix, text, None);
            check(Format::UnixMs, text, None);
        }
    }

    #[test]
    fn rfc3339_with_offsets_and_fractions() {
        check(Format::Rfc3339, "2026-01-01T00:00:00Z", Some(1_767_225_600_000));
        check(Format::Rfc3339, "2025-12-31T16:00:00-08:00", Some(1_767_225_600_000));
        check(Format::Rfc3339, "2026-01-01T00:00:00.123456789Z", Some(1_767_225_600_123));
        for text in ["", "2026-01-01", "2026-01-01T00:00:00", "yesterday", &"2".repeat(41)] {
            check(Format::Rfc3339, text, None);
        }
    }

    #[test]
    fn age_is_positive_when_the_request_is_old() {
        assert_eq!(Format::Unix.age_ms(1_000_000, 1_300_999), 300_000);
        assert_eq!(Format::UnixMs.age_ms(1_000_000, 1_300_999), 300_999);
        assert_eq!(Format::Unix.age_ms(1_000_000, 999_999), -1000);
        assert_eq!(Format::Unix.age_ms(1, i64::MIN), i64::MIN);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9TZ:.+ -]{0,45}", now: i64) {
            for format in [Format::Unix, Format::UnixMs, Format::Rfc3339] {
                if let Some(sent) = format.read(&text) {
                    let _ = format.age_ms(sent, now);
                }
            }
        }
    }
}
