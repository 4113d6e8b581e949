//! The bounded flow table.

use hashbrown::HashTable;

use super::entry::{Direction, EndCause, FlowEntry, FlowTimeouts, Tracking};
use super::expiry::TimerWheel;
use super::hasher::{FlowHasher, FlowSeed};
use super::tcp_track::{TcpOutcome, TcpSegment, TcpTrack};
use crate::packet::{Ends, FiveTuple, PacketMeta, Protocol};
use crate::time::Moment;
use crate::verdict::Reason;

/// Names one entry; never another one that takes its place later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId {
    index: u32,
    generation: u32,
}

impl FlowId {
    /// The entry's place, below the table's limit: for arrays beside the table. Reused by later flows.
    #[inline]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// How much the table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowLimits {
    /// Entries.
    pub flows: u32,
    /// TCP entries whose handshake is not finished.
    pub half_open: u32,
}

/// What a packet did to its flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Observed {
    /// It belongs to the flow.
    Active,
    /// It finished the handshake.
    Established,
    /// It was the flow's last.
    Closed,
    /// It came after the end: [`Reason::FlowClosed`] or [`Reason::FlowIdleExpired`].
    Late(Reason),
    /// It opens a new flow on the five-tuple of an ended one: [`FlowTable::open`] does the rest.
    Reopen,
}

/// A flow that ended, for its user to clean up.
#[derive(Clone, Debug)]
pub struct Ended<V, U> {
    /// Its name; not valid any more if the entry is gone.
    pub id: FlowId,
    /// Why.
    pub cause: EndCause,
    /// Its five-tuple, from the originator's side.
    pub tuple: FiveTuple,
    /// What was decided for it.
    pub verdict: V,
    /// What its user kept for it, if that was not taken before.
    pub user: Option<U>,
}

/// A new entry.
#[derive(Clone, Debug)]
pub struct Opened<V, U> {
    /// Its name.
    pub id: FlowId,
    /// The ended flow whose place or five-tuple it took.
    pub replaced: Option<Ended<V, U>>,
}

/// In whole cache lines: a flow that was not seen for a while costs three misses, not four.
#[repr(align(64))]
struct Slot<V, U> {
    generation: u32,
    entry: Option<FlowEntry<V, U>>,
    /// Neighbours in the list of ended entries, or the next free slot.
    next: u32,
    previous: u32,
}

const NIL: u32 = u32::MAX;

/// The flows of one worker. See the [module](super) for what they are.
pub struct FlowTable<V, U> {
    index: HashTable<u32>,
    slots: Vec<Slot<V, U>>,
    free: u32,
    /// Ended entries, longest-ended first.
    ended_head: u32,
    ended_tail: u32,
    wheel: TimerWheel,
    live: u32,
    half_open: u32,
    limits: FlowLimits,
    timeouts: FlowTimeouts,
    hasher: FlowHasher,
}

impl<V, U> std::fmt::Debug for FlowTable<V, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.index.len())
            .field("live", &self.live)
            .field("half_open", &self.half_open)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<V: Copy, U> FlowTable<V, U> {
    /// An empty table. All memory that its limits allow is reserved here, so that no packet waits for it to grow.
    pub fn new(limits: FlowLimits, timeouts: FlowTimeouts, seed: FlowSeed) -> Self {
        let capacity = limits.flows as usize;
        Self {
            index: HashTable::with_capacity(capacity),
            slots: Vec::with_capacity(capacity),
            free: NIL,
            ended_head: NIL,
            ended_tail: NIL,
            wheel: TimerWheel::with_capacity(capacity),
            live: 0,
            half_open: 0,
            limits,
            timeouts,
            hasher: FlowHasher::new(seed),
        }
    }

    /// Entries, ended ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Flows that have not ended.
    pub const fn live_len(&self) -> usize {
        self.live as usize
    }

    /// TCP flows whose handshake is not finished.
    pub const fn half_open_len(&self) -> usize {
        self.half_open as usize
    }

    /// The flow that a packet with this five-tuple belongs to, whichever way it goes.
    #[inline]
    pub fn find(&self, tuple: &FiveTuple) -> Option<(FlowId, Direction)> {
        let hash = self.hasher.hash_flow(tuple);
        match tuple.ends() {
            Ends::V4(ends) => self.find_where(hash, tuple.protocol, |originator| match originator.ends() {
                Ends::V4(known) => Direction::of(ends, known),
                Ends::V6(_) => None,
            }),
            Ends::V6(ends) => self.find_where(hash, tuple.protocol, |originator| match originator.ends() {
                Ends::V6(known) => Direction::of(ends, known),
                Ends::V4(_) => None,
            }),
        }
    }

    #[inline]
    fn find_where(
        &self,
        hash: u64,
        protocol: Protocol,
        direction_in: impl Fn(&FiveTuple) -> Option<Direction>,
    ) -> Option<(FlowId, Direction)> {
        let mut found = None;
        let is_it = |&index: &u32| {
            let Some(slot) = self.slots.get(index as usize) else { return false };
            let Some(entry) = slot.entry.as_ref().filter(|entry| entry.tuple.protocol == protocol) else {
                return false;
            };
            let id = FlowId { index, generation: slot.generation };
            found = direction_in(&entry.tuple).map(|direction| (id, direction));
            found.is_some()
        };
        self.index.find(hash, is_it)?;
        found
    }

    /// The entry named `id`, if it is still there.
    #[inline]
    pub fn get(&self, id: FlowId) -> Option<&FlowEntry<V, U>> {
        let slot = self.slots.get(id.index())?;
        slot.entry.as_ref().filter(|_| slot.generation == id.generation)
    }

    /// The entry named `id`, if it is still there.
    #[inline]
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowEntry<V, U>> {
        let slot = self.slots.get_mut(id.index())?;
        slot.entry.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &FlowEntry<V, U>)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = FlowId { index: index as u32, generation: slot.generation };
            slot.entry.as_ref().map(|entry| (id, entry))
        })
    }

    /// Makes the flow that `packet` begins. An ended flow of the same five-tuple gives way; in a full table the longest-ended
    /// one does.
    ///
    /// # Errors
    /// [`Reason::FlowUnknown`] for a TCP packet that is no opening SYN, or whose five-tuple belongs to a live flow;
    /// [`Reason::HalfOpenLimit`]; [`Reason::FlowLimit`] if the table is full of live flows.
    pub fn open(&mut self, packet: &PacketMeta, verdict: V, epoch: u64, now: Moment) -> Result<Opened<V, U>, Reason> {
        let tuple = packet.tuple();
        let tracking = match tuple.protocol {
            Protocol::TCP if packet.tcp_flags().opens() => Tracking::Tcp(TcpTrack::open(&TcpSegment::of(packet))),
            Protocol::TCP => return Err(Reason::FlowUnknown),
            Protocol::UDP => Tracking::Udp { is_answered: false },
            _ => Tracking::Other,
        };
        let is_half_open = matches!(tracking, Tracking::Tcp(_));
        if is_half_open && self.half_open >= self.limits.half_open {
            return Err(Reason::HalfOpenLimit);
        }
        let mut replaced = None;
        if let Some((old, _)) = self.find(&tuple) {
            if self.get(old).is_none_or(|entry| entry.ended.is_none()) {
                return Err(Reason::FlowUnknown);
            }
            replaced = self.evict(old.index);
        } else if self.len() >= self.limits.flows as usize {
            if self.ended_head == NIL {
                return Err(Reason::FlowLimit);
            }
            replaced = self.evict(self.ended_head);
        }
        let entry = FlowEntry {
            tuple,
            tracking,
            first_seen: now,
            last_seen: now,
            ended: None,
            ended_at: Moment::NEVER,
            verdict,
            epoch,
            user: None,
        };
        self.live += 1;
        self.half_open += u32::from(is_half_open);
        Ok(Opened { id: self.insert(entry), replaced })
    }

    /// Takes notice of a packet of the flow `id` that is not its first. A late packet does not keep the flow alive.
    #[inline]
    pub fn observe(&mut self, id: FlowId, direction: Direction, packet: &PacketMeta, now: Moment) -> Observed {
        let Some(slot) = self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation) else {
            return Observed::Late(Reason::FlowClosed);
        };
        let Some(entry) = &mut slot.entry else { return Observed::Late(Reason::FlowClosed) };
        if entry.observe_plain(direction, packet, now) {
            return Observed::Active;
        }
        if entry.ended == Some(EndCause::Idle) {
            return late_after_idle(entry, direction, packet);
        }
        self.observe_any(id, direction, packet, now)
    }

    /// What [`FlowTable::observe`] does with a packet that may change the flow's state.
    fn observe_any(&mut self, id: FlowId, direction: Direction, packet: &PacketMeta, now: Moment) -> Observed {
        let Some(entry) = &mut self.slots[id.index()].entry else { return Observed::Late(Reason::FlowClosed) };
        let was_half_open = entry.is_half_open();
        match &mut entry.tracking {
            Tracking::Tcp(track) => match track.observe(direction, &TcpSegment::of(packet)) {
                TcpOutcome::To(_) => {}
                TcpOutcome::Late => return Observed::Late(Reason::FlowClosed),
                TcpOutcome::Reopen => return Observed::Reopen,
            },
            Tracking::Udp { is_answered } => *is_answered |= direction == Direction::Reply,
            Tracking::Other => {}
        }
        entry.last_seen = now;
        let leaves_half_open = was_half_open && !entry.is_half_open();
        self.half_open -= u32::from(leaves_half_open);
        // Otherwise the timer stays where it is: it fires too early and is then set anew. But an idle time-out may be
        // shorter than what was left for the handshake.
        let idle_deadline = leaves_half_open.then(|| entry.deadline(&self.timeouts));
        let is_over = matches!(entry.tracking, Tracking::Tcp(track) if track.state().is_over());
        if is_over && entry.ended.is_none() {
            self.end(id.index, EndCause::Closed, now);
            return Observed::Closed;
        }
        if let Some(deadline) = idle_deadline {
            self.wheel.schedule(id.index, deadline);
        }
        if leaves_half_open { Observed::Established } else { Observed::Active }
    }

    /// Ends a flow whose connection is over for a reason that no packet shows. It is remembered as closed.
    pub fn close(&mut self, id: FlowId, now: Moment) {
        if self.get(id).is_some_and(|entry| entry.ended.is_none()) {
            self.end(id.index, EndCause::Closed, now);
        }
    }

    /// The next flow that ended by time: idle, or half-open for too long (the entry is then gone or only remembered), or at the
    /// end of its memory, if its user's value was not taken before. `budget` bounds the timers looked at.
    pub fn poll_expired(&mut self, now: Moment, budget: &mut u32) -> Option<Ended<V, U>> {
        while let Some(index) = self.wheel.poll_expired(now, budget) {
            let slot = &mut self.slots[index as usize];
            let Some(entry) = &mut slot.entry else { continue };
            let deadline = entry.deadline(&self.timeouts);
            if deadline > now {
                self.wheel.schedule(index, deadline);
                continue;
            }
            let id = FlowId { index, generation: slot.generation };
            if entry.ended.is_some() {
                match self.evict(index) {
                    Some(ended) if ended.user.is_some() => return Some(ended),
                    _ => continue,
                }
            }
            if entry.is_half_open() {
                return self.evict(index).map(|ended| Ended { cause: EndCause::HalfOpen, ..ended });
            }
            let (tuple, verdict, user) = (entry.tuple, entry.verdict, entry.user.take());
            self.end(index, EndCause::Idle, now);
            return Some(Ended { id, cause: EndCause::Idle, tuple, verdict, user });
        }
        None
    }

    /// When [`FlowTable::poll_expired`] wants to be called next.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.wheel.next_deadline()
    }

    fn insert(&mut self, entry: FlowEntry<V, U>) -> FlowId {
        let (hash, deadline) = (self.hasher.hash_flow(&entry.tuple), entry.deadline(&self.timeouts));
        let index = if self.free == NIL {
            self.slots.push(Slot { generation: 0, entry: None, next: NIL, previous: NIL });
            (self.slots.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.slots[index as usize].next;
            index
        };
        let slot = &mut self.slots[index as usize];
        (slot.entry, slot.next, slot.previous) = (Some(entry), NIL, NIL);
        let generation = slot.generation;
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, index, |&other| {
            slots[other as usize].entry.as_ref().map_or(0, |entry| hasher.hash_flow(&entry.tuple))
        });
        self.wheel.schedule(index, deadline);
        FlowId { index, generation }
    }

    /// Moves a live entry to the end of the list of ended ones.
    fn end(&mut self, index: u32, cause: EndCause, now: Moment) {
        let tail = self.ended_tail;
        let slot = &mut self.slots[index as usize];
        let Some(entry) = &mut slot.entry else { return };
        self.half_open -= u32::from(entry.is_half_open());
        (entry.ended, entry.ended_at) = (Some(cause), now);
        let deadline = entry.deadline(&self.timeouts);
        (slot.previous, slot.next) = (tail, NIL);
        match self.slots.get_mut(tail as usize) {
            Some(last) => last.next = index,
            None => self.ended_head = index,
        }
        self.ended_tail = index;
        self.live -= 1;
        self.wheel.schedule(index, deadline);
    }

    /// Takes an entry out.
    fn evict(&mut self, index: u32) -> Option<Ended<V, U>> {
        let hash = self.slots[index as usize].entry.as_ref().map(|entry| self.hasher.hash_flow(&entry.tuple))?;
        if let Ok(found) = self.index.find_entry(hash, |&other| other == index) {
            found.remove();
        }
        self.wheel.cancel(index);
        let slot = &mut self.slots[index as usize];
        let (next, previous) = (slot.next, slot.previous);
        let id = FlowId { index, generation: slot.generation };
        slot.generation = slot.generation.wrapping_add(1);
        (slot.next, slot.previous) = (self.free, NIL);
        self.free = index;
        let entry = slot.entry.take()?;
        if entry.ended.is_some() {
            match self.slots.get_mut(next as usize) {
                Some(after) => after.previous = previous,
                None => self.ended_tail = previous,
            }
            match self.slots.get_mut(previous as usize) {
                Some(before) => before.next = next,
                None => self.ended_head = next,
            }
        } else {
            self.live -= 1;
            self.half_open -= u32::from(entry.is_half_open());
        }
        let cause = entry.ended.unwrap_or(EndCause::Replaced);
        Some(Ended { id, cause, tuple: entry.tuple, verdict: entry.verdict, user: entry.user })
    }
}

fn late_after_idle<V, U>(entry: &FlowEntry<V, U>, direction: Direction, packet: &PacketMeta) -> Observed {
    let begins_anew = match entry.tracking {
        Tracking::Tcp(_) => packet.tcp_flags().opens(),
        Tracking::Udp { .. } | Tracking::Other => true,
    };
    if begins_anew && direction == Direction::Original {
        Observed::Reopen
    } else {
        Observed::Late(Reason::FlowIdleExpired)
    }
}

#[cfg(test)]
mod tests;
