//! Bulk TCP between two machines, both ends in this program: sockets belong to the namespace they were opened in.
//!
//! Every byte is compared at the other end. What is counted are blocks of 64 KiB; a block's time is from handing its last
//! byte to the kernel to having received it on the other side, which is mostly the time it waits in queues.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::machine::Machine;
use super::meter::Meter;
use super::report::Measured;
use super::window::Window;
use crate::edge::Fault;
use crate::onprem::built_in::{PERIOD, pattern};

/// What is counted, bytes.
pub const BLOCK: usize = 64 << 10;
/// What one receive may bring, bytes.
const RECEIVE: usize = 256 << 10;
/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(5);

const _: () = assert!(BLOCK.is_multiple_of(PERIOD), "every block begins where the pattern does");

/// Sends from `from` to `to`, the two ends of one connection, as fast as they take it.
///
/// # Errors
/// Bytes that arrive changed, or none for long.
pub fn run(
    from: &OwnedFd,
    to: &OwnedFd,
    warm_up: Duration,
    duration: Duration,
    machine: &Machine,
) -> Result<Measured, Fault> {
    let content: Vec<u8> = pattern().take(BLOCK + RECEIVE).collect();
    let mut stream = Stream {
        from,
        to,
        content,
        inbox: vec![0; RECEIVE].into(),
        sent: 0,
        received: 0,
        blocks: VecDeque::new(),
        window: None,
        heard: Instant::now(),
    };
    stream.turn_until(Instant::now() + warm_up)?;
    let mut meter = Meter::begin(machine);
    stream.window = Some(Window::new(meter.start(), duration, false));
    stream.turn_until(meter.start() + duration)?;
    meter.stop();
    let window = stream.window.take().ok_or_else(|| Fault::new("nothing was measured"))?;
    if window.answers == 0 {
        return Err(Fault::new("not one block arrived"));
    }
    Ok(meter.measured(&window, 0))
}

struct Stream<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    content: Vec<u8>,
    inbox: Box<[u8]>,
    sent: usize,
    received: usize,
    /// When the last byte of each block that is on its way was sent.
    blocks: VecDeque<Instant>,
    window: Option<Window>,
    heard: Instant,
}

impl Stream<'_> {
    fn turn_until(&mut self, until: Instant) -> Result<(), Fault> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            if now.saturating_duration_since(self.heard) > PATIENCE {
                return Err(Fault::new(format!("nothing arrived for {} s", PATIENCE.as_secs())));
            }
            let wait = until.saturating_duration_since(now).min(Duration::from_millis(100));
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            let mut watched = [PollFd::new(self.from, PollFlags::OUT), PollFd::new(self.to, PollFlags::IN)];
            match poll(&mut watched, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new(format!("cannot wait for data: {errno}"))),
            }
            // The receiving end first: what it leaves in the kernel only takes room.
            while self.receive()? {}
            self.send()?;
        }
    }

    /// Whether there may be more.
    fn receive(&mut self) -> Result<bool, Fault> {
        let length = match recv(self.to, &mut self.inbox[..], RecvFlags::empty()) {
            Ok((_, 0)) => return Err(Fault::new("the connection ended")),
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Fault::new(format!("data cannot be received: {errno}"))),
        };
        let at = self.received % BLOCK;
        if self.inbox[..length] != self.content[at..at + length] {
            return Err(Fault::new(format!("data arrived changed, behind byte {}", self.received)));
        }
        let blocks = (self.received + length) / BLOCK - self.received / BLOCK;
        self.received += length;
        let now = Instant::now();
        self.heard = now;
        for _ in 0..blocks {
            if let (Some(sent), Some(window)) = (self.blocks.pop_front(), &mut self.window) {
                window.answer(sent, now, BLOCK, 0);
            }
        }
        Ok(length == RECEIVE)
    }

    fn send(&mut self) -> Result<(), Fault> {
        let at = self.sent % BLOCK;
        match send(self.from, &self.content[at..at + BLOCK], SendFlags::NOSIGNAL) {
            Ok(length) => {
                let blocks = (self.sent + length) / BLOCK - self.sent / BLOCK;
                self.sent += length;
                let now = Instant::now();
                self.blocks.extend(std::iter::repeat_n(now, blocks));
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::new(format!("data cannot be sent: {errno}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_and_a_changed_byte_is_noticed() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let machine = Machine::watch(&[]).expect("nothing to watch");
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a pair");
        let (from, to) = pair();
        let short = Duration::from_millis(50);
        let measured = run(&from, &to, short, short, &machine).expect("measured");
        assert!(measured.answers > 0 && measured.bytes_sent == measured.answers * BLOCK as u64, "{measured:?}");
        let (from, to) = pair();
        send(&from, b"wrong", SendFlags::empty()).expect("sent");
        let changed = run(&from, &to, short, short, &machine).expect_err("changed");
        assert_eq!(changed.what, "data arrived changed, behind byte 0");
    }
}
