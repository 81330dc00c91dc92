//! The secrets that outgoing messages are signed with, and their text forms.
//!
//! Only the key material and how it is written: what is signed with it, and how, is the
//! business of `signature::sign`. Random bytes come in as arguments. Nothing here prints a key:
//! `Debug` is redacted, and [`SigningKey::to_text`] is the one deliberate way out.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::fmt;

/// Prefix of a symmetric secret in text (Standard Webhooks).
pub const SYMMETRIC_PREFIX: &str = "whsec_";
/// Prefix of an Ed25519 secret in text (Standard Webhooks).
pub const ED25519_PREFIX: &str = "whsk_";
/// Prefix of an Ed25519 public key in text (Standard Webhooks).
pub const PUBLIC_PREFIX: &str = "whpk_";

/// Fewest bytes of a symmetric secret (Standard Webhooks: 24 to 64).
pub const MIN_SYMMETRIC_BYTES: usize = 24;
/// Most bytes of a symmetric secret: svix accepts up to 75, and its users bring such keys along.
pub const MAX_SYMMETRIC_BYTES: usize = 75;
/// Bytes of an Ed25519 seed, of its public key, and of every secret made here.
pub const KEY_BYTES: usize = 32;

/// Keys come from many hands, so padding may be missing; the alphabet is the standard one.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that outgoing messages are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// HMAC-SHA256, signature version `v1`; [`MIN_SYMMETRIC_BYTES`] to [`MAX_SYMMETRIC_BYTES`].
    Symmetric(Vec<u8>),
    /// Ed25519, signature version `v1a`. `public` always belongs to `seed`.
    Ed25519 {
        /// The secret half.
        seed: [u8; KEY_BYTES],
        /// The half that receivers may know.
        public: [u8; KEY_BYTES],
    },
}

/// Why a secret's text was not accepted. Never contains the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing but white space.
    #[error("the secret is empty; give `whsec_` followed by base64 of 24 to 75 random bytes")]
    Empty,
    /// The part after the prefix is not standard base64.
    #[error(
        "the secret is not standard base64 after its prefix; \
         it must look like `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`"
    )]
    NotBase64,
    /// A symmetric secret of the wrong size.
    #[error("the secret has {0} bytes; a `whsec_` secret needs 24 to 75")]
    SymmetricLength(usize),
    /// An Ed25519 secret of the wrong size.
    #[error(
        "the secret has {0} bytes; a `whsk_` secret needs 64 (seed, then public key) or 32 (seed)"
    )]
    Ed25519Length(usize),
    /// The two halves of an Ed25519 secret do not belong together.
    #[error("the public half of the `whsk_` secret does not belong to its seed; export it again")]
    PublicMismatch,
    /// A public key where a secret is needed.
    #[error("`whpk_` is a public key and cannot sign; give the `whsk_` secret")]
    PublicKey,
}

impl SigningKey {
    /// Makes a symmetric key of 32 random bytes.
    pub fn symmetric_from_random(random: [u8; KEY_BYTES]) -> Self {
        Self::Symmetric(random.to_vec())
    }

    /// Makes an Ed25519 key of 32 random bytes, which become the seed.
    pub fn ed25519_from_random(random: [u8; KEY_BYTES]) -> Self {
        Self::Ed25519 { seed: random, public: public_of(&random) }
    }

    /// Makes a symmetric key of the given bytes, or says that they are too few or too many.
    pub fn symmetric(bytes: Vec<u8>) -> Result<Self, SecretError> {
        if !(MIN_SYMMETRIC_BYTES..=MAX_SYMMETRIC_BYTES).contains(&bytes.len()) {
            return Err(SecretError::SymmetricLength(bytes.len()));
        }
        Ok(Self::Symmetric(bytes))
    }

    /// Reads `whsec_…`, `whsk_…`, or base64 without a prefix, which svix takes as symmetric.
    ///
    /// White space around the text is ignored: secrets come out of files and environments.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretError::PublicKey);
        }
        if let Some(rest) = text.strip_prefix(ED25519_PREFIX) {
            return Self::ed25519(&decode(rest)?);
        }
        Self::symmetric(decode(text.strip_prefix(SYMMETRIC_PREFIX).unwrap_or(text))?)
    }

    fn ed25519(bytes: &[u8]) -> Result<Self, SecretError> {
        let wrong_length = SecretError::Ed25519Length(bytes.len());
        let Some((seed, public)) = bytes.split_first_chunk::<KEY_BYTES>() else {
            return Err(wrong_length);
        };
        let expected = public_of(seed);
        match public.len() {
            0 => {}
            KEY_BYTES if *public == expected => {}
            KEY_BYTES => return Err(SecretError::PublicMismatch),
            _ => return Err(wrong_length),
        }
        Ok(Self::Ed25519 { seed: *seed, public: expected })
    }

    /// The secret as text: `whsec_…`, or `whsk_` with seed and public key as svix writes it.
    ///
    /// This is the secret itself. It belongs in the answer that hands it to its owner and in
    /// nothing else, which is why it is not `Display`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Symmetric(bytes) => encode(SYMMETRIC_PREFIX, bytes),
            Self::Ed25519 { seed, public } => encode(ED25519_PREFIX, &[*seed, *public].concat()),
        }
    }

    /// The public key as `whpk_…`, which receivers verify with; `None` for a symmetric key.
    pub fn public_text(&self) -> Option<String> {
        match self {
            Self::Symmetric(_) => None,
            Self::Ed25519 { public, .. } => Some(encode(PUBLIC_PREFIX, public)),
        }
    }

    /// Eight hex digits that tell keys apart in lists and logs without giving them away.
    pub fn fingerprint(&self) -> String {
        let bytes = match self {
            Self::Symmetric(bytes) => bytes.as_slice(),
            Self::Ed25519 { public, .. } => public,
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let first =
            digest.as_ref().first_chunk::<4>().map_or(0, |first| u32::from_be_bytes(*first));
        format!("{first:08x}")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Symmetric(_) => "Symmetric",
            Self::Ed25519 { .. } => "Ed25519",
        };
        write!(f, "{kind}({}, redacted)", self.fingerprint())
    }
}

/// The public key that belongs to an Ed25519 seed.
#[expect(clippy::expect_used, reason = "ring refuses a seed only for its length, fixed here")]
fn public_of(seed: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 bytes");
    pair.public_key().as_ref().try_into().expect("a public key of 32 bytes")
}

fn decode(text: &str) -> Result<Vec<u8>, SecretError> {
    if text.is_empty() {
        return Err(SecretError::Empty);
    }
    LENIENT.decode(text).map_err(|_| SecretError::NotBase64)
}

fn encode(prefix: &str, bytes: &[u8]) -> String {
    let mut text = String::from(prefix);
    STANDARD.encode_string(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pair that svix publishes in its documentation.
    const PUBLISHED_SECRET: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLISHED_PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    fn check_fails(text: &str, expected: &SecretError) {
        assert_eq!(SigningKey::parse(text).as_ref(), Err(expected), "{text}");
    }

    fn whsec(length: usize) -> String {
        encode(SYMMETRIC_PREFIX, &vec![7; length])
    }

    #[test]
    fn symmetric_text_is_read_with_and_without_prefix_and_padding() {
        let key =
            SigningKey::symmetric_from_random(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let text = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert_eq!(key.to_text(), text);
        assert_eq!(key.public_text(), None);
        for written in [text, &text[6..], text.trim_end_matches('='), &format!(" {text}\n")] {
            assert_eq!(SigningKey::parse(written), Ok(key.clone()), "{written}");
        }
    }

    #[test]
    fn symmetric_length_is_limited_at_both_ends() {
        for good in [MIN_SYMMETRIC_BYTES, KEY_BYTES, 64, MAX_SYMMETRIC_BYTES] {
            assert!(SigningKey::parse(&whsec(good)).is_ok(), "{good}");
        }
        for bad in [1, MIN_SYMMETRIC_BYTES - 1, MAX_SYMMETRIC_BYTES + 1] {
            check_fails(&whsec(bad), &SecretError::SymmetricLength(bad));
        }
    }

    #[test]
    fn ed25519_text_holds_the_seed_and_its_public_key() {
        let key = SigningKey::parse(PUBLISHED_SECRET).unwrap();
        assert_eq!(key.to_text(), PUBLISHED_SECRET);
        assert_eq!(key.public_text().as_deref(), Some(PUBLISHED_PUBLIC));

        let SigningKey::Ed25519 { seed, .. } = &key else { panic!("not Ed25519: {key:?}") };
        assert_eq!(SigningKey::parse(&encode(ED25519_PREFIX, seed)), Ok(key.clone()));
        assert_eq!(SigningKey::ed25519_from_random(*seed), key);
    }

    #[test]
    fn ed25519_halves_must_belong_together() {
        let mut bytes = STANDARD.decode(&PUBLISHED_SECRET[5..]).unwrap();
        bytes[63] ^= 1;
        check_fails(&encode(ED25519_PREFIX, &bytes), &SecretError::PublicMismatch);
        for bad in [31, 33, 63, 65] {
            let text = encode(ED25519_PREFIX, &vec![1; bad]);
            check_fails(&text, &SecretError::Ed25519Length(bad));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for empty in ["", "  \n", "whsec_", "whsk_"] {
            check_fails(empty, &SecretError::Empty);
        }
        check_fails("whsec_not base64!", &SecretError::NotBase64);
        check_fails("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFR-_", &SecretError::NotBase64);
        check_fails(PUBLISHED_PUBLIC, &SecretError::PublicKey);
    }

    #[test]
    fn debug_never_shows_the_key() {
        for text in [whsec(32), PUBLISHED_SECRET.to_owned()] {
            let key = SigningKey::parse(&text).unwrap();
            let shown = format!("{key:?}");
            assert!(shown.contains("redacted") && shown.contains(&key.fingerprint()), "{shown}");
            assert!(shown.len() < 40 && !shown.contains(&text[6..12]), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,120}", prefix in "(whsec_|whsk_|whpk_)?") {
            let written = format!("{prefix}{text}");
            if let Ok(key) = SigningKey::parse(&written) {
                prop_assert_eq!(SigningKey::parse(&key.to_text()), Ok(key));
            }
        }
    }
}
