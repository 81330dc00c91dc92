//! Everything that is wrong with a declaration, at once, with file and line.
//!
//! The rules are those of the API; what the domain, the address guard and the engine check is
//! called here as it is there.

use super::declaration::{
    ApplicationFile, Declaration, EndpointFile, EventTypeFile, Path, SourceFile, path,
};
use super::plan;
use super::read::Lines;
use crate::config::problem::{Problem, Problems};
use crate::delivery::{AddressPolicy, check_custom_header, check_url};
use crate::inbound;
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, EndpointId, OrgId, SourceId};
use crate::model::limits::{
    CHANNEL_CHARS, CUSTOM_HEADERS, DESCRIPTION_CHARS, ENDPOINT_CHANNELS, ENDPOINT_EVENT_TYPES,
    ENDPOINTS_PER_APPLICATION, EVENT_TYPE_CHARS, METADATA_CHARS, METADATA_ENTRIES,
    RETRY_STEP_SECONDS, RETRY_STEPS,
};
use crate::model::name;
use crate::model::secret::SigningKey;
use crate::model::source::{SOURCE_RECORD_BYTES, Source};
use crate::signature::Providers;
use crate::store::managed::PROFILES_BYTES;

/// Characters of a token that a file gives: it stands between the door and everybody.
pub const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 16..=128;

/// What a declaration is held to besides itself.
pub(super) struct Rules<'r> {
    pub(super) https_only: bool,
    pub(super) policy: &'r AddressPolicy,
    /// Whether an event type is registered already.
    pub(super) has_event_type: &'r dyn Fn(&str) -> bool,
    /// Whether there is such an application already.
    pub(super) has_application: &'r dyn Fn(&str) -> bool,
}

/// The profiles that the declaration leads to, if nothing is wrong with it.
pub(super) fn check(
    wanted: &Declaration,
    lines: &Lines,
    rules: &Rules<'_>,
) -> Result<Providers, Problems> {
    let mut checker = Checker { wanted, lines, rules, problems: Vec::new() };
    let providers = checker.providers();
    for (name, event_type) in &wanted.event_types {
        checker.event_type(name, event_type);
    }
    for (uid, application) in &wanted.applications {
        checker.application(uid, application);
    }
    let mut tokens = std::collections::BTreeSet::new();
    for (uid, source) in &wanted.sources {
        checker.source(uid, source, providers.as_ref());
        if let Some(token) = &source.token
            && !tokens.insert(token)
        {
            let at = path(&["sources", uid, "token"]);
            checker.say(&at, "is the token of another source too", "give each its own");
        }
    }
    match providers {
        Some(providers) if checker.problems.is_empty() => Ok(providers),
        _ => Err(Problems(checker.problems)),
    }
}

struct Checker<'c> {
    wanted: &'c Declaration,
    lines: &'c Lines,
    rules: &'c Rules<'c>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn say(&mut self, at: &[String], what: impl Into<String>, way_out: &str) {
        self.problems.push(self.lines.problem(at, what, way_out));
    }

    fn providers(&mut self) -> Option<Providers> {
        let text = &self.wanted.providers.0;
        let at = path(&["providers"]);
        if text.len() > PROFILES_BYTES {
            let what = format!("are larger than {PROFILES_BYTES} bytes");
            self.say(&at, what, "keep only those you use");
            return None;
        }
        match Providers::builtin().extended(text) {
            Ok(providers) => Some(providers),
            Err(problems) => {
                for problem in problems {
                    self.say(&at, problem.to_string(), "see data/providers.toml for the keys");
                }
                None
            }
        }
    }

    fn event_type(&mut self, name: &str, file: &EventTypeFile) {
        let at = path(&["event_types", name]);
        if let Err(problem) = name::check(name, EVENT_TYPE_CHARS) {
            self.say(&at, problem.to_string(), "name it like order.paid");
        }
        self.length(&at, "description", &file.description);
        let steps = file.retry_schedule.as_deref().unwrap_or_default();
        if steps.len() > RETRY_STEPS || steps.iter().any(|s| s.0.as_secs() > RETRY_STEP_SECONDS) {
            let what = format!("must have at most {RETRY_STEPS} waits of at most 7 days each");
            self.say(&under(&at, "retry_schedule"), what, "shorten it");
        }
    }

    fn application(&mut self, uid: &str, file: &ApplicationFile) {
        let at = path(&["applications", uid]);
        self.uid(&at, uid, AppId::PREFIX);
        self.length(&at, "name", file.name.as_deref().unwrap_or_default());
        self.rate(&at, file.throttle_rate);
        self.metadata(&at, &file.metadata);
        if file.endpoints.len() > ENDPOINTS_PER_APPLICATION {
            let what = format!("has more than {ENDPOINTS_PER_APPLICATION} endpoints");
            self.say(&at, what, "use another application");
        }
        for (name, endpoint) in &file.endpoints {
            self.endpoint(&path(&["applications", uid, "endpoints", name]), name, endpoint);
        }
    }

    fn endpoint(&mut self, at: &Path, uid: &str, file: &EndpointFile) {
        self.uid(at, uid, EndpointId::PREFIX);
        if let Err(problem) = check_url(&file.url, self.rules.https_only, self.rules.policy) {
            self.say(&under(at, "url"), problem.to_string(), "give another URL");
        }
        self.length(at, "description", &file.description);
        self.rate(at, file.throttle_rate);
        self.metadata(at, &file.metadata);
        self.patterns(at, file.event_types.as_deref());
        let channels = file.channels.as_deref();
        if channels.is_some_and(|c| c.is_empty() || c.len() > ENDPOINT_CHANNELS) {
            let what = format!("must have 1 to {ENDPOINT_CHANNELS} entries");
            self.say(&under(at, "channels"), what, "leave it out for every one");
        }
        for channel in channels.unwrap_or_default() {
            if let Err(problem) = name::check(channel, CHANNEL_CHARS) {
                self.say(&under(at, "channels"), format!("{channel:?} {problem}"), "rename it");
            }
        }
        if let Some(Err(problem)) = file.secret.as_deref().map(SigningKey::parse) {
            let way_out = "leave it out to have one made";
            self.say(&under(at, "secret"), problem.to_string(), way_out);
        }
        if file.headers.len() > CUSTOM_HEADERS {
            let what = format!("has more than {CUSTOM_HEADERS} entries");
            self.say(&under(at, "headers"), what, "send fewer");
        }
        for (name, value) in &file.headers {
            if let Err(problem) = check_custom_header(name, value) {
                self.say(&under(at, "headers"), problem.to_string(), "take it out");
            }
        }
    }

    fn patterns(&mut self, at: &Path, patterns: Option<&[String]>) {
        let Some(patterns) = patterns else { return };
        let at = under(at, "event_types");
        if patterns.is_empty() || patterns.len() > ENDPOINT_EVENT_TYPES {
            let what = format!("must have 1 to {ENDPOINT_EVENT_TYPES} entries");
            self.say(&at, what, "leave it out for every one");
        }
        for pattern in patterns {
            if let Err(problem) = name::check_pattern(pattern) {
                self.say(&at, format!("{pattern:?} {problem}"), "name it like order.paid, order.*");
                continue;
            }
            let declared = self.wanted.event_types.get(pattern).is_some_and(|t| !t.archived);
            if !pattern.ends_with('*') && !declared && !(self.rules.has_event_type)(pattern) {
                let what = format!("{pattern:?} is not registered, or archived");
                self.say(&at, what, "describe it under [event_types]");
            }
        }
    }

    fn source(&mut self, uid: &str, file: &SourceFile, providers: Option<&Providers>) {
        let at = path(&["sources", uid]);
        self.uid(&at, uid, SourceId::PREFIX);
        self.length(&at, "name", file.name.as_deref().unwrap_or_default());
        self.metadata(&at, &file.metadata);
        if let Some(app) = &file.application
            && !self.wanted.applications.contains_key(app)
            && !(self.rules.has_application)(app)
        {
            let what = format!("there is no application {app:?}");
            let way_out = "describe it under [applications], or leave it out to have one made";
            self.say(&under(&at, "application"), what, way_out);
        }
        if let Some(token) = &file.token {
            let fits = token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if !fits || !TOKEN_CHARS.contains(&token.len()) {
                let what = format!(
                    "must be {} to {} letters, digits, - and _",
                    TOKEN_CHARS.start(),
                    TOKEN_CHARS.end()
                );
                self.say(&under(&at, "token"), what, "leave it out to have one made");
            }
        }
        let Some(providers) = providers else { return };
        let (id, org, app) = (SourceId([0; 20]), OrgId::default_org(), AppId([0; 20]));
        let mut source = Source::new(id, org, app, String::new(), Timestamp(0));
        plan::over_source(&mut source, uid, file, providers);
        if let Err(fault) = inbound::check(&source, providers) {
            let key = under(&at, &in_files(fault.field));
            self.say(&key, fault.what, "mend it; see the reference of sources");
        }
        if source.text_bytes() > SOURCE_RECORD_BYTES {
            let what = format!("has more than {SOURCE_RECORD_BYTES} bytes of texts");
            self.say(&at, what, "shorten its lists");
        }
    }

    fn uid(&mut self, at: &Path, uid: &str, prefix: &'static str) {
        if let Err(problem) = name::check_uid(uid, prefix) {
            self.say(at, format!("its name {problem}"), "rename it");
        }
    }

    fn rate(&mut self, at: &Path, rate: Option<u32>) {
        if rate.is_some_and(|rate| rate == 0 || rate > u32::from(u16::MAX)) {
            let way_out = "leave it out for no limit";
            self.say(&under(at, "throttle_rate"), "must be 1 to 65535", way_out);
        }
    }

    fn length(&mut self, at: &Path, field: &str, text: &str) {
        if text.chars().count() > DESCRIPTION_CHARS {
            let what = format!("is longer than {DESCRIPTION_CHARS} characters");
            self.say(&under(at, field), what, "shorten it");
        }
    }

    fn metadata(&mut self, at: &Path, map: &std::collections::BTreeMap<String, String>) {
        let long = |text: &String| text.chars().count() > METADATA_CHARS;
        // One entry is ours.
        if map.len() >= METADATA_ENTRIES || map.iter().any(|(k, v)| long(k) || long(v)) {
            let what = format!(
                "must have fewer than {METADATA_ENTRIES} entries of at most {METADATA_CHARS} characters"
            );
            self.say(&under(at, "metadata"), what, "shorten it");
        }
    }
}

fn under(at: &[String], field: &str) -> Path {
    at.iter().cloned().chain([field.to_owned()]).collect()
}

/// The API's name of a field as files spell it: `eventTypes` is `event_types`.
fn in_files(field: &str) -> String {
    field.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}
