//! Event types, applications, endpoints and sources as files: `conf.d/*.toml` beside the
//! configuration file, and what `posthaste plan` and `apply` send.
//!
//! [`read`] makes one [`Declaration`] of a folder, [`check`] says everything that is wrong with it,
//! [`plan`] finds the difference to what the store has and makes it, in one commit or not at all.
//! What a file described and describes no longer is removed; what the API made is left alone.

mod check;
pub mod declaration;
mod plan;
pub mod read;
mod reload;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

pub use declaration::Declaration;
pub use plan::{Action, Change};
pub(super) use reload::Reloader;

use crate::api::Declared;
use crate::config::problem::{Problem, Problems};
use crate::delivery::AddressPolicy;
use crate::inbound::Inbound;
use crate::model::id::OrgId;
use crate::signature::Providers;
use crate::store::Store;

use check::Rules;
use read::Lines;

/// Where declarations go: the store, under the daemon's own rules.
pub struct Files {
    store: Arc<Store>,
    inbound: Arc<Inbound>,
    https_only: bool,
    policy: AddressPolicy,
    /// The folder the daemon is run from, if it is there: then only that folder decides.
    folder: OnceLock<PathBuf>,
}

/// Why a declaration was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

impl Files {
    /// For `store`, whose doors are `inbound`.
    pub fn new(
        store: Arc<Store>,
        inbound: Arc<Inbound>,
        https_only: bool,
        policy: AddressPolicy,
    ) -> Self {
        Self { store, inbound, https_only, policy, folder: OnceLock::new() }
    }

    /// Uses the operator's own profiles as they were last applied.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn restore_profiles(&self) -> Result<(), crate::store::Error> {
        let text = self.store.profiles()?;
        match Providers::builtin().extended(&text) {
            Ok(providers) => self.inbound.set_providers(providers),
            Err(problems) => {
                tracing::error!(problem = %problems.first().map(ToString::to_string).unwrap_or_default(), "the kept profiles cannot be used");
            }
        }
        Ok(())
    }

    /// The difference between a declaration and what is there.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn plan(&self, wanted: &Declaration, lines: &Lines) -> Result<Vec<Change>, Refused> {
        self.checked(wanted, lines)?;
        let steps = plan::steps(self.store.directory(), OrgId::default_org(), wanted)?;
        Ok(steps.into_iter().map(|step| step.change).collect())
    }

    /// Makes the difference, whole or not at all.
    ///
    /// # Errors
    /// Everything that is wrong with it, or what the store says. Nothing is changed then.
    pub fn apply(&self, wanted: &Declaration, lines: &Lines) -> Result<Vec<Change>, Refused> {
        let providers = self.checked(wanted, lines)?;
        let plan = self.plan(wanted, lines)?;
        let profiles = wanted.providers.0.clone();
        if plan.is_empty() && self.store.profiles()? == profiles {
            return Ok(plan);
        }
        let wanted = wanted.clone();
        let changes = self.store.write_and_wait(move |writer| {
            plan::apply(writer, OrgId::default_org(), &wanted, &profiles)
        })?;
        self.inbound.set_providers(providers);
        Ok(changes)
    }

    fn checked(&self, wanted: &Declaration, lines: &Lines) -> Result<Providers, Problems> {
        let directory = self.store.directory();
        let org = OrgId::default_org();
        let rules = Rules {
            https_only: self.https_only,
            policy: &self.policy,
            has_event_type: &|name| {
                directory.event_type(org, name).is_ok_and(|t| t.is_some_and(|t| !t.archived))
            },
            has_application: &|name| directory.find_tenant(org, name).is_ok_and(|t| t.is_some()),
        };
        check::check(wanted, lines, &rules)
    }
}

/// Everything that is wrong with a declaration, as far as it can be said without a daemon: that
/// names it refers to may be known there is believed.
///
/// # Errors
/// The problems, with file and line.
pub fn check_alone(
    wanted: &Declaration,
    lines: &Lines,
    https_only: bool,
    policy: &AddressPolicy,
) -> Result<(), Problems> {
    let rules = Rules { https_only, policy, has_event_type: &|_| true, has_application: &|_| true };
    check::check(wanted, lines, &rules).map(drop)
}

/// What may be dialled, by the operator's list: what endpoints of a declaration are held to.
///
/// # Errors
/// A range that cannot be read.
pub fn policy(config: &crate::config::Config) -> anyhow::Result<AddressPolicy> {
    super::settings::policy(config)
}

/// What the API calls for `posthaste plan` and `apply`.
impl Declared for Files {
    fn plan(&self, body: &[u8]) -> Result<serde_json::Value, Vec<String>> {
        let wanted = parse(body)?;
        let plan = Self::plan(self, &wanted, &Lines::default()).map_err(|err| sentences(&err))?;
        serde_json::to_value(plan).map_err(|err| vec![err.to_string()])
    }

    fn apply(&self, body: &[u8]) -> Result<serde_json::Value, Vec<String>> {
        if let Some(folder) = self.folder.get().filter(|folder| folder.is_dir()) {
            return Err(vec![format!(
                "this daemon is run from the files in {}: change those, it applies them by itself",
                folder.display()
            )]);
        }
        let wanted = parse(body)?;
        let done = Self::apply(self, &wanted, &Lines::default()).map_err(|err| sentences(&err))?;
        serde_json::to_value(done).map_err(|err| vec![err.to_string()])
    }
}

fn parse(body: &[u8]) -> Result<Declaration, Vec<String>> {
    serde_json::from_slice(body)
        .map_err(|err| vec![format!("the declaration cannot be read: {err}")])
}

fn sentences(refused: &Refused) -> Vec<String> {
    match refused {
        Refused::Problems(Problems(all)) => all.iter().map(Problem::to_string).collect(),
        Refused::Store(err) => vec![err.to_string()],
    }
}
