//! The set of profiles: the built-in ones, and a user's own beside them.

use super::key::Secret;
use super::profile::Profile;
use super::reader::Problem;
use super::reason::Rejection;
use super::request::Request;
use super::table;
use super::verify::Verified;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The table that the built-in profiles come from.
const BUILTIN: &str = include_str!("../../data/providers.toml");

/// Profiles by name.
#[derive(Debug, Clone, Default)]
pub struct Providers {
    profiles: BTreeMap<String, Profile>,
}

/// What one profile says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The profile's name.
    pub profile: String,
    /// Its verdict.
    pub verdict: Result<Verified, Rejection>,
}

impl Providers {
    /// The profiles that come with the program, read once.
    pub fn builtin() -> &'static Self {
        #[expect(clippy::expect_used, reason = "the table is part of the program, and tested")]
        static PROVIDERS: LazyLock<Providers> =
            LazyLock::new(|| Providers::parse(BUILTIN).expect("the built-in table"));
        &PROVIDERS
    }

    /// Reads a table on its own; the error is every problem in it, in the order of the lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Ok(Self { profiles: table::parse(text, &BTreeMap::new())? })
    }

    /// These profiles and those of `text`, which may alias them and replace those of their name.
    pub fn extended(&self, text: &str) -> Result<Self, Vec<Problem>> {
        let mut profiles = self.profiles.clone();
        profiles.extend(table::parse(text, &self.profiles)?);
        Ok(Self { profiles })
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// All profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// What every profile that can use the secrets says about the request: for a person who does
    /// not know how it was signed. Never a way to accept one.
    pub fn try_all(
        &self,
        request: &Request<'_>,
        secrets: &[&str],
        cfg: &BTreeMap<String, String>,
        now_ms: u64,
    ) -> Vec<Trial> {
        let trial = |profile: &Profile| {
            let usable = secrets.iter().filter_map(|text| profile.secret(text).ok());
            let usable: Vec<Secret> = usable.collect();
            let verdict = profile.verify(request, &usable, cfg, now_ms);
            let profile = profile.name.clone();
            (!usable.is_empty()).then_some(Trial { profile, verdict })
        };
        self.iter().filter_map(trial).collect()
    }
}
