//! Datagrams there and back: DNS questions, or small packets that a socket of our own on another machine returns.
//!
//! A fixed number is in flight. Each answer is compared byte by byte with what it has to be and sends the next one; what is
//! not answered in time counts as lost and is sent again under another number.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with,
};
use thiserror::Error;

use super::machine::Machine;
use super::meter::Meter;
use super::report::Measured;
use super::window::Window;
use crate::edge::{Fault, OrFault};
use crate::onprem::built_in::pattern;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often slots are looked over for what was lost.
const LOOK: Duration = Duration::from_millis(20);
/// Socket buffers, bytes: so that a burst is not lost at our own socket.
const BUFFER: usize = 1 << 20;
/// The largest datagram that is used here.
const LARGEST: usize = 2048;

/// What travels.
#[derive(Clone, Debug)]
pub enum Content {
    /// A number and letters; they come back as they went.
    Echo {
        /// Bytes of the datagram's payload, 16 at least.
        length: usize,
    },
    /// A DNS question.
    Question {
        /// The message, its id aside.
        message: Vec<u8>,
        /// What the first answer must be; all others equal it but for the id.
        answer: Answer,
    },
}

/// What an answer to a DNS question must be.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The address that the name has.
    pub address: std::net::Ipv4Addr,
    /// The first answer, once it was found right.
    pub known: Vec<u8>,
}

/// A wrong answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a datagram came back wrong: {0}")]
pub struct WrongDatagram(&'static str);

/// A datagram socket between two addresses, in the namespace of the calling thread.
///
/// # Errors
/// When the kernel refuses.
pub fn socket(local: SocketAddr, remote: Option<SocketAddr>) -> Result<OwnedFd, Fault> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let make = || {
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
        sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
        bind(&socket, &local)?;
        remote.map_or(Ok(()), |remote| connect(&socket, &remote))?;
        rustix::io::Result::Ok(socket)
    };
    make().or_fault(|| format!("cannot open a socket at {local}"))
}

/// What is to be done.
#[derive(Debug)]
pub struct Job<'a> {
    /// The socket, connected.
    pub socket: &'a OwnedFd,
    /// A socket on the other side that returns what it gets, connected to the first.
    pub mirror: Option<&'a OwnedFd>,
    /// What travels.
    pub content: Content,
    /// Datagrams in flight.
    pub in_flight: usize,
    /// Work that is not measured.
    pub warm_up: Duration,
    /// Work that is.
    pub duration: Duration,
}

/// Does the job.
///
/// # Errors
/// A wrong answer, or no answer at all.
pub fn run(job: Job<'_>, machine: &Machine) -> Result<Measured, Fault> {
    let mut flight = Flight {
        slots: vec![Slot { number: 0, sent: None }; job.in_flight],
        content: job.content,
        socket: job.socket,
        mirror: job.mirror,
        window: None,
        lost: 0,
        buffer: Box::new([0; LARGEST]),
        letters: pattern().take(LARGEST).collect(),
        looked: Instant::now(),
    };
    flight.turn_until(Instant::now() + job.warm_up)?;
    let mut meter = Meter::begin(machine);
    flight.lost = 0;
    flight.window = Some(Window::new(meter.start(), job.duration, false));
    flight.turn_until(meter.start() + job.duration)?;
    meter.stop();
    let window = flight.window.take().ok_or_else(|| Fault::new("nothing was measured"))?;
    if window.answers == 0 {
        return Err(Fault::new("not one datagram was answered"));
    }
    Ok(meter.measured(&window, flight.lost))
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: u64,
    sent: Option<Instant>,
}

struct Flight<'a> {
    slots: Vec<Slot>,
    content: Content,
    socket: &'a OwnedFd,
    mirror: Option<&'a OwnedFd>,
    window: Option<Window>,
    lost: u64,
    buffer: Box<[u8; LARGEST]>,
    letters: Vec<u8>,
    looked: Instant,
}

impl Flight<'_> {
    fn turn_until(&mut self, until: Instant) -> Result<(), Fault> {
        loop {
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            if now - self.looked > LOOK || self.slots.iter().all(|slot| slot.sent.is_none()) {
                self.look(now)?;
            }
            let wait = until.min(now + LOOK).saturating_duration_since(now);
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            let mut watched = [
                PollFd::new(self.socket, PollFlags::IN),
                PollFd::new(self.mirror.unwrap_or(self.socket), PollFlags::IN),
            ];
            match poll(&mut watched, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new(format!("cannot wait for datagrams: {errno}"))),
            }
            self.reflect().or_fault(|| "datagrams cannot be returned")?;
            self.receive()?;
        }
    }

    /// Sends what was never sent, or was lost.
    fn look(&mut self, now: Instant) -> Result<(), Fault> {
        self.looked = now;
        for slot in 0..self.slots.len() {
            let sent = self.slots[slot].sent;
            if sent.is_none_or(|sent| now.saturating_duration_since(sent) > PATIENCE) {
                self.lost += u64::from(sent.is_some());
                self.send(slot)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, slot: usize) -> Result<(), Fault> {
        self.slots[slot].number += 1;
        let length = self.write(slot);
        self.slots[slot].sent = Some(Instant::now());
        match send(self.socket, &self.buffer[..length], SendFlags::NOSIGNAL) {
            // Full, or nobody listens: it counts as lost in time.
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::CONNREFUSED) => Ok(()),
            Err(errno) => Err(Fault::new(format!("datagrams cannot be sent: {errno}"))),
        }
    }

    /// Writes a slot's datagram into the buffer.
    fn write(&mut self, slot: usize) -> usize {
        let number = self.slots[slot].number;
        match &self.content {
            Content::Echo { length } => {
                self.buffer[..8].copy_from_slice(&(slot as u64).to_be_bytes());
                self.buffer[8..16].copy_from_slice(&number.to_be_bytes());
                self.buffer[16..*length].copy_from_slice(&self.letters[16..*length]);
                *length
            }
            Content::Question { message, .. } => {
                let id = self.id(slot, number).to_be_bytes();
                self.buffer[..message.len()].copy_from_slice(message);
                self.buffer[..2].copy_from_slice(&id);
                message.len()
            }
        }
    }

    /// The DNS id of a slot's question: which slot, and a few bits of its number.
    fn id(&self, slot: usize, number: u64) -> u16 {
        let slots = self.slots.len() as u64;
        u16::try_from((number * slots + slot as u64) % (65_536 / slots * slots)).unwrap_or(0)
    }

    fn reflect(&mut self) -> rustix::io::Result<()> {
        let Some(mirror) = self.mirror else { return Ok(()) };
        loop {
            match recv(mirror, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => match send(mirror, &self.buffer[..length], SendFlags::NOSIGNAL) {
                    Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::CONNREFUSED) => {}
                    Err(errno) => return Err(errno),
                },
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNREFUSED) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn receive(&mut self) -> Result<(), Fault> {
        loop {
            let length = match recv(self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNREFUSED) => continue,
                Err(errno) => return Err(Fault::new(format!("datagrams cannot be received: {errno}"))),
            };
            let Some(slot) = self.judge(length).or_fault(|| "the benchmark failed")? else { continue };
            let now = Instant::now();
            if let (Some(window), Some(sent)) = (&mut self.window, self.slots[slot].sent) {
                window.answer(sent, now, length, length);
            }
            self.send(slot)?;
        }
    }

    /// The slot that what lies in the buffer answers; `None` if it was given up already.
    fn judge(&mut self, length: usize) -> Result<Option<usize>, WrongDatagram> {
        let got = &self.buffer[..length];
        match &mut self.content {
            Content::Echo { length: wanted } => {
                if length != *wanted || got[16..] != self.letters[16..length] {
                    return Err(WrongDatagram("it is not what was sent"));
                }
                let number = |at: usize| got[at..at + 8].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
                let slot = usize::try_from(number(0)).ok().filter(|slot| *slot < self.slots.len());
                let slot = slot.ok_or(WrongDatagram("it has a number that was never sent"))?;
                Ok(Some(slot).filter(|slot| self.slots[*slot].number == number(8)))
            }
            Content::Question { message, answer } => {
                if answer.known.is_empty() {
                    answer.learn(message, got)?;
                }
                if got.len() != answer.known.len() || got[2..] != answer.known[2..] {
                    return Err(WrongDatagram("an answer differs from the first"));
                }
                let id = u16::from_be_bytes([got[0], got[1]]);
                let slot = usize::from(id) % self.slots.len();
                Ok(Some(slot).filter(|slot| self.id(*slot, self.slots[*slot].number) == id))
            }
        }
    }
}

impl Answer {
    /// Reads the first answer, and keeps it if it is right.
    fn learn(&mut self, question: &[u8], got: &[u8]) -> Result<(), WrongDatagram> {
        use hickory_proto::op::{Message, MessageType, ResponseCode};
        use hickory_proto::rr::RData;
        let message = Message::from_vec(got).map_err(|_| WrongDatagram("it is no DNS message"))?;
        let asked = Message::from_vec(question).map_err(|_| WrongDatagram("the question is none"))?;
        let is_answer = message.metadata.message_type == MessageType::Response
            && message.metadata.response_code == ResponseCode::NoError
            && message.queries == asked.queries;
        let addresses = message.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        if !is_answer || !addresses.into_iter().eq([self.address]) {
            return Err(WrongDatagram("it does not say which address the name has"));
        }
        self.known = got.to_vec();
        Ok(())
    }
}

/// A question for the IPv4 address of `name`.
///
/// # Errors
/// When `name` is no host name.
pub fn question(name: &str) -> Result<Vec<u8>, Fault> {
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).or_fault(|| "not a host name")?;
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().or_fault(|| "the question cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let port = |socket: &OwnedFd| {
            let address = rustix::net::getsockname(socket).expect("a name");
            SocketAddr::try_from(address).expect("an address")
        };
        let first = socket(loopback(0), None).expect("a socket");
        let second = socket(loopback(0), Some(port(&first))).expect("a socket");
        connect(&first, &port(&second)).expect("connected");
        (first, second)
    }

    fn job<'a>(socket: &'a OwnedFd, mirror: Option<&'a OwnedFd>, content: Content) -> Job<'a> {
        let short = Duration::from_millis(60);
        Job { socket, mirror, content, in_flight: 3, warm_up: short, duration: short }
    }

    #[test]
    fn datagrams_go_there_and_back_and_are_counted() {
        let (here, there) = pair();
        let machine = Machine::watch(&[]).expect("nothing to watch");
        let measured = run(job(&here, Some(&there), Content::Echo { length: 100 }), &machine).expect("measured");
        assert!(measured.answers > 3 && measured.unanswered == 0, "{measured:?}");
        assert_eq!(measured.bytes_received, measured.answers * 100);
        assert!(measured.latency.p50_us > 0.0, "{measured:?}");
    }

    #[test]
    fn a_wrong_answer_or_none_ends_the_run() {
        let (here, there) = pair();
        let machine = Machine::watch(&[]).expect("nothing to watch");
        let silent = run(job(&here, None, Content::Echo { length: 100 }), &machine).expect_err("nobody answers");
        assert_eq!(silent.what, "not one datagram was answered");
        send(&there, &[0; 100], SendFlags::empty()).expect("sent");
        let wrong = run(job(&here, None, Content::Echo { length: 100 }), &machine).expect_err("zeros");
        assert!(wrong.what.contains("it is not what was sent"), "{wrong}");
        let message = question("lambda.us-east-2.amazonaws.com").expect("a question");
        send(&there, &message, SendFlags::empty()).expect("sent");
        let answer = Answer { address: [10, 0, 1, 100].into(), known: Vec::new() };
        let wrong = run(job(&here, None, Content::Question { message, answer }), &machine).expect_err("a question");
        assert!(wrong.what.contains("which address the name has"), "{wrong}");
    }
}
