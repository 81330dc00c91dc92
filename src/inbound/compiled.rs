//! A source ready for use: its profile looked up and its secrets decoded, once.
//!
//! [`check`] is the same work for its faults alone: whoever makes or changes a source calls it, so
//! that a secret that can never match is an error then and not a refused request later.

use std::sync::Arc;

use super::cloud_event;
use crate::model::limits::EVENT_TYPE_CHARS;
use crate::model::name;
use crate::model::source::{
    GENERIC, MAX_DEDUPE, SOURCE_ENTRIES, SOURCE_SECRET_BYTES, SOURCE_SECRETS, Source,
};
use crate::signature::{Profile, Providers, Secret};

/// Bytes of the largest body any source may take: what a message may carry.
const MAX_BODY: usize = crate::model::message::MAX_PAYLOAD_BYTES;

/// What is wrong with a source: the field, and a sentence with the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Fault {
    /// The field, as in the API and in files: `provider`, `secrets`, `settings`.
    pub field: &'static str,
    /// What is wrong and what to do. Never holds a secret.
    pub what: String,
}

/// How a source's requests are checked.
pub(super) enum Check {
    /// By a provider's profile, with the source's secrets.
    Profile(Box<Profile>, Vec<Secret>),
    /// By nothing but the token in the URL.
    Token,
}

/// See the module's text.
pub(super) struct Compiled {
    pub(super) source: Arc<Source>,
    providers: Arc<Providers>,
    pub(super) check: Check,
}

impl Compiled {
    pub(super) fn new(source: &Arc<Source>, providers: &Arc<Providers>) -> Result<Self, Fault> {
        let check = compile(source, providers)?;
        Ok(Self { source: Arc::clone(source), providers: Arc::clone(providers), check })
    }

    /// Whether it was made of exactly these.
    pub(super) fn is_of(&self, source: &Arc<Source>, providers: &Arc<Providers>) -> bool {
        Arc::ptr_eq(&self.source, source) && Arc::ptr_eq(&self.providers, providers)
    }
}

fn fault(field: &'static str, what: impl Into<String>) -> Fault {
    Fault { field, what: what.into() }
}

fn compile(source: &Source, providers: &Providers) -> Result<Check, Fault> {
    if source.provider == GENERIC {
        return Ok(Check::Token);
    }
    let Some(profile) = providers.get(&source.provider) else {
        let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
        let what = format!(
            "there is no profile {:?}; name one of {}, or {GENERIC} for senders that sign nothing",
            source.provider,
            names.join(", ")
        );
        return Err(fault("provider", what));
    };
    let mut secrets = Vec::with_capacity(source.secrets.len());
    for secret in &source.secrets {
        secrets.push(profile.secret(&secret.0).map_err(|err| fault("secrets", err.to_string()))?);
    }
    if secrets.is_empty() && !(source.secret_pending && profile.learns_secret()) {
        let what = format!(
            "a {} source needs the secret that the provider shows; without one nothing could be verified",
            profile.name
        );
        return Err(fault("secrets", what));
    }
    if let Some(problem) = profile.check_settings(&source.settings).into_iter().next() {
        return Err(fault("settings", problem));
    }
    Ok(Check::Profile(Box::new(profile.clone()), secrets))
}

/// The first thing that is wrong with a source, if anything is.
///
/// # Errors
/// The field and what to do about it.
pub fn check(source: &Source, providers: &Providers) -> Result<(), Fault> {
    let compiled = compile(source, providers)?;
    check_setting_names(source, &compiled)?;
    if let Some(problem) = cloud_event::problem(source) {
        return Err(fault("settings", problem));
    }
    if source.secrets.len() > SOURCE_SECRETS {
        let what = format!("at most {SOURCE_SECRETS} are taken; drop the oldest");
        return Err(fault("secrets", what));
    }
    if source.secrets.iter().any(|s| s.0.len() > SOURCE_SECRET_BYTES) {
        let what = format!("one is longer than {SOURCE_SECRET_BYTES} bytes");
        return Err(fault("secrets", what));
    }
    let entries = [
        ("settings", source.settings.len()),
        ("eventTypes", source.event_types.len()),
        ("filter", source.filter.as_ref().map_or(0, Vec::len)),
        ("keepHeaders", source.keep_headers.as_ref().map_or(0, Vec::len)),
    ];
    for (field, count) in entries {
        if count > SOURCE_ENTRIES {
            return Err(fault(field, format!("has {count} entries, at most {SOURCE_ENTRIES}")));
        }
    }
    check_names(source)?;
    if source.max_body == 0 || source.max_body as usize > MAX_BODY {
        let what = format!("is {} bytes, but must be 1 to {MAX_BODY}", source.max_body);
        return Err(fault("maxBody", what));
    }
    if source.rate == Some(0) {
        return Err(fault("rate", "is 0; leave it out for no limit, or disable the source"));
    }
    if source.dedupe > MAX_DEDUPE {
        let days = MAX_DEDUPE.as_secs() / 86400;
        return Err(fault("dedupe", format!("is longer than {days} days")));
    }
    if let Some(url) = &source.url {
        let web = url.starts_with("https://") || url.starts_with("http://");
        if !web || url.bytes().any(|b| !(b'!'..=b'~').contains(&b)) {
            let what = "must be the public http or https URL, as the provider has it";
            return Err(fault("url", what));
        }
    }
    Ok(())
}

/// A setting that nobody reads was meant to be another one.
fn check_setting_names(source: &Source, compiled: &Check) -> Result<(), Fault> {
    let mut known = match compiled {
        Check::Profile(profile, _) => profile.known_settings(),
        Check::Token => Vec::new(),
    };
    known.push(cloud_event::SETTING);
    match source.settings.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let (provider, known) = (&source.provider, known.join(", "));
            let what = format!("{provider} has no setting {name:?}; there are {known}");
            Err(fault("settings", what))
        }
    }
}

fn check_names(source: &Source) -> Result<(), Fault> {
    for name in source.event_types.values() {
        name::check(name, EVENT_TYPE_CHARS)
            .map_err(|problem| fault("eventTypes", format!("{name:?} {problem}")))?;
    }
    if !source.event_type_prefix.is_empty() {
        name::check(&source.event_type_prefix, EVENT_TYPE_CHARS / 2)
            .map_err(|problem| fault("eventTypePrefix", problem.to_string()))?;
    }
    for pattern in source.filter.iter().flatten() {
        name::check_pattern(pattern)
            .map_err(|problem| fault("filter", format!("{pattern:?} {problem}")))?;
    }
    if source.filter.as_ref().is_some_and(Vec::is_empty) {
        return Err(fault("filter", "is empty and would drop everything; leave it out for all"));
    }
    Ok(())
}
