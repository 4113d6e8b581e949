//! The endpoint interface: fast path, slow path, MTU and MSS rules, idle time-out.
