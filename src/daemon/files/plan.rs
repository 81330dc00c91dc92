//! The difference between a declaration and what the store has, and making it.
//!
//! [`steps`] is computed anew inside the commit that applies it, so a plan that was shown a moment
//! ago may differ from what is done, and never the other way round from what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::declaration::{ApplicationFile, Declaration, EndpointFile, EventTypeFile, SourceFile};
use crate::model::application::{Application, Metadata};
use crate::model::clock::Timestamp;
use crate::model::endpoint::{DisabledReason, Endpoint, LiveSecret};
use crate::model::event_type::EventType;
use crate::model::id::{AppId, EndpointId, OrgId, SourceId};
use crate::model::limits::OLD_SECRETS;
use crate::model::secret::SigningKey;
use crate::model::source::{DEFAULT_DEDUPE, DEFAULT_SOURCE_BODY, Source, SourceSecret};
use crate::signature::{Profile, Providers};
use crate::store::directory::Directory;
use crate::store::managed::Managed;
use crate::store::{Error, Writer};

/// The note by which people see that files manage something.
const MARK: (&str, &str) = ("managed-by", "files");
/// How long an endpoint's secret signs along after a file has replaced it.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What is done to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It was there; from now on the files manage it.
    Adopt,
    /// It is removed: the files described it before, and no longer.
    Delete,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// `event type`, `application`, `endpoint`, `source`.
    pub kind: &'static str,
    /// Its name in the files; its id when it is removed.
    pub name: String,
    /// The fields that change.
    pub fields: Vec<&'static str>,
}

/// A change, and what is written for it.
pub(super) struct Step {
    pub(super) change: Change,
    write: Write,
}

enum Write {
    EventType(Box<EventType>),
    Application(Box<Application>),
    /// With the uid of its application, which may be made in the same go.
    Endpoint(String, Box<Endpoint>, Option<SigningKey>),
    /// With the uid of its application; `None` for one of its own.
    Source(Option<String>, Box<Source>, bool),
    Remove(Managed),
}

const NO_APP: AppId = AppId([0; 20]);
const NO_TIME: Timestamp = Timestamp(0);

/// The steps from what is there to what is wanted.
pub(super) fn steps(
    directory: &Directory,
    org: OrgId,
    wanted: &Declaration,
) -> Result<Vec<Step>, Error> {
    let mut steps = Steps { directory, org, kept: BTreeSet::new(), found: Vec::new() };
    for (name, file) in &wanted.event_types {
        steps.event_type(name, file)?;
    }
    for (uid, file) in &wanted.applications {
        steps.application(uid, file)?;
        for (name, endpoint) in &file.endpoints {
            steps.endpoint(uid, name, endpoint)?;
        }
    }
    // What a source is checked with is known here only by the text that is going to be applied.
    let providers = Providers::builtin().extended(&wanted.providers.0).unwrap_or_default();
    for (uid, file) in &wanted.sources {
        steps.source(uid, file, &providers)?;
    }
    steps.removals()?;
    // What is removed may free a name for what takes its place.
    steps.found.sort_by_key(|step| step.change.action != Action::Delete);
    Ok(steps.found)
}

struct Steps<'s> {
    directory: &'s Directory,
    org: OrgId,
    /// What the declaration describes and is there.
    kept: BTreeSet<Managed>,
    found: Vec<Step>,
}

impl Steps<'_> {
    /// Notes a step, if there is anything to do: it is new, it changes, or the mark is missing.
    fn add(
        &mut self,
        kind: &'static str,
        name: String,
        old: Option<Managed>,
        fields: Vec<&'static str>,
        write: Write,
    ) -> Result<(), Error> {
        let action = match &old {
            None => Action::Create,
            Some(what) if !self.directory.is_managed(what)? => Action::Adopt,
            Some(_) if fields.is_empty() => {
                self.kept.extend(old);
                return Ok(());
            }
            Some(_) => Action::Update,
        };
        self.kept.extend(old);
        self.found.push(Step { change: Change { action, kind, name, fields }, write });
        Ok(())
    }

    fn event_type(&mut self, name: &str, file: &EventTypeFile) -> Result<(), Error> {
        let old = self.directory.event_type(self.org, name)?;
        let schedule = file.retry_schedule.as_ref();
        let new = EventType {
            org: self.org,
            name: name.to_owned(),
            description: file.description.clone(),
            archived: file.archived,
            deprecated: file.deprecated,
            schemas: old.as_ref().and_then(|old| old.schemas.clone()),
            feature_flags: file.feature_flags.clone(),
            group_name: file.group.clone(),
            retry_schedule: schedule.map(|spans| spans.iter().map(|span| span.0).collect()),
            created_at: old.as_ref().map_or(NO_TIME, |old| old.created_at),
            updated_at: old.as_ref().map_or(NO_TIME, |old| old.updated_at),
        };
        let fields = old.as_ref().map_or_else(Vec::new, |old| {
            changed(&[
                ("description", old.description != new.description),
                ("archived", old.archived != new.archived),
                ("deprecated", old.deprecated != new.deprecated),
                ("feature_flags", old.feature_flags != new.feature_flags),
                ("group", old.group_name != new.group_name),
                ("retry_schedule", old.retry_schedule != new.retry_schedule),
            ])
        });
        let old = old.map(|_| Managed::EventType(self.org, name.to_owned()));
        self.add("event type", name.to_owned(), old, fields, Write::EventType(Box::new(new)))
    }

    fn application(&mut self, uid: &str, file: &ApplicationFile) -> Result<(), Error> {
        let old = self.directory.find_tenant(self.org, uid)?.map(|t| Arc::clone(&t.app));
        let mut new = old.as_deref().cloned().unwrap_or_else(|| Application {
            uid: Some(uid.to_owned()),
            ..Application::new(NO_APP, self.org, NO_TIME)
        });
        new.name = file.name.clone().unwrap_or_else(|| uid.to_owned());
        new.throttle_rate = file.throttle_rate;
        new.metadata = marked(&file.metadata);
        let fields = old.as_deref().map_or_else(Vec::new, |old| {
            changed(&[
                ("name", old.name != new.name),
                ("throttle_rate", old.throttle_rate != new.throttle_rate),
                ("metadata", old.metadata != new.metadata),
            ])
        });
        let old = old.map(|app| Managed::Application(app.id));
        self.add("application", uid.to_owned(), old, fields, Write::Application(Box::new(new)))
    }

    fn endpoint(&mut self, app: &str, uid: &str, file: &EndpointFile) -> Result<(), Error> {
        let tenant = self.directory.find_tenant(self.org, app)?;
        let old = tenant.and_then(|tenant| tenant.endpoint(uid).cloned());
        let mut new = old.as_deref().cloned().unwrap_or_else(|| new_endpoint(uid));
        over_endpoint(&mut new, file);
        let key = file.secret.as_deref().and_then(|text| SigningKey::parse(text).ok());
        let fields = old.as_deref().map_or_else(Vec::new, |old| {
            let current = old.secrets.first().map(|secret| &secret.key);
            changed(&[
                ("url", old.url != new.url),
                ("description", old.description != new.description),
                ("event_types", old.event_types != new.event_types),
                ("channels", old.channels != new.channels),
                ("throttle_rate", old.throttle_rate != new.throttle_rate),
                ("ordered", old.ordered != new.ordered),
                ("enabled", old.disabled != new.disabled),
                ("headers", old.headers != new.headers),
                ("metadata", old.metadata != new.metadata),
                ("secret", key.is_some() && key.as_ref() != current),
            ])
        });
        let key = key.filter(|_| old.is_none() || fields.contains(&"secret"));
        let old = old.map(|endpoint| Managed::Endpoint(endpoint.id));
        let write = Write::Endpoint(app.to_owned(), Box::new(new), key);
        self.add("endpoint", format!("{app}/{uid}"), old, fields, write)
    }

    fn source(&mut self, uid: &str, file: &SourceFile, providers: &Providers) -> Result<(), Error> {
        let old = self.directory.find_source(self.org, uid)?;
        let mut new = old.as_deref().cloned().unwrap_or_else(|| {
            Source::new(SourceId([0; 20]), self.org, NO_APP, String::new(), NO_TIME)
        });
        over_source(&mut new, uid, file, providers);
        let mut moves = false;
        if let Some(old) = old.as_deref() {
            let target = match &file.application {
                Some(app) => self.directory.find_tenant(self.org, app)?.map(|t| t.app.id),
                None if old.owns_app => Some(old.app),
                None => None,
            };
            moves = target != Some(old.app);
        }
        let fields = old.as_deref().map_or_else(Vec::new, |old| {
            changed(&[
                ("provider", old.provider != new.provider),
                ("name", old.name != new.name),
                ("application", moves),
                ("secrets", old.secrets != new.secrets),
                ("settings", old.settings != new.settings),
                ("event_types", old.event_types != new.event_types),
                ("event_type_prefix", old.event_type_prefix != new.event_type_prefix),
                ("filter", old.filter != new.filter),
                ("keep_headers", old.keep_headers != new.keep_headers),
                ("url", old.url != new.url),
                ("max_body", old.max_body != new.max_body),
                ("rate", old.rate != new.rate),
                ("dedupe", old.dedupe != new.dedupe),
                ("enabled", old.enabled != new.enabled),
                ("token", old.token != new.token),
                ("metadata", old.metadata != new.metadata),
            ])
        });
        let places = old.is_none() || moves;
        let old = old.map(|source| Managed::Source(source.id));
        let write = Write::Source(file.application.clone(), Box::new(new), places);
        self.add("source", uid.to_owned(), old, fields, write)
    }

    /// What files described before and describe no longer.
    fn removals(&mut self) -> Result<(), Error> {
        // Sources and endpoints first: an application takes what is left along.
        let mut gone: Vec<Managed> = self.directory.managed()?;
        gone.retain(|what| !self.kept.contains(what));
        gone.sort_by_key(|what| match what {
            Managed::Source(_) => 0,
            Managed::Endpoint(_) => 1,
            Managed::Application(_) => 2,
            Managed::EventType(..) => 3,
        });
        for what in gone {
            let (kind, name) = match &what {
                Managed::Application(id) => {
                    let uid = self.directory.tenant(*id)?.and_then(|t| t.app.uid.clone());
                    ("application", uid.unwrap_or_else(|| id.to_string()))
                }
                Managed::Endpoint(id) => {
                    let uid = self.directory.endpoint(*id)?.and_then(|e| e.uid.clone());
                    ("endpoint", uid.unwrap_or_else(|| id.to_string()))
                }
                Managed::Source(id) => {
                    let uid = self.directory.source(*id)?.and_then(|s| s.uid.clone());
                    ("source", uid.unwrap_or_else(|| id.to_string()))
                }
                Managed::EventType(_, name) => ("event type", name.clone()),
            };
            let change = Change { action: Action::Delete, kind, name, fields: Vec::new() };
            self.found.push(Step { change, write: Write::Remove(what) });
        }
        Ok(())
    }
}

fn changed(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}

fn marked(metadata: &BTreeMap<String, String>) -> Metadata {
    let mut metadata = metadata.clone();
    metadata.insert(MARK.0.to_owned(), MARK.1.to_owned());
    metadata
}

fn new_endpoint(uid: &str) -> Endpoint {
    Endpoint {
        uid: Some(uid.to_owned()),
        ..Endpoint::new(EndpointId([0; 20]), NO_APP, "", NO_TIME)
    }
}

fn over_endpoint(endpoint: &mut Endpoint, file: &EndpointFile) {
    endpoint.url.clone_from(&file.url);
    endpoint.description.clone_from(&file.description);
    endpoint.event_types.clone_from(&file.event_types);
    endpoint.channels.clone_from(&file.channels);
    endpoint.throttle_rate = file.throttle_rate;
    endpoint.ordered = file.ordered;
    endpoint.headers.clone_from(&file.headers);
    endpoint.metadata = marked(&file.metadata);
    endpoint.disabled = match (&endpoint.disabled, file.enabled) {
        // A file says what people want; that its receiver is gone it cannot know.
        (Some(DisabledReason::Manual) | None, true) => None,
        (reason @ Some(_), _) => reason.clone(),
        (None, false) => Some(DisabledReason::Manual),
    };
}

/// Puts a file's description over a source: everything but ids, and a token it does not give.
pub(super) fn over_source(
    source: &mut Source,
    uid: &str,
    file: &SourceFile,
    providers: &Providers,
) {
    source.uid = Some(uid.to_owned());
    source.name = file.name.clone().unwrap_or_else(|| uid.to_owned());
    source.metadata = marked(&file.metadata);
    let learns = providers.get(&file.provider).is_some_and(Profile::learns_secret);
    // What a provider sent itself is not in any file.
    let keeps = learns && file.secrets.is_empty() && source.provider == file.provider;
    if !keeps {
        source.secrets = file.secrets.iter().cloned().map(SourceSecret).collect();
    }
    source.secret_pending = learns && source.secrets.is_empty();
    source.provider.clone_from(&file.provider);
    source.kind = None;
    source.settings.clone_from(&file.settings);
    source.event_types.clone_from(&file.event_types);
    source.event_type_prefix.clone_from(&file.event_type_prefix);
    source.filter.clone_from(&file.filter);
    source.keep_headers.clone_from(&file.keep_headers);
    source.url.clone_from(&file.url);
    let max_body = file.max_body.map_or(u64::from(DEFAULT_SOURCE_BODY), |size| size.0);
    source.max_body = u32::try_from(max_body).unwrap_or(u32::MAX);
    source.rate = file.rate;
    source.dedupe = file.dedupe.map_or(DEFAULT_DEDUPE, |span| span.0);
    source.enabled = file.enabled;
    if let Some(token) = &file.token {
        source.token.clone_from(token);
    }
}

/// Makes the difference. Called inside the commit thread; whatever could fail is tried first.
pub(super) fn apply(
    writer: &mut Writer<'_>,
    org: OrgId,
    wanted: &Declaration,
    profiles: &str,
) -> Result<Vec<Change>, Error> {
    let mut steps = steps(writer.directory(), org, wanted)?;
    for step in &mut steps {
        prepare(writer, &mut step.write)?;
    }
    writer.put_profiles(profiles)?;
    let mut done = Vec::with_capacity(steps.len());
    for step in steps {
        write(writer, org, step.write)?;
        done.push(step.change);
    }
    Ok(done)
}

/// Gives a source its token and tries it against all others; gives endpoints their key.
fn prepare(writer: &Writer<'_>, write: &mut Write) -> Result<(), Error> {
    match write {
        Write::Source(_, source, _) => {
            if source.token.is_empty() {
                source.token = crate::inbound::new_token().map_err(Error::Limit)?;
            }
            writer.check_source(source)
        }
        Write::Endpoint(_, endpoint, key) => {
            if endpoint.secrets.is_empty() && key.is_none() {
                let mut random = [0; 32];
                getrandom::fill(&mut random).map_err(|err| Error::Limit(err.to_string()))?;
                *key = Some(SigningKey::symmetric_from_random(random));
            }
            Ok(())
        }
        Write::EventType(_) | Write::Application(_) | Write::Remove(_) => Ok(()),
    }
}

fn write(writer: &mut Writer<'_>, org: OrgId, write: Write) -> Result<(), Error> {
    let now = writer.now();
    let born = |at: Timestamp| if at == NO_TIME { now } else { at };
    match write {
        Write::EventType(new) => {
            let what = Managed::EventType(org, new.name.clone());
            let created_at = born(new.created_at);
            writer.put_event_type(EventType { created_at, updated_at: now, ..*new })?;
            writer.set_managed(what, true)
        }
        Write::Application(mut new) => {
            if new.id == NO_APP {
                new.id = writer.new_application_id();
            }
            let (id, created_at) = (new.id, born(new.created_at));
            writer.put_application(Application { created_at, updated_at: now, ..*new })?;
            writer.set_managed(Managed::Application(id), true)
        }
        Write::Endpoint(app, mut new, key) => {
            if new.id == EndpointId([0; 20]) {
                new.id = writer.new_endpoint_id();
                new.app = writer.application(org, &app)?.id;
            }
            if let Some(key) = key {
                if let Some(current) = new.secrets.first_mut() {
                    current.expires_at = Some(now.plus(GRACE));
                }
                new.secrets.insert(0, LiveSecret { key, expires_at: None });
                new.secrets.truncate(OLD_SECRETS + 1);
            }
            let (id, created_at) = (new.id, born(new.created_at));
            writer.put_endpoint(Endpoint { created_at, updated_at: now, ..*new })?;
            writer.set_managed(Managed::Endpoint(id), true)
        }
        Write::Source(app, new, places) => write_source(writer, org, app, *new, places),
        Write::Remove(what) => remove(writer, org, what),
    }
}

fn write_source(
    writer: &mut Writer<'_>,
    org: OrgId,
    app: Option<String>,
    mut new: Source,
    places: bool,
) -> Result<(), Error> {
    let now = writer.now();
    if new.id == SourceId([0; 20]) {
        new.id = writer.new_source_id();
        new.created_at = now;
    }
    if places {
        (new.app, new.owns_app) = if let Some(app) = app {
            (writer.application(org, &app)?.id, false)
        } else {
            let own = Application {
                name: new.name.clone(),
                metadata: marked(&BTreeMap::new()),
                ..Application::new(writer.new_application_id(), org, now)
            };
            (writer.put_application(own)?.id, true)
        };
    }
    new.updated_at = now;
    let id = new.id;
    writer.put_source(new)?;
    writer.set_managed(Managed::Source(id), true)
}

fn remove(writer: &mut Writer<'_>, org: OrgId, what: Managed) -> Result<(), Error> {
    let now = writer.now();
    match &what {
        Managed::EventType(org, name) => writer.remove_event_type(*org, name)?,
        Managed::Source(id) => {
            if let Some(source) = writer.directory().source(*id)? {
                if source.owns_app {
                    let app = writer.application(org, &source.app.to_string())?;
                    let gone = Application::clone(&app);
                    writer.put_application(Application {
                        deleted: true,
                        updated_at: now,
                        ..gone
                    })?;
                } else {
                    writer.put_source(Source { deleted: true, ..Source::clone(&source) })?;
                }
            }
        }
        Managed::Endpoint(id) => {
            if let Some(endpoint) = writer.directory().endpoint(*id)? {
                let gone = Endpoint::clone(&endpoint);
                writer.put_endpoint(Endpoint { deleted: true, updated_at: now, ..gone })?;
            }
        }
        Managed::Application(id) => {
            if let Some(tenant) = writer.directory().tenant(*id)? {
                let gone = Application::clone(&tenant.app);
                writer.put_application(Application { deleted: true, updated_at: now, ..gone })?;
            }
        }
    }
    writer.set_managed(what, false)
}
