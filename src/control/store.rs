//! What the control plane remembers, in one file that survives whatever ends the process.
//!
//! One record holds the whole state: it is small, and a change is then there as a whole or not at all. A commit returns when the
//! kernel says that it is on disk (redb, `Durability::Immediate`).

use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::State;
use crate::edge::{Fault, OrFault};

const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
/// Its only key.
const CURRENT: &str = "current";

/// The file.
#[derive(Debug)]
pub struct Store(Database);

impl Store {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// When the file is another process's, is damaged, or its folder is closed to us.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Database::create(path).map(Self).or_fault(|| "cannot open the control plane's state").map_err(|fault| {
            let remedy = "end the other process that has it, or bring the lab up without `--keep`, which begins anew";
            fault.at(path.display().to_string()).remedy(remedy)
        })
    }

    /// The last state that was saved; `None` in a new file.
    ///
    /// # Errors
    /// When it cannot be read, or was written by a version that had other ideas.
    pub fn load(&self) -> Result<Option<State>, Fault> {
        let failed = || "cannot read the control plane's state";
        let reading = self.0.begin_read().or_fault(failed)?;
        let table = match reading.open_table(STATES) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table.or_fault(failed)?,
        };
        let Some(record) = table.get(CURRENT).or_fault(failed)? else { return Ok(None) };
        serde_json::from_slice(record.value())
            .map(Some)
            .or_fault(|| "the control plane's state is of another version")
            .map_err(|fault| fault.remedy("bring the lab up without `--keep`, which begins anew"))
    }

    /// Saves a state in the place of the last.
    ///
    /// # Errors
    /// When it is not on disk; the last one then still is.
    pub fn save(&self, state: &State) -> Result<(), Fault> {
        let failed = || "cannot save the control plane's state";
        let record = serde_json::to_vec(state).or_fault(failed)?;
        let writing = self.0.begin_write().or_fault(failed)?;
        writing.open_table(STATES).or_fault(failed)?.insert(CURRENT, record.as_slice()).or_fault(failed)?;
        writing.commit().or_fault(failed)
    }
}
