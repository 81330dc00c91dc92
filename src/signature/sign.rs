//! Signing what goes out, as Standard Webhooks 1.0.0 says.
//!
//! Pure: the key, the id, the time and the bytes are arguments. It runs once for every attempt,
//! so the body is never copied for an HMAC and the header value is allocated once.
//! Called by `delivery`; receivers use the verifying half of this module instead.

use crate::model::secret::SigningKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::Ed25519KeyPair;
use sha2::Sha256;

/// Length of one `v1,…` element: version, comma, 32 bytes in base64.
const SYMMETRIC_TEXT: usize = 3 + 44;
/// Length of one `v1a,…` element: version, comma, 64 bytes in base64.
const ED25519_TEXT: usize = 4 + 88;
/// Digits of the largest `u64`.
const MAX_DIGITS: usize = 20;

/// The value of `webhook-signature` (and `svix-signature`) for one attempt.
///
/// One element per key, in the order given, joined by exactly one space: `v1,<base64>` for a
/// symmetric key, `v1a,<base64>` for an Ed25519 key. Receivers accept a message when any element
/// matches, so the current key comes first and retired ones follow while they live.
///
/// Signed are the bytes `id.timestamp.body`. `timestamp_secs` is the time of *this attempt* in
/// unix seconds, and must be what `webhook-timestamp` says. `id` must not contain a full stop,
/// or two different messages could be signed alike; ids made here never do.
pub fn sign(keys: &[&SigningKey], id: &str, timestamp_secs: u64, body: &[u8]) -> String {
    debug_assert!(
        !id.contains('.'),
        "an id with a full stop makes the signed text ambiguous: {id}"
    );
    let mut digits = [0; MAX_DIGITS];
    let timestamp = decimal(timestamp_secs, &mut digits);
    let parts = [id.as_bytes(), b".", timestamp, b".", body];
    // Ed25519 needs the text in one piece; it is put together for the first such key only.
    let mut joined: Option<Vec<u8>> = None;

    let mut value = String::with_capacity(text_length(keys));
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            value.push(' ');
        }
        match key {
            SigningKey::Symmetric(bytes) => {
                value.push_str("v1,");
                STANDARD.encode_string(hmac_sha256(bytes, &parts), &mut value);
            }
            SigningKey::Ed25519 { seed, .. } => {
                value.push_str("v1a,");
                let text = joined.get_or_insert_with(|| parts.concat());
                STANDARD.encode_string(ed25519(seed, text), &mut value);
            }
        }
    }
    value
}

fn text_length(keys: &[&SigningKey]) -> usize {
    let elements = keys.iter().map(|key| match key {
        SigningKey::Symmetric(_) => SYMMETRIC_TEXT,
        SigningKey::Ed25519 { .. } => ED25519_TEXT,
    });
    elements.sum::<usize>() + keys.len().saturating_sub(1)
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[expect(clippy::expect_used, reason = "ring refuses a seed only for its length, fixed here")]
fn ed25519(seed: &[u8; 32], text: &[u8]) -> ring::signature::Signature {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 bytes").sign(text)
}

/// Writes `number` in decimal at the end of `buffer` and returns what was written.
fn decimal(number: u64, buffer: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut rest = number;
    let mut start = MAX_DIGITS;
    for (index, slot) in buffer.iter_mut().enumerate().rev() {
        // A digit is 0 to 9, so the conversion cannot fail.
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        start = index;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W";
    const CREATED: &str = r#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}"#;
    const RENAMED: &str =
        r#"{"type":"user.renamed","timestamp":"2026-01-01T00:00:00Z","data":{"name":"Zoë ☃ 𝄞"}}"#;
    const KEY_24: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    const KEY_32: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const KEY_64: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
    const ED25519: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";

    fn check(keys: &[&str], id: &str, timestamp: u64, body: &str, expected: &str) {
        let keys: Vec<_> = keys.iter().map(|text| SigningKey::parse(text).unwrap()).collect();
        let keys: Vec<_> = keys.iter().collect();
        let value = sign(&keys, id, timestamp, body.as_bytes());
        assert_eq!(value, expected, "{id} {timestamp} {body}");
        assert_eq!(value.len(), text_length(&keys), "allocated once, to measure");
    }

    /// Every value here was also computed with the published Python and JavaScript libraries.
    #[test]
    fn the_published_vectors_come_out() {
        let at = 1_674_087_231;
        check(&[KEY_24], ID, at, CREATED, "v1,w9hHmpilBM+ZH5TWiqTF2V+zZhky2nrY7iwP4o0rZI0=");
        check(&[KEY_32], ID, at, RENAMED, "v1,UhXAbwdC0DpOr2LuPSlHJ0HNHmNXO4sgpHMbAUfYhFY=");
        check(&[KEY_64], ID, at, CREATED, "v1,9LtGxwbZoGrF8oS2FH4IGhfQpdLVQZEa0OR1k5rX7yE=");
        check(&[KEY_32], "msg_empty", at, "", "v1,Rygs22muPlMj9lKEvbhVCuo7v3+H7OSGgnRocnrQywY=");
        let value = "v1,/3F0MVBJwwB22yqo/lPVEMLAKAFeG5afgfEOYeJ+tdc=";
        check(&[KEY_32], "evt-0001_A", 1_767_225_600, r#"{"a":1}"#, value);
        check(
            &["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        );
        check(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        );
    }

    #[test]
    fn several_keys_sign_in_their_order_with_one_space() {
        let v1 = "v1,w9hHmpilBM+ZH5TWiqTF2V+zZhky2nrY7iwP4o0rZI0=";
        let v1a = "v1a,9WMPN5fBW9vm1uGlvFzBO4lpdfFKN4AQCSr2vrWsFuOibXSOTWlcWrPRSWk+YpmD9fAwgYREKtLcYCyZrvXFBw==";
        let at = 1_674_087_231;
        check(&[ED25519], ID, at, CREATED, v1a);
        check(&[KEY_24, ED25519], ID, at, CREATED, &format!("{v1} {v1a}"));
        check(&[ED25519, KEY_24, ED25519], ID, at, CREATED, &format!("{v1a} {v1} {v1a}"));
        check(&[], ID, at, CREATED, "");
    }

    #[test]
    fn decimals_are_plain_digits() {
        for number in [0, 1, 9, 10, 1_674_087_231, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; MAX_DIGITS]), number.to_string().as_bytes());
        }
    }
}
