//! On-premises: the customer gateway and the function host, the far end of the tunnel.
//!
//! The function host is an HTTP/1.1 server on kernel TCP. It answers `POST /2015-03-31/functions/NAME/invocations` and
//! runs functions as child processes, each of which speaks the Lambda Runtime API with a socket of its own:
//!
//! ```text
//! endpoint ──HTTP──▶ function_host ──▶ pool ──▶ invocation ──▶ runtime_api ◀──HTTP── process (python3, bootstrap)
//!                          └ built_in answers here                 log_tail ◀──pipe──┘
//! ```
//!
//! What it does not do: freeze processes between invocations, extensions, SnapStart, execution-role credentials (a
//! function finds none), isolation of functions from each other beyond process groups. All run as the user of this program.

pub mod built_in;
pub mod code;
pub mod customer_gateway;
pub mod dns_forwarder;
mod function_error;
mod function_host;
mod invocation;
mod launch;
mod log_tail;
mod pool;
mod process;
mod request;
mod runtime_api;
pub mod site;

pub use function_host::{FunctionHost, FunctionHostError, HostSettings, Limits, run};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic elsewhere leaves our data as usable as it was, for no invariant spans two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970, for deadlines that cross process borders.
#[expect(clippy::disallowed_methods, reason = "the Runtime API gives deadlines in wall-clock time")]
fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
