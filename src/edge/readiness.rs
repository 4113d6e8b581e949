//! How a process of the lab tells its supervisor that it is ready, or why it cannot be.
//!
//! The supervisor passes the number of a pipe's writing end in [`READY_FD`]. One line is written to it: `ready`, or a
//! [`Fault`] as JSON. A pipe that closes without a line is a process that ended without a word. Outside a lab the variable
//! is missing and nothing is written.

#![expect(clippy::disallowed_methods, reason = "the one variable that ties a process to its supervisor")]

use std::io;
use std::os::fd::OwnedFd;

use super::{Fault, sys};

/// The environment variable with the descriptor's number.
pub const READY_FD: &str = "VPCE_READY_FD";

/// The line that means "ready".
pub const READY: &str = "ready";

/// The duty to report, taken from the environment at the start of a process. Dropped unused, it reports by silence.
#[derive(Debug)]
pub struct Readiness(Option<OwnedFd>);

impl Readiness {
    /// Takes the descriptor over. Call it once, first thing in `main`'s path: afterwards no child inherits it.
    ///
    /// # Errors
    /// When the variable is set to something that is no open descriptor.
    pub fn take() -> Result<Self, Fault> {
        let Ok(number) = std::env::var(READY_FD) else { return Ok(Self(None)) };
        let taken = number.parse().map_err(|_| io::ErrorKind::InvalidInput.into()).and_then(sys::inherited_fd);
        taken.map(|fd| Self(Some(fd))).map_err(|error| {
            Fault::new(format!("{READY_FD} is set to {number:?}, which is no open descriptor: {error}"))
                .remedy(format!("unset {READY_FD}"))
        })
    }

    /// Ready: everything that others may use exists and answers.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn notify(self) -> io::Result<()> {
        self.write(READY)
    }

    /// It will not become ready.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn fail(self, fault: &Fault) -> io::Result<()> {
        self.write(&serde_json::to_string(fault)?)
    }

    fn write(self, line: &str) -> io::Result<()> {
        let Some(fd) = self.0 else { return Ok(()) };
        // One write below PIPE_BUF: whole or not at all.
        rustix::io::retry_on_intr(|| rustix::io::write(&fd, format!("{line}\n").as_bytes()))?;
        Ok(())
    }
}

/// Reads what a process wrote. `None`: it ended without a word.
pub fn understand(line: &str) -> Option<Result<(), Fault>> {
    let line = line.trim();
    if line.is_empty() {
        None
    } else if line == READY {
        Some(Ok(()))
    } else {
        Some(Err(serde_json::from_str(line).unwrap_or_else(|_| Fault::new(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_reports_is_understood() {
        let fault = Fault::new("no device").remedy("make one");
        let written = serde_json::to_string(&fault).expect("serialises");
        assert_eq!(understand("ready\n"), Some(Ok(())));
        assert_eq!(understand(&written), Some(Err(fault)));
        assert_eq!(understand(""), None);
        assert_eq!(understand("garbage\n"), Some(Err(Fault::new("garbage"))));
    }
}
