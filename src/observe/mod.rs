//! What can be seen: counters, flow-log records, access lines, packet captures with TLS keys.
