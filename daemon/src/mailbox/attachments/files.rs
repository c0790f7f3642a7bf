//! The files of attachments that arrived: below `data_dir/attachments`, readable for the daemon alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::records::Key;

/// Where attachments are, in the data directory.
const FOLDER: &str = "attachments";
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Files on their way to their name. There is one writer, so there is one of them.
const ASIDE: &str = "new";

/// The folder of all attachments.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

/// The file of an attachment. Nothing that its author chose is in the name but the random id.
pub(super) fn path(data_dir: &Path, key: &Key) -> PathBuf {
    folder(data_dir).join(format!("{}-{}", key.id, key.author))
}

/// Bytes of all files in the folder.
pub(super) fn bytes(data_dir: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder(data_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

/// Writes the file aside, syncs it, renames it, and syncs the folder: a crash leaves the whole of it or nothing.
/// Makes the folder where it is missing. Blocks.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if !folder.is_dir() {
        DirBuilder::new().mode(FOLDER_MODE).create(folder)?;
        folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    }
    let aside = folder.join(ASIDE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use pigeon_bundle::{IdentityKey, MessageId};

    use super::*;

    #[test]
    fn a_file_is_private_whole_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bytes(dir.path()).unwrap(), 0);
        let path = path(dir.path(), &Key { author: IdentityKey([1; 32]), id: MessageId([2; 16]) });
        write(&path, &[7; 1000]).unwrap();
        write(&path, b"soup").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"soup");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder(dir.path())).unwrap().count(), 1, "nothing is left aside");
        assert_eq!(bytes(dir.path()).unwrap(), 4);
    }
}
