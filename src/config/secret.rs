//! Secrets of the configuration: kept out of logs, and read from where `env:` or `file:` points.
//!
//! [`super::meaning`] calls [`resolve`] for the keys that are secrets. Nothing here checks what a
//! secret is used for, except [`MasterKey`], which must be exactly 32 bytes.
use super::problem::{Fault, MASK};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest secret file in bytes. Nothing that fits a header or a key comes near it.
pub const MAX_SECRET_FILE: u64 = 64 * 1024;

/// Bytes in a master key, as XChaCha20-Poly1305 wants them.
pub const MASTER_KEY_BYTES: usize = 32;

/// A value that must not be printed. `Debug` and [`Secret::shown`] mask it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    shown: String,
}

impl Secret {
    /// A secret that is shown as [`MASK`] alone.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), shown: MASK.to_owned() }
    }

    /// A secret with a text of its own for showing, which must not contain the secret.
    pub fn shown_as(value: impl Into<String>, shown: impl Into<String>) -> Self {
        Self { value: value.into(), shown: shown.into() }
    }

    /// The secret itself, in clear text. For use, never for a log.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// What may be shown to anyone: [`MASK`], and the reference it was read from.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.shown)
    }
}

/// The key that encrypts secrets at rest: 32 bytes, written as base64 or as 64 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    bytes: [u8; MASTER_KEY_BYTES],
    shown: String,
}

impl MasterKey {
    /// Reads the key out of a resolved secret.
    pub fn parse(secret: &Secret) -> Result<Self, Fault> {
        let text = secret.reveal();
        let decoded = decode_hex(text).or_else(|| STANDARD.decode(text).ok());
        let Some(bytes) = decoded.and_then(|bytes| <[u8; MASTER_KEY_BYTES]>::try_from(bytes).ok())
        else {
            return Err(Fault::new(
                "is not 32 bytes in base64 or in 64 hex digits",
                "make one with: openssl rand -base64 32",
            ));
        };
        Ok(Self { bytes, shown: secret.shown().to_owned() })
    }

    /// The key itself. For use, never for a log.
    pub fn reveal(&self) -> &[u8; MASTER_KEY_BYTES] {
        &self.bytes
    }

    /// What may be shown to anyone.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.shown)
    }
}

/// Turns what was written into the secret: `env:NAME` and `file:PATH` are followed, anything else
/// is the secret itself. An empty secret is refused, wherever it comes from.
///
/// A relative path counts from the working directory. One line break at the end of a file is cut
/// off. A file that everyone on the machine may read is refused, unless a public key is in it.
pub fn resolve(written: &str, environment: &BTreeMap<String, String>) -> Result<Secret, Fault> {
    let secret = if let Some(name) = written.strip_prefix("env:") {
        let Some(value) = environment.get(name) else {
            return Err(Fault::new(
                format!("the environment variable \"{name}\" is not set"),
                "set it, or name another one after env:",
            ));
        };
        Secret::shown_as(value.as_str(), format!("{MASK} ({written})"))
    } else if let Some(path) = written.strip_prefix("file:") {
        Secret::shown_as(read_file(Path::new(path))?, format!("{MASK} ({written})"))
    } else {
        Secret::new(written)
    };
    if secret.reveal().is_empty() {
        return Err(Fault::new(
            "the secret is empty",
            "give it a value, or leave the key out to have none",
        ));
    }
    Ok(secret)
}

/// The text of a file that holds a secret, without the end of its last line.
///
/// # Errors
/// It cannot be read, everyone else can read it too, or it is larger than 64 KiB.
pub fn read_file(path: &Path) -> Result<String, Fault> {
    let name = path.display();
    let unreadable = |error: std::io::Error| {
        Fault::new(
            format!("the file {name} cannot be read ({error})"),
            "name a file that this process may read",
        )
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_SECRET_FILE {
        return Err(Fault::new(
            format!("the file {name} is larger than 64 KiB"),
            "name a file that holds the secret and nothing else",
        ));
    }
    if readable_by_everyone(&metadata) && !is_public(&text) {
        return Err(Fault::new(
            format!("the file {name} can be read by everyone on this machine"),
            format!("take that away with: chmod o-rwx {name}"),
        ));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// A certificate or a public key verifies others and is no secret.
fn is_public(text: &str) -> bool {
    let begins = ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"];
    begins.iter().any(|begin| text.trim_start().starts_with(begin))
        && !text.contains("PRIVATE KEY-----")
}

#[cfg(unix)]
fn readable_by_everyone(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o007 != 0
}

#[cfg(not(unix))]
fn readable_by_everyone(_: &std::fs::Metadata) -> bool {
    false
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * MASTER_KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit))
        .map(|byte| u8::try_from(byte).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn environment() -> BTreeMap<String, String> {
        [("SET", "from the environment"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn references_are_followed() {
        #[track_caller]
        fn check(written: &str, expected: Result<&str, &str>) {
            let secret = resolve(written, &environment());
            let found = secret.as_ref().map(Secret::reveal).map_err(|fault| fault.what.as_str());
            assert_eq!(found, expected);
        }
        check("plain", Ok("plain"));
        check("env:SET", Ok("from the environment"));
        check("env:MISSING", Err("the environment variable \"MISSING\" is not set"));
        check("env:EMPTY", Err("the secret is empty"));
        check("", Err("the secret is empty"));
        check(
            "file:/nonexistent",
            Err("the file /nonexistent cannot be read (No such file or directory (os error 2))"),
        );
    }

    #[track_caller]
    fn check_file(folder: &Path, content: &[u8], mode: u32, expected: Result<usize, &str>) {
        let path = folder.join("secret");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let secret = resolve(&format!("file:{}", path.display()), &BTreeMap::new());
        let length = secret.map(|secret| secret.reveal().len()).map_err(|fault| fault.what);
        match (length, expected) {
            (Ok(length), Ok(wanted)) => assert_eq!(length, wanted),
            (Err(what), Err(part)) => assert!(what.contains(part), "{what}"),
            (found, wanted) => panic!("found {found:?}, wanted {wanted:?}"),
        }
    }

    #[test]
    fn files_are_read_with_their_limits() {
        let folder = tempfile::tempdir().expect("a folder");
        let at_limit = usize::try_from(MAX_SECRET_FILE).expect("fits");
        check_file(folder.path(), b"hunter2", 0o600, Ok(7));
        check_file(folder.path(), b"hunter2\r\n", 0o640, Ok(7));
        check_file(folder.path(), b"hunter2\n\n", 0o400, Ok(8));
        check_file(folder.path(), b"\n", 0o600, Err("empty"));
        check_file(folder.path(), b"hunter2", 0o604, Err("everyone"));
        check_file(folder.path(), b"-----BEGIN PUBLIC KEY-----\nAA\n", 0o644, Ok(29));
        let both = b"-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----";
        check_file(folder.path(), both, 0o644, Err("everyone"));
        check_file(folder.path(), &[0xff, 0xfe], 0o600, Err("cannot be read"));
        check_file(folder.path(), &vec![b'a'; at_limit], 0o600, Ok(at_limit));
        check_file(folder.path(), &vec![b'a'; at_limit + 1], 0o600, Err("larger than 64 KiB"));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = resolve("env:SET", &environment()).expect("set");
        assert_eq!(format!("{secret:?}"), "Secret(••• (env:SET))");
        assert_eq!(secret.shown(), "••• (env:SET)");
        let key = MasterKey::parse(&Secret::new("00".repeat(32))).expect("a key");
        assert_eq!(format!("{key:?}"), "MasterKey(•••)");
    }

    #[test]
    fn a_master_key_is_32_bytes() {
        #[track_caller]
        fn check(text: &str, expected: Option<u8>) {
            let key = MasterKey::parse(&Secret::new(text)).ok();
            assert_eq!(key.map(|key| key.reveal()[31]), expected, "{text}");
        }
        check(&format!("{}0f", "00".repeat(31)), Some(15));
        check(&format!("{}0F", "AB".repeat(31)), Some(15));
        check(&STANDARD.encode([7; 32]), Some(7));
        check(&STANDARD.encode([7; 31]), None);
        check(&STANDARD.encode([7; 33]), None);
        check(&"00".repeat(31), None);
        check(&"0g".repeat(32), None);
        check(&"é".repeat(32), None);
    }
}
