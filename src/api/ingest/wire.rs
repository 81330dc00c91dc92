//! Sources on the wire: the published shape (`type`, `config`, …) and what is ours beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::edit::{Nullable, check_length, check_metadata, check_uid, given};
use crate::api::error::ApiError;
use crate::inbound::Providers;
use crate::model::application::Metadata;
use crate::model::id::SourceId;
use crate::model::limits::DESCRIPTION_CHARS;
use crate::model::source::{GENERIC, Source, SourceSecret};

/// Types of the libraries whose senders sign as Svix does.
const SIGN_AS_SVIX: [&str; 15] = [
    "beehiiv",
    "brex",
    "clerk",
    "guesty",
    "incident-io",
    "lithic",
    "nash",
    "pleo",
    "psi-fi",
    "resend",
    "safebase",
    "sardine",
    "stych",
    "svix",
    "port-io",
];
/// And as the Standard Webhooks have it.
const SIGN_AS_STANDARD: [&str; 3] = ["open-ai", "render", "replicate"];

/// Types that the libraries know and whose profile has another name, or the same.
const KNOWN_TYPES: [&str; 10] = [
    GENERIC_TYPE,
    "docusign",
    "github",
    "hubspot",
    "meta",
    "shopify",
    "slack",
    "stripe",
    "telnyx",
    "zoom",
];
/// The type of a source that checks nothing but its token; also what a source with a profile that
/// the libraries have no name for is shown as, because they refuse a list with a type they do not
/// know. Its `provider` says what it is.
const GENERIC_TYPE: &str = "generic-webhook";

/// Whether the libraries know this type.
fn is_known(kind: &str) -> bool {
    [&KNOWN_TYPES[..], &SIGN_AS_SVIX, &SIGN_AS_STANDARD].iter().any(|list| list.contains(&kind))
}

/// The profile for a `type`.
fn provider_of(kind: &str, providers: &Providers) -> Result<String, ApiError> {
    let name = match kind {
        GENERIC_TYPE => GENERIC.to_owned(),
        "hubspot" => "hubspot_v3".to_owned(),
        kind if SIGN_AS_SVIX.contains(&kind) => "svix".to_owned(),
        kind if SIGN_AS_STANDARD.contains(&kind) => "standard_webhooks".to_owned(),
        kind => kind.replace('-', "_"),
    };
    if name == GENERIC || providers.get(&name).is_some() {
        return Ok(name);
    }
    let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
    let message = format!(
        "there is no profile for {kind:?}; take generic-webhook or one of {}",
        names.join(", ")
    );
    Err(ApiError::invalid("body", "type", message))
}

/// What is ours, the same for making, replacing and changing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ours {
    app: Option<String>,
    secrets: Option<Vec<String>>,
    settings: Option<BTreeMap<String, String>>,
    event_types: Option<BTreeMap<String, String>>,
    event_type_prefix: Option<String>,
    #[serde(deserialize_with = "given")]
    filter: Option<Nullable<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    keep_headers: Option<Nullable<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    url: Option<Nullable<String>>,
    max_body: Option<u32>,
    #[serde(deserialize_with = "given")]
    rate: Option<Nullable<u32>>,
    dedupe_seconds: Option<u64>,
    enabled: Option<bool>,
}

impl Ours {
    fn apply(self, source: &mut Source) {
        fn set<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        let secrets = self.secrets.map(|all| all.into_iter().map(SourceSecret).collect());
        if secrets.is_some() {
            source.secret_pending = false;
        }
        set(&mut source.secrets, secrets);
        set(&mut source.settings, self.settings);
        set(&mut source.event_types, self.event_types);
        set(&mut source.event_type_prefix, self.event_type_prefix);
        set(&mut source.filter, self.filter);
        set(&mut source.keep_headers, self.keep_headers);
        set(&mut source.url, self.url);
        set(&mut source.max_body, self.max_body);
        set(&mut source.rate, self.rate);
        set(&mut source.dedupe, self.dedupe_seconds.map(Duration::from_secs));
        set(&mut source.enabled, self.enabled);
    }
}

/// What a caller sends to make or replace one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceIn {
    name: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(rename = "type", default = "generic")]
    kind: String,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    /// A profile by its own name, in place of `type`.
    #[serde(default)]
    provider: Option<String>,
    #[serde(flatten)]
    ours: Ours,
}

fn generic() -> String {
    GENERIC_TYPE.to_owned()
}

impl SourceIn {
    /// The application it is to deliver to, if it names one.
    pub(super) fn application(&self) -> Option<&str> {
        self.ours.app.as_deref()
    }

    /// Gives it this uid, unless it has one.
    pub(super) fn name_it(&mut self, uid: &str) {
        self.uid.get_or_insert_with(|| uid.to_owned());
    }

    /// Puts it over a source: everything but secrets, token and application, which stay when
    /// nothing is said of them.
    pub(super) fn apply(self, source: &mut Source, providers: &Providers) -> Result<(), ApiError> {
        check_source_name(&self.name)?;
        if let Some(uid) = &self.uid {
            check_uid("uid", uid, SourceId::PREFIX)?;
        }
        let metadata = self.metadata.unwrap_or_default();
        check_metadata(&metadata)?;
        let named = self.provider.as_deref().unwrap_or(&self.kind);
        let has_other_profile = source.provider != GENERIC && !is_known(&type_of(source));
        let provider = if named == GENERIC_TYPE && has_other_profile {
            // It was read as generic by a library that has no name for its profile: sent back, it
            // must not lose its verification.
            source.provider.clone()
        } else {
            provider_of(named, providers)?
        };
        let changed = provider != source.provider;
        source.kind = (self.provider.is_none() && is_known(&self.kind) && self.kind != provider)
            .then_some(self.kind)
            .filter(|kind| kind != GENERIC_TYPE);
        if changed {
            // Another provider's secrets would only be refused.
            source.secrets.clear();
            source.settings.clear();
        }
        let learns = providers.get(&provider).is_some_and(crate::inbound::Profile::learns_secret);
        source.secret_pending = learns && source.secrets.is_empty();
        source.provider = provider;
        source.name = self.name;
        source.uid = self.uid;
        source.metadata = metadata;
        configure(source, self.config.unwrap_or_default())?;
        self.ours.apply(source);
        Ok(())
    }
}

/// The `config` of the libraries: `secret` or `publicKey`, and settings in their own spelling.
fn configure(source: &mut Source, config: Map<String, Value>) -> Result<(), ApiError> {
    for (name, value) in config {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(on) => on.to_string(),
            Value::Array(_) | Value::Object(_) => {
                let message = format!("{name} must be a text, a number, true or false");
                return Err(ApiError::invalid("body", &format!("config.{name}"), message));
            }
        };
        match name.as_str() {
            "secret" | "publicKey" => {
                source.secrets = vec![SourceSecret(text)];
                source.secret_pending = false;
            }
            "timestampGraceSeconds" => drop(source.settings.insert("tolerance".to_owned(), text)),
            _ => drop(source.settings.insert(snake(&name), text)),
        }
    }
    Ok(())
}

/// `verifyToken` → `verify_token`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn check_source_name(name: &str) -> Result<(), ApiError> {
    if name.trim().is_empty() {
        return Err(ApiError::invalid("body", "name", "name must not be empty"));
    }
    check_length("name", name, DESCRIPTION_CHARS)
}

/// What a caller sends to change some of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourcePatch {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    uid: Option<Nullable<String>>,
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(flatten)]
    ours: Ours,
}

impl SourcePatch {
    /// The application it is to deliver to, if it names one.
    pub(super) fn application(&self) -> Option<&str> {
        self.ours.app.as_deref()
    }

    pub(super) fn apply(self, source: &mut Source) -> Result<(), ApiError> {
        if let Some(name) = self.name {
            check_source_name(&name)?;
            source.name = name;
        }
        if let Some(uid) = self.uid {
            uid.as_ref().map_or(Ok(()), |uid| check_uid("uid", uid, SourceId::PREFIX))?;
            source.uid = uid;
        }
        if let Some(metadata) = self.metadata {
            check_metadata(&metadata)?;
            source.metadata = metadata;
        }
        configure(source, self.config.unwrap_or_default())?;
        self.ours.apply(source);
        Ok(())
    }
}

/// The `type` of a source, whether the libraries know it or not.
fn type_of(source: &Source) -> String {
    match (&source.kind, source.provider.as_str()) {
        (Some(kind), _) => kind.clone(),
        (None, GENERIC) => generic(),
        (None, "hubspot_v3") => "hubspot".to_owned(),
        (None, provider) => provider.to_owned(),
    }
}

/// A source on the wire. Secrets are never shown, only how many there are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceOut {
    id: String,
    uid: Option<String>,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// The libraries take none with the generic type.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Map<String, Value>>,
    ingest_url: String,
    metadata: Metadata,
    created_at: String,
    updated_at: String,
    provider: String,
    app_id: String,
    secret_count: usize,
    secret_pending: bool,
    /// Names alone: a value may be a verify token.
    settings: Vec<String>,
    event_types: BTreeMap<String, String>,
    event_type_prefix: String,
    filter: Option<Vec<String>>,
    keep_headers: Option<Vec<String>>,
    url: Option<String>,
    max_body: u32,
    rate: Option<u32>,
    dedupe_seconds: u64,
    enabled: bool,
}

impl SourceOut {
    pub(super) fn of(source: &Source, url: &str) -> Self {
        let kind = Some(type_of(source)).filter(|kind| is_known(kind)).unwrap_or_else(generic);
        let mut config = Map::new();
        if kind == "telnyx"
            && let Some(key) = source.secrets.first()
        {
            // A public key is none to keep, and the libraries expect it.
            config.insert("publicKey".to_owned(), Value::String(key.0.clone()));
        }
        Self {
            id: source.id.to_string(),
            uid: source.uid.clone(),
            name: source.name.clone(),
            config: (kind != GENERIC_TYPE).then_some(config),
            kind,
            ingest_url: url.to_owned(),
            metadata: source.metadata.clone(),
            created_at: source.created_at.to_string(),
            updated_at: source.updated_at.to_string(),
            provider: source.provider.clone(),
            app_id: source.app.to_string(),
            secret_count: source.secrets.len(),
            secret_pending: source.secret_pending,
            settings: source.settings.keys().cloned().collect(),
            event_types: source.event_types.clone(),
            event_type_prefix: source.event_type_prefix.clone(),
            filter: source.filter.clone(),
            keep_headers: source.keep_headers.clone(),
            url: source.url.clone(),
            max_body: source.max_body,
            rate: source.rate,
            dedupe_seconds: source.dedupe.as_secs(),
            enabled: source.enabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_libraries_find_their_profile() {
        for (kind, provider) in [
            ("generic-webhook", GENERIC),
            ("github", "github"),
            ("clerk", "svix"),
            ("open-ai", "standard_webhooks"),
            ("hubspot", "hubspot_v3"),
            ("gitlab_token", "gitlab_token"),
            ("azure-event-grid", "azure_event_grid"),
        ] {
            assert_eq!(provider_of(kind, Providers::builtin()).ok().as_deref(), Some(provider));
        }
        assert!(provider_of("cron", Providers::builtin()).is_err());
    }

    #[test]
    fn a_profile_without_a_name_in_the_libraries_survives_them() {
        let mut source = Source::new(
            SourceId([1; 20]),
            crate::model::id::OrgId([0; 20]),
            crate::model::id::AppId([0; 20]),
            String::new(),
            crate::model::clock::Timestamp(0),
        );
        let put = |source: &mut Source, body: Value| {
            let input: SourceIn = serde_json::from_value(body).unwrap();
            input.apply(source, Providers::builtin()).ok().unwrap();
        };
        let gitlab = serde_json::json!({ "name": "x", "type": "gitlab_token", "secrets": ["s"] });
        put(&mut source, gitlab);
        let out = serde_json::to_value(SourceOut::of(&source, "u")).unwrap();
        assert_eq!(
            (&out["type"], &out["provider"]),
            (&"generic-webhook".into(), &"gitlab_token".into())
        );
        put(&mut source, serde_json::json!({ "name": "y", "type": out["type"] }));
        assert_eq!((source.provider.as_str(), source.secrets.len()), ("gitlab_token", 1));
        put(
            &mut source,
            serde_json::json!({ "name": "y", "type": "clerk", "config": { "secret": "t" } }),
        );
        assert_eq!((source.provider.as_str(), source.kind.as_deref()), ("svix", Some("clerk")));
        put(&mut source, serde_json::json!({ "name": "y", "type": "generic-webhook" }));
        assert_eq!((source.provider.as_str(), source.kind.as_deref()), (GENERIC, None));
    }

    #[test]
    fn settings_are_spelled_as_profiles_spell_them() {
        assert_eq!(snake("verifyToken"), "verify_token");
        assert_eq!(snake("webhook_id"), "webhook_id");
    }
}
