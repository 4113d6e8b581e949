//! The ceiling: what a server without any of the endpoint's work can do over the kernel's TCP.
//!
//! The endpoint's TLS ([`Session`], same certificate, same settings) over kernel sockets, HTTP/1.1 read just far enough, and
//! the built-in functions answered on the spot. No packets, no signature, no policy, no tunnel. One thread, one epoll.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};
use slab::Slab;

use crate::edge::{Fault, OrFault};
use crate::onprem::built_in;
use crate::tls::{ServerSetup, Session};

/// Longest head of a request, bytes.
const HEAD_LIMIT: usize = 16 << 10;
/// What one receive may bring, bytes.
const RECEIVE: usize = 256 << 10;
/// Marks the listening socket's and the end's events.
const LISTENER: u64 = u64::MAX;
const END: u64 = u64::MAX - 1;

/// Serves until `end` can be read, which it can when its other side is closed.
///
/// # Errors
/// When the kernel refuses to wait.
pub fn serve(listener: &TcpListener, end: &OwnedFd, setup: ServerSetup) -> Result<(), Fault> {
    let failed = || "cannot wait for connections";
    listener.set_nonblocking(true).or_fault(failed)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).or_fault(failed)?;
    epoll::add(&epoll, listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN).or_fault(failed)?;
    epoll::add(&epoll, end, epoll::EventData::new_u64(END), epoll::EventFlags::IN).or_fault(failed)?;
    let mut server =
        Server { epoll, setup, clients: Slab::new(), inbox: vec![0; RECEIVE].into(), plain: vec![0; RECEIVE].into() };
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&server.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::new(format!("{}: {errno}", failed()))),
        }
        for event in &events {
            match event.data.u64() {
                END => return Ok(()),
                LISTENER => server.accept(listener),
                client => server.handle(usize::try_from(client).unwrap_or(usize::MAX), event.flags),
            }
        }
    }
}

struct Server {
    epoll: OwnedFd,
    setup: ServerSetup,
    clients: Slab<Client>,
    inbox: Box<[u8]>,
    plain: Box<[u8]>,
}

struct Client {
    socket: OwnedFd,
    session: Session,
    request: Request,
    /// Answers that TLS has not taken yet, and how many bytes of the first it has.
    answers: VecDeque<Bytes>,
    taken: usize,
    closes: bool,
    is_closing: bool,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = rustix::net::accept_with(listener, flags) {
            let entry = self.clients.vacant_entry();
            let data = epoll::EventData::new_u64(entry.key() as u64);
            let flags =
                epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            let added =
                sockopt::set_tcp_nodelay(&socket, true).and_then(|()| epoll::add(&self.epoll, &socket, data, flags));
            // A connection that is gone already needs no server.
            if added.is_ok() {
                let session = Session::new(&self.setup);
                let request = Request::default();
                let answers = VecDeque::new();
                entry.insert(Client { socket, session, request, answers, taken: 0, closes: false, is_closing: false });
            }
        }
    }

    fn handle(&mut self, key: usize, flags: epoll::EventFlags) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let ended = flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        let goes_on = (!flags.contains(epoll::EventFlags::IN) && !ended)
            || client.receive(ended, &mut self.inbox, &mut self.plain);
        if !goes_on || !client.send() {
            self.clients.remove(key);
        }
    }
}

impl Client {
    /// Reads what is there; whether the connection goes on.
    fn receive(&mut self, ended: bool, inbox: &mut [u8], plain: &mut [u8]) -> bool {
        loop {
            let received = match rustix::net::recv(&self.socket, &mut inbox[..], RecvFlags::empty()) {
                Ok((_, 0)) => return false,
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            };
            let mut rest = &inbox[..received];
            while !rest.is_empty() {
                let ingest = self.session.ingest(rest);
                rest = &rest[ingest.taken..];
                let mut read = 0;
                while let Ok(length @ 1..) = self.session.read(plain) {
                    read += length;
                    if !self.request.feed(&plain[..length], &mut self.answers, &mut self.closes) {
                        return false;
                    }
                }
                if ingest.failed.is_some() || (ingest.taken == 0 && read == 0) {
                    return false;
                }
            }
            if received < inbox.len() && !ended {
                return true;
            }
        }
    }

    /// Sends what there is; whether the connection goes on.
    fn send(&mut self) -> bool {
        loop {
            while let Some(answer) = self.answers.front() {
                match self.session.write(&answer[self.taken..]) {
                    Ok(0) => break,
                    Ok(taken) => self.taken += taken,
                    Err(_) => return false,
                }
                if self.taken == answer.len() {
                    self.answers.pop_front();
                    self.taken = 0;
                }
            }
            if self.answers.is_empty() && self.closes && !self.is_closing {
                self.is_closing = true;
                self.session.close();
            }
            let (mut blocked, mut failed) = (false, false);
            self.session.emit(&mut |bytes| match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => {
                    blocked = true;
                    0
                }
                Err(_) => {
                    failed = true;
                    0
                }
            });
            if failed {
                return false;
            }
            if blocked || (self.answers.is_empty() && !self.session.wants_emit()) {
                // Dropping the socket sends its end behind everything else.
                return blocked || !self.is_closing;
            }
        }
    }
}

/// A request as it arrives.
#[derive(Default)]
struct Request {
    head: Vec<u8>,
    body: Option<Incoming>,
}

struct Incoming {
    function: Function,
    left: usize,
    /// The event, for functions that need it as a whole.
    event: Vec<u8>,
    length: usize,
    crc: crc32fast::Hasher,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    Echo,
    Sink,
    Source,
}

impl Request {
    /// Takes plaintext and appends answers. `false` for what is no invocation.
    fn feed(&mut self, mut bytes: &[u8], answers: &mut VecDeque<Bytes>, closes: &mut bool) -> bool {
        while !bytes.is_empty() {
            if self.body.is_none() {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return self.head.len() <= HEAD_LIMIT;
                };
                bytes = &bytes[end + 4 - before..];
                let Some(body) = Incoming::of(&self.head[..end], closes) else { return false };
                self.body = Some(body);
                self.head.clear();
            }
            let Some(body) = &mut self.body else { return false };
            let (own, rest) = bytes.split_at(bytes.len().min(body.left));
            bytes = rest;
            body.left -= own.len();
            if body.function == Function::Sink {
                body.crc.update(own);
            } else {
                body.event.extend_from_slice(own);
            }
            if body.left > 0 {
                return true;
            }
            if let Some(body) = self.body.take() {
                body.answer(answers);
            }
        }
        true
    }
}

impl Incoming {
    fn of(head: &[u8], closes: &mut bool) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let path = lines.next()?.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?;
        let name = path.strip_prefix("/2015-03-31/functions/")?.strip_suffix("/invocations")?;
        let function = match name {
            "echo" => Function::Echo,
            "sink" => Function::Sink,
            "source" => Function::Source,
            _ => return None,
        };
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name.len() {
                14 if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
                10 if name.eq_ignore_ascii_case("connection") => *closes |= value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let length = length?;
        let event = Vec::with_capacity(if function == Function::Sink { 0 } else { length });
        Some(Self { function, left: length, event, length, crc: crc32fast::Hasher::new() })
    }

    fn answer(self, answers: &mut VecDeque<Bytes>) {
        let body: Bytes = match self.function {
            Function::Echo => self.event.into(),
            Function::Sink => format!("{{\"bytes\":{},\"crc32\":\"{:08x}\"}}", self.length, self.crc.finalize()).into(),
            Function::Source => {
                let wanted: serde_json::Value = serde_json::from_slice(&self.event).unwrap_or_default();
                built_in::text(wanted["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(2))
            }
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if body.len() <= 4096 {
            // One record for both.
            answers.push_back([head.as_bytes(), &body].concat().into());
        } else {
            answers.extend([head.into(), body]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_however_they_are_cut_and_what_is_none_is_refused() {
        let text = "POST /2015-03-31/functions/sink/invocations HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789\
                    POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\ncontent-length: 2\r\nConnection: close\r\n\r\nhi";
        for size in [1, 7, text.len()] {
            let (mut request, mut answers, mut closes) = (Request::default(), VecDeque::new(), false);
            for piece in text.as_bytes().chunks(size) {
                assert!(request.feed(piece, &mut answers, &mut closes));
            }
            let answers: Vec<String> =
                answers.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
            assert!(answers[0].ends_with("\r\n\r\n{\"bytes\":9,\"crc32\":\"cbf43926\"}"), "{answers:?}");
            assert!(answers[1].ends_with("\r\ncontent-length: 2\r\n\r\nhi") && closes, "{answers:?}");
        }
        for wrong in ["GET / HTTP/1.1\r\n\r\n", "POST /2015-03-31/functions/other/invocations HTTP/1.1\r\n\r\n"] {
            let (mut answers, mut closes) = (VecDeque::new(), false);
            assert!(!Request::default().feed(wrong.as_bytes(), &mut answers, &mut closes));
        }
    }
}
