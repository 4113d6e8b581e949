//! How much of request bodies one worker may hold at a time.
//!
//! A body is held from its first byte until its invocation was handed over: to the function host, to the event queue (which
//! has a limit of its own), or to nobody. What is announced is reserved at once, so that a body is refused before it is
//! read rather than in its middle; a body of unknown length is reserved as it grows. Bytes are counted, not the buffers
//! around them.

use std::cell::Cell;

/// Bytes of request bodies that a worker may hold, and how many it does.
#[derive(Debug)]
pub struct BodyBudget {
    limit: Cell<usize>,
    held: Cell<usize>,
}

impl BodyBudget {
    /// A budget of `limit` bytes, all of them free.
    pub const fn new(limit: usize) -> Self {
        Self { limit: Cell::new(limit), held: Cell::new(0) }
    }

    /// Another limit. What is held above it stays; nothing is added until there is room again.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Bytes reserved now.
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// A reservation of nothing yet.
    pub(super) const fn reservation(&self) -> Reservation<'_> {
        Reservation { budget: self, bytes: 0 }
    }
}

/// A body's part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a BodyBudget,
    bytes: usize,
}

impl Reservation<'_> {
    /// Holds `bytes` in all, if it does not already and there is room for what is missing. Returns whether it does.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else { return true };
        let held = self.budget.held.get().saturating_add(more);
        if held > self.budget.limit.get() {
            return false;
        }
        self.budget.held.set(held);
        self.bytes = bytes;
        true
    }

    /// Gives everything back.
    pub(super) fn release(&mut self) {
        self.budget.held.set(self.budget.held.get() - self.bytes);
        self.bytes = 0;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lower_limit_takes_nothing_away_and_adds_nothing() {
        let budget = BodyBudget::new(10);
        let (mut first, mut second) = (budget.reservation(), budget.reservation());
        assert!(first.hold(8) && second.hold(2) && !second.hold(3));
        budget.set_limit(5);
        assert!(first.hold(8) && first.hold(3) && !second.hold(3));
        assert_eq!(budget.held(), 10);
        drop(first);
        assert!(second.hold(5) && !second.hold(6));
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_what_lives_and_never_above_the_limit(
            steps in vec((0..8_usize, 0..4_u8, 0..500_usize), 1..200)
        ) {
            let budget = BodyBudget::new(1_000);
            let mut living: [Option<(Reservation<'_>, usize)>; 8] = Default::default();
            for (slot, step, bytes) in steps {
                match (&mut living[slot], step) {
                    (living, 0) => *living = None,
                    (Some((reservation, has)), 1) => {
                        reservation.release();
                        *has = 0;
                    }
                    (Some((reservation, has)), _) => {
                        let others = budget.held() - *has;
                        let fits = bytes <= *has || others + bytes <= 1_000;
                        prop_assert_eq!(reservation.hold(bytes), fits);
                        if fits {
                            *has = bytes.max(*has);
                        }
                    }
                    (empty, _) => *empty = Some((budget.reservation(), 0)),
                }
                let sum: usize = living.iter().flatten().map(|(_, has)| has).sum();
                prop_assert_eq!(budget.held(), sum);
                prop_assert!(sum <= 1_000);
            }
            drop(living);
            prop_assert_eq!(budget.held(), 0);
        }
    }
}
