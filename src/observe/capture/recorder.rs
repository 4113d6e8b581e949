//! The capture's thread: packets of several interfaces, oldest first, each after the secrets that it may need.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::{SharedCounts, Signals};
use crate::edge::packet_socket::{LinkLayer, PacketSocket, RECEIVE_BUFFER, Received, Way};
use crate::observe::pcapng::{Direction, LinkType, PcapngWriter};
use crate::packet::{self, GsoType, Segmenter, VirtioHeader};
use crate::time::UnixTime;

/// How long a packet is kept back before it is written, so that a secret which is known only after it can still stand
/// before it: TLS 1.2 has its keys only once the client's last flight has arrived, and that is encrypted with them already.
const HOLD: Duration = Duration::from_millis(250);
/// Most bytes kept back; above half of it the oldest are written at once.
const HELD_LIMIT: usize = 64 << 20;
/// Packets read from one interface before the others have their turn.
const READ_TURN: usize = 64;
/// Most bytes of secrets in one block.
const SECRETS_BLOCK: usize = 64 * 1024;

type Out = PcapngWriter<BufWriter<File>>;

/// A packet that is not written yet.
#[derive(Debug)]
struct Held {
    packet: Received,
    bytes: Box<[u8]>,
    read_at: Instant,
}

/// One interface, and its packets that are not written yet.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    socket: PacketSocket,
    /// Its number in the file.
    number: u32,
    held: VecDeque<Held>,
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
        Ok(Self { name: name.to_owned(), socket, number, held: VecDeque::new(), seen: 0, lost: 0 })
    }

    /// Reads a turn's packets; returns their bytes.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own at the edge has a clock of its own")]
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let (read_at, mut read) = (Instant::now(), 0);
        for _ in 0..READ_TURN {
            match self.socket.recv(buffer) {
                Ok(Some(packet)) => {
                    read += packet.len;
                    self.held.push_back(Held { packet, bytes: buffer[..packet.len].into(), read_at });
                }
                Ok(None) => break,
                Err(error) => {
                    // It is down, or one packet is lost; the others go on.
                    tracing::warn!(%error, interface = self.name, "the capture cannot read an interface");
                    break;
                }
            }
        }
        read
    }

    /// Writes a packet.
    fn record(&self, held: &Held, out: &mut Out, scratch: &mut [u8]) -> io::Result<()> {
        let Held { packet, bytes, .. } = held;
        let direction = self.direction(packet.way);
        let link_len = self.socket.link_layer().header_len();
        let Some((link, mut datagrams)) = datagrams(bytes, link_len, packet.offload) else {
            return out.packet(self.number, packet.at, direction, bytes, packet.wire_len);
        };
        scratch[..link_len].copy_from_slice(link);
        while let Ok(Some(len)) = datagrams.emit_next(&mut scratch[link_len..]) {
            let datagram = &scratch[..link_len + len];
            out.packet(self.number, packet.at, direction, datagram, datagram.len())?;
        }
        Ok(())
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
    /// Interfaces that came to be.
    newcomers: Receiver<(String, PacketSocket)>,
    counts: Arc<SharedCounts>,
    signals: Arc<Signals>,
    held_bytes: usize,
    last: UnixTime,
    lines: String,
    buffer: Box<[u8]>,
}

impl Recorder {
    pub(super) fn new(
        out: Out,
        sources: Vec<Source>,
        secrets: Receiver<String>,
        newcomers: Receiver<(String, PacketSocket)>,
        counts: Arc<SharedCounts>,
        signals: Arc<Signals>,
    ) -> Self {
        let (last, buffer) = (UnixTime::from_nanos(0), vec![0; RECEIVE_BUFFER].into_boxed_slice());
        Self { out, sources, secrets, newcomers, counts, signals, held_bytes: 0, last, lines: String::new(), buffer }
    }

    /// Records until the end is asked for, then what came before, then the statistics.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            self.take_newcomers()?;
            let read = self.read();
            let next = self.record_due()?;
            self.count_losses();
            let wait = if read {
                Some(Duration::ZERO)
            } else {
                // A pause: what was written may be read.
                self.out.flush()?;
                next
            };
            if self.wait(wait)? {
                break;
            }
        }
        // What the sockets hold, but not what goes on coming.
        for _ in 0..HELD_LIMIT / RECEIVE_BUFFER {
            if !self.read() {
                break;
            }
            self.record_over(0)?;
        }
        self.record_over(0)?;
        self.record_secrets()?;
        self.count_losses();
        for source in &self.sources {
            self.out.statistics(source.number, self.last, source.seen, source.lost)?;
        }
        self.out.flush()
    }

    fn take_newcomers(&mut self) -> io::Result<()> {
        while let Ok((name, socket)) = self.newcomers.try_recv() {
            self.sources.push(Source::new(&name, socket, &mut self.out)?);
        }
        Ok(())
    }

    /// Reads every interface once; returns whether there was anything.
    fn read(&mut self) -> bool {
        let read: usize = self.sources.iter_mut().map(|source| source.read(&mut self.buffer)).sum();
        self.held_bytes += read;
        read > 0
    }

    /// Writes what was kept back long enough, or takes too much room; returns when the next packet is due.
    fn record_due(&mut self) -> io::Result<Option<Duration>> {
        self.record_over(HELD_LIMIT / 2)?;
        while let Some(index) = self.oldest() {
            let waited = self.sources[index].held.front().map_or(HOLD, |held| held.read_at.elapsed());
            if waited < HOLD {
                return Ok(Some(HOLD - waited));
            }
            self.record(index)?;
        }
        Ok(None)
    }

    /// Writes the oldest packets until no more than `limit` bytes are kept back.
    fn record_over(&mut self, limit: usize) -> io::Result<()> {
        while self.held_bytes > limit
            && let Some(index) = self.oldest()
        {
            self.record(index)?;
        }
        Ok(())
    }

    /// The interface with the oldest packet.
    fn oldest(&self) -> Option<usize> {
        let fronts = self.sources.iter().enumerate();
        let fronts = fronts.filter_map(|(index, source)| Some((source.held.front()?.packet.at.nanos(), index)));
        fronts.min().map(|(_, index)| index)
    }

    /// Writes an interface's oldest packet, behind all secrets that are known.
    fn record(&mut self, index: usize) -> io::Result<()> {
        self.record_secrets()?;
        let Some(held) = self.sources[index].held.pop_front() else { return Ok(()) };
        self.held_bytes -= held.bytes.len();
        self.last = self.last.max(held.packet.at);
        self.sources[index].record(&held, &mut self.out, &mut self.buffer)?;
        self.counts.packets.fetch_add(1, Ordering::Relaxed);
        Ok(())
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
            self.out.tls_secrets(&self.lines)?;
        }
        if number > 0 {
            self.counts.secrets.fetch_add(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for packets, at most this long; returns whether the end was asked for.
    fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let sockets = self.sources.iter().map(|source| source.socket.as_fd());
        let fds = sockets.chain([self.signals.wake.as_fd(), self.signals.stop.as_fd()]);
        let mut fds: SmallVec<[PollFd<'_>; 8]> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let limit = limit.map(|limit| Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {
                let [.., wake, stop] = &fds[..] else { return Ok(false) };
                if !wake.revents().is_empty() {
                    // What it says is in the queue.
                    rustix::io::read(&self.signals.wake, &mut [0; 8])?;
                }
                Ok(!stop.revents().is_empty())
            }
            Err(errno) => Err(errno.into()),
        }
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
}

const _: () = assert!(HOLD.as_secs() == 0, "`wait` takes less than a second");
