//! Topologies that come with the program, so that it needs no file beside it.

use std::io;
use std::path::Path;

use super::{Faults, Topology, check};

/// A topology that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name, `quickstart`.
    pub name: &'static str,
    /// Its TOML text.
    pub text: &'static str,
}

const BUILTINS: [Builtin; 3] = [
    Builtin { name: "quickstart", text: include_str!("../../netns/quickstart.toml") },
    Builtin { name: "blog", text: include_str!("../../netns/blog.toml") },
    Builtin { name: "bench", text: include_str!("../../netns/bench.toml") },
];

/// Names for messages: those that people learn from. The last is `vpce bench`'s.
pub const BUILTIN_NAMES: [&str; 2] = [BUILTINS[0].name, BUILTINS[1].name];

/// The files that they mention.
const FILES: [(&str, &str); 4] = [
    ("functions/hello/handler.py", include_str!("../../netns/functions/hello/handler.py")),
    ("functions/my-function/handler.py", include_str!("../../netns/functions/my-function/handler.py")),
    ("functions/fails/handler.py", include_str!("../../netns/functions/fails/handler.py")),
    ("policies/blog-mended.json", include_str!("../../netns/policies/blog-mended.json")),
];

/// The built-in topology of this name: `quickstart`, `blog` or `bench`.
pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.into_iter().find(|builtin| builtin.name == name)
}

impl Builtin {
    /// Checks it; the files it mentions are built in too.
    ///
    /// # Errors
    /// None for what is shipped: a test keeps it so.
    pub fn check(self) -> Result<Topology, Faults> {
        check(self.text, self.name, &built_in_file)
    }
}

fn built_in_file(path: &Path) -> io::Result<Vec<u8>> {
    let found = FILES.iter().find(|(name, _)| Path::new(name) == path);
    found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
}
