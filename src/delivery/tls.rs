//! TLS to receivers: what is trusted, the handshake inside the deadline, and errors in words.
//!
//! There is no switch that turns verification off. A receiver with a certificate of a private
//! authority is reached by adding that authority (`Trust::extra_roots`).

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error as RustlsError,
    InvalidMessage, RootCertStore,
};

use super::classify::io_failure;
use super::socket::{is_again, wait_readable, wait_writable};
use crate::model::outcome::{Failure, Phase, TlsFailure};

/// Whom we trust and who we say we are.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Certificates of further authorities, PEM, on top of the built-in web roots.
    pub extra_roots: Option<Vec<u8>>,
    /// Our certificate chain and its key for receivers that ask for one, PEM, in one text.
    pub client_identity: Option<Vec<u8>>,
}

/// Why the trust settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The authorities' file is not PEM, or has no certificate in it.
    #[error("delivery.ca_file: the file has no certificate that can be used: {0}")]
    Roots(String),
    /// The client certificate or its key is unusable.
    #[error("delivery.client_cert_file: the certificate or its key cannot be used: {0}")]
    Identity(String),
}

/// Builds the TLS configuration, which all connections share (and with it the session cache).
pub fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = &trust.extra_roots {
        for certificate in certificates(pem).map_err(TrustError::Roots)? {
            roots.add(certificate).map_err(|e| TrustError::Roots(e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| TrustError::Roots(e.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TrustError::Roots(e.to_string()))?
        .with_webpki_verifier(verifier);
    let config = match &trust.client_identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = certificates(pem).map_err(TrustError::Identity)?;
            let key = PrivateKeyDer::from_pem_slice(pem)
                .map_err(|e| TrustError::Identity(e.to_string()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| TrustError::Identity(e.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

/// All certificates in a PEM text; none is an error.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(e) => Err(e.to_string()),
    }
}

/// Makes the handshake on a connected socket. `host` is a name or an address, IPv6 in brackets.
pub fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: &TcpStream,
) -> Result<ClientConnection, Failure> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).map_err(|e| Failure::BadUrl {
        detail: format!("{bare} cannot be in a certificate: {e}"),
    })?;
    let mut session =
        ClientConnection::new(Arc::clone(config), name).map_err(|e| tls_failure(&e))?;
    while session.is_handshaking() {
        flush(&mut session, stream).map_err(|e| io_failure(&e, Phase::Tls))?;
        if session.is_handshaking() {
            let n = receive(&mut session, stream).map_err(|e| io_failure(&e, Phase::Tls))?;
            if n == 0 {
                return Err(Failure::ConnectionClosed { phase: Phase::Tls });
            }
        }
    }
    Ok(session)
}

/// Sends whatever the session has to send.
pub fn flush(session: &mut ClientConnection, mut stream: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(e) if is_again(&e) => wait_writable(stream)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Waits for bytes and feeds them to the session. `Ok(0)` is the end of the stream. A fault of
/// TLS itself comes as an [`io::Error`] with the [`RustlsError`] inside.
pub fn receive(session: &mut ClientConnection, mut stream: &TcpStream) -> io::Result<usize> {
    let n = loop {
        wait_readable(stream)?;
        match session.read_tls(&mut stream) {
            Err(e) if is_again(&e) => {}
            done => break done?,
        }
    };
    if let Err(e) = session.process_new_packets() {
        // The peer is told why, if it still listens; the fault to report is `e`.
        session.write_tls(&mut stream).ok();
        return Err(io::Error::new(ErrorKind::InvalidData, e));
    }
    Ok(n)
}

/// The library's error as a failure a person understands.
pub fn tls_failure(error: &RustlsError) -> Failure {
    Failure::Tls(kind_of(error))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are non-exhaustive")]
fn kind_of(error: &RustlsError) -> TlsFailure {
    use CertificateError as Cert;
    match error {
        RustlsError::InvalidCertificate(fault) => match fault {
            Cert::Expired | Cert::ExpiredContext { .. } => TlsFailure::Expired,
            Cert::NotValidYet | Cert::NotValidYetContext { .. } => TlsFailure::NotYetValid,
            Cert::NotValidForName | Cert::NotValidForNameContext { .. } => TlsFailure::NameMismatch,
            // A bad signature is an authority that only has the name of a trusted one.
            Cert::UnknownIssuer | Cert::BadSignature => TlsFailure::UnknownAuthority,
            // A self-signed certificate that says it is an authority, as `openssl req -x509`
            // makes them. The library has no name for it.
            Cert::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                TlsFailure::UnknownAuthority
            }
            other => TlsFailure::Other(other.to_string()),
        },
        RustlsError::PeerIncompatible(_)
        | RustlsError::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity,
        ) => TlsFailure::NoCommonCipher,
        RustlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            TlsFailure::ClientCertificate
        }
        RustlsError::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFailure::NotTls,
        other => TlsFailure::Other(other.to_string()),
    }
}
