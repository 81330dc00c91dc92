//! Rows that hold secrets, sealed with the operator's key (`server.encryption_key`).
//!
//! XChaCha20-Poly1305 over the whole value of a row. What is authenticated beside it is the table
//! and the row's key, so a sealed value cannot be moved to another endpoint. Sealed and clear rows
//! differ in their first byte and may stand side by side: a store that gets a key, or another one, is
//! rewritten by [`settle`] when it is opened, before anything is read from it.
//!
//! Sealed are the tables of [`ROWS`] and [`RECORDS`]: endpoints (secrets, headers, URL), sources (secrets, tokens,
//! settings), kept answers that may hold a token, refused requests with their headers. Payloads and
//! answers of receivers are not: they are what the operator looks at.
//!
//! Used inside the store alone.

use std::borrow::Cow;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::error::{Error, Result};
use super::long;
use super::trees::{Tree, Trees};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// The first byte of a sealed value. Clear ones begin with the version of their record.
const SEALED_TAG: u8 = 0xE1;
const KEY_ID_BYTES: usize = 4;
/// Long enough to be chosen by chance for as many rows as there will ever be.
const NONCE_BYTES: usize = 24;
/// The row in `meta` with the id of the key that everything is sealed with.
const META_KEY: &[u8] = b"sealed_with";

/// The tables that are sealed row by row.
const ROWS: [Tree; 3] = [Tree::Sources, Tree::Refused, Tree::RefusedBytes];
/// The tables whose records are sealed whole, and then may take several rows.
const RECORDS: [Tree; 2] = [Tree::Endpoints, Tree::Idempotency];

/// The keys a store is opened with. `Debug` shows their ids alone.
#[derive(Clone, Default)]
pub struct Keys {
    /// What is written is sealed with it; `None` = written in clear.
    pub current: Option<[u8; KEY_BYTES]>,
    /// The key before it: what it sealed can still be read, and is sealed anew.
    pub old: Option<[u8; KEY_BYTES]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = |key: &Option<[u8; KEY_BYTES]>| key.as_ref().map(|key| show(KeyId::of(key)));
        let (current, old) = (id(&self.current), id(&self.old));
        f.debug_struct("Keys").field("current", &current).field("old", &old).finish()
    }
}

/// Tells keys apart without saying anything of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"posthaste key id");
        context.update(key);
        let digest = context.finish();
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

fn show(id: KeyId) -> String {
    format!("{:08x}", u32::from_be_bytes(id.0))
}

/// Seals and opens values.
pub(super) struct Sealer {
    current: Option<(KeyId, XChaCha20Poly1305)>,
    old: Option<(KeyId, XChaCha20Poly1305)>,
}

impl Sealer {
    pub(super) fn new(keys: &Keys) -> Self {
        let made = |key: &Option<[u8; KEY_BYTES]>| {
            key.as_ref().map(|key| (KeyId::of(key), XChaCha20Poly1305::new(key.into())))
        };
        Self { current: made(&keys.current), old: made(&keys.old) }
    }

    /// The value as it is to be written under `key`: sealed, or as it is when there is no key.
    ///
    /// Errors: the system has no random bytes. A nonce must never come twice.
    pub(super) fn seal(&self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<Vec<u8>> {
        let Some((id, cipher)) = &self.current else { return Ok(value) };
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|err| Error::io("sealing a secret", err))?;
        let aad = associated(tree, key, *id);
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &value, aad: &aad })
            .map_err(|_| Error::io("sealing a secret", "the value is too long"))?;
        Ok([&[SEALED_TAG][..], &id.0, &nonce, &sealed].concat())
    }

    /// The value that was written under `key`, whether it was sealed or not.
    ///
    /// Errors: sealed with a key that is not here, or not what was sealed there.
    pub(super) fn open<'v>(
        &self,
        tree: Tree,
        key: &[u8],
        value: &'v [u8],
    ) -> Result<Cow<'v, [u8]>> {
        if value.first() != Some(&SEALED_TAG) {
            return Ok(Cow::Borrowed(value));
        }
        let cut = || Error::corrupt(tree.name(), "a sealed row is cut off");
        let rest = value.get(1..).unwrap_or_default();
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or_else(cut)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(cut)?;
        let id = KeyId(*id);
        let held = self.current.iter().chain(&self.old).find(|(held, _)| *held == id);
        let (_, cipher) = held.ok_or_else(|| self.wrong_key(id))?;
        let aad = associated(tree, key, id);
        let opened = cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad });
        opened.map(Cow::Owned).map_err(|_| {
            Error::corrupt(tree.name(), "a sealed row was changed, or was moved from another place")
        })
    }

    fn wrong_key(&self, needed: KeyId) -> Error {
        let needed = show(needed);
        match &self.current {
            None => Error::NoKey { needed },
            Some((given, _)) => Error::WrongKey { needed, given: show(*given) },
        }
    }

    /// Whether a row has to be written anew to be sealed with the current key.
    fn is_stale(&self, value: &[u8]) -> bool {
        let Some((current, _)) = &self.current else { return false };
        value.first() != Some(&SEALED_TAG) || value.get(1..=KEY_ID_BYTES) != Some(&current.0[..])
    }
}

/// What a sealed value is bound to.
fn associated(tree: Tree, key: &[u8], id: KeyId) -> Vec<u8> {
    [tree.name().as_bytes(), &[0], key, &id.0].concat()
}

/// Seals with the current key what is not, when a store is opened. Refuses a store whose key is not
/// here before anything else is tried.
///
/// What was in clear before lies in sled's file until sled has written over it.
pub(super) fn settle(trees: &Trees, sealer: &Sealer) -> Result<()> {
    let meta = trees.tree(Tree::Meta);
    let marked = meta.get(META_KEY)?;
    let marked = marked.and_then(|row| row.first_chunk::<KEY_ID_BYTES>().copied()).map(KeyId);
    if let Some(id) = marked
        && !sealer.current.iter().chain(&sealer.old).any(|(held, _)| *held == id)
    {
        return Err(sealer.wrong_key(id));
    }
    let Some((current, _)) = &sealer.current else { return Ok(()) };
    if marked == Some(*current) {
        return Ok(());
    }
    let mut rewritten = 0;
    let renew = |tree: Tree, key: &[u8], value: &[u8]| {
        if !sealer.is_stale(value) {
            return Ok(None);
        }
        let clear = sealer.open(tree, key, value)?.into_owned();
        sealer.seal(tree, key, clear).map(Some)
    };
    for tree in RECORDS {
        rewritten += long::renew(trees, tree, |key, value| renew(tree, key, value))?;
    }
    for tree in ROWS {
        let handle = trees.tree(tree);
        for row in handle {
            let (key, value) = row?;
            if let Some(value) = renew(tree, &key, &value)? {
                handle.insert(&key, value)?;
                rewritten += 1;
            }
        }
    }
    trees.flush()?;
    meta.insert(META_KEY, &current.0)?;
    trees.flush()?;
    tracing::info!(rows = rewritten, key = show(*current), "secrets were sealed with the key");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [[u8; KEY_BYTES]; 2] = [[1; KEY_BYTES], [2; KEY_BYTES]];

    fn sealer(current: Option<usize>, old: Option<usize>) -> Sealer {
        let key = |n: Option<usize>| n.map(|n| KEYS[n]);
        Sealer::new(&Keys { current: key(current), old: key(old) })
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_and_nowhere_else() {
        let sealer = sealer(Some(0), None);
        let row = sealer.seal(Tree::Endpoints, b"here", b"whsec_x".to_vec()).unwrap();
        assert!(!row.windows(5).any(|w| w == b"whsec"));
        let open = |tree, key: &[u8]| sealer.open(tree, key, &row).map(Cow::into_owned);
        assert_eq!(open(Tree::Endpoints, b"here").unwrap(), b"whsec_x");
        for (tree, key) in [(Tree::Endpoints, &b"there"[..]), (Tree::Sources, b"here")] {
            let err = open(tree, key).unwrap_err().to_string();
            assert!(err.contains("moved from another place"), "{err}");
        }
        let again = sealer.seal(Tree::Endpoints, b"here", b"whsec_x".to_vec()).unwrap();
        assert_ne!(row, again, "a nonce came twice");
    }

    #[test]
    fn every_changed_and_every_missing_byte_is_noticed() {
        let sealer = sealer(Some(0), Some(1));
        let row = sealer.seal(Tree::Sources, b"k", b"secret".to_vec()).unwrap();
        for n in 0..row.len() {
            if n > 0 {
                let mut changed = row.clone();
                changed[n] ^= 1;
                assert!(sealer.open(Tree::Sources, b"k", &changed).is_err(), "byte {n}");
                assert!(sealer.open(Tree::Sources, b"k", &row[..n]).is_err(), "cut at {n}");
            }
        }
    }

    #[test]
    fn keys_are_told_apart_and_the_way_out_is_named() {
        let sealed = sealer(Some(0), None).seal(Tree::Sources, b"k", b"s".to_vec()).unwrap();
        let open = |current, old| sealer(current, old).open(Tree::Sources, b"k", &sealed).map(drop);
        open(Some(1), Some(0)).unwrap();
        let err = open(None, None).unwrap_err().to_string();
        assert!(err.contains("server.encryption_key is not set"), "{err}");
        let err = open(Some(1), None).unwrap_err().to_string();
        assert!(err.contains("server.encryption_key_old"), "{err}");
        assert_eq!(
            format!("{:?}", Keys { current: Some(KEYS[0]), old: None }).matches("1, 1").count(),
            0
        );
    }

    #[test]
    fn without_a_key_nothing_changes() {
        let clear = sealer(None, None).seal(Tree::Sources, b"k", b"\x01s".to_vec()).unwrap();
        assert_eq!(clear, b"\x01s");
        assert_eq!(*sealer(Some(0), None).open(Tree::Sources, b"k", &clear).unwrap(), clear);
    }
}
