//! One request that is signed again and again: only its date and its body's hash change.
//!
//! Everything else of the canonical request is written once. What a load generator spends on a signature is then what
//! cryptography costs: two hashes and one keyed hash with the day's key.

use http::header::{AUTHORIZATION, HeaderValue};
use http::request;

use super::canonical::Scratch;
use super::date::SignedDate;
use super::head::RequestHead;
use super::hex;
use super::keyring::Credential;
use super::sign::{SignError, X_AMZ_DATE, set_token, signed_headers};
use super::signing_key::{self, ALGORITHM, SigningKey};
use crate::time::UnixTime;

/// Where a canonical request says the date: the header's name and the colon behind it, at the beginning of a line.
const DATE_LINE: &[u8] = b"\nx-amz-date:";

/// Signs one request repeatedly.
pub struct Prepared {
    credential: Credential,
    region: Box<str>,
    service: Box<str>,
    /// The canonical request; date and body hash are overwritten each time.
    canonical: Vec<u8>,
    date_at: usize,
    hash_at: usize,
    signed_names: String,
    date: SignedDate,
    key: Option<DayKey>,
}

/// What stays the same for a day.
struct DayKey {
    day: u32,
    key: SigningKey,
    prefix: String,
}

/// What a signature adds to a request.
#[derive(Debug)]
pub struct Stamp<'a> {
    /// The value of `X-Amz-Date`.
    pub date: &'a str,
    /// The value of `Authorization` up to the signature. The same for a whole day.
    pub prefix: &'a str,
    /// The signature, which ends that value.
    pub signature: [u8; 64],
}

impl Prepared {
    /// Prepares the request. Its headers, but those that hops change on the way, are signed; `X-Amz-Date` is added to them
    /// and, if the credential has one, `X-Amz-Security-Token`.
    ///
    /// # Errors
    /// As [`Signer::sign`](super::Signer::sign).
    pub fn new(
        credential: Credential,
        region: &str,
        service: &str,
        parts: &mut request::Parts,
    ) -> Result<Self, SignError> {
        let date = SignedDate::from_time(UnixTime::from_secs(0));
        parts.headers.remove(AUTHORIZATION);
        parts.headers.insert(X_AMZ_DATE, HeaderValue::from_str(date.as_str()).map_err(|_| SignError::Scope)?);
        set_token(parts, &credential)?;
        let head = RequestHead::from_parts(parts);
        if !head.has_host() {
            return Err(SignError::NoHost);
        }
        let signed = signed_headers(&parts.headers);
        let mut canonical = Scratch::default().canonical_request(&head, &signed).to_vec();
        let found = canonical.windows(DATE_LINE.len()).position(|window| window == DATE_LINE);
        let date_at = found.ok_or(SignError::Scope)? + DATE_LINE.len();
        let hash_at = canonical.len();
        canonical.extend_from_slice(&[b'0'; 64]);
        let signed_names = signed.names().join(";");
        let (region, service) = (region.into(), service.into());
        Ok(Self { credential, region, service, canonical, date_at, hash_at, signed_names, date, key: None })
    }

    /// Signs it as of `now`, with a body of this hash.
    pub fn sign(&mut self, body_sha256: &[u8; 32], now: UnixTime) -> Stamp<'_> {
        if i64::try_from(now.secs()) != Ok(self.date.secs) {
            self.date = SignedDate::from_time(now);
            self.canonical[self.date_at..self.date_at + self.date.as_str().len()]
                .copy_from_slice(self.date.as_str().as_bytes());
        }
        self.canonical[self.hash_at..].copy_from_slice(&hex::emit(body_sha256));
        let day = self.date.day_number();
        if self.key.as_ref().is_none_or(|known| known.day != day) {
            self.key = Some(self.derive(day));
        }
        let hash = super::sha256(&self.canonical);
        let (date, bytes) = (self.date.as_str(), self.date.as_bytes());
        let (signature, prefix) = match &self.key {
            Some(known) => (hex::emit(&known.key.sign(bytes, &hash)), known.prefix.as_str()),
            // It was made above if there was none.
            None => ([b'0'; 64], ""),
        };
        Stamp { date, prefix, signature }
    }

    fn derive(&self, day: u32) -> DayKey {
        let key = signing_key::derive_for(&self.credential, self.date.day(), &self.region, &self.service);
        let prefix = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature=",
            self.credential.access_key_id,
            key.scope(),
            self.signed_names
        );
        DayKey { day, key, prefix }
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("credential", &self.credential).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sigv4::{Principal, sha256, sign};

    fn parts() -> request::Parts {
        let request = http::Request::post("/2015-03-31/functions/echo%3Alive/invocations?Qualifier=1")
            .header("host", "lambda.us-east-2.amazonaws.com")
            .header("content-type", "application/json")
            .header("user-agent", "x");
        request.body(()).expect("a request").into_parts().0
    }

    fn credential(token: Option<&str>) -> Credential {
        let principal = Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN");
        let credential = Credential::new("AKIDEXAMPLE", "secret", Arc::new(principal));
        match token {
            Some(token) => credential.with_session(token, UnixTime::from_secs(u64::MAX / 2_000_000_000)),
            None => credential,
        }
    }

    #[test]
    fn a_prepared_request_gets_the_signatures_that_signing_it_anew_gives() {
        for token in [None, Some("a-session-token")] {
            let mut prepared_parts = parts();
            let mut prepared =
                Prepared::new(credential(token), "us-east-2", "lambda", &mut prepared_parts).expect("prepared");
            // Another body, another second, another day.
            for (secs, body) in [(1_700_000_000, "a"), (1_700_000_000, "b"), (1_700_000_001, "b"), (1_700_100_000, "b")]
            {
                let now = UnixTime::from_secs(secs);
                let hash = sha256(body.as_bytes());
                let mut anew = parts();
                sign(&mut anew, &hash, &credential(token), "us-east-2", "lambda", now).expect("signed");
                let stamp = prepared.sign(&hash, now);
                let authorization =
                    format!("{}{}", stamp.prefix, std::str::from_utf8(&stamp.signature).expect("digits"));
                assert_eq!(anew.headers[AUTHORIZATION], authorization);
                assert_eq!(anew.headers["x-amz-date"], stamp.date);
            }
            assert_eq!(prepared_parts.headers.get("x-amz-security-token").is_some(), token.is_some());
        }
    }

    #[test]
    fn a_request_without_a_host_cannot_be_prepared() {
        let mut parts = parts();
        parts.headers.remove("host");
        let refused = Prepared::new(credential(None), "us-east-2", "lambda", &mut parts);
        assert_eq!(refused.err(), Some(SignError::NoHost));
    }
}
