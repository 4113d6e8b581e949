//! Request ids and trace ids, from a seed that the edge draws once.

use std::fmt;
use std::ops::Deref;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use uuid::Uuid;

use crate::time::UnixTime;

/// Random bytes made at a time: enough for a dozen requests.
const BLOCK: usize = 512;

/// Makes ids: the key stream of AES-256 under the seed. Unguessable without the seed, repeatable with it, no system call.
pub struct IdGenerator {
    cipher: LessSafeKey,
    made: u64,
    block: [u8; BLOCK],
    /// Bytes of the block that stand in some id.
    used: usize,
}

impl IdGenerator {
    /// A generator; each worker needs a seed of its own, or two make the same ids.
    pub fn new(seed: [u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "the seed's type has the key's length")]
        let key = UnboundKey::new(&AES_256_GCM, &seed).expect("32 bytes are a key of AES-256");
        Self { cipher: LessSafeKey::new(key), made: 0, block: [0; BLOCK], used: BLOCK }
    }

    /// A random (version 4) UUID.
    pub fn request_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random()).into_uuid()
    }

    /// A new trace root, `1-` 8 hex digits of seconds `-` 24 random hex digits, and a parent of 16.
    pub fn trace(&mut self, now: UnixTime) -> Trace {
        let secs = (now.secs() & 0xffff_ffff) as u32;
        let (mut root, mut parent) = ([b'-'; 35], [0; 16]);
        root[0] = b'1';
        put_hex(&mut root[2..10], &secs.to_be_bytes());
        put_hex(&mut root[11..], &self.random::<12>());
        put_hex(&mut parent, &self.random::<8>());
        Trace { root: Text::of(&root), parent: Text::of(&parent), is_sampled: false }
    }

    /// The next bytes; each is given out once. What is too short for the wish is not used.
    fn random<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > self.block.len() {
            self.refill();
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        bytes
    }

    /// What GCM makes of zeros under a nonce that is never used again is the cipher's key stream.
    fn refill(&mut self) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.made.to_be_bytes());
        self.made = self.made.wrapping_add(1);
        self.block.fill(0);
        let sealed =
            self.cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut self.block);
        debug_assert!(sealed.is_ok(), "GCM seals whatever is shorter than 2^36 bytes");
        self.used = 0;
    }
}

/// Two digits for each byte; `out` has room for just these.
fn put_hex(out: &mut [u8], bytes: &[u8]) {
    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Characters of a trace root, the longest [`Text`].
const ROOT_LEN: usize = 35;

/// A short text of ASCII, held in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; ROOT_LEN],
    len: u8,
}

impl Text {
    /// What does not fit is left out.
    fn of(text: &[u8]) -> Self {
        let (mut bytes, len) = ([0; ROOT_LEN], text.len().min(ROOT_LEN));
        bytes[..len].copy_from_slice(&text[..len]);
        Self { bytes, len: len as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::of(text.as_bytes())
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Made of ASCII alone.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// An X-Ray trace context. Nothing is recorded here; it is passed on and shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    /// `1-5fa456b2-beda73b8340f62daf4d397fe`.
    pub root: Text,
    /// 16 hex digits.
    pub parent: Text,
    /// Whether the caller asked for sampling.
    pub is_sampled: bool,
}

impl Trace {
    /// Takes root, parent and sampling from a caller's `X-Amzn-Trace-Id` as far as they are well-formed.
    #[must_use]
    pub fn continued(mut self, header: Option<&str>) -> Self {
        let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        for part in header.unwrap_or_default().split(';') {
            let Some((name, value)) = part.trim().split_once('=') else { continue };
            if name.eq_ignore_ascii_case("root") {
                if let Some((seconds, unique)) = value.strip_prefix("1-").and_then(|rest| rest.split_once('-'))
                    && is_hex(seconds, 8)
                    && is_hex(unique, 24)
                {
                    self.root = value.into();
                }
            } else if name.eq_ignore_ascii_case("parent") && is_hex(value, 16) {
                self.parent = value.into();
            } else if name.eq_ignore_ascii_case("sampled") {
                self.is_sampled = value == "1";
            }
        }
        self
    }

    /// As a response carries it: lower-case, `root=…;sampled=0`.
    pub fn to_response(&self) -> Line {
        Line::joined([b"root=", self.root.as_bytes(), b";sampled=", self.sampled()])
    }

    /// As a runtime gets it: `Root=…;Parent=…;Sampled=0`.
    pub fn to_runtime(&self) -> Line {
        let (root, parent) = (self.root.as_bytes(), self.parent.as_bytes());
        Line::joined([b"Root=", root, b";Parent=", parent, b";Sampled=", self.sampled()])
    }

    const fn sampled(&self) -> &'static [u8] {
        if self.is_sampled { b"1" } else { b"0" }
    }
}

/// A trace id as a header's value.
pub struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

/// Two texts and what stands around them: `Root=;Parent=;Sampled=0`.
const LINE_MAX: usize = 2 * ROOT_LEN + 23;

impl Line {
    fn joined<const PARTS: usize>(parts: [&[u8]; PARTS]) -> Self {
        let mut line = Self { bytes: [0; LINE_MAX], len: 0 };
        for part in parts {
            line.bytes[line.len..][..part.len()].copy_from_slice(part);
            line.len += part.len();
        }
        line
    }
}

impl Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_from_each_other_and_between_seeds() {
        let (mut a, mut b) = (IdGenerator::new([1; 32]), IdGenerator::new([2; 32]));
        let ids = [a.request_id(), a.request_id(), b.request_id(), b.request_id()];
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(id.get_version_num(), 4);
            assert!(!ids[..n].contains(id));
        }
    }

    #[test]
    fn no_bytes_are_given_out_twice() {
        let mut ids = IdGenerator::new([7; 32]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let (id, trace) = (ids.request_id(), ids.trace(UnixTime::from_secs(1)));
            let unique =
                [id.simple().to_string()[20..].to_owned(), trace.root[11..].to_owned(), trace.parent.to_string()];
            for text in unique {
                assert!(seen.insert(text[..12].to_owned()), "{text}");
            }
        }
    }

    #[test]
    fn a_trace_id_carries_the_second_it_was_made_in() {
        let trace = IdGenerator::new([0; 32]).trace(UnixTime::from_secs(0x5fa4_56b2));
        assert!(trace.root.starts_with("1-5fa456b2-") && trace.root.len() == 35, "{}", trace.root);
        assert_eq!(trace.to_response()[..], *format!("root={};sampled=0", trace.root).as_bytes());
        let runtime = format!("Root={};Parent={};Sampled=0", trace.root, trace.parent);
        assert_eq!(trace.to_runtime()[..], *runtime.as_bytes());
    }

    #[test]
    fn a_callers_trace_is_continued_where_it_is_well_formed() {
        let fresh = IdGenerator::new([0; 32]).trace(UnixTime::from_secs(1));
        let theirs = "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Parent=53995c3f42cd8ad8;Sampled=1";
        let trace = fresh.continued(Some(theirs));
        assert_eq!(trace.to_runtime()[..], *theirs.as_bytes());
        for junk in ["", "Root=", "Root=1-x-y;Parent=zz", "Root=1-5fa456b2-beda73b8340f62daf4d397fe0\u{e9}", ";;=;"] {
            assert_eq!(fresh.continued(Some(junk)), fresh, "{junk}");
        }
    }
}
