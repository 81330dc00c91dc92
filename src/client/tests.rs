//! The client against a listener that answers one scripted line after another.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

/// Answers each connection with the next text, and gives back the requests it saw.
fn server(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "closed early: {head}");
            }
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            seen.push(head + &String::from_utf8(body).unwrap());
        }
        seen
    });
    (address, seen)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn refusal(status: &str, body: &str) -> ClientError {
    let (address, _seen) = server(vec![answer(status, body)]);
    let client = Client::new(&address, Some("t"), None).unwrap();
    client.get(&Route::new(&["app"])).unwrap_err()
}

#[test]
fn a_request_carries_token_path_query_and_body() {
    let (address, seen) = server(vec![answer("201 Created", r#"{"id":"app_1"}"#)]);
    let client = Client::new(&format!("{address}/prefix/"), Some("the-token"), None).unwrap();
    let route = Route::new(&["app", "a b/c?d"]).query("x", "1&2").query_if("y", None);
    let made = client.post(&route, &serde_json::json!({"name": "A"})).unwrap();
    assert_eq!(made, serde_json::json!({"id": "app_1"}));
    let seen = seen.join().unwrap().remove(0);
    assert!(
        seen.starts_with("POST /prefix/api/v1/app/a%20b%2Fc%3Fd?x=1%262 HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(seen.contains("authorization: Bearer the-token\r\n"), "{seen}");
    assert!(seen.contains("content-type: application/json\r\n"), "{seen}");
    assert!(seen.ends_with(r#"{"name":"A"}"#), "{seen}");
}

#[test]
fn an_empty_answer_is_null() {
    let (address, _seen) = server(vec!["HTTP/1.1 204 No Content\r\n\r\n".to_owned()]);
    let client = Client::new(&address, None, None).unwrap();
    assert_eq!(client.delete(&Route::new(&["app", "x"])).unwrap(), Value::Null);
}

#[test]
fn refusals_become_text() {
    let check = |status, body, expected: &str| {
        let error = refusal(status, body);
        assert_eq!(error.to_string(), format!("GET /api/v1/app was refused with {expected}"));
        assert!(!error.is_unreachable());
    };
    check(
        "404 Not Found",
        r#"{"code":"not_found","detail":"Entity not found"}"#,
        "404: Entity not found (not_found)",
    );
    check(
        "422 Unprocessable Entity",
        r#"{"detail":[{"loc":["body","url"],"msg":"must be http","type":"value_error"},{"loc":["body",0],"msg":"no","type":"v"}]}"#,
        "422: body.url: must be http; body.0: no",
    );
    check("500 Internal Server Error", "{}", "500: no reason given");
    check(
        "401 Unauthorized",
        r#"{"code":"authentication_failed","detail":"Invalid token"}"#,
        "401: Invalid token (authentication_failed); make a token with `posthaste token` and pass it with --token",
    );
}

#[test]
fn long_refusals_are_cut() {
    let error = refusal("400 Bad", &format!(r#"{{"detail":"{}"}}"#, "é".repeat(1000)));
    let text = error.to_string();
    assert_eq!(text.matches('é').count(), 400, "{text}");
    assert_eq!(error.status(), Some(400));
}

#[test]
fn something_else_listening_is_named() {
    for status in ["200 OK", "404 Not Found"] {
        let error = refusal(status, "<html>");
        assert!(matches!(error, ClientError::NotJson { .. }), "{error}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let error = refusal("302 Found\r\nlocation: http://127.0.0.1:1/", "{}");
    assert_eq!(error.status(), Some(302), "{error}");
}

#[test]
fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&address, None, None).unwrap();
    let error = client.get(&Route::new(&["health"])).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("posthaste serve"), "{error}");
}

#[test]
fn bad_addresses_are_usage_errors() {
    for bad in ["", "127.0.0.1:8071", "ftp://host/", "http://", "mailto:a@b"] {
        let error = Client::new(bad, None, None).unwrap_err();
        assert!(error.is_usage(), "{bad}: {error}");
    }
}

#[test]
fn names_that_would_leave_their_place_are_refused() {
    let client = Client::new("http://127.0.0.1:1", None, None).unwrap();
    for bad in ["", ".", ".."] {
        let error = client.delete(&Route::new(&["app", bad])).unwrap_err();
        assert!(matches!(error, ClientError::BadName { .. }), "{bad}: {error}");
    }
}

#[test]
fn lists_are_read_page_by_page() {
    let page = |ids: &[u32], done: bool| {
        let body =
            serde_json::json!({"data": ids, "iterator": format!("it{}", ids.len()), "done": done});
        answer("200 OK", &body.to_string())
    };
    let check = |pages: Vec<String>, at_most, rows: usize, done, queries: &[&str]| {
        let (address, seen) = server(pages);
        let client = Client::new(&address, None, None).unwrap();
        let found = client.list(&Route::new(&["app"]), at_most).unwrap();
        assert_eq!((found.data.len(), found.done), (rows, done));
        let seen = seen.join().unwrap();
        for (request, query) in seen.iter().zip(queries) {
            assert!(request.starts_with(&format!("GET /api/v1/app?{query} ")), "{request}");
        }
        assert_eq!(seen.len(), queries.len());
    };
    check(vec![page(&[1, 2], true)], 50, 2, true, &["limit=50"]);
    check(
        vec![page(&[1, 2], false), page(&[3], true)],
        1000,
        3,
        true,
        &["limit=250", "limit=250&iterator=it2"],
    );
    check(
        vec![page(&[1, 2], false), page(&[3], false)],
        3,
        3,
        false,
        &["limit=3", "limit=1&iterator=it2"],
    );
    // A server that says there is more and gives nothing must not be asked for ever.
    check(vec![page(&[], false)], 10, 0, false, &["limit=10"]);
}
