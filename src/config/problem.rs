//! What is wrong with a configuration, and where each value came from.
//!
//! Every check adds to one list, so an operator mends a file in one go. `config check` and the
//! daemon's start print [`Problems`] as they are; nothing here ends the process.
use std::fmt;
use std::path::{Path, PathBuf};

/// Stands for a secret wherever a value is shown.
pub const MASK: &str = "•••";

/// Where a value came from, the strongest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default inside the binary, which is `data/posthaste.toml`.
    BuiltIn,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named on the command line.
        path: PathBuf,
        /// The line of the key.
        line: usize,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A command-line flag, with its dashes.
    Flag(&'static str),
    /// A flag that adds to a list which has an origin of its own.
    Added {
        /// The flag, with its dashes.
        flag: &'static str,
        /// Where the rest of the list came from.
        to: Box<Origin>,
    },
}

impl Origin {
    /// A place in a file.
    pub fn file(path: &Path, line: usize) -> Self {
        Self::File { path: path.to_owned(), line }
    }

    /// This origin with one more flag that adds to it; the same flag twice counts once.
    #[must_use]
    pub fn and(self, flag: &'static str) -> Self {
        match self {
            Self::Added { flag: earlier, to } if earlier == flag => Self::Added { flag, to },
            Self::BuiltIn
            | Self::File { .. }
            | Self::Environment(_)
            | Self::Flag(_)
            | Self::Added { .. } => Self::Added { flag, to: Box::new(self) },
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Added { flag, to } => write!(f, "flag {flag}, added to {to}"),
        }
    }
}

/// One thing that is wrong, with its way out. Secrets never appear in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `delivery.timeout`, or the file when no single key is to blame.
    pub key: String,
    /// What was written, as it was written; [`MASK`] for a secret.
    pub value: Option<String>,
    /// Where it was written, when it was written anywhere.
    pub origin: Option<Origin>,
    /// What is wrong, lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.what, self.way_out)
    }
}

/// Every problem of a configuration. Never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem in the configuration")?,
            count => write!(f, "{count} problems in the configuration")?,
        }
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What is wrong with one value, before it is known which key and which place it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

impl Fault {
    /// A fault from its two sentences.
    pub fn new(what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { what: what.into(), way_out: way_out.into() }
    }
}

impl From<super::units::UnitError> for Fault {
    fn from(error: super::units::UnitError) -> Self {
        Self { what: error.what, way_out: error.way_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line() {
        let problem = Problem {
            key: "delivery.timeout".to_owned(),
            value: Some("\"15\"".to_owned()),
            origin: Some(Origin::file(Path::new("posthaste.toml"), 12)),
            what: "has no unit".to_owned(),
            way_out: "write \"15s\"".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            "posthaste.toml:12: delivery.timeout = \"15\": has no unit; write \"15s\""
        );
        assert_eq!(
            Problems(vec![problem.clone(), problem]).to_string().lines().next(),
            Some("2 problems in the configuration")
        );
    }

    #[test]
    fn origins_name_the_place() {
        #[track_caller]
        fn check(origin: &Origin, expected: &str) {
            assert_eq!(origin.to_string(), expected);
        }
        check(&Origin::BuiltIn, "built in");
        check(
            &Origin::Environment("POSTHASTE_LOG_LEVEL".to_owned()),
            "environment POSTHASTE_LOG_LEVEL",
        );
        check(&Origin::Flag("--listen"), "flag --listen");
        check(
            &Origin::Added { flag: "--dev", to: Box::new(Origin::file(Path::new("p.toml"), 3)) },
            "flag --dev, added to p.toml:3",
        );
    }
}
