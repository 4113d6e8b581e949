//! Request ids and trace ids, from a seed that the edge draws once.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Uuid;

use crate::time::UnixTime;

/// Makes ids: SHA-256 over the seed and a counter. Unguessable without the seed, repeatable with it, no system call.
pub struct IdGenerator {
    seed: [u8; 32],
    made: u64,
}

impl IdGenerator {
    /// A generator; each worker needs a seed of its own, or two make the same ids.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, made: 0 }
    }

    /// A random (version 4) UUID.
    pub fn request_id(&mut self) -> Uuid {
        let block = self.block();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&block[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A new trace root, `1-` 8 hex digits of seconds `-` 24 random hex digits, and a parent of 16.
    pub fn trace(&mut self, now: UnixTime) -> Trace {
        let block = self.block();
        let mut root = format!("1-{:08x}-", now.secs() & 0xffff_ffff);
        push_hex(&mut root, &block[..12]);
        let mut parent = String::with_capacity(16);
        push_hex(&mut parent, &block[12..20]);
        Trace { root, parent, is_sampled: false }
    }

    fn block(&mut self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.seed);
        context.update(&self.made.to_be_bytes());
        self.made = self.made.wrapping_add(1);
        let mut block = [0; 32];
        block.copy_from_slice(context.finish().as_ref());
        block
    }
}

/// An X-Ray trace context. Nothing is recorded here; it is passed on and shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// `1-5fa456b2-beda73b8340f62daf4d397fe`.
    pub root: String,
    /// 16 hex digits.
    pub parent: String,
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
                if let ["1", seconds, unique] = value.split('-').collect::<Vec<_>>()[..]
                    && is_hex(seconds, 8)
                    && is_hex(unique, 24)
                {
                    value.clone_into(&mut self.root);
                }
            } else if name.eq_ignore_ascii_case("parent") && is_hex(value, 16) {
                value.clone_into(&mut self.parent);
            } else if name.eq_ignore_ascii_case("sampled") {
                self.is_sampled = value == "1";
            }
        }
        self
    }

    /// As a response carries it: lower-case, `root=…;sampled=0`.
    pub fn to_response(&self) -> String {
        format!("root={};sampled={}", self.root, u8::from(self.is_sampled))
    }

    /// As a runtime gets it: `Root=…;Parent=…;Sampled=0`.
    pub fn to_runtime(&self) -> String {
        format!("Root={};Parent={};Sampled={}", self.root, self.parent, u8::from(self.is_sampled))
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
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
