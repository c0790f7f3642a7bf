//! What opening the store found and did, for the log and for people.

use std::fmt;
use std::path::PathBuf;

/// What [`crate::Store::open`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// There was no store yet.
    pub created: bool,
    /// The store had been closed properly. If not (a crash, a power cut), what was written since the last checkpoint was
    /// checked; all of it is in any case.
    pub closed_cleanly: bool,
    /// Where what was damaged went, as it was found.
    pub set_aside: Option<PathBuf>,
    /// Why the index was made anew from the log, if it was. Nothing is lost by that: a power cut may damage the index.
    pub index_rebuilt: Option<&'static str>,
    /// Where the former index went.
    pub index_aside: Option<PathBuf>,
    /// The store was moved from this older schema.
    pub migrated_from: Option<u32>,
    /// Acknowledged transactions that the database does not have any more: its file has lost its end.
    pub lost_transactions: u64,
    /// What was repaired or dropped, one plain sentence each.
    pub repairs: Vec<String>,
}

impl RecoveryReport {
    /// Nothing was lost, repaired or set aside.
    pub fn is_healthy(&self) -> bool {
        self.set_aside.is_none() && self.lost_transactions == 0 && self.repairs.is_empty()
    }

    pub(crate) fn repaired(&mut self, what: impl Into<String>) {
        self.repairs.push(what.into());
    }

    /// Notes a repair of `count` things, if there are any.
    pub(crate) fn repaired_some(&mut self, count: usize, what: &str) {
        if count > 0 {
            self.repairs.push(format!("{count} {what}"));
        }
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.created, self.closed_cleanly) {
            (true, _) => "new store",
            (false, true) => "store opened",
            (false, false) => "store opened after a crash and checked",
        })?;
        if let Some(path) = &self.set_aside {
            write!(f, "; what was damaged is in {}", path.display())?;
        }
        if let Some(schema) = self.migrated_from {
            write!(f, "; moved here from schema {schema}")?;
        }
        if let Some(why) = self.index_rebuilt {
            write!(f, "; the index was made anew from the log, for {why}")?;
        }
        if let Some(path) = &self.index_aside {
            write!(f, "; the former one is in {}", path.display())?;
        }
        if self.lost_transactions > 0 {
            write!(f, "; the last {} acknowledged transactions are missing", self.lost_transactions)?;
        }
        for repair in &self.repairs {
            write!(f, "; {repair}")?;
        }
        Ok(())
    }
}
