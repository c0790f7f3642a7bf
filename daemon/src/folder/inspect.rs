//! Looking for damage in a folder at rest, and repairing it.
//!
//! Repairing is what the store does when it opens; a check does it on a copy, and reports.

use std::fs;
use std::io;
use std::path::Path;

use pigeon_store::{RecoveryReport, Store, StoreOptions, Verified};

use super::{Folder, FolderError};

/// Where a check has its copy.
const COPY: &str = "store.check";

/// What a check found, or a repair did.
#[derive(Debug, Default)]
pub struct Findings {
    /// What opening found first.
    pub opened: RecoveryReport,
    /// What was read then; after a repair, what is left.
    pub read: Verified,
    /// What opening again set aside of what could not be read.
    pub repaired: RecoveryReport,
}

impl Findings {
    /// Nothing is or was wrong.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.opened.is_healthy() && self.repaired.is_healthy() && self.read.damage.is_empty()
    }

    /// What was found wrong, a sentence each.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut said = Vec::new();
        for report in [&self.opened, &self.repaired] {
            if report.lost_transactions > 0 {
                said.push(format!(
                    "the last {} acknowledged transactions are missing",
                    report.lost_transactions
                ));
            }
            said.extend(report.repairs.iter().cloned());
        }
        said.extend(self.read.damage.iter().cloned());
        said
    }
}

impl Folder {
    /// Reads everything in a copy of the store, and says what a repair would do. The store itself is only read. Blocks.
    ///
    /// # Errors
    /// No room for the copy, and what else the system refuses.
    pub fn check(&self, options: StoreOptions) -> Result<Findings, FolderError> {
        let (store, copy) = (self.store_dir(), self.dir().join(COPY));
        let removed = |source| FolderError::file("removing", &copy, source);
        remove(&copy).map_err(removed)?;
        let found = match copy_dir(&store, &copy) {
            Ok(()) => self.examine(&copy, options),
            Err(source) => Err(FolderError::file("copying the store to", &copy, source)),
        };
        remove(&copy).map_err(removed)?;
        found
    }

    /// Sets aside what is damaged, repairs what can be, and says what was done. Blocks.
    ///
    /// # Errors
    /// What the system refuses, a full disk.
    pub fn repair(&self, options: StoreOptions) -> Result<Findings, FolderError> {
        self.examine(&self.store_dir(), options)
    }

    fn examine(&self, dir: &Path, options: StoreOptions) -> Result<Findings, FolderError> {
        let (store, opened) = self.open_at(dir, options)?;
        let read = store.verify();
        store.close()?;
        if read.damage.is_empty() {
            return Ok(Findings { opened, read, repaired: RecoveryReport::default() });
        }
        // What was read and found damaged is set aside by the next opening.
        let (store, repaired) = self.open_at(dir, options)?;
        let read = store.verify();
        store.close()?;
        Ok(Findings { opened, read, repaired })
    }

    fn open_at(&self, dir: &Path, options: StoreOptions) -> Result<(Store, RecoveryReport), FolderError> {
        Ok(match &self.key {
            Some(key) => Store::open_sealed(dir, options, key.clone())?,
            None => Store::open(dir, options)?,
        })
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Files and folders; what was set aside earlier stays where it is.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if name.to_string_lossy().contains(".damaged-") {
            continue;
        }
        if kind.is_dir() {
            copy_dir(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
