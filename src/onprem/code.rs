//! What a function's code is, for descriptions: its size and digest.

use std::io;
use std::path::Path;

use crate::config::Code;
use crate::lambda::CodeSummary;

/// Files and bytes of a function's folder that are looked at; a larger one is left undescribed.
const FILES_MAX: usize = 4_096;
const BYTES_MAX: u64 = 250 << 20;

/// Size and digest of the code; `None` for what has none, or cannot be read now.
pub fn summary(code: &Code) -> Option<CodeSummary> {
    match code {
        Code::Echo | Code::Sink | Code::Source => None,
        Code::PythonInline { source, .. } => Some(CodeSummary::of(source.as_bytes())),
        Code::Python { path, .. } | Code::Bootstrap { path, .. } => {
            let mut bytes = Vec::new();
            collect(path, &mut 0, &mut bytes).ok()?;
            Some(CodeSummary::of(&bytes))
        }
    }
}

/// Appends every file below `path`, in the order of their names, so that the digest is the same wherever it is taken.
fn collect(path: &Path, files: &mut usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    if path.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| collect(&entry.path(), files, bytes));
    }
    *files += 1;
    let len = bytes.len() as u64 + std::fs::metadata(path)?.len();
    if *files > FILES_MAX || len > BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    bytes.extend(std::fs::read(path)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_described_by_all_its_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.py"), "two").unwrap();
        std::fs::write(folder.path().join("a.py"), "one").unwrap();
        let code = Code::Python { path: folder.path().to_owned(), handler: "a.b".into() };
        assert_eq!(summary(&code), Some(CodeSummary::of(b"onetwo")));
        let missing = Code::Bootstrap { path: folder.path().join("nowhere"), handler: String::new() };
        assert_eq!((summary(&missing), summary(&Code::Echo)), (None, None));
    }
}
