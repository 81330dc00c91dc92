//! Values: one version byte, then bincode, then, for some, a tail of raw bytes. The only file
//! that names bincode.

use bincode::config::{Configuration, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version every value is written with today.
pub const VERSION: u8 = 1;

/// Why a value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// It has no byte at all.
    #[error("the value is empty")]
    Empty,
    /// Written by a posthaste that knows more.
    #[error("the value has version {0}, this posthaste knows up to {VERSION}")]
    Version(u8),
    /// Not what was written.
    #[error("the value cannot be decoded: {0}")]
    Malformed(String),
}

fn config() -> Configuration {
    standard()
}

/// Bytes a record may say that it has: what a damaged one says must not be asked of the memory.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Writes a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    encode_with_tail(record, &[])
}

/// Writes a record and raw bytes behind it.
pub fn encode_with_tail<T: Serialize>(record: &T, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192 + tail.len());
    bytes.push(VERSION);
    let written = bincode::serde::encode_into_std_write(record, &mut bytes, config());
    // Our records are plain structs and a `Vec` takes every write: there is no error to have.
    debug_assert!(written.is_ok(), "a record could not be encoded");
    bytes.extend_from_slice(tail);
    bytes
}

/// Reads a record; bytes behind it are an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match decode_with_tail(bytes)? {
        (record, []) => Ok(record),
        (_, tail) => Err(CodecError::Malformed(format!("{} bytes too many", tail.len()))),
    }
}

/// Reads a record and gives the raw bytes behind it.
pub fn decode_with_tail<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    let (version, rest) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let (record, used) =
        bincode::serde::decode_from_slice(rest, config().with_limit::<MOST_BYTES>())
            .map_err(|err| CodecError::Malformed(err.to_string()))?;
    Ok((record, rest.get(used..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips_with_a_tail(text in ".*", number in any::<u64>(), tail in proptest::collection::vec(any::<u8>(), 0..64)) {
            let bytes = encode_with_tail(&(text.clone(), number), &tail);
            let (back, rest): ((String, u64), &[u8]) = decode_with_tail(&bytes).unwrap();
            prop_assert_eq!(back, (text, number));
            prop_assert_eq!(rest, &tail[..]);
        }

        #[test]
        fn any_bytes_are_an_answer_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            drop(decode::<(String, u64, Vec<String>)>(&bytes));
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error_and_no_allocation() {
        // A text of 1,790,000,000,000 bytes, as a damaged record may say.
        let huge = encode(&1_790_000_000_000_u64);
        assert!(matches!(decode::<String>(&huge), Err(CodecError::Malformed(_))));
        let most = "x".repeat(MOST_BYTES - 64);
        assert_eq!(decode::<String>(&encode(&most)).unwrap(), most);
    }

    #[test]
    fn an_unknown_version_is_named() {
        let err = decode::<u8>(&[9, 1]).expect_err("version 9");
        assert_eq!(err.to_string(), "the value has version 9, this posthaste knows up to 1");
        assert!(matches!(decode::<u8>(&[]), Err(CodecError::Empty)));
        assert!(matches!(decode::<u8>(&[1, 7, 7]), Err(CodecError::Malformed(_))));
    }
}
