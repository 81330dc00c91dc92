//! Access tokens for endpoints that want one: OAuth 2.0 client credentials (RFC 6749, section 4.4).
//!
//! What is asked of a token server, and what its answer means. The request goes through the same
//! transport as an attempt does: address guard, proxy, TLS, limits, and the attempt's own deadline.
//! `tokens` keeps what came back; `attempt` sends it. Nothing here is logged, and of a refusal
//! nothing is kept but the status and the RFC's error code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderValue, Method};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::attempt::{Deliverer, internal};
use crate::model::id::EndpointId;
use crate::model::oauth::{AuthMethod, ClientCredentials};
use crate::model::outcome::{Failure, MAX_KEPT_BODY, TokenFailure};

/// The longest token that is taken, in bytes: with `Bearer ` it fills one header value of a request.
pub const MAX_TOKEN: usize = 4096 - BEARER.len();
/// How long a token is used whose server does not say how long it lasts.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// A token is used for so long at most, whatever its server says: who takes it back is obeyed by then.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// A token is not used in its last seconds, or it would expire on the way. Of a short life it is
/// half at most.
pub const MARGIN: Duration = Duration::from_secs(30);

/// The longest error code that is shown.
const MAX_CODE: usize = 40;
const BEARER: &str = "Bearer ";

/// Whose token an attempt needs.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The endpoint, which has a token of its own.
    pub endpoint: EndpointId,
    /// Its settings.
    pub credentials: &'a Arc<ClientCredentials>,
}

/// A token that was granted. Its value is marked as sensitive: `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The whole value of `Authorization`.
    pub(super) bearer: HeaderValue,
    /// How long it may be used.
    pub(super) lifetime: Duration,
}

impl Deliverer {
    /// The value of `Authorization` for an attempt made at `now_secs`, out of the cache or fetched
    /// within the attempt's deadline.
    pub(super) fn authorize(
        &self,
        client: &Client<'_>,
        now_secs: u64,
        deadline: Instant,
    ) -> Result<HeaderValue, Failure> {
        let fetch = || self.fetch_token(client.credentials, deadline).map_err(not_reached);
        self.tokens.get(client, now_secs, deadline, fetch)
    }

    fn fetch_token(
        &self,
        credentials: &ClientCredentials,
        deadline: Instant,
    ) -> Result<Granted, Failure> {
        let form = form_of(credentials);
        let basic = match credentials.auth_method {
            AuthMethod::ClientSecretBasic => Some(basic(credentials)?),
            AuthMethod::ClientSecretPost => None,
        };
        let answer = self.ask(&credentials.token_url, deadline, |request| {
            let mut request = request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(ACCEPT, "application/json");
            if let Some(basic) = basic {
                request = request.header(AUTHORIZATION, basic);
            }
            request.body(form.as_bytes())
        })?;
        match (answer.status, answer.failure) {
            (Some(status), Some(Failure::Status(_) | Failure::Redirect { .. })) => {
                let error = error_code(&answer.body, &credentials.client_secret);
                Err(Failure::Token(TokenFailure::Refused { status, error }))
            }
            (_, Some(failure)) => Err(failure),
            (_, None) => {
                granted(&answer.body).map_err(|why| Failure::Token(TokenFailure::NoToken(why)))
            }
        }
    }
}

/// Says of a failure that it was the token server's. Our own faults stay our own.
pub(super) fn not_reached(failure: Failure) -> Failure {
    if matches!(failure, Failure::Token(_) | Failure::Internal { .. }) {
        return failure;
    }
    Failure::Token(TokenFailure::NotReached(Box::new(failure)))
}

/// The body of the request (section 4.4.2).
fn form_of(credentials: &ClientCredentials) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if credentials.auth_method == AuthMethod::ClientSecretPost {
        form.append_pair("client_id", &credentials.client_id);
        form.append_pair("client_secret", &credentials.client_secret);
    }
    for (name, value) in [("scope", &credentials.scope), ("audience", &credentials.audience)] {
        if let Some(value) = value {
            form.append_pair(name, value);
        }
    }
    form.finish()
}

/// Id and secret as a header; each is form-encoded first (section 2.3.1).
fn basic(credentials: &ClientCredentials) -> Result<HeaderValue, Failure> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = [&credentials.client_id, &credentials.client_secret].map(|text| encoded(text));
    let value = format!("Basic {}", BASE64_STANDARD.encode(both.join(":")));
    let mut value = HeaderValue::try_from(value).map_err(|e| internal(&e.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    /// A number by the RFC, a text with some servers.
    #[serde(default)]
    expires_in: Option<Value>,
}

/// What a 2xx answer grants (section 5.1), or why it is nothing.
pub(super) fn granted(body: &[u8]) -> Result<Granted, &'static str> {
    if body.len() >= MAX_KEPT_BODY {
        return Err("its answer is 16 KiB or longer");
    }
    // The parser's own words may quote the answer.
    let answer: Answer =
        object(body).ok_or("its answer is not a JSON object with a text access_token")?;
    if answer.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("its token_type is not Bearer");
    }
    let token = answer.access_token;
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err("its access_token is empty or longer than 4,089 bytes");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its access_token has a character that cannot be in a header");
    }
    let bearer = HeaderValue::try_from(format!("{BEARER}{token}"));
    let mut bearer = bearer.map_err(|_| "its access_token cannot be in a header")?;
    bearer.set_sensitive(true);
    Ok(Granted { bearer, lifetime: lifetime(answer.expires_in.as_ref()) })
}

/// A JSON object in UTF-8; the library would take the fields out of an array as well, and read over
/// bytes that are no text where it does not look.
fn object<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(body).ok()?;
    let is_object = text.trim_start().starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
}

/// How long a token may be used whose server says this.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let said = match expires_in {
        // Too large for a number of seconds is long, less than nothing is over.
        Some(Value::Number(number)) => {
            let whole = number.as_u64().or_else(|| number.as_i64().map(|_| 0));
            whole.map_or(DEFAULT_LIFETIME, Duration::from_secs)
        }
        Some(Value::String(text)) => {
            text.trim().parse().map_or(DEFAULT_LIFETIME, Duration::from_secs)
        }
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
            DEFAULT_LIFETIME
        }
    };
    let life = said.min(MAX_LIFETIME);
    life.saturating_sub(MARGIN.min(life / 2))
}

/// The error code of a refusal (section 5.2), if it looks like one: lowercase letters and `_`.
/// A server that sends our secret back as its code has nothing to say.
pub(super) fn error_code(body: &[u8], secret: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let code = object::<Refusal>(body)?.error;
    let looks_right = (1..=MAX_CODE).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (looks_right && !code.contains(secret)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(auth_method: AuthMethod) -> ClientCredentials {
        ClientCredentials {
            token_url: "https://id.example/token".to_owned(),
            client_id: "shop:1".to_owned(),
            client_secret: "pass word&+%".to_owned(),
            scope: Some("a b".to_owned()),
            audience: Some("https://x/".to_owned()),
            auth_method,
        }
    }

    #[test]
    fn the_request_is_the_rfcs() {
        let basic_form = form_of(&settings(AuthMethod::ClientSecretBasic));
        let rest = "scope=a+b&audience=https%3A%2F%2Fx%2F";
        assert_eq!(basic_form, format!("grant_type=client_credentials&{rest}"));
        let post_form = form_of(&settings(AuthMethod::ClientSecretPost));
        let login = "client_id=shop%3A1&client_secret=pass+word%26%2B%25";
        assert_eq!(post_form, format!("grant_type=client_credentials&{login}&{rest}"));
        let header = basic(&settings(AuthMethod::ClientSecretBasic)).unwrap();
        let encoded = BASE64_STANDARD.encode("shop%3A1:pass+word%26%2B%25");
        assert_eq!(header, format!("Basic {encoded}"));
        assert!(!format!("{header:?}").contains(&encoded));
    }

    #[test]
    fn answers_grant_a_token_or_say_why_not() {
        let long = |length| format!(r#"{{"access_token":"{}"}}"#, "t".repeat(length));
        for (body, expected) in [
            (r#"{"access_token":"abc","token_type":"Bearer","expires_in":600}"#, Ok(570)),
            (r#"{"access_token":"abc","token_type":"bearer"}"#, Ok(270)),
            (r#"{"access_token":"abc","expires_in":"600"}"#, Ok(570)),
            (r#"{"access_token":"abc","expires_in":20}"#, Ok(10)),
            (r#"{"access_token":"abc","expires_in":60}"#, Ok(30)),
            (r#"{"access_token":"abc","expires_in":61}"#, Ok(31)),
            (r#"{"access_token":"abc","expires_in":0}"#, Ok(0)),
            (r#"{"access_token":"abc","expires_in":-5}"#, Ok(0)),
            (r#"{"access_token":"abc","expires_in":1e300}"#, Ok(270)),
            (r#"{"access_token":"abc","expires_in":[]}"#, Ok(270)),
            (r#"{"access_token":"abc","expires_in":18446744073709551615}"#, Ok(3570)),
            (&long(MAX_TOKEN), Ok(270)),
            (&long(MAX_TOKEN + 1), Err("longer than 4,089")),
            (r#"{"access_token":"abc","token_type":"mac"}"#, Err("token_type")),
            (r#"{"access_token":""}"#, Err("empty")),
            (r#"{"access_token":"a b"}"#, Err("character")),
            (r#"{"access_token":"a\r\nx: y"}"#, Err("character")),
            (r#"["abc"]"#, Err("JSON object")),
            (r#"{"access_token":7}"#, Err("JSON object")),
            (r#"{"access_token":"a","access_token":"b"}"#, Err("JSON object")),
            ("<html>", Err("JSON object")),
            ("", Err("JSON object")),
        ] {
            let found = granted(body.as_bytes());
            match expected {
                Ok(seconds) => {
                    assert_eq!(found.unwrap().lifetime.as_secs(), seconds, "{body:.60}");
                }
                Err(part) => assert!(found.unwrap_err().contains(part), "{body:.60}"),
            }
        }
        let token = granted(br#"{"access_token":"abc"}"#).unwrap();
        assert_eq!(token.bearer, "Bearer abc");
        assert!(!format!("{token:?}").contains("abc"));
        assert!(granted(&vec![b' '; MAX_KEPT_BODY]).unwrap_err().contains("16 KiB"));
    }

    #[test]
    fn of_a_refusal_only_the_code_is_kept() {
        let code = |body: &str| error_code(body.as_bytes(), "the_secret");
        let known = r#"{"error":"invalid_client","error_description":"x"}"#;
        assert_eq!(code(known).as_deref(), Some("invalid_client"));
        let longest = "e".repeat(MAX_CODE);
        assert_eq!(code(&format!(r#"{{"error":"{longest}"}}"#)), Some(longest.clone()));
        for body in [
            &format!(r#"{{"error":"{longest}e"}}"#),
            r#"{"error":"not_the_secret"}"#,
            r#"{"error":"<script>"}"#,
            r#"{"error":"Bad Request"}"#,
            r#"{"error":""}"#,
            r#"{"error":{"a":"b"}}"#,
            r#"["invalid_client"]"#,
            "{}",
            "nonsense",
        ] {
            assert_eq!(code(body), None, "{body}");
        }
    }
}
