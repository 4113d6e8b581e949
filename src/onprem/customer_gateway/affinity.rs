//! Which SA pair an inner flow uses: the one that last brought the opposite direction, else one by hash.
//!
//! Each SA pair belongs to one endpoint worker, and a flow's state lives with one worker, so replies must go where the
//! flow is. A direct-mapped table remembers: bounded, without expiry, and forgetting an old flow only means that the hash
//! decides again.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;

use foldhash::fast::RandomState;

use crate::packet::FiveTuple;

/// Flows remembered. A power of two.
const SLOTS: usize = 1 << 16;

/// What the gateway remembers of inner flows.
#[derive(Debug)]
pub(super) struct FlowAffinity {
    sas: usize,
    /// Empty if there is no choice to remember.
    slots: Box<[Slot]>,
    /// Seeded at random: nobody outside can choose addresses that share a slot.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The flow's whole hash; 0 in a slot never used. Two flows with one hash would share an SA: one chance in 2^64.
    flow: u64,
    sa: u16,
}

impl FlowAffinity {
    /// A table for `sas` SA pairs.
    pub(super) fn new(sas: NonZeroUsize) -> Self {
        let slots = if sas.get() == 1 { 0 } else { SLOTS };
        Self { sas: sas.get(), slots: vec![Slot::default(); slots].into(), hasher: RandomState::default() }
    }

    /// A packet from the endpoint came through `sa`: replies go the same way.
    #[inline]
    pub(super) fn learn(&mut self, from_endpoint: &FiveTuple, sa: usize) {
        if self.sas > 1 {
            let flow = self.hasher.hash_one(from_endpoint.reversed());
            self.slots[flow as usize % SLOTS] = Slot { flow, sa: sa as u16 };
        }
    }

    /// The SA pair for a packet to the endpoint.
    #[inline]
    pub(super) fn choose(&self, to_endpoint: &FiveTuple) -> usize {
        if self.sas == 1 {
            return 0;
        }
        let flow = self.hasher.hash_one(to_endpoint);
        let slot = self.slots[flow as usize % SLOTS];
        // Other bits than the slot's, so that flows which share one are spread all the same.
        if slot.flow == flow { usize::from(slot.sa) } else { (flow >> 32) as usize % self.sas }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::Protocol;

    fn flow(n: u32) -> FiveTuple {
        let src = (Ipv4Addr::from(0xC0A8_0A0A), 1_024 + (n % 60_000) as u16);
        FiveTuple::v4(src, (Ipv4Addr::from(0x0A00_0114 + n / 60_000), 443), Protocol::TCP)
    }

    #[test]
    fn replies_go_through_the_sa_that_brought_the_flow_last() {
        let mut affinity = FlowAffinity::new(NonZeroUsize::new(4).unwrap());
        for sa in [3, 0, 2] {
            affinity.learn(&flow(1).reversed(), sa);
            assert_eq!(affinity.choose(&flow(1)), sa);
        }
    }

    #[test]
    fn unknown_flows_are_spread_and_each_stays_where_it_is() {
        let affinity = FlowAffinity::new(NonZeroUsize::new(4).unwrap());
        let mut counts = [0; 4];
        for n in 0..4_000 {
            let sa = affinity.choose(&flow(n));
            assert_eq!(affinity.choose(&flow(n)), sa);
            counts[sa] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn any_number_of_flows_fits_and_every_choice_exists() {
        let mut affinity = FlowAffinity::new(NonZeroUsize::new(3).unwrap());
        for n in 0..200_000 {
            affinity.learn(&flow(n).reversed(), n as usize % 3);
        }
        assert_eq!(affinity.slots.len(), SLOTS);
        assert!((0..200_000).all(|n| affinity.choose(&flow(n)) < 3));
        let kept = (0..200_000_u32).filter(|&n| affinity.choose(&flow(n)) == n as usize % 3).count();
        assert!(kept > SLOTS / 2, "{kept} of the latest are remembered");
    }

    #[test]
    fn one_sa_needs_no_memory() {
        let mut affinity = FlowAffinity::new(NonZeroUsize::MIN);
        affinity.learn(&flow(1).reversed(), 0);
        assert_eq!((affinity.choose(&flow(1)), affinity.slots.len()), (0, 0));
    }
}
