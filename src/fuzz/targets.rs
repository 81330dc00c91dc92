//! The targets: a name, a corpus, words, and what reads the bytes.

use std::path::Path;

use super::kind;
use crate::delivery::wrap;
use crate::model::clock::Timestamp;
use crate::model::cloud_event::{self, Mode};
use crate::model::id::{AppId, EndpointId, MessageId, OrgId};
use crate::model::message::Message;
use crate::model::secret::SigningKey;
use crate::model::{limits, matching, name};
use crate::{api, config, daemon, delivery, inbound, signature, store};

/// Something that reads strangers' bytes.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) seeds: Vec<Vec<u8>>,
    pub(super) words: &'static [&'static str],
    /// The kind of outcome. Panics when something does not hold.
    pub(super) run: fn(&[u8]) -> u64,
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// All there are.
pub(super) fn targets() -> Vec<Target> {
    let mut all = of_the_api();
    all.extend(of_senders());
    all.extend(of_events());
    all.extend(of_owners_and_receivers());
    all.extend(of_servers_on_the_way());
    all.extend(of_operators());
    all.extend(of_the_disk());
    all
}

fn of_the_api() -> Vec<Target> {
    let token = api::fuzzed::genuine_token();
    let claims = r#"{"iss":"svix","sub":"org_23rb8YdGqMT0qIzpgGwdXfHirMu","iat":1790000000,"nbf":1790000000.5,"exp":2e9,"feature_flags":["a"]}"#;
    let app = r#"{"sub":"app_23rb8YdGqMT0qIzpgGwdXfHirMu","org":"org_23rb8YdGqMT0qIzpgGwdXfHirMu","capabilities":["ViewBase"],"exp":null}"#;
    vec![
        Target {
            name: "token",
            seeds: vec![token.clone().into_bytes(), token.replace('.', "..").into_bytes()],
            words: &[".", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "=", "e30"],
            run: api::fuzzed::token,
        },
        Target {
            name: "claims",
            seeds: texts(&[claims, app, "{}", "[]"]),
            words: &["\"sub\":", "\"org\":", "\"exp\":", "\"nbf\":", "\"iat\":", "-1e308", "org_"],
            run: api::fuzzed::claims,
        },
        Target {
            name: "query",
            seeds: texts(&[
                "limit=50&iterator=msg_2srLjEbSzWSv1YCLXZ6wZcSnB0F&order=ascending",
                "iterator=-msg_2srLjEbSzWSv1YCLXZ6wZcSnB0F&with_content=true",
                "event_types=a,b&event_types[]=c&event_types[1]=d&before=2026-11-24T08:00:00Z",
            ]),
            words: &["limit=", "iterator=", "-", "&", "event_types[", "before=", "msg_", "+00:00"],
            run: api::fuzzed::query,
        },
        Target {
            name: "message",
            seeds: texts(&[
                r#"{"eventType":"order.paid","payload":{"a":[1,{"b":"c\\\""}]},"channels":["x"]}"#,
                r#"{"eventType":"a","payload":{},"eventId":"e","tags":["t"],"deliverAt":"2026-11-24T08:00:00Z","transformationsParams":{"rawPayload":"x"}}"#,
            ]),
            words: &["\"payload\":", "\"eventType\":", "[[[[[[[[", "{\"a\":", "\\u0000", "\\ud800"],
            run: api::fuzzed::message,
        },
        Target {
            name: "path",
            seeds: texts(&["/api/v1/app/a%2fb/endpoint/%C3%A9", "/", "//%zz/%"]),
            words: &["/", "%2F", "%00", "..", "%c0%af"],
            run: api::fuzzed::path,
        },
        Target {
            name: "ids",
            seeds: texts(&[
                "msg_2srLjEbSzWSv1YCLXZ6wZcSnB0F",
                "org_23rb8YdGqMT0qIzpgGwdXfHirMu",
                "app_zzzzzzzzzzzzzzzzzzzzzzzzzzz",
                "2026-11-24T08:00:00.123+02:00",
                "order.*",
                "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
                "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==",
            ]),
            words: &["ep_", "app_", "whsk_", "whsec_", "whpk_", "*", "."],
            run: ids,
        },
    ]
}

fn of_senders() -> Vec<Target> {
    vec![
        Target {
            name: "signature",
            seeds: signature::fuzzed::requests(),
            words: &[
                "v1,",
                "v1=",
                "sha256=",
                "t=",
                ",",
                "webhook-id: ",
                "content-type: ",
                "\r\n",
                "challenge",
            ],
            run: signature::fuzzed::request,
        },
        Target {
            name: "raw request",
            seeds: texts(&[
                "POST /in?a=b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
                "POST / HTTP/1.1\ntransfer-encoding: chunked\n\n2\r\nhi\r\n0\r\n\r\n",
            ]),
            words: &[
                "content-length: ",
                "transfer-encoding: chunked",
                "ffffffffffffffff\r\n",
                "\n\n",
            ],
            run: signature::fuzzed::raw,
        },
        Target {
            name: "secret",
            seeds: texts(&[
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
                "00ff00ff",
            ]),
            words: &[
                "-----BEGIN ",
                "-----END ",
                "CERTIFICATE-----",
                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
            ],
            run: signature::fuzzed::secret,
        },
    ]
}

fn of_events() -> Vec<Target> {
    let structured = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{}}"#;
    let structured = format!(
        "POST /in HTTP/1.1\ncontent-type: application/cloudevents+json; charset=utf-8\n\n{structured}"
    );
    vec![
        Target {
            name: "event in",
            seeds: texts(&[
                &structured,
                &structured.replace('{', "[").replace('}', "]"),
                "POST /in HTTP/1.1\nce-specversion: 1.0\nce-id: a%20b\nCE-Source: /s\nce-type: t\ncontent-type: text/xml\n\n<a/>",
                "POST /in HTTP/1.1\ncontent-type: application/cloudevents-batch+json\n\n[]",
            ]),
            words: &[
                "\nce-id: ",
                "\nce-source: ",
                "\ncontent-type: application/cloudevents",
                "\"specversion\":\"1.0\"",
                "\"id\":",
                "\"type\":",
                "%0A",
                "%ff",
                "[\"1.0\",\"a\",\"b\",\"c\"]",
            ],
            run: inbound::fuzzed::event_in,
        },
        Target {
            name: "event out",
            seeds: texts(&[
                "content-type: application/json\n\n{\"a\":[1,\"b\"]}",
                "content-type: text/plain\nx-a: b\n\nhi",
                "ce-specversion: 1.0\nce-id: a%20b\nCE-Source: /s\nce-type: t\nce-partitionkey: k\n\n[1]",
                "content-type: application/cloudevents+json\n\n{\"specversion\":\"1.0\"}",
                "\n",
            ]),
            words: &[
                "\nce-id: ",
                "\nCE-ID: ",
                "\nce-data: ",
                "\nce-data_base64: ",
                "\nce-datacontenttype: ",
                "\nce-a-b: ",
                "content-type: application/vnd.x+json",
                "%0A",
                "\n\n",
                "\"data\":",
            ],
            run: event_out,
        },
    ]
}

fn of_servers_on_the_way() -> Vec<Target> {
    let socks = |said: &[u8]| [b"socks\n", said].concat();
    vec![
        Target {
            name: "proxy",
            seeds: vec![
                b"http\nHTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01".to_vec(),
                b"http login\nHTTP/1.0 407 x\r\nproxy-authenticate: Basic\r\n\r\n".to_vec(),
                socks(b"\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\0\x50rest"),
                socks(b"\x05\x00\x05\x00\x00\x03\x03abc\0\x50"),
                socks(b"\x05\x00\x05\x05\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50"),
                b"socks login\n\x05\x02\x01\x00\x05\x00\x00\x01\x7f\0\0\x01\0\x50".to_vec(),
            ],
            words: &[
                "HTTP/1.1 ",
                "HTTP/1.0 2",
                "\r\n\r\n",
                "\u{5}\0",
                "socks\n",
                "http\n",
                " 200 ",
            ],
            run: delivery::fuzzed::proxy,
        },
        Target {
            name: "token answer",
            seeds: texts(&[
                r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600,"scope":"a"}"#,
                r#"{"token_type":"bearer","access_token":"abc","expires_in":"60"}"#,
                r#"{"error":"invalid_client","error_description":"no","error_uri":"https://x/"}"#,
                r#"["abc"]"#,
            ]),
            words: &[
                "\"access_token\":",
                "\"token_type\":\"mac\"",
                "\"expires_in\":",
                "\"error\":\"",
                "the_secret",
                "\\r\\n",
                "-1",
                "3600.5",
            ],
            run: delivery::fuzzed::token,
        },
    ]
}

fn of_owners_and_receivers() -> Vec<Target> {
    vec![
        Target {
            name: "url",
            seeds: texts(&[
                "https://example.com/hook?a=b",
                "http://0x7f.1:8080/",
                "http://[::ffff:127.0.0.1]/",
                "http://①②⑦.0.0.1/",
                "http://foo.localhost./",
            ]),
            words: &[
                "http://",
                "https://",
                "127.0.0.1",
                "[::1]",
                "@",
                "\\",
                "%31",
                "0x",
                "localhost",
                ":0",
                "xn--",
            ],
            run: delivery::fuzzed::url,
        },
        Target {
            name: "header",
            seeds: texts(&["x-key\nvalue", "authorization\nBearer x", "Host\nevil"]),
            words: &["webhook-", "svix-", "host", "\r\n", "content-length", ":"],
            run: delivery::fuzzed::header,
        },
        Target {
            name: "retry-after",
            seeds: texts(&[
                "120",
                "Wed, 21 Oct 2026 07:28:00 GMT",
                "Sunday, 06-Nov-94 08:49:37 GMT",
            ]),
            words: &["Mon, ", " GMT", "99999999999999999999", "-1", "+0000", "9999", ":60"],
            run: delivery::fuzzed::wait,
        },
    ]
}

fn of_operators() -> Vec<Target> {
    let described = r#"
        [event_types."order.paid"]
        retry_schedule = ["1s"]
        [applications.shop.endpoints.crm]
        url = "https://example.com/"
        secret = "env:X"
        [sources.s]
        provider = "github"
    "#;
    vec![
        Target {
            name: "table",
            seeds: signature::fuzzed::tables(),
            words: &[
                "{body}",
                "{ts}",
                "{json:/",
                "header:",
                "[[",
                "scheme = \"",
                "signed = \"",
                "each = \"/*\"",
                "}",
            ],
            run: signature::fuzzed::table,
        },
        Target {
            name: "config",
            seeds: texts(&[
                "[server]\nlisten = \"127.0.0.1:1\"\nmax_payload = \"256KiB\"\n",
                "[delivery]\nretry_schedule = [\"1s\", \"5m\"]\nallow_networks = [\"10.0.0.0/8\"]\nproxy = \"socks5://a:b@h\"\n",
                "[storage]\nretention = \"90d\"\nmax_size = \"1GiB\"\nsync = \"os\"\n",
            ]),
            words: &[
                "[server]",
                "[delivery]",
                "timeout = \"",
                "99999999999999999d",
                "\"\"\"",
                "KiB",
                "env:",
            ],
            run: settings,
        },
        Target {
            name: "description",
            seeds: texts(&[
                described,
                "[applications.a]\nthrottle_rate = 1\nmetadata = {a = \"b\"}",
            ]),
            words: &["[sources.", "[providers.x]", "secret = ", "event_types = [", "\"1s\""],
            run: description,
        },
        Target {
            name: "egress",
            seeds: texts(&[
                "http://u:p@proxy:3128",
                "socks5://[::1]:1080",
                "10.0.0.0/8",
                "fd00::/8",
            ]),
            words: &["socks5h://", "/33", "/0", "::", "%40", "@"],
            run: delivery::fuzzed::egress,
        },
    ]
}

fn of_the_disk() -> Vec<Target> {
    vec![
        Target {
            name: "record",
            seeds: store::fuzzed::genuine_records(),
            words: &["\u{1}", "whsec_", "\0\0\0\0"],
            run: store::fuzzed::record,
        },
        Target {
            name: "sealed row",
            seeds: vec![store::fuzzed::genuine_sealed(), b"\x01clear".to_vec()],
            words: &["\0"],
            run: store::fuzzed::sealed,
        },
        Target {
            name: "key",
            seeds: vec![vec![7; 40], vec![7; 48], vec![0; 56]],
            words: &["\0\0\0\0\0\0\0\0"],
            run: store::fuzzed::key,
        },
    ]
}

/// Ids, names, moments and signing keys: what passes is written as it was read.
fn ids(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    macro_rules! id {
        ($kind:ty) => {
            text.parse::<$kind>().map(|id| assert_eq!(id.to_string(), text)).is_ok()
        };
    }
    let ids = (id!(MessageId), id!(EndpointId), id!(AppId), id!(OrgId));
    let key = SigningKey::parse(&text);
    if let Ok(key) = &key {
        assert_eq!(SigningKey::parse(&key.to_text()).as_ref(), Ok(key));
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
    }
    let moment = Timestamp::from_rfc3339(&text);
    if let Some(moment) = moment {
        assert_eq!(Timestamp::from_rfc3339(&moment.to_string()), Some(moment), "{moment}");
    }
    let plain = name::check(&text, limits::UID_CHARS).is_ok();
    let pattern = name::check_pattern(&text).is_ok();
    kind((
        ids,
        key.is_ok(),
        moment.is_some(),
        plain,
        pattern,
        matching::pattern_matches(&text, "a.b"),
    ))
}

/// A configuration file.
fn settings(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let environment = std::collections::BTreeMap::new();
    let overrides = config::load::Overrides::default();
    let file = Some((Path::new("p.toml"), text.as_ref()));
    match config::load::assemble(file, &overrides, &environment) {
        Ok(loaded) => kind((1, loaded.warnings.len().min(8))),
        Err(problems) => kind((2, problems.to_string().lines().count().min(16))),
    }
}

/// A file of `conf.d`, or the body of `posthaste apply`.
fn description(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let toml = toml::from_str::<daemon::files::Declaration>(&text);
    let json = serde_json::from_slice::<daemon::files::Declaration>(bytes);
    kind((toml.is_ok(), json.is_ok(), toml.is_ok_and(|t| t.applications.len() > 1)))
}

/// A message that came with these headers, on its way out as an event in both modes. A reader of
/// ours takes either and finds the same event, and the same data.
fn event_out(bytes: &[u8]) -> u64 {
    let at = bytes.windows(2).position(|w| w == b"\n\n").unwrap_or(bytes.len());
    let (head, payload) = bytes.split_at(at);
    let payload = payload.get(2..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let (id, app) = (MessageId([1; 20]), AppId([2; 20]));
    let mut message = Message::trial(id, app, "order.paid", Timestamp(1_790_000_000_000));
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")).take(32) {
        // What a door lets along.
        let fits = name.parse::<http::HeaderName>().is_ok()
            && value.bytes().all(|b| (b' '..=b'~').contains(&b));
        if fits && name == "content-type" {
            message.content_type = Some(value.to_owned());
        } else if fits && delivery::check_custom_header(name, value).is_ok() {
            message.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let passes_on = message.content_type.as_deref().is_some_and(cloud_event::is_structured);
    let read = |mode| {
        let event = wrap(mode, &message, payload);
        let mut headers: Vec<(String, Vec<u8>)> = event
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
            .collect();
        let ours = headers.iter().filter(|(name, _)| cloud_event::attribute(name).is_some());
        for (_, value) in ours.filter(|_| !passes_on) {
            assert!(value.iter().all(u8::is_ascii_graphic), "{value:?}");
        }
        headers.push(("content-type".to_owned(), event.content_type.clone().into_owned().into()));
        let body = event.body.into_owned();
        (inbound::fuzzed::attributes(&headers, &body), body)
    };
    let (binary, same) = read(Mode::Binary);
    let (structured, body) = read(Mode::Structured);
    assert_eq!(same, payload, "the data of a binary event is the payload");
    if passes_on {
        return kind((1, binary.is_ok()));
    }
    assert_eq!(binary.as_ref().ok(), structured.as_ref().ok(), "the modes tell different events");
    // Its values are not looked into: a number may be too large for anything.
    let fields: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(&body).unwrap();
    let is_name =
        |name: &String| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    assert!(fields.keys().all(|name| is_name(name) || name == "data_base64"), "{fields:?}");
    assert!(!(fields.contains_key("data") && fields.contains_key("data_base64")));
    if let Some(data) = fields.get("data") {
        assert_eq!(data.get().as_bytes(), payload.trim_ascii());
    }
    let own = fields["id"].get() == format!("\"{}\"", message.id);
    assert!(!own || structured.is_ok(), "an event of our own cannot be read");
    kind((2, own, structured.is_ok(), fields.len().min(8), fields.contains_key("data")))
}
