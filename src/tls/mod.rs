//! TLS: rustls sessions that end here, the lab CA and its certificates.
//!
//! Bytes of a TCP connection go in, plaintext comes out, and back. Only names of the service are served: a ClientHello
//! with another name gets the `unrecognized_name` alert (RFC 6066 §3) and no certificate; one without a name gets the
//! regional certificate, as clients that connect by address expect. TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.
//!
//! Not here: reading or keeping the CA's files (the lab does), and HTTP.

mod ca;
mod names;
mod server;
mod session;

pub use ca::{CaError, LabCa};
pub use names::ServiceNames;
pub use server::{Acceptance, ServerSetup, TlsSetupError, provider};
pub use session::{Alpn, HandshakeKind, Ingest, Session};
