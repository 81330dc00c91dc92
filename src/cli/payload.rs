//! A JSON document from the command line: as text, from a file, or from stdin.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use serde_json::value::RawValue;

use super::exit::UsageError;

/// Largest document read, in bytes: the daemon takes 8 MiB at most, whatever it is set to.
pub const MAX_PAYLOAD_BYTES: u64 = 8 * 1024 * 1024;

/// Reads `JSON`, `@FILE` or `-`. The bytes stay as they are; only the white space around goes.
///
/// # Errors
/// The file cannot be read, is too large, or is not JSON.
pub fn read(argument: &str) -> anyhow::Result<Box<RawValue>> {
    match argument.strip_prefix('@') {
        _ if argument == "-" => parse(&read_stdin()?, "stdin"),
        Some(file) => {
            let opened =
                std::fs::File::open(file).with_context(|| format!("failed to open {file}"))?;
            parse(&read_limited(opened).with_context(|| format!("failed to read {file}"))?, file)
        }
        None => parse(argument, "the payload"),
    }
}

/// Reads stdin if something is piped into it.
///
/// # Errors
/// Stdin is a terminal, or as [`read`].
pub fn read_piped() -> anyhow::Result<Box<RawValue>> {
    if std::io::stdin().is_terminal() {
        let what = "no payload was given: write it as JSON, as @FILE, or pipe it in";
        return Err(UsageError(what.to_owned()).into());
    }
    read("-")
}

fn read_stdin() -> anyhow::Result<String> {
    read_limited(std::io::stdin().lock()).context("failed to read stdin")
}

fn read_limited(from: impl std::io::Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(MAX_PAYLOAD_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PAYLOAD_BYTES {
        anyhow::bail!("more than {MAX_PAYLOAD_BYTES} bytes");
    }
    Ok(text)
}

fn parse(text: &str, origin: &str) -> anyhow::Result<Box<RawValue>> {
    let text = text.trim();
    serde_json::from_str(text).map_err(|e| UsageError(format!("{origin} is not JSON: {e}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_as_they_are() {
        let text = r#"{ "a" : 1.0, "b":12345678901234567890123 }"#;
        assert_eq!(read(text).unwrap().get(), text);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.json");
        std::fs::write(&file, format!("\n{text}\n")).unwrap();
        assert_eq!(read(&format!("@{}", file.display())).unwrap().get(), text);
    }

    #[test]
    fn what_is_not_json_is_said_with_its_place() {
        let error = read(r#"{"a":}"#).unwrap_err().to_string();
        assert!(error.contains("the payload is not JSON") && error.contains("column 6"), "{error}");
        let error = format!("{:#}", read("@/no/such/file").unwrap_err());
        assert!(error.starts_with("failed to open /no/such/file: "), "{error}");
    }

    #[test]
    fn size_is_limited() {
        let limit = usize::try_from(MAX_PAYLOAD_BYTES).unwrap();
        assert!(read_limited("x".repeat(limit).as_bytes()).is_ok());
        assert!(read_limited("x".repeat(limit + 1).as_bytes()).is_err());
    }
}
