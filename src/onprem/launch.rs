//! How a function's process is started: program, arguments, folder and environment.
//!
//! The environment is Lambda's (`docs/fidelity.md#runtime-environment`), never ours: nothing of this program's own reaches a function, least of all
//! AWS credentials. A function may override what Lambda lets it override (`PATH`, `LANG`, `TZ`, …), not the rest.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Code, Function};

/// Our Runtime API client for Python.
const BOOTSTRAP: &str = include_str!("python/bootstrap.py");
/// How long a `python3` that is a script may take to tell which interpreter it starts.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Where Python is, once known: `None` while being looked for.
pub(super) type Python = watch::Receiver<Option<Result<PathBuf, String>>>;

/// What does not change from one process of a function to the next.
#[derive(Debug)]
pub(super) struct Launch {
    task_root: PathBuf,
    handler: String,
    program: Program,
    work_dir: PathBuf,
    /// Name and value, in the order in which they are set.
    environment: Vec<(String, String)>,
}

#[derive(Debug)]
enum Program {
    Python(Python),
    Bootstrap(PathBuf),
}

/// What differs from one process to the next.
#[derive(Debug)]
pub(super) struct Instance<'a> {
    pub(super) runtime_api: SocketAddr,
    pub(super) version: &'a str,
    pub(super) log_stream: &'a str,
}

impl Launch {
    /// Writes what has to be on disk (inline sources). `None` for built-in code, which needs no process.
    ///
    /// # Errors
    /// If the work folder cannot be written, or the handler of an inline source names no file inside it.
    pub(super) fn prepare(
        function: &Function,
        region: &str,
        work_dir: &Path,
        python: Option<&Python>,
    ) -> io::Result<Option<Self>> {
        let python = || python.cloned().ok_or_else(|| io::Error::other("no search for python3 was started"));
        let (task_root, handler, program) = match &function.code {
            Code::Echo | Code::Sink | Code::Source => return Ok(None),
            Code::Python { path, handler } => {
                let root = if path.is_file() { path.parent().unwrap_or(path) } else { path };
                (std::path::absolute(root)?, handler, Program::Python(python()?))
            }
            Code::PythonInline { source, handler } => {
                let root = work_dir.join("functions").join(&function.name);
                write_module(&root, handler, source)?;
                (root, handler, Program::Python(python()?))
            }
            Code::Bootstrap { path, handler } => {
                let root = std::path::absolute(path)?;
                let program = Program::Bootstrap(root.join("bootstrap"));
                (root, handler, program)
            }
        };
        let mut launch = Self {
            task_root,
            handler: handler.clone(),
            program,
            work_dir: work_dir.to_owned(),
            environment: Vec::new(),
        };
        launch.environment = launch.fixed_environment(function, region);
        Ok(Some(launch))
    }

    fn fixed_environment(&self, function: &Function, region: &str) -> Vec<(String, String)> {
        let root = self.task_root.display();
        let runtime_dir = runtime_dir(&self.work_dir).display().to_string();
        let mut variables = vec![
            ("LANG".into(), "en_US.UTF-8".into()),
            ("TZ".into(), ":UTC".into()),
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/opt/bin".into()),
            ("LD_LIBRARY_PATH".into(), format!("{root}:{root}/lib:/opt/lib")),
            ("AWS_XRAY_CONTEXT_MISSING".into(), "LOG_ERROR".into()),
        ];
        variables.extend(function.environment.iter().cloned());
        let mut reserved = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
        reserved("AWS_REGION", region);
        reserved("AWS_DEFAULT_REGION", region);
        reserved("AWS_LAMBDA_FUNCTION_NAME", &function.name);
        reserved("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &function.memory_mb.to_string());
        reserved("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        reserved("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", function.name));
        reserved("LAMBDA_TASK_ROOT", &root.to_string());
        reserved("LAMBDA_RUNTIME_DIR", &runtime_dir);
        reserved("_HANDLER", &self.handler);
        // Lambda sets it for its own runtimes only.
        if !function.runtime.starts_with("provided") {
            reserved("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", function.runtime));
        }
        variables
    }

    /// The command for one process, without its output.
    ///
    /// # Errors
    /// In words for the function's caller: Python is missing, or there is no executable `bootstrap`.
    pub(super) async fn command(&self, instance: &Instance<'_>) -> Result<Command, String> {
        let mut command = match &self.program {
            Program::Python(python) => {
                let interpreter = interpreter(python.clone()).await?;
                let mut command = Command::new(interpreter);
                // Byte code goes to our folder, never beside the user's sources.
                let cache = self.work_dir.join("pycache");
                command.arg("-X").arg(format!("pycache_prefix={}", cache.display()));
                command.arg(runtime_dir(&self.work_dir).join("bootstrap.py"));
                command
            }
            // `exec` would hand a file that is neither to the shell, where Lambda does not.
            Program::Bootstrap(path) if magic(path).is_some_and(|magic| magic != *b"#!" && magic != *b"\x7fE") => {
                return Err(format!("fork/exec {}: exec format error", path.display()));
            }
            Program::Bootstrap(path) if path.is_file() => Command::new(path),
            Program::Bootstrap(path) => {
                return Err(format!("Couldn't find valid bootstrap(s): [{}]", path.display()));
            }
        };
        // A missing folder of a Python function is an import error, told by Python itself.
        if self.task_root.is_dir() {
            command.current_dir(&self.task_root);
        }
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", instance.runtime_api.to_string())
            .env("AWS_LAMBDA_FUNCTION_VERSION", instance.version)
            .env("AWS_LAMBDA_LOG_STREAM_NAME", instance.log_stream)
            .stdin(Stdio::null());
        Ok(command)
    }
}

/// Lays out the work folder, private to this user, with our Python runtime in it.
///
/// # Errors
/// If the folder cannot be made or written.
pub(super) fn lay_out(work_dir: &Path) -> io::Result<()> {
    let runtime = runtime_dir(work_dir);
    make_private_dir(&runtime)?;
    write_private(&runtime.join("bootstrap.py"), BOOTSTRAP)
}

/// Starts looking for `python3` in the folders of `search_path`.
///
/// A program is taken as it is. A script (pyenv's and others' shims are scripts, and need the environment that functions
/// do not get) is asked, once and in the background, which interpreter it stands for.
pub(super) fn find_python(search_path: Option<std::ffi::OsString>) -> Python {
    let search_path = search_path.unwrap_or_default();
    let found =
        std::env::split_paths(&search_path).map(|folder| folder.join("python3")).find(|file| is_executable(file));
    let Some(found) = found else {
        let missing = format!(
            "python3 is not in PATH ({}); install Python 3 and start the function host again",
            search_path.display()
        );
        return watch::channel(Some(Err(missing))).1;
    };
    if !is_script(&found) {
        return watch::channel(Some(Ok(found))).1;
    }
    let (answer, python) = watch::channel(None);
    tokio::spawn(async move {
        let asked = ask(&found).await;
        // Nobody waits any more once the host is gone.
        answer.send(Some(asked)).ok();
    });
    python
}

async fn ask(script: &Path) -> Result<PathBuf, String> {
    let mut command = tokio::process::Command::new(script);
    command.args(["-c", "import sys; print(sys.executable)"]).stdin(Stdio::null()).kill_on_drop(true);
    let says = |what: String| format!("{} {what}; put a Python 3 interpreter first in PATH", script.display());
    let output = match tokio::time::timeout(PROBE_LIMIT, command.output()).await {
        Err(_) => return Err(says("did not start within 10 s".into())),
        Ok(Err(error)) => return Err(says(format!("cannot be started: {error}"))),
        Ok(Ok(output)) => output,
    };
    let interpreter = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
    if !output.status.success() || !interpreter.is_absolute() {
        return Err(says(format!("does not start an interpreter ({})", output.status)));
    }
    Ok(interpreter)
}

async fn interpreter(mut python: Python) -> Result<PathBuf, String> {
    match python.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or_else(|| Err("python3 was not looked for".into())),
        Err(_) => Err("the search for python3 was broken off".into()),
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn is_script(file: &Path) -> bool {
    magic(file) == Some(*b"#!")
}

/// The first two bytes of a file that can be read.
fn magic(file: &Path) -> Option<[u8; 2]> {
    let mut magic = [0; 2];
    OpenOptions::new().read(true).open(file).ok()?.read_exact(&mut magic).ok()?;
    Some(magic)
}

fn runtime_dir(work_dir: &Path) -> PathBuf {
    work_dir.join("runtime")
}

/// Writes an inline source where its handler, `module.function` or `folder/module.function`, will look for it.
fn write_module(root: &Path, handler: &str, source: &str) -> io::Result<()> {
    let module = handler.rsplit_once('.').map_or(handler, |(module, _)| module).replace('.', "/");
    let named = |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    if !module.split('/').all(named) {
        let message = format!("handler `{handler}` names no Python module; write it as module.function");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let file = root.join(module).with_extension("py");
    make_private_dir(file.parent().unwrap_or(root))?;
    write_private(&file, source)
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_source_lands_where_python_will_import_it_from() {
        let folder = tempfile::tempdir().unwrap();
        write_module(folder.path(), "shop/cart.handler", "x = 1").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("shop/cart.py")).unwrap(), "x = 1");
        let mode = folder.path().join("shop/cart.py").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_handler_cannot_write_outside_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for handler in ["../evil.handler", "/etc/evil.handler", "a//b.handler", ".handler", ""] {
            let refused = write_module(&folder.path().join("function"), handler, "");
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{handler}");
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_missing_python_is_told_with_the_path_that_was_searched() {
        let python = find_python(Some("/nowhere:/nothing".into()));
        let told = interpreter(python).await.unwrap_err();
        assert!(told.contains("python3 is not in PATH (/nowhere:/nothing)"), "{told}");
    }

    #[tokio::test]
    async fn a_script_is_asked_which_interpreter_it_stands_for() {
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("python3");
        std::fs::write(&shim, "#!/bin/sh\necho /opt/the/real/python3\n").unwrap();
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
        let python = find_python(Some(folder.path().into()));
        assert_eq!(interpreter(python).await.unwrap(), Path::new("/opt/the/real/python3"));
    }
}
