//! Hashes, HMACs, encodings and the one comparison: the arithmetic under the verifier.
//!
//! Nothing here knows a header or a provider. Every comparison of something secret goes through
//! [`same`], over the full length.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

/// The hash functions that providers sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) const NAMES: &'static str = "sha1, sha256, sha384, sha512";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Bytes of a digest, and so of an HMAC.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    pub(crate) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1 => digest::<Sha1>(parts),
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha384 => digest::<Sha384>(parts),
            Self::Sha512 => digest::<Sha512>(parts),
        }
    }

    pub(crate) fn hmac<P: AsRef<[u8]>>(self, key: &[u8], parts: &[P]) -> Vec<u8> {
        match self {
            Self::Sha1 => hmac::<Hmac<Sha1>, P>(key, parts),
            Self::Sha256 => hmac::<Hmac<Sha256>, P>(key, parts),
            Self::Sha384 => hmac::<Hmac<Sha384>, P>(key, parts),
            Self::Sha512 => hmac::<Hmac<Sha512>, P>(key, parts),
        }
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = D::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_vec()
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac<M: Mac + KeyInit, P: AsRef<[u8]>>(key: &[u8], parts: &[P]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part.as_ref());
    }
    mac.finalize().into_bytes().to_vec()
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
///
/// Different lengths are different, never compared up to the shorter one: that is how the svix
/// crate came to accept an empty signature (RUSTSEC-2024-0010).
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// [`same`] for tokens of unknown length: both sides are hashed first, so not even the length
/// of the secret shows in the time.
pub(crate) fn same_token(left: &[u8], right: &[u8]) -> bool {
    same(&Hash::Sha256.digest(&[left]), &Hash::Sha256.digest(&[right]))
}

/// How bytes are written as text in a header or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Hex,
    Base64,
    Base64Url,
}

impl Encoding {
    pub(crate) const NAMES: &'static str = "hex, base64, base64url";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            "base64url" => Some(Self::Base64Url),
            _ => None,
        }
    }

    /// The bytes, or `None` when the text is not in this encoding. Hex may be in either case;
    /// base64 is the standard alphabet with its padding, base64url may go without padding.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => from_hex(text),
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok(),
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE.encode(bytes),
        }
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// The value of one hex digit.
pub(crate) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 2202 and RFC 4231, test case 2.
    #[test]
    fn hmacs_match_the_rfcs() {
        let check = |hash: Hash, expected: &str| {
            let mac = hash.hmac(b"Jefe", &["what do ya want ", "for nothing?"]);
            assert_eq!(hex(&mac), expected, "{hash:?}");
            assert_eq!(mac.len(), hash.length());
        };
        check(Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        check(Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        check(
            Hash::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        );
        check(
            Hash::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        );
    }

    #[test]
    fn comparison_is_over_the_full_length() {
        assert!(same(b"abc", b"abc") && same(b"", b"") && same_token(b"abc", b"abc"));
        for other in [b"".as_slice(), b"ab", b"abcd", b"abd"] {
            assert!(!same(b"abc", other) && !same_token(b"abc", other), "{other:?}");
            assert!(!same(other, b"abc"), "{other:?}");
        }
    }

    #[test]
    fn encodings_are_strict_where_it_matters() {
        assert_eq!(Encoding::Hex.decode("00fFaB"), Some(vec![0, 255, 171]));
        for bad in ["0", "0g", " 00", "00 ", "+1", "0x00", "é"] {
            assert_eq!(Encoding::Hex.decode(bad), None, "{bad}");
        }
        assert_eq!(Encoding::Base64.decode("+/8="), Some(vec![251, 255]));
        for bad in ["+/8", "-_8=", "+/8=,x", "!!!", "+/9="] {
            assert_eq!(Encoding::Base64.decode(bad), None, "{bad}");
        }
        assert_eq!(Encoding::Base64Url.decode("-_8"), Some(vec![251, 255]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes: Vec<u8>, text in "\\PC{0,40}") {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                prop_assert_eq!(encoding.decode(&encoding.encode(&bytes)), Some(bytes.clone()));
                let _ = encoding.decode(&text);
            }
        }
    }
}
