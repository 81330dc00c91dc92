//! Handshakes: who is answered, with what, and who is not.

use super::vector;
use crate::signature::{Handshake, MAX_ANSWER_BYTES, Providers, Rejection, Request, Stage};
use std::collections::BTreeMap;

const BEFORE: Stage = Stage::BeforeVerify { secret_pending: false };
const PENDING: Stage = Stage::BeforeVerify { secret_pending: true };

struct Ask<'a> {
    provider: &'a str,
    method: &'a str,
    query: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
    cfg: &'a [(&'a str, &'a str)],
    stage: Stage,
}

const ASK: Ask<'_> = Ask {
    provider: "",
    method: "POST",
    query: "",
    headers: &[],
    body: "",
    cfg: &[],
    stage: BEFORE,
};

impl Ask<'_> {
    fn answer(&self) -> Result<Option<Handshake>, Rejection> {
        let profile = Providers::builtin().get(self.provider).unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers: Vec<_> = self.headers.iter().map(owned).collect();
        let headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        let cfg: BTreeMap<_, _> = self.cfg.iter().map(owned).collect();
        let url = format!("https://h.example/in{}", self.query);
        let request = Request {
            method: self.method,
            url: &url,
            headers: &headers,
            body: self.body.as_bytes(),
        };
        let secrets: Vec<_> = profile.secret("wh_test_secret_8f2c").into_iter().collect();
        profile.handshake(&request, &secrets, &cfg, self.stage)
    }

    #[track_caller]
    fn gets(&self, status: u16, content_type: Option<&str>, body: &str) -> Handshake {
        let answer = self.answer().unwrap().expect("a handshake");
        assert_eq!(answer.status, status, "{}", self.provider);
        assert_eq!(answer.content_type.as_deref(), content_type, "{}", self.provider);
        assert_eq!(String::from_utf8(answer.body.clone()).unwrap(), body, "{}", self.provider);
        let nosniff = ("x-content-type-options".to_owned(), "nosniff".to_owned());
        assert!(answer.headers.contains(&nosniff), "{}", self.provider);
        answer
    }

    #[track_caller]
    fn gets_nothing(&self) {
        assert_eq!(self.answer(), Ok(None), "{}", self.provider);
    }
}

const TEXT: Option<&str> = Some("text/plain");
const JSON: Option<&str> = Some("application/json");

#[test]
fn questions_in_the_body_are_answered_after_verification_only() {
    let zoom =
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let zoom_answer = r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"376e360c7c6b396453ac3d882e2808cbd757d036643e68a455de3fba84ce1183"}"#;
    let slack = r#"{"type":"url_verification","challenge":"3eZb\"<"}"#;
    let twitch = [("twitch-eventsub-message-type", "webhook_callback_verification")];
    let grid = [("aeg-event-type", "SubscriptionValidation")];
    let grid_body = r#"[{"data":{"validationCode":"512d38b6"}}]"#;
    let after = Ask { stage: Stage::AfterVerify, ..ASK };
    let asks = [
        (Ask { provider: "zoom", body: zoom, ..after }, 200, JSON, zoom_answer),
        (Ask { provider: "slack", body: slack, ..after }, 200, TEXT, "3eZb\"<"),
        (Ask { provider: "discord", body: r#"{"type":0}"#, ..after }, 204, None, ""),
        (
            Ask {
                provider: "discord",
                body: r#"{"type":1}"#,
                cfg: &[("interactions", "true")],
                ..after
            },
            200,
            JSON,
            r#"{"type":1}"#,
        ),
        (
            Ask { provider: "twitch", body: r#"{"challenge":"c"}"#, headers: &twitch, ..after },
            200,
            TEXT,
            "c",
        ),
        (
            Ask { provider: "azure_event_grid", body: grid_body, headers: &grid, ..after },
            200,
            JSON,
            r#"{"validationResponse":"512d38b6"}"#,
        ),
    ];
    for (ask, status, content_type, body) in asks {
        ask.gets(status, content_type, body);
        Ask { stage: BEFORE, ..ask }.gets_nothing();
        Ask { body: r#"{"type":"event_callback","event":"other"}"#, headers: &[], ..ask }
            .gets_nothing();
    }
    Ask { provider: "discord", body: r#"{"type":1}"#, ..after }.gets_nothing();
}

#[test]
fn questions_in_the_address_are_answered_at_once() {
    let get = Ask { method: "GET", ..ASK };
    let meta = Ask {
        provider: "meta",
        query: "?hub.mode=subscribe&hub.verify_token=my%20token&hub.challenge=115",
        cfg: &[("verify_token", "my token")],
        ..get
    };
    let topic = "hub.topic=https%3A%2F%2Ft.example%2F&hub.challenge=c1";
    let websub_query = format!("?hub.mode=subscribe&{topic}");
    let websub = Ask {
        provider: "websub",
        query: &websub_query,
        cfg: &[("topic", "https://t.example/")],
        ..get
    };
    meta.gets(200, TEXT, "115");
    websub.gets(200, TEXT, "c1");
    Ask { provider: "dropbox", query: "?challenge=%3Cb%3E", ..get }.gets(200, TEXT, "<b>");
    let token = "?validationToken=Validation%3A+Testing%20it";
    Ask { provider: "msgraph", query: token, ..ASK }.gets(200, TEXT, "Validation: Testing it");
    let okta = [("X-Okta-Verification-Challenge", "a\"b")];
    let okta = Ask { provider: "okta", headers: &okta, ..get };
    okta.gets(200, JSON, r#"{"verification":"a\"b"}"#);
    let crc = "{\"response_token\":\"sha256=hoO5MpbjpQPbhSquKFV6/SnVJmpBUrNcukwVggF5rfs=\"}";
    Ask { provider: "x", query: "?crc_token=abc", ..get }.gets(200, JSON, crc);
    for provider in ["trello", "intercom"] {
        Ask { provider, method: "HEAD", ..ASK }.gets(200, None, "");
        Ask { provider, ..ASK }.gets_nothing();
    }

    // By POST, these are events.
    Ask { method: "POST", ..meta }.gets_nothing();
    Ask { method: "POST", ..okta }.gets_nothing();
    // Without the setting, nobody is right; with another, the stranger is wrong.
    Ask { cfg: &[], ..meta }.gets_nothing();
    Ask { cfg: &[("verify_token", "other")], ..meta }.gets_nothing();
    Ask { cfg: &[("verify_token", "")], query: "?hub.mode=subscribe&hub.verify_token=", ..meta }
        .gets_nothing();
    Ask { cfg: &[("topic", "https://u.example/")], ..websub }.gets_nothing();
    let denied = format!("?hub.mode=denied&{topic}");
    Ask { query: &denied, ..websub }.gets_nothing();
    // Other providers' sources do not echo.
    Ask { provider: "github", query: "?challenge=x&validationToken=x&crc_token=x", ..get }
        .gets_nothing();
}

#[test]
fn cloud_events_senders_are_answered_for_configured_origins_only() {
    let origin = [("WebHook-Request-Origin", "events.example")];
    let allowed = [("allowed_origins", "other.example, events.example")];
    let ask = Ask { provider: "cloudevents", method: "OPTIONS", headers: &origin, ..ASK };
    let answer = Ask { cfg: &allowed, ..ask }.gets(200, None, "");
    for (name, value) in [
        ("webhook-allowed-origin", "events.example"),
        ("webhook-allowed-rate", "*"),
        ("allow", "POST"),
    ] {
        assert!(answer.headers.contains(&(name.to_owned(), value.to_owned())), "{name}");
    }
    ask.gets_nothing();
    Ask { cfg: &[("allowed_origins", "events.example.org")], ..ask }.gets_nothing();
    Ask { headers: &[], cfg: &allowed, ..ask }.gets_nothing();
    let grid = [("WebHook-Request-Origin", "eventgrid.azure.net")];
    Ask { provider: "azure_event_grid", headers: &grid, ..ask }.gets(200, None, "");
}

#[test]
fn a_secret_is_learned_only_while_one_is_pending() {
    let headers = [("X-Hook-Secret", "b537207f20cbfa02357cf448134da559")];
    let ask = Ask { provider: "asana", headers: &headers, ..ASK };
    let answer = Ask { stage: PENDING, ..ask }.gets(200, None, "");
    assert_eq!(answer.learn_secret.as_deref(), Some(headers[0].1));
    assert!(answer.headers.contains(&("x-hook-secret".to_owned(), headers[0].1.to_owned())));
    ask.gets_nothing();
    Ask { stage: Stage::AfterVerify, ..ask }.gets_nothing();
}

#[test]
fn answers_are_short_and_fit_where_they_go() {
    let query = |length: usize| format!("?challenge={}", "x".repeat(length));
    let code = |ask: Ask<'_>| ask.answer().unwrap_err().reason.code().into_owned();
    let long = query(MAX_ANSWER_BYTES);
    let dropbox = Ask { provider: "dropbox", method: "GET", query: &long, ..ASK };
    dropbox.gets(200, TEXT, &"x".repeat(MAX_ANSWER_BYTES));
    assert_eq!(code(Ask { query: &query(MAX_ANSWER_BYTES + 1), ..dropbox }), "handshake_malformed");
    let twice = "?challenge=1&challenge=2";
    assert_eq!(code(Ask { query: twice, ..dropbox }), "duplicate_parameter");

    let split = [("x-hook-secret", "a\r\nset-cookie: b")];
    let asana = Ask { provider: "asana", headers: &split, stage: PENDING, ..ASK };
    assert_eq!(code(asana), "handshake_malformed");
    let empty = Ask { provider: "slack", body: r#"{"type":"url_verification"}"#, ..ASK };
    assert_eq!(code(Ask { stage: Stage::AfterVerify, ..empty }), "handshake_malformed");
}

/// X signs its events with the key that also answers its challenge: a challenge that is an event
/// would be a forged signature for the asking.
#[test]
fn a_challenge_cannot_be_an_event() {
    for query in
        ["?crc_token=%7B%22for_user_id%22%3A1%7D", "?crc_token=%5B1%5D", "?crc_token=v0:1:x"]
    {
        let ask = Ask { provider: "x", method: "GET", query, ..ASK };
        assert_eq!(ask.answer().unwrap_err().reason.code(), "handshake_malformed", "{query}");
    }
}

/// Discord's question is signed like everything it sends, and the answer comes after that check.
#[test]
fn a_signed_question_passes_both_stages() {
    let discord = vector("discord", "");
    assert!(discord.verify().is_ok());
    let cfg = BTreeMap::from([("interactions".to_owned(), "true".to_owned())]);
    let profile = discord.profile();
    let answer = |stage| profile.handshake(&discord.request(), &discord.loaded(), &cfg, stage);
    assert_eq!(answer(BEFORE), Ok(None));
    assert_eq!(answer(Stage::AfterVerify).unwrap().unwrap().body, br#"{"type":1}"#);
}
