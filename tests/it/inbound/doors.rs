//! Handshakes, repetitions, odd bodies, names, filters: what happens at one door.
use std::time::Duration;

use base64::Engine as _;
use posthaste::model::source::Source;
use ring::hmac;
use serde_json::json;

use super::house::{House, owned};

const SECRET: &str = "wh_live_8f2c11";

fn mac(secret: &str, text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex(hmac::sign(&key, text).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).map(char::from).collect()
}

/// The headers of a genuine event of GitHub.
pub fn github(id: &str, event: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let signature = format!("sha256={}", mac(SECRET, body));
    owned(&[
        ("content-type", "application/json"),
        ("x-github-delivery", id),
        ("x-github-event", event),
        ("x-hub-signature-256", &signature),
    ])
}

pub fn github_source(
    house: &House,
    change: impl FnOnce(&mut Source) + Send + 'static,
) -> std::sync::Arc<Source> {
    house.source("github", &[SECRET.to_owned()], change)
}

#[test]
fn bodies_are_verified_and_kept_to_the_byte() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let bodies: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\x00\x80",
        b"\xef\xbb\xbf{\"a\":1}",
        b"{\"\\u0061\":\"\\/\\ud83d\\ude00\",  \"n\":1.0e2}\n",
        b"{\"a\":1}\r\n\r\n",
        b"\0",
        b"payload=%7B%22a%22%3A1%7D",
    ];
    for (n, body) in bodies.iter().enumerate() {
        let got =
            house.send("POST", &source.path(), &github(&format!("id-{n}"), "push", body), body);
        assert_eq!(got.status, 200, "{n}: {}", got.text());
        assert_eq!(house.payload(&source, got.message()), *body, "{n}");
        let mut other = body.to_vec();
        other.push(b' ');
        let got = house.send("POST", &source.path(), &github("x", "push", body), &other);
        assert_eq!((got.status, got.code().as_str()), (401, "signature_mismatch"), "{n}");
    }
    assert_eq!(house.count(&source), bodies.len());
}

#[test]
fn a_repetition_is_answered_and_kept_once_even_across_a_restart() {
    let house = House::new();
    let source = github_source(&house, |source| source.dedupe = Duration::from_secs(3600));
    let body = b"{\"action\":\"opened\"}";
    let send =
        |house: &House| house.send("POST", &source.path(), &github("d-1", "issues", body), body);
    let first = send(&house).message();
    let house = house.restart();
    let again = send(&house);
    assert_eq!(again.header("posthaste-repeated"), Some("true"));
    assert_eq!(again.message(), first);
    house.set_clock(1_790_000_000 + 3599);
    assert_eq!(send(&house).message(), first);
    house.set_clock(1_790_000_000 + 3600);
    assert_ne!(send(&house).message(), first, "its window has ended");
    assert_eq!(house.count(&source), 2);
}

#[test]
fn a_refusal_does_not_burn_the_senders_retry() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let body = b"{}";
    let mut headers = github("d-1", "push", body);
    headers[3].1 = b"sha256=00".to_vec();
    assert_eq!(house.send("POST", &source.path(), &headers, body).status, 401);
    assert_eq!(house.send("POST", &source.path(), &github("d-1", "push", body), body).status, 200);
    assert_eq!(house.count(&source), 1);
}

#[test]
fn an_id_that_comes_again_with_another_body_is_told_apart() {
    let house = House::new();
    // GitHub signs the body: another one is another event, and genuine.
    let source = github_source(&house, |_| {});
    for body in [b"{\"n\":1}", b"{\"n\":2}"] {
        let got = house.send("POST", &source.path(), &github("d-1", "push", body), body);
        assert_eq!(got.status, 200);
    }
    assert_eq!(house.count(&source), 2);
    // A token says nothing of the body: a replay with another one is refused and kept.
    let source = house.source("gitlab_token", &["glt-8f2c".to_owned()], |_| {});
    let headers = [
        ("x-gitlab-token", "glt-8f2c"),
        ("idempotency-key", "k-1"),
        ("x-gitlab-event", "Push Hook"),
    ];
    assert_eq!(house.post(&source, &headers, b"{\"n\":1}").status, 200);
    let got = house.post(&source, &headers, b"{\"n\":2}");
    assert_eq!((got.status, got.code().as_str()), (409, "id_reused"));
    assert_eq!(house.refused(&source, 1), ["id_reused"]);
    assert_eq!(house.count(&source), 1);
}

#[test]
fn the_provider_says_what_happened_and_the_source_how_it_is_called() {
    let house = House::new();
    let source = github_source(&house, |source| {
        source.event_type_prefix = "github.".to_owned();
        source.event_types.insert("issues.opened".to_owned(), "ticket.new".to_owned());
        source.filter = Some(vec!["github.push".to_owned(), "ticket.*".to_owned()]);
        source.keep_headers = Some(vec!["X-GitHub-Event".to_owned()]);
    });
    let send = |id: &str, event: &str, body: &[u8]| {
        house.send("POST", &source.path(), &github(id, event, body), body)
    };
    for (id, event, body, expected) in [
        ("1", "push", &b"{}"[..], "github.push"),
        ("2", "issues", b"{\"action\":\"opened\"}", "ticket.new"),
    ] {
        let id = send(id, event, body).message();
        let (message, _) = house.store.message(source.app, id).unwrap().unwrap();
        assert_eq!(message.event_type, expected);
        assert_eq!(message.headers, [("x-github-event".to_owned(), event.to_owned())]);
        assert_eq!(message.tags, [source.id.to_string()]);
        assert_eq!(message.content_type, None, "a JSON object");
    }
    let dropped = send("3", "star", b"{}");
    assert_eq!((dropped.status, dropped.header("posthaste-dropped")), (200, Some("filter")));
    assert_eq!(house.count(&source), 2);
}

#[test]
fn strangers_and_wrong_doors_are_turned_away_before_their_body() {
    let house = House::new();
    let source = github_source(&house, |source| source.uid = Some("ci".to_owned()));
    let body = b"{}";
    let at = |path: &str| house.send("POST", path, &github("d", "push", body), body);
    for path in [
        "/in/x/y".to_owned(),
        format!("/in/{}/wrong", source.id),
        format!("/in/other/{}", source.token),
        format!("/in/{}", source.id),
        format!("{}/more", source.path()),
    ] {
        let got = at(&path);
        assert_eq!((got.status, got.code().as_str()), (404, "unknown_source"), "{path}");
    }
    assert_eq!(at(&format!("/in/ci/{}", source.token)).status, 200, "by its uid");
    assert_eq!(at(&format!("{}/", source.path())).status, 200, "a slash at the end");
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let got = house.send(method, &source.path(), &[], b"");
        assert_eq!((got.status, got.header("allow")), (405, Some("POST")), "{method}");
    }
    assert!(house.store.refused(source.id).unwrap().is_empty(), "none of this is kept");
    let off = github_source(&house, |source| source.enabled = false);
    let got = house.send("POST", &off.path(), &github("d", "push", body), body);
    assert_eq!((got.status, got.header("retry-after")), (503, Some("60")));
}

#[test]
fn a_source_that_signs_nothing_has_its_token() {
    let house = House::new();
    let source = house.source("generic", &[], |_| {});
    let got = house.post(&source, &[("content-type", "application/json")], b"{\"type\":\"a.b\"}");
    let (message, _) = house.store.message(source.app, got.message()).unwrap().unwrap();
    assert_eq!(message.event_type, "a.b");
    let got = house.post(&source, &[], b"text");
    let (message, _) = house.store.message(source.app, got.message()).unwrap().unwrap();
    assert_eq!(
        (message.event_type.as_str(), message.content_type.as_deref()),
        ("generic.event", Some("application/octet-stream"))
    );
    let headers = [("idempotency-key", "k"), ("content-type", "text/plain; charset=utf-8")];
    let first = house.post(&source, &headers, b"x").message();
    assert_eq!(house.post(&source, &headers, b"x").message(), first);
    let (message, _) = house.store.message(source.app, first).unwrap().unwrap();
    assert_eq!(message.content_type.as_deref(), Some("text/plain; charset=utf-8"));
}

/// One question of a provider and the answer it expects.
struct Question<'q> {
    provider: &'q str,
    secret: &'q str,
    settings: &'q [(&'q str, &'q str)],
    method: &'q str,
    query: &'q str,
    headers: Vec<(String, Vec<u8>)>,
    body: &'q [u8],
}

impl Question<'_> {
    fn of<'q>(provider: &'q str, method: &'q str, query: &'q str) -> Question<'q> {
        let secret = if provider == "discord" { DISCORD } else { SECRET };
        Question { provider, secret, settings: &[], method, query, headers: Vec::new(), body: b"" }
    }

    /// Asks; checks that no event was made of it.
    fn ask(&self, house: &House) -> super::house::Got {
        let settings: Vec<(String, String)> =
            self.settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let source = house.source(self.provider, &[self.secret.to_owned()], move |source| {
            source.settings.extend(settings);
        });
        let target = match self.query {
            "" => source.path(),
            query => format!("{}?{query}", source.path()),
        };
        let got = house.send(self.method, &target, &self.headers, self.body);
        assert_eq!(house.count(&source), 0, "{}: a question is no event", self.provider);
        got
    }
}

const DISCORD: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[test]
fn echoes_are_text_that_no_browser_takes_for_a_page() {
    let house = House::new();
    let meta = Question {
        settings: &[("verify_token", "vt-8f2c")],
        ..Question::of(
            "meta",
            "GET",
            "hub.mode=subscribe&hub.verify_token=vt-8f2c&hub.challenge=1158201444",
        )
    };
    let websub = Question {
        settings: &[("topic", "https://blog.example/feed")],
        ..Question::of(
            "websub",
            "GET",
            "hub.mode=subscribe&hub.topic=https%3A%2F%2Fblog.example%2Ffeed&hub.challenge=c-1",
        )
    };
    for (question, expected) in [
        (meta, "1158201444"),
        (Question::of("dropbox", "GET", "challenge=abc%20123"), "abc 123"),
        (
            Question::of("msgraph", "POST", "validationToken=Validation%3A%20x%2By"),
            "Validation: x+y",
        ),
        (websub, "c-1"),
    ] {
        let provider = question.provider;
        let got = question.ask(&house);
        assert_eq!((got.status, got.text().as_str()), (200, expected), "{provider}");
        assert!(got.header("content-type").unwrap().starts_with("text/plain"), "{provider}");
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"), "{provider}");
    }
    let script = Question::of("dropbox", "GET", "challenge=%3Cscript%3E").ask(&house);
    assert!(script.header("content-type").unwrap().starts_with("text/plain"));
    let long = "a".repeat(1025);
    let long = format!("challenge={long}");
    assert_eq!(Question::of("dropbox", "GET", &long).ask(&house).status, 400, "bounded");
    let wrong = Question {
        settings: &[("verify_token", "vt-8f2c")],
        ..Question::of("meta", "GET", "hub.mode=subscribe&hub.verify_token=other&hub.challenge=1")
    };
    assert_eq!(wrong.ask(&house).status, 405, "not for who does not know the token");
    assert_eq!(Question::of("github", "GET", "challenge=1").ask(&house).status, 405);
}

#[test]
fn challenges_are_answered_with_the_secret() {
    let house = House::new();
    house.set_clock(1_790_000_000);
    let crc = Question::of("x", "GET", "crc_token=token-1").ask(&house);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let expected = base64::prelude::BASE64_STANDARD.encode(hmac::sign(&key, b"token-1"));
    assert_eq!(crc.json(), json!({ "response_token": format!("sha256={expected}") }));

    let body =
        br#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let signature = mac(SECRET, &[b"v0:1790000000:", &body[..]].concat());
    let zoom = |signature: &str| Question {
        headers: owned(&[
            ("x-zm-signature", &format!("v0={signature}")),
            ("x-zm-request-timestamp", "1790000000"),
        ]),
        body,
        ..Question::of("zoom", "POST", "")
    };
    let token = "qgg8vlvZRS6UYooatFL8Aw";
    let expected = json!({ "plainToken": token, "encryptedToken": mac(SECRET, token.as_bytes()) });
    assert_eq!(zoom(&signature).ask(&house).json(), expected);
    assert_eq!(zoom(&"00".repeat(32)).ask(&house).status, 401, "only when it is signed");

    let body = br#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let signature = mac(SECRET, &[b"v0:1790000000:", &body[..]].concat());
    let slack = Question {
        headers: owned(&[
            ("x-slack-signature", &format!("v0={signature}")),
            ("x-slack-request-timestamp", "1790000000"),
        ]),
        body,
        ..Question::of("slack", "POST", "")
    };
    assert_eq!(slack.ask(&house).text(), "3eZbrw1aB");
}

#[test]
fn other_questions_are_answered_as_their_provider_expects() {
    let house = House::new();
    let okta = Question {
        headers: owned(&[("x-okta-verification-challenge", "ch-1")]),
        ..Question::of("okta", "GET", "")
    };
    assert_eq!(okta.ask(&house).json(), json!({ "verification": "ch-1" }));
    for provider in ["trello", "intercom"] {
        let got = Question::of(provider, "HEAD", "").ask(&house);
        assert_eq!((got.status, got.body.len()), (200, 0), "{provider}");
    }
    let options = |provider, settings| Question {
        settings,
        headers: owned(&[("webhook-request-origin", "eventgrid.azure.net")]),
        ..Question::of(provider, "OPTIONS", "")
    };
    for question in [
        options("azure_event_grid", &[]),
        options("cloudevents", &[("allowed_origins", "a.example, eventgrid.azure.net")]),
    ] {
        let got = question.ask(&house);
        assert_eq!(got.status, 200, "{}", question.provider);
        assert_eq!(got.header("webhook-allowed-origin"), Some("eventgrid.azure.net"));
    }
    let stranger = options("cloudevents", &[("allowed_origins", "a.example")]);
    assert_eq!(stranger.ask(&house).status, 405, "not for any origin");
    let grid = Question {
        headers: owned(&[("aeg-event-type", "SubscriptionValidation")]),
        body: br#"[{"id":"1","eventType":"x","data":{"validationCode":"512d38b6"}}]"#,
        ..Question::of("azure_event_grid", "POST", "code=wh_live_8f2c11")
    };
    assert_eq!(grid.ask(&house).json(), json!({ "validationResponse": "512d38b6" }));
}

#[test]
fn discord_pings_are_answered_and_bad_ones_refused_with_401() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = hex(pair.public_key().as_ref());
    let house = House::new();
    let body = br#"{"version":1,"type":0}"#;
    let ask = |signature: &str| {
        Question {
            secret: &public,
            headers: owned(&[
                ("x-signature-ed25519", signature),
                ("x-signature-timestamp", "1790000000"),
            ]),
            body,
            ..Question::of("discord", "POST", "")
        }
        .ask(&house)
    };
    let signed = [b"1790000000", &body[..]].concat();
    assert_eq!(ask(&hex(pair.sign(&signed).as_ref())).status, 204);
    assert_eq!(ask(&"00".repeat(64)).status, 401);
}

#[test]
fn asana_sends_its_secret_once() {
    let house = House::new();
    let source = house.source("asana", &[], |source| source.secret_pending = true);
    let hello = |secret: &str| house.post(&source, &[("x-hook-secret", secret)], b"");
    let got = hello("asana-secret-1");
    assert_eq!((got.status, got.header("x-hook-secret")), (200, Some("asana-secret-1")));
    // A stranger who sends another must not take the source over.
    let got = hello("mine-now");
    assert!(got.status >= 400 && got.header("x-hook-secret").is_none(), "{}", got.status);
    let body = b"{\"events\":[{\"action\":\"added\",\"resource\":{\"resource_type\":\"task\"}}]}";
    for (secret, status) in [("mine-now", 401), ("asana-secret-1", 200)] {
        let signature = mac(secret, body);
        assert_eq!(house.post(&source, &[("x-hook-signature", &signature)], body).status, status);
    }
    let kept = house.store.directory().source(source.id).unwrap().unwrap();
    assert!(!kept.secret_pending && kept.secrets[0].0 == "asana-secret-1");
}

#[test]
fn a_refused_event_is_accepted_once_its_secret_is_mended() {
    let house = House::new();
    let source = house.source("github", &["the wrong one".to_owned()], |_| {});
    let body = b"{\"action\":\"opened\"}";
    let mut headers = github("d-1", "issues", body);
    headers.extend(owned(&[("cookie", "private"), ("x-more", "kept")]));
    assert_eq!(house.send("POST", &source.path(), &headers, body).status, 401);
    let placeholder = house.source("github", &["changeme".to_owned()], |_| {});
    assert_eq!(house.send("POST", &placeholder.path(), &headers, body).status, 401);
    house.refused(&placeholder, 1);
    let hint = &house.store.refused(placeholder.id).unwrap()[0].1.hint;
    assert_eq!(hint.as_deref(), Some("secret_looks_like_test_key"));

    house.refused(&source, 1);
    let base = format!("/ingest/api/v1/source/{}", source.id);
    let listed = house.api("GET", &format!("{base}/refused"), &json!(null)).json();
    let one = listed["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(listed["data"][0]["code"], "signature_mismatch", "{listed}");
    let raw = house.api("GET", &format!("{base}/refused/{one}/raw"), &json!(null)).text();
    assert!(raw.contains("x-more: kept") && !raw.contains("private"), "{raw}");
    assert!(!raw.contains(&source.token), "the token of the URL is not shown: {raw}");
    let again = |what: &str| house.api("POST", &format!("{base}/refused/{one}/{what}"), &json!({}));
    assert_eq!(again("verify").json()["code"], "signature_mismatch");
    assert_eq!(again("accept").status, 409);
    let mended = house.api("PATCH", &base, &json!({ "secrets": [SECRET] }));
    assert_eq!(mended.status, 200, "{}", mended.text());
    assert_eq!(again("verify").json(), json!({ "verdict": "accepted" }));
    let accepted = again("accept");
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let id = accepted.json()["message"].as_str().unwrap().parse().unwrap();
    assert_eq!(house.payload(&source, id), body);
    assert_eq!(again("accept").json()["repeated"], true);
    assert_eq!(house.count(&source), 1);
}

#[test]
fn a_body_that_was_written_anew_on_its_way_is_recognised() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let headers = github("d", "push", b"{\"a\":1,\"b\":[1,2]}");
    let got = house.send("POST", &source.path(), &headers, b"{\"a\": 1, \"b\": [1, 2]}");
    assert_eq!(
        (got.status, got.code().as_str()),
        (401, "signature_mismatch"),
        "no help for strangers"
    );
    assert_eq!(house.refused(&source, 1), ["body_was_reencoded"]);
}
