//! Seeded hashes of five-tuples.

use std::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use crate::packet::{Ends, FiveTuple};

/// Randomness that keeps strangers from choosing five-tuples that collide. From the operating system, by the edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowSeed(pub [u64; 2]);

/// Hashes five-tuples under a seed.
pub(crate) struct FlowHasher {
    seed: u64,
    shared: SharedSeed,
}

/// Without the seed, which is a secret.
impl std::fmt::Debug for FlowHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowHasher")
    }
}

impl FlowHasher {
    pub(crate) fn new(seed: FlowSeed) -> Self {
        Self { seed: seed.0[0], shared: SharedSeed::from_u64(seed.0[1]) }
    }

    /// Both directions of a flow hash alike: the two ends go in by size, not by role.
    #[inline]
    pub(super) fn hash_flow(&self, tuple: &FiveTuple) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        let protocol = u64::from(tuple.protocol.0);
        match tuple.ends() {
            Ends::V4([a, b]) => {
                hasher.write_u64(a.max(b));
                hasher.write_u64(a.min(b) << 8 | protocol);
            }
            Ends::V6([a, b]) => {
                let (high, low) = if a < b { (b, a) } else { (a, b) };
                hasher.write_u128(high.0);
                hasher.write_u128(low.0);
                hasher.write_u64(u64::from(high.1) << 24 | u64::from(low.1) << 8 | protocol);
            }
        }
        hasher.finish()
    }

    /// One direction, and what else tells records of it apart.
    #[inline]
    pub(crate) fn hash_direction(&self, tuple: &FiveTuple, other: u32) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        tuple.hash(&mut hasher);
        hasher.write_u32(other);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Protocol;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn directions_of_a_flow_hash_alike_and_the_seed_counts(a: SocketAddr, b: SocketAddr, seed: [u64; 2]) {
            let Some(tuple) = FiveTuple::between(a, b, Protocol::TCP) else { return Ok(()) };
            let hasher = FlowHasher::new(FlowSeed(seed));
            prop_assert_eq!(hasher.hash_flow(&tuple), hasher.hash_flow(&tuple.reversed()));
            let other = FlowHasher::new(FlowSeed([seed[0] ^ 1, seed[1]]));
            prop_assert_ne!(hasher.hash_flow(&tuple), other.hash_flow(&tuple));
            prop_assert_ne!(hasher.hash_direction(&tuple, 0), hasher.hash_direction(&tuple, 1));
        }
    }
}
