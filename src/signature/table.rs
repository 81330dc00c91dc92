//! The provider table: TOML text to profiles, with every problem in it at once.
//!
//! The format is described at the top of `data/providers.toml`, which is read by the same code
//! as a user's own profiles. What could make a source accept what it should not (a template
//! without the body, a token that claims to cover it) is refused here.

use super::digest::{Encoding, Hash};
use super::handshake::{Condition, HandshakeRule};
use super::key::KeyEncoding;
use super::pointer::Pointer;
use super::profile::{
    BodyDigest, HashChoice, OkResponse, Profile, Scheme, SignatureSpec, TimestampSpec, UrlVariant,
};
use super::reader::{Findings, Problem, Reader};
use super::source::{Joined, Source};
use super::template::Template;
use super::time::Format;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Longest name of a profile.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest tolerance in seconds: thirty days.
pub const MAX_TOLERANCE_SECS: u32 = 30 * 24 * 3600;
/// Tolerance of a profile that has a timestamp and names none: what every Standard Webhooks
/// library uses.
const DEFAULT_TOLERANCE_SECS: u64 = 300;
const DEFAULT_FAIL_STATUS: u16 = 401;

/// `{url}` with the `url_variants` that `HubSpot` needs, in one word.
const URL_HUBSPOT: &str = "{url_hubspot}";

const SCHEMES: &str = "hmac, ed25519, ecdsa-p256, rsa-pkcs1, token, basic, custom:aws_sns";

/// Reads all profiles of `text`. `known` are those that exist already: an `alias` may name them,
/// and one of the same name is replaced: what the operator wrote wins, so that neither a change at
/// the provider nor a profile that a later version brings needs another name.
pub(super) fn parse(
    text: &str,
    known: &BTreeMap<String, Profile>,
) -> Result<BTreeMap<String, Profile>, Vec<Problem>> {
    let mut findings = Findings { text, problems: Vec::new() };
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            findings.syntax(&error);
            return Err(findings.problems);
        }
    };
    let mut profiles = BTreeMap::new();
    // What an alias stands for must be there before it.
    let is_alias =
        |value: &DeValue<'_>| value.as_table().is_some_and(|table| table.contains_key("alias"));
    let (aliases, plain): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, value)| is_alias(value.get_ref()));
    for (name, value) in plain.into_iter().chain(aliases) {
        let at = name.span().start;
        let name = name.get_ref().as_ref();
        let empty = DeTable::new();
        let inner = value.get_ref().as_table();
        let mut reader = Reader::new(&mut findings, inner.unwrap_or(&empty), name, at);
        if inner.is_none() {
            reader.lacking("", "must be a table with the profile's keys");
            continue;
        }
        check_name(&mut reader, name);
        let base = |alias: &str| profiles.get(alias).or_else(|| known.get(alias)).cloned();
        if let Some(profile) = read_profile(reader, name, base) {
            profiles.insert(name.to_owned(), profile);
        }
    }
    if findings.problems.is_empty() {
        return Ok(profiles);
    }
    findings.problems.sort_by_key(|problem| problem.line);
    Err(findings.problems)
}

fn check_name(reader: &mut Reader<'_, '_, '_>, name: &str) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        let message = format!(
            "a profile's name is 1 to {MAX_NAME_BYTES} of the characters a-z, 0-9 and _; rename it"
        );
        reader.lacking("", message);
    }
}

type In<'a, 'r, 't, 'i> = &'a mut Reader<'r, 't, 'i>;

fn read_profile(
    mut reader: Reader<'_, '_, '_>,
    name: &str,
    base: impl Fn(&str) -> Option<Profile>,
) -> Option<Profile> {
    let unknown = "names no profile; alias one that is not itself an alias";
    let alias = reader.parsed("alias", |alias| base(alias).ok_or(unknown.to_owned()));
    let is_alias = reader.has("alias");
    let mut profile = alias.unwrap_or_else(|| blank(name));
    name.clone_into(&mut profile.name);

    let into = &mut reader;
    profile.title = into.plain("title").unwrap_or_else(|| name.to_owned());
    let understood = read_scheme(into, &mut profile);
    read_key(into, &mut profile);
    read_signature(into, &mut profile.signature);
    read_signed(into, &mut profile);
    read_event(into, &mut profile);
    read_answers(into, &mut profile);
    read_timestamp(into, &mut profile);
    profile.reads_form = reads_form(&profile);
    if is_alias && profile.signature.sources.is_empty() && profile.scheme != Scheme::AwsSns {
        // The alias itself was wrong and is reported; what it lacks is no news.
        return None;
    }
    if understood {
        check_signature(into, &profile);
    }
    check(into, &profile);
    reader.finish();
    Some(profile)
}

fn blank(name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        title: name.to_owned(),
        covers_body: true,
        fail_status: DEFAULT_FAIL_STATUS,
        ok_response: None,
        scheme: Scheme::Token,
        key_encoding: KeyEncoding::Utf8,
        key_strip: None,
        signature: SignatureSpec {
            sources: Vec::new(),
            item_sep: None,
            kv_sep: None,
            field: None,
            encoding: Encoding::Hex,
            strip: None,
        },
        signed: Template::default(),
        url_variants: vec![UrlVariant::AsIs],
        timestamp: None,
        id: Vec::new(),
        event_type: Vec::new(),
        body_digest: None,
        each: None,
        require: Vec::new(),
        payload_field: None,
        handshakes: Vec::new(),
        defaults: BTreeMap::new(),
        reads_form: false,
    }
}

/// Puts a value in place if there is one.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Whether the scheme is known, so that it can be said what goes with it.
fn read_scheme(reader: In<'_, '_, '_, '_>, profile: &mut Profile) -> bool {
    let hash = reader.parsed("hash", read_hash);
    let has_hash = reader.has("hash");
    let name = reader.plain("scheme");
    // A wrong hash is reported; until it is mended any will do.
    let sha256 = HashChoice::Fixed(Hash::Sha256);
    let scheme = match (name.as_deref(), hash) {
        (None, _) if reader.has("alias") => return true,
        (None, _) => {
            if !reader.has("scheme") {
                reader.lacking("scheme", format!("is missing; it is one of {SCHEMES}"));
            }
            return false;
        }
        (Some("hmac"), hash) => {
            if !has_hash {
                reader.lacking("hash", format!("is missing; it is one of {}", Hash::NAMES));
            }
            Scheme::Hmac(hash.unwrap_or(sha256))
        }
        (Some("rsa-pkcs1"), Some(HashChoice::Fixed(hash))) => Scheme::Rsa(hash),
        (Some("rsa-pkcs1"), _) => {
            let message = format!("must be one of {} with rsa-pkcs1", Hash::NAMES);
            reader.lacking("hash", message);
            Scheme::Rsa(Hash::Sha256)
        }
        (Some("ecdsa-p256"), hash) => {
            if hash.is_some_and(|hash| hash != sha256) {
                reader.lacking("hash", "must be sha256 with ecdsa-p256, or be left out");
            }
            Scheme::EcdsaP256
        }
        (Some("ed25519"), _) => Scheme::Ed25519,
        (Some("token"), _) => Scheme::Token,
        (Some("basic"), _) => Scheme::Basic,
        (Some("custom:aws_sns"), _) => Scheme::AwsSns,
        (Some(_), _) => {
            reader.lacking("scheme", format!("must be one of {SCHEMES}"));
            return false;
        }
    };
    profile.scheme = scheme;
    true
}

fn read_key(reader: In<'_, '_, '_, '_>, profile: &mut Profile) {
    let encoding = reader.one_of("key_encoding", KeyEncoding::parse, KeyEncoding::NAMES);
    set(&mut profile.key_encoding, encoding);
    set(&mut profile.key_strip, reader.plain("key_strip").map(Some));
}

fn read_hash(text: &str) -> Result<HashChoice, String> {
    let one = |name: &str| {
        Hash::parse(name)
            .ok_or(format!("must be one of {}, or `from_header:` and a list of them", Hash::NAMES))
    };
    match text.strip_prefix("from_header:") {
        None => one(text).map(HashChoice::Fixed),
        Some(list) => {
            let named = |name: &str| Ok((name.to_owned(), one(name)?));
            list.split(',')
                .map(str::trim)
                .map(named)
                .collect::<Result<_, _>>()
                .map(HashChoice::FromHeader)
        }
    }
}

fn read_signature(reader: In<'_, '_, '_, '_>, spec: &mut SignatureSpec) {
    set(&mut spec.sources, reader.list("sig", Source::parse));
    set(&mut spec.item_sep, reader.plain("sig_item_sep").map(Some));
    set(&mut spec.kv_sep, reader.plain("sig_kv_sep").map(Some));
    set(&mut spec.field, reader.plain("sig_field").map(Some));
    set(&mut spec.strip, reader.plain("sig_strip").map(Some));
    set(&mut spec.encoding, reader.one_of("sig_encoding", Encoding::parse, Encoding::NAMES));
}

fn read_signed(reader: In<'_, '_, '_, '_>, profile: &mut Profile) {
    let mut of_hubspot = false;
    let signed = reader.parsed("signed", |text| {
        of_hubspot = text.contains(URL_HUBSPOT);
        Template::parse(&text.replace(URL_HUBSPOT, "{url}"))
    });
    set(&mut profile.signed, signed);
    if of_hubspot {
        profile.url_variants = vec![UrlVariant::HubspotDecoded, UrlVariant::AsIs];
    }
    let variant =
        |name: &str| UrlVariant::parse(name).ok_or(format!("must be one of {}", UrlVariant::NAMES));
    set(&mut profile.url_variants, reader.list("url_variants", variant));
    let pointer = |text: &str| {
        Pointer::parse(text).ok_or("must be a JSON pointer; begin it with `/`".to_owned())
    };
    set(&mut profile.each, reader.parsed("each", pointer).map(Some));
    let digest = reader.table("body_digest", |inner| {
        let source = inner.parsed("from", Source::parse);
        let hash = inner.one_of("hash", Hash::parse, Hash::NAMES);
        let encoding = inner.one_of("encoding", Encoding::parse, Encoding::NAMES);
        for key in ["from", "hash", "encoding"]
            .into_iter()
            .filter(|key| !inner.has(key))
            .collect::<Vec<_>>()
        {
            inner.lacking(key, "is missing");
        }
        Some(BodyDigest { source: source?, hash: hash?, encoding: encoding? })
    });
    set(&mut profile.body_digest, digest);
    let required = |name: &str, value: &str| Ok((Source::parse(name)?, value.to_owned()));
    set(&mut profile.require, reader.pairs("require", required));
    set(&mut profile.covers_body, reader.flag("covers_body"));
}

fn read_event(reader: In<'_, '_, '_, '_>, profile: &mut Profile) {
    set(&mut profile.id, reader.list("id", Joined::parse));
    set(&mut profile.event_type, reader.list("event_type", Joined::parse));
    if let Some(types) = reader.list("content_types", read_content_type) {
        profile.payload_field = types.into_iter().flatten().next();
    }
    set(&mut profile.payload_field, reader.plain("payload_field").map(Some));
    let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
    let defaults = reader.pairs("defaults", pair);
    set(&mut profile.defaults, defaults.map(|pairs| pairs.into_iter().collect()));
}

/// The field that carries the JSON, of `form:FIELD`. The other types say what is sent, and change
/// nothing: the bytes are what is verified.
fn read_content_type(text: &str) -> Result<Option<String>, String> {
    match text.strip_prefix("form:") {
        Some(field) if !field.is_empty() => Ok(Some(field.to_owned())),
        None if text == "form" || text.contains('/') => Ok(None),
        _ => Err("must be a media type, `form`, or `form:` and the field with the JSON".to_owned()),
    }
}

fn read_timestamp(reader: In<'_, '_, '_, '_>, profile: &mut Profile) {
    let source = reader.parsed("ts", Source::parse);
    let format = reader.one_of("ts_format", Format::parse, Format::NAMES);
    let tolerance = reader.number("tolerance", 1..MAX_TOLERANCE_SECS + 1).map(u64::from);
    match (&mut profile.timestamp, source) {
        (Some(spec), source) => {
            set(&mut spec.source, source);
            set(&mut spec.format, format);
            set(&mut spec.tolerance, tolerance);
        }
        (none, Some(source)) => {
            let format = format.unwrap_or(Format::Unix);
            let tolerance = tolerance.unwrap_or(DEFAULT_TOLERANCE_SECS);
            *none = Some(TimestampSpec { source, format, tolerance });
        }
        (None, None) => {
            for key in ["ts_format", "tolerance"] {
                if reader.has(key) && !reader.has("ts") {
                    reader.lacking(key, "does nothing without `ts`; add `ts` or remove it");
                }
            }
        }
    }
}

const STATUS_2XX: Range<u32> = 200..300;
const STATUS_4XX: Range<u32> = 400..500;

fn status(number: Option<u32>) -> Option<u16> {
    number.and_then(|number| u16::try_from(number).ok())
}

fn read_answers(reader: In<'_, '_, '_, '_>, profile: &mut Profile) {
    set(&mut profile.fail_status, status(reader.number("fail_status", STATUS_4XX)));
    let response = reader.table("ok_response", |inner| {
        Some(OkResponse {
            status: status(inner.number("status", STATUS_2XX)).unwrap_or(200),
            content_type: inner.plain("content_type").unwrap_or("text/plain".to_owned()),
            body: inner.text("body").map_or(String::new(), |body| body.value),
        })
    });
    set(&mut profile.ok_response, response);
    let rules = reader.tables("handshake", |inner| read_handshake(inner));
    set(&mut profile.handshakes, rules.map(|rules| rules.into_iter().flatten().collect()));
}

fn read_handshake(reader: In<'_, '_, '_, '_>) -> Option<HandshakeRule> {
    let when = reader.parsed("when", Condition::parse_all);
    if !reader.has("when") {
        reader.lacking("when", "is missing; an answer to everything would hide every event");
    }
    let after_verify = reader.flag("after_verify").unwrap_or(false);
    let status = status(reader.number("status", STATUS_2XX)).unwrap_or(200);
    // Anything else might be run by a browser that is led here.
    let content_type = reader.parsed("content_type", |text| match text {
        "text/plain" | "application/json" => Ok(text.to_owned()),
        _ => Err("must be text/plain or application/json".to_owned()),
    });
    let header = |name: &str, value: &str| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(token) {
            return Err("is no name of a header".to_owned());
        }
        Ok((name.to_ascii_lowercase(), Template::parse(value)?))
    };
    let headers = reader.pairs("headers", header).unwrap_or_default();
    let body = reader.parsed("body", Template::parse);
    if reader.has("body") && !reader.has("content_type") {
        reader.lacking("content_type", "is missing; a body needs text/plain or application/json");
    }
    let learn_secret = reader.parsed("learn_secret", Source::parse);
    let when = when?;
    if learn_secret.is_some() && !when.contains(&Condition::SecretPending) {
        let message = "needs `state.pending` in `when`, or any stranger could replace the secret";
        reader.lacking("learn_secret", message);
    }
    Some(HandshakeRule { when, after_verify, status, content_type, headers, body, learn_secret })
}

fn reads_form(profile: &Profile) -> bool {
    let joined = profile.id.iter().chain(&profile.event_type).flat_map(|joined| &joined.0);
    let sources = joined.chain(&profile.signature.sources);
    let digest = profile.body_digest.iter().map(|digest| &digest.source);
    let time = profile.timestamp.iter().map(|spec| &spec.source);
    let mut all = sources.chain(digest).chain(time).chain(profile.require.iter().map(|(s, _)| s));
    profile.signed.reads_form() || all.any(|source| matches!(source, Source::Form(_)))
}

/// What goes together and what does not.
fn check(reader: In<'_, '_, '_, '_>, profile: &Profile) {
    let signed = &profile.signed;
    if signed.has_ts() && profile.timestamp.is_none() {
        reader.lacking("ts", "is missing; `signed` has {ts}");
    }
    if signed.signs() {
        reader.lacking("signed", "must not hold {hmac_…}, which is for the answers of handshakes");
    }
    let one_id = profile.id.first().is_some_and(|id| !id.0.iter().any(Source::is_multiple));
    if signed.has_id() && !one_id {
        reader.lacking("id", "must be one value, as `signed` has {id}");
    }
    let of_field = |spec: &TimestampSpec| matches!(spec.source, Source::SignatureField(_));
    if profile.timestamp.as_ref().is_some_and(of_field) && profile.signature.kv_sep.is_none() {
        reader.lacking("sig_kv_sep", "is missing; `ts` is a field of the signature");
    }
    let covered = signed.covers_body() || profile.body_digest.is_some();
    let covered = (covered && profile.each.is_none()) || profile.scheme == Scheme::AwsSns;
    if profile.covers_body && !covered {
        let message = "must be false: nothing that is signed covers the body, \
            so the id alone protects against replays";
        reader.lacking("covers_body", message);
    }
}

fn check_signature(reader: In<'_, '_, '_, '_>, profile: &Profile) {
    use KeyEncoding::{Base64, Hex, Pem, SpkiDerBase64, Utf8};
    let spec = &profile.signature;
    let (keys, cryptographic): (&[KeyEncoding], bool) = match profile.scheme {
        Scheme::Hmac(_) => (&[Utf8, Hex, Base64], true),
        Scheme::Ed25519 => (&[Hex, Base64], true),
        Scheme::EcdsaP256 | Scheme::Rsa(_) => (&[Pem, SpkiDerBase64], true),
        Scheme::Token | Scheme::Basic => (&[Utf8, Hex, Base64], false),
        Scheme::AwsSns => (&[Utf8, Pem, SpkiDerBase64], false),
    };
    if !keys.contains(&profile.key_encoding) {
        reader.lacking("key_encoding", "does not go with this scheme");
    }
    if spec.sources.is_empty() && profile.scheme != Scheme::AwsSns && !reader.has("sig") {
        reader.lacking("sig", format!("is missing; name one or more of {}", Source::FORMS));
    }
    if spec.kv_sep.is_some() != spec.field.is_some() {
        reader.lacking("sig_kv_sep", "and `sig_field` go together; give both or neither");
    }
    let from_header = matches!(profile.scheme, Scheme::Hmac(HashChoice::FromHeader(_)));
    if from_header != (spec.field.as_deref() == Some("*")) {
        let message = "must be `*` when the header chooses the hash, and only then";
        reader.lacking("sig_field", message);
    }
    if !cryptographic {
        for key in ["signed", "sig_encoding", "ts", "hash", "body_digest", "each"] {
            if reader.has(key) && profile.scheme != Scheme::AwsSns {
                reader.lacking(key, "does nothing with this scheme; remove it");
            }
        }
        return;
    }
    for key in ["signed", "sig_encoding"] {
        if !reader.has(key) && !reader.has("alias") {
            reader.lacking(key, "is missing");
        }
    }
    let each_element = |source: &Source| matches!(source, Source::Json(..)) && source.is_multiple();
    if spec.sources.iter().any(each_element) {
        reader.lacking("sig", "must not hold `*`, which would accept any; use `each`");
    }
}
