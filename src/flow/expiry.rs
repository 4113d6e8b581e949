//! A hierarchical timer wheel (Varghese and Lauck) over small integer keys.
//!
//! Seven levels of 64 slots with a tick of one millisecond reach 139 years, so nothing ever wraps. A timer stands on the
//! level of the highest bit in which its tick differs from the present, and moves down as the present comes nearer: setting,
//! moving and cancelling cost the same whatever the number of timers. Timers are kept in lists threaded through one array, so
//! after the array has grown to the highest key nothing is allocated.
//!
//! Re-arming lazily is the user's part: leave a timer where it is when its deadline moves back, and set it again when it fires.

use crate::time::Moment;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 7;
const NANOS_PER_TICK: u64 = 1_000_000;
const TICK_MAX: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    tick: u64,
    next: u32,
    previous: u32,
    /// Level and slot; [`IDLE`] if the timer is not set.
    place: u16,
}

const IDLE: u16 = u16::MAX;

/// Timers by key, at most one each.
#[derive(Debug)]
pub struct TimerWheel {
    /// First timer of each slot.
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    nodes: Vec<Node>,
    /// Everything before this tick has fired.
    tick: u64,
    len: usize,
}

impl TimerWheel {
    /// A wheel for keys below `capacity`. A higher key is taken too, at the price of an allocation.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            heads: [[NIL; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            nodes: Vec::with_capacity(capacity),
            tick: 0,
            len: 0,
        }
    }

    /// Timers set.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When the timer of `key` fires: its deadline rounded up to the tick. `None` if it is not set.
    pub fn deadline(&self, key: u32) -> Option<Moment> {
        let node = self.nodes.get(key as usize)?;
        (node.place != IDLE).then(|| moment(node.tick))
    }

    /// Sets the timer of `key`, or moves it. A deadline that has passed fires at the next poll; [`Moment::NEVER`] cancels.
    pub fn schedule(&mut self, key: u32, deadline: Moment) {
        if deadline == Moment::NEVER {
            return self.cancel(key);
        }
        // Up, so that no timer fires before its deadline.
        let tick = deadline.as_nanos().div_ceil(NANOS_PER_TICK).clamp(self.tick, TICK_MAX);
        let index = key as usize;
        if self.nodes.get(index).is_some_and(|node| node.place != IDLE && node.tick == tick) {
            // Turns follow each other much faster than ticks: most deadlines move by less than one.
            return;
        }
        self.cancel(key);
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, Node { tick: 0, next: NIL, previous: NIL, place: IDLE });
        }
        self.nodes[index].tick = tick;
        self.link(key);
        self.len += 1;
    }

    /// Takes the timer of `key` away, if it is set.
    pub fn cancel(&mut self, key: u32) {
        if self.nodes.get(key as usize).is_some_and(|node| node.place != IDLE) {
            self.unlink(key);
            self.len -= 1;
        }
    }

    /// The next timer that is due at `now`, if any. Each timer that is looked at, due or on its way down, costs one of
    /// `budget`; at zero the rest is left for later.
    pub fn poll_expired(&mut self, now: Moment, budget: &mut u32) -> Option<u32> {
        let present = now.as_nanos() / NANOS_PER_TICK;
        loop {
            let Some((level, slot, start)) = self.earliest_slot() else {
                self.tick = self.tick.max(present.min(TICK_MAX));
                return None;
            };
            if start > present {
                // No timer lies between: moving on keeps each on its level.
                self.tick = self.tick.max(present);
                return None;
            }
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            self.tick = self.tick.max(start);
            let key = self.heads[level][slot];
            self.unlink(key);
            if level == 0 {
                self.len -= 1;
                return Some(key);
            }
            self.link(key);
        }
    }

    /// A moment at which [`TimerWheel::poll_expired`] has something to do: never later than the earliest deadline, and earlier
    /// by at most the width of the slot in which that stands. `None` if no timer is set.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.earliest_slot().map(|(_, _, start)| moment(start))
    }

    /// The occupied slot that begins first, as level, slot and first tick; of two, that of the higher level, so that its
    /// timers are all moved down before time goes on. On one level slots begin in order.
    fn earliest_slot(&self) -> Option<(usize, usize, u64)> {
        let occupied = self.occupied.iter().enumerate().rev().filter(|(_, slots)| **slots != 0);
        let starts = occupied.map(|(level, slots)| {
            let slot = slots.trailing_zeros() as usize;
            let shift = SLOT_BITS * level as u32;
            let above = self.tick >> shift >> SLOT_BITS << SLOT_BITS;
            (level, slot, (above | slot as u64) << shift)
        });
        starts.min_by_key(|&(_, _, start)| start)
    }

    fn link(&mut self, key: u32) {
        let tick = self.nodes[key as usize].tick;
        let highest_bit = (tick ^ self.tick).checked_ilog2().unwrap_or(0);
        let level = (highest_bit / SLOT_BITS) as usize;
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        let next = std::mem::replace(&mut self.heads[level][slot], key);
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = key;
        }
        let node = &mut self.nodes[key as usize];
        (node.next, node.previous, node.place) = (next, NIL, (level * SLOTS + slot) as u16);
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, key: u32) {
        let Node { next, previous, place, .. } = self.nodes[key as usize];
        let (level, slot) = (usize::from(place) / SLOTS, usize::from(place) % SLOTS);
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        match self.nodes.get_mut(previous as usize) {
            Some(node) => node.next = next,
            None => self.heads[level][slot] = next,
        }
        if self.heads[level][slot] == NIL {
            self.occupied[level] &= !(1 << slot);
        }
        self.nodes[key as usize].place = IDLE;
    }
}

const fn moment(tick: u64) -> Moment {
    Moment::from_nanos(tick * NANOS_PER_TICK)
}

#[cfg(test)]
mod tests;
