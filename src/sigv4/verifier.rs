//! From a request's head and its body's hash to a principal.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::constant_time;

use super::authorization::{Claim, ScopedCredential, SignedHeaders, is_presigned, lossy};
use super::canonical::Scratch;
use super::date::SignedDate;
use super::error::{self, SigV4Error};
use super::error_details::{ScopeFault, TokenFault, excerpt};
use super::head::{Notable, RequestHead};
use super::hex;
use super::keyring::{Credential, Keyring};
use super::memo::{Known, Memo};
use super::pool::{Pool, Unfinished};
use super::principal::Principal;
use super::signing_key::{self, ALGORITHM, KeyCache, SigningKey, TERMINATOR};
use crate::time::UnixTime;

/// What AWS's documentation leaves open, or does differently for other services. The defaults are Lambda's as far as
/// they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How far the caller's clock may be off, either way. Recorded on Lambda: 5 minutes.
    pub skew: Duration,
    /// Whether presigned queries (`?X-Amz-Algorithm=…`) are accepted. Off: Lambda's documentation does not mention them.
    /// A presigned request is then one without authentication token.
    pub presigned: bool,
    /// Whether `X-Amz-Content-Sha256: UNSIGNED-PAYLOAD` is accepted. Off: documented for S3 alone.
    pub unsigned_payload: bool,
    /// Whether `x-amz-` headers may be left unsigned, the session token's among them. Off: the IAM User Guide says they
    /// must be signed. Some AWS services have been seen to let them pass.
    pub unsigned_amz_headers: bool,
    /// Whether errors repeat the Authorization header as its hash, as newer AWS front ends do, or as it was, as
    /// recorded on Lambda.
    pub hash_echo: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            skew: Duration::from_secs(300),
            presigned: false,
            unsigned_payload: false,
            unsigned_amz_headers: false,
            hash_echo: false,
        }
    }
}

/// Longest `X-Amz-Expires`: a week.
const EXPIRES_MAX: u64 = 604_800;

/// Verifies requests to one service in one region. One per worker: it keeps derived keys and buffers.
pub struct Verifier {
    region: Box<str>,
    service: Box<str>,
    settings: Settings,
    keys: KeyCache,
    memo: Memo,
    scratch: Scratch,
    pool: Pool,
}

impl Verifier {
    /// A verifier with default [`Settings`], for `us-east-2` and `lambda`, say.
    pub fn new(region: &str, service: &str) -> Self {
        Self::with_settings(region, service, Settings::default())
    }

    /// A verifier with these settings.
    pub fn with_settings(region: &str, service: &str, settings: Settings) -> Self {
        let (region, service) = (region.into(), service.into());
        let (keys, memo, scratch, pool) = (KeyCache::default(), Memo::default(), Scratch::default(), Pool::default());
        Self { region, service, settings, keys, memo, scratch, pool }
    }

    /// How many signing keys are kept, at most [`SIGNING_KEYS_MAX`](super::SIGNING_KEYS_MAX).
    pub fn cached_keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether a claim like this head's was found in order before.
    #[cfg(test)]
    pub(super) fn knows(&self, head: &RequestHead<'_>, keyring: &Keyring) -> bool {
        head.notable().authorization.is_some_and(|header| self.memo.find(header, head, keyring).is_some())
    }

    /// First phase, when the head has arrived: everything that can be known without the body.
    ///
    /// # Errors
    /// What is wrong with the request, the first in AWS's order.
    pub fn begin(&mut self, head: &RequestHead<'_>, keyring: &Keyring, now: UnixTime) -> Result<Pending, SigV4Error> {
        let notable = head.notable();
        match self.begin_known(head, &notable, keyring, now) {
            Some(pending) => Ok(pending),
            None => self.begin_unknown(head, &notable, keyring, now),
        }
    }

    /// For a claim like one that was found in order before. `None` if there was none, or anything else is the matter: then
    /// the long way says what.
    fn begin_known(
        &mut self,
        head: &RequestHead<'_>,
        notable: &Notable<'_>,
        keyring: &Keyring,
        now: UnixTime,
    ) -> Option<Pending> {
        if is_presigned(head.query()) {
            return None;
        }
        let (known, digits) = self.memo.find(notable.authorization?, head, keyring)?;
        let signature = hex::parse(digits)?;
        let date = SignedDate::parse_on(notable.amz_date?, &known.day, known.midnight)?;
        check_window(&date, None, self.settings.skew, now).ok()?;
        let credential = keyring.at(known.place)?;
        check_token(credential, notable.token, now).ok()?;
        let payload = Payload::declared(notable, self.settings.unsigned_payload).ok()?;
        let mut canonical = self.pool.take();
        self.scratch.canonical_known(&mut canonical, head, known.headers(head), &known.list);
        let (key, principal) = (Rc::clone(&known.key), Rc::clone(&known.principal));
        self.scratch.trim();
        let canonical = Unfinished::new(canonical, &self.pool);
        Some(Pending { canonical, payload, key, date, signature, principal })
    }

    fn begin_unknown<'h>(
        &mut self,
        head: &RequestHead<'h>,
        notable: &Notable<'h>,
        keyring: &Keyring,
        now: UnixTime,
    ) -> Result<Pending, SigV4Error> {
        let authorization = notable.authorization.map(lossy);
        let (accept_presigned, hash_echo) = (self.settings.presigned, self.settings.hash_echo);
        let claim = Claim::parse(head, notable, authorization.as_deref(), accept_presigned, hash_echo)?;
        let date =
            SignedDate::parse(&claim.date).ok_or_else(|| SigV4Error::BadDate { got: excerpt(&lossy(&claim.date)) })?;
        check_window(&date, claim.expires.as_deref(), self.settings.skew, now)?;
        // Names compare without regard to case; only a list that is not lower case yet costs an allocation.
        let names = match claim.signed_headers.as_ref() {
            text if text.bytes().fold(false, |found, c| found | c.is_ascii_uppercase()) => {
                Cow::Owned(text.to_ascii_lowercase())
            }
            text => Cow::Borrowed(text),
        };
        let signed = SignedHeaders::parse(&names)?;
        self.check_signed_headers(head, &signed)?;
        if claim.algorithm != ALGORITHM {
            return Err(SigV4Error::UnsupportedAlgorithm { algorithm: excerpt(&claim.algorithm) });
        }
        let scoped = ScopedCredential::parse(&claim.credential)?;
        self.check_scope(&scoped, &date)?;
        let unknown = || SigV4Error::UnknownAccessKey { access_key_id: excerpt(scoped.access_key_id) };
        let (place, credential) = keyring.position(scoped.access_key_id).ok_or_else(unknown)?;
        check_token(credential, claim.token.as_deref(), now)?;
        let payload = Payload::declared(notable, self.settings.unsigned_payload)?;
        let signature = hex::parse(claim.signature.as_bytes()).ok_or(SigV4Error::SignatureMismatch)?;

        let (region, service) = (&self.region, &self.service);
        let derive = || signing_key::derive_for(credential, date.day(), region, service);
        let key = Rc::clone(self.keys.key(keyring, place, date.day_number(), derive));
        let mut canonical = self.pool.take();
        canonical.extend_from_slice(self.scratch.canonical_request(head, &signed));
        self.scratch.trim();
        let canonical = Unfinished::new(canonical, &self.pool);
        // The worker's own copy: the keyring's is counted by all workers, and what all of them write each waits for.
        let principal = Rc::new(Principal::clone(&credential.principal));
        if let Some(header) = notable.authorization
            && let Some(known) = Known::learn(header, head, &signed, &date, place, (&key, &principal))
        {
            self.memo.keep(keyring, known);
        }
        Ok(Pending { canonical, payload, key, date, signature, principal })
    }

    fn check_signed_headers(&self, head: &RequestHead<'_>, signed: &SignedHeaders<'_>) -> Result<(), SigV4Error> {
        if !signed.contains("host") && !signed.contains(":authority") {
            return Err(SigV4Error::HeaderNotSigned { name: "host".to_owned() });
        }
        if self.settings.unsigned_amz_headers {
            return Ok(());
        }
        match head.find_name(|name| name.starts_with(b"x-amz-") && !signed.contains(&lossy(name))) {
            Some(name) => Err(SigV4Error::HeaderNotSigned { name: excerpt(&lossy(name)) }),
            None => Ok(()),
        }
    }

    fn check_scope(&self, scoped: &ScopedCredential<'_>, date: &SignedDate) -> Result<(), SigV4Error> {
        let is_right = scoped.region == &*self.region
            && scoped.service == &*self.service
            && scoped.terminator == TERMINATOR
            && scoped.day == date.day();
        if is_right {
            return Ok(());
        }
        let fault = ScopeFault {
            region: (scoped.region != &*self.region).then(|| excerpt(scoped.region)),
            service: (scoped.service != &*self.service).then(|| self.service.to_string()),
            terminator: (scoped.terminator != TERMINATOR).then(|| excerpt(scoped.terminator)),
            date: (scoped.day != date.day()).then(|| (excerpt(scoped.day), date.as_str().to_owned())),
        };
        Err(SigV4Error::WrongScope(Box::new(fault)))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("region", &self.region)
            .field("service", &self.service)
            .field("settings", &self.settings)
            .field("cached_keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Whether a date is current: within `skew`, or for a presigned query within the time that it `expires` in.
fn check_window(date: &SignedDate, expires: Option<&str>, skew: Duration, now: UnixTime) -> Result<(), SigV4Error> {
    let secs = |window: Duration| i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
    let lifetime = match expires {
        None => skew,
        Some(text) => {
            let expires: u64 = text.parse().map_err(|_| SigV4Error::BadExpires)?;
            if expires > EXPIRES_MAX {
                return Err(SigV4Error::BadExpires);
            }
            Duration::from_secs(expires)
        }
    };
    let age = i64::try_from(now.secs()).unwrap_or(i64::MAX).saturating_sub(date.secs);
    if age > secs(lifetime) {
        Err(error::expired(date, now, lifetime))
    } else if age < -secs(skew) {
        Err(error::not_yet_current(date, now, skew))
    } else {
        Ok(())
    }
}

/// Whether the token that came, if any, is the one that belongs to the access key.
fn check_token(credential: &Credential, token: Option<&[u8]>, now: UnixTime) -> Result<(), SigV4Error> {
    match (&credential.session_token, token) {
        (None, None) => {}
        (Some(_), None) => return Err(SigV4Error::BadSessionToken(TokenFault::Missing)),
        (None, Some(_)) => return Err(SigV4Error::BadSessionToken(TokenFault::Unexpected)),
        (Some(ours), Some(theirs)) => {
            let ours = ours.expose().as_bytes();
            constant_time::verify_slices_are_equal(ours, theirs.trim_ascii())
                .map_err(|_| SigV4Error::BadSessionToken(TokenFault::Different))?;
        }
    }
    match credential.expires {
        Some(expires) if expires <= now => Err(SigV4Error::CredentialsExpired),
        _ => Ok(()),
    }
}

/// What `X-Amz-Content-Sha256` says of the body.
#[derive(Clone, Copy, Debug)]
enum Payload {
    /// Nothing: the body's own hash is signed.
    Undeclared,
    /// This hash: the body must have it.
    Hash([u8; 32]),
    /// `UNSIGNED-PAYLOAD`, and that is allowed here.
    Unsigned,
}

const UNSIGNED_PAYLOAD: &[u8] = b"UNSIGNED-PAYLOAD";

impl Payload {
    fn declared(notable: &Notable<'_>, accept_unsigned: bool) -> Result<Self, SigV4Error> {
        let Some(value) = notable.content_sha256.map(<[u8]>::trim_ascii) else {
            return Ok(Self::Undeclared);
        };
        if value == UNSIGNED_PAYLOAD && accept_unsigned {
            return Ok(Self::Unsigned);
        }
        if value == UNSIGNED_PAYLOAD || value.starts_with(b"STREAMING-") {
            return Err(SigV4Error::PayloadNotSigned { declared: excerpt(&lossy(value)) });
        }
        hex::parse(value).map(Self::Hash).ok_or(SigV4Error::PayloadMismatch)
    }
}

/// A request whose head is in order and whose body is awaited.
#[must_use = "nobody is authenticated until finish says so"]
pub struct Pending {
    /// All of the canonical request but the payload hash.
    canonical: Unfinished,
    payload: Payload,
    key: Rc<SigningKey>,
    date: SignedDate,
    signature: [u8; 32],
    principal: Rc<Principal>,
}

impl Pending {
    /// Second phase, when all of the body has arrived and has this hash: whose request it is.
    ///
    /// # Errors
    /// If the signature is not the one we calculate.
    pub fn finish(self, body_sha256: &[u8; 32]) -> Result<Rc<Principal>, SigV4Error> {
        let hash = match self.payload {
            Payload::Hash(declared) if declared != *body_sha256 => return Err(SigV4Error::PayloadMismatch),
            Payload::Hash(_) | Payload::Undeclared => self.canonical.finish(&hex::emit(body_sha256)),
            Payload::Unsigned => self.canonical.finish(UNSIGNED_PAYLOAD),
        };
        if self.key.verify(self.date.as_bytes(), &hash, &self.signature) {
            Ok(self.principal)
        } else {
            Err(SigV4Error::SignatureMismatch)
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("scope", &self.key.scope()).field("date", &self.date).finish_non_exhaustive()
    }
}
