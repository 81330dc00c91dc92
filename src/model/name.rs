//! Names that callers choose: uids, event types, channels.
//!
//! All follow one pattern, `[a-zA-Z0-9\-_.]+`, so that they can stand in a URL and in a header
//! without escaping.

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// No character at all.
    #[error("must not be empty")]
    Empty,
    /// More characters than the limit given.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A character outside the pattern.
    #[error("may hold only letters, digits, '-', '_' and '.'")]
    Characters,
    /// Looks like an id of its own kind and would be mistaken for one.
    #[error("must not look like an id ({0}...)")]
    LooksLikeId(&'static str),
}

/// Checks a name against the pattern and a limit in characters.
pub fn check(name: &str, limit: usize) -> Result<(), NameProblem> {
    if name.is_empty() {
        return Err(NameProblem::Empty);
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(NameProblem::Characters);
    }
    if name.len() > limit {
        return Err(NameProblem::TooLong(limit));
    }
    Ok(())
}

/// Checks a uid: the pattern, [`super::limits::UID_CHARS`], and not like an id with `prefix`.
pub fn check_uid(uid: &str, prefix: &'static str) -> Result<(), NameProblem> {
    check(uid, super::limits::UID_CHARS)?;
    let looks_like_id =
        uid.strip_prefix(prefix).is_some_and(|rest| rest.len() == super::id::ID_CHARS);
    if looks_like_id { Err(NameProblem::LooksLikeId(prefix)) } else { Ok(()) }
}

/// Checks an event type pattern of an endpoint: a plain name, or a name whose last segment is
/// `*` (`order.*`), or `*` alone.
pub fn check_pattern(pattern: &str) -> Result<(), NameProblem> {
    match pattern.strip_suffix('*') {
        Some("") => Ok(()),
        Some(prefix) => match prefix.strip_suffix('.') {
            Some(name) => check(name, super::limits::EVENT_TYPE_CHARS),
            None => Err(NameProblem::Characters),
        },
        None => check(pattern, super::limits::EVENT_TYPE_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_limit_and_one_past_it() {
        assert_eq!(check(&"a".repeat(256), 256), Ok(()));
        assert_eq!(check(&"a".repeat(257), 256), Err(NameProblem::TooLong(256)));
        assert_eq!(check("", 256), Err(NameProblem::Empty));
        for bad in ["a b", "ü", "a/b", "a\n", "order.*"] {
            assert_eq!(check(bad, 256), Err(NameProblem::Characters), "{bad}");
        }
    }

    #[test]
    fn a_uid_may_not_look_like_an_id() {
        assert_eq!(
            check_uid("app_23rb8YdGqMT0qIzpgGwdXfHirMu", "app_"),
            Err(NameProblem::LooksLikeId("app_"))
        );
        assert_eq!(check_uid("app_short", "app_"), Ok(()));
        assert_eq!(check_uid("ep_23rb8YdGqMT0qIzpgGwdXfHirMu", "app_"), Ok(()));
    }

    #[test]
    fn patterns() {
        for good in ["order.paid", "order.*", "*", "a.b.*"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        for bad in ["order*", "*.paid", "order.*.x", ".*x", "", ".*"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
