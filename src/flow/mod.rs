//! Flows: five-tuple keys, the bounded flow table, TCP tracking, expiry.
