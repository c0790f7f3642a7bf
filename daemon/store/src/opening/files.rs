//! Files and directories of a store, made, moved and made durable.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::error::StoreError;
use crate::layout::INDEX_PREFIX;
use crate::quarantine::free_name;

/// Makes a directory that only this user may enter, with those above it.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StoreError::file("create", dir, error))?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_path)
}

/// Makes a file, or the names in a directory, durable.
pub(crate) fn sync_path(path: impl AsRef<Path>) -> Result<(), StoreError> {
    let path = path.as_ref();
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| StoreError::file("sync", path, error))
}

/// Gives a file or directory another name, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::file("rename", from, error))?;
    from.parent().map_or(Ok(()), sync_path)
}

/// Removes a directory with all that is in it; nothing where there is none.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", dir, error)),
        _ => Ok(()),
    }
}

/// Numbers of the index directories, highest first.
pub(crate) fn index_numbers(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let list = || -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(INDEX_PREFIX));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    };
    list().map_err(|error| StoreError::file("list", dir, error))
}

/// Sets an index aside under a name that says so. It holds nothing that the log has not, so only the last one is kept.
pub(crate) fn set_index_aside(dir: &Path, index: &Path) -> Result<std::path::PathBuf, StoreError> {
    let entries = fs::read_dir(dir).map_err(|error| StoreError::file("list", dir, error))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("index.damaged-") {
            remove_dir(&entry.path())?;
        }
    }
    let aside = free_name(dir, "index");
    rename(index, &aside)?;
    Ok(aside)
}
