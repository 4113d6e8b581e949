//! `vpce`: a Lambda interface endpoint (AWS PrivateLink) in user space.
//!
//! The modules stand in the order in which a packet meets them. Replies go back up the same list. A stage knows the
//! stages above it, never those below; [`engine`] alone knows them all. Everything up to and including [`engine`] is the
//! core: no sockets, no clock, no threads; time is an argument. `cargo check --lib --no-default-features` builds it alone.

pub mod verdict;
pub mod time;
pub mod config;
pub mod packet;
pub mod flow;
pub mod security_group;
pub mod eni;
pub mod tcp;
pub mod tls;
pub mod http;
pub mod sigv4;
pub mod policy;
pub mod lambda;
pub mod tunnel;
pub mod dns;
pub mod engine;

#[cfg(feature = "io")]
pub mod edge;
#[cfg(feature = "io")]
pub mod onprem;
#[cfg(feature = "io")]
pub mod observe;
#[cfg(feature = "io")]
pub mod load;
#[cfg(feature = "io")]
pub mod lab;
#[cfg(feature = "io")]
pub mod control;
#[cfg(feature = "io")]
pub mod cli;
