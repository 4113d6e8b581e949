//! One direction of the emulated path: when a frame arrives at the other end, or why it never does.
//!
//! The order is that of a real path: the MTU first, then the queue before the slowest link, the link's rate in bits and in
//! packets per second, loss behind it, and at last delay and jitter. A frame lost behind the link has used the link.
//!
//! A rate is a token bucket one frame deep, refilled lazily: frames leave the link one after the other, each after the
//! time its bits take, to a sixteenth of a nanosecond. Nothing here stores frames ([`super::batch`] does), reads a clock
//! or draws unseeded random numbers, so a run repeats exactly.
//!
//! Several workers share one link ([`Link`] is shared, everything else is the worker's own), so that a tunnel has its rate
//! as a whole and a single flow may use all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::PathDirection;
use crate::time::Moment;
use crate::verdict::Reason;

/// Fractions of a nanosecond in which a link keeps its time: exact enough at any rate, and good for 36 years.
const TICKS_PER_NANO: u64 = 16;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS_PER_NANO;

/// The rate of one direction, shared by every worker that sends in it.
#[derive(Debug, Default)]
pub struct Link {
    /// `None` for an unlimited rate.
    bits: Option<Server>,
    packets: Option<Server>,
    queue_bytes: u64,
}

/// Something that serves units one after the other at a fixed rate.
#[derive(Debug)]
struct Server {
    rate: u64,
    /// When it will be free, in ticks.
    free_at: AtomicU64,
}

impl Server {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), free_at: AtomicU64::new(0) }
    }

    /// How long `units` take, in ticks.
    fn cost(&self, units: u64) -> u64 {
        (units.saturating_mul(TICKS_PER_SECOND) + self.rate / 2) / self.rate
    }

    /// How many units wait or are being served, rounded up.
    fn backlog(&self, now: u64) -> u64 {
        let ticks = self.free_at.load(Ordering::Relaxed).saturating_sub(now);
        if ticks == 0 {
            return 0;
        }
        let units = (u128::from(ticks) * u128::from(self.rate)).div_ceil(u128::from(TICKS_PER_SECOND));
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Takes the next turn and returns when it ends.
    fn occupy(&self, now: u64, cost: u64) -> u64 {
        let mut free_at = self.free_at.load(Ordering::Relaxed);
        loop {
            let end = free_at.max(now).saturating_add(cost);
            match self.free_at.compare_exchange_weak(free_at, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return end,
                Err(current) => free_at = current,
            }
        }
    }
}

impl Link {
    /// An idle link with the rates and the queue of `direction`.
    pub fn new(direction: &PathDirection) -> Self {
        Self {
            bits: direction.rate_bps.map(Server::new),
            packets: direction.rate_pps.map(Server::new),
            queue_bytes: direction.queue_bytes as u64,
        }
    }

    /// Whether it never makes a frame wait.
    pub const fn is_unlimited(&self) -> bool {
        self.bits.is_none() && self.packets.is_none()
    }

    /// Queues a packet of `len` bytes, and returns when its last bit has left the link.
    ///
    /// A packet that finds the link idle is taken whatever the queue's size; otherwise the bytes that have not left, its
    /// own included, must fit the queue. Under a packet rate the waiting packets count as if they were as long as this one.
    fn admit(&self, now: Moment, len: usize) -> Result<Moment, Reason> {
        let (now_ticks, len) = (now.as_nanos().saturating_mul(TICKS_PER_NANO), len as u64);
        let waiting_bits = self.bits.as_ref().map_or(0, |bits| bits.backlog(now_ticks));
        let waiting_packets = self.packets.as_ref().map_or(0, |packets| packets.backlog(now_ticks));
        let waiting = waiting_bits.div_ceil(8).max(waiting_packets.saturating_mul(len));
        if waiting != 0 && waiting.saturating_add(len) > self.queue_bytes {
            return Err(Reason::TunnelQueueFull);
        }
        let mut end = now_ticks;
        if let Some(bits) = &self.bits {
            end = end.max(bits.occupy(now_ticks, bits.cost(len * 8)));
        }
        if let Some(packets) = &self.packets {
            end = end.max(packets.occupy(now_ticks, packets.cost(1)));
        }
        Ok(Moment::from_nanos(end.div_ceil(TICKS_PER_NANO)))
    }
}

/// What one worker needs to send in one direction.
#[derive(Debug)]
pub struct PathEmulator {
    link: Arc<Link>,
    mtu: usize,
    delay: u64,
    jitter: u64,
    /// A frame is lost if the next random number lies below.
    loss_below: u64,
    rng: PathRng,
    /// When the frame before arrives: none overtakes it.
    last_arrival: Moment,
    transparent: bool,
}

impl PathEmulator {
    /// A path for outer packets of up to `mtu` bytes. `link` is shared with the other workers that send in this direction.
    pub fn new(direction: &PathDirection, mtu: u16, link: Arc<Link>, rng: PathRng) -> Self {
        let loss_below = (direction.loss.clamp(0.0, 1.0) * 2_f64.powi(64)) as u64;
        let (delay, jitter) = (nanos(direction.delay), nanos(direction.jitter));
        let transparent = link.is_unlimited() && delay == 0 && jitter == 0 && loss_below == 0;
        Self { link, mtu: mtu.into(), delay, jitter, loss_below, rng, last_arrival: Moment::default(), transparent }
    }

    /// Whether it adds nothing but an MTU, so that the caller may pass it by.
    #[inline]
    pub const fn is_transparent(&self) -> bool {
        self.transparent
    }

    /// The largest outer packet, bytes.
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// Sends an outer packet of `len` bytes at `now`, and returns when it arrives: never before the one sent before it.
    ///
    /// # Errors
    /// [`Reason::TunnelMtuExceeded`], [`Reason::TunnelQueueFull`] or [`Reason::TunnelLoss`]: it never does.
    #[inline]
    pub fn admit(&mut self, now: Moment, len: usize) -> Result<Moment, Reason> {
        if len > self.mtu {
            return Err(Reason::TunnelMtuExceeded);
        }
        if self.transparent { Ok(now) } else { self.emulate(now, len) }
    }

    fn emulate(&mut self, now: Moment, len: usize) -> Result<Moment, Reason> {
        let departure = if self.link.is_unlimited() { now } else { self.link.admit(now, len)? };
        if self.loss_below != 0 && self.rng.next() <= self.loss_below {
            return Err(Reason::TunnelLoss);
        }
        // Jitter lies evenly around the delay; where it is larger than the delay, a frame still takes no negative time.
        let (mut delay, jitter) = (self.delay, self.jitter);
        if jitter != 0 {
            delay = delay.saturating_add(self.rng.up_to(jitter.saturating_mul(2))).saturating_sub(jitter);
        }
        self.last_arrival = self.last_arrival.max(departure + Duration::from_nanos(delay));
        Ok(self.last_arrival)
    }
}

/// How many bytes may be under way on `direction` at once: what waits for the rate and what the delay holds.
pub fn bytes_under_way(direction: &PathDirection) -> usize {
    /// What an unlimited rate is taken for: more than one worker seals.
    const UNLIMITED_BPS: u64 = 40_000_000_000;
    let seconds = direction.delay.as_secs_f64() + direction.jitter.as_secs_f64();
    let held = direction.rate_bps.unwrap_or(UNLIMITED_BPS) as f64 / 8.0 * seconds;
    (held as usize).saturating_add(direction.queue_bytes)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A small seeded generator for loss and jitter (SplitMix64). Never for keys.
#[derive(Clone, Debug)]
pub struct PathRng(u64);

impl PathRng {
    /// A generator that repeats itself for the same seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An even draw from 0 to `limit`, both included.
    fn up_to(&mut self, limit: u64) -> u64 {
        // Multiply and shift: the bias is below limit / 2^64.
        ((u128::from(self.next()) * (u128::from(limit) + 1)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
