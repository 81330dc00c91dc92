//! Tokens: JSON Web Tokens signed with HS256, made and checked by hand.
//!
//! For: the secret in the data folder, minting a token, checking one. Not for HTTP: reading the
//! `authorization` header and answering 401 is the API's job. Called by the API, the daemon and
//! the command line.
//!
//! Only HS256 exists here. The algorithm a token names is compared, never chosen by, so a token
//! saying `none` or `RS256` is refused before anything else is looked at. `iss` is not checked:
//! tokens made by other tools with the same secret are as good as ours.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The organisation of an installation that never made another one; the same as svix's default,
/// so that its tokens fit.
pub const DEFAULT_ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";

/// Name of the secret's file inside the data folder.
pub const SECRET_FILE: &str = "jwt-secret";

/// How far the clocks of the token's maker and of this machine may differ, in seconds.
pub const LEEWAY_SECS: u64 = 60;

/// Longest token looked at, in bytes. A token of ours has about 250; feature flags may add some.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Shortest secret accepted, in bytes. What we make is 43 characters with 256 bits in them.
pub const MIN_SECRET_BYTES: usize = 16;

/// Longest secret accepted, in bytes, so that a wrong path does not read a whole disk image.
pub const MAX_SECRET_BYTES: usize = 4 * 1024;

/// Random bytes in a secret made here.
const SECRET_RANDOM_BYTES: usize = 32;

/// Characters of an id after its prefix: a KSUID in base 62.
const ID_TAIL_CHARS: usize = 27;

/// The header of every token minted here.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An operator of an organisation: everything inside it.
    Org(String),
    /// The portal of one application: that application only.
    App {
        /// `app_…`
        app: String,
        /// `org_…`, the application's organisation.
        org: String,
    },
}

impl Subject {
    /// The organisation (`org_…`) nothing outside of which may be seen.
    pub fn org(&self) -> &str {
        match self {
            Self::Org(org) | Self::App { org, .. } => org,
        }
    }
}

/// What a token that passed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who it speaks for.
    pub subject: Subject,
    /// When it was made, unix seconds.
    pub issued_at: Option<u64>,
    /// The same in milliseconds; compared with an application's `expire-all`.
    pub issued_at_ms: Option<u64>,
    /// When it ends, unix seconds; `None` never does.
    pub expires_at: Option<u64>,
    /// Event types hidden behind a flag that this token may see; `None` when it does not say.
    pub feature_flags: Option<Vec<String>>,
    /// What the token is limited to within its application; `None` = nothing.
    pub capabilities: Option<Vec<String>>,
    /// The session it belongs to, by which it may be ended with others.
    pub session: Option<String>,
}

/// What a token is made to say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who it speaks for.
    pub subject: Subject,
    /// The milliseconds of the second it is made in. A token made right after `expire-all` must
    /// be told from one made right before.
    pub millis: u16,
    /// How long it is valid.
    pub ttl: Duration,
    /// See [`Claims::feature_flags`].
    pub feature_flags: Option<Vec<String>>,
    /// See [`Claims::capabilities`].
    pub capabilities: Option<Vec<String>>,
    /// See [`Claims::session`].
    pub session: Option<String>,
}

/// Why a token was refused. The text is for the log; a client is told less.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("token has {0} bytes, at most {MAX_TOKEN_BYTES} are read")]
    TooLong(usize),
    /// Somebody passed the secret itself where a token belongs.
    #[error("this is the secret, not a token made with it; `posthaste token` makes one")]
    SecretAsToken,
    /// Not three parts, not base64url, not JSON, or a claim of the wrong type.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// Another algorithm than HS256, or an extension we do not know.
    #[error("token is not signed with HS256")]
    WrongAlgorithm,
    /// The signature is not the one this secret makes.
    #[error("token's signature does not match")]
    BadSignature,
    /// `exp` has passed.
    #[error("token expired at {0} (unix seconds)")]
    Expired(u64),
    /// `nbf` or `iat` lies in the future: usually a wrong clock on one side.
    #[error("token is not valid before {0} (unix seconds)")]
    NotYetValid(u64),
    /// `sub` is neither `org_…` nor `app_…` with an `org`.
    #[error("token speaks for nobody known: its `sub` must be org_… or app_… with `org`")]
    UnknownSubject,
}

/// Why the secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file system said no.
    #[error("failed to {doing} {path}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another user of the machine could read it, so it may be known already.
    #[error(
        "{path} can be read by others (mode {mode:04o}); `chmod 600 {path}`, or remove it to have a new one made (tokens made with the old one stop working)"
    )]
    OpenToOthers {
        /// The secret's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too short, too long, or not a line of text.
    #[error(
        "secret in {origin} has {len} bytes, {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} are accepted"
    )]
    Length {
        /// Where it came from: a path or a setting.
        origin: String,
        /// Its length without the white space around it.
        len: usize,
    },
    /// The system's random numbers are not to be had.
    #[error("failed to read random bytes from the system: {0}")]
    Random(getrandom::Error),
}

/// The key tokens are signed with. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(•••)")
    }
}

impl Secret {
    /// The secret of a data folder, made (with its folder, mode 0700) when there is none.
    ///
    /// Two processes doing this at the same moment end up with the same secret.
    ///
    /// # Errors
    /// The file cannot be read or written, others can read it, or its length is out of bounds.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, SecretError> {
        let path = data_dir.join(SECRET_FILE);
        if !path.exists() {
            create(data_dir, &path)?;
        }
        Self::load(data_dir)
    }

    /// The secret of a data folder that must be there already.
    ///
    /// # Errors
    /// As [`Secret::load_or_create`], and when there is no such file.
    pub fn load(data_dir: &Path) -> Result<Self, SecretError> {
        let path = data_dir.join(SECRET_FILE);
        let meta = fs::metadata(&path).map_err(io_error("read", &path))?;
        let mode = meta.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::OpenToOthers { path, mode });
        }
        let limit = u64::try_from(MAX_SECRET_BYTES).unwrap_or(u64::MAX);
        if meta.len() > limit {
            let len = usize::try_from(meta.len()).unwrap_or(usize::MAX);
            return Err(SecretError::Length { origin: path.display().to_string(), len });
        }
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        Self::from_text(&text, &path.display().to_string())
    }

    /// A secret given as text (`server.jwt_secret`). White space around it does not count; the
    /// key is the text's own bytes, as in svix's tools. `origin` names the setting in an error.
    ///
    /// # Errors
    /// Shorter than [`MIN_SECRET_BYTES`] or longer than [`MAX_SECRET_BYTES`].
    pub fn from_text(text: &str, origin: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&text.len()) {
            return Err(SecretError::Length { origin: origin.to_owned(), len: text.len() });
        }
        Ok(Self(text.as_bytes().to_vec()))
    }
}

/// A token for `subject`, valid from `now_secs` (unix seconds) for `ttl`.
pub fn mint(secret: &Secret, subject: &Subject, now_secs: u64, ttl: Duration) -> String {
    let subject = subject.clone();
    let grant =
        Grant { subject, millis: 0, ttl, feature_flags: None, capabilities: None, session: None };
    mint_grant(secret, &grant, now_secs)
}

/// A token that says `grant`, valid from `now_secs` (unix seconds).
pub fn mint_grant(secret: &Secret, grant: &Grant, now_secs: u64) -> String {
    let (sub, org) = match &grant.subject {
        Subject::Org(org) => (org, None),
        Subject::App { app, org } => (app, Some(org)),
    };
    let quoted = |text: &str| serde_json::Value::from(text);
    let sub = quoted(sub);
    let org = org.map_or_else(String::new, |org| format!(r#","org":{}"#, quoted(org)));
    let list = |name: &str, names: &Option<Vec<String>>| match names {
        Some(names) => format!(r#","{name}":{}"#, serde_json::Value::from(names.as_slice())),
        None => String::new(),
    };
    let flags = list("feature_flags", &grant.feature_flags);
    let capabilities = list("capabilities", &grant.capabilities);
    let session = grant.session.as_ref();
    let session = session.map_or_else(String::new, |name| format!(r#","sid":{}"#, quoted(name)));
    let exp = now_secs.saturating_add(grant.ttl.as_secs());
    let iat = match grant.millis {
        0 => now_secs.to_string(),
        millis => format!("{now_secs}.{millis:03}"),
    };
    let claims = format!(
        r#"{{"iss":"posthaste","sub":{sub}{org},"iat":{iat},"nbf":{now_secs},"exp":{exp}{flags}{capabilities}{session}}}"#
    );
    sign_claims(secret, claims.as_bytes())
}

/// A token out of the text of its claims.
pub(super) fn sign_claims(secret: &Secret, claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac_sha256(&secret.0, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Checks a token at `now_secs` (unix seconds). Any bytes may come in; none make it panic.
///
/// # Errors
/// The first thing found wrong. The signature is checked before any claim is read.
pub fn verify(secret: &Secret, token: &str, now_secs: u64) -> Result<Claims, AuthError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::TooLong(token.len()));
    }
    if bool::from(token.as_bytes().ct_eq(&secret.0)) {
        return Err(AuthError::SecretAsToken);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(AuthError::Malformed("three parts expected"));
    };
    check_header(header)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| AuthError::Malformed("signature is not base64url"))?;
    // `ct_eq` of slices compares lengths first and then every byte: no timing to learn from.
    let signed = format!("{header}.{claims}");
    if !bool::from(hmac_sha256(&secret.0, signed.as_bytes()).ct_eq(&signature)) {
        return Err(AuthError::BadSignature);
    }
    let claims: RawClaims = decode_json(claims, "claims are not a JSON object as expected")?;
    claims.check_times(now_secs)?;
    claims.into_claims()
}

/// Of the header only these two matter; `crit` lists extensions that must be understood (RFC 7515
/// section 4.1.11), and we understand none.
#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde_json::Value>,
}

fn check_header(encoded: &str) -> Result<(), AuthError> {
    let header: Header = decode_json(encoded, "header is not a JSON object with `alg`")?;
    if header.alg != "HS256" || header.crit.is_some() {
        return Err(AuthError::WrongAlgorithm);
    }
    Ok(())
}

/// Claims as written. Times are numbers that may have a fraction (RFC 7519 section 2).
#[derive(Deserialize)]
struct RawClaims {
    sub: Option<String>,
    org: Option<String>,
    iat: Option<f64>,
    nbf: Option<f64>,
    exp: Option<f64>,
    feature_flags: Option<Vec<String>>,
    capabilities: Option<Vec<String>>,
    sid: Option<String>,
}

impl RawClaims {
    fn check_times(&self, now: u64) -> Result<(), AuthError> {
        for starts in [self.nbf, self.iat].into_iter().flatten().map(seconds) {
            if starts > now.saturating_add(LEEWAY_SECS) {
                return Err(AuthError::NotYetValid(starts));
            }
        }
        match self.exp.map(seconds) {
            Some(end) if end.saturating_add(LEEWAY_SECS) <= now => Err(AuthError::Expired(end)),
            Some(_) | None => Ok(()),
        }
    }

    fn into_claims(self) -> Result<Claims, AuthError> {
        let sub = self.sub.ok_or(AuthError::UnknownSubject)?;
        let subject = match self.org {
            _ if is_id("org_", &sub) => Subject::Org(sub),
            Some(org) if is_id("app_", &sub) && is_id("org_", &org) => {
                Subject::App { app: sub, org }
            }
            Some(_) | None => return Err(AuthError::UnknownSubject),
        };
        Ok(Claims {
            subject,
            issued_at: self.iat.map(seconds),
            issued_at_ms: self.iat.map(|iat| seconds((iat * 1000.0).round())),
            expires_at: self.exp.map(seconds),
            feature_flags: self.feature_flags,
            capabilities: self.capabilities,
            session: self.sid,
        })
    }
}

/// What an ended token is known by.
pub fn token_digest(token: &str) -> [u8; 32] {
    digest("token", token)
}

/// What an ended session is known by.
pub fn session_digest(session: &str) -> [u8; 32] {
    digest("session", session)
}

/// `kind` keeps a session's name from being taken for a token.
fn digest(kind: &str, text: &str) -> [u8; 32] {
    Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize().into()
}

/// Whole seconds of a JSON number; below zero is zero, too large is the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from f64 saturates, and dropping the fraction is what is wanted"
)]
fn seconds(number: f64) -> u64 {
    number as u64
}

/// Whether `text` is `prefix` and a KSUID's 27 characters, as every id here is.
pub fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|tail| {
        tail.len() == ID_TAIL_CHARS && tail.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

fn decode_json<T: serde::de::DeserializeOwned>(
    encoded: &str,
    wrong: &'static str,
) -> Result<T, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| AuthError::Malformed(wrong))?;
    serde_json::from_slice(&bytes).map_err(|_| AuthError::Malformed(wrong))
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length, including none")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// Writes a new secret beside its place, then links it there: whoever comes second keeps the
/// first one's, and nobody ever sees half a file.
fn create(data_dir: &Path, path: &Path) -> Result<(), SecretError> {
    let mut random = [0_u8; SECRET_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(SecretError::Random)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(io_error("create folder", data_dir))?;
    let draft = data_dir.join(format!(".{SECRET_FILE}.{}", URL_SAFE_NO_PAD.encode(&random[..6])));
    getrandom::fill(&mut random).map_err(SecretError::Random)?;
    let written = write_draft(&draft, &URL_SAFE_NO_PAD.encode(random))
        .map_err(io_error("write", &draft))
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(io_error("write", path)(e)),
            Ok(()) | Err(_) => Ok(()),
        });
    let removed = fs::remove_file(&draft).map_err(io_error("remove", &draft));
    written.and(removed)?;
    // Tokens are handed out at once, so the name has to survive a power cut as well.
    fs::File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", data_dir))
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SecretError {
    let path = path.to_owned();
    move |source| SecretError::Io { doing, path, source }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
