//! `OAuth2` client credentials from outside: the real daemon fetches a token from a token server,
//! sends it, fetches another when it is refused, and shows neither token nor secret anywhere.

use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hostile_tools::{House, until};
use crate::support::http::Head;

const LIMIT: Duration = Duration::from_secs(20);
const SECRET: &str = "client-secret-hunter2";

/// What came: the `authorization` field and the body.
type Seen = (String, String);

/// A server that answers each request by `answer`, which is told how many came before.
fn server(answer: impl Fn(usize) -> String + Send + 'static) -> (u16, Receiver<Seen>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (saw, seen) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            // Cut off by the daemon, most likely.
            drop(serve(stream, &answer(n), &saw));
        }
    });
    (port, seen)
}

/// One request on a connection, then it is closed.
fn serve(mut stream: TcpStream, answer: &str, saw: &Sender<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let head = Head::read(&mut reader)?;
    let body = head.read_body(&mut reader)?;
    let shown = head.field("authorization").unwrap_or_default().to_owned();
    drop(saw.send((shown, String::from_utf8_lossy(&body).into_owned())));
    stream.write_all(answer.as_bytes())
}

fn reply(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[test]
fn a_token_is_fetched_sent_renewed_and_never_shown() {
    let house = House::start(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[\"100ms\"]")]);
    let (tokens, asked) =
        server(|n| reply(200, &format!(r#"{{"access_token":"tok-{n}","token_type":"Bearer"}}"#)));
    // The second request is refused as if the token had been taken back.
    let (hooks, arrived) = server(|n| reply(if n == 1 { 401 } else { 204 }, ""));
    let app = house.app("oauth");
    let endpoint = house.endpoint(&app, &format!("http://127.0.0.1:{hooks}/hook"));
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let custom = json!({ "headers": { "authorization": "Basic mine" } });
    house.expect(204, "PUT", &format!("{path}/headers"), &custom);
    let settings = json!({ "tokenUrl": format!("http://127.0.0.1:{tokens}/token"),
        "clientId": "shop", "clientSecret": SECRET, "scope": "hooks",
        "authMethod": "clientSecretPost" });
    house.expect(204, "PUT", &format!("{path}/oauth"), &settings);

    house.send(&app);
    assert_eq!(arrived.recv_timeout(LIMIT).unwrap().0, "Bearer tok-0");
    let form =
        format!("grant_type=client_credentials&client_id=shop&client_secret={SECRET}&scope=hooks");
    assert_eq!(asked.recv_timeout(LIMIT).unwrap(), (String::new(), form));
    house.send(&app);
    assert_eq!(arrived.recv_timeout(LIMIT).unwrap().0, "Bearer tok-0", "kept; refused with 401");
    assert_eq!(arrived.recv_timeout(LIMIT).unwrap().0, "Bearer tok-1", "the retry has a new one");
    asked.recv_timeout(LIMIT).unwrap();
    assert!(asked.try_recv().is_err(), "two tokens were fetched for three attempts");

    house.expect(204, "DELETE", &format!("{path}/oauth"), &Value::Null);
    house.send(&app);
    assert_eq!(arrived.recv_timeout(LIMIT).unwrap().0, "Basic mine");
    let attempts = house.attempts(&app, &endpoint);
    let told = serde_json::to_string(&attempts).unwrap() + &house.log();
    assert!(!told.contains("tok-") && !told.contains(SECRET), "{told}");
    house.stop();
}

#[test]
fn an_attempt_without_a_token_is_recorded_with_its_cause() {
    let house = House::start(&[("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]")]);
    let refusal = r#"{"error":"invalid_client","error_description":"shown-to-nobody"}"#;
    let (tokens, _asked) = server(move |_| reply(401, refusal));
    let (hooks, arrived) = server(|_| reply(204, ""));
    let app = house.app("oauth");
    let endpoint = house.endpoint(&app, &format!("http://127.0.0.1:{hooks}/hook"));
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/oauth");
    let settings = |url: &str| json!({ "tokenUrl": url, "clientId": "a", "clientSecret": SECRET });
    house.expect(422, "PUT", &path, &settings("http://10.0.0.1/token"));
    house.expect(422, "PUT", &path, &settings("http://169.254.169.254/latest"));
    house.expect(204, "PUT", &path, &settings(&format!("http://127.0.0.1:{tokens}/")));
    house.send(&app);
    let attempt = until("an attempt", LIMIT, || house.attempts(&app, &endpoint).into_iter().next());
    assert_eq!(attempt["failureCode"], "oauth_token", "{attempt}");
    assert_eq!((&attempt["status"], &attempt["responseStatusCode"]), (&json!(2), &json!(0)));
    let text = attempt["response"].as_str().unwrap();
    assert_eq!(text, "no access token: the token server answered 401 (invalid_client)");
    assert!(arrived.try_recv().is_err(), "nothing is sent without a token");
    house.stop();
}
