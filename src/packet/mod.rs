//! Packets: bytes become views that prove their bounds were checked.
//!
//! Bytes enter here from a device (behind a [`VirtioHeader`]) or out of a tunnel frame, and every other stage works on what
//! [`parse`] made of them. What is here:
//!
//! * [`parse`] → [`PacketView`]: one pass over IPv4 or IPv6 and the TCP, UDP or ICMP header, bounds and IPv4 header checksum
//!   verified, trailing bytes cut off. [`PacketMeta`] is the same knowledge detached from the borrow, for when the bytes change.
//! * [`checksum`]: ones-complement sums, pseudo headers, incremental updates.
//! * [`VirtioHeader`], [`Segmenter`]: super-segments of a device with offloads, and their way back to packets that fit a path;
//!   [`Merger`]: packets that become a super-segment.
//! * [`clamp_mss`], [`decrement_hop_limit`]: the two changes made to a packet on its way; [`emit_reset`]: the
//!   one packet made here.
//!
//! Limits: an IPv4 packet of 65,535 bytes, an IPv6 packet of 65,575 ([`PACKET_LEN_MAX`]); [`IPV6_EXTENSION_LIMIT`] extension
//! headers. Not here: reassembly. A fragment is dropped, because its flow cannot be known from it and PrivateLink clients
//! never need one (MSS clamping sees to that).

pub mod checksum;
mod five_tuple;
mod hop_limit;
mod merge;
mod mss;
mod reset;
mod segment;
mod view;
mod virtio;

pub(crate) use five_tuple::Ends;
pub use five_tuple::{Addresses, FiveTuple, Protocol};
pub use hop_limit::decrement_hop_limit;
pub use merge::{MERGED_LEN_MAX, Merger, Run};
pub use mss::{clamp_mss, mss_option};
pub use reset::{RESET_LEN_MAX, emit_reset};
pub use segment::{BufferTooSmall, Segmenter};
pub use view::{IPV6_EXTENSION_LIMIT, PACKET_LEN_MAX, PacketMeta, PacketView, TcpFlags, parse, parse_meta};
pub use virtio::{GsoType, VIRTIO_HEADER_LEN, VirtioHeader, complete_checksum};

#[cfg(test)]
pub(crate) mod testing;
