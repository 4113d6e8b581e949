//! The tunnel: ESP in UDP, sequence and replay windows, path emulation.
//!
//! [`TunnelEnd`] is one end of an IPsec tunnel like that of a Site-to-Site VPN, without its sockets. Frames come in through
//! [`TunnelEnd::handle_frame`], inner packets go out through [`TunnelEnd::send`], and [`TunnelEnd::poll_transmit`] gives
//! what the socket is to send, when it is due. Each end emulates the path of its own sending direction, after sealing.
//!
//! | file | idea |
//! | --- | --- |
//! | [`esp`] | one frame sealed or opened in place |
//! | [`replay`] | the anti-replay window |
//! | [`keys`] | SAs, one pair per endpoint worker, and their text form |
//! | [`mtu`] | what fits through |
//! | [`path`] | when a frame arrives, or why it never does |
//! | [`batch`] | frames on their way to the socket |
//!
//! What it does not do: key exchange and rekeying (SAs are static and fresh for each lab; a spent SA stops with
//! `TUNNEL_SEQUENCE_EXHAUSTED`); dead-peer detection (with static SAs there is nothing to tear down: TCP's and the
//! invocation's own time-outs bound a dead tunnel, and [`TunnelEnd::last_received`] is there to show); keepalives (both ends
//! have fixed addresses, there is no NAT to keep open; received ones are ignored); fragmentation (what does not fit is
//! dropped with `TUNNEL_MTU_EXCEEDED`; the MSS clamp keeps TCP below it).
//!
//! Limits: the transmit queue's bytes and frames, sized from the path. Counters: `FRAMES_TX`, `FRAME_BYTES_TX`,
//! `FRAMES_RX`, `FRAME_BYTES_RX`, and every `TUNNEL_*` reason. Bytes are ESP frames, without outer IP and UDP headers.

pub mod batch;
pub mod esp;
pub mod keys;
pub mod mtu;
pub mod path;
pub mod replay;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use self::batch::{Transmit, TransmitQueue};
use self::esp::{ESP_HEADROOM, FrameKind, InboundSa, OutboundSa, frame_len};
use self::keys::{SaKeys, SaPair};
use self::path::{Link, PathEmulator, PathRng};
use crate::config::{PathDirection, PathProfile};
use crate::time::Moment;
use crate::verdict::{Counters, Event, Reason};

/// Bytes of frames that may wait for the socket alone: a dozen full sends.
const SOCKET_QUEUE_BYTES: usize = 1 << 20;
/// Most memory that frames under way may take, per end.
const QUEUE_BYTES_LIMIT: usize = 64 << 20;
/// Bytes per frame that the number of queued frames is sized for.
const TYPICAL_FRAME: usize = 128;

/// Which end of the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The endpoint's.
    Aws,
    /// The customer gateway's.
    Customer,
}

impl Side {
    /// What the path does to frames sent from this side.
    pub const fn direction(self, profile: &PathProfile) -> &PathDirection {
        match self {
            Self::Aws => &profile.to_customer,
            Self::Customer => &profile.to_aws,
        }
    }

    /// The keys this side seals with and those it opens with.
    const fn keys(self, pair: &SaPair) -> (&SaKeys, &SaKeys) {
        match self {
            Self::Aws => (&pair.to_customer, &pair.to_aws),
            Self::Customer => (&pair.to_aws, &pair.to_customer),
        }
    }
}

/// What came out of a frame.
#[derive(PartialEq, Eq, Debug)]
pub enum Received<'f> {
    /// An inner packet.
    Packet {
        /// The packet, exactly as long as its IP header says. Its other headers are not checked.
        packet: &'f mut [u8],
        /// Which SA pair it came through: 0 at an end with one.
        sa: usize,
    },
    /// Something that is to be ignored: a NAT keepalive or a dummy packet.
    Nothing,
    /// It goes no further. Already counted.
    Denied(Reason),
}

/// One end of the tunnel: an endpoint worker with its SA pair, or the customer gateway with all of them.
#[derive(Debug)]
pub struct TunnelEnd {
    outbound: Box<[OutboundSa]>,
    inbound: Box<[InboundSa]>,
    /// The SA that received last: most likely the next one too.
    last_inbound: usize,
    last_received: Option<Moment>,
    path: PathEmulator,
    queue: TransmitQueue,
    inner_mtu: u16,
}

impl TunnelEnd {
    /// The end on `side` with these SA pairs, over a path like `profile`.
    ///
    /// `link` is the rate of this side's direction, shared by all ends that send in it: `Link::new(side.direction(profile))`.
    /// `seed` makes loss and jitter repeatable; ends that share a link want different ones. It is random and fresh for each
    /// start, for it also keeps nonces apart should the keys have been used before (see [`OutboundSa::new`]).
    pub fn new(
        side: Side,
        pairs: &[SaPair],
        replay_window: u16,
        profile: &PathProfile,
        link: Arc<Link>,
        seed: u64,
    ) -> Self {
        let direction = side.direction(profile);
        let path = PathEmulator::new(direction, profile.mtu, link, PathRng::from_seed(seed));
        let under_way = if path.is_transparent() { 0 } else { path::bytes_under_way(direction) };
        let bytes = under_way.saturating_add(SOCKET_QUEUE_BYTES).min(QUEUE_BYTES_LIMIT);
        let life = (seed >> 32) as u32;
        Self {
            outbound: pairs.iter().map(|pair| OutboundSa::new(side.keys(pair).0).in_life(life)).collect(),
            inbound: pairs.iter().map(|pair| InboundSa::new(side.keys(pair).1, replay_window)).collect(),
            last_inbound: 0,
            last_received: None,
            path,
            queue: TransmitQueue::new(bytes, bytes / TYPICAL_FRAME),
            inner_mtu: mtu::inner_mtu(profile.mtu),
        }
    }

    /// The largest inner packet, bytes.
    pub const fn inner_mtu(&self) -> u16 {
        self.inner_mtu
    }

    /// How many SA pairs it has.
    pub const fn sas(&self) -> usize {
        self.outbound.len()
    }

    /// When the last genuine frame came in.
    pub const fn last_received(&self) -> Option<Moment> {
        self.last_received
    }

    /// Opens one frame (one datagram's payload; see [`batch::frames`]) in place.
    #[inline]
    pub fn handle_frame<'f>(&mut self, frame: &'f mut [u8], now: Moment, counters: &Counters) -> Received<'f> {
        let len = frame.len();
        let opened = match FrameKind::of(frame) {
            FrameKind::Keepalive => return Received::Nothing,
            FrameKind::Ike => Err(Reason::TunnelUnknownSpi),
            FrameKind::Short => Err(Reason::TunnelMalformed),
            FrameKind::Esp(spi) => match self.inbound_of(spi) {
                Some(sa) => self.inbound[sa].open(frame).map(|packet| (packet, sa)),
                None => Err(Reason::TunnelUnknownSpi),
            },
        };
        match opened {
            Ok((packet, sa)) => {
                self.last_inbound = sa;
                self.last_received = Some(now);
                counters.count(Event::FramesRx);
                counters.add(Event::FrameBytesRx, len as u64);
                if packet.is_empty() { Received::Nothing } else { Received::Packet { packet, sa } }
            }
            Err(reason) => {
                counters.deny(reason);
                Received::Denied(reason)
            }
        }
    }

    /// Seals a copy of `inner` with the SA pair `sa` and queues it. The reason of a denial is already counted.
    ///
    /// # Errors
    /// `TUNNEL_MTU_EXCEEDED`, `TUNNEL_QUEUE_FULL`, `TUNNEL_LOSS`, `TUNNEL_SEQUENCE_EXHAUSTED`, or `TUNNEL_MALFORMED` if
    /// it is not one whole IP packet or there is no SA pair `sa`.
    #[inline]
    pub fn send(&mut self, sa: usize, inner: &[u8], now: Moment, counters: &Counters) -> Result<(), Reason> {
        if inner.len() > usize::from(self.inner_mtu) {
            counters.deny(Reason::TunnelMtuExceeded);
            return Err(Reason::TunnelMtuExceeded);
        }
        let Some(mut grant) = self.grant(inner.len()) else {
            counters.deny(Reason::TunnelQueueFull);
            return Err(Reason::TunnelQueueFull);
        };
        grant.copy_from_slice(inner);
        grant.send(sa, now, counters)
    }

    /// Whether an inner packet of `inner_len` bytes finds room in the queue: ask before taking packets that must not be
    /// lost.
    #[inline]
    pub fn has_room(&self, inner_len: usize) -> bool {
        self.queue.has_room(frame_len(inner_len))
    }

    /// Room for an inner packet of `inner_len` bytes to be written where it will be sealed; `None` if the queue is full.
    #[inline]
    pub fn grant(&mut self, inner_len: usize) -> Option<Grant<'_>> {
        let start = self.queue.room(frame_len(inner_len))?;
        Some(Grant { end: self, start, inner_len })
    }

    /// The next frames that are due at `now`, for one send. They stay queued until [`Transmit::sent`]; count what was sent
    /// with [`count_sent`].
    #[inline]
    pub fn poll_transmit(&mut self, now: Moment) -> Option<Transmit<'_>> {
        self.queue.poll_transmit(now)
    }

    /// When [`Self::poll_transmit`] has something again; `None` while nothing is queued. In the past while the socket is
    /// the one that is waited for.
    #[inline]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.queue.next_due()
    }

    /// How many sealed frames wait for their moment or for the socket.
    pub fn queued_frames(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    fn inbound_of(&self, spi: u32) -> Option<usize> {
        match self.inbound.get(self.last_inbound) {
            Some(sa) if sa.spi() == spi => Some(self.last_inbound),
            _ => self.inbound.iter().position(|sa| sa.spi() == spi),
        }
    }
}

/// Counts frames that the socket took.
#[inline]
pub fn count_sent(frames: usize, bytes: usize, counters: &Counters) {
    counters.add(Event::FramesTx, frames as u64);
    counters.add(Event::FrameBytesTx, bytes as u64);
}

/// Room for one inner packet in the transmit queue. Dropped without [`Grant::send`], it never was.
#[derive(Debug)]
pub struct Grant<'e> {
    end: &'e mut TunnelEnd,
    start: usize,
    inner_len: usize,
}

impl Grant<'_> {
    /// Seals what was written and queues it, as [`TunnelEnd::send`].
    ///
    /// # Errors
    /// As [`TunnelEnd::send`].
    #[inline]
    pub fn send(self, sa: usize, now: Moment, counters: &Counters) -> Result<(), Reason> {
        let outcome = self.seal(sa, now);
        if let Err(reason) = outcome {
            counters.deny(reason);
        }
        outcome
    }

    /// Makes the inner packet shorter than was asked for.
    #[inline]
    pub fn truncate(&mut self, inner_len: usize) {
        self.inner_len = self.inner_len.min(inner_len);
    }

    #[inline]
    fn seal(self, sa: usize, now: Moment) -> Result<(), Reason> {
        let Self { end, start, inner_len } = self;
        let outbound = end.outbound.get_mut(sa).ok_or(Reason::TunnelMalformed)?;
        let len = frame_len(inner_len);
        let arrival = match end.path.admit(now, len + mtu::OUTER_HEADERS) {
            Ok(arrival) => arrival,
            Err(Reason::TunnelLoss) => {
                // The receiver is to see the gap that a frame lost on the wire leaves.
                outbound.skip()?;
                return Err(Reason::TunnelLoss);
            }
            Err(reason) => return Err(reason),
        };
        outbound.seal_in_place(end.queue.bytes_mut(start..start + len), inner_len)?;
        end.queue.push(start, len, arrival, sa);
        Ok(())
    }

    #[inline]
    fn range(&self) -> std::ops::Range<usize> {
        let first = self.start + ESP_HEADROOM;
        first..first + self.inner_len
    }
}

impl Deref for Grant<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.end.queue.bytes(self.range())
    }
}

impl DerefMut for Grant<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        self.end.queue.bytes_mut(range)
    }
}

#[cfg(test)]
mod tests;
