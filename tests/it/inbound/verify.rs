//! `posthaste verify` over files: the same verdicts as at the door, with their exit codes.
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::vectors::{Vector, vectors};

fn raw(vector: &Vector) -> Vec<u8> {
    let query = vector.query();
    let target = if query.is_empty() { "/in".to_owned() } else { format!("/in?{query}") };
    let mut text = format!("{} {target} HTTP/1.1\r\n", vector.method).into_bytes();
    for (name, value) in &vector.headers {
        text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&vector.bytes());
    text
}

fn verify(vector: &Vector, request: &[u8], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(["verify", "--provider", &vector.provider]);
    for secret in &vector.secrets {
        command.args(["--secret", secret]);
    }
    for (name, value) in &vector.cfg {
        command.args(["--set", &format!("{name}={value}")]);
    }
    command.args(["--url", vector.url.as_str()]).args(more).arg("-");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn every_vector_is_accepted_with_its_id_and_type() {
    for vector in vectors() {
        let at = vector.now.to_string();
        let output = verify(&vector, &raw(&vector), &["--at", &at, "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}: {text}", vector.label());
        let verdict: serde_json::Value = serde_json::from_str(&text).unwrap();
        if let Some(id) = &vector.id {
            assert_eq!(verdict["id"], *id, "{}", vector.label());
        }
        if let Some(kind) = &vector.kind {
            assert_eq!(verdict["type"], *kind, "{}", vector.label());
        }
    }
}

#[test]
fn a_refusal_says_why_and_who_would_accept_it() {
    let vectors = vectors();
    let github = vectors.iter().find(|v| v.provider == "github").unwrap();
    let mut body = raw(github);
    body.push(b'x');
    let output = verify(github, &body, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().next(), Some("signature_mismatch"), "{text}");
    let stripe = vectors.iter().find(|v| v.provider == "stripe").unwrap();
    let later = (stripe.now + 712).to_string();
    let output = verify(stripe, &raw(stripe), &["--at", &later]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"timestamp_skew=+"), "{:?}", output.stdout);
    let wrong = Vector { provider: "stripe".to_owned(), ..github.clone() };
    let output = verify(&wrong, &raw(github), &["--try-all"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("signature_missing\n") && text.contains("accepted by github"),
        "{text}"
    );
    let output = verify(&wrong, b"nonsense", &[]);
    assert_eq!(output.status.code(), Some(2), "usage");
    let unknown = Vector { provider: "nobody".to_owned(), ..github.clone() };
    let output = verify(&unknown, &raw(github), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there are adyen_platform"));
}
