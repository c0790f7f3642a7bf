//! Replacing the store by a copy of it, whenever the machine stops.
//!
//! 1. `store.new` is filled, closed and synced. A crash leaves it and `store`: it is dropped.
//! 2. `store` becomes `store.old`. A crash leaves no `store`: `store.new` takes its place.
//! 3. `store.new` becomes `store`, and `store.old` is removed. A crash leaves both: the removal is done again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use pigeon_store::{Copied, Store, StoreError, StoreKey, StoreOptions};

use super::{FolderError, STORE};

const NEW: &str = "store.new";
pub(super) const OLD: &str = "store.old";

/// A copy must not be kept from its place by a quota that was lowered meanwhile.
const OPTIONS: StoreOptions = StoreOptions { quota_bytes: u64::MAX / 2, ..StoreOptions::DEFAULT };

/// Ends what a crash has interrupted.
pub(super) fn settle(data_dir: &Path) -> Result<(), FolderError> {
    let [store, new, old] = [STORE, NEW, OLD].map(|name| data_dir.join(name));
    if !store.exists() && old.exists() && new.exists() {
        rename(data_dir, NEW, STORE)?;
    } else if !store.exists() && old.exists() {
        rename(data_dir, OLD, STORE)?;
    }
    remove(&new)?;
    remove(&old)
}

/// Copies the store from under `from` to under `to`, and puts the copy in its place. Blocks.
pub(super) fn copy(
    data_dir: &Path,
    from: Option<&StoreKey>,
    to: Option<&StoreKey>,
) -> Result<Copied, FolderError> {
    let new = data_dir.join(NEW);
    remove(&new)?;
    let copied = fill(&data_dir.join(STORE), &new, from, to);
    if copied.is_err() {
        // What is left of it is dropped at the next opening, if not now.
        let _ = remove(&new);
    }
    let copied = copied?;
    rename(data_dir, STORE, OLD)?;
    rename(data_dir, NEW, STORE)?;
    remove(&data_dir.join(OLD))?;
    Ok(copied)
}

fn fill(
    store: &Path,
    new: &Path,
    from: Option<&StoreKey>,
    to: Option<&StoreKey>,
) -> Result<Copied, StoreError> {
    let open = |dir: &Path, key: Option<&StoreKey>| match key {
        Some(key) => Store::open_sealed(dir, OPTIONS, key.clone()),
        None => Store::open(dir, OPTIONS),
    };
    let (source, _) = open(store, from)?;
    let (target, _) = open(new, to)?;
    let copied = source.copy_into(&target)?;
    target.close()?;
    source.close()?;
    Ok(copied)
}

fn rename(data_dir: &Path, from: &str, to: &str) -> Result<(), FolderError> {
    let path = data_dir.join(from);
    fs::rename(&path, data_dir.join(to)).map_err(|source| FolderError::file("renaming", &path, source))?;
    let synced = File::open(data_dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| FolderError::file("syncing", data_dir, source))
}

fn remove(dir: &Path) -> Result<(), FolderError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::file("removing", dir, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Wherever it stops, one whole store is left in its place.
    #[test]
    fn a_swap_is_ended_from_each_of_its_steps() {
        for (there, left) in [
            (vec![(STORE, "first")], "first"),
            (vec![(STORE, "first"), (NEW, "half")], "first"),
            (vec![(OLD, "first"), (NEW, "second")], "second"),
            (vec![(OLD, "first"), (STORE, "second")], "second"),
            (vec![(OLD, "first")], "first"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in &there {
                fs::create_dir(dir.path().join(name)).unwrap();
                fs::write(dir.path().join(name).join("db"), content).unwrap();
            }
            settle(dir.path()).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join(STORE).join("db")).unwrap(), left, "{there:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{there:?}");
        }
    }
}
