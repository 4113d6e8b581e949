//! The edge: the only place with sockets, clocks, threads and unsafe code.

pub mod child;
pub mod readable;
