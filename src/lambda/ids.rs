//! Request ids and trace ids, from a seed that the edge draws once.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::sigv4::sha256;
use crate::time::UnixTime;

/// Makes ids: SHA-256 over the seed and a counter. Unguessable without the seed, repeatable with it, no system call.
pub struct IdGenerator {
    seed: [u8; 32],
    made: u64,
    block: [u8; 32],
    /// Bytes of the block that stand in some id.
    used: usize,
}

impl IdGenerator {
    /// A generator; each worker needs a seed of its own, or two make the same ids.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, made: 0, block: [0; 32], used: 32 }
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
        let (root, parent) = (Text(SmallVec::from_slice(&root)), Text(SmallVec::from_slice(&parent)));
        Trace { root, parent, is_sampled: false }
    }

    /// The next bytes; each is given out once. What is too short for the wish is not used.
    fn random<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > self.block.len() {
            let mut input = [0; 40];
            input[..32].copy_from_slice(&self.seed);
            input[32..].copy_from_slice(&self.made.to_be_bytes());
            self.made = self.made.wrapping_add(1);
            (self.block, self.used) = (sha256(&input), 0);
        }
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        bytes
    }
}

/// Two digits for each byte; `out` has room for just these.
fn put_hex(out: &mut [u8], bytes: &[u8]) {
    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// A short text of ASCII, held in place.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(SmallVec<[u8; 40]>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(SmallVec::from_slice(text.as_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Made of text alone.
        str::from_utf8(&self.0).unwrap_or_default()
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
#[derive(Clone, PartialEq, Eq, Debug)]
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
    pub fn to_response(&self) -> String {
        ["root=", &self.root, ";sampled=", self.sampled()].concat()
    }

    /// As a runtime gets it: `Root=…;Parent=…;Sampled=0`.
    pub fn to_runtime(&self) -> String {
        ["Root=", &self.root, ";Parent=", &self.parent, ";Sampled=", self.sampled()].concat()
    }

    const fn sampled(&self) -> &'static str {
        if self.is_sampled { "1" } else { "0" }
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
        assert_eq!(trace.to_response(), format!("root={};sampled=0", trace.root));
        assert_eq!(trace.to_runtime(), format!("Root={};Parent={};Sampled=0", trace.root, trace.parent));
    }

    #[test]
    fn a_callers_trace_is_continued_where_it_is_well_formed() {
        let fresh = IdGenerator::new([0; 32]).trace(UnixTime::from_secs(1));
        let theirs = "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Parent=53995c3f42cd8ad8;Sampled=1";
        let trace = fresh.clone().continued(Some(theirs));
        assert_eq!(trace.to_runtime(), theirs);
        for junk in ["", "Root=", "Root=1-x-y;Parent=zz", "Root=1-5fa456b2-beda73b8340f62daf4d397fe0\u{e9}", ";;=;"] {
            assert_eq!(fresh.clone().continued(Some(junk)), fresh, "{junk}");
        }
    }
}
