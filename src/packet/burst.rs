//! The reused memory that packets are read into.

use std::num::NonZeroUsize;

use super::view::PACKET_LEN_MAX;
use super::virtio::VIRTIO_HEADER_LEN;

/// Packets read before any of them is answered: measured best between 8 and 128.
pub const BURST_SLOTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Receive slots in one allocation, filled from the first on and emptied together.
///
/// Nothing is allocated after [`Burst::new`], and pages that no packet ever reached are never touched.
#[derive(Debug)]
pub struct Burst {
    slab: Box<[u8]>,
    slot_len: usize,
    lens: Box<[usize]>,
    filled: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self::new(BURST_SLOTS)
    }
}

impl Burst {
    /// A burst of `slots` slots, each as large as the largest packet behind a virtio-net header.
    pub fn new(slots: NonZeroUsize) -> Self {
        // Whole cache lines, so that slots do not share one.
        let slot_len = (VIRTIO_HEADER_LEN + PACKET_LEN_MAX).next_multiple_of(64);
        let slots = slots.get();
        Self { slab: vec![0; slots * slot_len].into(), slot_len, lens: vec![0; slots].into(), filled: 0 }
    }

    /// Slots in all.
    pub const fn capacity(&self) -> usize {
        self.lens.len()
    }

    /// Slots that hold something.
    pub const fn len(&self) -> usize {
        self.filled
    }

    /// Whether no slot holds anything.
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The next free slot, whole, to read into; `None` if all are filled. It stays free until [`Burst::commit`].
    #[inline]
    pub fn free_slot(&mut self) -> Option<&mut [u8]> {
        if self.filled == self.lens.len() {
            return None;
        }
        let start = self.filled * self.slot_len;
        self.slab.get_mut(start..start + self.slot_len)
    }

    /// Says that the first `len` bytes of the slot [`Burst::free_slot`] gave are filled. More than it holds are cut.
    #[inline]
    pub fn commit(&mut self, len: usize) {
        if let Some(slot) = self.lens.get_mut(self.filled) {
            *slot = len.min(self.slot_len);
            self.filled += 1;
        }
    }

    /// What slot `index` holds; empty if it holds nothing.
    #[inline]
    pub fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        if index >= self.filled {
            return &mut [];
        }
        let start = index * self.slot_len;
        &mut self.slab[start..start + self.lens[index]]
    }

    /// What was read, in the order of reading.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let lens = &self.lens[..self.filled];
        self.slab.chunks_exact_mut(self.slot_len).zip(lens).map(|(slot, &len)| &mut slot[..len])
    }

    /// Makes every slot free again.
    #[inline]
    pub fn clear(&mut self) {
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_in_order_up_to_the_limit_and_are_reused() {
        let mut burst = Burst::new(NonZeroUsize::new(2).unwrap());
        for round in 0..3u8 {
            for n in 0..2u8 {
                let slot = burst.free_slot().unwrap();
                assert!(slot.len() >= VIRTIO_HEADER_LEN + PACKET_LEN_MAX);
                slot[..3].fill(round * 2 + n);
                burst.commit(3);
            }
            assert!(burst.free_slot().is_none());
            burst.commit(9); // no slot is left to commit: nothing happens
            let seen: Vec<Vec<u8>> = burst.iter_mut().map(|slot| slot.to_vec()).collect();
            assert_eq!(seen, [vec![round * 2; 3], vec![round * 2 + 1; 3]]);
            assert_eq!(burst.slot_mut(1), [round * 2 + 1; 3]);
            assert!(burst.slot_mut(2).is_empty());
            burst.clear();
            assert!(burst.is_empty() && burst.iter_mut().next().is_none());
        }
    }

    #[test]
    fn a_length_beyond_the_slot_is_cut() {
        let mut burst = Burst::new(NonZeroUsize::MIN);
        let len = burst.free_slot().unwrap().len();
        burst.commit(usize::MAX);
        assert_eq!((burst.slot_mut(0).len(), burst.len(), burst.capacity()), (len, 1, 1));
    }
}
