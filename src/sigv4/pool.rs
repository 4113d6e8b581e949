//! Buffers that hold canonical requests while their bodies are awaited.
//!
//! Hashing them in one piece at the end costs a third of what a running hash costs for requests of the usual size, but the
//! bytes must be kept until then. So only small ones are, and their number follows the requests under way.

use std::cell::RefCell;
use std::rc::Rc;

use aws_lc_rs::digest;

/// Largest canonical request that is kept as bytes, with its last line. Larger ones are hashed as they come.
pub(super) const KEPT_BYTES: usize = 2048;
/// Unused buffers that are kept.
const SPARE_MAX: usize = 64;

/// Where buffers come from.
#[derive(Clone, Default)]
pub(super) struct Pool(Rc<RefCell<Vec<Vec<u8>>>>);

impl Pool {
    /// An empty buffer.
    #[inline]
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(KEPT_BYTES))
    }

    /// Keeps a buffer for the next one who needs it, unless it grew or there are enough.
    #[inline]
    fn put(&self, mut buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if buffer.capacity() <= KEPT_BYTES && buffer.capacity() > 0 && spare.len() < SPARE_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// A canonical request but for its last line.
pub(super) enum Unfinished {
    Bytes { bytes: Vec<u8>, pool: Pool },
    Hashed(digest::Context),
}

impl Unfinished {
    /// Of these bytes, out of this pool.
    #[inline]
    pub(super) fn new(bytes: Vec<u8>, pool: &Pool) -> Self {
        if bytes.len() + 64 <= KEPT_BYTES {
            return Self::Bytes { bytes, pool: pool.clone() };
        }
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&bytes);
        pool.put(bytes);
        Self::Hashed(context)
    }

    /// The hash of all of it, once the last line is known.
    #[inline]
    pub(super) fn finish(mut self, last: &[u8]) -> [u8; 32] {
        match &mut self {
            Self::Bytes { bytes, .. } => {
                bytes.extend_from_slice(last);
                super::sha256(bytes)
            }
            Self::Hashed(context) => {
                // The context stays behind, for `drop`.
                let mut context = context.clone();
                context.update(last);
                super::to_array(context.finish().as_ref())
            }
        }
    }
}

impl Drop for Unfinished {
    #[inline]
    fn drop(&mut self) {
        if let Self::Bytes { bytes, pool } = self {
            pool.put(std::mem::take(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_requests_hash_alike_in_one_piece_or_two() {
        let pool = Pool::default();
        for len in [0, 1, 64, KEPT_BYTES - 65, KEPT_BYTES - 64, KEPT_BYTES - 63, KEPT_BYTES, 100_000] {
            let mut bytes = pool.take();
            bytes.resize(len, b'x');
            let whole = [&bytes[..], b"last"].concat();
            assert_eq!(Unfinished::new(bytes, &pool).finish(b"last"), crate::sigv4::sha256(&whole), "{len}");
        }
    }

    #[test]
    fn spare_buffers_are_used_again_and_bounded_in_number_and_size() {
        let pool = Pool::default();
        let under_way: Vec<_> = (0..2 * SPARE_MAX).map(|_| Unfinished::new(pool.take(), &pool)).collect();
        drop(under_way);
        assert_eq!(pool.0.borrow().len(), SPARE_MAX);
        let mut grown = pool.take();
        grown.resize(100_000, 0);
        drop(Unfinished::new(grown, &pool));
        assert_eq!(pool.0.borrow().len(), SPARE_MAX - 1);
        assert!(pool.0.borrow().iter().all(|buffer| buffer.is_empty() && buffer.capacity() <= KEPT_BYTES));
    }
}
