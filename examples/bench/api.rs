//! A blocking client for the few API calls a run needs before and after: applications, endpoints,
//! secrets, one message. A new connection each; never used while something is measured.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::load;
use crate::wire;

/// For one call, each read and write.
const CALL_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Api {
    pub addr: SocketAddr,
    pub token: String,
}

impl Api {
    /// Creates an application and says its id.
    pub fn create_app(&self) -> Result<String> {
        let app = self.expect("POST", "/app", &json!({"name": "bench"}))?;
        id(&app)
    }

    /// Creates a source of signed events; says its application, and the path of its door.
    pub fn create_source(&self, secret: &str) -> Result<(String, String)> {
        let body = json!({"name": "bench", "type": "github", "config": {"secret": secret}});
        let source = self.expect_at("POST", "/ingest/api/v1/source", &body)?;
        let text = |name: &str| source.get(name).and_then(Value::as_str);
        let app = text("appId").context("a source without an application")?.to_owned();
        let url = text("ingestUrl").context("a source without a URL")?;
        let at = url.find("/in/").context("a source without a door")?;
        Ok((app, url.get(at..).unwrap_or_default().to_owned()))
    }

    /// Creates an endpoint that takes everything, or one channel, and says its id.
    pub fn create_endpoint(&self, app: &str, url: &str, on: Option<usize>) -> Result<String> {
        let mut body = json!({"url": url, "description": "bench"});
        if let (Some(index), Some(fields)) = (on, body.as_object_mut()) {
            fields.insert("channels".into(), json!([load::channel(index)]));
        }
        id(&self.expect("POST", &format!("/app/{app}/endpoint"), &body)?)
    }

    /// The bytes of an endpoint's signing key.
    pub fn secret(&self, app: &str, endpoint: &str) -> Result<Vec<u8>> {
        let path = format!("/app/{app}/endpoint/{endpoint}/secret");
        let answer = self.expect("GET", &path, &Value::Null)?;
        let key = answer.get("key").and_then(Value::as_str).context("a secret without a key")?;
        let key = key.strip_prefix("whsec_").context("--verify needs whsec_ secrets")?;
        BASE64_STANDARD.decode(key).context("a secret that is not base64")
    }

    /// Posts one message outside any run.
    pub fn post_one(&self, app: &str) -> Result<()> {
        let body = json!({"eventType": "bench.probe", "payload": {"probe": true}});
        self.expect("POST", &format!("/app/{app}/msg"), &body).map(|_| ())
    }

    pub fn delete_app(&self, app: &str) -> Result<()> {
        self.expect("DELETE", &format!("/app/{app}"), &Value::Null).map(|_| ())
    }

    fn expect(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.expect_at(method, &format!("/api/v1{path}"), body)
    }

    fn expect_at(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.call(method, path, body)?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} answered {status}: {answer}");
        }
        Ok(answer)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.addr,
            self.token,
            body.len()
        );
        let mut stream = TcpStream::connect_timeout(&self.addr, CALL_LIMIT)
            .with_context(|| format!("connect to {}", self.addr))?;
        stream.set_read_timeout(Some(CALL_LIMIT))?;
        stream.set_write_timeout(Some(CALL_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream).with_context(|| format!("{method} {path}"))
    }
}

fn read_answer(stream: &mut TcpStream) -> Result<(u16, Value)> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(head) = wire::head(&answer)?
            && wire::whole(head, &answer)?.is_some()
        {
            let status = wire::status(&answer);
            let body = json_in(answer.get(head.len..).unwrap_or_default());
            return Ok((status, body));
        }
        let got = stream.read(&mut piece)?;
        if got == 0 {
            bail!("closed before the answer");
        }
        answer.extend_from_slice(piece.get(..got).unwrap_or_default());
    }
}

/// The JSON value in a body, chunked or not; null where there is none.
fn json_in(body: &[u8]) -> Value {
    let start = body.iter().position(|byte| *byte == b'{').unwrap_or(body.len());
    let end = body.iter().rposition(|byte| *byte == b'}').map_or(start, |at| at + 1);
    serde_json::from_slice(body.get(start..end).unwrap_or_default()).unwrap_or(Value::Null)
}

fn id(answer: &Value) -> Result<String> {
    let id = answer.get("id").and_then(Value::as_str);
    id.map(str::to_owned).with_context(|| format!("an answer without an id: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_in_a_body() {
        assert_eq!(json_in(br#"{"id":"a"}"#), json!({"id": "a"}));
        assert_eq!(json_in(b"a\r\n{\"id\":\"a\"}\r\n0\r\n\r\n"), json!({"id": "a"}));
        assert_eq!(json_in(b""), Value::Null);
        assert!(id(&json!({"name": "x"})).is_err());
    }
}
