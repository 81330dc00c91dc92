//! Tests of the tokens and their secret: what passes, what is refused and why.

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;
const APP: &str = "app_2srLjEbSzWSv1YCLXZ6wZcSnB0F";

fn secret() -> Secret {
    Secret::from_text("a secret of enough bytes", "test").unwrap()
}

fn org() -> Subject {
    Subject::Org(DEFAULT_ORG.to_owned())
}

/// Signs any header and claims with the test's secret, as another tool would.
fn token(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac_sha256(&secret().0, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn check_claims(claims: &str) -> Result<Claims, AuthError> {
    verify(&secret(), &token(HEADER, claims), NOW)
}

#[test]
fn a_minted_token_is_accepted_and_says_who() {
    for subject in [org(), Subject::App { app: APP.to_owned(), org: DEFAULT_ORG.to_owned() }] {
        let token = mint(&secret(), &subject, NOW, Duration::from_secs(100));
        let claims = verify(&secret(), &token, NOW).unwrap();
        assert_eq!(claims.subject, subject);
        assert_eq!(claims.issued_at, Some(NOW));
        assert_eq!(claims.expires_at, Some(NOW + 100));
        assert_eq!(claims.feature_flags, None);
        assert_eq!(claims.subject.org(), DEFAULT_ORG);
    }
}

/// The example of RFC 7515 appendix A.1: same algorithm, a key and text that are not ours.
#[test]
fn signature_is_that_of_the_rfc() {
    let key = URL_SAFE_NO_PAD
        .decode(concat!(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75",
            "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
        ))
        .unwrap();
    let signed = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    let mac = hmac_sha256(&key, signed.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(mac), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

#[test]
fn times_are_honoured_to_the_second_with_leeway() {
    let sub = format!(r#""sub":"{DEFAULT_ORG}""#);
    let late = NOW - LEEWAY_SECS;
    let early = NOW + LEEWAY_SECS;
    assert_eq!(
        check_claims(&format!(r#"{{{sub},"exp":{late}}}"#)),
        Err(AuthError::Expired(late)),
        "just expired"
    );
    for ok in [
        format!(r#"{{{sub},"exp":{}}}"#, late + 1),
        format!(r#"{{{sub},"exp":{}.5}}"#, late + 1),
        format!(r#"{{{sub},"nbf":{early}}}"#),
        format!(r#"{{{sub},"iat":{early}}}"#),
        format!(r#"{{{sub},"iss":"somebody else","exp":1e300}}"#),
        format!(r"{{{sub}}}"),
    ] {
        assert!(check_claims(&ok).is_ok(), "{ok}");
    }
    for name in ["nbf", "iat"] {
        assert_eq!(
            check_claims(&format!(r#"{{{sub},"{name}":{}}}"#, early + 1)),
            Err(AuthError::NotYetValid(early + 1)),
            "{name}"
        );
    }
}

#[test]
fn feature_flags_are_read() {
    let claims = check_claims(&format!(
        r#"{{"sub":"{APP}","org":"{DEFAULT_ORG}","feature_flags":["beta","x"]}}"#
    ))
    .unwrap();
    assert_eq!(claims.feature_flags, Some(vec!["beta".to_owned(), "x".to_owned()]));
}

#[test]
fn subjects_that_are_nobody_are_refused() {
    for claims in [
        "{}".to_owned(),
        r#"{"sub":""}"#.to_owned(),
        r#"{"sub":"org_"}"#.to_owned(),
        format!(r#"{{"sub":"{DEFAULT_ORG}x"}}"#),
        format!(r#"{{"sub":"{}"}}"#, DEFAULT_ORG.replace('M', "/")),
        format!(r#"{{"sub":"{APP}"}}"#),
        format!(r#"{{"sub":"{APP}","org":"{APP}"}}"#),
        format!(r#"{{"sub":"ep_{}"}}"#, &DEFAULT_ORG[4..]),
    ] {
        assert_eq!(check_claims(&claims), Err(AuthError::UnknownSubject), "{claims}");
    }
}

#[test]
fn other_algorithms_and_extensions_are_refused() {
    let claims = format!(r#"{{"sub":"{DEFAULT_ORG}"}}"#);
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"HS256","crit":["b64"]}"#,
    ] {
        let found = verify(&secret(), &token(header, &claims), NOW);
        assert_eq!(found, Err(AuthError::WrongAlgorithm), "{header}");
    }
}

#[test]
fn damaged_tokens_are_refused() {
    let good = mint(&secret(), &org(), NOW, Duration::from_secs(100));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let malformed = |token: &str| {
        let found = verify(&secret(), token, NOW);
        assert!(matches!(found, Err(AuthError::Malformed(_))), "{token}: {found:?}");
    };
    malformed("");
    malformed("..");
    malformed("one");
    malformed("one.two");
    malformed(&format!("{good}="));
    malformed(&format!("{signed}.{signature}."));
    malformed(&token("[]", "{}"));
    malformed(&token("{}", "{}"));
    malformed(&token(HEADER, "[]"));
    malformed(&token(HEADER, r#"{"exp":"soon"}"#));
    malformed(&token(HEADER, r#"{"sub":"a","sub":"b"}"#));
    for bad in [format!("{signed}."), format!("{signed}.AAAA"), format!("{signed}A.{signature}")] {
        assert_eq!(verify(&secret(), &bad, NOW), Err(AuthError::BadSignature), "{bad}");
    }
    let other = Secret::from_text("another secret, as long", "test").unwrap();
    assert_eq!(verify(&other, &good, NOW), Err(AuthError::BadSignature));
}

#[test]
fn token_length_is_limited() {
    let at = "x".repeat(MAX_TOKEN_BYTES);
    assert!(matches!(verify(&secret(), &at, NOW), Err(AuthError::Malformed(_))));
    let past = "x".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(verify(&secret(), &past, NOW), Err(AuthError::TooLong(MAX_TOKEN_BYTES + 1)));
}

#[test]
fn the_secret_itself_is_named_as_such() {
    let found = verify(&secret(), "a secret of enough bytes", NOW);
    assert_eq!(found, Err(AuthError::SecretAsToken));
}

#[test]
fn secret_is_made_once_and_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/data");
    let first = Secret::load_or_create(&data).unwrap();
    assert_eq!(Secret::load_or_create(&data).unwrap().0, first.0);
    assert_eq!(first.0.len(), 43);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join(SECRET_FILE)), 0o600);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn two_makers_agree_on_one_secret() {
    let dir = tempfile::tempdir().unwrap();
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Secret::load_or_create(dir.path()).unwrap().0)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(made.iter().all(|secret| *secret == made[0]));
}

#[test]
fn a_secret_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Secret::load_or_create(dir.path()).unwrap();
    let path = dir.path().join(SECRET_FILE);
    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Secret::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, SecretError::OpenToOthers { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn secret_length_is_limited_at_both_ends() {
    let check = |len: usize, ok: bool| {
        let found = Secret::from_text(&format!(" {}\n", "s".repeat(len)), "server.jwt_secret");
        assert_eq!(found.is_ok(), ok, "{len} bytes: {found:?}");
    };
    check(0, false);
    check(MIN_SECRET_BYTES - 1, false);
    check(MIN_SECRET_BYTES, true);
    check(MAX_SECRET_BYTES, true);
    check(MAX_SECRET_BYTES + 1, false);
}

#[test]
fn a_missing_secret_is_not_made_by_load() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Secret::load(dir.path()), Err(SecretError::Io { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn debug_hides_the_secret() {
    assert_eq!(format!("{:?}", secret()), "Secret(•••)");
}

proptest! {
    /// Whatever comes in is answered, never with a panic, and never accepted.
    #[test]
    fn no_text_panics_or_passes(text in "\\PC{0,200}") {
        prop_assert!(verify(&secret(), &text, NOW).is_err());
    }

    /// The same for things that look like tokens, rightly signed over any bytes.
    #[test]
    fn no_signed_bytes_panic(
        header in proptest::collection::vec(any::<u8>(), 0..60),
        claims in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for token in [token(&header, &claims), token(HEADER, &claims)] {
            prop_assert!(verify(&secret(), &token, NOW).is_err());
        }
    }

    /// Any claims within JSON's reach: times of every size, and no panic.
    #[test]
    fn no_times_panic(iat in any::<f64>(), nbf in any::<f64>(), exp in any::<f64>(), now in any::<u64>()) {
        let claims = serde_json::json!({"sub": DEFAULT_ORG, "iat": iat, "nbf": nbf, "exp": exp});
        drop(verify(&secret(), &token(HEADER, claims.to_string()), now));
    }

    /// One character changed anywhere is noticed.
    #[test]
    fn any_changed_character_is_noticed(at in 0_usize..200, to in "[A-Za-z0-9_-]") {
        let good = mint(&secret(), &org(), NOW, Duration::from_secs(100));
        let at = at % good.len();
        let mut bad = good.clone();
        bad.replace_range(at..=at, &to);
        prop_assume!(bad != good);
        prop_assert!(verify(&secret(), &bad, NOW).is_err());
    }
}
