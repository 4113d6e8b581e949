//! Why a request's signature was refused, in AWS's words, and whose fault it was.

use std::time::Duration;

use super::date::SignedDate;
use super::error_details::{Echo, MissingParts, ScopeFault, TokenFault};
use crate::time::UnixTime;
use crate::verdict::Reason;

/// A refused signature. [`message`](Self::message) is what AWS tells the caller; `Display` is what our log says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SigV4Error {
    /// Neither an Authorization header nor, where those are accepted, a presigned query.
    #[error("not signed")]
    NotSigned,
    /// A part of the Authorization header is not `key=value`.
    #[error("the Authorization header has a part without an equal sign")]
    NotAPair {
        /// That part.
        pair: Echo,
        /// The whole header.
        authorization: Echo,
    },
    /// Parts of the Authorization header, or the date, are missing.
    #[error("the Authorization header or the date is incomplete")]
    IncompleteHeader {
        /// Which.
        missing: MissingParts,
        /// The whole header.
        authorization: Echo,
    },
    /// Parts of a presigned query are missing.
    #[error("the presigned query is incomplete")]
    IncompleteQuery {
        /// Which.
        missing: MissingParts,
    },
    /// Both an Authorization header and a presigned query.
    #[error("signed twice, by header and by query")]
    SignedTwice,
    /// A date that cannot be read.
    #[error("unreadable date {got:?}")]
    BadDate {
        /// What was sent.
        got: String,
    },
    /// An `X-Amz-Expires` that is no number of seconds, or is over a week.
    #[error("X-Amz-Expires is not a number of seconds from 0 to 604800")]
    BadExpires,
    /// Signed too long ago.
    #[error("signed at {signed}, more than {} s before {}", window.as_secs(), now.to_basic())]
    Expired {
        /// The date in the request.
        signed: String,
        /// Our clock.
        now: UnixTime,
        /// How long a signature lasts.
        window: Duration,
    },
    /// Signed in the future.
    #[error("signed at {signed}, more than {} s after {}", window.as_secs(), now.to_basic())]
    NotYetCurrent {
        /// The date in the request.
        signed: String,
        /// Our clock.
        now: UnixTime,
        /// How far ahead a caller's clock may be.
        window: Duration,
    },
    /// A header that must be signed is not.
    #[error("header {name:?} is not signed")]
    HeaderNotSigned {
        /// Its name.
        name: String,
    },
    /// More names in `SignedHeaders` than we look at.
    #[error("more than {} signed headers", super::SIGNED_HEADERS_MAX)]
    TooManySignedHeaders,
    /// Not `AWS4-HMAC-SHA256`; SigV4a, say.
    #[error("unsupported algorithm {algorithm:?}")]
    UnsupportedAlgorithm {
        /// What was sent.
        algorithm: String,
    },
    /// A credential without its five parts.
    #[error("the credential does not have five parts")]
    BadCredential {
        /// What was sent.
        got: String,
    },
    /// A credential scope for another day, region or service.
    #[error("wrong credential scope")]
    WrongScope(Box<ScopeFault>),
    /// No such access key.
    #[error("unknown access key {access_key_id:?}")]
    UnknownAccessKey {
        /// What was sent.
        access_key_id: String,
    },
    /// A session token that does not belong to the access key.
    #[error("session token: {0}")]
    BadSessionToken(TokenFault),
    /// Temporary credentials past their end.
    #[error("the credentials expired")]
    CredentialsExpired,
    /// `UNSIGNED-PAYLOAD` or `STREAMING-…`, which only S3 takes.
    #[error("the payload is not signed ({declared:?})")]
    PayloadNotSigned {
        /// The value of `X-Amz-Content-Sha256`.
        declared: String,
    },
    /// The body is not the one whose hash is in `X-Amz-Content-Sha256`.
    #[error("the body does not have the hash in X-Amz-Content-Sha256")]
    PayloadMismatch,
    /// The signature is not the one we calculate.
    #[error("the signature does not match")]
    SignatureMismatch,
}

/// Whose fault it was: where the caller should look.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The request was not signed, or not in a form that can be read.
    Request,
    /// The caller's clock, or a request kept too long.
    Clock,
    /// Signed for another day, region or service than the one it was sent to.
    Scope,
    /// The access key or the session token.
    Credentials,
    /// The secret access key, the signing method, or a change on the way.
    Signature,
}

impl SigV4Error {
    /// AWS's name for it, the value of `X-Amzn-ErrorType`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotSigned => "MissingAuthenticationTokenException",
            Self::NotAPair { .. }
            | Self::IncompleteHeader { .. }
            | Self::IncompleteQuery { .. }
            | Self::BadDate { .. }
            | Self::BadExpires
            | Self::TooManySignedHeaders
            | Self::UnsupportedAlgorithm { .. }
            | Self::BadCredential { .. } => "IncompleteSignatureException",
            Self::SignedTwice
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::HeaderNotSigned { .. }
            | Self::WrongScope(_)
            | Self::PayloadNotSigned { .. }
            | Self::PayloadMismatch
            | Self::SignatureMismatch => "InvalidSignatureException",
            Self::UnknownAccessKey { .. } | Self::BadSessionToken(_) => "UnrecognizedClientException",
            Self::CredentialsExpired => "ExpiredTokenException",
        }
    }

    /// The HTTP status: Lambda answers all of them with 403.
    pub const fn status(&self) -> u16 {
        403
    }

    /// What to count.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotSigned => Reason::SignatureMissing,
            Self::NotAPair { .. }
            | Self::IncompleteHeader { .. }
            | Self::IncompleteQuery { .. }
            | Self::SignedTwice
            | Self::BadDate { .. }
            | Self::BadExpires
            | Self::HeaderNotSigned { .. }
            | Self::TooManySignedHeaders
            | Self::UnsupportedAlgorithm { .. }
            | Self::BadCredential { .. }
            | Self::WrongScope(_) => Reason::SignatureIncomplete,
            Self::Expired { .. } | Self::NotYetCurrent { .. } => Reason::SignatureExpired,
            Self::UnknownAccessKey { .. } | Self::BadSessionToken(_) | Self::CredentialsExpired => {
                Reason::SignatureUnknownKey
            }
            Self::PayloadNotSigned { .. } | Self::PayloadMismatch | Self::SignatureMismatch => {
                Reason::SignatureMismatch
            }
        }
    }

    /// Where the caller should look.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotSigned
            | Self::NotAPair { .. }
            | Self::IncompleteHeader { .. }
            | Self::IncompleteQuery { .. }
            | Self::SignedTwice
            | Self::BadDate { .. }
            | Self::BadExpires
            | Self::HeaderNotSigned { .. }
            | Self::TooManySignedHeaders
            | Self::UnsupportedAlgorithm { .. }
            | Self::BadCredential { .. }
            | Self::PayloadNotSigned { .. } => Fault::Request,
            Self::Expired { .. } | Self::NotYetCurrent { .. } => Fault::Clock,
            Self::WrongScope(_) => Fault::Scope,
            Self::UnknownAccessKey { .. } | Self::BadSessionToken(_) | Self::CredentialsExpired => Fault::Credentials,
            Self::PayloadMismatch | Self::SignatureMismatch => Fault::Signature,
        }
    }

    /// What AWS tells the caller.
    pub fn message(&self) -> String {
        match self {
            Self::NotSigned => "Missing Authentication Token".to_owned(),
            Self::NotAPair { pair: Echo::Text(pair), authorization: Echo::Text(header) } => {
                format!("'{pair}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'.")
            }
            Self::NotAPair { authorization, .. } => format!(
                "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded \
                 with Base64): '{}'.",
                authorization.hash()
            ),
            Self::IncompleteHeader { missing, authorization } => {
                let echo = match authorization {
                    Echo::Text(header) => format!("Authorization={header}"),
                    Echo::Hash(hash) => format!("(Hashed with SHA-256 and encoded with Base64) Authorization={hash}"),
                };
                missing.header_text() + &echo
            }
            Self::IncompleteQuery { missing } => missing.query_text() + "Re-examine the query-string parameters.",
            Self::SignedTwice => {
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.".to_owned()
            }
            Self::BadDate { got } => format!(
                "Date must be in ISO-8601 'basic format'. Got '{got}'. See http://en.wikipedia.org/wiki/ISO_8601"
            ),
            Self::BadExpires => "X-Amz-Expires should be a number from 0 to 604800".to_owned(),
            Self::Expired { signed, now, window } => {
                let (limit, now) = (shift(*now, -seconds(*window)), now.to_basic());
                format!("Signature expired: {signed} is now earlier than {limit} ({now} - {}.)", span(*window))
            }
            Self::NotYetCurrent { signed, now, window } => {
                let (limit, now) = (shift(*now, seconds(*window)), now.to_basic());
                format!("Signature not yet current: {signed} is still later than {limit} ({now} + {}.)", span(*window))
            }
            Self::HeaderNotSigned { name } if name == "host" => {
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned()
            }
            Self::HeaderNotSigned { name } => {
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")
            }
            Self::TooManySignedHeaders => {
                format!("Authorization header has more than {} 'SignedHeaders'.", super::SIGNED_HEADERS_MAX)
            }
            Self::UnsupportedAlgorithm { algorithm } => {
                format!("Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). ")
            }
            Self::BadCredential { got } => format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{got}'"
            ),
            Self::WrongScope(fault) => fault.text(),
            Self::UnknownAccessKey { .. } | Self::BadSessionToken(_) => {
                "The security token included in the request is invalid".to_owned()
            }
            Self::CredentialsExpired => "The security token included in the request is expired".to_owned(),
            Self::PayloadNotSigned { .. } | Self::PayloadMismatch | Self::SignatureMismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
                    .to_owned()
            }
        }
    }

    /// The response's body, `{"message":"…"}`, as Lambda's REST-JSON protocol writes it: no blanks, lower-case key.
    pub fn body(&self) -> String {
        format!(r#"{{"message":{}}}"#, serde_json::Value::String(self.message()))
    }
}

pub(super) fn expired(date: &SignedDate, now: UnixTime, window: Duration) -> SigV4Error {
    SigV4Error::Expired { signed: date.as_str().to_owned(), now, window }
}

pub(super) fn not_yet_current(date: &SignedDate, now: UnixTime, window: Duration) -> SigV4Error {
    SigV4Error::NotYetCurrent { signed: date.as_str().to_owned(), now, window }
}

fn seconds(window: Duration) -> i64 {
    i64::try_from(window.as_secs()).unwrap_or(i64::MAX)
}

/// The date `by` seconds from `time`.
fn shift(time: UnixTime, by: i64) -> String {
    let magnitude = by.unsigned_abs();
    let secs = if by < 0 { time.secs().saturating_sub(magnitude) } else { time.secs().saturating_add(magnitude) };
    UnixTime::from_secs(secs.min(u64::MAX / 1_000_000_000)).to_basic()
}

/// `5 min`, as AWS writes the skew; seconds where minutes would not be whole (presigned queries may ask for any).
fn span(window: Duration) -> String {
    match window.as_secs() {
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}
