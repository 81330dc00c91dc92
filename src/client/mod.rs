//! A small blocking HTTP client for the command line.
//!
//! For: one request at a time to a running daemon, with its errors turned into text a person can
//! act on. Not for deliveries (that is `delivery`), and it never sees the store. Answers stay
//! JSON values, shown as the daemon sent them, so a newer daemon's fields are not lost on the way.
//!
//! Redirects are not followed, and no proxy is taken from the environment: a token goes to the
//! address that was asked for and nowhere else.

mod error;
mod route;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use ureq::http::{Method, Request, StatusCode};

pub use error::ClientError;
pub use route::Route;

/// Where the daemon is when nobody says otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8071";

/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for a whole answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer read, in bytes: a full page of the largest payloads is far below it.
pub const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;

/// Rows asked for at once; the most the API gives.
pub const PAGE_ROWS: usize = 250;

/// Talks to one daemon with one token.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    server: url::Url,
    token: Option<String>,
}

/// Does not show the token.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server.as_str()).finish_non_exhaustive()
    }
}

/// Rows of a list, and whether there are more of them.
#[derive(Debug, Clone)]
pub struct Rows {
    /// As the daemon sent them, in its order.
    pub data: Vec<Value>,
    /// Whether this was the end of the list.
    pub done: bool,
}

impl Client {
    /// A client for `server` (`http://host:port`, a path in front of `/api/v1` is kept).
    ///
    /// `token` goes along with every request; without one only `health` answers. `proxy` is the
    /// only way to have one used.
    ///
    /// # Errors
    /// `server` or `proxy` is not an address.
    pub fn new(
        server: &str,
        token: Option<&str>,
        proxy: Option<&str>,
    ) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::BadServer { server: server.to_owned(), why };
        let url = url::Url::parse(server).map_err(|e| bad(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(bad("it must start with http:// or https://".to_owned()));
        }
        let proxy = proxy
            .map(ureq::Proxy::new)
            .transpose()
            .map_err(|e| ClientError::BadProxy { why: e.to_string() })?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(proxy)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("posthaste-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, server: url, token: token.map(str::to_owned) })
    }

    /// The address as given, for messages.
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// Reads something.
    ///
    /// # Errors
    /// The daemon cannot be reached, or answers with an error.
    pub fn get(&self, route: &Route) -> Result<Value, ClientError> {
        self.call(&Method::GET, route, None)
    }

    /// Reads something that is not JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_bytes(&self, route: &Route) -> Result<Vec<u8>, ClientError> {
        let (status, bytes) = self.send(&Method::GET, route, None)?;
        if status.is_success() {
            return Ok(bytes);
        }
        Err(ClientError::from_answer(status.as_u16(), &bytes, &format!("GET {route}")))
    }

    /// Makes something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, route: &Route, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(&Method::POST, route, Some(encode(body)?))
    }

    /// Puts something in place of what was there.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn put(&self, route: &Route, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(&Method::PUT, route, Some(encode(body)?))
    }

    /// Changes what is named and leaves the rest.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn patch(&self, route: &Route, body: &impl Serialize) -> Result<Value, ClientError> {
        self.call(&Method::PATCH, route, Some(encode(body)?))
    }

    /// Removes something.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, route: &Route) -> Result<Value, ClientError> {
        self.call(&Method::DELETE, route, None)
    }

    /// The first `at_most` rows of a list, page by page.
    ///
    /// # Errors
    /// As [`Client::get`]; also when an answer is not a page.
    pub fn list(&self, route: &Route, at_most: usize) -> Result<Rows, ClientError> {
        let mut data = Vec::new();
        let mut iterator: Option<String> = None;
        loop {
            let wanted = at_most.saturating_sub(data.len());
            let mut page = route.clone().query("limit", &wanted.clamp(1, PAGE_ROWS).to_string());
            if let Some(iterator) = &iterator {
                page = page.query("iterator", iterator);
            }
            let mut answer = self.get(&page)?;
            let Some(Value::Array(mut rows)) = answer.get_mut("data").map(Value::take) else {
                return Err(ClientError::NotAPage { route: route.to_string() });
            };
            let full = rows.len() >= wanted;
            let empty = rows.is_empty();
            rows.truncate(wanted);
            data.append(&mut rows);
            let done = answer.get("done").and_then(Value::as_bool).unwrap_or(true);
            iterator = answer.get("iterator").and_then(Value::as_str).map(str::to_owned);
            if done || full || empty || iterator.is_none() {
                return Ok(Rows { data, done });
            }
        }
    }

    /// One request. `null` stands for an empty answer.
    fn call(
        &self,
        method: &Method,
        route: &Route,
        body: Option<Vec<u8>>,
    ) -> Result<Value, ClientError> {
        let (status, text) = self.send(method, route, body)?;
        read_answer(status, &text, &format!("{method} {route}"))
    }

    fn send(
        &self,
        method: &Method,
        route: &Route,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let url = route.on(&self.server)?;
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let unsendable = |e: http::Error| ClientError::Unsendable { why: e.to_string() };
        let answer = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                self.agent.run(request.body(body).map_err(unsendable)?)
            }
            None => self.agent.run(request.body(()).map_err(unsendable)?),
        };
        let mut answer = answer.map_err(|e| ClientError::from_ureq(self.server(), e))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec()
            .map_err(|e| ClientError::from_ureq(self.server(), e))?;
        Ok((status, text))
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(|e| ClientError::Unsendable { why: e.to_string() })
}

fn read_answer(status: StatusCode, text: &[u8], request: &str) -> Result<Value, ClientError> {
    if !status.is_success() {
        return Err(ClientError::from_answer(status.as_u16(), text, request));
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(text)
        .map_err(|_| ClientError::NotJson { status: status.as_u16(), request: request.to_owned() })
}

#[cfg(test)]
mod tests;
