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

/// A command line, and what stands in the error of it.
fn complains(args: &[&str], expected: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    let output = command.arg("verify").args(args).stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    for part in expected {
        assert!(error.contains(part), "{args:?}: {error}");
    }
}

#[test]
fn what_cannot_be_used_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.http", "POST /in HTTP/1.1\n\n{}");
    let cut = file("cut.http", "POST /in HTTP/1.1\nx: y\n");
    let continued = file("folded.http", "POST /in HTTP/1.1\nx: y\n z\n\n");
    let gone = folder.path().join("gone.http").to_str().unwrap().to_owned();
    let check = |provider: &str, more: &[&str], file: &str, expected: &[&str]| {
        let args = [&["--provider", provider, "--secret", "s3cr3t"], more, &[file]].concat();
        complains(&args, expected);
    };
    let key = format!("--secret=file:{}", file("key", "-----BEGIN PUBLIC KEY-----\n"));
    complains(&["--provider", "paypal", &key, &good], &["must be a PEM certificate"]);
    let pem = "--secret=MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
    complains(&["--provider", "paypal", pem, &good], &["the setting `webhook_id`", "no value"]);
    let other = "--set=webhok_id=1";
    complains(
        &["--provider", "paypal", pem, other, &good],
        &["webhok_id: the profile paypal has no such setting", "it has tolerance, webhook_id"],
    );
    check("github", &["--set", "a=1"], &good, &["has no such setting; it has none"]);
    check("slack", &["--set", "tolerance=5s"], &good, &["is no number of seconds"]);
    let twice = ["--set", "tolerance=5", "--set", "tolerance=6"];
    check("slack", &twice, &good, &["given twice"]);
    check("slack", &["--at", "1790000000000"], &good, &["unix seconds, not milliseconds"]);
    check("slack", &["--at", "now"], &good, &["'now' for '--at <UNIX>'"]);
    check("square", &["--url", "h.example/in"], &good, &["\"h.example/in\" must be the whole URL"]);
    check("git-hub", &[], &good, &["did you mean github?", "there are adyen_platform"]);
    check("gitlab", &[], &good, &["did you mean gitlab_signing_token or gitlab_token?"]);
    check("github", &[], &gone, &["gone.http cannot be read"]);
    check("github", &[], &cut, &["no empty line after the headers"]);
    check("github", &[], &continued, &["line 3 begins with a blank"]);
    check("adyen_platform", &[], &good, &["must be hex digits"]);
    complains(&["--provider", "github", "--secret", "", &good], &["the secret is empty"]);
    complains(&["--provider", "github", "--secret", " ", &good], &["the secret is empty"]);
    complains(&["--provider", "svix", "--secret", "whsec_", &good], &["the secret is empty"]);
}

#[test]
fn all_are_tried_though_the_secret_fits_another_profile_only() {
    let github = vectors().into_iter().find(|v| v.provider == "github").unwrap();
    for provider in ["adyen_platform", "paypal", "discord"] {
        let wrong = Vector { provider: provider.to_owned(), ..github.clone() };
        let output = verify(&wrong, &raw(&github), &["--try-all"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{provider}: {text}");
        assert!(text.contains("accepted by github"), "{provider}: {text}");
    }
}

#[test]
fn bytes_behind_the_body_are_not_overlooked() {
    let github = vectors().into_iter().find(|v| v.provider == "github").unwrap();
    let request = String::from_utf8(raw(&github)).unwrap();
    let length = format!("content-length: {}\r\n\r\n", github.bytes().len());
    let with_length = request.replacen("\r\n\r\n", &format!("\r\n{length}"), 1);
    let check = |more: &str, code: i32, expected: &str| {
        let output = verify(&github, format!("{with_length}{more}").as_bytes(), &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{more:?}: {text}");
        assert!(text.starts_with(expected), "{more:?}: {text}");
    };
    check("", 0, "id ");
    check("\n", 0, "id ");
    check("x", 1, "signature_mismatch");
    check(" ", 1, "body_was_reencoded\nsignature_mismatch");
}
