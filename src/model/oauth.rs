//! How an endpoint's receiver wants us to show who we are: OAuth 2.0 client credentials
//! (RFC 6749, section 4.4).
//!
//! Only the settings and what may stand in them. `delivery::oauth` fetches tokens with them, the
//! API takes them, the store keeps them sealed. Nothing here prints the secret.

use std::fmt;

/// Characters of a client id, all visible ASCII or spaces (RFC 6749, appendix A.1).
pub const CLIENT_ID_CHARS: usize = 256;
/// Characters of a client secret (appendix A.2). Both together, escaped and as base64, fit into
/// one header line of a request.
pub const CLIENT_SECRET_CHARS: usize = 512;
/// Characters of a scope and of an audience.
pub const SCOPE_CHARS: usize = 1024;

/// The settings of one endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// Where tokens come from: a URL under the rules for endpoints' URLs.
    pub token_url: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: String,
    /// What the token is to be good for; names with spaces between them.
    pub scope: Option<String>,
    /// Whom the token is for. Not in the RFC, but asked for by many servers.
    pub audience: Option<String>,
    /// Where id and secret stand in the request for a token.
    pub auth_method: AuthMethod,
}

/// Where id and secret stand in the request for a token (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// In the header `Authorization: Basic …`.
    ClientSecretBasic,
    /// In the form.
    ClientSecretPost,
}

/// Why settings cannot be used. Never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsProblem {
    /// Nothing there.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Too long.
    #[error("{0} is longer than {1} characters")]
    TooLong(&'static str, usize),
    /// A character that cannot be sent.
    #[error("{0} has a character that is not visible ASCII")]
    NotVisible(&'static str),
}

impl ClientCredentials {
    /// Checks everything but the URL. The name in a problem is the field's on the wire.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), CredentialsProblem> {
        check_text("clientId", &self.client_id, CLIENT_ID_CHARS)?;
        check_text("clientSecret", &self.client_secret, CLIENT_SECRET_CHARS)?;
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience)] {
            value.as_ref().map_or(Ok(()), |value| check_text(name, value, SCOPE_CHARS))?;
        }
        Ok(())
    }
}

impl CredentialsProblem {
    /// The field it is about, as the wire names it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty(field) | Self::TooLong(field, _) | Self::NotVisible(field) => field,
        }
    }
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), CredentialsProblem> {
    if text.is_empty() {
        return Err(CredentialsProblem::Empty(field));
    }
    if text.len() > limit {
        return Err(CredentialsProblem::TooLong(field, limit));
    }
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(CredentialsProblem::NotVisible(field));
    }
    Ok(())
}

/// Shows neither the secret nor the query of the URL.
impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials")
            .field("token_url", &self.token_url.split(['?', '#']).next())
            .field("client_id", &self.client_id)
            .field("auth_method", &self.auth_method)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ClientCredentials {
        ClientCredentials {
            token_url: "https://id.example/token?key=query-secret".to_owned(),
            client_id: "shop".to_owned(),
            client_secret: "client-secret".to_owned(),
            scope: Some("hooks write".to_owned()),
            audience: None,
            auth_method: AuthMethod::ClientSecretBasic,
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", settings());
        assert!(shown.contains("shop") && shown.contains("https://id.example/token"), "{shown}");
        assert!(!shown.contains("client-secret") && !shown.contains("query-secret"), "{shown}");
    }

    #[test]
    fn every_text_has_its_limit_and_its_alphabet() {
        type Set = fn(&mut ClientCredentials, String);
        assert_eq!(settings().check(), Ok(()));
        let fields: [(&str, usize, Set); 4] = [
            ("clientId", CLIENT_ID_CHARS, |it, text| it.client_id = text),
            ("clientSecret", CLIENT_SECRET_CHARS, |it, text| it.client_secret = text),
            ("scope", SCOPE_CHARS, |it, text| it.scope = Some(text)),
            ("audience", SCOPE_CHARS, |it, text| it.audience = Some(text)),
        ];
        for (field, limit, set) in fields {
            for (text, problem) in [
                ("x".repeat(limit), None),
                ("x".repeat(limit + 1), Some(CredentialsProblem::TooLong(field, limit))),
                (String::new(), Some(CredentialsProblem::Empty(field))),
                ("a\r\nb".to_owned(), Some(CredentialsProblem::NotVisible(field))),
                ("é".to_owned(), Some(CredentialsProblem::NotVisible(field))),
                ("a\u{7f}".to_owned(), Some(CredentialsProblem::NotVisible(field))),
            ] {
                let mut changed = settings();
                set(&mut changed, text);
                let found = changed.check();
                assert_eq!(found.as_ref().err(), problem.as_ref(), "{field}");
                assert!(found.err().is_none_or(|it| it.field() == field));
            }
        }
    }
}
