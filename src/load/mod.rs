//! The load generator: signed invocations over kernel sockets, as many as one processor can make, each answer verified.
//!
//! ```text
//! requests ──signed──▶ connection ──records──▶ kernel socket ──▶ the server
//!    ▲                    │  ▲
//!  pace                answer ── compared with what was expected ──▶ window: counts, latencies
//! ```
//!
//! [`driver`] is one thread with one epoll loop, [`generator`] the run around it. They know nothing of the endpoint they measure and share no buffer or
//! connection code with it; TLS (rustls) and signatures are the same libraries. [`machine`] reads what processes and
//! processors did meanwhile, [`calibration`] says in which mood the machine is, [`report`] is what comes out.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator has a clock, threads, files and sockets"
)]

pub mod answer;
pub mod requests;
pub mod tickets;
pub mod trust;
pub mod records;
pub mod connection;
pub mod pace;
pub mod machine;
pub mod calibration;
pub mod report;
pub mod window;
pub mod meter;
pub mod driver;
pub mod generator;
pub mod server;
pub mod resolver;
pub mod datagrams;
pub mod bulk;
pub mod in_memory;
