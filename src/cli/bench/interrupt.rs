//! Being asked to stop: the program that runs now is killed, and nothing new is started, so that everything that was made
//! can be taken down again.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cli::Termination;
use crate::cli::output::Failure;
use crate::edge::sys::{self, ChildSetup};
use crate::edge::{Fault, OrFault};

/// What shells answer for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Watches for SIGINT and SIGTERM. Made before any other thread.
#[derive(Clone)]
pub(super) struct Interrupt(Arc<State>);

struct State {
    asked: AtomicBool,
    running: Mutex<Option<Child>>,
}

impl State {
    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    /// Watches from now on.
    pub(super) fn watch() -> Result<Self, Failure> {
        let termination = Termination::watch()?;
        let state = Arc::new(State { asked: AtomicBool::new(false), running: Mutex::new(None) });
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || {
                while termination.wait().is_ok() {
                    shared.asked.store(true, Ordering::Release);
                    if let Some(child) = shared.running().as_mut() {
                        // It may have ended by itself, as the terminal interrupts it as well.
                        _ = child.kill();
                    }
                }
            })
            .or_fault(|| "cannot watch for interrupts")?;
        Ok(Self(state))
    }

    /// Goes on only if nobody has asked to stop.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.asked.load(Ordering::Acquire) {
            return Err(Failure::with_code(INTERRUPTED, Fault::new("interrupted; nothing is left behind")));
        }
        Ok(())
    }

    /// Whether somebody has asked to stop.
    pub(super) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Runs a program that dies with us, and returns what it printed.
    pub(super) fn output(&self, mut command: Command, what: &str) -> Result<Vec<u8>, Failure> {
        sys::set_up_child(&mut command, ChildSetup { die_with_parent: true, ..ChildSetup::default() });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().or_fault(|| format!("cannot start {what}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        *self.0.running() = Some(child);
        // Asked in between: nobody would kill it.
        if self.is_asked()
            && let Some(child) = self.0.running().as_mut()
        {
            _ = child.kill();
        }
        let (mut printed, mut said) = (Vec::new(), String::new());
        let read = stdout.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut printed));
        read.or_fault(|| format!("cannot hear from {what}"))?;
        // Errors are short: the pipe holds them.
        let read = stderr.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut said));
        read.or_fault(|| format!("cannot hear from {what}"))?;
        let Some(mut child) = self.0.running().take() else { return Err(Fault::new("a program is lost").into()) };
        let status = child.wait().or_fault(|| format!("cannot wait for {what}"))?;
        self.check()?;
        if status.success() {
            return Ok(printed);
        }
        Err(match serde_json::from_str::<Said>(said.trim()) {
            Ok(Said { error }) => error.at(what.to_owned()).into(),
            Err(_) => Fault::new(format!("{what} failed, {status}: {}", said.trim())).into(),
        })
    }
}

/// What our own programs say when JSON was asked for.
#[derive(serde::Deserialize)]
struct Said {
    error: Fault,
}
