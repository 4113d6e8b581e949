//! What the sender makes of packets, and what smoltcp gets to see of them.

use std::ops::Range;

use super::header::{Header, Template};
use super::scoreboard::BLOCKS;
use super::sender::{Acknowledgement, Sender};
use super::store::{ChunkPool, Store};
use super::{Context, SHOWN, offset_of};
use crate::packet::{PacketMeta, TcpFlags};
use crate::tcp::device::PacketBuffer;

/// An established connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sender: Sender,
    store: Store,
    /// The last packet that went out.
    last: Option<Template>,
    /// How the windows that this side advertises are scaled.
    scale: u8,
    peer: PeerWindow,
    /// What smoltcp was shown: the acknowledgement, and where the window ends.
    shown: u64,
    shown_edge: u64,
    /// smoltcp has probed a shut window with the next byte.
    has_probed: bool,
}

/// The window that the receiver advertises.
#[derive(Clone, Copy, Debug)]
struct PeerWindow {
    scale: u8,
    edge: u64,
    /// Sequence and acknowledgement number of the segment that told (SND.WL1, SND.WL2 of RFC 9293 §3.3.1).
    told_by: Option<(u32, u64)>,
}

impl PeerWindow {
    /// Takes the window of a segment, unless an older one comes late. Returns whether it is another.
    fn update(&mut self, sequence: u32, ack: u64, window: u16) -> bool {
        let is_news = self.told_by.is_none_or(|(by_sequence, by_ack)| {
            let later = sequence.wrapping_sub(by_sequence) as i32;
            later > 0 || later == 0 && ack >= by_ack
        });
        if !is_news {
            return false;
        }
        let edge = ack + (u64::from(window) << self.scale);
        let before = std::mem::replace(&mut self.edge, edge);
        self.told_by = Some((sequence, ack));
        before != edge
    }
}

impl Stream {
    /// A stream whose first byte has offset `start`. `scales` are those of this side's windows and of the peer's.
    pub(super) fn new(sender: Sender, start: u64, scales: (u8, u8)) -> Self {
        Self {
            sender,
            store: Store::default(),
            last: None,
            scale: scales.0,
            peer: PeerWindow { scale: scales.1, edge: start, told_by: None },
            shown: start,
            shown_edge: start,
            has_probed: false,
        }
    }

    pub(super) fn hidden(&self) -> usize {
        self.shown.saturating_sub(self.sender.una) as usize
    }

    pub(super) fn stop(&mut self, pool: &mut ChunkPool) {
        self.sender.stop();
        self.store.release(0, true, pool);
    }

    /// Takes a packet with an acknowledgement, and changes it to what smoltcp is to see.
    #[inline]
    pub(super) fn handle_ingress(&mut self, header: &mut Header<'_>, cx: &mut Context<'_>) {
        /// So far ahead of what was sent that smoltcp answers as RFC 9293 §3.10.7.4 has it, and takes nothing from it.
        const ABSURD: u64 = 1 << 30;
        let ack = offset_of(header.acknowledgement(), self.sender.una);
        if ack > self.sender.nxt + u64::from(self.has_probed) {
            cx.tally.invalid += 1;
            return header.present((self.sender.nxt + ABSURD) as u32, 0);
        }
        if self.is_acceptable(header) {
            self.take(header, ack, cx);
        }
        self.sender.restart_if_stale(cx.now);
        let (shown, window) = self.show(cx.pool);
        header.present(shown, window);
    }

    /// Takes the packet that smoltcp emitted, which is neither SYN nor RST. Returns whether it goes out.
    #[inline]
    pub(super) fn handle_egress(&mut self, out: &mut PacketBuffer, meta: PacketMeta, cx: &mut Context<'_>) -> bool {
        let mut header = Header::of(out.packet_mut(), meta);
        let Some(template) = Template::of(&header) else { return true };
        let (nxt, has_fin) = (self.sender.nxt, header.has(TcpFlags::FIN));
        let start = offset_of(header.sequence(), nxt);
        let end = start + header.payload().len() as u64 + u64::from(has_fin);
        if start == end {
            if start != nxt {
                header.set_sequence(nxt as u32);
            }
            self.last = Some(template);
            return true;
        }
        if end <= nxt && self.sender.is_idle() {
            // A keep-alive, which repeats the byte before the next.
            self.last = Some(template);
            return true;
        }
        if end <= nxt || start > nxt {
            debug_assert!(start <= nxt, "smoltcp leaves nothing out");
            return self.acknowledge_instead(out, template);
        }
        if end == nxt + 1 && !has_fin && end > self.shown_edge && self.sender.is_idle() {
            self.has_probed = true;
            self.last = Some(template);
            return true;
        }
        let fresh = &header.payload()[(nxt - start) as usize..];
        let (len, flags) = (fresh.len(), header.flags());
        self.store.append(nxt, fresh, cx.pool);
        self.sender.sent(end, has_fin, cx.now);
        (self.has_probed, self.last) = (false, Some(template));
        if start != nxt {
            // Partly something that smoltcp sends again.
            let store = &self.store;
            out.fill_with(|room| template.emit(room, (nxt as u32, flags), len, |into| store.read(nxt, into)));
        }
        true
    }

    /// Makes the segment that is to be sent again.
    pub(super) fn poll_again(&mut self, out: &mut PacketBuffer, cx: &mut Context<'_>) -> bool {
        let Some(template) = &self.last else { return false };
        let Some(sent) = self.sender.poll_again(cx.now, cx.tally) else { return false };
        let len = (sent.end - sent.start) as usize - usize::from(sent.has_fin);
        let mut flags = TcpFlags::ACK;
        if sent.end == self.sender.nxt {
            flags = flags.union(TcpFlags::PSH);
        }
        if sent.has_fin {
            flags = flags.union(TcpFlags::FIN);
        }
        let store = &self.store;
        let head = (sent.start as u32, flags);
        out.fill_with(|room| template.emit(room, head, len, |into| store.read(sent.start, into)));
        true
    }

    /// Makes the packet that shows smoltcp where its window ends, if it has something to send and believes otherwise.
    pub(super) fn poll_window(&mut self, queued: usize, room: &mut [u8], pool: &ChunkPool) -> Option<usize> {
        let (nxt, mss) = (self.sender.nxt, self.sender.mss());
        if self.shown + queued as u64 <= nxt {
            self.sender.rest();
            return None;
        }
        let (edge, shown) = (self.edge(pool), self.shown_edge);
        let is_shut = edge > shown && nxt + mss > shown;
        let is_too_wide = edge + 2 * mss <= shown;
        if !is_shut && !is_too_wide {
            self.sender.rest();
            return None;
        }
        let template = self.last?;
        let (shown, window) = self.show(pool);
        Some(template.emit_reversed(room, template.acknowledgement(), shown, window))
    }

    /// Sends what is new in a packet that smoltcp need not have sent: its acknowledgement and window. Returns whether there
    /// is something.
    fn acknowledge_instead(&mut self, out: &mut PacketBuffer, template: Template) -> bool {
        let says = |template: Template| (template.acknowledgement(), template.window());
        if self.last.is_some_and(|last| says(last) == says(template)) {
            return false;
        }
        let nxt = self.sender.nxt as u32;
        out.fill_with(|room| template.emit(room, (nxt, TcpFlags::ACK), 0, |_| {}));
        self.last = Some(template);
        true
    }

    /// Whether a segment lies in the window that this side advertised last (RFC 9293 §3.10.7.4). An acknowledgement in
    /// another counts for nothing.
    fn is_acceptable(&self, header: &Header<'_>) -> bool {
        let Some(last) = &self.last else { return true };
        let from = header.sequence().wrapping_sub(last.acknowledgement()) as i32;
        let to = from.saturating_add(i32::try_from(header.payload().len()).unwrap_or(i32::MAX));
        let window = i32::try_from(u32::from(last.window()) << self.scale).unwrap_or(i32::MAX);
        to >= 0 && from <= window
    }

    /// Takes the acknowledgement, the blocks and the window of a segment.
    fn take(&mut self, header: &Header<'_>, ack: u64, cx: &mut Context<'_>) {
        if ack > self.sender.nxt {
            self.sender.skip_to(ack);
            self.has_probed = false;
        }
        let is_other_window = self.peer.update(header.sequence(), ack, header.window());
        let una = ack.max(self.sender.una);
        let (blocks, count, is_duplicate_report) = self.blocks(header, ack, una, cx);
        let is_repeated = ack == self.sender.una && header.payload().is_empty() && !is_other_window;
        let ack = Acknowledgement { una, blocks: &blocks[..count], is_duplicate_report, is_repeated };
        self.sender.acknowledge(ack, cx.now, cx.tally);
        self.store.release(una, self.sender.is_idle(), cx.pool);
    }

    /// The blocks that lie in what is under way, how many they are, and whether the first reports a duplicate instead: it
    /// lies below the acknowledgement or inside the second (RFC 2883 §4).
    fn blocks(
        &self,
        header: &Header<'_>,
        ack: u64,
        una: u64,
        cx: &mut Context<'_>,
    ) -> ([Range<u64>; BLOCKS], usize, bool) {
        let (raw, raw_count) = header.blocks();
        let (mut blocks, mut count, mut has_duplicate) = ([const { 0..0 }; BLOCKS], 0, false);
        for (index, edges) in raw[..raw_count].iter().enumerate() {
            let block = offset_of(edges.start, una)..offset_of(edges.end, una);
            if block.start >= block.end || block.end > self.sender.nxt {
                cx.tally.invalid += 1;
                continue;
            }
            let inside = |outer: &Range<u32>| {
                let outer = offset_of(outer.start, una)..offset_of(outer.end, una);
                outer.start <= block.start && block.end <= outer.end
            };
            if index == 0 && (block.end <= ack || raw[1..raw_count].first().is_some_and(inside)) {
                has_duplicate = true;
            } else if block.end > una {
                blocks[count] = block;
                count += 1;
            }
        }
        (blocks, count, has_duplicate)
    }

    /// Where sending must stop for now.
    fn edge(&self, pool: &ChunkPool) -> u64 {
        let allowed = self.sender.nxt + self.sender.allowance();
        allowed.min(self.peer.edge).min(self.sender.una + pool.limit()).max(self.sender.nxt)
    }

    /// What smoltcp is to see: acknowledgement and window.
    #[inline]
    fn show(&mut self, pool: &ChunkPool) -> (u32, u16) {
        self.shown = self.shown.max(self.sender.una).max(self.sender.nxt.saturating_sub(SHOWN));
        let window = u16::try_from(self.edge(pool) - self.shown).unwrap_or(u16::MAX);
        self.shown_edge = self.shown + u64::from(window);
        (self.shown as u32, window)
    }
}
