//! Single cases that have gone wrong elsewhere, and what the operator is told about them.

use super::{Vector, vector};
use crate::signature::{Hint, MAX_DIAGNOSED_BYTES, MAX_SIGNATURES, Providers, Reason};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn check(what: &str, vector: &Vector, code: &str) {
    assert_eq!(vector.refusal(), code, "{what}: {}", vector.label());
}

/// RUSTSEC-2024-0010: a comparison up to the shorter length accepts the empty signature.
#[test]
fn nothing_but_the_whole_signature_is_one() {
    let good = "v1,w9hHmpilBM+ZH5TWiqTF2V+zZhky2nrY7iwP4o0rZI0=";
    let header = "webhook-signature";
    for (value, code) in [
        ("v1,", "signature_malformed"),
        ("v1", "signature_malformed"),
        (",", "signature_malformed"),
        ("v1,w9hHmpilBM+ZH5TWiqTF2V+zZhky2nrY7iwP4o0rZA==", "signature_malformed"),
        ("v1,ww==", "signature_malformed"),
        (&good.replace("v1,", "v2,"), "signature_malformed"),
        (&good.replace("v1,", "v1a,"), "signature_malformed"),
        (&good.replace("v1,", ""), "signature_malformed"),
        (&good.replace(',', "="), "signature_malformed"),
        (&format!("{good},extra"), "signature_malformed"),
        (&good.replace('+', "-"), "signature_malformed"),
        ("", "signature_missing"),
        (" ", "signature_missing"),
    ] {
        let mut changed = vector("standard_webhooks", "24-byte");
        changed.set_header(header, value);
        check(value, &changed, code);
    }
    for value in [good.to_owned(), format!("v1,!!! v2,AAAA x  {good} v1"), format!("{good} {good}")]
    {
        let mut changed = vector("standard_webhooks", "24-byte");
        changed.set_header(header, &value);
        assert!(changed.verify().is_ok(), "{value}");
    }
}

#[test]
fn the_number_of_signatures_is_limited() {
    let mut changed = vector("standard_webhooks", "24-byte");
    let good = changed.header("webhook-signature").unwrap().clone();
    let good = String::from_utf8(good).unwrap();
    let with = |count: usize| format!("{}{good}", "v1,AAAA ".repeat(count));
    changed.set_header("webhook-signature", &with(MAX_SIGNATURES - 1));
    assert!(changed.verify().is_ok());
    changed.set_header("webhook-signature", &with(MAX_SIGNATURES));
    check("one too many", &changed, "too_many_values");
}

#[test]
fn what_is_signed_must_be_there_once() {
    let mut missing = vector("standard_webhooks", "24-byte");
    missing.remove_header("webhook-id");
    check("no id", &missing, "id_missing");
    let mut doubled = vector("standard_webhooks", "24-byte");
    doubled.headers.push(("Webhook-Id".to_owned(), b"other".to_vec()));
    check("two ids", &doubled, "duplicate_header");

    let mut doubled = vector("stripe", "rolled");
    let value = String::from_utf8(doubled.header("stripe-signature").unwrap().clone()).unwrap();
    doubled.set_header("stripe-signature", &format!("t=1,{value}"));
    check("two times", &doubled, "duplicate_parameter");

    let mut missing = vector("paypal", "public key");
    missing.remove_header("paypal-transmission-id");
    check("no transmission id", &missing, "signed_value_missing");
    let mut unset = vector("paypal", "public key");
    unset.cfg.clear();
    check("no webhook_id", &unset, "config_missing");
}

/// The older scheme of the same header must not be taken for the current one.
#[test]
fn a_downgrade_is_refused() {
    let mut stripe = vector("stripe", "raw UTF-8");
    let value = String::from_utf8(stripe.header("stripe-signature").unwrap().clone()).unwrap();
    let good = value.split(',').find_map(|item| item.strip_prefix("v1=")).unwrap().to_owned();
    stripe.set_header("stripe-signature", &format!("t=1767225600,v0={good}"));
    check("v0", &stripe, "signature_malformed");

    let mut hub = vector("websub", "");
    hub.set_header("x-hub-signature", "sha1=0269ccb11b597b492e0005fddca3922c2569d883");
    check("sha1", &hub, "signature_malformed");

    for (header, value) in [("box-signature-version", "2"), ("box-signature-algorithm", "HmacSHA1")]
    {
        let mut changed = vector("box", "");
        changed.set_header(header, value);
        check(header, &changed, "required_header");
        changed.remove_header(header);
        check(header, &changed, "required_header");
    }
}

#[test]
fn the_digest_of_the_body_is_checked_besides_the_signature() {
    let mut changed = vector("twilio_json", "");
    changed.bytes.push(b' ');
    check("another body", &changed, "body_digest_mismatch");
    let mut doubled = vector("twilio_json", "");
    doubled.url.push_str("&bodySHA256=00");
    check("two digests", &doubled, "signature_mismatch");
}

#[test]
fn every_item_must_be_signed() {
    let mut item = vector("adyen_standard", "two items");
    item.replace_in_body("\"pspReference\":\"P2\"", "\"pspReference\":\"P3\"");
    check("the second item", &item, "signature_mismatch");
    let mut item = vector("adyen_standard", "two items");
    item.replace_in_body("[{\"NotificationRequestItem\"", "[{},{\"NotificationRequestItem\"");
    check("an empty item", &item, "signature_missing");
    let mut none = vector("adyen_standard", "two items");
    none.bytes = b"{\"notificationItems\":[]}".to_vec();
    check("no item", &none, "signature_missing");
    none.bytes = b"[]".to_vec();
    check("no list", &none, "signature_missing");

    for (from, to, code) in [
        (
            "\"clientState\":\"wh_test_secret_8f2c\",\"changeType\":\"updated\"",
            "\"x\":1",
            "signature_missing",
        ),
        (
            "_8f2c\",\"changeType\":\"updated\"",
            "\",\"changeType\":\"updated\"",
            "signature_mismatch",
        ),
        ("\"value\":[", "\"value\":[{},", "signature_missing"),
        ("\"value\":", "\"values\":", "signature_missing"),
    ] {
        let mut changed = vector("msgraph", "");
        changed.replace_in_body(from, to);
        check(to, &changed, code);
    }
    let mut empty = vector("msgraph", "");
    empty.bytes = b"{\"value\":[]}".to_vec();
    check("no value", &empty, "signature_missing");
}

#[test]
fn sns_can_be_held_to_one_topic() {
    let mut other = vector("aws_sns", "SHA-256");
    other.cfg.insert("topic_arn".to_owned(), "arn:aws:sns:us-west-2:1:U".to_owned());
    check("another topic", &other, "required_header");

    let mut version = vector("aws_sns", "SHA-256");
    version.replace_in_body("\"SignatureVersion\":\"2\"", "\"SignatureVersion\":\"3\"");
    check("another version", &version, "signature_malformed");
    let mut address = vector("aws_sns", "SignatureVersion 1");
    address.replace_in_body("amazonaws.com/Simple", "amazonaws.evil.example/Simple");
    check("a certificate elsewhere", &address, "signature_malformed");
    let mut kind = vector("aws_sns", "SHA-256");
    kind.replace_in_body("\"Type\":\"Notification\"", "\"Type\":\"Other\"");
    check("another type", &kind, "signature_malformed");
    let mut kind = vector("aws_sns", "SHA-256");
    kind.replace_in_body("\"Type\":\"Notification\"", "\"Type\":\"SubscriptionConfirmation\"");
    check("a confirmation without its token", &kind, "signed_value_missing");

    let confirm = vector("aws_sns", "confirmation").verify().unwrap().confirm_url.unwrap();
    assert!(confirm.starts_with("https://sns.us-west-2.amazonaws.com/?Action="), "{confirm}");
    assert_eq!(vector("aws_sns", "SHA-256").verify().unwrap().confirm_url, None);
}

#[test]
fn a_rewritten_body_is_recognised() {
    let compact = r#"{"object_kind":"push"}"#;
    let check = |body: &str, late_by: u64, code: &str, expected: &str| {
        let mut changed = vector("gitlab_signing_token", "");
        assert_eq!(changed.bytes, compact.as_bytes());
        changed.bytes = body.as_bytes().to_vec();
        changed.now += late_by;
        assert_eq!(changed.refusal(), "signature_mismatch", "{body}");
        let rejection = changed.explained();
        assert_eq!(rejection.reason.code(), code, "{body}");
        assert!(rejection.to_string().contains(expected), "{body}: {rejection}");
    };
    let code = "body_was_reencoded";
    check("{\"object_kind\": \"push\"}", 0, code, "without spaces");
    check("{\n  \"object_kind\": \"push\"\n}\n", 0, code, "without spaces");
    check("{\"object_kind\":\"push\"}\r\n", 0, code, "white space at its end");
    check("\u{feff}{\"object_kind\":\"push\"}", 0, code, "byte order mark");
    // However late it is: that the body is wrong comes first.
    check("{\"object_kind\":\"push\"}\n", 3600, code, "white space at its end");
    check(r#"{"object_kind":"pull"}"#, 0, "signature_mismatch", "another secret");

    // Only bodies of a limited size are looked at, and only for this reason.
    let long = |size: usize| format!("{compact}{}", " ".repeat(size - compact.len()));
    check(&long(MAX_DIAGNOSED_BYTES), 0, code, "white space at its end");
    check(&long(MAX_DIAGNOSED_BYTES + 1), 0, "signature_mismatch", "another secret");
    let mut late = vector("gitlab_signing_token", "");
    late.now += 3600;
    assert_eq!(late.explained(), late.verify().unwrap_err());
}

#[test]
fn a_mismatch_comes_with_what_commonly_explains_it() {
    let hint = |mut vector: Vector, secret: &str| {
        vector.secrets = vec![secret.to_owned()];
        let rejection = vector.verify().unwrap_err();
        assert_eq!(rejection.reason, Reason::SignatureMismatch);
        rejection.hint
    };
    let github = || vector("github", "the form");
    assert_eq!(hint(github(), "k9_4fQzT81mVxw\n"), Some(Hint::SecretHasWhitespace));
    assert_eq!(hint(github(), "changeme"), Some(Hint::SecretLooksLikeTestKey));
    assert_eq!(hint(github(), "k9_4fQzT81mVxx"), None);
    assert_eq!(hint(vector("square", ""), "k9_4fQzT81mVxx"), Some(Hint::UrlIsSigned));
}

#[test]
fn a_source_may_set_its_own_tolerance() {
    let mut paddle = vector("paddle", "");
    paddle.now += 60;
    check("60 s", &paddle, "timestamp_skew=+60s");
    paddle.cfg.insert("tolerance".to_owned(), "60".to_owned());
    assert!(paddle.verify().is_ok());
    paddle.now += 1;
    check("61 s", &paddle, "timestamp_skew=+61s");
}

/// The key must not depend on how a signature is written, or a replay would only have to spell it
/// otherwise.
#[test]
fn the_dedupe_key_is_of_the_signature_and_not_of_its_spelling() {
    let dropbox = vector("dropbox", "");
    let key = dropbox.verify().unwrap().dedupe_key;
    let mut upper = dropbox.clone();
    upper.header("x-dropbox-signature").unwrap().make_ascii_uppercase();
    assert_eq!(upper.verify().unwrap().dedupe_key, key);
    let other = vector("meta", "").verify().unwrap().dedupe_key;
    assert_ne!(other, key);
}

#[test]
fn ids_may_be_numbers_of_any_size() {
    let mut telegram = vector("telegram", "");
    telegram.replace_in_body("10000", "123456789012345678901234567890");
    let verified = telegram.verify().unwrap();
    assert_eq!(verified.event_id.as_deref(), Some("123456789012345678901234567890"));
    assert_eq!(verified.event_type.as_deref(), Some("message"));
    telegram.replace_in_body("123456789012345678901234567890", "{}");
    assert!(telegram.verify().unwrap().dedupe_key.starts_with("sha256:"));
}

#[test]
fn the_secret_that_matched_is_named() {
    let mut rotated = vector("github", "the form");
    rotated.secrets.insert(0, "older".to_owned());
    assert_eq!(rotated.verify().unwrap().secret_index, 1);
    let foreign = Providers::builtin().get("discord").unwrap().secret(&"0a".repeat(32)).unwrap();
    let verdict = rotated.profile().verify(&rotated.request(), &[foreign], &BTreeMap::new(), 0);
    assert_eq!(verdict.unwrap_err().reason, Reason::SignatureMismatch);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever arrives, no profile panics and none accepts it.
    #[test]
    fn arbitrary_requests_are_refused(
        values in prop::collection::vec("[ -~]{0,40}|[tvhs0-9a=,; ]{0,40}|\\PC{0,20}", 4),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "[\\[\\]{}\":,a-zA-Z0-9]{0,60}".prop_map(String::into_bytes),
        ],
        query in "[a-zA-Z0-9%&=.]{0,30}",
        now_ms: u64,
    ) {
        let url = format!("https://h.example/in?{query}");
        for mut vector in super::vectors() {
            for (index, (_, value)) in vector.headers.iter_mut().enumerate() {
                *value = values[index % values.len()].clone().into_bytes();
            }
            let keep_body = values[0].len() % 2 == 0;
            vector.bytes = if keep_body { vector.bytes } else { body.clone() };
            if keep_body && (vector.headers.is_empty() || vector.provider == "aws_sns") {
                continue;
            }
            vector.url.clone_from(&url);
            prop_assert!(vector.verify_at(now_ms).is_err(), "{}", vector.label());
        }
    }
}
