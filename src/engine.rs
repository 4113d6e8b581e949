//! The whole endpoint without I/O: `handle_*` in, `poll_*` out; the one module that knows every stage.
