//! TLS receivers: good ones, and each way to be a bad one.

use rcgen::{BasicConstraints, CertificateParams, IsCa, date_time_ymd};
use rustls::{ServerConnection, StreamOwned};

#[path = "../../../tests/support/certificates.rs"]
mod certificates;

use certificates::{Authority, Identity, authority, params, server_config};

use super::*;
use crate::model::outcome::{Phase, TlsFailure};

const NAME: &str = "receiver.example";

fn identity(by: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = params(name);
    change(&mut params);
    Identity::new(Some(by), &params)
}

fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = params(NAME);
    change(&mut params);
    Identity::new(None, &params)
}

/// A receiver with this identity; it wants a certificate of `clients` where that is given.
fn receiver(with: &Identity, clients: Option<&Authority>) -> Scripted {
    running(with, clients, |tls, _| answer_all(tls, OK))
}

type Session = StreamOwned<ServerConnection, TcpStream>;

/// The same with a script.
fn running(
    with: &Identity,
    clients: Option<&Authority>,
    script: impl Fn(&mut Session, usize) -> io::Result<()> + Send + Sync + 'static,
) -> Scripted {
    let config = server_config(with, clients);
    Scripted::start(move |stream, number| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        script(&mut StreamOwned::new(session, stream.try_clone()?), number)
    })
}

fn deliverer_trusting(
    authority: &Authority,
    timeout: Duration,
    client: Option<&Identity>,
) -> Deliverer {
    let mut config = config(timeout);
    config.trust.extra_roots = Some(authority.pem().into_bytes());
    config.trust.client_identity =
        client.map(|it| format!("{}{}", it.pem, it.key.serialize_pem()).into_bytes());
    Deliverer::with_lookup(config, Stub::with(NAME, &[&["127.0.0.1"]])).unwrap()
}

fn url(receiver: &Scripted) -> String {
    format!("https://{NAME}:{}/hook", receiver.address.port())
}

fn check(receiver: &Scripted, authority: &Authority, failure: Option<TlsFailure>) {
    let outcome = send(&deliverer_trusting(authority, LONG, None), &url(receiver));
    assert_eq!(outcome.failure, failure.map(Failure::Tls));
}

#[test]
fn a_trusted_receiver_is_reached_and_its_connection_kept() {
    let authority = authority();
    let good = receiver(&identity(&authority, NAME, |_| {}), None);
    let deliverer = deliverer_trusting(&authority, LONG, None);
    let body = vec![b'x'; 100_000];
    for body in [b"{}".as_slice(), &body, b"{}"] {
        let outcome = deliverer.attempt(&Job { body, ..job(&url(&good)) });
        assert_eq!((outcome.failure, outcome.body), (None, b"ok".to_vec()));
    }
    assert_eq!(good.connections(), 1);
    // The trailing dot of a full name is not part of the certificate.
    let dotted = format!("https://{NAME}.:{}/", good.address.port());
    let stub = Stub::with(&format!("{NAME}."), &[&["127.0.0.1"]]);
    let mut config = config(LONG);
    config.trust.extra_roots = Some(authority.pem().into_bytes());
    let outcome = send(&Deliverer::with_lookup(config, stub).unwrap(), &dotted);
    assert_eq!(outcome.failure, None);
}

#[test]
fn a_body_that_ends_with_its_connection_needs_no_farewell() {
    let authority = authority();
    // Dropped without the closing message of TLS, as many servers do.
    let old = running(&identity(&authority, NAME, |_| {}), None, |tls, _| {
        read_request(tls)?;
        tls.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil closed")
    });
    let outcome = send(&deliverer_trusting(&authority, LONG, None), &url(&old));
    assert_eq!((outcome.failure, outcome.body), (None, b"until closed".to_vec()));
    let cut = running(&identity(&authority, NAME, |_| {}), None, |tls, _| {
        read_request(tls)?;
        tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")
    });
    let outcome = send(&deliverer_trusting(&authority, LONG, None), &url(&cut));
    assert_eq!(outcome.failure, Some(Failure::ConnectionClosed { phase: Phase::Body }));
}

#[test]
fn an_answer_nobody_asked_for_is_found_under_tls_too() {
    let authority = authority();
    let (sender, forged) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let receiver = running(&identity(&authority, NAME, |_| {}), None, move |tls, number| {
        read_request(tls)?;
        tls.write_all(OK)?;
        if number == 0 {
            held.lock().unwrap().recv().ok();
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")?;
            sender.send(()).ok();
        }
        drain(tls)
    });
    let deliverer = deliverer_trusting(&authority, LONG, None);
    assert!(send(&deliverer, &url(&receiver)).is_success());
    release.send(()).unwrap();
    forged.recv_timeout(LONG).unwrap();
    assert_eq!(send(&deliverer, &url(&receiver)).body, b"ok");
    assert_eq!(receiver.connections(), 2);
}

#[test]
fn bad_certificates_are_told_apart() {
    let authority = authority();
    let expired = identity(&authority, NAME, |it| {
        it.not_before = date_time_ymd(2020, 1, 1);
        it.not_after = date_time_ymd(2021, 1, 1);
    });
    check(&receiver(&expired, None), &authority, Some(TlsFailure::Expired));
    let future = identity(&authority, NAME, |it| it.not_before = date_time_ymd(2999, 1, 1));
    check(&receiver(&future, None), &authority, Some(TlsFailure::NotYetValid));
    let other = identity(&authority, "other.example", |_| {});
    check(&receiver(&other, None), &authority, Some(TlsFailure::NameMismatch));
    let unknown = Some(TlsFailure::UnknownAuthority);
    let own = self_signed(|_| {});
    check(&receiver(&own, None), &authority, unknown.clone());
    let own_authority = self_signed(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    check(&receiver(&own_authority, None), &authority, unknown.clone());
    let stranger = identity(&self::authority(), NAME, |_| {});
    check(&receiver(&stranger, None), &authority, unknown);
}

#[test]
fn an_address_needs_a_certificate_for_the_address() {
    let authority = authority();
    let by_name = receiver(&identity(&authority, NAME, |_| {}), None);
    let by_address = receiver(&identity(&authority, "127.0.0.1", |_| {}), None);
    let deliverer = deliverer_trusting(&authority, LONG, None);
    let to = |receiver: &Scripted| format!("https://{}/", receiver.address);
    let outcome = send(&deliverer, &to(&by_name));
    assert_eq!(outcome.failure, Some(Failure::Tls(TlsFailure::NameMismatch)));
    assert_eq!(send(&deliverer, &to(&by_address)).failure, None);
}

#[test]
fn our_certificate_is_shown_where_it_is_asked_for() {
    let authority = authority();
    let server = receiver(&identity(&authority, NAME, |_| {}), Some(&authority));
    let ours = identity(&authority, "posthaste", |_| {});
    let with = deliverer_trusting(&authority, LONG, Some(&ours));
    assert_eq!(send(&with, &url(&server)).failure, None);
    let without = deliverer_trusting(&authority, LONG, None);
    let outcome = send(&without, &url(&server));
    assert!(!outcome.is_success(), "{outcome:?}");
}

#[test]
fn a_server_that_does_not_speak_tls_is_named_so() {
    let authority = authority();
    let plain = Scripted::start(|stream, _| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        drain(stream)
    });
    check(&plain, &authority, Some(TlsFailure::NotTls));
}

#[test]
fn old_tls_is_refused() {
    let authority = authority();
    // A fatal alert "protocol version", as a server for TLS 1.1 at most sends it.
    let old = Scripted::start(|stream, _| {
        stream.read_exact(&mut [0; 5])?;
        stream.write_all(&[21, 3, 1, 0, 2, 2, 70])?;
        drain(stream)
    });
    check(&old, &authority, Some(TlsFailure::NoCommonCipher));
}

#[test]
fn a_handshake_that_stalls_or_is_cut_ends_as_such() {
    let authority = authority();
    let silent = Scripted::start(|stream, _| drain(stream));
    let deliverer = deliverer_trusting(&authority, SHORT, None);
    let outcome = send(&deliverer, &url(&silent));
    let phase = Phase::Tls;
    assert_eq!(outcome.failure, Some(Failure::Timeout { phase }));
    assert!(outcome.duration < SHORT + Duration::from_secs(1));
    silent.wait_for_end();
    let cut = Scripted::start(|stream, _| stream.read_exact(&mut [0; 5]));
    let outcome = send(&deliverer_trusting(&authority, LONG, None), &url(&cut));
    assert_eq!(outcome.failure, Some(Failure::ConnectionClosed { phase }));
}

#[test]
fn unusable_trust_settings_are_refused() {
    let refused = |trust: Trust| Deliverer::new(DeliveryConfig { trust, ..config(LONG) }).is_err();
    for pem in
        [b"".as_slice(), b"no pem", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
    {
        let pem = Some(pem.to_vec());
        assert!(refused(Trust { extra_roots: pem.clone(), client_identity: None }), "{pem:?}");
        assert!(refused(Trust { extra_roots: None, client_identity: pem.clone() }), "{pem:?}");
    }
}
