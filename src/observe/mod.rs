//! What can be seen: counters, flow-log records, access lines, packet captures with TLS keys.
//!
//! Everything here stands beside the data path: captures read copies that the kernel makes of the packets on the enis and
//! the tunnel's outside link, logs drain bounded queues that workers fill. A reader that falls behind loses records, and
//! says how many; it never slows a worker down.

#![expect(clippy::disallowed_types, reason = "writers of files, on threads of their own, at the edge")]

pub mod access_log;
pub mod cost;
pub mod flow_log;
pub mod pcapng;
pub mod capture;
pub mod status;
