//! The anti-replay window (RFC 4303 §3.4.3), as a ring of bit blocks that is never shifted (RFC 6479).
//!
//! Two steps, because a number may only be marked once its frame is known to be genuine: [`ReplayWindow::admits`] before
//! the integrity check, [`ReplayWindow::mark`] after it. A window marked by forged frames would be a denial of service.

/// Smallest window, sequence numbers (Site-to-Site VPN user guide).
pub const WINDOW_MIN: u16 = 64;
/// Largest window, sequence numbers (Site-to-Site VPN user guide).
pub const WINDOW_MAX: u16 = 2048;

/// Bits of one block.
const BLOCK: u32 = u64::BITS;
/// Blocks in the ring: a power of two, and one more than the largest window needs, so that the block being filled never
/// shares its place with one that is still looked at.
const BLOCKS: u32 = 64;
const _: () = assert!(BLOCKS.is_power_of_two() && BLOCKS * BLOCK >= WINDOW_MAX as u32 + BLOCK);

/// Which of the latest sequence numbers of one SA have been received.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    window: u32,
    highest: u32,
    seen: [u64; BLOCKS as usize],
}

impl ReplayWindow {
    /// A window over the latest `window` sequence numbers, brought into [`WINDOW_MIN`]..=[`WINDOW_MAX`].
    pub fn new(window: u16) -> Self {
        Self { window: u32::from(window.clamp(WINDOW_MIN, WINDOW_MAX)), highest: 0, seen: [0; BLOCKS as usize] }
    }

    /// The highest sequence number marked; 0 before the first.
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether a frame with this number may be new: not 0 (never sent), not left of the window, not marked.
    #[inline]
    pub fn admits(&self, sequence: u32) -> bool {
        if sequence > self.highest {
            return true;
        }
        sequence != 0 && self.highest - sequence < self.window && self.seen[block_of(sequence)] & bit_of(sequence) == 0
    }

    /// Marks the number of a frame whose integrity was checked. Call it only if [`Self::admits`] said yes.
    #[inline]
    pub fn mark(&mut self, sequence: u32) {
        if sequence > self.highest {
            let entered = (sequence / BLOCK - self.highest / BLOCK).min(BLOCKS);
            for ahead in 0..entered {
                self.seen[((sequence / BLOCK - ahead) % BLOCKS) as usize] = 0;
            }
            self.highest = sequence;
        }
        self.seen[block_of(sequence)] |= bit_of(sequence);
    }
}

const fn block_of(sequence: u32) -> usize {
    (sequence / BLOCK % BLOCKS) as usize
}

const fn bit_of(sequence: u32) -> u64 {
    1 << (sequence % BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// What RFC 4303 says, in the most naive way: remember everything.
    #[derive(Default)]
    struct Model {
        highest: u32,
        seen: HashSet<u32>,
    }

    impl Model {
        fn admits(&self, window: u16, sequence: u32) -> bool {
            let left_of_window = u64::from(sequence) + u64::from(window) <= u64::from(self.highest);
            sequence != 0 && !left_of_window && !self.seen.contains(&sequence)
        }

        fn mark(&mut self, sequence: u32) {
            self.seen.insert(sequence);
            self.highest = self.highest.max(sequence);
        }
    }

    /// Where the next number lies, relative to the highest so far: around the edges of blocks, window and ring.
    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![
            6 => -70_i64..70,
            3 => -2_200_i64..2_200,
            1 => -5_000_i64..5_000,
            1 => Just(i64::from(u32::MAX / 3)),
        ]
    }

    proptest! {
        #[test]
        fn the_window_decides_like_a_set_that_remembers_everything(
            window in WINDOW_MIN..=WINDOW_MAX,
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut real = ReplayWindow::new(window);
            let mut model = Model::default();
            for step in steps {
                let sequence = (i64::from(model.highest) + step).clamp(0, i64::from(u32::MAX)) as u32;
                prop_assert_eq!(real.admits(sequence), model.admits(window, sequence), "number {}", sequence);
                if model.admits(window, sequence) {
                    real.mark(sequence);
                    model.mark(sequence);
                }
                prop_assert_eq!(real.highest(), model.highest);
            }
        }
    }

    #[test]
    fn a_number_is_admitted_once_and_zero_never() {
        let mut window = ReplayWindow::new(1024);
        assert!(!window.admits(0));
        assert!(window.admits(1));
        window.mark(1);
        assert!(!window.admits(1));
        assert!(!window.admits(0));
    }

    #[test]
    fn the_left_edge_is_exactly_one_window_behind_the_highest() {
        let mut window = ReplayWindow::new(1024);
        window.mark(5_000);
        assert!(window.admits(5_000 - 1_023));
        assert!(!window.admits(5_000 - 1_024));
    }

    #[test]
    fn the_last_sequence_number_of_an_sa_is_still_judged() {
        let mut window = ReplayWindow::new(64);
        window.mark(u32::MAX);
        assert!(!window.admits(u32::MAX));
        assert!(window.admits(u32::MAX - 63));
        assert!(!window.admits(u32::MAX - 64));
    }

    #[test]
    fn a_window_outside_the_allowed_sizes_is_brought_into_them() {
        for (asked, held) in [(0, 64), (63, 64), (1024, 1024), (u16::MAX, 2048)] {
            assert_eq!(ReplayWindow::new(asked).window, held);
        }
    }
}
