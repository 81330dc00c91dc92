//! The verifier at its boundary: real requests of every provider, and what must not pass.

mod handshakes;
mod refusals;
mod tables;
mod vectors;

use super::{Profile, Providers, Rejection, Request, Secret, Verified};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One request of `tests/fixtures/vectors/inbound.json`, genuine at its time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) note: String,
    pub(crate) method: String,
    pub(crate) url: String,
    #[serde(deserialize_with = "pairs")]
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_b64: Option<String>,
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
    pub(crate) secrets: Vec<String>,
    #[serde(default)]
    pub(crate) cfg: BTreeMap<String, String>,
    /// Unix seconds.
    pub(crate) now: u64,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
}

fn pairs<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
    let map = BTreeMap::<String, String>::deserialize(d)?;
    Ok(map.into_iter().map(|(name, value)| (name, value.into_bytes())).collect())
}

pub(crate) fn vectors() -> Vec<Vector> {
    let text = include_str!("../../../tests/fixtures/vectors/inbound.json");
    let mut all: Vec<Vector> = serde_json::from_str(text).unwrap();
    for vector in &mut all {
        vector.bytes = match (&vector.body, &vector.body_b64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => STANDARD.decode(text).unwrap(),
            _ => panic!("{} needs one body", vector.label()),
        };
    }
    all
}

/// The first vector of a provider whose note contains `note`.
pub(super) fn vector(provider: &str, note: &str) -> Vector {
    let mut all = vectors().into_iter();
    let found = all.find(|vector| vector.provider == provider && vector.note.contains(note));
    found.unwrap_or_else(|| panic!("no vector of {provider} with {note}"))
}

impl Vector {
    pub(super) fn label(&self) -> String {
        format!("{} ({})", self.provider, self.note)
    }

    pub(super) fn profile(&self) -> &'static Profile {
        Providers::builtin().get(&self.provider).unwrap()
    }

    pub(super) fn loaded(&self) -> Vec<Secret> {
        self.secrets.iter().map(|text| self.profile().secret(text).unwrap()).collect()
    }

    pub(super) fn request(&self) -> Request<'_> {
        let Self { method, url, headers, bytes, .. } = self;
        Request { method, url, headers, body: bytes }
    }

    pub(super) fn verify_at(&self, now_ms: u64) -> Result<Verified, Rejection> {
        self.profile().verify(&self.request(), &self.loaded(), &self.cfg, now_ms)
    }

    pub(super) fn verify(&self) -> Result<Verified, Rejection> {
        self.verify_at(self.now * 1000)
    }

    /// The refusal of [`Vector::verify`], looked at closer.
    pub(super) fn explained(&self) -> Rejection {
        let rejection = self.verify().unwrap_err();
        let now_ms = self.now * 1000;
        self.profile().explain(rejection, &self.request(), &self.loaded(), &self.cfg, now_ms)
    }

    /// The reason code of the refusal; panics when it is accepted.
    pub(super) fn refusal(&self) -> String {
        match self.verify() {
            Ok(verified) => panic!("{} was accepted: {verified:?}", self.label()),
            Err(rejection) => rejection.reason.code().into_owned(),
        }
    }

    pub(super) fn header(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        let mut all = self.headers.iter_mut();
        all.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }

    pub(super) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    pub(super) fn replace_in_body(&mut self, from: &str, to: &str) {
        let text = String::from_utf8(self.bytes.clone()).unwrap();
        assert!(text.contains(from), "{} has no {from} in {text}", self.label());
        self.bytes = text.replace(from, to).into_bytes();
    }
}
