//! The mark in every payload: which run, which message, when it was sent.
//!
//! Fixed width, so a prepared request is stamped in place, and found by its prefix wherever a
//! server puts the payload. Pure.

/// What stands before the digits.
const PREFIX: &[u8] = b"bench:";
const RUN_DIGITS: usize = 5;
const SEQ_DIGITS: usize = 10;
/// Nanoseconds since the start of the program: enough for 115 days.
const SENT_DIGITS: usize = 16;
/// `bench:RRRRR:SSSSSSSSSS:TTTTTTTTTTTTTTTT`.
pub const MARK_LEN: usize = PREFIX.len() + RUN_DIGITS + 1 + SEQ_DIGITS + 1 + SENT_DIGITS;

/// The smallest payload that still holds a mark.
pub const MIN_PAYLOAD: usize = MARK_LEN + FRAME.len();
const FRAME: &str = r#"{"mark":"","pad":""}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub run: u32,
    pub seq: u32,
    /// Nanoseconds since the program's epoch.
    pub sent: u64,
}

/// A payload of exactly `size` bytes of JSON with a blank mark in it.
pub fn payload(size: usize) -> String {
    let pad = "x".repeat(size.saturating_sub(MIN_PAYLOAD));
    format!(r#"{{"mark":"bench:{:05}:{:010}:{:016}","pad":"{pad}"}}"#, 0, 0, 0)
}

/// Where the mark begins in `bytes`.
pub fn position(bytes: &[u8]) -> Option<usize> {
    bytes.windows(PREFIX.len()).position(|window| window == PREFIX)
}

/// Writes `mark` over the one that begins at `at`.
pub fn stamp(bytes: &mut [u8], at: usize, mark: Mark) {
    let mut from = at + PREFIX.len();
    let mut put = |width: usize, value: u64| {
        if let Some(place) = bytes.get_mut(from..from + width) {
            digits(place, value);
        }
        from += width + 1;
    };
    put(RUN_DIGITS, u64::from(mark.run));
    put(SEQ_DIGITS, u64::from(mark.seq));
    put(SENT_DIGITS, mark.sent);
}

/// Reads the first mark in `body`.
pub fn find(body: &[u8]) -> Option<Mark> {
    let text = body.get(position(body)? + PREFIX.len()..)?;
    let mut from = 0;
    let mut take = |width: usize| {
        let value = value(text.get(from..from + width)?)?;
        from += width + 1;
        Some(value)
    };
    let run = u32::try_from(take(RUN_DIGITS)?).ok()?;
    let seq = u32::try_from(take(SEQ_DIGITS)?).ok()?;
    Some(Mark { run, seq, sent: take(SENT_DIGITS)? })
}

/// Writes `value` right-aligned with leading zeros.
pub fn digits(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Reads digits only; anything else is `None`.
pub fn value(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_trip() {
        for mark in [
            Mark { run: 0, seq: 0, sent: 0 },
            Mark { run: 99_999, seq: u32::MAX, sent: 9_999_999_999_999_999 },
            Mark { run: 7, seq: 42, sent: 1_234_567 },
        ] {
            let mut bytes = payload(200).into_bytes();
            let at = position(&bytes).expect("a mark");
            stamp(&mut bytes, at, mark);
            assert_eq!(find(&bytes), Some(mark));
            assert_eq!(bytes.len(), 200, "stamping changes no length");
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("still JSON");
        }
    }

    #[test]
    fn payloads_have_the_size_asked_for() {
        for size in [MIN_PAYLOAD, MIN_PAYLOAD + 1, 1024] {
            assert_eq!(payload(size).len(), size);
        }
    }

    #[test]
    fn a_broken_mark_is_none() {
        for text in ["", "bench:", "bench:00001:000000000x:0000000000000000", "bench:00001"] {
            assert_eq!(find(text.as_bytes()), None, "{text:?}");
        }
    }
}
