//! Who signs requests, and the functions that are invoked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::PolicyText;

/// Who may sign requests.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// `Admin`; the name `lab exec --as` takes.
    pub name: String,
    /// `arn:aws:iam::123456789012:user/Admin`.
    pub arn: String,
    /// The account in the ARN.
    pub account: String,
    /// Identity policies. None allow nothing.
    pub policies: Vec<PolicyText>,
}

/// How a function's code is run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Built in: answers with the payload it got.
    Echo,
    /// Built in: answers with the length and the CRC-32 of the payload it got.
    Sink,
    /// Built in: answers with a JSON string of as many bytes as `{"bytes": N}` asks for.
    Source,
    /// A Python 3 file or folder, with the handler `module.function`.
    Python {
        /// Folder that holds the module.
        path: PathBuf,
        /// `module.function`.
        handler: String,
    },
    /// Python source text written into the topology, with the handler `module.function`.
    PythonInline {
        /// The module's text.
        source: String,
        /// `module.function`.
        handler: String,
    },
    /// A folder with an executable named `bootstrap` that speaks the Runtime API.
    Bootstrap {
        /// The folder.
        path: PathBuf,
        /// Passed on as `_HANDLER`.
        handler: String,
    },
}

/// A function.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// `my-function`.
    pub name: String,
    /// `python3.11`, `provided.al2023`; what `GetFunction` shows.
    pub runtime: String,
    /// Its code.
    pub code: Code,
    /// Seconds an invocation may take, 1 to 900.
    pub timeout: Duration,
    /// Megabytes, 128 to 10240; enforced.
    pub memory_mb: u32,
    /// Published versions beside `$LATEST`.
    pub versions: Vec<u32>,
    /// Aliases and the version each stands for.
    pub aliases: Vec<(String, String)>,
    /// Invocations at the same time; more are throttled.
    pub concurrency: u32,
    /// Environment variables of its processes.
    pub environment: Vec<(String, String)>,
    /// Its resource policy.
    pub policy: Option<PolicyText>,
}
