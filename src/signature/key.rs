//! The secrets that requests are verified with, decoded once when the configuration is loaded.
//!
//! An empty secret is an error *here*: a verifier that skips the check because there is nothing
//! to check with has cost others dearly (CVE-2026-41432). `Debug` shows nothing.

use super::digest::Encoding;
use super::profile::{Profile, Scheme};
use super::reason::Hint;
use crate::model::secret::{ED25519_PREFIX, SigningKey};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use std::fmt;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Secrets that are printed in documentation or in libraries' tests. A request signed with one of
/// them proves nothing.
const PUBLISHED: &[&str] = &[
    "It's a Secret to Everybody",
    "8f742231b10e8888abcd99yyyzzz85a5",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_test_secret",
];

/// Words that stand where a secret should be.
const PLACEHOLDERS: &[&str] =
    &["secret", "password", "changeme", "change-me", "change_me", "test", "todo", "example"];

/// How a profile's secrets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyEncoding {
    /// The text itself. Stripe's `whsec_…` is this, whatever it looks like.
    Utf8,
    Hex,
    Base64,
    /// A certificate or a public key in PEM.
    Pem,
    /// A public key (`SubjectPublicKeyInfo`) in DER, in base64.
    SpkiDerBase64,
}

impl KeyEncoding {
    pub(crate) const NAMES: &'static str = "utf8, hex, base64, pem, spki-der-base64";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "utf8" => Some(Self::Utf8),
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            "pem" => Some(Self::Pem),
            "spki-der-base64" => Some(Self::SpkiDerBase64),
            _ => None,
        }
    }
}

/// One secret or public key of one profile, ready for use. Made by [`Profile::secret`].
#[derive(Clone)]
pub struct Secret {
    pub(crate) key: Key,
    /// What to say when nothing matches it.
    pub(crate) hint: Option<Hint>,
}

#[derive(Clone)]
pub(crate) enum Key {
    /// For HMAC, tokens and basic authentication.
    Bytes(Vec<u8>),
    Ed25519([u8; 32]),
    /// `SubjectPublicKeyInfo` in DER, for ECDSA and RSA.
    Spki(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Why a secret cannot be used with a profile. Never contains the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing, or nothing but white space.
    #[error("the secret is empty; a source without a secret would accept anything")]
    Empty,
    /// Not written as the profile's keys are.
    #[error("the secret of a `{profile}` source must be {expected}")]
    Malformed {
        /// The profile.
        profile: String,
        /// What was expected.
        expected: &'static str,
    },
}

impl Profile {
    /// Reads one secret as this provider writes it. To be called when configuration is loaded,
    /// so that a secret that can never match is an error then and not a refused request later.
    pub fn secret(&self, text: &str) -> Result<Secret, KeyError> {
        if text.trim().is_empty() {
            return Err(KeyError::Empty);
        }
        let malformed = |expected| KeyError::Malformed { profile: self.name.clone(), expected };
        let key = match self.scheme {
            Scheme::Hmac(_) | Scheme::Token | Scheme::Basic => {
                Key::Bytes(self.key_bytes(text).map_err(malformed)?)
            }
            Scheme::Ed25519 => Key::Ed25519(self.ed25519_key(text).map_err(malformed)?),
            Scheme::EcdsaP256 | Scheme::Rsa(_) | Scheme::AwsSns => {
                let expected = "a PEM certificate, a PEM public key, or a public key in base64 DER";
                Key::Spki(spki(text).ok_or(malformed(expected))?)
            }
        };
        match &key {
            Key::Bytes(bytes) if bytes.is_empty() => Err(KeyError::Empty),
            Key::Bytes(_) | Key::Ed25519(_) | Key::Spki(_) => Ok(Secret { key, hint: hint(text) }),
        }
    }

    fn key_bytes(&self, text: &str) -> Result<Vec<u8>, &'static str> {
        let stripped = |text| self.stripped_key(text);
        match self.key_encoding {
            KeyEncoding::Utf8 => Ok(stripped(text).as_bytes().to_vec()),
            KeyEncoding::Hex => Encoding::Hex.decode(stripped(text.trim())).ok_or("hex digits"),
            KeyEncoding::Base64 => LENIENT
                .decode(stripped(text.trim()))
                .map_err(|_| "standard base64 after its prefix, if it has one"),
            KeyEncoding::Pem | KeyEncoding::SpkiDerBase64 => Err("of another key_encoding"),
        }
    }

    fn ed25519_key(&self, text: &str) -> Result<[u8; 32], &'static str> {
        let expected = "an Ed25519 public key of 32 bytes";
        let text = text.trim();
        if text.starts_with(ED25519_PREFIX) {
            return match SigningKey::parse(text) {
                Ok(SigningKey::Ed25519 { public, .. }) => Ok(public),
                Ok(SigningKey::Symmetric(_)) | Err(_) => Err(expected),
            };
        }
        let bytes = match self.key_encoding {
            KeyEncoding::Hex => Encoding::Hex.decode(self.stripped_key(text)),
            KeyEncoding::Base64
            | KeyEncoding::Utf8
            | KeyEncoding::Pem
            | KeyEncoding::SpkiDerBase64 => LENIENT.decode(self.stripped_key(text)).ok(),
        };
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(expected)
    }

    fn stripped_key<'t>(&self, text: &'t str) -> &'t str {
        let prefix = self.key_strip.as_deref().unwrap_or_default();
        text.strip_prefix(prefix).unwrap_or(text)
    }
}

/// The public key out of a PEM certificate, a PEM public key or base64 DER.
fn spki(text: &str) -> Option<Vec<u8>> {
    let pem = text.as_bytes();
    let spki = if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
        let certificate = webpki::EndEntityCert::try_from(&certificate).ok()?;
        certificate.subject_public_key_info().to_vec()
    } else if let Ok(public) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        public.to_vec()
    } else {
        let compact: String = text.split_whitespace().collect();
        LENIENT.decode(compact).ok()?
    };
    webpki::RawPublicKeyEntity::try_from(&SubjectPublicKeyInfoDer::from(spki.as_slice())).ok()?;
    Some(spki)
}

fn hint(text: &str) -> Option<Hint> {
    if !text.starts_with("-----") && text.trim() != text {
        return Some(Hint::SecretHasWhitespace);
    }
    let lower = text.to_ascii_lowercase();
    let repeated = text.bytes().all(|byte| Some(&byte) == text.as_bytes().first());
    let placeholder = PLACEHOLDERS.contains(&lower.as_str())
        || lower.starts_with("your")
        || lower.starts_with('<')
        || PUBLISHED.contains(&text);
    (repeated || placeholder).then_some(Hint::SecretLooksLikeTestKey)
}

#[cfg(test)]
mod tests {
    use super::super::Providers;
    use super::*;
    use proptest::prelude::*;

    fn load(profile: &str, text: &str) -> Result<Secret, KeyError> {
        Providers::builtin().get(profile).unwrap().secret(text)
    }

    #[test]
    fn an_empty_secret_is_refused_by_every_profile() {
        for profile in Providers::builtin().iter() {
            for text in ["", " ", "\r\n\t "] {
                assert_eq!(profile.secret(text).unwrap_err(), KeyError::Empty, "{}", profile.name);
            }
        }
        for (profile, text) in [("standard_webhooks", "whsec_"), ("svix", "whsec_")] {
            assert_eq!(load(profile, text).unwrap_err(), KeyError::Empty);
        }
    }

    #[test]
    fn secrets_are_decoded_as_their_provider_writes_them() {
        let bytes = |profile, text| match load(profile, text).unwrap().key {
            Key::Bytes(bytes) | Key::Spki(bytes) => bytes,
            Key::Ed25519(bytes) => bytes.to_vec(),
        };
        assert_eq!(bytes("stripe", "whsec_AAEC"), b"whsec_AAEC");
        assert_eq!(bytes("standard_webhooks", "whsec_AAEC"), [0, 1, 2]);
        assert_eq!(bytes("standard_webhooks", "AAEC\n"), [0, 1, 2]);
        assert_eq!(bytes("adyen_standard", "00fF"), [0, 255]);
        let secret = SigningKey::ed25519_from_random([7; 32]);
        let public = secret.public_text().unwrap();
        let profile = "standard_webhooks_ed25519";
        assert_eq!(bytes(profile, &secret.to_text()), bytes(profile, &public));
    }

    #[test]
    fn what_cannot_match_is_refused_when_loaded() {
        for (profile, text) in [
            ("standard_webhooks", "whsec_not base64"),
            ("adyen_standard", "xyz"),
            ("discord", "00ff"),
            ("sendgrid", "AAEC"),
            ("paypal", "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"),
        ] {
            let error = load(profile, text).unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }), "{profile}: {error}");
            assert!(!error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn hints_tell_placeholders_from_keys() {
        let check = |text: &str, expected| assert_eq!(hint(text), expected, "{text}");
        for text in ["It's a Secret to Everybody", "changeme", "your_secret_here", "xxxxxxxx"] {
            check(text, Some(Hint::SecretLooksLikeTestKey));
        }
        check("abc ", Some(Hint::SecretHasWhitespace));
        check("-----BEGIN CERTIFICATE-----\n", None);
        check("wh_live_8f2c", None);
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = load("github", "wh_live_8f2c").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            for profile in Providers::builtin().iter() {
                drop(profile.secret(&text));
            }
        }
    }
}
