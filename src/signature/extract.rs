//! Finding the signatures in a request and taking them apart.
//!
//! `t=…,v1=…,v1=…`, `v1,… v1a,…`, a bare hex digest, a numbered series of headers: all become a
//! list of candidates. What cannot be read is passed over as long as something else can: a
//! sender in the middle of a migration sends both.

use super::digest::{Encoding, Hash};
use super::profile::{HashChoice, Profile, Scheme, SignatureSpec};
use super::reason::Reason;
use super::source::{Scope, Source};

/// Most signature items that are looked at in one request.
pub const MAX_SIGNATURES: usize = 128;

const ED25519_BYTES: usize = 64;

/// The signatures of a request, decoded.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Every field of the signature value, signatures or not: Stripe keeps its time there.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) candidates: Vec<Candidate>,
}

#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) bytes: Vec<u8>,
    /// The hash that the field names, where the profile lets it.
    pub(crate) hash: Option<Hash>,
}

/// All signatures that could be right, or why there is none.
pub(crate) fn signatures(profile: &Profile, scope: &Scope<'_>) -> Result<Found, Reason> {
    let spec = &profile.signature;
    let mut found = Found::default();
    let mut problem = None;
    for source in &spec.sources {
        for value in source.values(scope)?.into_iter().flatten() {
            let Ok(text) = std::str::from_utf8(&value) else {
                problem = Some(format!("{source} is not text"));
                continue;
            };
            for item in spec.items(text) {
                if found.fields.len() == MAX_SIGNATURES {
                    return Err(Reason::TooMany { what: "signatures", limit: MAX_SIGNATURES });
                }
                let (field, value) = match &spec.kv_sep {
                    None => ("", item),
                    Some(separator) => item.split_once(separator.as_str()).unwrap_or((item, "")),
                };
                found.fields.push((field.to_owned(), value.to_owned()));
                match candidate(profile, field, value) {
                    Ok(candidate) => found.candidates.push(candidate),
                    // The first signature that cannot be read says more than a field of
                    // another name that stands beside it.
                    Err(Unread::OtherField(why)) => problem = problem.or(Some(why)),
                    Err(Unread::Bad(why)) => problem = Some(why),
                }
            }
        }
    }
    match problem {
        _ if !found.candidates.is_empty() => Ok(found),
        Some(why) => Err(Reason::SignatureMalformed(why)),
        None => Err(Reason::SignatureMissing(listed(&spec.sources))),
    }
}

impl SignatureSpec {
    fn items<'t>(&'t self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let text = self.stripped(text.trim());
        // A value that is not split is one item; splitting at a line feed, which no header can
        // hold, says so without a second kind of iterator.
        let items = text.split(self.item_sep.as_deref().unwrap_or("\n"));
        items.map(str::trim).filter(|item| !item.is_empty())
    }

    fn stripped<'t>(&self, text: &'t str) -> &'t str {
        let Some(prefix) = &self.strip else { return text };
        let text = text.trim();
        match text.split_at_checked(prefix.len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest.trim_start(),
            // Nothing but the prefix, whose last space is gone.
            None if text.eq_ignore_ascii_case(prefix.trim_end()) => "",
            _ => text,
        }
    }
}

enum Unread {
    OtherField(String),
    Bad(String),
}

fn candidate(profile: &Profile, field: &str, value: &str) -> Result<Candidate, Unread> {
    let spec = &profile.signature;
    if let Some(wanted) = spec.field.as_ref().filter(|wanted| *wanted != "*" && *wanted != field) {
        return Err(Unread::OtherField(format!("it has no `{wanted}` item")));
    }
    let (hash, length) = match &profile.scheme {
        Scheme::Hmac(HashChoice::FromHeader(allowed)) => {
            let Some((_, hash)) = allowed.iter().find(|(name, _)| name == field) else {
                return Err(Unread::Bad("it names a hash that is not allowed".to_owned()));
            };
            (Some(*hash), Some(hash.length()))
        }
        Scheme::Hmac(HashChoice::Fixed(hash)) => (None, Some(hash.length())),
        Scheme::Ed25519 => (None, Some(ED25519_BYTES)),
        Scheme::EcdsaP256 | Scheme::Rsa(_) | Scheme::Token | Scheme::Basic | Scheme::AwsSns => {
            (None, None)
        }
    };
    let Some(bytes) = spec.encoding.decode(value) else {
        return Err(Unread::Bad(format!("it is not {}", encoding_name(spec.encoding))));
    };
    match length {
        _ if bytes.is_empty() => Err(Unread::Bad("it is empty".to_owned())),
        Some(length) if bytes.len() != length => {
            Err(Unread::Bad(format!("it has {} bytes instead of {length}", bytes.len())))
        }
        _ => Ok(Candidate { bytes, hash }),
    }
}

fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hex",
        Encoding::Base64 => "base64 with its padding",
        Encoding::Base64Url => "base64url",
    }
}

/// The tokens of a request: exactly one, or one for every element of an array (Microsoft Graph),
/// each of which must be right.
pub(crate) fn tokens(profile: &Profile, scope: &Scope<'_>) -> Result<Vec<Vec<u8>>, Reason> {
    let spec = &profile.signature;
    let missing = || Reason::SignatureMissing(listed(&spec.sources));
    for source in &spec.sources {
        let values = source.values(scope)?;
        let absent = !source.is_multiple() && values.iter().all(Option::is_none);
        if values.is_empty() || absent {
            continue;
        }
        return values
            .into_iter()
            .map(|value| {
                let token = value.map_or(Ok(Vec::new()), |value| token(profile, &value))?;
                if token.is_empty() { Err(missing()) } else { Ok(token) }
            })
            .collect();
    }
    Err(missing())
}

fn token(profile: &Profile, value: &[u8]) -> Result<Vec<u8>, Reason> {
    let spec = &profile.signature;
    if profile.scheme == Scheme::Basic && !value.is_empty() {
        let credentials = std::str::from_utf8(value).ok().and_then(|text| {
            let (scheme, rest) = text.trim().split_once(' ')?;
            let basic = scheme.eq_ignore_ascii_case("basic");
            basic.then(|| Encoding::Base64.decode(rest.trim())).flatten()
        });
        let malformed = || Reason::SignatureMalformed("it is not `Basic` and base64".to_owned());
        return credentials.ok_or_else(malformed);
    }
    // A token need not be text; only text can have a prefix.
    match std::str::from_utf8(value) {
        Ok(text) if spec.strip.is_some() => Ok(spec.stripped(text).as_bytes().to_vec()),
        _ => Ok(value.to_vec()),
    }
}

fn listed(sources: &[Source]) -> String {
    sources.iter().map(Source::to_string).collect::<Vec<_>>().join(", ")
}
