//! Claims that were read before.
//!
//! A client signs one request after the other with the same key, scope and list of headers: its Authorization header differs
//! only in the 64 digits of the signature, and its headers come in the same order. What was found out about all but the
//! digits, down to where each signed header stands, is kept and used again. It is a pure function of those bytes, of the
//! names of the headers and of the keyring, all of which are compared in full, so nothing is believed that was not checked;
//! date, token, body hash and signature are checked every time. Whatever does not fit is read as if for the first time.

use std::rc::Rc;

use smallvec::SmallVec;

use super::authorization::SignedHeaders;
use super::date::SignedDate;
use super::head::{Entry, RequestHead};
use super::keyring::Keyring;
use super::principal::Principal;
use super::signing_key::SigningKey;

/// Claims kept, each about a kilobyte. One replaces another that happens to share its slot.
const SLOTS: usize = 256;
/// Longest header kept, without its signature, and most bytes of names: real ones have 200.
const TEXT_MAX: usize = 1024;
/// Digits of a signature.
const DIGITS: usize = 64;

/// All that is known of a header's first part, and of the heads it came with.
pub(super) struct Known {
    /// The header without its last 64 digits.
    prefix: Box<[u8]>,
    /// The first second of the day in the scope, and how it is written.
    pub(super) midnight: i64,
    pub(super) day: [u8; 8],
    /// The credential's place in the keyring.
    pub(super) place: u32,
    pub(super) key: Rc<SigningKey>,
    pub(super) principal: Rc<Principal>,
    /// The names of all headers of the head, one after the other, and where each ends.
    names: Box<[u8]>,
    ends: SmallVec<[u16; 24]>,
    has_authority: bool,
    signed: Box<[Signed]>,
    /// `name:` of all signed headers.
    labels: Box<[u8]>,
    /// `a;b;c`.
    pub(super) list: Box<[u8]>,
}

/// One signed header.
struct Signed {
    /// Where its label ends.
    end: u16,
    value: Place,
}

/// Where a signed header's value is.
#[derive(Clone, Copy)]
enum Place {
    Header(u8),
    Authority,
    Nowhere,
}

impl Known {
    /// What is known now that a head was found in order. `None` if it is too unusual to be kept.
    pub(super) fn learn(
        authorization: &[u8],
        head: &RequestHead<'_>,
        signed: &SignedHeaders<'_>,
        date: &SignedDate,
        place: u32,
        (key, principal): (&Rc<SigningKey>, &Rc<Principal>),
    ) -> Option<Self> {
        let prefix = authorization.get(..authorization.len().checked_sub(DIGITS)?)?;
        // The signature is last, so that other digits in its place change nothing of what comes before. It is a pair of its
        // own: `XSignature=` after it would be another pair.
        let before = prefix.strip_suffix(b"Signature=")?;
        if prefix.len() > TEXT_MAX || !before.ends_with(b" ") && !before.ends_with(b",") {
            return None;
        }
        let entries = head.entries()?;
        let (mut names, mut ends) = (Vec::new(), SmallVec::new());
        for (name, _) in entries {
            names.extend_from_slice(name);
            ends.push(u16::try_from(names.len()).ok()?);
        }
        let (mut labels, mut places) = (Vec::new(), Vec::new());
        for &name in signed.names() {
            labels.extend_from_slice(name.as_bytes());
            labels.push(b':');
            places.push(Signed { end: u16::try_from(labels.len()).ok()?, value: place_of(name, head, entries)? });
        }
        if names.len().max(labels.len()) > TEXT_MAX {
            return None;
        }
        let list = signed.names().join(";").into_bytes().into();
        let (day, midnight) = date.midnight();
        let (names, labels, signed) = (names.into(), labels.into(), places.into());
        let (prefix, key, has_authority) = (prefix.into(), Rc::clone(key), head.authority().is_some());
        let principal = Rc::clone(principal);
        Some(Self { prefix, midnight, day, place, key, principal, names, ends, has_authority, signed, labels, list })
    }

    /// Whether a head has the same names in the same order.
    #[inline]
    fn is_shape_of(&self, head: &RequestHead<'_>) -> bool {
        let Some(entries) = head.entries() else { return false };
        if entries.len() != self.ends.len() || head.authority().is_some() != self.has_authority {
            return false;
        }
        let mut start = 0;
        entries.iter().zip(&self.ends).all(|((name, _), &end)| {
            let known = &self.names[start..usize::from(end)];
            start = usize::from(end);
            known == *name
        })
    }

    /// `name:` and value of each signed header of a head of this shape.
    #[inline]
    pub(super) fn headers<'h>(&'h self, head: &'h RequestHead<'_>) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
        let entries = head.entries().unwrap_or_default();
        let mut start = 0;
        self.signed.iter().map(move |signed| {
            let label = &self.labels[start..usize::from(signed.end)];
            start = usize::from(signed.end);
            let value = match signed.value {
                Place::Header(at) => entries.get(usize::from(at)).map_or(&b""[..], |(_, value)| value),
                Place::Authority => head.authority().unwrap_or_default().as_bytes(),
                Place::Nowhere => b"",
            };
            (label, value)
        })
    }
}

/// Where the one value of a header is, as [`RequestHead::for_each`] finds it; `None` if it has several.
fn place_of(name: &str, head: &RequestHead<'_>, entries: &[Entry<'_>]) -> Option<Place> {
    let has_authority = head.authority().is_some();
    let name = match name {
        ":authority" if has_authority => return Some(Place::Authority),
        ":authority" => "host",
        name => name,
    };
    let mut found = entries.iter().enumerate().filter(|(_, (other, _))| *other == name.as_bytes());
    match (found.next(), found.next()) {
        (Some((at, _)), None) => u8::try_from(at).ok().map(Place::Header),
        (None, _) if name == "host" && has_authority => Some(Place::Authority),
        (None, _) => Some(Place::Nowhere),
        (Some(_), Some(_)) => None,
    }
}

/// The claims one verifier knows, all under one keyring.
#[derive(Default)]
pub(super) struct Memo {
    keyring: Option<Keyring>,
    slots: Vec<Option<Box<Known>>>,
}

impl Memo {
    /// What is known of this header and head, with the signature's digits.
    #[inline]
    pub(super) fn find<'m, 'a>(
        &'m self,
        authorization: &'a [u8],
        head: &RequestHead<'_>,
        keyring: &Keyring,
    ) -> Option<(&'m Known, &'a [u8])> {
        if !self.keyring.as_ref().is_some_and(|known| known.is_same_snapshot(keyring)) {
            return None;
        }
        let (prefix, digits) = authorization.split_at_checked(authorization.len().checked_sub(DIGITS)?)?;
        let lengths = head.entries()?.iter().map(|(name, _)| name.len());
        let known = self.slots.get(slot(prefix, lengths)?)?.as_deref()?;
        (*known.prefix == *prefix && known.is_shape_of(head)).then_some((known, digits))
    }

    /// Keeps what was learned under this keyring.
    pub(super) fn keep(&mut self, keyring: &Keyring, known: Known) {
        if !self.keyring.as_ref().is_some_and(|known| known.is_same_snapshot(keyring)) {
            // Keys and places of the old snapshot are neither used nor kept in memory.
            self.slots.clear();
            self.keyring = Some(keyring.clone());
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let starts = std::iter::once(0).chain(known.ends.iter().copied());
        let lengths = known.ends.iter().zip(starts).map(|(end, start)| usize::from(end - start));
        if let Some(slot) = slot(&known.prefix, lengths).and_then(|slot| self.slots.get_mut(slot)) {
            *slot = Some(Box::new(known));
        }
    }
}

/// Where a header's first part is kept: by its length, the letters of its access key id and the lengths of the head's
/// names, so that a client that sends sometimes this and sometimes that has a slot for each. `None` if it is too short.
#[inline]
fn slot(prefix: &[u8], lengths: impl Iterator<Item = usize>) -> Option<usize> {
    // AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/…
    let word = |at: usize| Some(u64::from_le_bytes(prefix.get(at..at + 8)?.try_into().ok()?));
    let shape = lengths.fold(prefix.len() as u64, |shape, len| shape.rotate_left(5) ^ len as u64);
    let mixed = (word(40)? ^ word(32)?.rotate_left(29) ^ shape).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((mixed >> 56) as usize % SLOTS)
}
