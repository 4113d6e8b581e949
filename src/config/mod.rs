//! Configuration: raw TOML in, a checked [`Topology`] out, or every fault at once with line and column.
//!
//! [`check()`] is the only way to a [`Topology`]. It reads key by key and goes on after every fault, so that one run tells
//! all there is to mend. It opens no file: whoever calls it hands in a function that reads the files which the text names
//! (policies, function sources). [`builtin()`] holds the topologies that come with the program.
//!
//! What a policy document says is judged by the policy stage, not here; here it is only text with an origin.

mod address;
mod builtin;
mod check;
mod endpoint;
mod fault;
mod model;
mod names;
mod network;
mod path;
mod reader;
mod region;
mod site;
mod traffic;
mod units;
mod workload;

pub use builtin::{BUILTIN_NAMES, Builtin, builtin};
pub use check::check;
pub use fault::{Fault, Faults};
pub use model::*;
pub use names::API_SERVICES;
pub use region::zone_id;
pub use units::duration;

#[cfg(test)]
mod tests;
