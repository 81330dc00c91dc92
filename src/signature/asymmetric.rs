//! Signatures by a private key: Ed25519, ECDSA on P-256, RSA PKCS#1.
//!
//! Verifying is all that happens here; keys come decoded from [`key`](super::key). Certificates
//! are pinned: nothing is fetched, and no chain is built, because the operator named the key.

use super::digest::Hash;
use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    alg_id,
};
use webpki::RawPublicKeyEntity;
use webpki::ring::{
    ECDSA_P256_SHA256, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512,
};

pub(crate) fn ed25519(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// The signature in DER, as every provider that uses it sends it.
pub(crate) fn ecdsa_p256(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    verify(ECDSA_P256_SHA256, spki, message, signature)
}

pub(crate) fn rsa_pkcs1(hash: Hash, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn SignatureVerificationAlgorithm = match hash {
        Hash::Sha1 => &RsaSha1,
        Hash::Sha256 => RSA_PKCS1_2048_8192_SHA256,
        Hash::Sha384 => RSA_PKCS1_2048_8192_SHA384,
        Hash::Sha512 => RSA_PKCS1_2048_8192_SHA512,
    };
    verify(algorithm, spki, message, signature)
}

fn verify(
    algorithm: &dyn SignatureVerificationAlgorithm,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let spki = SubjectPublicKeyInfoDer::from(spki);
    let Ok(key) = RawPublicKeyEntity::try_from(&spki) else { return false };
    key.verify_signature(algorithm, message, signature).is_ok()
}

/// RSA with SHA-1, which TLS libraries rightly left behind and Amazon SNS still signs with
/// (`SignatureVersion` 1).
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    /// Only certificates' own signatures are matched with it, and none is verified here.
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }
}
