//! Where damaged records go: a file beside the database, so that nothing is thrown away unseen.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends what is dropped to `records.damaged-<time>`, made when the first comes: for each its key's length (u32),
/// the value's length (u32), key, value.
pub(crate) struct Quarantine {
    dir: PathBuf,
    file: Option<File>,
}

impl Quarantine {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), file: None }
    }

    pub(crate) fn keep(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(8 + key.len() + value.len());
        for part in [key, value] {
            bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        match &mut self.file {
            Some(file) => file.write_all(&bytes),
            none => none.insert(create(&self.dir)?).write_all(&bytes),
        }
    }
}

fn create(dir: &Path) -> io::Result<File> {
    let path = free_name(dir, "records");
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}

/// A name for something set aside now, that nothing has yet: `<what>.damaged-<Unix seconds>`, with a number if need be.
pub(crate) fn free_name(dir: &Path, what: &str) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let first = dir.join(format!("{what}.damaged-{seconds}"));
    let numbered = (2..).map(|number: u64| dir.join(format!("{what}.damaged-{seconds}-{number}")));
    let mut names = std::iter::once(first.clone()).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or(first)
}
