//! Labs: namespaces, topologies, and running a program in a host's namespace.
//!
//! A lab is one user namespace that owns everything: a PID namespace whose first process is the supervisor, and a network
//! namespace per machine. All are held by file descriptors of the lab's own processes, nothing has a name in the file
//! system. When the supervisor ends, however it ends, the kernel ends every other process of the PID namespace, the last
//! descriptors close, and the network is gone.
//!
//! ```text
//!  app ──veth──┐                                        ┌──veth── onprem
//!              vpce (VPC router, endpoint) ──outside── cgw (customer gateway, function host)
//!  stranger ───┤
//!  services ───┘ (the API of EC2)
//! ```
//!
//! [`up`] starts one, [`exec`] runs a program on one of its machines, [`client`] asks it for its state and ends it.
//! [`supervisor`] is the inside; [`requirements`] says what this machine offers for it.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "labs are files, processes and sockets")]

pub mod directories;
pub mod secrets;
pub mod host_files;
pub mod source;
pub mod changes;
pub mod network;
pub mod supervisor;
pub mod up;
pub mod exec;
pub mod client;
pub mod requirements;

pub use directories::{Directories, Folders};

/// Name of the namespace that is the VPC's router and holds the endpoint.
pub const ROUTER: &str = "vpce";

/// Name of the namespace that is Amazon's own network: the addresses of other services' APIs.
pub const SERVICES: &str = "services";

/// Name of the namespace that is the customer gateway and holds the function host.
pub const CUSTOMER_GATEWAY: &str = "cgw";
