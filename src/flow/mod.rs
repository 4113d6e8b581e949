//! Flows: both directions of a five-tuple, remembered.
//!
//! [`FlowTable`] finds the flow of a packet in either direction with one hash, and keeps what was decided for it, so that
//! rules are walked for a flow's first packet alone. One worker owns one table; nothing is shared.
//!
//! States of an entry: a TCP connection follows [`TcpTrack`]; UDP is one-way until it is answered; anything else just is.
//! When a connection closes or falls silent its entry *ends*: it stays a while, so that stragglers are told from strangers
//! ([`Reason::FlowClosed`], [`Reason::FlowIdleExpired`]), and a SYN on the same five-tuple takes its place.
//!
//! Limits: entries and half-open connections ([`FlowLimits`]); when the table is full, the longest-ended entry is evicted
//! first. Timers: [`FlowTimeouts`], each with its source. Counted by the caller: [`Reason::FlowLimit`],
//! [`Reason::HalfOpenLimit`], [`Reason::FlowClosed`], [`Reason::FlowIdleExpired`].
//!
//! What this does not do: check that data lies in the receiver's window. The endpoint's own TCP does that; here sequence
//! numbers only tell whether a RST or the acknowledgement of a FIN is meant.
//!
//! [`Reason::FlowClosed`]: crate::verdict::Reason::FlowClosed
//! [`Reason::FlowIdleExpired`]: crate::verdict::Reason::FlowIdleExpired
//! [`Reason::FlowLimit`]: crate::verdict::Reason::FlowLimit
//! [`Reason::HalfOpenLimit`]: crate::verdict::Reason::HalfOpenLimit

mod entry;
mod expiry;
mod hasher;
mod table;
mod tcp_track;

pub use entry::{Direction, EndCause, FlowEntry, FlowTimeouts, Tracking};
pub use expiry::TimerWheel;
pub(crate) use hasher::FlowHasher;
pub use hasher::FlowSeed;
pub use table::{Ended, FlowId, FlowLimits, FlowTable, Observed, Opened};
pub use tcp_track::{TcpEvent, TcpOutcome, TcpSegment, TcpState, TcpTrack};
