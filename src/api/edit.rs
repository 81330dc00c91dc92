//! Reading changes: fields that are missing, null, or set.

use serde::{Deserialize, Deserializer};

use super::error::ApiError;
use crate::model::application::Metadata;
use crate::model::clock::Timestamp;
use crate::model::limits::{EVENT_TYPE_CHARS, METADATA_CHARS, METADATA_ENTRIES, UID_CHARS};

/// A value, or null for none.
pub(super) type Nullable<T> = Option<T>;

/// For a PATCH: missing = `None`, null = `Some(None)`, a value = `Some(Some(value))`. With
/// `#[serde(default, deserialize_with = "given")]`.
pub(super) fn given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Checks a text's length in characters.
pub(super) fn check_length(field: &str, text: &str, limit: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if length > limit {
        let message = format!("{field} has {length} characters, at most {limit} are taken");
        return Err(ApiError::invalid("body", field, message));
    }
    Ok(())
}

/// Checks a rate in messages a second, given under its name of today or its old one.
pub(super) fn check_rate(throttle: Option<u16>, rate: Option<u16>) -> Result<(), ApiError> {
    for (field, value) in [("throttleRate", throttle), ("rateLimit", rate)] {
        if value == Some(0) {
            let message = format!("{field} is 0, but must be 1 to 65535; null for no limit");
            return Err(ApiError::invalid("body", field, message));
        }
    }
    Ok(())
}

/// Checks a uid, eventId or the like.
pub(super) fn check_uid(field: &str, uid: &str, prefix: &'static str) -> Result<(), ApiError> {
    crate::model::name::check_uid(uid, prefix).map_err(|problem| {
        ApiError::invalid("body", field, format!("{field} {} {problem}", shown(uid)))
    })
}

/// Checks a name against the pattern.
pub(super) fn check_name(field: &str, name: &str, limit: usize) -> Result<(), ApiError> {
    crate::model::name::check(name, limit).map_err(|problem| {
        ApiError::invalid("body", field, format!("{field} {} {problem}", shown(name)))
    })
}

/// Checks a name of the caller's choice in a path.
pub(super) fn check_path_name(field: &str, name: &str) -> Result<(), ApiError> {
    crate::model::name::check(name, UID_CHARS).map_err(|problem| {
        ApiError::invalid("path", field, format!("{field} {} {problem}", shown(name)))
    })
}

/// Checks a list of names against the pattern.
pub(super) fn check_names(field: &str, names: &[String]) -> Result<(), ApiError> {
    names.iter().try_for_each(|name| check_name(field, name, EVENT_TYPE_CHARS))
}

/// Checks a metadata map.
pub(super) fn check_metadata(metadata: &Metadata) -> Result<(), ApiError> {
    if metadata.len() > METADATA_ENTRIES {
        let message = format!(
            "metadata has {} entries, at most {METADATA_ENTRIES} are taken",
            metadata.len()
        );
        return Err(ApiError::invalid("body", "metadata", message));
    }
    for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
        check_length("metadata", text, METADATA_CHARS)?;
    }
    Ok(())
}

/// Reads a moment out of a body.
pub(super) fn moment(field: &str, text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::from_rfc3339(text).ok_or_else(|| {
        let shown = shown(text);
        let message =
            format!("{field} is {shown}, but must be RFC 3339, such as 2026-11-24T08:00:00Z");
        ApiError::invalid("body", field, message)
    })
}

/// What was given, short and quoted.
pub(super) fn shown(value: &str) -> String {
    format!("{:?}", value.chars().take(64).collect::<String>())
}
