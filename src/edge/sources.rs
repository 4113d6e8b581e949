//! What a loop reads, and how it waits: a descriptor is read until it is empty, and not again before the kernel says that it has
//! something. A loop that finds one of three readable asks no other two in vain.
//!
//! mio watches by edges: a descriptor counts as readable from an event on until whoever reads it says that it is
//! [`drained`](Sources::drained). Only a socket that was full is watched for room. A UDP socket that is always watched for it wakes
//! its owner for each datagram that somebody else has read.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

const WAKE: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// The descriptors of one loop, by their place in the list it was made with. Whoever owns them keeps them open.
#[derive(Debug)]
pub struct Sources {
    poll: Poll,
    events: Events,
    fds: Box<[RawFd]>,
    readable: Box<[bool]>,
    awaits_room: Box<[bool]>,
    timer: OwnedFd,
    is_armed: bool,
}

impl Sources {
    /// Watches `fds`. All count as readable at first.
    ///
    /// # Errors
    /// When the kernel cannot watch one of them, or has no timer.
    pub fn new(fds: impl IntoIterator<Item = RawFd>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut sources = Self {
            poll,
            events: Events::with_capacity(64),
            fds: Box::default(),
            readable: Box::default(),
            awaits_room: Box::default(),
            timer,
            is_armed: false,
        };
        sources.watch(fds)?;
        Ok(sources)
    }

    /// Watches `fds` instead of those before, of which none has been closed yet. All count as readable at first.
    ///
    /// # Errors
    /// When the kernel cannot watch one of them.
    pub fn watch(&mut self, fds: impl IntoIterator<Item = RawFd>) -> io::Result<()> {
        for fd in &self.fds {
            self.poll.registry().deregister(&mut SourceFd(fd))?;
        }
        self.fds = fds.into_iter().collect();
        for (index, fd) in self.fds.iter().enumerate() {
            self.poll.registry().register(&mut SourceFd(fd), Token(index), Interest::READABLE)?;
        }
        self.readable = vec![true; self.fds.len()].into();
        self.awaits_room = vec![false; self.fds.len()].into();
        Ok(())
    }

    /// Ends a wait from another thread.
    ///
    /// # Errors
    /// When the kernel has no eventfd left.
    pub fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKE)
    }

    /// Whether there may be something to read.
    #[inline]
    pub fn is_readable(&self, index: usize) -> bool {
        self.readable[index]
    }

    /// Whether there may be something to read anywhere.
    #[inline]
    pub fn any_readable(&self) -> bool {
        self.readable.contains(&true)
    }

    /// A read said that there is nothing: the next event says that there is.
    #[inline]
    pub fn drained(&mut self, index: usize) {
        self.readable[index] = false;
    }

    /// All may be readable: for a loop that never waits.
    pub fn try_all(&mut self) {
        self.readable.fill(true);
    }

    /// Has a wait end, too, when there is room in this socket, or no longer.
    ///
    /// # Errors
    /// When the kernel cannot watch it, which no traffic can cause.
    #[inline]
    pub fn await_room(&mut self, index: usize, is_full: bool) -> io::Result<()> {
        if self.awaits_room[index] == is_full {
            return Ok(());
        }
        self.awaits_room[index] = is_full;
        let interest = if is_full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&self.fds[index]), Token(index), interest)
    }

    /// Waits for an event, at most `limit`; zero only looks. Returns whether there was one. Whole milliseconds are epoll's own; a
    /// fraction of one, as an emulated path has it, costs a system call more.
    ///
    /// # Errors
    /// When waiting fails, which no traffic can cause.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<bool> {
        let is_whole = limit.is_none_or(|limit| limit.subsec_nanos().is_multiple_of(1_000_000));
        if !is_whole || self.is_armed {
            self.arm(if is_whole { Duration::ZERO } else { limit.unwrap_or_default() })?;
        }
        match self.poll.poll(&mut self.events, limit.filter(|_| is_whole)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            outcome => outcome?,
        }
        for event in &self.events {
            match event.token() {
                WAKE => {}
                // What has fired needs no reading: the next arming forgets it.
                TIMER => self.is_armed = false,
                Token(index) => {
                    self.readable[index] |= event.is_readable() || event.is_read_closed() || event.is_error();
                }
            }
        }
        Ok(!self.events.is_empty())
    }

    /// Has the timer fire after `limit`; zero switches it off.
    fn arm(&mut self, limit: Duration) -> io::Result<()> {
        let it_value = Timespec::try_from(limit).map_err(io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        self.is_armed = limit != Duration::ZERO;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test is at the edge, too")]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (one, other) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        one.set_nonblocking(true).unwrap();
        (one, other)
    }

    #[test]
    fn only_what_has_something_is_readable_once_it_was_drained() {
        let ((a, to_a), (b, to_b)) = (pair(), pair());
        let mut sources = Sources::new([a.as_raw_fd(), b.as_raw_fd()]).unwrap();
        assert!(sources.is_readable(0) && sources.is_readable(1));
        (0..2).for_each(|index| sources.drained(index));
        assert!(!sources.any_readable() && !sources.wait(Some(Duration::ZERO)).unwrap());
        to_b.send(b"x").unwrap();
        assert!(sources.wait(None).unwrap());
        assert_eq!([0, 1].map(|index| sources.is_readable(index)), [false, true]);
        // Read but not emptied: it stays readable without another event.
        assert_eq!(b.recv(&mut [0; 8]).unwrap(), 1);
        assert!(!sources.wait(Some(Duration::ZERO)).unwrap() && sources.is_readable(1));
        sources.drained(1);
        to_a.send(b"x").unwrap();
        assert!(sources.wait(None).unwrap() && sources.is_readable(0) && !sources.is_readable(1));
    }

    #[test]
    fn a_wait_ends_when_its_time_is_over_or_another_thread_says_so() {
        let (a, _to_a) = pair();
        let mut sources = Sources::new([a.as_raw_fd()]).unwrap();
        sources.drained(0);
        for micros in [200, 1_000] {
            let start = Instant::now();
            sources.wait(Some(Duration::from_micros(micros))).unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros) && !sources.any_readable());
        }
        let waker = sources.waker().unwrap();
        waker.wake().unwrap();
        assert!(sources.wait(None).unwrap() && !sources.any_readable());
    }

    #[test]
    fn what_others_have_read_wakes_only_who_awaits_room() {
        let (a, to_a) = pair();
        let mut sources = Sources::new([a.as_raw_fd()]).unwrap();
        sources.drained(0);
        let is_woken = |sources: &mut Sources| {
            a.send(b"x").unwrap();
            to_a.recv(&mut [0; 8]).unwrap();
            sources.wait(Some(Duration::ZERO)).unwrap()
        };
        assert!(!is_woken(&mut sources));
        sources.await_room(0, true).unwrap();
        assert!(is_woken(&mut sources) && !sources.any_readable());
        sources.await_room(0, false).unwrap();
        assert!(!is_woken(&mut sources));
    }
}
