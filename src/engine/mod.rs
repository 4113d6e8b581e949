//! The whole endpoint without I/O.
