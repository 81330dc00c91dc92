//! What can go wrong in the store, by what a caller can do about it.

use std::path::PathBuf;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was named is not there. The text is the kind of thing: `application`.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// A name is taken. What kind of name, and the name.
    #[error("{field} {value:?} is already in use")]
    Conflict {
        /// The field that must be unique.
        field: &'static str,
        /// What it was set to.
        value: String,
    },
    /// An idempotency key came back with another body.
    #[error("this idempotency key was used with another request body")]
    IdempotencyMismatch,
    /// A limit of the domain.
    #[error("{0}")]
    Limit(String),
    /// The payload this needs was removed.
    #[error("the payload of this message is no longer kept")]
    PayloadGone,
    /// More waits to be written than [`super::commit::WAITING_WRITES`].
    #[error("too many writes are waiting")]
    Busy,
    /// The disk is too full to accept more.
    #[error(
        "the store's disk is full: {free} bytes free, {needed} are kept in reserve (storage.min_free)"
    )]
    DiskFull {
        /// Bytes free where the store lies.
        free: u64,
        /// Bytes that are kept free.
        needed: u64,
    },
    /// The store is as large as `storage.max_size` allows.
    #[error("the store has reached storage.max_size ({limit} bytes)")]
    StoreFull {
        /// The limit.
        limit: u64,
    },
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// Another process has it.
    #[error("store at {0} is in use by another posthaste; stop it first, or talk to it over HTTP")]
    Locked(PathBuf),
    /// Its disk is so full that it cannot even be opened.
    #[error("store at {0} cannot be opened, its disk is full: make some room there first")]
    NoRoom(PathBuf),
    /// Written by a newer posthaste.
    #[error("store has schema {found}, this posthaste knows up to {known}: use a newer posthaste")]
    Newer {
        /// The schema on disk.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// Secrets in it are sealed, and there is no key.
    #[error(
        "the store's secrets are sealed with the key {needed}, and server.encryption_key is not set: \
         give that key there (env:NAME or file:PATH); without it they cannot be read"
    )]
    NoKey {
        /// The key that is needed, by its id.
        needed: String,
    },
    /// Secrets in it are sealed with another key.
    #[error(
        "the store's secrets are sealed with the key {needed}, but server.encryption_key is {given}: \
         give {needed} there, or, to change keys, as server.encryption_key_old beside the new one"
    )]
    WrongKey {
        /// The key that is needed, by its id.
        needed: String,
        /// The key that was given, by its id.
        given: String,
    },
    /// What is on disk is not what was written there.
    #[error("store is damaged in {place}: {detail}")]
    Corrupt {
        /// Where.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The file system or sled said no.
    #[error("store failed while {doing}: {detail}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        detail: String,
    },
}

impl Error {
    pub(super) fn io(doing: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Io { doing, detail: detail.to_string() }
    }

    pub(super) fn corrupt(place: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { place: place.into(), detail: detail.to_string() }
    }
}

impl From<sled::Error> for Error {
    fn from(err: sled::Error) -> Self {
        Self::io("using sled", err)
    }
}

/// A result of the store.
pub type Result<T> = std::result::Result<T, Error>;
