//! The control plane: endpoints, security groups and what belongs to them, created and changed as on AWS while the data plane
//! runs.
//!
//! [`server`] speaks HTTP, [`caller`] knows who asks, [`ec2`] answers, [`plane`] puts in force and remembers. State
//! ([`State`]) and answers are pure: time and randomness are arguments.

mod caller;
pub mod ec2;
mod flow_logs;
pub mod plane;
mod project;
mod seed;
pub mod server;
mod state;
mod store;
mod sts;

pub use project::project;
pub use state::*;
pub use store::Store;
