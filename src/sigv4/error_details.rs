//! What errors carry: pieces of the request, and lists of what is missing or wrong in it.

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Most bytes of a request that an error repeats. A longer Authorization header is repeated as its hash.
pub const ECHO_MAX: usize = 4096;

/// A piece of the request, as AWS's texts repeat it: older ones as it was, newer ones hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Echo {
    /// As it was sent.
    Text(String),
    /// Base64 of its SHA-256.
    Hash(String),
}

impl Echo {
    /// Repeats `text`, or its hash if that is wanted or the text is longer than [`ECHO_MAX`].
    pub(super) fn new(text: &str, hashed: bool) -> Self {
        if hashed || text.len() > ECHO_MAX {
            Self::Hash(BASE64_STANDARD.encode(super::sha256(text.as_bytes())))
        } else {
            Self::Text(text.to_owned())
        }
    }

    /// The hash, made now if the text is kept.
    pub(super) fn hash(&self) -> String {
        match self {
            Self::Text(text) => BASE64_STANDARD.encode(super::sha256(text.as_bytes())),
            Self::Hash(hash) => hash.clone(),
        }
    }
}

/// The first [`ECHO_MAX`] bytes of `text`, for errors that repeat a piece of it.
pub(super) fn excerpt(text: &str) -> String {
    text[..text.floor_char_boundary(ECHO_MAX)].to_owned()
}

/// Which parts of a signature were missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MissingParts {
    /// `X-Amz-Algorithm`; presigned queries only.
    pub algorithm: bool,
    /// `Credential`.
    pub credential: bool,
    /// `Signature`.
    pub signature: bool,
    /// `SignedHeaders`.
    pub signed_headers: bool,
    /// `X-Amz-Date` and `Date`.
    pub date: bool,
}

impl MissingParts {
    /// Whether any was.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// AWS's sentences for an Authorization header.
    pub(super) fn header_text(self) -> String {
        let parts =
            [(self.credential, "Credential"), (self.signature, "Signature"), (self.signed_headers, "SignedHeaders")];
        let mut text: String = parts
            .iter()
            .filter(|(missing, _)| *missing)
            .map(|(_, name)| format!("Authorization header requires '{name}' parameter. "))
            .collect();
        if self.date {
            text += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
        }
        text
    }

    /// AWS's sentences for a presigned query.
    pub(super) fn query_text(self) -> String {
        let parts = [
            (self.algorithm, "X-Amz-Algorithm"),
            (self.credential, "X-Amz-Credential"),
            (self.signature, "X-Amz-Signature"),
            (self.signed_headers, "X-Amz-SignedHeaders"),
            (self.date, "X-Amz-Date"),
        ];
        let missing = parts.iter().filter(|(missing, _)| *missing);
        missing.map(|(_, name)| format!("AWS query-string parameters must include '{name}'. ")).collect()
    }
}

/// What is wrong with a credential scope. AWS lists all of it at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScopeFault {
    /// The region in the scope, if it is not the endpoint's.
    pub region: Option<String>,
    /// The right service, if the scope has another.
    pub service: Option<String>,
    /// The terminator in the scope, if it is not `aws4_request`.
    pub terminator: Option<String>,
    /// The day in the scope, and the date of the request, if they differ.
    pub date: Option<(String, String)>,
}

impl ScopeFault {
    /// AWS's sentences, in its order.
    pub(super) fn text(&self) -> String {
        let mut parts = Vec::with_capacity(4);
        if let Some(region) = &self.region {
            parts.push(format!("Credential should be scoped to a valid Region, not '{region}'."));
        }
        if let Some(service) = &self.service {
            parts.push(format!("Credential should be scoped to correct service: '{service}'."));
        }
        if let Some(terminator) = &self.terminator {
            let text = "Credential should be scoped with a valid terminator: 'aws4_request', not";
            parts.push(format!("{text} '{terminator}'."));
        }
        if let Some((day, date)) = &self.date {
            let text = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP";
            let date_day = date.get(..8).unwrap_or_default();
            parts.push(format!("{text}: '{day}' != '{date_day}', from '{date}'."));
        }
        parts.join(" ")
    }
}

/// What is wrong with a session token. AWS gives one answer for all three.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenFault {
    /// Temporary credentials without their token.
    #[error("missing")]
    Missing,
    /// A token with long-term credentials.
    #[error("not expected with a long-term access key")]
    Unexpected,
    /// Another token than the credentials'.
    #[error("not the access key's")]
    Different,
}
