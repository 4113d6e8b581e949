//! Signing keys, derived once a day per access key and then kept.

use std::sync::Arc;

use aws_lc_rs::hmac;
use hashbrown::HashMap;
use zeroize::Zeroizing;

use super::hex;
use super::keyring::{Credential, Keyring};

/// Most signing keys a verifier keeps. A keyring of [`CREDENTIALS_MAX`](super::CREDENTIALS_MAX) keys around midnight
/// needs twice as many; over the limit all are dropped and derived again, at about a microsecond each.
pub const SIGNING_KEYS_MAX: usize = 20_000;

/// The last part of every credential scope.
pub(super) const TERMINATOR: &str = "aws4_request";

/// The name of the algorithm, first line of every string to sign.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The key for one access key, day, region and service, with the scope it stands for.
pub(super) struct SigningKey {
    key: hmac::Key,
    scope: Box<str>,
}

impl SigningKey {
    /// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, day), region), service), "aws4_request")`.
    pub(super) fn derive(secret: &str, day: &str, region: &str, service: &str) -> Self {
        let first = Zeroizing::new([b"AWS4", secret.as_bytes()].concat());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &first);
        for part in [day, region, service, TERMINATOR] {
            let tag = hmac::sign(&key, part.as_bytes());
            key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
        }
        Self { key, scope: format!("{day}/{region}/{service}/{TERMINATOR}").into() }
    }

    /// `20150830/us-east-2/lambda/aws4_request`.
    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of the request whose canonical form has this hash.
    pub(super) fn sign(&self, date: &str, canonical_hash: &[u8; 32]) -> [u8; 32] {
        super::to_array(self.absorb(date, canonical_hash).sign().as_ref())
    }

    /// Whether `signature` is that signature, in constant time.
    pub(super) fn verify(&self, date: &str, canonical_hash: &[u8; 32], signature: &[u8; 32]) -> bool {
        let expected = self.absorb(date, canonical_hash).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), signature).is_ok()
    }

    /// The string to sign, fed into the keyed hash.
    fn absorb(&self, date: &str, canonical_hash: &[u8; 32]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        let mut text = smallvec::SmallVec::<[u8; 256]>::new();
        for line in [ALGORITHM, date, &self.scope] {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&hex::emit(canonical_hash));
        context.update(&text);
        context
    }
}

/// The keys one verifier has derived, all for the same region and service.
#[derive(Default)]
pub(super) struct KeyCache {
    /// The snapshot that the places in `keys` refer to.
    keyring: Option<Keyring>,
    /// By place in the keyring and day.
    keys: HashMap<(u32, u32), Arc<SigningKey>, foldhash::fast::RandomState>,
}

impl KeyCache {
    /// The key of the credential at `place` for `day`, kept or derived by `derive`.
    #[inline]
    pub(super) fn key(
        &mut self,
        keyring: &Keyring,
        place: u32,
        day: u32,
        derive: impl FnOnce() -> SigningKey,
    ) -> &Arc<SigningKey> {
        // A new snapshot may hold another secret for the same id: nothing of the old one is used, or kept in memory.
        if !self.keyring.as_ref().is_some_and(|known| known.is_same_snapshot(keyring)) {
            self.keys.clear();
            self.keyring = Some(keyring.clone());
        }
        if self.keys.len() >= SIGNING_KEYS_MAX && !self.keys.contains_key(&(place, day)) {
            self.keys.clear();
        }
        self.keys.entry((place, day)).or_insert_with(|| Arc::new(derive()))
    }

    /// How many keys are kept.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Derives the key of `credential` for `day`.
pub(super) fn derive_for(credential: &Credential, day: &str, region: &str, service: &str) -> SigningKey {
    SigningKey::derive(credential.secret.expose(), day, region, service)
}
