//! The bounded flow table.

use std::time::Duration;

use hashbrown::HashTable;

use super::expiry::TimerWheel;
use super::hasher::{FlowHasher, FlowSeed};
use super::tcp_track::{TcpOutcome, TcpSegment, TcpTrack};
use crate::packet::{FiveTuple, PacketMeta, Protocol, TcpFlags};
use crate::time::Moment;
use crate::verdict::Reason;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// As the flow's first packet: from its originator.
    Original = 0,
    /// To its originator.
    Reply = 1,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

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

/// How long an entry lives without a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowTimeouts {
    /// TCP. AWS, for flows through a VPC endpoint: 350 s.
    pub tcp: Duration,
    /// From SYN to the end of the handshake, packets or not. AWS does not publish it.
    pub tcp_half_open: Duration,
    /// UDP without an answer. AWS: 30 s.
    pub udp_one_way: Duration,
    /// UDP with an answer. AWS: 180 s.
    pub udp_stream: Duration,
    /// Other protocols. AWS: 600 s.
    pub other: Duration,
    /// How long a closed flow is remembered, to tell stragglers from strangers. AWS does not publish it.
    pub closed_memory: Duration,
    /// How long a flow that fell silent is remembered.
    pub idle_memory: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(350),
            tcp_half_open: Duration::from_secs(10),
            udp_one_way: Duration::from_secs(30),
            udp_stream: Duration::from_secs(180),
            other: Duration::from_secs(600),
            closed_memory: Duration::from_secs(30),
            idle_memory: Duration::from_secs(350),
        }
    }
}

/// What is known of the flow above IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tracking {
    /// A TCP connection.
    Tcp(TcpTrack),
    /// UDP; whether it was answered.
    Udp {
        /// A packet went back to the originator.
        is_answered: bool,
    },
    /// Another protocol, known by its addresses alone.
    Other,
}

/// What passed in one direction since the flow began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets; a super-segment counts once.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
    /// All TCP control bits seen.
    pub tcp_flags: TcpFlags,
}

/// Why a flow ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndCause {
    /// The connection was closed or reset.
    Closed,
    /// No packet within the idle time-out.
    Idle,
    /// The handshake was not finished in time.
    HalfOpen,
    /// Another flow needed its place, or took its five-tuple.
    Replaced,
}

/// One flow. `V` is what was decided for it, `U` what its user keeps for it.
#[derive(Clone, Debug)]
pub struct FlowEntry<V, U> {
    tuple: FiveTuple,
    tracking: Tracking,
    traffic: [Traffic; 2],
    first_seen: Moment,
    last_seen: Moment,
    ended: Option<EndCause>,
    ended_at: Moment,
    /// What was decided when its first packet came, or since.
    pub verdict: V,
    /// The epoch of the rules that decided.
    pub epoch: u64,
    /// The user's own.
    pub user: Option<U>,
}

impl<V, U> FlowEntry<V, U> {
    /// The five-tuple from the originator's side.
    pub const fn tuple(&self) -> &FiveTuple {
        &self.tuple
    }

    /// Its state above IP.
    pub const fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// What passed in a direction.
    pub const fn traffic(&self, direction: Direction) -> &Traffic {
        &self.traffic[direction as usize]
    }

    /// When its first packet came.
    pub const fn first_seen(&self) -> Moment {
        self.first_seen
    }

    /// When its last packet came or went.
    pub const fn last_seen(&self) -> Moment {
        self.last_seen
    }

    /// Why it ended, if it did: it is then only remembered.
    #[inline]
    pub const fn ended(&self) -> Option<EndCause> {
        self.ended
    }

    fn is_half_open(&self) -> bool {
        matches!(self.tracking, Tracking::Tcp(track) if track.state().is_half_open()) && self.ended.is_none()
    }

    /// Until when it lives if nothing more comes, and what happens then.
    fn deadline(&self, timeouts: &FlowTimeouts) -> Moment {
        match (self.ended, &self.tracking) {
            (Some(EndCause::Idle), _) => self.ended_at + timeouts.idle_memory,
            (Some(_), _) => self.ended_at + timeouts.closed_memory,
            (None, Tracking::Tcp(track)) if track.state().is_half_open() => self.first_seen + timeouts.tcp_half_open,
            (None, Tracking::Tcp(_)) => self.last_seen + timeouts.tcp,
            (None, Tracking::Udp { is_answered: false }) => self.last_seen + timeouts.udp_one_way,
            (None, Tracking::Udp { is_answered: true }) => self.last_seen + timeouts.udp_stream,
            (None, Tracking::Other) => self.last_seen + timeouts.other,
        }
    }
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
        let mut direction = Direction::Original;
        let is_it = |&index: &u32| {
            let Some(entry) = &self.slots[index as usize].entry else { return false };
            match matches(&entry.tuple, tuple) {
                Some(d) => {
                    direction = d;
                    true
                }
                None => false,
            }
        };
        let index = *self.index.find(self.hasher.hash_flow(tuple), is_it)?;
        Some((FlowId { index, generation: self.slots[index as usize].generation }, direction))
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
        let mut entry = FlowEntry {
            tuple,
            tracking,
            traffic: Default::default(),
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
        count(&mut entry, Direction::Original, packet);
        Ok(Opened { id: self.insert(entry), replaced })
    }

    /// Takes notice of a packet of the flow `id` that is not its first. A late packet does not keep the flow alive.
    #[inline]
    pub fn observe(&mut self, id: FlowId, direction: Direction, packet: &PacketMeta, now: Moment) -> Observed {
        let Some(slot) = self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation) else {
            return Observed::Late(Reason::FlowClosed);
        };
        let Some(entry) = &mut slot.entry else { return Observed::Late(Reason::FlowClosed) };
        if entry.ended == Some(EndCause::Idle) {
            return late_after_idle(entry, direction, packet);
        }
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
        count(entry, direction, packet);
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

#[inline]
fn count<V, U>(entry: &mut FlowEntry<V, U>, direction: Direction, packet: &PacketMeta) {
    let traffic = &mut entry.traffic[direction as usize];
    traffic.packets += 1;
    traffic.bytes += packet.packet_len() as u64;
    traffic.tcp_flags = traffic.tcp_flags.union(packet.tcp_flags());
}

#[inline]
fn matches(originator: &FiveTuple, tuple: &FiveTuple) -> Option<Direction> {
    if originator == tuple {
        Some(Direction::Original)
    } else if *originator == tuple.reversed() {
        Some(Direction::Reply)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
