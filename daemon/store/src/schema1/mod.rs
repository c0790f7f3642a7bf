//! Schema 1, which had all data in one sled tree: moving such a store into a log.
//!
//! Its keys were the same; a long value was cut into chunks, the further ones at keys of kind `50`.

mod salvage;
mod value;

use std::path::Path;

use crate::checkpoint::checkpoint;
use crate::counters::Counters;
use crate::engine::{Engine, EngineError, SyncFn, guarded};
use crate::error::StoreError;
use crate::layout::{COUNTERS, LOG_DIR, SCHEMA_1_DIR, SCHEMA_VERSION, index_dir, is_index};
use crate::live::engine_error;
use crate::log::group::Write;
use crate::opening::files::{index_numbers, make_dir, remove_dir, rename};
use crate::opening::{Base, Limits};
use crate::quarantine::{Quarantine, free_name};
use crate::report::RecoveryReport;

/// Bytes of a value in one sled entry.
const CHUNK: usize = 6_144;
const SCHEMA_KEY: [u8; 2] = [0x00, b'v'];
/// Kind of the further chunks.
const MORE: u8 = 0x50;
/// Values written as one group.
const GROUP_BYTES: usize = 1 << 20;

/// Key of chunk `number` (1 and up) of the value at `head`.
fn more_key(head: &[u8], number: u8) -> Vec<u8> {
    let length = u16::try_from(head.len()).unwrap_or(u16::MAX);
    [&[MORE], length.to_be_bytes().as_slice(), head, &[number]].concat()
}

/// Moves a store of schema 1 into a log. What a crash leaves of an attempt is thrown away by the next one: the old data
/// go last.
pub(crate) fn migrate(
    dir: &Path,
    limits: Limits,
    sync: &SyncFn,
    report: &mut RecoveryReport,
) -> Result<(), StoreError> {
    remove_dir(&dir.join(LOG_DIR))?;
    for number in index_numbers(dir)? {
        remove_dir(&index_dir(dir, number))?;
    }
    let place = dir.join(SCHEMA_1_DIR);
    let old = match Engine::open(&place, limits.cache_bytes) {
        Ok(old) => old,
        Err(EngineError::Broken(detail)) => {
            tracing::error!(%detail, "the database of schema 1 does not open");
            let aside = free_name(dir, SCHEMA_1_DIR);
            rename(&place, &aside)?;
            report.set_aside = Some(aside);
            report.repaired("the database could not be opened; a new one was begun");
            return Ok(());
        }
        Err(error) => return Err(engine_error(dir, "open", &error)),
    };
    let failed = |error: EngineError| engine_error(dir, "read", &error);
    let schema = guarded(|| Ok(value::get(old.tree(), &SCHEMA_KEY)?)).map_err(failed)?;
    let schema = schema.and_then(Result::ok).and_then(|bytes| bytes.try_into().ok().map(u32::from_be_bytes));
    if let Some(found) = schema.filter(|found| *found != 1) {
        return Err(StoreError::NewerSchema { found, supported: SCHEMA_VERSION, dir: dir.to_path_buf() });
    }
    copy(dir, &old, limits, sync, report)?;
    old.close().map_err(failed)?;
    let going = dir.join(format!("{SCHEMA_1_DIR}.moved"));
    remove_dir(&going)?;
    rename(&place, &going)?;
    report.migrated_from = Some(1);
    remove_dir(&going)
}

fn copy(
    dir: &Path,
    old: &Engine,
    limits: Limits,
    sync: &SyncFn,
    report: &mut RecoveryReport,
) -> Result<(), StoreError> {
    make_dir(dir)?;
    let tree = old.tree();
    let counters = guarded(|| Ok(value::get(tree, &COUNTERS)?)).ok().flatten().and_then(Result::ok);
    let mut base = Base::open(dir, limits, sync)?;
    base.counters = counters.and_then(|bytes| Counters::from_bytes(&bytes)).unwrap_or_default();
    let mut quarantine = Quarantine::new(dir);
    let (mut group, mut size, mut damaged): (Vec<Write>, _, _) = (Vec::new(), 0, 0);
    let gaps = salvage::salvage(tree, |key, stored| {
        let value = match key.first() {
            // Schema and "closed cleanly" are the log's own matters now; chunks come with their head.
            None | Some(&MORE) => return Ok(()),
            Some(0) if *key != COUNTERS => return Ok(()),
            Some(_) if is_index(key) => Some(Vec::new()),
            Some(_) => guarded(|| Ok(value::complete(tree, key, stored)?)).ok().and_then(Result::ok),
        };
        let Some(value) = value else {
            damaged += 1;
            let kept = quarantine.keep(key, stored);
            return kept.map_err(|error| StoreError::file("set aside records in", dir, error));
        };
        size += key.len() + value.len();
        group.push((key.to_vec(), Some(value)));
        if size < GROUP_BYTES {
            return Ok(());
        }
        size = 0;
        base.write(std::mem::take(&mut group))
    })?;
    base.write(group)?;
    report.repaired_some(damaged, "damaged values of the former schema were set aside");
    report.repaired_some(gaps, "places of the former database could not be read");
    checkpoint(&base.live)
}
