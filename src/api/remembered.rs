//! Tokens whose signature was checked before: each request of a busy caller brings the same one.
//!
//! Only tokens that passed are remembered, by their whole text, and only until they expire. What
//! can change while a token lives (an application's end, `expire-all`) is asked every time.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::auth::Claims;

/// Tokens that are remembered; one more makes all be forgotten.
const MOST: usize = 1024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    tokens: RwLock<HashMap<String, Arc<Claims>>>,
}

impl Remembered {
    /// What a token that passed before says, unless it has expired at `now` (unix seconds).
    pub(super) fn get(&self, token: &str, now: u64) -> Option<Arc<Claims>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let claims = tokens.get(token)?;
        let lives = claims.expires_at.is_none_or(|end| now < end);
        lives.then(|| Arc::clone(claims))
    }

    /// Remembers a token that passed.
    pub(super) fn put(&self, token: &str, claims: &Arc<Claims>) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(token.to_owned(), Arc::clone(claims));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::auth::{DEFAULT_ORG, Subject};

    fn claims(expires_at: Option<u64>) -> Arc<Claims> {
        let subject = Subject::Org(DEFAULT_ORG.to_owned());
        Arc::new(Claims {
            subject,
            issued_at: None,
            issued_at_ms: None,
            expires_at,
            feature_flags: None,
            capabilities: None,
            session: None,
        })
    }

    #[test]
    fn forgets_what_has_expired_and_what_was_never_there() {
        let remembered = Remembered::default();
        remembered.put("a", &claims(Some(100)));
        remembered.put("b", &claims(None));
        assert!(remembered.get("a", 99).is_some());
        assert!(remembered.get("a", 100).is_none());
        assert!(remembered.get("b", u64::MAX).is_some());
        assert!(remembered.get("", 0).is_none());
    }

    #[test]
    fn is_bounded() {
        let remembered = Remembered::default();
        for n in 0..=MOST {
            remembered.put(&n.to_string(), &claims(None));
        }
        assert_eq!(remembered.tokens.read().unwrap().len(), 1);
    }
}
