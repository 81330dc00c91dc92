//! What the configuration's files manage: marks beside the records, so that the API can tell, and
//! so that what is no longer in the files can be found.

use super::error::{Error, Result};
use super::trees::Tree;
use super::writer::Writer;
use super::{Shared, Store, keys};
use crate::model::id::{AppId, EndpointId, ID_BYTES, OrgId, SourceId};

/// Bytes of the operator's own provider profiles: they stand in one row.
pub const PROFILES_BYTES: usize = 10 * 1024;

/// The row with the operator's own provider profiles.
const PROFILES: &[u8] = &[0];

/// Something that files may manage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Managed {
    /// An application.
    Application(AppId),
    /// An endpoint.
    Endpoint(EndpointId),
    /// A source.
    Source(SourceId),
    /// An event type, by its name.
    EventType(OrgId, String),
}

impl Managed {
    fn key(&self) -> Vec<u8> {
        let tagged = |tag: u8, id: &[u8]| [&[tag], id].concat();
        match self {
            Self::Application(id) => tagged(1, &id.0),
            Self::Endpoint(id) => tagged(2, &id.0),
            Self::Source(id) => tagged(3, &id.0),
            Self::EventType(org, name) => tagged(4, &keys::named(&org.0, name)),
        }
    }

    fn of(key: &[u8]) -> Option<Self> {
        let (tag, rest) = key.split_first()?;
        let id: Option<[u8; ID_BYTES]> = rest.try_into().ok();
        match tag {
            1 => Some(Self::Application(AppId(id?))),
            2 => Some(Self::Endpoint(EndpointId(id?))),
            3 => Some(Self::Source(SourceId(id?))),
            4 => {
                let (org, name) = rest.split_first_chunk::<ID_BYTES>()?;
                Some(Self::EventType(OrgId(*org), String::from_utf8(name.to_vec()).ok()?))
            }
            _ => None,
        }
    }
}

impl Writer<'_> {
    /// Marks something as managed by files, or no longer so.
    pub fn set_managed(&mut self, what: Managed, managed: bool) -> Result<()> {
        if managed == self.shared().directory.is_managed(&what)? {
            return Ok(());
        }
        if managed {
            self.put(Tree::Managed, &what.key(), &[]);
        } else {
            self.remove(Tree::Managed, &what.key());
        }
        self.shared().directory.set_managed(what, managed)
    }

    /// Keeps the operator's own provider profiles, so that a start with a bad file still has them.
    pub fn put_profiles(&mut self, text: &str) -> Result<()> {
        if text.len() > PROFILES_BYTES {
            return Err(Error::Limit(format!(
                "the profiles have {} bytes, at most {PROFILES_BYTES} are taken",
                text.len()
            )));
        }
        self.put(Tree::Managed, PROFILES, text.as_bytes());
        Ok(())
    }
}

impl Store {
    /// The operator's own provider profiles, as they were last applied.
    pub fn profiles(&self) -> Result<String> {
        let row = self.shared.trees.tree(Tree::Managed).get(PROFILES)?;
        Ok(row.map(|row| String::from_utf8_lossy(&row).into_owned()).unwrap_or_default())
    }
}

/// Fills the directory with the marks, when the store is opened.
pub(super) fn load(shared: &Shared) -> Result<()> {
    for row in shared.trees.walk(Tree::Managed) {
        let (key, _) = row?;
        if *key == *PROFILES {
            continue;
        }
        let what =
            Managed::of(&key).ok_or_else(|| Error::corrupt("managed", "a key cannot be read"))?;
        shared.directory.set_managed(what, true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for what in [
            Managed::Application(AppId([1; 20])),
            Managed::Endpoint(EndpointId([2; 20])),
            Managed::Source(SourceId([3; 20])),
            Managed::EventType(OrgId([4; 20]), "order.paid".to_owned()),
        ] {
            assert_eq!(Managed::of(&what.key()), Some(what));
        }
        assert_eq!(Managed::of(PROFILES), None);
        assert_eq!(Managed::of(&[9; 21]), None);
    }
}
