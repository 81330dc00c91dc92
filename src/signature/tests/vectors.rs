//! Every vector is accepted, and what is derived from it is refused with the right code.

use super::super::pointer::{Pointer, scalar};
use super::super::profile::Scheme;
use super::super::source::Source;
use super::{Vector, vectors};
use crate::signature::{Providers, Rejection};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_vector_is_accepted() {
    for vector in vectors() {
        let verified =
            vector.verify().unwrap_or_else(|error| panic!("{}: {error}", vector.label()));
        if vector.id.is_some() {
            assert_eq!(verified.event_id, vector.id, "{}", vector.label());
        }
        if vector.kind.is_some() {
            assert_eq!(verified.event_type, vector.kind, "{}", vector.label());
        }
        let by_id = verified.event_id.is_some();
        let prefix = if by_id { "id:" } else { "sha256:" };
        assert!(verified.dedupe_key.starts_with(prefix), "{}", vector.label());
        assert_eq!(verified.covers_body, vector.profile().covers_body);
        assert_eq!(verified.sent_at_ms.is_some(), has_time(&vector), "{}", vector.label());
    }
}

/// Whoever has one event must not make others of it by writing its body in another way.
#[test]
fn a_form_that_is_escaped_in_another_way_is_a_repetition() {
    let is_form = |vector: &Vector| {
        vector.bytes.windows(3).any(|bytes| bytes == b"%7B") && vector.verify().is_ok()
    };
    let mut seen = Vec::new();
    for mut vector in vectors().into_iter().filter(is_form) {
        let before = vector.verify().unwrap();
        vector.replace_in_body("%7B", "%7b");
        // Most sign the bytes of a form as well, and refuse it.
        let Ok(after) = vector.verify() else { continue };
        assert!(before.signed_digest.is_some(), "{}", vector.label());
        assert_eq!(after.signed_digest, before.signed_digest, "{}", vector.label());
        assert_eq!(after.dedupe_key, before.dedupe_key, "{}", vector.label());
        seen.push(vector.provider);
    }
    assert!(seen.contains(&"gitea".to_owned()), "{seen:?}");
}

#[test]
fn by_meaning_is_told_of_these_alone() {
    let by_meaning = |vector: &Vector| vector.verify().unwrap().signed_digest.is_some();
    let vectors = vectors().into_iter().filter(by_meaning);
    let names: BTreeSet<_> = vectors.map(|vector| vector.provider).collect();
    assert_eq!(Vec::from_iter(names), ["aws_sns", "gitea", "mandrill", "paypal", "twilio_form"]);
}

#[test]
fn every_profile_has_a_vector() {
    for profile in Providers::builtin().iter() {
        let has_one = vectors().iter().any(|vector| vector.provider == profile.name);
        assert!(has_one, "{}", profile.name);
    }
}

fn has_time(vector: &Vector) -> bool {
    let profile = vector.profile();
    profile.timestamp.is_some() || profile.scheme == Scheme::AwsSns
}

/// Derived requests of one vector, each with the codes it may be refused with.
type Derived = (&'static str, Vector, &'static [&'static str]);

#[test]
fn what_is_derived_from_a_vector_is_refused() {
    for vector in vectors() {
        let mut derived = broken_signatures(&vector);
        derived.extend(wrong_secret(&vector));
        derived.extend(changed_content(&vector));
        derived.extend(doubled(&vector));
        derived.extend(bad_times(&vector));
        assert!(derived.len() >= 5, "{} has only {}", vector.label(), derived.len());
        for (what, derived, codes) in derived {
            let code = derived.refusal();
            assert!(codes.contains(&code.as_str()), "{}, {what}: {code}", vector.label());
        }
    }
}

/// Signatures that are shortened, emptied, taken away, or off by one bit.
fn broken_signatures(vector: &Vector) -> Vec<Derived> {
    let scheme = &vector.profile().scheme;
    let token = matches!(scheme, Scheme::Token | Scheme::Basic);
    let short: &[&str] = match scheme {
        Scheme::Token | Scheme::Basic => &["signature_mismatch"],
        Scheme::EcdsaP256 | Scheme::Rsa(_) | Scheme::AwsSns => {
            &["signature_mismatch", "signature_malformed"]
        }
        Scheme::Hmac(_) | Scheme::Ed25519 => &["signature_malformed"],
    };
    let named = vector.profile().signature.kv_sep.is_some();
    let empty: &[&str] = if named { &["signature_malformed"] } else { &["signature_missing"] };
    let keep = |text: &str, keep: usize| text.chars().take(keep).collect::<String>();
    let flipped = |text: &str| {
        let first = if text.starts_with('0') { "1" } else { "0" };
        format!("{first}{}", keep(text, text.len()).split_at(1).1)
    };
    let mut derived: Vec<Derived> = vec![
        ("shortened by one character", edited(vector, |t| keep(t, t.len() - 1)), short),
        ("shortened to a prefix of whole bytes", edited(vector, |t| keep(t, 4)), short),
        ("emptied", edited(vector, |_| String::new()), empty),
        ("off by a bit", edited(vector, flipped), &["signature_mismatch"]),
    ];
    if !token {
        let garbage = edited(vector, |_| "!?".to_owned());
        derived.push(("garbage", garbage, &["signature_malformed"]));
    }
    for source in &vector.profile().signature.sources {
        if let Source::Header(_) | Source::NumberedHeaders(_) = source {
            let mut removed = vector.clone();
            for (name, _) in &vector.headers {
                if name_matches(source, name) {
                    removed.remove_header(name);
                }
            }
            // Where a second place is named, the vector uses one of them.
            if removed.headers.len() < vector.headers.len() && only_source(vector) {
                derived.push(("taken away", removed, &["signature_missing"]));
            }
        }
    }
    derived
}

fn only_source(vector: &Vector) -> bool {
    let sources = &vector.profile().signature.sources;
    let used = |source: &&Source| vector.headers.iter().any(|(name, _)| name_matches(source, name));
    sources.iter().filter(used).count() == 1
}

fn name_matches(source: &Source, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match source {
        Source::Header(wanted) => *wanted == name,
        Source::NumberedHeaders(prefix) => name.starts_with(prefix.as_str()),
        Source::Query(_)
        | Source::Form(_)
        | Source::Json(..)
        | Source::JsonKey(..)
        | Source::SignatureField(_)
        | Source::Const(_) => false,
    }
}

/// The vector with every signature replaced by `edit` of it.
fn edited(vector: &Vector, edit: impl Fn(&str) -> String) -> Vector {
    let mut changed = vector.clone();
    let spec = &vector.profile().signature;
    let sns = [Source::parse("json:/Signature").unwrap()];
    let sources = if spec.sources.is_empty() { &sns } else { spec.sources.as_slice() };
    let edit_item = |item: &str| match (&spec.kv_sep, &spec.field) {
        (Some(separator), Some(field)) => match item.split_once(separator.as_str()) {
            Some((name, value)) if field == "*" || name == field => {
                format!("{name}{separator}{}", edit(value))
            }
            _ => item.to_owned(),
        },
        _ => edit(item),
    };
    let edit_value = |text: &str| {
        if let Some(token) = spec.strip.as_ref().and_then(|prefix| text.strip_prefix(prefix)) {
            return format!("Bearer {}", edit(token));
        }
        let separator = spec.item_sep.as_deref().unwrap_or("\n");
        text.split(separator).map(edit_item).collect::<Vec<_>>().join(separator)
    };
    for source in sources {
        match source {
            Source::Header(_) | Source::NumberedHeaders(_) => {
                for (name, value) in &mut changed.headers {
                    if name_matches(source, name) {
                        *value = edit_value(std::str::from_utf8(value).unwrap()).into_bytes();
                    }
                }
            }
            Source::Query(name) => {
                for secret in &vector.secrets {
                    let edited = format!("{name}={}", edit(secret));
                    changed.url = changed.url.replace(&format!("{name}={secret}"), &edited);
                }
            }
            Source::Json(_, path) => edit_json(&mut changed, path, &edit),
            Source::Form(_)
            | Source::JsonKey(..)
            | Source::SignatureField(_)
            | Source::Const(_) => panic!("no vector signs in {source}"),
        }
    }
    changed
}

fn edit_json(vector: &mut Vector, path: &str, edit: &impl Fn(&str) -> String) {
    let each = vector.profile().each.clone();
    let text = String::from_utf8(vector.bytes.clone()).unwrap();
    let items = each.map_or(vec![Some(text.as_str())], |each| each.all(&text).unwrap());
    let pointer = Pointer::parse(path).unwrap();
    let mut changed = text.clone();
    for item in items.into_iter().flatten() {
        for raw in pointer.all(item).unwrap().into_iter().flatten() {
            changed = changed.replace(raw, &format!("\"{}\"", edit(&scalar(raw).unwrap())));
        }
    }
    vector.bytes = changed.into_bytes();
}

/// The same request under somebody else's secret.
fn wrong_secret(vector: &Vector) -> Vec<Derived> {
    const OTHER_EC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
    let mut other = vector.clone();
    let profile = vector.profile();
    other.secrets = vec![match (&profile.scheme, profile.key_strip.as_deref()) {
        (Scheme::EcdsaP256, _) => OTHER_EC.to_owned(),
        (Scheme::Rsa(_) | Scheme::AwsSns, _) => other_pem(&vector.secrets),
        (Scheme::Ed25519, Some(prefix)) => format!("{prefix}{}", "BCDE".repeat(10) + "BCA="),
        (Scheme::Ed25519, None) if vector.provider == "discord" => "0a".repeat(32),
        (Scheme::Ed25519, None) => "BCDE".repeat(10) + "BCA=",
        (_, Some(prefix)) => format!("{prefix}{}", "BCDE".repeat(8)),
        (_, None) => "0a0b0c0d0e0f".to_owned(),
    }];
    vec![("another secret", other, &["signature_mismatch"])]
}

fn other_pem(own: &[String]) -> String {
    let mut all = vectors().into_iter().flat_map(|vector| vector.secrets);
    all.find(|text| text.starts_with("-----BEGIN CERT") && !own.contains(text)).unwrap()
}

/// Another body; where the signature covers only some fields of it, another field.
fn changed_content(vector: &Vector) -> Vec<Derived> {
    let mut changed = vector.clone();
    match vector.provider.as_str() {
        "mailgun" => changed.replace_in_body("\"token\":\"c", "\"token\":\"d"),
        "adyen_standard" => {
            changed.replace_in_body("\"merchantReference\":\"R", "\"merchantReference\":\"S");
        }
        "aws_sns" => changed.replace_in_body("\"Message\":\"", "\"Message\":\"x"),
        _ if !vector.profile().covers_body => {
            // Not covered, and the verdict says so.
            changed.bytes.push(b' ');
            assert!(!changed.verify().unwrap().covers_body, "{}", vector.label());
            return Vec::new();
        }
        _ => match changed.bytes.iter().position(|byte| *byte == b'{') {
            Some(at) => drop(changed.bytes.splice(at..=at, *b"{\"zz\":0,")),
            None => changed.bytes.push(b'x'),
        },
    }
    let codes: &[&str] = &["signature_mismatch", "body_digest_mismatch"];
    let mut appended = vector.clone();
    appended.bytes.push(b'x');
    let mut derived: Vec<Derived> = vec![("a changed body", changed, codes)];
    if vector.profile().signed.has_body() && !vector.note.contains("in the form") {
        derived.push(("a body with a byte more", appended, codes));
    }
    derived
}

/// A signature header that is there twice.
fn doubled(vector: &Vector) -> Vec<Derived> {
    let mut derived: Vec<Derived> = Vec::new();
    for source in &vector.profile().signature.sources {
        for (name, value) in &vector.headers {
            if name_matches(source, name) {
                let mut doubled = vector.clone();
                doubled.headers.push((name.to_ascii_uppercase(), value.clone()));
                derived.push(("a doubled header", doubled, &["duplicate_header"]));
            }
        }
    }
    derived
}

/// Timestamps that are missing, doubled or no timestamps, where they stand in a header.
fn bad_times(vector: &Vector) -> Vec<Derived> {
    let Some(spec) = &vector.profile().timestamp else { return Vec::new() };
    let Source::Header(name) = &spec.source else { return Vec::new() };
    let mut missing = vector.clone();
    missing.remove_header(name);
    let mut doubled = vector.clone();
    let value = doubled.header(name).unwrap().clone();
    doubled.headers.push((name.clone(), value.clone()));
    let mut padded = vector.clone();
    padded.header(name).unwrap().insert(0, b'+');
    let mut other = vector.clone();
    *other.header(name).unwrap().iter_mut().rfind(|byte| byte.is_ascii_digit()).unwrap() ^= 1;
    vec![
        ("without a time", missing, &["timestamp_missing"]),
        ("with two times", doubled, &["duplicate_header"]),
        ("with no time", padded, &["timestamp_malformed"]),
        ("with another time", other, &["signature_mismatch"]),
    ]
}

#[test]
fn the_time_must_be_within_the_tolerance_either_way() {
    let mut seen = 0;
    for vector in vectors() {
        let Some(spec) = &vector.profile().timestamp else { continue };
        let sent = u64::try_from(vector.verify().unwrap().sent_at_ms.unwrap()).unwrap();
        let tolerance = spec.tolerance * 1000;
        let verdict = |now_ms: u64| vector.verify_at(now_ms).map(|_| ());
        assert_eq!(verdict(sent + tolerance), Ok(()), "{}", vector.label());
        assert_eq!(verdict(sent - tolerance), Ok(()), "{}", vector.label());
        let code = |verdict: Result<(), Rejection>| verdict.unwrap_err().reason.code().into_owned();
        let seconds = spec.tolerance + 1;
        let stale = code(verdict(sent + tolerance + 1000));
        assert_eq!(stale, format!("timestamp_skew=+{seconds}s"), "{}", vector.label());
        let future = code(verdict(sent - tolerance - 1000));
        assert_eq!(future, format!("timestamp_skew=-{seconds}s"), "{}", vector.label());
        seen += 1;
    }
    assert!(seen > 20, "only {seen} vectors have a time");
}

#[test]
fn no_secret_is_never_a_pass() {
    for vector in vectors() {
        let verdict = vector.profile().verify(&vector.request(), &[], &vector.cfg, vector.now);
        assert_eq!(verdict.unwrap_err().reason.code(), "no_secret", "{}", vector.label());
    }
}

/// Of all profiles, only the vector's own and those that mean the same accept it.
#[test]
fn trying_all_finds_the_right_one() {
    for vector in vectors() {
        let secrets: Vec<_> = vector.secrets.iter().map(String::as_str).collect();
        let now_ms = vector.now * 1000;
        let trials = Providers::builtin().try_all(&vector.request(), &secrets, &vector.cfg, now_ms);
        let accepted: Vec<_> = trials
            .iter()
            .filter(|trial| trial.verdict.is_ok())
            .map(|t| t.profile.as_str())
            .collect();
        assert!(accepted.contains(&vector.provider.as_str()), "{}: {accepted:?}", vector.label());
        let alike = [
            ["standard_webhooks", "gitlab_signing_token", ""],
            ["github", "meta", ""],
            ["bitbucket", "jira", "websub"],
            ["okta", "cloudevents", ""],
        ];
        let group = alike.iter().find(|group| group.contains(&vector.provider.as_str()));
        let expected =
            |name: &&str| *name == vector.provider || group.is_some_and(|g| g.contains(name));
        assert!(accepted.iter().all(expected), "{}: {accepted:?}", vector.label());
    }
    let nothing = Providers::builtin().try_all(&vectors()[0].request(), &[""], &BTreeMap::new(), 0);
    assert_eq!(nothing, [], "no profile can use an empty secret");
}
