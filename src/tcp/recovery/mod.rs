//! Loss recovery and congestion control above smoltcp, for connections through the tunnel.
//!
//! smoltcp 0.14.0 ignores selective acknowledgements, sends one lost segment in a round trip and waits a second for what
//! nobody repeats. That is good enough where nothing is lost, toward the VPC. The tunnel's path loses packets, so there a
//! [`Recovery`] stands between smoltcp and the packets and is the sender: it keeps a copy of what is under way, finds
//! losses, sends again, and says how much may be under way (`docs/decisions/0014-loss-recovery-above-smoltcp.md`).
//!
//! smoltcp keeps everything else: the handshake, the receiving direction, FIN, window probes, keep-alives. It is made to see
//! a peer on a good path:
//! - the window it is shown ends where sending must stop for now; the peer's window scale is hidden from it, so that this is
//!   exact to the byte;
//! - what it is shown as unacknowledged are the last [`SHOWN`] bytes under way at most, so that its send buffer does not
//!   limit what is under way;
//! - when sending may go on without a packet of the peer's, it is given one made here ([`Recovery::poll_window`]);
//! - what it sends again of its own goes no further, except for the acknowledgement in it.
//!
//! | file | idea |
//! | --- | --- |
//! | [`header`] | TCP headers, read, changed and made |
//! | [`store`] | copies of bytes under way, from a pool |
//! | [`scoreboard`] | which segments arrived |
//! | [`rack`] | which are lost |
//! | [`rtt`] | round trips and time-outs |
//! | [`chance`] | which losses say that the path is full |
//! | [`cubic`] | how much may be under way |
//! | [`sender`] | all of these together, without packets |
//! | [`stream`] | what the sender makes of packets, and smoltcp gets to see of them |
//!
//! Not here: ECN, pacing, timestamps (smoltcp sends none), path MTU discovery (the tunnel's MTU is known).

mod chance;
mod cubic;
mod header;
mod rack;
mod rtt;
mod scoreboard;
mod sender;
mod store;
mod stream;

use self::header::{Header, SynOptions};
use self::scoreboard::Scoreboard;
use self::sender::Sender;
pub(super) use self::store::ChunkPool;
use self::stream::Stream;
use super::device::PacketBuffer;
use crate::packet::TcpFlags;
use crate::time::Moment;

/// Bytes under way that smoltcp is shown as unacknowledged, at most. It must be more than none, or it would take a shut
/// congestion window for a shut receiver and probe it.
const SHOWN: u64 = 16 * 1024;
/// The MSS of a peer that names none (RFC 9293 §3.7.1), and the smallest, as smoltcp has it.
const MSS_DEFAULT: u16 = 536;
const MSS_MIN: u16 = 48;
/// Offsets begin here, so that those of the first packets that come late are above zero.
const FIRST: u64 = 1 << 32;

/// What happened, until somebody counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    /// Segments sent again because they were lost.
    pub(super) again: u64,
    /// Last segments sent again because nothing was heard of them.
    pub(super) probes: u64,
    /// Time-outs.
    pub(super) timeouts: u64,
    /// Segments selectively acknowledged.
    pub(super) selective: u64,
    /// Reports that something arrived twice.
    pub(super) spurious: u64,
    /// Acknowledgements of what was never sent, and blocks that cannot be.
    pub(super) invalid: u64,
}

/// Everything a call may use.
pub(super) struct Context<'a> {
    pub(super) now: Moment,
    pub(super) pool: &'a mut ChunkPool,
    pub(super) tally: &'a mut Tally,
}

/// The sending side of one connection.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    handshake: Handshake,
    /// Since both SYNs are known.
    stream: Option<Stream>,
    /// The memory of the last connection's.
    spare: Scoreboard,
}

/// What the SYNs said.
#[derive(Clone, Copy, Debug, Default)]
struct Handshake {
    /// Offset of the first byte this side sends.
    start: Option<u64>,
    /// When this side's SYN left; `None` again if it left twice.
    sent_at: Option<Moment>,
    own: SynOptions,
    peer: Option<SynOptions>,
}

/// The offset near `near` whose low 32 bits are `sequence`.
#[inline]
fn offset_of(sequence: u32, near: u64) -> u64 {
    near.wrapping_add_signed(i64::from(sequence.wrapping_sub(near as u32) as i32))
}

impl Recovery {
    /// Looks at a packet of the peer's, and changes in it what smoltcp is to see.
    pub(super) fn handle_ingress(&mut self, packet: &mut [u8], cx: &mut Context<'_>) {
        let Some(mut header) = Header::parse(packet) else { return };
        if header.has(TcpFlags::SYN) {
            self.take_syn(&mut header, cx.now);
        } else if header.has(TcpFlags::ACK) && !header.has(TcpFlags::RST) && self.stream.is_some() {
            self.first_acknowledgement(cx.now);
            if let Some(stream) = &mut self.stream {
                stream.handle_ingress(&mut header, cx);
            }
        }
    }

    /// Looks at the packet that smoltcp emitted. Returns whether it goes out.
    pub(super) fn handle_egress(&mut self, out: &mut PacketBuffer, cx: &mut Context<'_>) -> bool {
        let Some(mut header) = Header::parse(out.packet_mut()) else { return true };
        if header.has(TcpFlags::SYN) {
            self.leave_syn(&header, cx.now);
            return true;
        }
        let Some(stream) = &mut self.stream else { return true };
        if header.has(TcpFlags::RST) {
            header.set_sequence(stream.sender.nxt as u32);
            return true;
        }
        let meta = header.meta();
        stream.handle_egress(out, meta, cx)
    }

    /// Makes the packet that is to be sent again now, if there is one. Returns whether there is.
    pub(super) fn poll_again(&mut self, out: &mut PacketBuffer, cx: &mut Context<'_>) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        stream.sender.advance_time(cx.now, cx.tally);
        stream.poll_again(out, cx)
    }

    /// Makes the packet that shows smoltcp where its window ends now, if it needs one: smoltcp has `queued` bytes, those
    /// shown as unacknowledged among them. Returns its length. Ask before smoltcp emits.
    pub(super) fn poll_window(&mut self, queued: usize, room: &mut [u8], cx: &mut Context<'_>) -> Option<usize> {
        self.stream.as_mut()?.poll_window(queued, room, cx.pool)
    }

    /// When [`Recovery::poll_again`] has something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.stream.as_ref()?.sender.deadline()
    }

    /// Bytes under way that smoltcp takes for acknowledged.
    pub(super) fn hidden(&self) -> usize {
        self.stream.as_ref().map_or(0, Stream::hidden)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.sender.is_idle())
    }

    /// Forgets what is under way: the connection is over.
    pub(super) fn stop(&mut self, pool: &mut ChunkPool) {
        if let Some(stream) = &mut self.stream {
            stream.stop(pool);
        }
    }

    /// Makes itself ready for another connection.
    pub(super) fn reset(&mut self, pool: &mut ChunkPool) {
        self.handshake = Handshake::default();
        if let Some(mut stream) = self.stream.take() {
            stream.stop(pool);
            self.spare = stream.sender.into_board();
        }
    }

    /// The peer's SYN, or SYN and ACK. smoltcp is shown no scale, and no more window than may be under way at first.
    fn take_syn(&mut self, header: &mut Header<'_>, now: Moment) {
        if self.stream.is_none() {
            self.handshake.peer = Some(header.syn_options());
            // The answer to this side's SYN. smoltcp refuses it if it answers another.
            let answered = self.handshake.start.filter(|start| *start as u32 == header.acknowledgement());
            if header.has(TcpFlags::ACK) && answered.is_some() {
                self.open();
                self.first_acknowledgement(now);
            }
        }
        // Room for one whole segment: with less, the first request of a connection would leave in two.
        let segment = header.syn_options().mss.unwrap_or(0).max(MSS_DEFAULT);
        header.present_no_scale();
        header.present(header.acknowledgement(), header.window().min(segment));
    }

    /// This side's SYN, or SYN and ACK.
    fn leave_syn(&mut self, header: &Header<'_>, now: Moment) {
        let start = FIRST + u64::from(header.sequence()) + 1;
        let is_repeated = self.handshake.start == Some(start);
        self.handshake.start = Some(start);
        self.handshake.sent_at = if is_repeated { None } else { Some(now) };
        self.handshake.own = header.syn_options();
        if header.has(TcpFlags::ACK) && !is_repeated {
            self.open();
        }
    }

    /// Both SYNs are known.
    fn open(&mut self) {
        let (Some(start), Some(peer)) = (self.handshake.start, self.handshake.peer) else { return };
        let own = self.handshake.own;
        let mss = |options: SynOptions| options.mss.filter(|mss| *mss != 0).unwrap_or(MSS_DEFAULT).max(MSS_MIN);
        let mss = u64::from(mss(own).min(mss(peer)));
        let sender = Sender::new(std::mem::take(&mut self.spare), start, mss, peer.has_sack);
        // Windows are scaled in both directions or in none (RFC 7323 §2.2).
        let scales = own.window_scale.zip(peer.window_scale).unwrap_or_default();
        self.stream = Some(Stream::new(sender, start, scales));
    }

    /// The peer acknowledged this side's SYN.
    fn first_acknowledgement(&mut self, now: Moment) {
        if let (Some(stream), Some(sent_at)) = (&mut self.stream, self.handshake.sent_at.take()) {
            stream.sender.measure(now.since(sent_at));
        }
    }
}

#[cfg(test)]
mod tests;
