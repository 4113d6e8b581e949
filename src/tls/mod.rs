//! TLS: rustls sessions, the lab CA and its certificates.
