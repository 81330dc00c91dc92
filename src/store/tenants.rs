//! Applications, endpoints and event types: made, changed, deleted, loaded.
//!
//! The rules of the domain that need the whole directory (uniqueness, limits) are here; what can
//! be said of one request alone is checked by whoever parses it.

use std::sync::Arc;

use super::error::{Error, Result};
use super::operational::Happened;
use super::records::{self, ApplicationRecord, EndpointRecord, EventTypeRecord};
use super::trees::Tree;
use super::writer::Writer;
use super::{Shared, keys, long};
use crate::model::application::Application;
use crate::model::clock::Timestamp;
use crate::model::endpoint::Endpoint;
use crate::model::event_type::EventType;
use crate::model::id::{AppId, EndpointId, ID_BYTES, OrgId, TaskId};
use crate::model::limits::ENDPOINTS_PER_APPLICATION;

impl Writer<'_> {
    /// A new application id, later than every id before.
    pub fn new_application_id(&self) -> AppId {
        AppId(self.new_id())
    }

    /// A new endpoint id, later than every id before.
    pub fn new_endpoint_id(&self) -> EndpointId {
        EndpointId(self.new_id())
    }

    /// A new id for a background task.
    pub fn new_task_id(&self) -> TaskId {
        TaskId(self.new_id())
    }

    /// The application of `org` with this id or uid.
    pub fn application(&self, org: OrgId, id_or_uid: &str) -> Result<Arc<Application>> {
        let tenant = self.shared().directory.find_tenant(org, id_or_uid)?;
        tenant.map(|t| Arc::clone(&t.app)).ok_or(Error::NotFound("application"))
    }

    /// The endpoint of `app` with this id or uid.
    pub fn endpoint(&self, app: AppId, id_or_uid: &str) -> Result<Arc<Endpoint>> {
        let tenant = self.shared().directory.tenant(app)?.ok_or(Error::NotFound("application"))?;
        tenant.endpoint(id_or_uid).cloned().ok_or(Error::NotFound("endpoint"))
    }

    /// The endpoint with this id, whatever its application: for the simulator.
    #[cfg(test)]
    pub(crate) fn any_endpoint(&self, id: EndpointId) -> Result<Option<Arc<Endpoint>>> {
        self.shared().directory.endpoint(id)
    }

    /// The event type of `org` with this name, archived or not.
    pub fn event_type(&self, org: OrgId, name: &str) -> Result<Option<Arc<EventType>>> {
        self.shared().directory.event_type(org, name)
    }

    /// Writes an application, new or changed. Its uid must be free.
    pub fn put_application(&mut self, app: Application) -> Result<Arc<Application>> {
        let directory = &self.shared().directory;
        if let Some(uid) = app.uid.as_ref().filter(|_| !app.deleted)
            && directory.find_tenant(app.org, uid)?.is_some_and(|other| other.app.id != app.id)
        {
            return Err(Error::Conflict { field: "uid", value: uid.clone() });
        }
        let endpoints = if app.deleted {
            directory.tenant(app.id)?.map(|t| t.endpoints.clone()).unwrap_or_default()
        } else {
            std::collections::BTreeMap::new()
        };
        if app.deleted {
            self.delete_sources_of(app.id)?;
        }
        for endpoint in endpoints.into_values() {
            self.write_endpoint(Endpoint { deleted: true, ..Endpoint::clone(&endpoint) })?;
        }
        if app.deleted {
            self.remove_cursors(app.id)?;
        }
        let key = keys::application(app.org, app.id);
        let record = super::codec::encode(&ApplicationRecord::of(&app));
        self.put_long(Tree::Applications, &key, &record)?;
        let rate = app.throttle_rate.filter(|_| !app.deleted);
        self.events().rates.push((app.id, rate));
        let app = Arc::new(app);
        self.shared().directory.put_application(&app)?;
        Ok(app)
    }

    /// Writes an endpoint, new or changed. Its uid must be free and its application there.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) -> Result<Arc<Endpoint>> {
        let tenant = self.shared().directory.tenant(endpoint.app)?;
        let tenant = tenant.ok_or(Error::NotFound("application"))?;
        if let Some(uid) = endpoint.uid.as_ref().filter(|_| !endpoint.deleted)
            && tenant.endpoint(uid).is_some_and(|other| other.id != endpoint.id)
        {
            return Err(Error::Conflict { field: "uid", value: uid.clone() });
        }
        let is_new = !tenant.endpoints.contains_key(&endpoint.id);
        if is_new && tenant.endpoints.len() >= ENDPOINTS_PER_APPLICATION {
            return Err(Error::Limit(format!(
                "an application may have at most {ENDPOINTS_PER_APPLICATION} endpoints; delete some or use another application"
            )));
        }
        // While it is held here, the directory would have to copy it to change it.
        drop(tenant);
        let happened = match (is_new, endpoint.deleted) {
            (_, true) => Happened::Deleted,
            (true, false) => Happened::Created,
            (false, false) => Happened::Updated,
        };
        let endpoint = self.write_endpoint(endpoint)?;
        self.tell_of_endpoint(happened, &endpoint, None)?;
        Ok(endpoint)
    }

    /// Writes an endpoint whose rules were checked.
    pub(super) fn write_endpoint(&mut self, endpoint: Endpoint) -> Result<Arc<Endpoint>> {
        let key = keys::endpoint(endpoint.app, endpoint.id);
        let record = super::codec::encode(&EndpointRecord::of(&endpoint));
        let record = self.shared().sealer.seal(Tree::Endpoints, &key, record)?;
        self.put_long(Tree::Endpoints, &key, &record)?;
        let known = self.shared().directory.endpoint(endpoint.id)?;
        let enabled = endpoint.is_active() && known.is_none_or(|known| !known.is_active());
        if enabled || endpoint.deleted {
            // Whoever enables it again starts with a clean slate; any other change is no success.
            self.forget_failing(endpoint.id);
        }
        if endpoint.deleted || !endpoint.ordered {
            self.forget_last_in_queue(endpoint.id);
        }
        self.events().changed.push(endpoint.id);
        let endpoint = Arc::new(endpoint);
        self.shared().directory.put_endpoint(Arc::clone(&endpoint))?;
        Ok(endpoint)
    }

    /// Writes an event type, new or changed.
    pub fn put_event_type(&mut self, event_type: EventType) -> Result<Arc<EventType>> {
        let key = keys::named(&event_type.org.0, &event_type.name);
        let record = super::codec::encode(&EventTypeRecord::of(&event_type));
        self.put_long(Tree::EventTypes, &key, &record)?;
        let event_type = Arc::new(event_type);
        self.shared().directory.put_event_type(Arc::clone(&event_type))?;
        Ok(event_type)
    }

    /// Removes an event type for good.
    pub fn remove_event_type(&mut self, org: OrgId, name: &str) -> Result<()> {
        self.remove_long(Tree::EventTypes, &keys::named(&org.0, name))?;
        self.shared().directory.remove_event_type(org, name)
    }
}

/// Fills the directory from the trees, when the store is opened.
pub(super) fn load(shared: &Shared) -> Result<()> {
    let damaged = |tree: Tree| Error::corrupt(tree.name(), "a key has the wrong length");
    long::for_each(&shared.trees, Tree::Applications, |key, value| {
        let (org, id) = keys::split_pair(key).ok_or_else(|| damaged(Tree::Applications))?;
        let record: ApplicationRecord = records::read(Tree::Applications, value)?;
        shared.directory.put_application(&Arc::new(record.into_domain(OrgId(org), AppId(id))))
    })?;
    long::for_each(&shared.trees, Tree::Endpoints, |key, value| {
        let (app, id) = keys::split_pair(key).ok_or_else(|| damaged(Tree::Endpoints))?;
        let value = shared.sealer.open(Tree::Endpoints, key, value)?;
        let record: EndpointRecord = records::read(Tree::Endpoints, &value)?;
        let endpoint = record.into_domain(AppId(app), EndpointId(id))?;
        shared.directory.put_endpoint(Arc::new(endpoint))
    })?;
    long::for_each(&shared.trees, Tree::EventTypes, |key, value| {
        let (org, name) =
            key.split_at_checked(ID_BYTES).ok_or_else(|| damaged(Tree::EventTypes))?;
        let org = OrgId(org.try_into().map_err(|_| damaged(Tree::EventTypes))?);
        let name = String::from_utf8(name.to_vec()).map_err(|_| damaged(Tree::EventTypes))?;
        let record: EventTypeRecord = records::read(Tree::EventTypes, value)?;
        shared.directory.put_event_type(Arc::new(record.into_domain(org, name)))
    })?;
    for row in shared.trees.walk(Tree::EndpointHealth) {
        let (key, value) = row?;
        let id = key.as_ref().try_into().map_err(|_| damaged(Tree::EndpointHealth))?;
        let since: u64 = records::read(Tree::EndpointHealth, &value)?;
        let mut failing =
            shared.failing_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failing.insert(EndpointId(id), Timestamp(since));
    }
    Ok(())
}
