//! Reading changes: fields that are missing, null, or set.

use serde::{Deserialize, Deserializer};

use super::error::ApiError;
use crate::model::application::Metadata;
use crate::model::limits::{METADATA_CHARS, METADATA_ENTRIES};

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

/// What was given, short and quoted.
pub(super) fn shown(value: &str) -> String {
    format!("{:?}", value.chars().take(64).collect::<String>())
}
