//! Reading everything: what a check of a stopped store does beside opening it.

use pigeon_core::{Catalog, CatalogResult};

use crate::error::StoreError;
use crate::store::Store;
use crate::transaction::Table;

/// Rows read in one go.
const PAGE: usize = 64;

/// What was read, and what could not be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Bundles that are whole.
    pub bundles: u64,
    /// Records that are whole.
    pub records: u64,
    /// Why something could not be read, a sentence each.
    pub damage: Vec<String>,
}

impl Store {
    /// Reads every bundle and every record. What is damaged is noted: once the store has been closed, the next opening
    /// sets it aside. Blocks.
    #[must_use]
    pub fn verify(&self) -> Verified {
        let mut found = Verified::default();
        if let Err(error) = self.verify_bundles(&mut found) {
            found.damage.push(format!("bundles: {error}"));
        }
        for table in Table::ALL {
            if let Err(error) = self.verify_records(*table, &mut found) {
                found.damage.push(format!("table {table:?}: {error}"));
            }
        }
        found
    }

    /// How many records there are in all tables. Reads them all.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn count_records(&self) -> Result<u64, StoreError> {
        let mut found = Verified::default();
        Table::ALL.iter().try_for_each(|table| self.verify_records(*table, &mut found))?;
        Ok(found.records)
    }

    fn verify_bundles(&self, found: &mut Verified) -> CatalogResult<()> {
        let mut after = None;
        loop {
            let page = self.page(after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (id, _) in page {
                match self.bundle(&id) {
                    Ok(_) => found.bundles += 1,
                    Err(error) => found.damage.push(format!("bundle {id}: {error}")),
                }
            }
        }
    }

    fn verify_records(&self, table: Table, found: &mut Verified) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            // Rows of a sealed store are read as the records that they are.
            let page = match table {
                Table::Vault => return Ok(()),
                table => self.records(table, after.as_deref(), PAGE)?,
            };
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            found.records += page.len() as u64;
        }
    }
}
