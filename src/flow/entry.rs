//! What is remembered of one flow, and for how long.

use std::time::Duration;

use super::tcp_track::{TcpSegment, TcpTrack};
use crate::packet::{FiveTuple, PacketMeta};
use crate::time::Moment;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// As the flow's first packet: from its originator.
    Original = 0,
    /// To its originator.
    Reply = 1,
}

impl Direction {
    /// The way of a packet from `src` to `dst` in the flow of these ends, if they are its own.
    #[inline]
    pub(super) fn of<T: PartialEq>([src, dst]: [T; 2], [originator, other]: [T; 2]) -> Option<Self> {
        if originator == src && other == dst {
            Some(Self::Original)
        } else if originator == dst && other == src {
            Some(Self::Reply)
        } else {
            None
        }
    }

    /// The other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
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
    pub(super) tuple: FiveTuple,
    pub(super) tracking: Tracking,
    pub(super) first_seen: Moment,
    pub(super) last_seen: Moment,
    pub(super) ended: Option<EndCause>,
    pub(super) ended_at: Moment,
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

    /// Takes notice of a packet if it is what nearly every one is: data or an acknowledgement in the middle of a live TCP
    /// connection, which changes no state. Says no to all others and takes no notice of them.
    #[inline]
    pub fn observe_plain(&mut self, direction: Direction, packet: &PacketMeta, now: Moment) -> bool {
        if self.ended.is_none()
            && let Tracking::Tcp(track) = &mut self.tracking
            && track.observe_plain(direction, &TcpSegment::of(packet))
        {
            self.last_seen = now;
            return true;
        }
        false
    }

    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.tracking, Tracking::Tcp(track) if track.state().is_half_open()) && self.ended.is_none()
    }

    /// Until when it lives if nothing more comes, and what happens then.
    pub(super) fn deadline(&self, timeouts: &FlowTimeouts) -> Moment {
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
