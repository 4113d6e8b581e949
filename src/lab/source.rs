//! Where a topology comes from: a name that is built in, or a file.

use std::path::{Path, PathBuf};

use crate::config::{self, Faults, Topology};
use crate::edge::{Fault, OrFault};

/// The topology of `vpce lab up` without a word more.
pub const DEFAULT: &str = "quickstart";

/// A checked topology and how another process finds it again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The built-in name, or the absolute path of the file.
    pub origin: String,
    /// What it says.
    pub topology: Topology,
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(Fault),
    /// It can, but what it says is wrong.
    #[error("{0}")]
    Faults(Faults),
}

/// Reads and checks the topology that `word` stands for: a built-in name first, else a path.
///
/// # Errors
/// [`SourceError`].
pub fn load(word: &str) -> Result<Source, SourceError> {
    if let Some(builtin) = config::builtin(word) {
        let topology = builtin.check().map_err(SourceError::Faults)?;
        return Ok(Source { origin: word.to_owned(), topology });
    }
    let unreadable = |fault: Fault| {
        SourceError::Unreadable(
            fault.at(word).remedy(format!("name a TOML file, or a built-in topology such as `{DEFAULT}`")),
        )
    };
    let path: PathBuf = std::path::absolute(word).or_fault(|| "cannot read the topology").map_err(unreadable)?;
    let text = std::fs::read_to_string(&path).or_fault(|| "cannot read the topology").map_err(unreadable)?;
    let origin = path.display().to_string();
    let topology = config::check(&text, &origin, &|file: &Path| std::fs::read(file)).map_err(SourceError::Faults)?;
    Ok(Source { origin, topology })
}

/// Makes the path profile called `name` the tunnel's.
///
/// # Errors
/// When the topology has none of that name.
pub fn use_path(topology: &mut Topology, name: &str) -> Result<(), Fault> {
    let known: Vec<&str> = topology.paths.iter().map(|path| path.name.as_str()).collect();
    if !known.contains(&name) {
        return Err(Fault::new(format!("no path profile {name:?}")).remedy(format!("use one of: {}", known.join(", "))));
    }
    name.clone_into(&mut topology.tunnel.path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_topology_is_found_by_name_and_a_missing_file_says_what_to_name() {
        assert_eq!(load(DEFAULT).expect("built in").topology.name, "quickstart");
        let SourceError::Unreadable(fault) = load("/no/such.toml").expect_err("missing") else { panic!("unreadable") };
        assert_eq!(fault.place.as_deref(), Some("/no/such.toml"));
    }

    #[test]
    fn a_path_profile_must_exist() {
        let mut topology = load(DEFAULT).expect("built in").topology;
        use_path(&mut topology, "vpn").expect("known");
        assert_eq!(topology.tunnel.path, "vpn");
        use_path(&mut topology, "pigeon").expect_err("unknown");
    }
}
