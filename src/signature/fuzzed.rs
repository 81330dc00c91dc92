//! What senders put to the verifier, for the fuzzer: each function reads any bytes and says what
//! kind of outcome that was.

use std::sync::LazyLock;

use super::tests::{Vector, vectors};
use super::{Providers, RawRequest, Request, Secret, Stage};
use crate::fuzz::kind;

/// The vectors, each with its secrets made ready.
static GENUINE: LazyLock<Vec<(Vector, Vec<Secret>)>> = LazyLock::new(|| {
    let ready = |vector: Vector| {
        let profile = Providers::builtin().get(&vector.provider).unwrap();
        let secrets = vector.secrets.iter().map(|text| profile.secret(text).unwrap()).collect();
        (vector, secrets)
    };
    vectors().into_iter().map(ready).collect()
});

/// Every vector as a raw request, with its number before it.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let raw = |(n, (vector, _)): (usize, &(Vector, Vec<Secret>))| {
        let request = RawRequest {
            method: vector.method.clone(),
            target: vector.url.clone(),
            headers: vector.headers.clone(),
            body: vector.bytes.clone(),
        };
        [format!("{n}\n").into_bytes(), request.to_bytes()].concat()
    };
    GENUINE.iter().enumerate().map(raw).collect()
}

/// A request at a door: handshake, verification, what a person is told. A body that passes is one
/// that was signed.
pub(crate) fn request(bytes: &[u8]) -> u64 {
    let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (number, raw) = bytes.split_at(at);
    let number: usize = String::from_utf8_lossy(number).parse().unwrap_or(bytes.len());
    let (vector, secrets) = &GENUINE[number % GENUINE.len()];
    let profile = Providers::builtin().get(&vector.provider).unwrap();
    let Ok(raw) = RawRequest::parse(raw.get(1..).unwrap_or_default()) else { return 0 };
    let request = Request { url: &vector.url, ..raw.lend(&vector.url) };
    let before = Stage::BeforeVerify { secret_pending: false };
    let early = profile.handshake(&request, secrets, &vector.cfg, before);
    let verdict = profile.verify(&request, secrets, &vector.cfg, vector.now * 1000);
    if let Ok(verified) = &verdict {
        drop(profile.handshake(&request, secrets, &vector.cfg, Stage::AfterVerify));
        // What the body says may be signed, rather than how it is written.
        if verified.covers_body && verified.signed_digest.is_none() {
            // By whichever of them: several providers sign alike, and share a secret in the vectors.
            let is_signed = GENUINE.iter().any(|(other, _)| other.bytes == request.body);
            assert!(is_signed, "{}: an unsigned body passed", profile.name);
        }
    }
    let verdict = verdict.map_err(|rejection| rejection.reason.code().into_owned());
    let verdict = verdict.map_or_else(|code| code, |_| "ok".to_owned());
    // Codes may carry figures behind a sign: `timestamp_skew=+412s`.
    let code = verdict.split(['=', ':']).next().unwrap_or_default().to_owned();
    kind((number % GENUINE.len(), early.is_ok_and(|early| early.is_some()), code))
}

/// A request as raw text: what can be read is written again and read as the same.
pub(crate) fn raw(bytes: &[u8]) -> u64 {
    match RawRequest::parse(bytes) {
        Ok(request) => {
            // `to_bytes` may add one.
            if request.headers.len() < super::MAX_RAW_HEADERS {
                let again = RawRequest::parse(&request.to_bytes());
                assert_eq!(again.map(|again| again.body), Ok(request.body.clone()));
            }
            kind((1, request.headers.len().min(8)))
        }
        Err(problem) => kind(std::mem::discriminant(&problem)),
    }
}

/// The sections of the built-in table, and a small one.
pub(crate) fn tables() -> Vec<Vec<u8>> {
    let text = include_str!("../../data/providers.toml");
    let mut sections: Vec<Vec<u8>> = Vec::new();
    for section in text.split("\n\n") {
        let begins = section.lines().find(|line| !line.starts_with('#'));
        if begins.is_some_and(|line| line.starts_with('[')) {
            sections.push(section.as_bytes().to_vec());
        }
    }
    sections
}

/// A table of profiles. What is taken verifies something without falling over.
pub(crate) fn table(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    match Providers::parse(&text) {
        Ok(providers) => {
            let headers = [("x-signature".to_owned(), b"sha256=00".to_vec())];
            let request = Request {
                method: "POST",
                url: "https://example.com/in?a=b",
                headers: &headers,
                body: b"{\"type\":\"a\",\"id\":1}",
            };
            providers.try_all(&request, &["c2VjcmV0", "00ff"], &[].into(), 1_790_000_000_000);
            kind((1, providers.iter().count().min(4)))
        }
        Err(problems) => kind((2, problems.len().min(8))),
    }
}

/// A secret, as every profile reads it.
pub(crate) fn secret(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let mut usable = 0_u64;
    for (n, profile) in Providers::builtin().iter().enumerate() {
        usable |= u64::from(profile.secret(&text).is_ok()) << (n % 64);
    }
    usable
}
