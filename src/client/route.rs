//! A path and query under `/api/v1`, built from parts that are escaped one by one.

use std::fmt;

use url::Url;

use super::ClientError;

/// What a request asks for: path segments and query pairs, neither of them escaped yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    base: &'static [&'static str],
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl Route {
    /// A path under `/api/v1`.
    pub fn new(segments: &[&str]) -> Self {
        Self::below(&["api", "v1"], segments)
    }

    /// A path under `/ingest/api/v1`.
    pub fn ingest(segments: &[&str]) -> Self {
        Self::below(&["ingest", "api", "v1"], segments)
    }

    fn below(base: &'static [&'static str], segments: &[&str]) -> Self {
        Self {
            base,
            segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
        }
    }

    /// Adds a query pair; the same name may come several times.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a query pair if there is a value.
    #[must_use]
    pub fn query_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// The whole address on a server.
    ///
    /// # Errors
    /// A segment that every URL library takes for a step in the path: empty, `.` or `..`. Such a
    /// request would silently reach another resource.
    pub(super) fn on(&self, server: &Url) -> Result<Url, ClientError> {
        if let Some(bad) = self.segments.iter().find(|s| matches!(s.as_str(), "" | "." | "..")) {
            return Err(ClientError::BadName { name: bad.clone() });
        }
        let mut url = server.clone();
        let Ok(mut path) = url.path_segments_mut() else {
            return Err(ClientError::BadServer {
                server: server.to_string(),
                why: "it cannot carry a path".to_owned(),
            });
        };
        path.pop_if_empty().extend(self.base).extend(&self.segments);
        drop(path);
        url.set_query(None);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

/// The path as a person would write it, for messages.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}
