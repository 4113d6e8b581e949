//! What drives the connections: one thread, one epoll, connections in slots.
//!
//! A slot has a connection that works, or one that is held idle. In a closed loop a slot sends its next request when the
//! last is answered; in an open loop a request is sent when it is due, by whichever slot is free, and its latency counts
//! from when it was due. Edge-triggered: a connection is registered once and read until it is empty.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::connection::{Buffers, Connection, Happened, Ready, Trouble};
use super::generator::{Job, Mode, PATIENCE};
use super::machine::{allow_files, be_punctual};
use super::pace::Pace;
use super::requests::Requests;
use super::trust::client_config;
use super::window::{Window, nanos};
use crate::edge::clock::Clock;
use crate::edge::{Fault, OrFault};
use crate::time::UnixTime;

/// Events taken at once.
const EVENTS: usize = 256;
/// Longest wait without an event.
const WAIT: Duration = Duration::from_millis(100);
/// How often connections are looked over for silence.
const LOOK: Duration = Duration::from_secs(1);
/// Files that a process needs beside connections.
const OTHER_FILES: usize = 64;

/// What a slot is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Works,
    /// Held open once it has answered one request.
    Idle,
}

#[derive(Debug)]
struct Slot {
    role: Role,
    connection: Option<Connection>,
}

/// All connections of a run.
#[derive(Debug)]
pub struct Driver<'a> {
    job: &'a Job,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    /// Slots that work and have nothing to do, in an open loop.
    free: VecDeque<usize>,
    requests: Requests,
    buffers: Buffers,
    pace: Option<Pace>,
    window: Option<Window>,
    is_ending: bool,
    established: usize,
    settled: usize,
    agreed: String,
    clock: Clock,
    unix: UnixTime,
    looked: Instant,
}

impl<'a> Driver<'a> {
    /// Prepares everything; nothing is connected yet.
    ///
    /// # Errors
    /// Certificates that cannot be read, a name that is none, more connections than files may be open.
    pub fn new(job: &'a Job) -> Result<Self, Fault> {
        allow_files(job.connections + job.idle + OTHER_FILES)?;
        be_punctual();
        let config = client_config(&job.trusted, job.tls, job.cipher, job.mode == Mode::Resume)?;
        let name = ServerName::try_from(job.name.clone()).or_fault(|| format!("{:?} is no host name", job.name))?;
        let close = job.mode != Mode::KeepAlive;
        let clock = Clock::start();
        let slot = |role| Slot { role, connection: None };
        let slots = (0..job.connections).map(|_| slot(Role::Works)).chain((0..job.idle).map(|_| slot(Role::Idle)));
        Ok(Self {
            job,
            config,
            name,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).or_fault(|| "cannot wait for connections")?,
            slots: slots.collect(),
            free: VecDeque::new(),
            requests: Requests::new(&job.name, &job.path, job.exchange, job.signing.clone(), close)?,
            buffers: Buffers::default(),
            pace: None,
            window: None,
            is_ending: false,
            established: 0,
            settled: 0,
            agreed: String::new(),
            unix: clock.now().unix,
            clock,
            looked: Instant::now(),
        })
    }

    /// Opens the working connections.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn start(&mut self) -> Result<(), Trouble> {
        (0..self.job.connections).try_for_each(|slot| self.open(slot, Instant::now()))
    }

    /// Opens the idle connection of this number.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn open_idle(&mut self, number: usize) -> Result<(), Trouble> {
        self.open(self.job.connections + number, Instant::now())
    }

    /// Handshakes of working connections so far.
    pub fn established(&self) -> usize {
        self.established
    }

    /// Idle connections that have answered their request and are held.
    pub fn settled(&self) -> usize {
        self.settled
    }

    /// What the first handshake agreed on.
    pub fn agreed(&self) -> &str {
        &self.agreed
    }

    /// When requests are due from now on.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.pace = pace;
    }

    /// Counts from now on; in an open loop nothing is due behind its end.
    pub fn open_window(&mut self, window: Window) {
        if let Some(pace) = &mut self.pace {
            pace.stop_at(window.end);
        }
        self.window = Some(window);
    }

    /// What was counted.
    pub fn close_window(&mut self) -> Option<Window> {
        self.window.take()
    }

    /// Requests due before `end` that have no answer.
    pub fn unanswered(&self, end: Instant) -> u64 {
        let open = self.slots.iter().filter_map(|slot| slot.connection.as_ref());
        let waiting = open.filter(|connection| connection.is_waiting() && connection.since < end).count();
        waiting as u64 + self.pace.as_ref().map_or(0, Pace::left)
    }

    /// Sends nothing new any more.
    pub fn end(&mut self) {
        self.is_ending = true;
        self.pace = None;
    }

    /// Whether nothing is awaited, and nothing more is due.
    pub fn is_quiet(&self) -> bool {
        let waits = |slot: &Slot| slot.connection.as_ref().is_some_and(Connection::is_waiting);
        !self.slots.iter().any(waits) && self.pace.as_ref().is_none_or(|pace| pace.next().is_none())
    }

    /// Handles events until `until`, or until `is_done` says so.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn turn_until(&mut self, until: Instant, is_done: impl Fn(&Self) -> bool) -> Result<(), Trouble> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            if now >= until || is_done(self) {
                return Ok(());
            }
            self.unix = self.clock.now().unix;
            self.send_due(now)?;
            let mut limit = until.min(now + WAIT);
            if let Some(due) = self.pace.as_ref().and_then(Pace::next).filter(|_| !self.free.is_empty()) {
                limit = limit.min(due);
            }
            self.wait(&mut events, limit.saturating_duration_since(now))?;
            for event in &events {
                let slot = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                self.handle(slot, event.flags)?;
            }
            if now.saturating_duration_since(self.looked) > LOOK {
                self.look(now)?;
            }
        }
    }

    /// Waits for events, at most this long.
    fn wait(&self, events: &mut Vec<epoll::Event>, most: Duration) -> Result<(), Trouble> {
        // At most a tenth of a second.
        let mut most = Timespec { tv_sec: 0, tv_nsec: i64::try_from(nanos(most)).unwrap_or(0) };
        let interrupted = |errno: Errno| if errno == Errno::INTR { Ok(0) } else { Err(errno) };
        if self.pace.is_some() {
            // epoll rounds its time up to milliseconds, and a request would leave that much too late.
            poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&most)).or_else(interrupted)?;
            most.tv_nsec = 0;
        }
        events.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&most)).or_else(interrupted)?;
        Ok(())
    }

    /// Finds connections from which nothing was heard for too long.
    fn look(&mut self, now: Instant) -> Result<(), Trouble> {
        self.looked = now;
        let is_silent = |slot: &Slot| {
            let Some(connection) = &slot.connection else { return false };
            // Where each request has a connection, its close is awaited, too.
            let waits = connection.is_waiting() || (self.job.mode != Mode::KeepAlive && slot.role == Role::Works);
            waits && now.saturating_duration_since(connection.touched) > PATIENCE
        };
        if self.slots.iter().any(is_silent) { Err(Trouble::Silent(PATIENCE.as_secs())) } else { Ok(()) }
    }

    /// Sends requests that are due and that a slot is free for.
    fn send_due(&mut self, now: Instant) -> Result<(), Trouble> {
        while !self.free.is_empty() {
            let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(now)) else { break };
            if let Some(slot) = self.free.pop_front() {
                self.begin(slot, due)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags) -> Result<(), Trouble> {
        use epoll::EventFlags;
        let Some(connection) = self.slots.get_mut(index).and_then(|slot| slot.connection.as_mut()) else {
            return Ok(());
        };
        let ready = Ready {
            readable: flags.contains(EventFlags::IN),
            writable: flags.contains(EventFlags::OUT),
            ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        };
        let happened = connection.handle(self.job.exchange, ready, &mut self.buffers)?;
        let now = Instant::now();
        connection.touched = now;
        self.follow(index, happened, now)
    }

    /// What follows from an event.
    fn follow(&mut self, index: usize, happened: Happened, now: Instant) -> Result<(), Trouble> {
        let Slot { role, connection: Some(open) } = &mut self.slots[index] else { return Ok(()) };
        let (role, since, sent) = (*role, open.since, open.outgoing().body_len());
        if let Some(resumed) = happened.established {
            if self.agreed.is_empty() {
                self.agreed = open.agreed();
            }
            if role == Role::Works {
                self.established += 1;
                if let Some(window) = &mut self.window {
                    window.handshake(resumed);
                }
            }
            if role == Role::Works && self.job.mode == Mode::KeepAlive {
                self.go_on(index, now)?;
            } else {
                self.send(index, since)?;
            }
        }
        if let Some(complete) = happened.answered {
            match role {
                Role::Idle => self.settled += 1,
                Role::Works => {
                    if let Some(window) = &mut self.window {
                        window.answer(since, now, sent, complete.body);
                    }
                    // Else the server is to close first: it then has the connection in TIME-WAIT, not we.
                    if self.job.mode == Mode::KeepAlive && !complete.closes && !happened.closed {
                        self.go_on(index, now)?;
                    }
                }
            }
        }
        if happened.closed { self.closed(index, now) } else { Ok(()) }
    }

    /// The server closed a connection between two requests.
    fn closed(&mut self, index: usize, now: Instant) -> Result<(), Trouble> {
        let slot = &mut self.slots[index];
        slot.connection = None;
        if slot.role == Role::Idle {
            return Err(Trouble::IdleLost);
        }
        if self.job.mode == Mode::KeepAlive {
            self.free.retain(|free| *free != index);
            if let Some(window) = &mut self.window {
                window.reconnects += 1;
            }
            return if self.is_ending { Ok(()) } else { self.open(index, now) };
        }
        self.go_on(index, now)
    }

    /// The slot has nothing to do: its next request, if one is due.
    fn go_on(&mut self, index: usize, now: Instant) -> Result<(), Trouble> {
        let due = match &mut self.pace {
            _ if self.is_ending => None,
            None if self.job.rate.is_none() => Some(now),
            None => None,
            Some(pace) => pace.take(now),
        };
        match due {
            Some(due) => self.begin(index, due),
            None => {
                self.free.push_back(index);
                // What ended the handshake is not held back.
                match &mut self.slots[index].connection {
                    Some(connection) => connection.flush(&mut self.buffers),
                    None => Ok(()),
                }
            }
        }
    }

    /// Begins with a request that was due at `due`.
    fn begin(&mut self, index: usize, due: Instant) -> Result<(), Trouble> {
        if self.job.mode == Mode::KeepAlive { self.send(index, due) } else { self.open(index, due) }
    }

    fn open(&mut self, index: usize, since: Instant) -> Result<(), Trouble> {
        let mut connection = Connection::open(self.job.target, &self.config, &self.name, &mut self.buffers, since)?;
        connection.touched = Instant::now();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &connection, epoll::EventData::new_u64(index as u64), flags)?;
        self.slots[index].connection = Some(connection);
        Ok(())
    }

    fn send(&mut self, index: usize, since: Instant) -> Result<(), Trouble> {
        let Some(connection) = &mut self.slots[index].connection else { return Ok(()) };
        self.requests.write(connection.outgoing(), self.unix);
        connection.begin(since, &mut self.buffers)
    }
}
