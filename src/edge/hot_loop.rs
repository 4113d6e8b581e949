//! The hot loop: one worker, run to completion, nothing shared.
//!
//! A turn reads a burst from each device and from the tunnel's socket, as far as they have something, gives every packet to the
//! engine as it comes, lets the engine serve, and sends what lies in the tunnel's queue. The clock is read once per turn. When
//! everything was read and served, the worker waits for packets, for the engine's next deadline, or for a command.
//!
//! A packet is never handed to another thread: a hop costs as much as everything else that is done to it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use mio::Waker;

use super::clock::Clock;
use super::sources::Sources;
use super::tun::TunQueue;
use super::udp::{self, Flushed, RECEIVE_BUFFER, Receipt, TunnelSocket};
use crate::engine::{Engine, Output, Port};
use crate::packet::VIRTIO_HEADER_LEN;
use crate::time::{Moment, Now};
use crate::verdict::{Counters, Reason};

/// Packets read from one device before the others have their turn.
const BURST: usize = 64;
/// Receives from the tunnel's socket in one turn; each may bring many frames.
const TUNNEL_BURST: usize = 16;
/// Longest wait without a deadline: a lost wake-up costs no more than this.
const WAIT_LIMIT: Duration = Duration::from_secs(1);
/// A packet of the largest size with its header.
const PACKET_BUFFER: usize = VIRTIO_HEADER_LEN + 65_536 + 64;

/// Something to do with an engine.
type Errand = Box<dyn FnOnce(&mut Engine, Now) + Send>;

/// Something for a worker to do between turns.
enum Command {
    Run(Errand),
    /// A device to serve from now on.
    Plug(Port, TunQueue),
    /// A device to serve no longer.
    Unplug(Port),
}

/// Reaches a worker from another thread.
#[derive(Clone)]
pub struct WorkerHandle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerHandle").finish_non_exhaustive()
    }
}

impl WorkerHandle {
    /// Has the worker run `command` before its next turn. Returns whether it will: not if it has stopped or has too many
    /// commands waiting.
    pub fn run(&self, command: impl FnOnce(&mut Engine, Now) + Send + 'static) -> bool {
        self.send(Command::Run(Box::new(command)))
    }

    /// Has the worker serve its queue of one more device. Returns whether it will.
    pub fn plug(&self, port: Port, queue: TunQueue) -> bool {
        self.send(Command::Plug(port, queue))
    }

    /// Has the worker close its queue of a device. Returns whether it will.
    pub fn unplug(&self, port: Port) -> bool {
        self.send(Command::Unplug(port))
    }

    fn send(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok() && self.waker.wake().is_ok()
    }

    /// Asks the worker something and waits for the answer, as long as `patience`.
    pub fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&mut Engine, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = crossbeam::channel::bounded(1);
        let asked = self.run(move |engine, now| {
            // Nobody waits any more: the answer is not wanted.
            let _unwanted = tx.try_send(question(engine, now));
        });
        if asked { rx.recv_timeout(patience).ok() } else { None }
    }

    /// The worker's counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// What a worker owns.
pub struct Worker {
    engine: Engine,
    devices: Devices,
    socket: TunnelSocket,
    clock: Clock,
    /// The tunnel's socket, then the devices' queues in their order.
    sources: Sources,
    commands: Receiver<Command>,
    busy_poll: bool,
    buffer: Box<[u8]>,
    tunnel_buffer: Box<[u8]>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Worker {
    /// Commands that may wait for a worker.
    const COMMAND_LIMIT: usize = 64;

    /// A worker over its queues of the devices and its own socket. `busy_poll`: spin instead of waiting.
    ///
    /// # Errors
    /// When the poller cannot be set up.
    pub fn new(
        engine: Engine,
        queues: Vec<(Port, TunQueue)>,
        socket: TunnelSocket,
        clock: Clock,
        busy_poll: bool,
    ) -> io::Result<(Self, WorkerHandle)> {
        let sources = Sources::new(descriptors(&socket, &queues))?;
        let waker = Arc::new(sources.waker()?);
        let (tx, commands) = crossbeam::channel::bounded(Self::COMMAND_LIMIT);
        let counters = Arc::clone(engine.counters());
        let handle = WorkerHandle { commands: tx, waker, counters: Arc::clone(&counters) };
        let worker = Self {
            engine,
            devices: Devices(queues),
            socket,
            clock,
            sources,
            commands,
            busy_poll,
            buffer: vec![0; PACKET_BUFFER].into_boxed_slice(),
            tunnel_buffer: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            counters,
        };
        Ok((worker, handle))
    }

    /// Turns until every handle is gone.
    ///
    /// # Errors
    /// When waiting fails, which no traffic can cause.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let now = self.clock.now();
            let mut limit = self.turn(now)?;
            match self.take_commands(now)? {
                Some(true) => limit = Duration::ZERO,
                Some(false) => {}
                None => return Ok(()),
            }
            if self.busy_poll {
                self.sources.try_all();
            } else {
                self.sources.wait(Some(limit))?;
            }
        }
    }

    /// One turn. Returns how long nothing has to be done if nothing arrives.
    fn turn(&mut self, now: Now) -> io::Result<Duration> {
        self.engine.begin_turn(now);
        for index in 0..self.devices.0.len() {
            if self.sources.is_readable(DEVICES + index) {
                self.receive_packets(index);
            }
        }
        if self.sources.is_readable(SOCKET) {
            self.receive_frames();
        }
        let has_more = self.engine.poll(&mut self.devices);
        let flushed = udp::flush(self.engine.tunnel(), std::slice::from_ref(&self.socket), now.mono, &self.counters);
        let is_blocked = flushed == Flushed::Blocked;
        self.sources.await_room(SOCKET, is_blocked)?;
        let is_busy = has_more || self.sources.any_readable();
        Ok(if is_busy { Duration::ZERO } else { self.patience(now, is_blocked) })
    }

    fn receive_packets(&mut self, index: usize) {
        for _ in 0..BURST {
            let (port, queue) = &self.devices.0[index];
            let port = *port;
            match queue.recv(&mut self.buffer) {
                Ok(len) => self.engine.handle_packet(port, &mut self.buffer[..len], &mut self.devices),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Nothing more; or the device is going away, which the lab notices.
                Err(_) => return self.sources.drained(DEVICES + index),
            }
        }
    }

    fn receive_frames(&mut self) {
        for _ in 0..TUNNEL_BURST {
            match self.socket.recv(&mut self.tunnel_buffer) {
                Receipt::Payload { len, segment_size } => {
                    let payload = &mut self.tunnel_buffer[..len];
                    self.engine.handle_frames(payload, segment_size, &mut self.devices);
                }
                Receipt::Refused => self.counters.deny(Reason::TunnelUnreachable),
                Receipt::Failed(_) => return,
                Receipt::Empty => return self.sources.drained(SOCKET),
            }
        }
    }

    /// Runs waiting commands; returns whether there were any, `None` if nobody can send any more.
    fn take_commands(&mut self, now: Now) -> io::Result<Option<bool>> {
        let mut ran = false;
        loop {
            match self.commands.try_recv() {
                Ok(Command::Run(command)) => command(&mut self.engine, now),
                Ok(Command::Plug(port, queue)) => {
                    self.devices.0.push((port, queue));
                    self.sources.watch(descriptors(&self.socket, &self.devices.0))?;
                }
                Ok(Command::Unplug(port)) => {
                    let (gone, kept) = self.devices.0.drain(..).partition(|(known, _)| *known == port);
                    self.devices.0 = kept;
                    self.sources.watch(descriptors(&self.socket, &self.devices.0))?;
                    // Closed only now that nobody watches it.
                    drop::<Vec<_>>(gone);
                }
                Err(TryRecvError::Empty) => return Ok(Some(ran)),
                Err(TryRecvError::Disconnected) => return Ok(None),
            }
            ran = true;
        }
    }

    /// How long to wait. The emulated path is to be true to the nanosecond; nothing else is worth a wake-up within a millisecond.
    /// A full socket tells when it has room: frames that are due wait for that.
    fn patience(&mut self, now: Now, is_blocked: bool) -> Duration {
        let until = |at: Option<Moment>| at.map_or(WAIT_LIMIT, |at| at.since(now.mono).min(WAIT_LIMIT));
        let nanos = until(self.engine.next_deadline()).as_nanos();
        let engine = Duration::from_millis(nanos.div_ceil(1_000_000) as u64);
        if is_blocked { engine } else { until(self.engine.tunnel().next_deadline()).min(engine) }
    }
}

/// Places among a worker's sources.
const SOCKET: usize = 0;
const DEVICES: usize = 1;

fn descriptors(socket: &TunnelSocket, devices: &[(Port, TunQueue)]) -> Vec<RawFd> {
    [socket.as_raw_fd()].into_iter().chain(devices.iter().map(|(_, queue)| queue.as_raw_fd())).collect()
}

/// The worker's queues, as the engine's way out.
#[derive(Debug)]
struct Devices(Vec<(Port, TunQueue)>);

impl Output for Devices {
    fn packet(&mut self, port: Port, buffer: &[u8]) -> bool {
        let Some((_, queue)) = self.0.iter().find(|(known, _)| *known == port) else { return true };
        // A device that is full says so; what it refuses otherwise it would refuse again.
        !matches!(queue.send(buffer), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}
