//! SigV4: canonical request, signature, principal, or whose fault it was.
//!
//! [`Verifier::begin`] looks at a request's head: it reads the Authorization header (or a presigned query), checks date
//! and credential scope, finds the access key in the [`Keyring`] and hashes all of the canonical request but its last
//! line. [`Pending::finish`] adds that line, the hash of the body, once the body has arrived, and compares signatures in
//! constant time. A request that fails is a [`SigV4Error`] with AWS's name, status and text for it; the same value says
//! which [`Reason`](crate::verdict::Reason) to count. The verifier decides who is calling, never what they may do.
//!
//! Standard: "AWS Signature Version 4 for API requests" in the IAM User Guide. The order of the checks, and with it the
//! error a doubly faulty request gets, follows what AWS's service framework was recorded to do:
//!
//! 1. no Authorization at all; 2. a part that is not `key=value`; 3. missing parts, date among them; 4. the date's
//!    form; 5. clock skew; 6. `host` not signed; 7. the algorithm; 8. the credential's form; 9. its scope; 10. the
//!    access key and session token; 11. the signature.
//!
//! What AWS leaves open is a field of [`Settings`]. Limits: [`SIGNED_HEADERS_MAX`] names in `SignedHeaders`,
//! [`CREDENTIALS_MAX`] keys in a keyring, [`SIGNING_KEYS_MAX`] cached signing keys, [`ECHO_MAX`] bytes of a request
//! repeated in an error. SigV4a is refused: Lambda's service model offers `aws.auth#sigv4` alone.

mod authorization;
mod canonical;
mod date;
mod error;
mod error_details;
mod head;
mod hex;
mod keyring;
mod memo;
mod pool;
mod prepared;
mod principal;
mod sign;
mod signing_key;
mod verifier;

#[cfg(test)]
mod tests;

pub use authorization::SIGNED_HEADERS_MAX;
pub use error::{Fault, SigV4Error};
pub use error_details::{ECHO_MAX, Echo, MissingParts, ScopeFault, TokenFault};
pub use head::RequestHead;
pub use keyring::{CREDENTIALS_MAX, Credential, Keyring, KeyringError, Secret};
pub use prepared::{Prepared, Stamp};
pub use principal::{Principal, PrincipalError, PrincipalKind};
pub use sign::{SignError, Signer, sign};
pub use signing_key::SIGNING_KEYS_MAX;
pub use verifier::{Pending, Settings, Verifier};

use aws_lc_rs::digest;
use smallvec::SmallVec;

/// The SHA-256 of a request's body, computed while the body arrives.
#[derive(Clone)]
pub struct BodyHash(Hashing);

/// Small bodies are gathered and hashed in one piece, which saves the running hash's memory; larger ones as they come.
#[derive(Clone)]
enum Hashing {
    Gathered(SmallVec<[u8; GATHERED_BYTES]>),
    Running(digest::Context),
}

const GATHERED_BYTES: usize = 256;

impl BodyHash {
    /// The hash of nothing yet.
    pub fn new() -> Self {
        Self(Hashing::Gathered(SmallVec::new()))
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hashing::Gathered(before) if before.len() + bytes.len() <= GATHERED_BYTES => {
                before.extend_from_slice(bytes)
            }
            Hashing::Gathered(before) => {
                let mut context = digest::Context::new(&digest::SHA256);
                context.update(before);
                context.update(bytes);
                self.0 = Hashing::Running(context);
            }
            Hashing::Running(context) => context.update(bytes),
        }
    }

    /// The hash of everything added.
    pub fn finish(self) -> [u8; 32] {
        match self.0 {
            Hashing::Gathered(bytes) => sha256(&bytes),
            Hashing::Running(context) => to_array(context.finish().as_ref()),
        }
    }
}

impl Default for BodyHash {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyHash(..)")
    }
}

/// The SHA-256 of `bytes`, for a body that is there as a whole.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    to_array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256's 32 bytes out of aws-lc-rs's longer-lived forms.
fn to_array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}
