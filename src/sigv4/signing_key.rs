//! Signing keys, derived once a day per access key and then kept.

use std::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::{constant_time, hmac};
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
    /// Of the string to sign, with gaps where date and hash go.
    key: RefCell<Keyed>,
    scope: Box<str>,
}

/// Where the date stands in the string to sign.
const DATE_AT: usize = ALGORITHM.len() + 1;

impl SigningKey {
    /// `HMAC(HMAC(HMAC(HMAC("AWS4" + secret, day), region), service), "aws4_request")`.
    pub(super) fn derive(secret: &str, day: &str, region: &str, service: &str) -> Self {
        let first = Zeroizing::new([b"AWS4", secret.as_bytes()].concat());
        let mut tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &first), day.as_bytes());
        for part in [region, service, TERMINATOR] {
            tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref()), part.as_bytes());
        }
        let scope = format!("{day}/{region}/{service}/{TERMINATOR}").into_boxed_str();
        let gap = |len| " ".repeat(len);
        let template = format!("{ALGORITHM}\n{}\n{scope}\n{}", gap(16), gap(64));
        Self { key: RefCell::new(Keyed::new(tag.as_ref(), template.as_bytes())), scope }
    }

    /// `20150830/us-east-2/lambda/aws4_request`.
    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of the request whose canonical form has this hash.
    pub(super) fn sign(&self, date: &[u8; 16], canonical_hash: &[u8; 32]) -> [u8; 32] {
        let mut key = self.key.borrow_mut();
        let text = key.message();
        text[DATE_AT..DATE_AT + 16].copy_from_slice(date);
        let hash_at = text.len() - 64;
        text[hash_at..].copy_from_slice(&hex::emit(canonical_hash));
        key.sign()
    }

    /// Whether `signature` is that signature, in constant time.
    pub(super) fn verify(&self, date: &[u8; 16], canonical_hash: &[u8; 32], signature: &[u8; 32]) -> bool {
        constant_time::verify_slices_are_equal(&self.sign(date, canonical_hash), signature).is_ok()
    }
}

/// HMAC-SHA256 (RFC 2104) of a message whose parts change, under one key. What both hashes take in lies ready behind its padded
/// key and is hashed in one call each. The padded key is then hashed every time, two blocks, which costs less than copying a
/// hash that has taken it in: aws-lc-rs allocates for each copy.
struct Keyed {
    inner: Zeroizing<Vec<u8>>,
    outer: Zeroizing<[u8; BLOCK + 32]>,
}

/// SHA-256's block, bytes.
const BLOCK: usize = 64;

impl Keyed {
    /// Under a key of at most a block.
    fn new(key: &[u8], message: &[u8]) -> Self {
        debug_assert!(key.len() <= BLOCK, "a longer key would have to be hashed first");
        let mut inner = Zeroizing::new(vec![0x36; BLOCK + message.len()]);
        let mut outer = Zeroizing::new([0x5c; BLOCK + 32]);
        inner.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        outer.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        inner[BLOCK..].copy_from_slice(message);
        Self { inner, outer }
    }

    /// The message, to be changed.
    fn message(&mut self) -> &mut [u8] {
        &mut self.inner[BLOCK..]
    }

    fn sign(&mut self) -> [u8; 32] {
        self.outer[BLOCK..].copy_from_slice(&super::sha256(&self.inner));
        super::sha256(&*self.outer)
    }
}

/// The keys one verifier has derived, all for the same region and service.
#[derive(Default)]
pub(super) struct KeyCache {
    /// The snapshot that the places in `keys` refer to.
    keyring: Option<Keyring>,
    /// By place in the keyring and day.
    keys: HashMap<(u32, u32), Rc<SigningKey>, foldhash::fast::RandomState>,
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
    ) -> &Rc<SigningKey> {
        // A new snapshot may hold another secret for the same id: nothing of the old one is used, or kept in memory.
        if !self.keyring.as_ref().is_some_and(|known| known.is_same_snapshot(keyring)) {
            self.keys.clear();
            self.keyring = Some(keyring.clone());
        }
        if self.keys.len() >= SIGNING_KEYS_MAX && !self.keys.contains_key(&(place, day)) {
            self.keys.clear();
        }
        self.keys.entry((place, day)).or_insert_with(|| Rc::new(derive()))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_keyed_hash_is_hmac(
            key in prop::collection::vec(any::<u8>(), 0..=64),
            message in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
            let mut keyed = Keyed::new(&key, &vec![0; message.len()]);
            for _ in 0..2 {
                keyed.message().copy_from_slice(&message);
                prop_assert_eq!(&keyed.sign()[..], expected.as_ref());
            }
        }
    }
}
