//! The directory: applications, endpoints and event types in memory.
//!
//! Read by every request and every message; changed only by the commit thread, in the same piece
//! of work that stages the rows. Uniqueness of uids is decided here, so no index rows for it are
//! kept on disk: they could only ever repeat what the records say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};

use super::error::{Error, Result};
use super::managed::Managed;
use crate::model::application::Application;
use crate::model::endpoint::SharedEndpoint;
use crate::model::event_type::EventType;
use crate::model::id::{AppId, EndpointId, OrgId, SourceId};
use crate::model::matching::Matcher;
use crate::model::source::Source;

/// An application and its endpoints that are not deleted.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The application.
    pub app: Arc<Application>,
    /// Its endpoints, oldest first.
    pub endpoints: BTreeMap<EndpointId, SharedEndpoint>,
    uids: HashMap<String, EndpointId>,
    matcher: OnceLock<Arc<Matcher>>,
}

impl Tenant {
    fn new(app: Arc<Application>) -> Self {
        Self { app, endpoints: BTreeMap::new(), uids: HashMap::new(), matcher: OnceLock::new() }
    }

    /// The index over its endpoints, built when it is first asked for after a change.
    pub fn matcher(&self) -> &Matcher {
        self.matcher.get_or_init(|| Arc::new(Matcher::new(self.endpoints.values())))
    }

    /// The endpoint with this id or uid.
    pub fn endpoint(&self, id_or_uid: &str) -> Option<&SharedEndpoint> {
        let id = id_or_uid.parse().ok().or_else(|| self.uids.get(id_or_uid).copied())?;
        self.endpoints.get(&id)
    }
}

#[derive(Debug, Default)]
struct Maps {
    tenants: HashMap<AppId, Arc<Tenant>>,
    /// Every application that is not deleted, in the order of its organisation's ids.
    by_org: BTreeSet<(OrgId, AppId)>,
    app_uids: HashMap<(OrgId, String), AppId>,
    owners: HashMap<EndpointId, AppId>,
    event_types: BTreeMap<(OrgId, String), Arc<EventType>>,
    sources: HashMap<SourceId, Arc<Source>>,
    sources_by_org: BTreeSet<(OrgId, SourceId)>,
    source_uids: HashMap<(OrgId, String), SourceId>,
    source_tokens: HashMap<String, SourceId>,
    managed: BTreeSet<Managed>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Directory {
    maps: RwLock<Maps>,
}

impl Directory {
    fn read(&self) -> Result<RwLockReadGuard<'_, Maps>> {
        // Poisoned only by a panic in the commit thread, and that stops the process.
        self.maps.read().map_err(|_| Error::Closing)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Maps) -> T) -> Result<T> {
        Ok(change(&mut *self.maps.write().map_err(|_| Error::Closing)?))
    }

    /// The application with this id, whatever its organisation.
    pub fn tenant(&self, id: AppId) -> Result<Option<Arc<Tenant>>> {
        Ok(self.read()?.tenants.get(&id).cloned())
    }

    /// The application of `org` with this id or uid.
    pub fn find_tenant(&self, org: OrgId, id_or_uid: &str) -> Result<Option<Arc<Tenant>>> {
        let maps = self.read()?;
        let id = match id_or_uid.parse::<AppId>() {
            Ok(id) => Some(id),
            Err(_) => maps.app_uids.get(&(org, id_or_uid.to_owned())).copied(),
        };
        Ok(id.and_then(|id| maps.tenants.get(&id)).filter(|t| t.app.org == org).cloned())
    }

    /// The endpoint with this id, if neither it nor its application is deleted.
    pub fn endpoint(&self, id: EndpointId) -> Result<Option<SharedEndpoint>> {
        let maps = self.read()?;
        let tenant = maps.owners.get(&id).and_then(|app| maps.tenants.get(app));
        Ok(tenant.and_then(|t| t.endpoints.get(&id)).cloned())
    }

    /// Ids of all endpoints that are not deleted.
    pub fn endpoint_ids(&self) -> Result<Vec<EndpointId>> {
        Ok(self.read()?.owners.keys().copied().collect())
    }

    /// Applications of `org` after (or, descending, before) `from`, at most `limit`.
    pub fn applications(
        &self,
        org: OrgId,
        from: Option<AppId>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Arc<Application>>> {
        use std::ops::Bound::{Excluded, Included};
        let maps = self.read()?;
        let (first, last) = ((org, AppId([0; 20])), (org, AppId([255; 20])));
        let app = |(_, id): &(OrgId, AppId)| maps.tenants.get(id).map(|t| Arc::clone(&t.app));
        Ok(if descending {
            let end = from.map_or(Included(last), |id| Excluded((org, id)));
            maps.by_org.range((Included(first), end)).rev().filter_map(app).take(limit).collect()
        } else {
            let start = from.map_or(Included(first), |id| Excluded((org, id)));
            maps.by_org.range((start, Included(last))).filter_map(app).take(limit).collect()
        })
    }

    /// Ids of all applications that are not deleted.
    pub fn application_ids(&self) -> Result<Vec<AppId>> {
        Ok(self.read()?.by_org.iter().map(|(_, id)| *id).collect())
    }

    /// The event type of `org` with this name, archived or not.
    pub fn event_type(&self, org: OrgId, name: &str) -> Result<Option<Arc<EventType>>> {
        Ok(self.read()?.event_types.get(&(org, name.to_owned())).cloned())
    }

    /// All event types of `org`, by name.
    pub fn event_types(&self, org: OrgId) -> Result<Vec<Arc<EventType>>> {
        let maps = self.read()?;
        let mine = maps.event_types.range((org, String::new())..);
        Ok(mine.take_while(|((o, _), _)| *o == org).map(|(_, e)| Arc::clone(e)).collect())
    }

    /// Puts an application in, or its new state in place of the old.
    pub(super) fn put_application(&self, app: &Arc<Application>) -> Result<()> {
        self.change(|maps| {
            if let Some(old) = maps.tenants.get(&app.id)
                && let Some(uid) = &old.app.uid
            {
                maps.app_uids.remove(&(app.org, uid.clone()));
            }
            if app.deleted {
                maps.by_org.remove(&(app.org, app.id));
                if let Some(tenant) = maps.tenants.remove(&app.id) {
                    for id in tenant.endpoints.keys() {
                        maps.owners.remove(id);
                    }
                }
                return;
            }
            if let Some(uid) = &app.uid {
                maps.app_uids.insert((app.org, uid.clone()), app.id);
            }
            maps.by_org.insert((app.org, app.id));
            let tenant = match maps.tenants.get(&app.id) {
                Some(old) => Tenant { app: Arc::clone(app), ..Tenant::clone(old) },
                None => Tenant::new(Arc::clone(app)),
            };
            maps.tenants.insert(app.id, Arc::new(tenant));
        })
    }

    /// Puts an endpoint in, or its new state in place of the old.
    pub(super) fn put_endpoint(&self, endpoint: SharedEndpoint) -> Result<()> {
        self.change(|maps| {
            let Some(tenant) = maps.tenants.get_mut(&endpoint.app) else { return };
            let tenant = Arc::make_mut(tenant);
            tenant.matcher = OnceLock::new();
            let old = tenant.endpoints.remove(&endpoint.id);
            if let Some(uid) = old.as_ref().and_then(|e| e.uid.as_ref()) {
                tenant.uids.remove(uid);
            }
            if endpoint.deleted {
                maps.owners.remove(&endpoint.id);
                return;
            }
            if let Some(uid) = &endpoint.uid {
                tenant.uids.insert(uid.clone(), endpoint.id);
            }
            maps.owners.insert(endpoint.id, endpoint.app);
            tenant.endpoints.insert(endpoint.id, endpoint);
        })
    }

    /// Puts an event type in, or its new state in place of the old.
    pub(super) fn put_event_type(&self, event_type: Arc<EventType>) -> Result<()> {
        let key = (event_type.org, event_type.name.clone());
        self.change(|maps| maps.event_types.insert(key, event_type)).map(|_| ())
    }

    /// Takes an event type out.
    pub(super) fn remove_event_type(&self, org: OrgId, name: &str) -> Result<()> {
        self.change(|maps| maps.event_types.remove(&(org, name.to_owned()))).map(|_| ())
    }

    /// The source with this id.
    pub fn source(&self, id: SourceId) -> Result<Option<Arc<Source>>> {
        Ok(self.read()?.sources.get(&id).cloned())
    }

    /// The source whose URL ends with this token, or did before a rotation.
    pub fn source_by_token(&self, token: &str) -> Result<Option<Arc<Source>>> {
        let maps = self.read()?;
        Ok(maps.source_tokens.get(token).and_then(|id| maps.sources.get(id)).cloned())
    }

    /// The source of `org` with this id or uid.
    pub fn find_source(&self, org: OrgId, id_or_uid: &str) -> Result<Option<Arc<Source>>> {
        let maps = self.read()?;
        let id = match id_or_uid.parse::<SourceId>() {
            Ok(id) => Some(id),
            Err(_) => maps.source_uids.get(&(org, id_or_uid.to_owned())).copied(),
        };
        Ok(id.and_then(|id| maps.sources.get(&id)).filter(|s| s.org == org).cloned())
    }

    /// All sources of `org`, oldest first.
    pub fn sources(&self, org: OrgId) -> Result<Vec<Arc<Source>>> {
        let maps = self.read()?;
        let mine = maps.sources_by_org.range((org, SourceId([0; 20]))..);
        let mine = mine.take_while(|(o, _)| *o == org);
        Ok(mine.filter_map(|(_, id)| maps.sources.get(id).cloned()).collect())
    }

    /// All sources that deliver to `app`.
    pub fn sources_of(&self, app: AppId) -> Result<Vec<Arc<Source>>> {
        Ok(self.read()?.sources.values().filter(|s| s.app == app).cloned().collect())
    }

    /// Whether the configuration's files manage this.
    pub fn is_managed(&self, what: &Managed) -> Result<bool> {
        Ok(self.read()?.managed.contains(what))
    }

    /// All that the configuration's files manage.
    pub fn managed(&self) -> Result<Vec<Managed>> {
        Ok(self.read()?.managed.iter().cloned().collect())
    }

    /// Marks something as managed by files, or no longer so.
    pub(super) fn set_managed(&self, what: Managed, managed: bool) -> Result<()> {
        self.change(
            |maps| if managed { maps.managed.insert(what) } else { maps.managed.remove(&what) },
        )
        .map(drop)
    }

    /// Puts a source in, or its new state in place of the old.
    pub(super) fn put_source(&self, source: Arc<Source>) -> Result<()> {
        self.change(|maps| {
            if let Some(old) = maps.sources.remove(&source.id) {
                maps.source_tokens.remove(&old.token);
                if let Some((token, _)) = &old.previous_token {
                    maps.source_tokens.remove(token);
                }
                if let Some(uid) = &old.uid {
                    maps.source_uids.remove(&(old.org, uid.clone()));
                }
            }
            let key = (source.org, source.id);
            if source.deleted {
                maps.sources_by_org.remove(&key);
                return;
            }
            if let Some(uid) = &source.uid {
                maps.source_uids.insert((source.org, uid.clone()), source.id);
            }
            if let Some((token, _)) = &source.previous_token {
                maps.source_tokens.insert(token.clone(), source.id);
            }
            maps.source_tokens.insert(source.token.clone(), source.id);
            maps.sources_by_org.insert(key);
            maps.sources.insert(source.id, source);
        })
    }

    /// How many applications and endpoints there are.
    pub fn counts(&self) -> Result<(usize, usize)> {
        let maps = self.read()?;
        Ok((maps.tenants.len(), maps.owners.len()))
    }
}
