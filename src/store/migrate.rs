//! The schema's version and the steps that bring an older store up to date.

use super::error::{Error, Result};
use super::trees::{Tree, Trees};

/// The schema this program writes.
pub(super) const SCHEMA: u32 = 2;

const KEY: &[u8] = b"schema";

/// One step: brings a store from `from` to `from + 1`.
struct Migration {
    from: u32,
    describe: &'static str,
    run: fn(&Trees) -> Result<()>,
}

/// Every step there has been, oldest first.
const MIGRATIONS: &[Migration] = &[Migration {
    from: 1,
    describe: "new deliveries stand in batches, which an older posthaste would not find",
    run: |_| Ok(()),
}];

/// Refuses a newer store, migrates an older one, marks a new one.
pub(super) fn run(trees: &Trees) -> Result<()> {
    let meta = trees.tree(Tree::Meta);
    let Some(found) = meta.get(KEY)? else {
        meta.insert(KEY, &SCHEMA.to_be_bytes())?;
        return trees.flush();
    };
    let mut version = u32::from_be_bytes(
        found.as_ref().try_into().map_err(|_| Error::corrupt("meta", "schema is not a number"))?,
    );
    if version > SCHEMA {
        return Err(Error::Newer { found: version, known: SCHEMA });
    }
    for step in MIGRATIONS {
        if step.from < version {
            continue;
        }
        tracing::info!(from = step.from, "migrating the store: {}", step.describe);
        (step.run)(trees)?;
        version = step.from + 1;
        meta.insert(KEY, &version.to_be_bytes())?;
        trees.flush()?;
    }
    Ok(())
}
