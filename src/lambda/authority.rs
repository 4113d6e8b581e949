//! Who is asking, and whether they may: the two questions that the API asks of the stages above it.

use std::net::SocketAddr;
use std::rc::Rc;

use super::error::ApiError;
use crate::http::RequestHead;
use crate::sigv4::Principal;
use crate::time::Now;

/// What is known of a connection before its first request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionInfo {
    /// The client.
    pub client: SocketAddr,
    /// The eni's address and port it came to.
    pub endpoint: SocketAddr,
    /// The eni's slot.
    pub eni: usize,
    /// Whether it is TLS (`aws:SecureTransport`).
    pub is_secure: bool,
}

/// What a caller wants to do to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access<'a> {
    /// `lambda:InvokeFunction`.
    pub action: &'static str,
    /// The ARN as invoked, or `*` for actions without a resource.
    pub resource: &'a str,
    /// Index into `Topology::functions` of the function named, if it exists: its resource policy counts.
    pub function: Option<usize>,
}

/// Signatures and policies, behind one door. The engine implements it with `sigv4` and `policy`.
///
/// The implementor counts its own events (`SignatureVerified`, `PolicyAllowed`); the reason of an error it returns is
/// counted by [`super::Service`].
pub trait Authority {
    /// A signature whose header was read but not yet checked against the body.
    type Pending;
    /// A verified caller.
    type Caller;
    /// Proof that policies allowed something.
    type Permit;

    /// Reads the signature of a request's head. Called for every known route, before the body is read.
    ///
    /// # Errors
    /// The answer to a missing or unreadable signature, an unknown key, a time out of range.
    fn begin(&self, head: &RequestHead, connection: &ConnectionInfo, now: Now) -> Result<Self::Pending, ApiError>;

    /// Checks the signature now that the body's SHA-256 is known.
    ///
    /// # Errors
    /// The answer to a signature that does not match.
    fn finish(&self, pending: Self::Pending, body_sha256: &[u8; 32], now: Now) -> Result<Self::Caller, ApiError>;

    /// Who the caller is.
    fn principal<'a>(&self, caller: &'a Self::Caller) -> &'a Rc<Principal>;

    /// Evaluates all policies.
    ///
    /// # Errors
    /// The `AccessDeniedException` that names the deciding policy type.
    fn authorize(
        &self,
        caller: &Self::Caller,
        access: Access<'_>,
        connection: &ConnectionInfo,
        now: Now,
    ) -> Result<Self::Permit, ApiError>;
}
