//! A folder for one command alone: a lab that it brings up keeps nothing elsewhere.

use std::path::{Path, PathBuf};

use crate::edge::{Fault, OrFault};

/// The folder. It is removed when this is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one, with the command's name in its own.
    pub(super) fn new(command: &str) -> Result<Self, Fault> {
        let path = std::env::temp_dir().join(format!("vpce-{command}-{}", std::process::id()));
        std::fs::create_dir(&path)
            .or_fault(|| format!("cannot make a folder for `vpce {command}`"))
            .map_err(|fault| fault.at(path.display().to_string()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// What the environment says of a lab's folders: that they are in this one.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        variables(&self.0).into_iter().find(|(known, _)| *known == name).map(|(_, path)| path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a folder is left behind");
        }
    }
}

/// The variables that put a lab's folders into `folder`.
pub(super) fn variables(folder: &Path) -> [(&'static str, PathBuf); 2] {
    [("VPCE_STATE", folder.join("state")), ("XDG_RUNTIME_DIR", folder.join("run"))]
}
