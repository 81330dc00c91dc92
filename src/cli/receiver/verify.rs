//! Standard Webhooks verification of a received request: headers, age, signature.

use subtle::ConstantTimeEq as _;

use super::Request;
use crate::model::secret::SigningKey;
use crate::signature::sign;

/// How old or new a delivery may be, in seconds: what the published libraries take.
pub const TOLERANCE_SECS: u64 = 300;

/// Why a request is not from whom it says. Shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// One of the three headers is missing.
    #[error("no {0} header")]
    Missing(&'static str),
    /// The timestamp is not a number of seconds.
    #[error("timestamp is not unix seconds")]
    Timestamp,
    /// Replayed, or one of the clocks is wrong.
    #[error("sent {0} s away from this clock, {TOLERANCE_SECS} allowed")]
    Age(u64),
    /// None of the signatures was made with this key over these bytes.
    #[error("signature does not match")]
    Signature,
    /// The path is not one of ours.
    #[error("no such path here")]
    NoDoor,
}

/// Checks a request against a key at `now_secs` (unix seconds).
///
/// # Errors
/// The first thing found wrong.
pub fn verify(key: &SigningKey, request: &Request, now_secs: u64) -> Result<(), Unverified> {
    let find = |ours: &'static str, svix: &str| {
        request.header(ours).or_else(|| request.header(svix)).ok_or(Unverified::Missing(ours))
    };
    let id = find("webhook-id", "svix-id")?;
    let timestamp = find("webhook-timestamp", "svix-timestamp")?;
    let signatures = find("webhook-signature", "svix-signature")?;
    let sent: u64 = timestamp.parse().map_err(|_| Unverified::Timestamp)?;
    let age = sent.abs_diff(now_secs);
    if age > TOLERANCE_SECS {
        return Err(Unverified::Age(age));
    }
    // Both schemes are deterministic, so whoever holds the signing key can make the signature
    // again and compare. The sender may know older keys too and lists one for each.
    let expected = sign(&[key], id, sent, &request.body);
    let fits = |signature: &str| bool::from(signature.as_bytes().ct_eq(expected.as_bytes()));
    if signatures.split(' ').any(fits) { Ok(()) } else { Err(Unverified::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SENT: u64 = 1_614_265_330;
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    /// The published vector, with some headers changed; an empty value removes one.
    fn vector(changes: &[(&str, &str)]) -> Request {
        let mut headers = vec![
            ("webhook-id".to_owned(), "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
            ("webhook-timestamp".to_owned(), SENT.to_string()),
            ("webhook-signature".to_owned(), GOOD.to_owned()),
        ];
        for (name, value) in changes {
            headers.retain(|(n, _)| n != name);
            if !value.is_empty() {
                headers.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        Request { headers, body: br#"{"test": 2432232314}"#.to_vec(), ..Request::default() }
    }

    fn check(changes: &[(&str, &str)], now: u64, expected: &Result<(), Unverified>) {
        let key = SigningKey::parse(KEY).unwrap();
        assert_eq!(&verify(&key, &vector(changes), now), expected, "{changes:?} at {now}");
    }

    #[test]
    fn the_published_vector_verifies() {
        check(&[], SENT, &Ok(()));
        let several = format!("v1,AAAA v1a,BBBB {GOOD}");
        check(&[("webhook-signature", several.as_str())], SENT, &Ok(()));
    }

    #[test]
    fn svix_headers_do_as_well() {
        let changes = [
            ("webhook-id", ""),
            ("webhook-timestamp", ""),
            ("webhook-signature", ""),
            ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("svix-timestamp", "1614265330"),
            ("svix-signature", GOOD),
        ];
        check(&changes, SENT, &Ok(()));
    }

    #[test]
    fn age_is_limited_both_ways() {
        for now in [SENT - TOLERANCE_SECS, SENT + TOLERANCE_SECS] {
            check(&[], now, &Ok(()));
        }
        for now in [SENT - TOLERANCE_SECS - 1, SENT + TOLERANCE_SECS + 1] {
            check(&[], now, &Err(Unverified::Age(TOLERANCE_SECS + 1)));
        }
    }

    #[test]
    fn anything_changed_is_noticed() {
        check(&[("webhook-id", "msg_other")], SENT, &Err(Unverified::Signature));
        check(&[("webhook-timestamp", "1614265331")], SENT, &Err(Unverified::Signature));
        check(&[("webhook-timestamp", "soon")], SENT, &Err(Unverified::Timestamp));
        check(&[("webhook-signature", "v1,")], SENT, &Err(Unverified::Signature));
        check(&[("webhook-signature", &GOOD[3..])], SENT, &Err(Unverified::Signature));
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            check(&[(name, "")], SENT, &Err(Unverified::Missing(name)));
        }
        let key = SigningKey::parse(KEY).unwrap();
        let mut changed = vector(&[]);
        changed.body.push(b' ');
        assert_eq!(verify(&key, &changed, SENT), Err(Unverified::Signature));
    }
}
