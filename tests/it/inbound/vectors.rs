//! Every vector through the real door, and what is derived from each refused for the right reason.
use std::collections::BTreeMap;

use base64::Engine as _;
use posthaste::model::source::SourceSecret;
use posthaste::signature::Providers;
use serde::Deserialize;

use super::house::{Got, House};

/// One request of `tests/fixtures/vectors/inbound.json`, genuine at its time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub provider: String,
    #[serde(default)]
    pub note: String,
    pub method: String,
    pub url: String,
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub body_b64: Option<String>,
    pub secrets: Vec<String>,
    #[serde(default)]
    pub cfg: BTreeMap<String, String>,
    /// Unix seconds.
    pub now: u64,
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

impl Vector {
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.body, &self.body_b64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => base64::prelude::BASE64_STANDARD.decode(text).unwrap(),
            _ => panic!("{} needs one body", self.label()),
        }
    }

    pub fn label(&self) -> String {
        format!("{} ({})", self.provider, self.note)
    }

    pub fn query(&self) -> &str {
        self.url.split_once('?').map_or("", |(_, query)| query)
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let all = self.headers.iter();
        all.map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect()
    }
}

pub fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../fixtures/vectors/inbound.json")).unwrap()
}

/// What a test changes of a request.
#[derive(Clone)]
struct Changed {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    secrets: Vec<String>,
    now: u64,
    query: String,
}

impl Changed {
    fn of(vector: &Vector) -> Self {
        Self {
            headers: vector.headers(),
            body: vector.bytes(),
            secrets: vector.secrets.clone(),
            now: vector.now,
            query: vector.query().to_owned(),
        }
    }
}

fn knock(house: &House, vector: &Vector, changed: &Changed) -> (Got, Vec<String>, usize) {
    house.set_clock(changed.now);
    let (url, cfg) = (vector.url.clone(), vector.cfg.clone());
    let source = house.source(&vector.provider, &changed.secrets, move |source| {
        source.url = Some(url);
        source.settings = cfg;
    });
    let target = match changed.query.as_str() {
        "" => source.path(),
        query => format!("{}?{query}", source.path()),
    };
    let got = house.send(&vector.method, &target, &changed.headers, &changed.body);
    let accepted = house.count(&source);
    let refused = if got.status >= 300 { house.refused(&source, 1) } else { Vec::new() };
    if got.status < 300 {
        let again = house.send(&vector.method, &target, &changed.headers, &changed.body);
        assert_eq!(again.header("posthaste-message"), got.header("posthaste-message"));
        assert_eq!(again.header("posthaste-repeated"), Some("true"), "{}", vector.label());
        assert_eq!(house.count(&source), accepted, "{}: sent twice, kept once", vector.label());
        assert_eq!(house.payload(&source, got.message()), changed.body, "{}", vector.label());
    }
    (got, refused, accepted)
}

#[test]
fn every_vector_is_accepted_to_the_byte_and_once() {
    let house = House::new();
    for vector in vectors() {
        let (got, _, accepted) = knock(&house, &vector, &Changed::of(&vector));
        assert_eq!(accepted, 1, "{}: {} {}", vector.label(), got.status, got.text());
        let profile = Providers::builtin().get(&vector.provider).unwrap();
        if let Some(expected) = &profile.ok_response {
            assert_eq!((got.status, got.text()), (expected.status, expected.body.clone()));
        }
    }
}

#[test]
fn what_is_derived_from_a_vector_is_refused_with_its_reason_and_kept() {
    let house = House::new();
    let mut count = 0;
    for vector in vectors() {
        let profile = Providers::builtin().get(&vector.provider).unwrap();
        let derived = derive(&vector, profile.covers_body);
        // More of each are tried beside the engine; here it is the door that has to refuse.
        assert!(derived.len() >= 2, "{} has only {}", vector.label(), derived.len());
        count += derived.len();
        for (what, changed, codes) in derived {
            let (got, refused, accepted) = knock(&house, &vector, &changed);
            let label = format!("{}, {what}: {} {}", vector.label(), got.status, got.text());
            assert_eq!(accepted, 0, "{label}");
            assert_eq!(got.status, profile.fail_status, "{label}");
            let code = got.code();
            let name = code.split('=').next().unwrap();
            assert!(codes.contains(&name), "{label}");
            let kept = refused.first().expect("kept");
            assert!(*kept == code || kept == "body_was_reencoded", "{label}: kept as {kept}");
        }
    }
    assert!(count >= 400, "only {count} were derived");
}

type Derived = (&'static str, Changed, &'static [&'static str]);

/// Profiles whose signature stands in the body.
const SIGNED_IN_BODY: [&str; 4] = ["mailgun", "adyen_standard", "msgraph", "aws_sns"];

/// What a broken signature is called.
const BROKEN: &[&str] = &["signature_mismatch", "signature_malformed", "signature_missing"];

fn derive(vector: &Vector, covers_body: bool) -> Vec<Derived> {
    let plain = Changed::of(vector);
    let mut derived: Vec<Derived> = Vec::new();
    if covers_body {
        let body = another_body(vector, &plain.body);
        let changed = Changed { body, ..plain.clone() };
        derived.push(("a changed body", changed, &["signature_mismatch", "body_digest_mismatch"]));
    }
    if let Some(secret) = other_secret(&vector.provider, &vector.secrets) {
        let other = Changed { secrets: vec![secret], ..plain.clone() };
        derived.push(("another secret", other, &["signature_mismatch"]));
    }
    if SIGNED_IN_BODY.contains(&vector.provider.as_str()) {
        derived.extend(broken_in_body(&plain));
    } else {
        derived.push(without_headers(&plain));
        derived.extend(broken_headers(vector, &plain));
    }
    if has_time(&vector.provider) {
        for (what, now) in
            [("stale", vector.now + 40 * 86_400), ("future", vector.now - 40 * 86_400)]
        {
            derived.push((what, Changed { now, ..plain.clone() }, &["timestamp_skew"]));
        }
    }
    derived
}

fn another_body(vector: &Vector, body: &[u8]) -> Vec<u8> {
    let mut changed = body.to_vec();
    if vector.provider == "aws_sns" {
        // Only certain fields are signed, and no reader takes another.
        let text = String::from_utf8(changed).unwrap();
        return text.replace("\"Message\":\"", "\"Message\":\"x").into_bytes();
    }
    match changed.iter().position(|byte| *byte == b'{') {
        Some(at) => drop(changed.splice(at..=at, *b"{\"zz\":0,")),
        None => changed.push(b'x'),
    }
    changed
}

fn without_headers(plain: &Changed) -> Derived {
    let mut bare = Changed { query: String::new(), ..plain.clone() };
    bare.headers.retain(|(name, _)| name.to_ascii_lowercase().starts_with("content-"));
    let codes: &[&str] = &[
        "signature_missing",
        "required_header",
        "timestamp_missing",
        "id_missing",
        "body_digest_missing",
        "signed_value_missing",
        "signature_mismatch",
    ];
    ("without its headers", bare, codes)
}

/// Signature headers that are shortened, emptied, or there twice.
fn broken_headers(vector: &Vector, plain: &Changed) -> Vec<Derived> {
    let mut derived: Vec<Derived> = Vec::new();
    for (at, (name, value)) in plain.headers.iter().enumerate() {
        let name = name.to_ascii_lowercase();
        if !signs(vector, &name, value) {
            continue;
        }
        let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = plain.clone();
            for (other, value) in &mut changed.headers {
                let other = other.to_ascii_lowercase();
                // Where several are sent, any may match.
                if other == name || other.contains("signature-") && name.contains("signature-") {
                    edit(value);
                }
            }
            changed
        };
        derived.push(("shortened", edited(&|value| value.truncate(value.len() / 3)), BROKEN));
        derived.push(("emptied", edited(&Vec::clear), BROKEN));
        let mut doubled = plain.clone();
        doubled.headers.insert(at, (name.to_ascii_uppercase(), value.clone()));
        derived.push(("doubled", doubled, &["duplicate_header"]));
    }
    derived
}

/// Whether a header is a signature or a token.
fn signs(vector: &Vector, name: &str, value: &[u8]) -> bool {
    let words = ["signature", "hmac", "token", "sig", "authorization", "trello-webhook"];
    let others = ["timestamp", "version", "idempotency"];
    let is_secret = vector.secrets.iter().any(|secret| secret.as_bytes() == value);
    (is_secret || words.iter().any(|word| name.contains(word)))
        && !others.iter().any(|word| name.contains(word))
}

/// The first letters of a signature in a JSON body changed, or taken away.
fn broken_in_body(plain: &Changed) -> Vec<Derived> {
    let text = String::from_utf8_lossy(&plain.body).into_owned();
    let names =
        ["\"signature\":\"", "\"hmacSignature\":\"", "\"clientState\":\"", "\"Signature\":\""];
    let found = names.iter().find_map(|name| text.find(name).map(|at| at + name.len()));
    let start = found.expect("a signature in the body");
    let edit = |new: &str| Changed {
        body: format!("{}{new}{}", &text[..start], &text[start + 4..]).into_bytes(),
        ..plain.clone()
    };
    vec![
        ("another signature in the body", edit("0aBf"), BROKEN),
        ("a shorter signature in the body", edit(""), BROKEN),
    ]
}

fn has_time(provider: &str) -> bool {
    // The setting is refused for profiles without a timestamp.
    let set = BTreeMap::from([("tolerance".to_owned(), "1".to_owned())]);
    let profile = Providers::builtin().get(provider).unwrap();
    let problems = profile.check_settings(&set);
    !problems.iter().any(|problem| problem.contains("no timestamp"))
}

/// A secret of the same kind that belongs to somebody else.
fn other_secret(provider: &str, own: &[String]) -> Option<String> {
    let profile = Providers::builtin().get(provider).unwrap();
    let mut candidates: Vec<String> = vec![
        "whsec_BCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDE".to_owned(),
        "whpk_BCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCA=".to_owned(),
        "BCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCDEBCA=".to_owned(),
        "0a".repeat(32),
        "somebody:else".to_owned(),
    ];
    candidates.extend(vectors().into_iter().flat_map(|v| v.secrets));
    let fits = |text: &String| !own.contains(text) && profile.secret(text).is_ok();
    candidates.into_iter().find(fits).map(|text| SourceSecret(text).0)
}
