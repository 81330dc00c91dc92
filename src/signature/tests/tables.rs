//! The table as users write it: their own profiles, and every mistake named.

use super::super::table::{MAX_NAME_BYTES, MAX_TOLERANCE_SECS};
use crate::signature::{Problem, Providers, Request};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ACME: &str = r#"
[acme]
title = "Acme"
scheme = "hmac"
hash = "sha512"
key_encoding = "hex"
sig = ["header:x-acme", "query:sig"]
sig_item_sep = ";"
sig_kv_sep = "="
sig_field = "s"
sig_encoding = "base64url"
signed = "{ts}|{url}|{body}"
ts = "sig:t"
ts_format = "unix_ms"
tolerance = 10
id = ["header:x-id", "json:/id"]
event_type = ["json:/a + json:/b", "const:other"]
fail_status = 403
ok_response = { status = 202, content_type = "application/json", body = "{}" }
handshake = [{ when = "GET && query:q", content_type = "text/plain", body = "{query:q}" }]

[acme_test]
alias = "acme"
tolerance = 3600
"#;

#[test]
fn a_users_profile_verifies() {
    let providers = Providers::builtin().extended(ACME).unwrap();
    let text = br#"1767225600000|https://h.example/in|{"a":"x","b":1,"id":7}"#;
    let body = &text[35..];
    let mac = super::super::digest::Hash::Sha512.hmac(&[0xab], &[text]);
    let signature = super::super::digest::Encoding::Base64Url.encode(&mac);
    let header = format!("t=1767225600000; s=AAAA; s={}", signature.trim_end_matches('='));
    let headers = [("X-Acme".to_owned(), header.into_bytes())];
    let request = Request { method: "POST", url: "https://h.example/in", headers: &headers, body };
    for (name, late_by, accepted) in
        [("acme", 10_000, true), ("acme", 10_001, false), ("acme_test", 3_600_000, true)]
    {
        let profile = providers.get(name).unwrap();
        let secret = profile.secret("ab").unwrap();
        let now_ms = 1_767_225_600_000 + late_by;
        let verdict = profile.verify(&request, &[secret], &BTreeMap::new(), now_ms);
        assert_eq!(verdict.is_ok(), accepted, "{name} {late_by}: {verdict:?}");
        if let Ok(verified) = verdict {
            assert_eq!(verified.event_id.as_deref(), Some("7"));
            assert_eq!(verified.event_type.as_deref(), Some("x.1"));
        }
    }
    assert_eq!(providers.get("acme").unwrap().fail_status, 403);
    assert_eq!(providers.get("acme_test").unwrap().title, "acme_test");
    assert!(providers.get("github").is_some(), "the built-in profiles stay");
}

/// What other tables of this kind write: lists of one, `content_types`, `{url_hubspot}`, `json*:`.
const OTHER_SPELLING: &str = r#"
[github]
scheme="hmac"
hash="sha256"
sig=["header:x-hub-signature-256"]
sig_kv_sep="="
sig_field="sha256"
sig_encoding="hex"
signed="{body}"
id="header:x-github-delivery"
event_type=["json:/action"]
content_types=["application/json","form:payload","form"]

[hubspot_v3]
scheme="hmac"
hash="sha256"
sig=["header:x-hubspot-signature-v3"]
sig_encoding="base64"
signed="{method}{url_hubspot}{body}{ts}"
ts="header:x-hubspot-request-timestamp"
ts_format="unix_ms"
tolerance=300
id="json*:/*/eventId"
event_type=["json:/0/subscriptionType"]
"#;

#[test]
fn the_other_spelling_of_the_table_verifies_and_replaces_what_is_built_in() {
    let providers = Providers::builtin().extended(OTHER_SPELLING).unwrap();
    let mut seen = 0;
    for vector in super::vectors() {
        if !["github", "hubspot_v3"].contains(&vector.provider.as_str()) {
            continue;
        }
        let profile = providers.get(&vector.provider).unwrap();
        let secrets: Vec<_> = vector.secrets.iter().map(|s| profile.secret(s).unwrap()).collect();
        let now_ms = vector.now * 1000;
        let verified = profile.verify(&vector.request(), &secrets, &vector.cfg, now_ms).unwrap();
        let own = vector.verify().unwrap();
        assert_eq!(verified.event_id, own.event_id, "{}", vector.label());
        if vector.provider == "github" {
            let action = own.event_type.as_deref().and_then(|name| name.split_once('.'));
            let expected = action.map(|(_, action)| action);
            assert_eq!(verified.event_type.as_deref(), expected, "{}", vector.label());
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen}");
}

fn problems(text: &str) -> Vec<Problem> {
    Providers::builtin().extended(text).expect_err(text)
}

/// A table that is right but for one line.
fn check(line: &str, key: &str, expected: &str) {
    let names: Vec<_> = line.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let base = "scheme = \"hmac\"\nhash = \"sha256\"\nsig = \"header:x\"\nsig_encoding = \"hex\"\n\
        signed = \"{body}\"\n";
    let kept: String = base
        .lines()
        .filter(|other| !names.contains(&other.split(' ').next().unwrap()))
        .fold(String::new(), |all, other| all + other + "\n");
    let text = format!("[acme]\n{kept}{line}\n");
    let problems = problems(&text);
    let found = problems.iter().any(|problem| {
        problem.key == key && problem.profile == "acme" && problem.message.contains(expected)
    });
    assert!(found, "{line}: {problems:?}");
}

#[test]
fn every_kind_of_mistake_is_named() {
    check("scheme = \"hmack\"", "scheme", "must be one of hmac, ed25519");
    check("hash = \"md5\"", "hash", "must be one of sha1");
    check("hash = \"from_header:sha256,md5\"", "hash", "must be one of sha1");
    check("hash = \"from_header:sha256\"", "sig_field", "must be `*`");
    check("scheme = \"rsa-pkcs1\"\nhash = \"from_header:sha1\"", "hash", "with rsa-pkcs1");
    check("scheme = \"ecdsa-p256\"\nhash = \"sha1\"", "hash", "must be sha256");
    check("sig = \"x-signature\"", "sig", "write one of header:NAME");
    check("sig = []", "sig", "must be a text or a list of texts");
    check("sig = \"json:/v/*/s\"", "sig", "use `each`");
    check("sig_encoding = \"base32\"", "sig_encoding", "must be one of hex");
    check("sig_kv_sep = \"=\"", "sig_kv_sep", "go together");
    check("sig_kv_sep = \"\"", "sig_kv_sep", "must not be empty");
    check("signed = \"{ts}.{body}\"", "ts", "is missing");
    check("signed = \"{id}.{body}\"", "id", "must be one value");
    check("signed = \"{bdy}\"", "signed", "`{bdy}` is unknown");
    check("signed = \"{body}{hmac_sha256_hex:header:x}\"", "signed", "answers of handshakes");
    check("signed = \"{id}\"", "covers_body", "must be false");
    check("each = \"/items/*\"", "covers_body", "must be false");
    check("key_encoding = \"pem\"", "key_encoding", "does not go with this scheme");
    check("ts = \"sig:t\"", "sig_kv_sep", "is a field of the signature");
    check("tolerance = 5", "tolerance", "does nothing without `ts`");
    check("tolerance = 0", "tolerance", "must be a number from 1");
    check("tolerance = \"5s\"", "tolerance", "must be a number from 1");
    check("fail_status = 500", "fail_status", "must be a number from 400 to 499");
    check("covers_body = \"no\"", "covers_body", "must be true or false");
    check("url_variants = [\"lower\"]", "url_variants", "must be one of as_is");
    check("require = { \"x\" = \"1\" }", "require.x", "write one of header:NAME");
    check("body_digest = { from = \"query:d\" }", "body_digest.hash", "is missing");
    check("id = \"json:id\"", "id", "begin it with `/`");
    check("sig_feld = \"v1\"", "sig_feld", "did you mean `sig_field`?");
    check("colour = \"red\"", "colour", "there is no such key; there are");
    check("content_types = [\"form:\"]", "content_types", "the field with the JSON");
    check("content_types = [\"json\"]", "content_types", "must be a media type");
    check("alias = \"githob\"", "alias", "names no profile");
    check("handshake = [{ status = 200 }]", "handshake.when", "is missing");
    check("handshake = [{ when = \"BREW\" }]", "handshake.when", "is no source");
    check("handshake = [{ when = \"GET\", body = \"x\" }]", "handshake.content_type", "is missing");
    check(
        "handshake = [{ when = \"GET\", content_type = \"text/html\", body = \"x\" }]",
        "handshake.content_type",
        "must be text/plain or application/json",
    );
    check(
        "handshake = [{ when = \"header:x\", learn_secret = \"header:x\" }]",
        "handshake.learn_secret",
        "any stranger could replace the secret",
    );
    check("handshake = [{ when = \"GET\", wen = 1 }]", "handshake.wen", "did you mean `when`?");
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let text = "x = 1\n[acme]\nscheme = \"hmac\"\nhash = \"md5\"\nsig = \"header:x\"\n\
        signed = \"{body}\"\n\n[github]\nalias = \"stripe\"\n\n[Bad-Name]\nalias = \"stripe\"\n";
    let shown: Vec<_> = problems(text).iter().map(Problem::to_string).collect();
    let starts = [
        "line 1: profile `x`: must be a table",
        "line 2: profile `acme`: `sig_encoding`: is missing",
        "line 4: profile `acme`: `hash = \"md5\"`: must be one of sha1",
        "line 11: profile `Bad-Name`: a profile's name is 1 to 64",
    ];
    assert_eq!(shown.len(), starts.len(), "{shown:?}");
    for (shown, start) in shown.iter().zip(starts) {
        assert!(shown.starts_with(start), "{shown} does not start with {start}");
    }
    let syntax = problems("[acme]\nscheme = hmac\n");
    assert!(syntax[0].to_string().starts_with("line 2: this is not TOML"), "{syntax:?}");
}

#[test]
fn limits_hold_at_their_edge() {
    let named = |length: usize| format!("[{}]\nalias = \"stripe\"\n", "a".repeat(length));
    assert!(Providers::builtin().extended(&named(MAX_NAME_BYTES)).is_ok());
    assert_eq!(problems(&named(MAX_NAME_BYTES + 1)).len(), 1);
    let tolerance = |seconds: u32| format!("[acme]\nalias = \"stripe\"\ntolerance = {seconds}\n");
    assert!(Providers::builtin().extended(&tolerance(MAX_TOLERANCE_SECS)).is_ok());
    assert_eq!(problems(&tolerance(MAX_TOLERANCE_SECS + 1)).len(), 1);
}

#[test]
fn what_does_not_sign_does_not_claim_to() {
    let token = |rest: &str| format!("[acme]\nscheme = \"token\"\nsig = \"header:x\"\n{rest}");
    assert!(Providers::parse(&token("covers_body = false\n")).is_ok());
    assert!(problems(&token("")).iter().any(|problem| problem.key == "covers_body"));
    let signed = problems(&token("covers_body = false\nsigned = \"{body}\"\n"));
    assert!(signed.iter().any(|problem| problem.message.contains("does nothing")), "{signed:?}");
}

#[test]
fn basic_authentication_is_a_scheme() {
    let text = "[acme]\nscheme = \"basic\"\nsig = \"header:authorization\"\ncovers_body = false\n";
    let providers = Providers::parse(text).unwrap();
    let profile = providers.get("acme").unwrap();
    let secret = profile.secret("user:pass").unwrap();
    let code = |value: &str| {
        let headers = [("Authorization".to_owned(), value.as_bytes().to_vec())];
        let request = Request { method: "POST", url: "", headers: &headers, body: b"" };
        let secrets = std::slice::from_ref(&secret);
        let verdict = profile.verify(&request, secrets, &BTreeMap::new(), 0);
        verdict.map_or_else(|error| error.reason.code().into_owned(), |_| "ok".to_owned())
    };
    assert_eq!(code("Basic dXNlcjpwYXNz"), "ok");
    assert_eq!(code("basic  dXNlcjpwYXNz"), "ok");
    assert_eq!(code("Basic dXNlcjpwYXNT"), "signature_mismatch");
    assert_eq!(code("Bearer dXNlcjpwYXNz"), "signature_malformed");
    assert_eq!(code(""), "signature_missing");
}

#[test]
fn settings_are_known_and_checked() {
    let get = |name: &str| Providers::builtin().get(name).unwrap();
    assert_eq!(get("paypal").settings(), ["webhook_id"]);
    assert_eq!(get("meta").settings(), ["verify_token"]);
    assert_eq!(get("cloudevents").settings(), ["allowed_origins"]);
    assert_eq!(get("github").settings(), Vec::<&str>::new());
    let check = |name: &str, cfg: &[(&str, &str)], count: usize| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let problems = get(name).check_settings(&cfg.iter().map(owned).collect());
        assert_eq!(problems.len(), count, "{name} {cfg:?}: {problems:?}");
    };
    check("paypal", &[("webhook_id", "1")], 0);
    check("paypal", &[("webhook_id", "")], 1);
    check("paypal", &[], 1);
    check("stripe", &[("tolerance", "60")], 0);
    check("stripe", &[("tolerance", "60s")], 1);
    check("github", &[("tolerance", "60")], 1);
}

proptest! {
    #[test]
    fn no_table_panics(
        value in "[ -~]{0,30}",
        key in "(scheme|hash|sig|signed|ts|id|each|handshake|require|alias|tolerance|[a-z]{1,4})",
        raw in "\\PC{0,60}",
    ) {
        let quoted = serde_json::Value::from(value.clone()).to_string();
        for text in [format!("[a]\n{key} = {quoted}\n"), format!("[a]\n{key} = {value}\n"), raw] {
            drop(Providers::builtin().extended(&text));
        }
    }
}
