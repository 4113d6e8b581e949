//! The capture's thread: packets of several interfaces, oldest first, each after the secrets that it may need.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::Receiver;
use rustix::event::{PollFd, PollFlags, poll};

use super::SharedCounts;
use crate::edge::packet_socket::{LinkLayer, PacketSocket, RECEIVE_BUFFER, Received, Way};
use crate::observe::pcapng::{Direction, LinkType, PcapngWriter};
use crate::packet::{self, GsoType, Segmenter, VirtioHeader};
use crate::time::UnixTime;

/// Packets that are still written after the end was asked for: what the sockets may have held then.
const LAST_PACKETS: usize = 16_384;
/// Most bytes of secrets in one block.
const SECRETS_BLOCK: usize = 64 * 1024;

type Out = PcapngWriter<BufWriter<File>>;

/// One interface, and its oldest packet that is not written yet.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    socket: PacketSocket,
    /// Its number in the file.
    number: u32,
    buffer: Box<[u8]>,
    pending: Option<Received>,
    seen: u64,
    lost: u64,
}

impl Source {
    /// Adds an interface to the file.
    pub(super) fn new(name: &str, socket: PacketSocket, out: &mut Out) -> io::Result<Self> {
        let link = match socket.link_layer() {
            LinkLayer::None => LinkType::Raw,
            LinkLayer::Ethernet => LinkType::Ethernet,
        };
        let number = out.interface(name, link)?;
        let buffer = vec![0; RECEIVE_BUFFER].into_boxed_slice();
        Ok(Self { name: name.to_owned(), socket, number, buffer, pending: None, seen: 0, lost: 0 })
    }

    fn fill(&mut self) {
        if self.pending.is_none() {
            self.pending = self.socket.recv(&mut self.buffer).unwrap_or_else(|error| {
                // It is down, or one packet is lost; the others go on.
                tracing::warn!(%error, interface = self.name, "the capture cannot read an interface");
                None
            });
        }
    }

    /// Writes the pending packet, and says when it passed.
    fn record(&mut self, out: &mut Out, scratch: &mut [u8]) -> io::Result<Option<UnixTime>> {
        let Some(packet) = self.pending.take() else { return Ok(None) };
        let direction = self.direction(packet.way);
        let bytes = &self.buffer[..packet.len];
        let link_len = self.socket.link_layer().header_len();
        match datagrams(bytes, link_len, packet.offload) {
            Some((link, mut datagrams)) => {
                scratch[..link_len].copy_from_slice(link);
                while let Ok(Some(len)) = datagrams.emit_next(&mut scratch[link_len..]) {
                    let datagram = &scratch[..link_len + len];
                    out.packet(self.number, packet.at, direction, datagram, datagram.len())?;
                }
            }
            None => out.packet(self.number, packet.at, direction, bytes, packet.wire_len)?,
        }
        Ok(Some(packet.at))
    }

    /// The endpoint's view: it sits behind its TUN devices, and before every other one.
    fn direction(&self, way: Way) -> Direction {
        match (self.socket.link_layer(), way) {
            (LinkLayer::None, Way::ToDevice) | (LinkLayer::Ethernet, Way::FromDevice) => Direction::Inbound,
            (LinkLayer::None, Way::FromDevice) | (LinkLayer::Ethernet, Way::ToDevice) => Direction::Outbound,
        }
    }

    /// Packets lost since this was last asked.
    fn count(&mut self) -> u64 {
        let new = self.socket.take_seen().unwrap_or_default();
        self.seen += new.all;
        self.lost += new.lost;
        new.lost
    }
}

/// The link header and the datagrams of a UDP super-segment; `None` for everything else.
fn datagrams(bytes: &[u8], link_len: usize, mut offload: VirtioHeader) -> Option<(&[u8], Segmenter<'_>)> {
    if offload.gso_type != GsoType::UdpL4 {
        return None;
    }
    let (link, packet) = bytes.split_at_checked(link_len)?;
    offload.csum_start = offload.csum_start.checked_sub(u16::try_from(link_len).ok()?)?;
    let view = packet::parse(packet).ok()?;
    Some((link, Segmenter::new(view.bytes(), &view, &offload).ok()?))
}

/// Everything the thread owns.
pub(super) struct Recorder {
    out: Out,
    sources: Vec<Source>,
    secrets: Receiver<String>,
    counts: Arc<SharedCounts>,
    stop: Arc<OwnedFd>,
    last: UnixTime,
    lines: String,
    scratch: Box<[u8]>,
}

impl Recorder {
    pub(super) fn new(
        out: Out,
        sources: Vec<Source>,
        secrets: Receiver<String>,
        counts: Arc<SharedCounts>,
        stop: Arc<OwnedFd>,
    ) -> Self {
        let (last, scratch) = (UnixTime::from_nanos(0), vec![0; RECEIVE_BUFFER].into_boxed_slice());
        Self { out, sources, secrets, counts, stop, last, lines: String::new(), scratch }
    }

    /// Records until the end is asked for.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            // Whoever keeps this busy must still be able to end it.
            let mut stopping = false;
            for _ in 0..LAST_PACKETS {
                if !self.record_oldest()? {
                    stopping = self.pause()?;
                    break;
                }
            }
            if stopping || self.stop_asked()? {
                return self.finish();
            }
            self.count_losses();
        }
    }

    /// Writes the oldest packet there is; false when there is none.
    fn record_oldest(&mut self) -> io::Result<bool> {
        for source in &mut self.sources {
            source.fill();
        }
        let waiting = self.sources.iter().enumerate();
        let oldest = waiting.filter_map(|(index, source)| Some((source.pending?.at.nanos(), index))).min();
        let Some((_, index)) = oldest else { return Ok(false) };
        // After the packet was received and before it is written: its secrets are there by now.
        self.record_secrets()?;
        if let Some(at) = self.sources[index].record(&mut self.out, &mut self.scratch)? {
            self.last = self.last.max(at);
            self.counts.packets.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }

    fn record_secrets(&mut self) -> io::Result<()> {
        let mut number = 0;
        while !self.secrets.is_empty() {
            self.lines.clear();
            while self.lines.len() < SECRETS_BLOCK
                && let Ok(line) = self.secrets.try_recv()
            {
                self.lines.push_str(&line);
                number += 1;
            }
            if !self.lines.is_empty() {
                self.out.tls_secrets(&self.lines)?;
            }
        }
        if number > 0 {
            self.counts.secrets.fetch_add(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Everything is written: lets it be read, and waits for more. Returns whether the end was asked for.
    fn pause(&mut self) -> io::Result<bool> {
        self.record_secrets()?;
        self.count_losses();
        self.out.flush()?;
        let sockets = self.sources.iter().map(|source| source.socket.as_fd());
        let fds = sockets.chain([self.stop.as_fd()]);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds.last().is_some_and(|stop| !stop.revents().is_empty())),
            Err(errno) => Err(errno.into()),
        }
    }

    fn stop_asked(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&*self.stop, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&rustix::event::Timespec::default()))?;
        Ok(ready > 0)
    }

    fn count_losses(&mut self) {
        let lost: u64 = self.sources.iter_mut().map(Source::count).sum();
        if lost > 0 {
            let before = self.counts.lost_packets.fetch_add(lost, Ordering::Relaxed);
            if before == 0 {
                tracing::warn!(lost, "the capture is behind; packets are missing in it");
            }
        }
    }

    /// What came before the end was asked for, then the statistics.
    fn finish(mut self) -> io::Result<()> {
        for _ in 0..LAST_PACKETS {
            if !self.record_oldest()? {
                break;
            }
        }
        self.record_secrets()?;
        self.count_losses();
        for source in &self.sources {
            self.out.statistics(source.number, self.last, source.seen, source.lost)?;
        }
        self.out.flush()
    }
}
