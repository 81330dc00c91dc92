//! Records that may be long: split over rows of one tree, so that no value grows past what sled
//! keeps in a page (see [`CHUNK_BYTES`]).
//!
//! The first piece stands at the record's own key, further ones at `key‖0‖be(n u16)`, right behind
//! it. A first piece of exactly [`CHUNK_BYTES`] says that there may be more. Keys are of fixed width
//! or end in a name, which holds no zero byte: no other key can be taken for a piece.

use sled::IVec;

use super::accept::CHUNK_BYTES;
use super::error::Result;
use super::trees::{Tree, Trees};
use super::writer::Writer;

fn piece_key(key: &[u8], n: u16) -> Vec<u8> {
    let mut piece = key.to_vec();
    piece.push(0);
    piece.extend_from_slice(&n.to_be_bytes());
    piece
}

fn is_piece(key: &[u8], of: &[u8]) -> bool {
    key.strip_prefix(of).is_some_and(|rest| rest.len() == 3 && rest.first() == Some(&0))
}

/// Reads every record of a tree, put together, in the order of their keys.
pub(super) fn for_each(
    trees: &Trees,
    tree: Tree,
    mut see: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let mut whole: Option<(IVec, Vec<u8>)> = None;
    for row in trees.walk(tree) {
        let (key, value) = row?;
        if let Some((of, bytes)) = &mut whole
            && is_piece(&key, of)
        {
            bytes.extend_from_slice(&value);
            continue;
        }
        if let Some((key, bytes)) = whole.replace((key, value.to_vec())) {
            see(&key, &bytes)?;
        }
    }
    match whole {
        Some((key, bytes)) => see(&key, &bytes),
        None => Ok(()),
    }
}

/// Writes every record of a tree anew that `renew` gives other bytes for, each in one piece of work:
/// while a store is opened. Says how many those were.
pub(super) fn renew(
    trees: &Trees,
    tree: Tree,
    mut renew: impl FnMut(&[u8], &[u8]) -> Result<Option<Vec<u8>>>,
) -> Result<usize> {
    let mut keys = Vec::new();
    for_each(trees, tree, |key, _| {
        keys.push(key.to_vec());
        Ok(())
    })?;
    let (handle, mut renewed) = (trees.tree(tree), 0);
    for key in keys {
        let Some(first) = handle.get(&key)? else { continue };
        let (mut bytes, mut batch) = (first.to_vec(), sled::Batch::default());
        if first.len() == CHUNK_BYTES {
            for row in handle.scan_prefix([&key[..], &[0]].concat()) {
                let (piece, value) = row?;
                if is_piece(&piece, &key) {
                    bytes.extend_from_slice(&value);
                    batch.remove(piece);
                }
            }
        }
        let Some(bytes) = renew(&key, &bytes)? else { continue };
        let (first, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES));
        for (n, piece) in (0u16..).zip(rest.chunks(CHUNK_BYTES)) {
            batch.insert(piece_key(&key, n), piece);
        }
        batch.insert(key, first);
        handle.apply_batch(batch)?;
        renewed += 1;
    }
    Ok(renewed)
}

impl Writer<'_> {
    /// Stages a record of any length.
    pub(super) fn put_long(&mut self, tree: Tree, key: &[u8], bytes: &[u8]) -> Result<()> {
        self.remove_pieces(tree, key)?;
        self.put_new_long(tree, key, bytes);
        Ok(())
    }

    /// Like [`Writer::put_long`], where no record stands yet: nothing has to be read first.
    pub(super) fn put_new_long(&mut self, tree: Tree, key: &[u8], bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES));
        self.put(tree, key, first);
        for (n, piece) in (0u16..).zip(rest.chunks(CHUNK_BYTES)) {
            self.put(tree, &piece_key(key, n), piece);
        }
    }

    /// Stages the removal of a record of any length.
    pub(super) fn remove_long(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        self.remove_pieces(tree, key)?;
        self.remove(tree, key);
        Ok(())
    }

    fn remove_pieces(&mut self, tree: Tree, key: &[u8]) -> Result<()> {
        let old = self.get(tree, key)?;
        if old.is_some_and(|first| first.len() == CHUNK_BYTES) {
            let mut prefix = key.to_vec();
            prefix.push(0);
            for (piece, _) in self.scan(tree, &prefix, usize::MAX)? {
                self.remove(tree, &piece);
            }
        }
        Ok(())
    }

    /// A record of any length.
    pub(super) fn get_long(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(first) = self.get(tree, key)? else { return Ok(None) };
        let mut bytes = first.to_vec();
        if first.len() == CHUNK_BYTES {
            for n in 0..=u16::MAX {
                let Some(piece) = self.get(tree, &piece_key(key, n))? else { break };
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tasks::test_store;

    #[test]
    fn records_of_every_length_come_back_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = test_store(&folder);
        let lengths = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 7];
        for length in lengths {
            let bytes = vec![b'x'; length];
            let expected = bytes.clone();
            let read = store.write_and_wait(move |writer| {
                // Neighbours that begin with the same text must not be mixed up with it.
                writer.put_long(Tree::EventTypes, b"order.paid", b"after")?;
                writer.put_long(Tree::EventTypes, b"order", &bytes)?;
                writer.get_long(Tree::EventTypes, b"order")
            });
            assert_eq!(read.unwrap().as_deref(), Some(expected.as_slice()), "{length}");
            let mut found = Vec::new();
            for_each(&store.shared.trees, Tree::EventTypes, |key, value| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(())
            })
            .unwrap();
            let others = (b"order.paid".to_vec(), b"after".to_vec());
            assert_eq!(found, [(b"order".to_vec(), expected), others], "{length}");
        }
        store
            .write_and_wait(|writer| {
                writer.put_long(Tree::EventTypes, b"order", &[b'x'; 3 * CHUNK_BYTES])?;
                writer.remove_long(Tree::EventTypes, b"order")?;
                writer.remove_long(Tree::EventTypes, b"order.paid")
            })
            .unwrap();
        assert!(store.shared.trees.tree(Tree::EventTypes).is_empty());
    }
}
