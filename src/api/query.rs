//! Query parameters, and the filters that lists share.

use super::error::ApiError;
use crate::model::clock::Timestamp;

/// Parameters one query may have.
pub const MAX_PARAMETERS: usize = 256;

/// A query, decoded once.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query string.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let pairs: Vec<_> =
            url::form_urlencoded::parse(text.as_bytes()).take(MAX_PARAMETERS + 1).collect();
        if pairs.len() > MAX_PARAMETERS {
            let detail = format!("the query has more than {MAX_PARAMETERS} parameters");
            return Err(ApiError::bad_request(detail));
        }
        Ok(Self(pairs.into_iter().map(|(k, v)| (k.into_owned(), v.into_owned())).collect()))
    }

    /// The value of a parameter; the empty one counts as not given.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// `true` or `false`, else `default`.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad(name, other, "must be `true` or `false`")),
        }
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| bad(name, text, "must be a whole number"))
    }

    /// A moment in RFC 3339.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let moment = Timestamp::from_rfc3339(text);
        let way_out = "must be RFC 3339, such as `2026-11-24T08:00:00Z` (a `+` is written `%2B`)";
        moment.map(Some).ok_or_else(|| bad(name, text, way_out))
    }

    /// A list in any of its four spellings: `a,b`, repeated, `name[]=`, `name[1]=`.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let named = |key: &str| {
            let rest = key.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.is_empty() || (rest.starts_with('[') && rest.ends_with(']'))
            })
        };
        let values = self.0.iter().filter(|(key, _)| named(key)).map(|(_, value)| value);
        let items = values.flat_map(|value| value.split(','));
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

/// A parameter that breaks its rule: 422, as svix's own handlers say it.
pub(super) fn bad(name: &str, value: &str, way_out: &str) -> ApiError {
    let shown: String = value.chars().take(64).collect();
    ApiError::invalid("query", name, format!("{name} is {shown:?}, but {way_out}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_four_spellings() {
        for query in ["t=a,b", "t=a&t=b", "t[]=a&t[]=b", "t[0]=a&t[1]=b", "t%5B%5D=a&t%5B%5D=b"] {
            let query = Query::parse(query).unwrap();
            assert_eq!(query.list("t"), ["a", "b"], "{query:?}");
        }
        assert!(Query::parse("tt=a&t2[]=b").unwrap().list("t").is_empty());
    }

    #[test]
    fn limits_and_bad_values() {
        assert!(Query::parse(&"a=1&".repeat(MAX_PARAMETERS)).is_ok());
        assert!(Query::parse(&"a=1&".repeat(MAX_PARAMETERS + 1)).is_err());
        let query = Query::parse("f=maybe&n=-1&m=yesterday").unwrap();
        assert!(query.flag("f", true).is_err());
        assert!(query.number("n").is_err());
        assert!(query.moment("m").is_err());
    }
}
