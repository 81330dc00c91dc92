//! The engine: one request, one profile, some secrets, one verdict.
//!
//! The order is fixed: the signature is found and compared first, then the time; only then are
//! the id and the type read. Everything that decides is compared in constant time over the full
//! length, on the exact bytes that came. Deduplication is the caller's, with
//! [`Verified::dedupe_key`], and comes before any handshake that needs a verified request.

use super::asymmetric;
use super::digest::{Hash, hex, same, same_token};
use super::extract::{Candidate, Found, signatures, tokens};
use super::key::{Key, Secret};
use super::pointer::MAX_ITEMS;
use super::profile::{HashChoice, Profile, Scheme, TOLERANCE_SETTING, TimestampSpec, UrlVariant};
use super::reason::{Reason, Rejection};
use super::request::{Request, View};
use super::source::{Joined, Scope, Settings};
use super::template::Filling;
use super::{diagnose, sns};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Longest id that is kept as it is; a longer one is replaced by its digest.
pub const MAX_ID_BYTES: usize = 256;
/// Longest event type that is taken from a request.
pub const MAX_EVENT_TYPE_BYTES: usize = 128;

/// A request whose signature and time are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The provider's id of the event, as it was sent; `sha256:…` of it when it is longer than
    /// [`MAX_ID_BYTES`] or not printable.
    pub event_id: Option<String>,
    /// The provider's name for what happened, as it was sent.
    pub event_type: Option<String>,
    /// What to recognise a repetition by, within one source: `id:` and the id, or `sha256:` and a
    /// digest of the signature and the body.
    pub dedupe_key: String,
    /// When the provider says it sent this, in unix milliseconds.
    pub sent_at_ms: Option<i64>,
    /// Which of the secrets matched, counting from 0.
    pub secret_index: usize,
    /// Whether the signature says anything about the body ([`Profile::covers_body`]).
    pub covers_body: bool,
    /// Where the body is called covered, but not byte by byte (some fields of it with Amazon SNS,
    /// the fields of a form however they are escaped, a checksum): a digest of the signature. A
    /// repetition is told by it rather than by the body, or whoever has one event could send it
    /// again and again, written in another way.
    pub signed_digest: Option<Vec<u8>>,
    /// Amazon SNS only: the checked address that confirms a subscription when it is fetched.
    pub confirm_url: Option<String>,
}

/// What a check that succeeded leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) secret_index: usize,
    /// The decoded signature. Its text may be written in several ways, its bytes may not.
    pub(crate) signature: Vec<u8>,
    pub(crate) sent_at_ms: Option<i64>,
}

impl Profile {
    /// Decides whether `request` comes from who holds one of the `secrets`.
    ///
    /// `secrets` are made by [`Profile::secret`] of this same profile; any of them may match.
    /// `cfg` holds the source's settings ([`Profile::settings`]). `now_ms` is the time in unix
    /// milliseconds. An empty list of secrets is an error, never a pass.
    pub fn verify(
        &self,
        request: &Request<'_>,
        secrets: &[Secret],
        cfg: &BTreeMap<String, String>,
        now_ms: u64,
    ) -> Result<Verified, Rejection> {
        if secrets.is_empty() {
            return Err(Reason::NoSecret.into());
        }
        let view = View::new(request, self.reads_form, self.payload_field.as_deref())?;
        let cfg = Settings { given: cfg, defaults: &self.defaults };
        let scope = Scope { view: &view, json: view.json(), fields: &[], cfg };
        match self.check(&scope, secrets, now_ms) {
            Ok(matched) => Ok(self.verified(&scope, &matched)?),
            Err(Reason::SignatureMismatch) => Err(diagnose::mismatch(self, secrets)),
            Err(reason) => Err(reason.into()),
        }
    }

    pub(crate) fn check(
        &self,
        scope: &Scope<'_>,
        secrets: &[Secret],
        now_ms: u64,
    ) -> Result<Match, Reason> {
        match (&self.scheme, &self.each) {
            (Scheme::AwsSns, _) => sns::check(scope, secrets),
            (_, Some(_)) => {
                let mut first = None;
                for item in self.items(scope)? {
                    let matched = self.check_one(&item, secrets, now_ms)?;
                    first.get_or_insert(matched);
                }
                first.ok_or_else(|| Reason::SignatureMissing("the list of items".to_owned()))
            }
            (_, None) => self.check_one(scope, secrets, now_ms),
        }
    }

    /// The scopes of all items of `each`; an item that is missing has no JSON, and so no
    /// signature.
    fn items<'s>(&self, scope: &Scope<'s>) -> Result<Vec<Scope<'s>>, Reason> {
        let (Some(each), Some(json)) = (&self.each, scope.json) else { return Ok(Vec::new()) };
        let too_many = |_| Reason::TooMany { what: "items", limit: MAX_ITEMS };
        let items = each.all(json).map_err(too_many)?;
        Ok(items.into_iter().map(|item| Scope { json: item, ..*scope }).collect())
    }

    fn check_one(
        &self,
        scope: &Scope<'_>,
        secrets: &[Secret],
        now_ms: u64,
    ) -> Result<Match, Reason> {
        if matches!(self.scheme, Scheme::Token | Scheme::Basic) {
            self.check_required(scope)?;
            return check_tokens(&tokens(self, scope)?, secrets);
        }
        let found = signatures(self, scope)?;
        let scope = &Scope { fields: &found.fields, ..*scope };
        self.check_required(scope)?;
        // A timestamp that is not in the signed text cannot change what is signed, so whatever is
        // wrong with it waits until the signature has been compared.
        let mut late_timestamp = self.timestamp(scope);
        if self.signed.has_ts() {
            late_timestamp = Ok(late_timestamp?);
        }
        let ts = late_timestamp.iter().flatten().map(|(text, _)| text.clone()).next();
        let id = self.signed_id(scope)?;
        let filled = Filled { ts: ts.unwrap_or_default(), id: id.unwrap_or_default() };

        let (secret_index, signature) = self.find_match(scope, &filled, &found, secrets)?;
        self.check_body_digest(scope)?;
        let sent_at_ms = late_timestamp?.map(|(_, sent)| sent);
        if let (Some(spec), Some(sent)) = (&self.timestamp, sent_at_ms) {
            check_age(spec, scope.cfg, sent, now_ms)?;
        }
        Ok(Match { secret_index, signature, sent_at_ms })
    }

    fn check_required(&self, scope: &Scope<'_>) -> Result<(), Reason> {
        for (source, expected) in &self.require {
            let value = source.value(scope)?;
            if value.as_deref() != Some(expected.as_bytes()) {
                let expected = expected.clone();
                return Err(Reason::RequiredHeader { name: source.to_string(), expected });
            }
        }
        Ok(())
    }

    /// The timestamp's text, which is signed, and its meaning.
    fn timestamp(&self, scope: &Scope<'_>) -> Result<Option<(String, i64)>, Reason> {
        let Some(spec) = &self.timestamp else { return Ok(None) };
        let missing = || Reason::TimestampMissing(spec.source.to_string());
        let text = spec.source.text(scope)?.ok_or_else(missing)?;
        let malformed = Reason::TimestampMalformed(spec.format.description());
        let sent = spec.format.read(&text).ok_or(malformed)?;
        Ok(Some((text, sent)))
    }

    fn signed_id(&self, scope: &Scope<'_>) -> Result<Option<String>, Reason> {
        let Some(id) = self.id.first().filter(|_| self.signed.has_id()) else { return Ok(None) };
        let missing = || Reason::IdMissing(id.to_string());
        Ok(Some(id.text(scope, ID_SEPARATOR)?.ok_or_else(missing)?))
    }

    fn find_match(
        &self,
        scope: &Scope<'_>,
        filled: &Filled,
        found: &Found,
        secrets: &[Secret],
    ) -> Result<(usize, Vec<u8>), Reason> {
        for variant in &self.url_variants {
            let Some(url) = variant.of(scope.view.request.url) else { continue };
            let filling = Filling { url: &url, ts: &filled.ts, id: &filled.id, key: None };
            let pieces = self.signed.pieces(scope, &filling)?;
            for (index, secret) in secrets.iter().enumerate() {
                if let Some(bytes) = matching(&self.scheme, secret, &pieces, &found.candidates) {
                    return Ok((index, bytes));
                }
            }
        }
        Err(Reason::SignatureMismatch)
    }

    fn check_body_digest(&self, scope: &Scope<'_>) -> Result<(), Reason> {
        let Some(spec) = &self.body_digest else { return Ok(()) };
        let missing = || Reason::BodyDigestMissing(spec.source.to_string());
        let text = spec.source.text(scope)?.ok_or_else(missing)?;
        let digest = spec.hash.digest(&[scope.view.request.body]);
        match spec.encoding.decode(&text) {
            Some(signed) if same(&signed, &digest) => Ok(()),
            _ => Err(Reason::BodyDigestMismatch),
        }
    }

    fn verified(&self, scope: &Scope<'_>, matched: &Match) -> Result<Verified, Reason> {
        let event_id = self.first_of(&self.id, scope, ID_SEPARATOR)?.map(bounded_id);
        let event_type = self.first_of(&self.event_type, scope, ".")?;
        let signed_digest =
            self.covers_meaning(scope.view).then(|| Hash::Sha256.digest(&[&matched.signature]));
        let with_body = || Hash::Sha256.digest(&[&matched.signature, scope.view.request.body]);
        let digest = || signed_digest.clone().unwrap_or_else(with_body);
        let dedupe_key = event_id.as_ref().map(|id| format!("id:{id}"));
        Ok(Verified {
            dedupe_key: dedupe_key.unwrap_or_else(|| format!("sha256:{}", hex(&digest()))),
            event_id,
            event_type: event_type.filter(|name| is_short(name, MAX_EVENT_TYPE_BYTES)),
            sent_at_ms: matched.sent_at_ms,
            secret_index: matched.secret_index,
            covers_body: self.covers_body,
            signed_digest,
            confirm_url: if self.scheme == Scheme::AwsSns { sns::confirm_url(scope) } else { None },
        })
    }

    /// Whether the signature covers what the body of this request says, not how it is written.
    fn covers_meaning(&self, view: &View<'_>) -> bool {
        let by_meaning = self.scheme == Scheme::AwsSns
            || self.signed.has_body_by_meaning()
            || (view.payload_is_field && self.signed.has_payload());
        self.covers_body && self.body_digest.is_none() && by_meaning
    }

    /// The first alternative that is there; of several items, the values of all.
    fn first_of(
        &self,
        alternatives: &[Joined],
        scope: &Scope<'_>,
        separator: &str,
    ) -> Result<Option<String>, Reason> {
        let scopes = if self.each.is_some() { self.items(scope)? } else { vec![*scope] };
        for alternative in alternatives {
            let texts = scopes.iter().map(|scope| alternative.text(scope, separator));
            let texts: Option<Vec<String>> = texts.collect::<Result<_, _>>()?;
            if let Some(mut texts) = texts.filter(|texts| !texts.is_empty()) {
                texts.dedup();
                return Ok(Some(texts.join(",")));
            }
        }
        Ok(None)
    }
}

const ID_SEPARATOR: &str = ":";

struct Filled {
    ts: String,
    id: String,
}

/// The candidate that the secret vouches for.
fn matching(
    scheme: &Scheme,
    secret: &Secret,
    pieces: &[Cow<'_, [u8]>],
    candidates: &[Candidate],
) -> Option<Vec<u8>> {
    let is_right: Box<dyn Fn(&Candidate) -> bool + '_> = match (scheme, &secret.key) {
        (Scheme::Hmac(HashChoice::Fixed(hash)), Key::Bytes(key)) => {
            let mac = hash.hmac(key, pieces);
            Box::new(move |candidate| same(&mac, &candidate.bytes))
        }
        (Scheme::Hmac(HashChoice::FromHeader(_)), Key::Bytes(key)) => Box::new(|candidate| {
            candidate.hash.is_some_and(|hash| same(&hash.hmac(key, pieces), &candidate.bytes))
        }),
        (Scheme::Ed25519, Key::Ed25519(public)) => {
            let message = pieces.concat();
            Box::new(move |candidate| asymmetric::ed25519(public, &message, &candidate.bytes))
        }
        (Scheme::EcdsaP256, Key::Spki(spki)) => {
            let message = pieces.concat();
            Box::new(move |candidate| asymmetric::ecdsa_p256(spki, &message, &candidate.bytes))
        }
        (Scheme::Rsa(hash), Key::Spki(spki)) => {
            let message = pieces.concat();
            Box::new(move |candidate| {
                asymmetric::rsa_pkcs1(*hash, spki, &message, &candidate.bytes)
            })
        }
        // A secret that was made by another profile vouches for nothing.
        _ => return None,
    };
    candidates.iter().find(|candidate| is_right(candidate)).map(|found| found.bytes.clone())
}

/// Every token must equal one of the secrets.
fn check_tokens(tokens: &[Vec<u8>], secrets: &[Secret]) -> Result<Match, Reason> {
    let mut secret_index = 0;
    for (number, token) in tokens.iter().enumerate() {
        let equal = |secret: &Secret| match &secret.key {
            Key::Bytes(bytes) => same_token(bytes, token),
            Key::Ed25519(_) | Key::Spki(_) => false,
        };
        let index = secrets.iter().position(equal).ok_or(Reason::SignatureMismatch)?;
        if number == 0 {
            secret_index = index;
        }
    }
    Ok(Match { secret_index, signature: tokens.concat(), sent_at_ms: None })
}

fn check_age(
    spec: &TimestampSpec,
    cfg: Settings<'_>,
    sent_ms: i64,
    now_ms: u64,
) -> Result<(), Reason> {
    let own = cfg.get(TOLERANCE_SETTING).and_then(|text| text.parse::<u32>().ok());
    let tolerance = own.map_or(spec.tolerance, u64::from);
    let age = spec.format.age_ms(sent_ms, i64::try_from(now_ms).unwrap_or(i64::MAX));
    if age.unsigned_abs() <= tolerance.saturating_mul(1000) {
        return Ok(());
    }
    let seconds = i64::try_from(age.unsigned_abs().div_ceil(1000)).unwrap_or(i64::MAX);
    Err(Reason::TimestampSkew { seconds: seconds * age.signum(), tolerance })
}

fn bounded_id(id: String) -> String {
    if is_short(&id, MAX_ID_BYTES) {
        return id;
    }
    format!("sha256:{}", hex(&Hash::Sha256.digest(&[id.as_bytes()])))
}

fn is_short(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.chars().any(char::is_control)
}

impl UrlVariant {
    /// The URL in this spelling, or `None` when it does not differ from how it is.
    fn of(self, url: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::AsIs => Some(Cow::Borrowed(url)),
            Self::ToggleDefaultPort => toggle_default_port(url).map(Cow::Owned),
            Self::HubspotDecoded => Some(hubspot_decoded(url)),
        }
    }
}

fn toggle_default_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if let Some(host) = authority.strip_suffix(port) {
        return Some(format!("{scheme}://{host}{tail}"));
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    (!has_port).then(|| format!("{scheme}://{authority}{port}{tail}"))
}

/// `HubSpot` signs the URL after it has undone these escapes, and only these.
fn hubspot_decoded(url: &str) -> Cow<'_, str> {
    const ESCAPES: [(&str, &str); 12] = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
        ("%3B", ";"),
    ];
    if !url.contains('%') {
        return Cow::Borrowed(url);
    }
    let undo = |url: String, (escape, plain): &(&str, &str)| {
        url.replace(escape, plain).replace(&escape.to_ascii_lowercase(), plain)
    };
    Cow::Owned(ESCAPES.iter().fold(url.to_owned(), undo))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_is_toggled() {
        let check = |url, expected: Option<&str>| {
            assert_eq!(toggle_default_port(url).as_deref(), expected, "{url}");
        };
        check("https://h.example/in?a=1:2", Some("https://h.example:443/in?a=1:2"));
        check("https://h.example:443/in", Some("https://h.example/in"));
        check("http://h.example", Some("http://h.example:80"));
        check("https://[::1]/x", Some("https://[::1]:443/x"));
        check("https://u:p@h.example/x", Some("https://u:p@h.example:443/x"));
        check("https://h.example:8443/in", None);
        check("ftp://h.example", None);
        check("nonsense", None);
    }

    #[test]
    fn hubspot_undoes_some_escapes() {
        assert_eq!(hubspot_decoded("https://h/a%3ab%2Fc%20d?x=%40"), "https://h/a:b/c%20d?x=@");
    }

    #[test]
    fn long_and_unprintable_ids_become_digests() {
        assert_eq!(bounded_id("a".repeat(MAX_ID_BYTES)), "a".repeat(MAX_ID_BYTES));
        for id in ["a".repeat(MAX_ID_BYTES + 1), "a\nb".to_owned()] {
            let bounded = bounded_id(id);
            assert!(bounded.starts_with("sha256:") && bounded.len() == 71, "{bounded}");
        }
    }
}
