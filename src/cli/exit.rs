//! The exit codes and what leads to each. Nothing else decides one.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The operation failed or found a fault.
    Failed = 1,
    /// What was typed or configured cannot be used.
    Usage = 2,
    /// No daemon answers.
    Unreachable = 3,
    /// Interrupted from outside.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A fault in what was typed, beyond what clap can see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code that an error leads to; `None` for a reader that went away, which is no error.
pub(super) fn of_error(error: &anyhow::Error) -> Option<Exit> {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return None;
        }
        if cause.is::<UsageError>() || cause.is::<crate::config::problem::Problems>() {
            return Some(Exit::Usage);
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            if error.is_unreachable() {
                return Some(Exit::Unreachable);
            }
            return Some(if error.is_usage() { Exit::Usage } else { Exit::Failed });
        }
    }
    Some(Exit::Failed)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn errors_lead_to_their_codes() {
        let check = |error: anyhow::Error, expected| {
            let wrapped = Err::<(), _>(error).context("while doing something").unwrap_err();
            assert_eq!(of_error(&wrapped), expected, "{wrapped:#}");
        };
        let unreachable =
            ClientError::Unreachable { server: "http://x".to_owned(), why: String::new() };
        check(unreachable.into(), Some(Exit::Unreachable));
        check(ClientError::BadName { name: "..".to_owned() }.into(), Some(Exit::Usage));
        check(ClientError::NotAPage { route: "/".to_owned() }.into(), Some(Exit::Failed));
        check(UsageError("no".to_owned()).into(), Some(Exit::Usage));
        check(anyhow::anyhow!("anything"), Some(Exit::Failed));
        check(io::Error::from(io::ErrorKind::NotFound).into(), Some(Exit::Failed));
        check(io::Error::from(io::ErrorKind::BrokenPipe).into(), None);
    }
}
