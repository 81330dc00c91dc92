//! Receivers with certificates: refused ones are told apart in words a person understands, an
//! authority of one's own is trusted when it is named, and our certificate is shown when asked for.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::date_time_ymd;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::binary::posthaste;
use crate::hostile_tools::{House, until};
use crate::made_certificates::{Authority, Identity, authority, params, server_config};

const HERE: &str = "127.0.0.1";

/// Starts a receiver that says yes to everything; its URL. With `clients` it wants a certificate of
/// theirs.
fn receiver(with: &Identity, clients: Option<&Authority>) -> String {
    let config = server_config(with, clients);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{HERE}:{}/", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whether it was refused is seen at the other end.
            drop(answer(stream, &config));
        }
    });
    url
}

fn answer(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<()> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(session, stream);
    let mut request = Vec::new();
    while !request.ends_with(br#"{"n":1}"#) {
        let mut piece = [0; 4096];
        match tls.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    tls.write_all(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n")?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// Writes a file that nobody else may read.
fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Sends one message to `url`; the cause its attempt failed for, by code and in words. Both empty
/// when it was delivered.
fn send(house: &House, url: &str) -> (String, String) {
    let app = house.app("certificates");
    let endpoint = house.endpoint(&app, url);
    house.send(&app);
    let attempt = until("an attempt", Duration::from_secs(20), || {
        house.attempts(&app, &endpoint).first().cloned()
    });
    let text = |key: &str| attempt[key].as_str().unwrap_or_default().to_owned();
    if attempt["status"] == 0 {
        assert_eq!(text("failureCode"), "");
        return (String::new(), String::new());
    }
    (text("failureCode"), text("response"))
}

#[track_caller]
fn check(house: &House, what: &str, url: &str, code: &str, words: &str) {
    let (found, cause) = send(house, url);
    assert!(found == code && cause.contains(words), "{what}: {found} {cause:?}");
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const RETRIES: (&str, &str) = ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]");
const CA_FILE: &str = "POSTHASTE_DELIVERY_CA_FILE";
const CLIENT_CERT_FILE: &str = "POSTHASTE_DELIVERY_CLIENT_CERT_FILE";

#[test]
fn certificates_are_refused_for_a_reason_and_trusted_when_their_authority_is_named() {
    let ours = authority();
    let good = receiver(&Identity::new(Some(&ours), &params(HERE)), None);
    let mut old = params(HERE);
    old.not_before = date_time_ymd(2020, 1, 1);
    old.not_after = date_time_ymd(2021, 1, 1);
    let expired = receiver(&Identity::new(Some(&ours), &old), None);
    let misnamed = receiver(&Identity::new(Some(&ours), &params("other.example")), None);
    let self_signed = receiver(&Identity::new(None, &params(HERE)), None);
    let stranger = receiver(&Identity::new(Some(&authority()), &params(HERE)), None);

    let house = House::start(&[RETRIES]);
    check(&house, "without the authority", &good, "tls_unknown_ca", "delivery.ca_file");
    check(&house, "self-signed", &self_signed, "tls_unknown_ca", "self-signed");
    house.stop();

    let folder = tempfile::tempdir().unwrap();
    let ca = file(folder.path(), "ca.pem", &ours.pem());
    let house = House::start(&[RETRIES, (CA_FILE, ca.to_str().unwrap())]);
    check(&house, "with the authority", &good, "", "");
    check(&house, "expired", &expired, "tls_cert_expired", "has expired");
    check(&house, "wrong name", &misnamed, "tls_name_mismatch", "another name");
    check(&house, "self-signed", &self_signed, "tls_unknown_ca", "self-signed");
    check(&house, "another authority", &stranger, "tls_unknown_ca", "unknown authority");
    house.stop();
}

#[test]
fn our_certificate_is_shown_to_who_asks_for_it() {
    let ours = authority();
    let clients = authority();
    let asks = receiver(&Identity::new(Some(&ours), &params(HERE)), Some(&clients));
    let folder = tempfile::tempdir().unwrap();
    let ca = file(folder.path(), "ca.pem", &ours.pem());
    let ca = (CA_FILE, ca.to_str().unwrap());

    let house = House::start(&[RETRIES, ca]);
    check(&house, "none", &asks, "tls_client_certificate", "delivery.client_cert_file");
    house.stop();

    let client = Identity::new(Some(&clients), &params("posthaste"));
    let pem = format!("{}{}", client.pem, client.key.serialize_pem());
    let client = file(folder.path(), "client.pem", &pem);
    let house = House::start(&[RETRIES, ca, (CLIENT_CERT_FILE, client.to_str().unwrap())]);
    check(&house, "ours", &asks, "", "");
    house.stop();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |key: &str, path: &Path, words: &[&str]| {
        let mut command = posthaste(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(folder.path().join("data")).env(key, path);
        let mut child = Ended(command.stderr(Stdio::piped()).spawn().unwrap());
        until("its end", Duration::from_secs(20), || child.0.try_wait().unwrap());
        let mut said = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = child.0.wait().unwrap().code();
        assert_eq!(code, Some(1), "{key}: {said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    };
    let missing = folder.path().join("missing.pem");
    let junk = file(folder.path(), "junk.pem", "no certificate");
    let certificate = Identity::new(None, &params(HERE));
    let lonely = file(folder.path(), "lonely.pem", &certificate.pem);
    let with_key = format!("{}{}", certificate.pem, certificate.key.serialize_pem());
    let open = file(folder.path(), "open.pem", &with_key);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(CA_FILE, &missing, &["delivery.ca_file", "missing.pem", "No such file"]);
    refused(CA_FILE, &junk, &["delivery.ca_file", "no certificate"]);
    refused(CLIENT_CERT_FILE, &missing, &["delivery.client_cert_file", "missing.pem"]);
    refused(CLIENT_CERT_FILE, &open, &["delivery.client_cert_file", "chmod o-rwx"]);
    refused(CLIENT_CERT_FILE, &lonely, &["delivery.client_cert_file", "key"]);
}
