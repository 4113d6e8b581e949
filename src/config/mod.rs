//! Configuration: raw TOML in, a checked [`Topology`] out, or every fault at once with line and column.

mod model;

pub use model::*;
