//! Signing requests, for the demo, the load generator and the tests.

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request;
use smallvec::SmallVec;

use super::authorization::SignedHeaders;
use super::canonical::Scratch;
use super::date::SignedDate;
use super::head::RequestHead;
use super::hex;
use super::keyring::Credential;
use super::signing_key::{self, ALGORITHM, SigningKey};
use crate::time::UnixTime;

/// Headers that hops on the way change, add or remove; the SDKs leave them unsigned too.
const UNSIGNED: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-amzn-trace-id",
];

pub(super) const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs requests to one service in one region, keeping the day's key and its buffers.
pub struct Signer {
    credential: Credential,
    region: Box<str>,
    service: Box<str>,
    key: Option<(u32, SigningKey)>,
    scratch: Scratch,
}

impl Signer {
    /// A signer with this access key.
    pub fn new(credential: Credential, region: &str, service: &str) -> Self {
        Self { credential, region: region.into(), service: service.into(), key: None, scratch: Scratch::default() }
    }

    /// Sets `X-Amz-Date`, `X-Amz-Security-Token` if there is one, and `Authorization`. All other headers that are there
    /// are signed, but those that hops change on the way.
    ///
    /// # Errors
    /// If there is neither Host header nor authority, or the session token cannot stand in a header.
    pub fn sign(&mut self, parts: &mut request::Parts, body_sha256: &[u8; 32], now: UnixTime) -> Result<(), SignError> {
        let date = SignedDate::from_time(now);
        parts.headers.remove(AUTHORIZATION);
        parts.headers.insert(X_AMZ_DATE, HeaderValue::from_str(date.as_str()).map_err(|_| SignError::Token)?);
        set_token(parts, &self.credential)?;

        let head = RequestHead::from_parts(parts);
        if !head.has_host() {
            return Err(SignError::NoHost);
        }
        let signed = signed_headers(&parts.headers);
        let mut canonical = self.scratch.canonical_request(&head, &signed).to_vec();
        self.scratch.trim();
        canonical.extend_from_slice(&hex::emit(body_sha256));
        let key = match &mut self.key {
            Some((day, key)) if *day == date.day_number() => key,
            kept => {
                let key = signing_key::derive_for(&self.credential, date.day(), &self.region, &self.service);
                &mut kept.insert((date.day_number(), key)).1
            }
        };
        let signature = hex::emit(&key.sign(date.as_bytes(), &super::sha256(&canonical)));

        let authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
            self.credential.access_key_id,
            key.scope(),
            signed.names().join(";"),
            str::from_utf8(&signature).unwrap_or_default(),
        );
        drop((signed, head));
        let value = HeaderValue::from_str(&authorization).map_err(|_| SignError::Scope)?;
        parts.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// Sets or removes `X-Amz-Security-Token`, as the credential wants it.
pub(super) fn set_token(parts: &mut request::Parts, credential: &Credential) -> Result<(), SignError> {
    match &credential.session_token {
        Some(token) => {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| SignError::Token)?;
            value.set_sensitive(true);
            parts.headers.insert(X_AMZ_SECURITY_TOKEN, value);
        }
        None => drop(parts.headers.remove(X_AMZ_SECURITY_TOKEN)),
    }
    Ok(())
}

/// The names to sign, sorted, `host` among them even where only the authority stands for it.
pub(super) fn signed_headers(headers: &HeaderMap) -> SignedHeaders<'_> {
    let mut names: SmallVec<[&str; 16]> =
        headers.keys().map(HeaderName::as_str).filter(|name| !UNSIGNED.contains(name)).collect();
    if !headers.contains_key(HOST) {
        names.push("host");
    }
    names.sort_unstable();
    SignedHeaders::from_sorted(names)
}

/// Signs one request: [`Signer::sign`] with a signer that is used once.
///
/// # Errors
/// As [`Signer::sign`].
pub fn sign(
    parts: &mut request::Parts,
    body_sha256: &[u8; 32],
    credential: &Credential,
    region: &str,
    service: &str,
    now: UnixTime,
) -> Result<(), SignError> {
    Signer::new(credential.clone(), region, service).sign(parts, body_sha256, now)
}

/// Why a request cannot be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// The host is part of every signature.
    #[error("the request has neither a Host header nor an authority in its URI; set one of them")]
    NoHost,
    /// A session token that cannot stand in a header.
    #[error("the session token has characters that cannot stand in a header")]
    Token,
    /// An access key id, region or service that cannot stand in a header.
    #[error("the access key id, region or service has characters that cannot stand in a header")]
    Scope,
}
