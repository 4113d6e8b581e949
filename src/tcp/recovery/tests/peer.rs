//! A receiver as Linux's: delayed acknowledgements, selective ones, reports of duplicates, a window that scales. It sends
//! nothing but acknowledgements, and checks each byte.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::LazyLock;
use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};

use crate::packet::{TcpFlags, parse};
use crate::time::Moment;

const DELAY: Duration = Duration::from_millis(40);
const MSS: u16 = 1_398;
const SCALE: u8 = 7;

/// The stream: as many bytes as any test sends.
pub(super) static STREAM: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..STREAM_LEN).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect());
const STREAM_LEN: u64 = 8 << 20;

pub(super) struct Peer {
    pub(super) local: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
    /// Offers selective acknowledgement.
    pub(super) has_sack: bool,
    /// Receive buffer, bytes.
    pub(super) buffer: u64,
    /// Bytes that the application leaves in it.
    pub(super) unread: u64,
    /// Takes nothing out of the buffer while set.
    pub(super) is_stalled: bool,
    iss: u32,
    irs: Option<u32>,
    /// Offset of the next byte expected, from 0; a FIN counts as one.
    pub(super) next: u64,
    pub(super) has_fin: bool,
    fin: Option<u64>,
    /// Pieces beyond it, by start.
    pieces: BTreeMap<u64, u64>,
    /// Starts of pieces, the one that changed last first.
    recent: Vec<u64>,
    unacknowledged: u32,
    due: Option<Moment>,
    pub(super) duplicates: u64,
}

impl Peer {
    pub(super) fn new(local: SocketAddrV4, remote: SocketAddrV4, iss: u32) -> Self {
        Self {
            local,
            remote,
            has_sack: true,
            buffer: 6 << 20,
            unread: 0,
            is_stalled: false,
            iss,
            irs: None,
            next: 0,
            has_fin: false,
            fin: None,
            pieces: BTreeMap::new(),
            recent: Vec::new(),
            unacknowledged: 0,
            due: None,
            duplicates: 0,
        }
    }

    /// The SYN that opens the connection.
    pub(super) fn syn(&self) -> Vec<u8> {
        let builder = PacketBuilder::ipv4(self.local.ip().octets(), self.remote.ip().octets(), 64);
        let mut tcp = TcpHeader::new(self.local.port(), self.remote.port(), self.iss, 65_535);
        tcp.syn = true;
        self.finish(builder, tcp, &self.syn_options())
    }

    fn syn_options(&self) -> Vec<TcpOptionElement> {
        let mut options = vec![TcpOptionElement::MaximumSegmentSize(MSS), TcpOptionElement::WindowScale(SCALE)];
        if self.has_sack {
            options.push(TcpOptionElement::SelectiveAcknowledgementPermitted);
        }
        options
    }

    fn finish(
        &self,
        builder: etherparse::PacketBuilderStep<etherparse::IpHeaders>,
        mut tcp: TcpHeader,
        options: &[TcpOptionElement],
    ) -> Vec<u8> {
        tcp.set_options(options).unwrap();
        let builder = builder.tcp_header(tcp);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[]).unwrap();
        bytes
    }

    pub(super) fn window(&self) -> u64 {
        self.buffer.saturating_sub(self.unread)
    }

    /// An acknowledgement of all there is.
    pub(super) fn acknowledge(&mut self, duplicate: Option<(u64, u64)>) -> Vec<u8> {
        (self.unacknowledged, self.due) = (0, None);
        let irs = self.irs.unwrap();
        let wire = |offset: u64| irs.wrapping_add(1).wrapping_add(offset as u32);
        let builder = PacketBuilder::ipv4(self.local.ip().octets(), self.remote.ip().octets(), 64);
        let window = u16::try_from(self.window() >> SCALE).unwrap_or(u16::MAX);
        let mut tcp = TcpHeader::new(self.local.port(), self.remote.port(), self.iss.wrapping_add(1), window);
        tcp.ack = true;
        tcp.acknowledgment_number = wire(self.next);
        let mut blocks: Vec<(u32, u32)> = duplicate.map(|(a, b)| (wire(a), wire(b))).into_iter().collect();
        blocks.extend(self.recent.iter().map(|start| (wire(*start), wire(self.pieces[start]))));
        blocks.truncate(4);
        let mut options = Vec::new();
        if let [first, rest @ ..] = &blocks[..]
            && self.has_sack
        {
            let mut others = [None; 3];
            others.iter_mut().zip(rest).for_each(|(slot, block)| *slot = Some(*block));
            options.push(TcpOptionElement::SelectiveAcknowledgement(*first, others));
        }
        self.finish(builder, tcp, &options)
    }

    /// Takes a packet; returns the answer, if one is due at once.
    pub(super) fn receive(&mut self, packet: &[u8], now: Moment) -> Option<Vec<u8>> {
        let view = parse(packet).unwrap();
        assert!(crate::packet::checksum::verify_transport(packet, view.meta()), "a wrong checksum");
        let (meta, payload) = (*view.meta(), view.payload());
        if meta.tcp_flags().contains(TcpFlags::SYN) {
            let is_answer = meta.tcp_flags().contains(TcpFlags::ACK);
            self.irs = Some(meta.tcp_sequence());
            if is_answer {
                return Some(self.acknowledge(None));
            }
            let builder = PacketBuilder::ipv4(self.local.ip().octets(), self.remote.ip().octets(), 64);
            let mut tcp = TcpHeader::new(self.local.port(), self.remote.port(), self.iss, 65_535);
            (tcp.syn, tcp.ack) = (true, true);
            tcp.acknowledgment_number = meta.tcp_sequence().wrapping_add(1);
            return Some(self.finish(builder, tcp, &self.syn_options()));
        }
        let first = self.irs?.wrapping_add(1).wrapping_add(self.next as u32);
        let start = self.next.checked_add_signed(i64::from(meta.tcp_sequence().wrapping_sub(first) as i32))?;
        let end = start + payload.len() as u64 + u64::from(meta.tcp_flags().contains(TcpFlags::FIN));
        if start == end {
            return None;
        }
        if start + 1 == self.next && end == self.next && payload == [0] {
            // A keep-alive.
            return Some(self.acknowledge(None));
        }
        let data = &STREAM[start as usize..][..payload.len()];
        assert!(payload == data, "bytes {start} to {end} of the stream changed");
        if meta.tcp_flags().contains(TcpFlags::FIN) {
            assert!(self.fin.is_none_or(|fin| fin == end), "FIN stands where it stood");
            self.fin = Some(end);
        }
        if end <= self.next {
            self.duplicates += 1;
            return Some(self.acknowledge(Some((start, end))));
        }
        if end > self.next + self.window() + 1 {
            return Some(self.acknowledge(None));
        }
        if start > self.next {
            let known = self.pieces.range(..=start).next_back().is_some_and(|(_, until)| *until >= end);
            if known {
                self.duplicates += 1;
                return Some(self.acknowledge(Some((start, end))));
            }
            self.keep(start, end);
            return Some(self.acknowledge(None));
        }
        let had_hole = !self.pieces.is_empty();
        let before = self.next;
        self.next = self.next.max(end);
        while let Some((from, until)) = self.pieces.first_key_value().map(|(a, b)| (*a, *b))
            && from <= self.next
        {
            self.next = self.next.max(until);
            self.pieces.remove(&from);
            self.recent.retain(|start| *start != from);
        }
        if self.is_stalled {
            self.unread += self.next - before;
        }
        self.has_fin = self.fin.is_some_and(|fin| self.next >= fin);
        self.unacknowledged += 1;
        if had_hole || self.has_fin || self.unacknowledged >= 2 {
            return Some(self.acknowledge(None));
        }
        self.due = self.due.or(Some(now + DELAY));
        None
    }

    fn keep(&mut self, mut start: u64, mut end: u64) {
        let touching: Vec<u64> = self
            .pieces
            .iter()
            .filter(|(from, until)| **from <= end && **until >= start)
            .map(|(from, _)| *from)
            .collect();
        for from in touching {
            let until = self.pieces.remove(&from).unwrap();
            self.recent.retain(|start| *start != from);
            (start, end) = (start.min(from), end.max(until));
        }
        self.pieces.insert(start, end);
        self.recent.insert(0, start);
    }

    /// When an acknowledgement is due without a packet.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due
    }

    /// Throws away what it had beyond a hole, as it may (RFC 2018 §8).
    pub(super) fn renege(&mut self) {
        self.pieces.clear();
        self.recent.clear();
    }
}
