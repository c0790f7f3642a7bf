//! Bundles as files: what a carrier takes along on a stick.
//!
//! A file `B.bundle` holds the fixed form of one bundle (`docs/wire-format.md` section 3), and nothing else: no copies,
//! no age, no name of who carried it. Taken in, such a bundle is a stranger's, without copies: it goes to its recipient
//! and to the bridge, and to nobody else. A bundle without a creation time is neither written nor taken: only its
//! carriers know how old it is.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pigeon_bundle::{BUNDLE_SIZE_MAX, Bundle, LIFETIME_MAX_S, NodeKey, SecretRandom as _};
use pigeon_core::entry::HOPS_AT_BIRTH_MAX;
use pigeon_core::{Catalog, CatalogError, Entry, Pool, StoreOp, stranger_fits};
use pigeon_store::{Store, StoreError, Transaction};

use super::FolderError;
use crate::config::{CarryFor, Config};
use crate::random::OsRandom;

const ENDING: &str = "bundle";
/// Entries read in one go.
const PAGE: usize = 64;
/// Clocks of honest people differ by less.
const AHEAD_S_MAX: u64 = 86_400;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Files.
    pub bundles: u64,
    /// Left out: they are at the bridge already, or have no creation time.
    pub left_out: u64,
}

/// What became of the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Now in the store.
    pub taken: u64,
    /// There already, or known to have arrived.
    pub known: u64,
    /// Refused: the file and why.
    pub refused: Vec<(PathBuf, &'static str)>,
    /// There was no room for them within a stranger's share.
    pub no_room: u64,
}

/// Writes the bundles of a store into files below `dir`, synced. Blocks.
///
/// # Errors
/// What the system refuses, and a store that cannot be read.
pub fn export(store: &Store, dir: &Path) -> Result<Exported, FolderError> {
    let failed = |source| FolderError::file("writing bundles to", dir, source);
    fs::create_dir_all(dir).map_err(failed)?;
    let (mut done, mut after) = (Exported::default(), None);
    loop {
        let page = store.page(after, PAGE).map_err(unreadable)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (id, entry) in page {
            match store.bundle(&id).map_err(unreadable)? {
                Some(bundle) if bundle.creation_s().is_some() && !entry.at_bridge => {
                    write(&dir.join(format!("{id}.{ENDING}")), &bundle).map_err(failed)?;
                    done.bundles += 1;
                }
                _ => done.left_out += 1,
            }
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(done)
}

fn write(path: &Path, bundle: &Bundle) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bundle.as_bytes())?;
    file.sync_all()
}

/// Takes in the bundle files `paths`, and those in the folders among them. Blocks.
///
/// # Errors
/// A path that cannot be read, and a store that fails. What was taken until then stays.
pub fn import(store: &Store, config: &Config, paths: &[PathBuf]) -> Result<Imported, FolderError> {
    if config.carry.whose == CarryFor::Contacts {
        return Err(FolderError::CarriageClosed);
    }
    // One giver to a stick: all of it has one stranger's share.
    let mut giver = NodeKey([0; 32]);
    OsRandom.fill(&mut giver.0);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut intake =
        Intake { store, quota: config.store.quota_bytes, giver, now_s, done: Imported::default() };
    for path in paths {
        let failed = |source| FolderError::file("reading", path, source);
        if !path.is_dir() {
            intake.file(path)?;
            continue;
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|ending| ending == ENDING) {
                files.push(file);
            }
        }
        files.sort();
        files.iter().try_for_each(|file| intake.file(file))?;
    }
    Ok(intake.done)
}

struct Intake<'a> {
    store: &'a Store,
    quota: u64,
    giver: NodeKey,
    now_s: u64,
    done: Imported,
}

impl Intake<'_> {
    fn file(&mut self, path: &Path) -> Result<(), FolderError> {
        let mut bytes = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(BUNDLE_SIZE_MAX as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|source| FolderError::file("reading", path, source))?;
        match self.judge(bytes) {
            Ok(bundle) => self.take(bundle),
            Err(why) => {
                self.done.refused.push((path.to_owned(), why));
                Ok(())
            }
        }
    }

    /// What anybody who takes a bundle looks at.
    fn judge(&self, bytes: Vec<u8>) -> Result<Bundle, &'static str> {
        if bytes.len() > BUNDLE_SIZE_MAX {
            return Err("it is larger than any bundle");
        }
        let bundle =
            Bundle::parse(bytes.into()).map_err(|_| "it is no bundle in the fixed form, or damaged")?;
        let Some(created_s) = bundle.creation_s() else { return Err("nobody knows how old it is") };
        if bundle.expires_s() <= self.now_s {
            return Err("it has expired");
        }
        if created_s > self.now_s.saturating_add(AHEAD_S_MAX) || bundle.lifetime_s() > LIFETIME_MAX_S {
            return Err("it is dated ahead of this machine's clock");
        }
        Ok(bundle)
    }

    fn take(&mut self, bundle: Bundle) -> Result<(), FolderError> {
        let (id, size) = (bundle.id(), u32::try_from(bundle.as_bytes().len()).unwrap_or(u32::MAX));
        let known = self.store.entry(&id).map_err(unreadable)?.is_some()
            || self.store.tombstone(&bundle.commitment()).map_err(unreadable)?.is_some();
        if known {
            self.done.known += 1;
            return Ok(());
        }
        let usage = self.store.usage().map_err(unreadable)?;
        let giver = self.store.giver_usage(&self.giver).map_err(unreadable)?;
        if !stranger_fits(self.quota, size, &usage, &giver) {
            self.done.no_room += 1;
            return Ok(());
        }
        let entry = Entry {
            copies: 0,
            pool: Pool::Stranger,
            giver: Some(self.giver),
            newcomer: true,
            ..Entry::own(HOPS_AT_BIRTH_MAX + 1, Some(self.now_s))
        };
        let put = Transaction::of_ops(vec![StoreOp::Put { bundle, entry }]);
        match self.store.commit_blocking(put) {
            Ok(()) => self.done.taken += 1,
            Err(StoreError::QuotaExceeded { .. }) => self.done.no_room += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn unreadable(error: CatalogError) -> FolderError {
    FolderError::file("reading bundles from", "the store", io::Error::other(error))
}
