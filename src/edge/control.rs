//! Talking to a running process of the lab: one JSON line asks, one JSON line answers, over a unix socket.
//!
//! | who | socket in the runtime folder | requests |
//! | --- | --- | --- |
//! | supervisor | `control.sock` | `{"do":"status"}`, `{"do":"join","host":"app"}` (descriptors travel beside the answer), `{"do":"down"}` |
//! | endpoint | `endpoint.sock` | `{"do":"status"}` and its own |
//! | customer gateway | `onprem.sock` | `{"do":"status"}` and its own |
//!
//! The answer is `{"ok":VALUE}` or `{"error":{"what":…,"where":…,"remedy":…}}`. A line is at most [`LINE_LIMIT`] bytes.
//! In the `status` of a process two keys have a meaning for everybody, and `lab status` joins them over all processes:
//! `enforcement`, a list of `{"stage","enforced","by"|"reason"}`, and `counters`, a list of `{"stage","code","count"}`.
//!
//! The folder's mode (0700) is the access control.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fault, OrFault};

/// Longest request or answer, bytes.
pub const LINE_LIMIT: u64 = 4 << 20;

/// How long a process may take to answer, or a client to ask.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// An answer as it travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; the value says what.
    Ok(Value),
    /// Not done.
    Error(Fault),
}

impl From<Result<Value, Fault>> for Answer {
    fn from(result: Result<Value, Fault>) -> Self {
        result.map_or_else(Self::Error, Self::Ok)
    }
}

impl Answer {
    /// The line that travels, with its end.
    pub fn to_line(&self) -> String {
        // Values, strings and string keys always serialise.
        serde_json::to_string(self).unwrap_or_else(|_| r#"{"error":{"what":"unspeakable answer"}}"#.to_owned()) + "\n"
    }

    /// What a line says.
    ///
    /// # Errors
    /// The fault it carries, or that it is no answer.
    pub fn understand(line: &str) -> Result<Value, Fault> {
        match serde_json::from_str(line).or_fault(|| "an answer that is none")? {
            Self::Ok(value) => Ok(value),
            Self::Error(fault) => Err(fault),
        }
    }
}

/// A path that stands for `path` and is short enough for a unix socket's address (108 bytes), whatever the folder.
///
/// The descriptor must stay open while the path is used.
fn short_path(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    use std::os::fd::AsRawFd;
    let (folder, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, short))
}

/// Listens at `path`, taking the place of a socket that a dead process left there.
///
/// # Errors
/// When the folder is missing or closed to us.
pub fn listen(path: &Path) -> Result<UnixListener, Fault> {
    let bind = || {
        let (_folder, short) = short_path(path)?;
        match rustix::fs::unlink(&short) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        UnixListener::bind(&short)
    };
    bind().or_fault(|| "cannot listen on a control socket").map_err(|fault| fault.at(path.display().to_string()))
}

/// Connects to the process that listens at `path`.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` when nobody does.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = short_path(path)?;
    let stream = UnixStream::connect(short)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Asks the process that listens at `path` and returns its answer.
///
/// # Errors
/// Nobody listens, no answer within [`PATIENCE`], or the fault it answered with.
pub fn ask(path: &Path, request: &impl Serialize) -> Result<Value, Fault> {
    let place = || path.display().to_string();
    let stream = connect(path).or_fault(|| "nobody answers").map_err(|fault| fault.at(place()))?;
    send_line(&stream, request).map_err(|fault| fault.at(place()))?;
    let mut line = String::new();
    BufReader::new((&stream).take(LINE_LIMIT))
        .read_line(&mut line)
        .or_fault(|| "no answer")
        .and_then(|_| Answer::understand(&line))
        .map_err(|fault| fault.at(place()))
}

/// Writes one request.
///
/// # Errors
/// When the other side has gone.
pub fn send_line(mut stream: &UnixStream, request: &impl Serialize) -> Result<(), Fault> {
    let line = serde_json::to_string(request).or_fault(|| "cannot phrase a request")? + "\n";
    stream.write_all(line.as_bytes()).or_fault(|| "cannot ask")
}

/// Answers at `path` from a thread of its own until the process ends. Requests come one at a time.
///
/// # Errors
/// When the socket or the thread cannot be made.
pub fn serve<F>(path: &Path, mut answer: F) -> Result<(), Fault>
where
    F: FnMut(&Value) -> Result<Value, Fault> + Send + 'static,
{
    let listener = listen(path)?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let answered = stream.and_then(|stream| answer_one(&stream, &mut answer));
                if let Err(error) = answered {
                    tracing::debug!(%error, "a control connection ended early");
                }
            }
        })
        .map(drop)
        .or_fault(|| "cannot start the control thread")
}

fn answer_one(mut stream: &UnixStream, answer: impl FnOnce(&Value) -> Result<Value, Fault>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line)?;
    let result = serde_json::from_str(&line).or_fault(|| "a request that is no JSON").and_then(|value| answer(&value));
    stream.write_all(Answer::from(result).to_line().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_question_is_answered_over_a_path_too_long_for_a_socket_address() {
        let folder = tempfile::tempdir().expect("folder");
        let deep = folder.path().join("a".repeat(120));
        std::fs::create_dir(&deep).expect("deep folder");
        let path = deep.join("x.sock");
        serve(&path, |request| match request["do"].as_str() {
            Some("status") => Ok(json!({"fine": true})),
            other => Err(Fault::new(format!("no request {other:?}"))),
        })
        .expect("serves");
        assert_eq!(ask(&path, &json!({"do": "status"})).expect("answers"), json!({"fine": true}));
        let refused = ask(&path, &json!({"do": "dance"})).expect_err("refuses");
        assert_eq!(refused.what, "no request Some(\"dance\")");
    }

    #[test]
    fn a_socket_left_behind_by_a_dead_process_is_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.sock");
        drop(listen(&path).expect("first"));
        assert_eq!(connect(&path).expect_err("nobody").kind(), io::ErrorKind::ConnectionRefused);
        let _listener = listen(&path).expect("second");
        connect(&path).expect("somebody");
    }
}
