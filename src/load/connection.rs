//! One connection to the server: a kernel socket, a TLS session, and at most one request at a time.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;

use super::answer::{Answer, Complete, Wrong};
use super::records::{Ciphertext, Records, TlsFault};
use super::requests::{Exchange, Outgoing};

/// Most plaintext that is encrypted before it is sent, bytes.
const SEND_PIECE: usize = 64 << 10;
/// What one receive may bring, bytes.
const RECEIVE: usize = 256 << 10;
/// The largest record, with its header: RFC 8446 section 5.2.
const RECORD: usize = 5 + 16_384 + 256;

/// Why a connection cannot go on.
#[derive(Debug, Error)]
pub enum Trouble {
    /// A wrong answer.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Socket(#[from] Errno),
    /// Closed too early.
    #[error("the server closed the connection before it had answered")]
    Closed,
    /// More than was asked for.
    #[error("the server sent data that nobody asked for")]
    Unasked,
    /// A connection that was to be held open.
    #[error("the server closed an idle connection")]
    IdleLost,
    /// Nothing happened for too long.
    #[error("nothing was heard from the server for {0} s")]
    Silent(u64),
}

/// Buffers that all connections use, one after the other.
#[derive(Debug)]
pub struct Buffers {
    inbox: Box<[u8]>,
    out: Ciphertext,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { inbox: vec![0; RECORD + RECEIVE].into(), out: Ciphertext::default() }
    }
}

/// What an event says of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ready {
    /// There is something to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The server has sent its end, or the connection failed.
    pub ended: bool,
}

/// What an event brought about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    /// The handshake ended; it was a resumption if `Some(true)`.
    pub established: Option<bool>,
    /// The answer is complete, and right.
    pub answered: Option<Complete>,
    /// The server closed the connection, and nothing was missing.
    pub closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Connecting,
    Handshaking,
    /// No request is on its way.
    Ready,
    /// A request is on its way, or its answer.
    Busy,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    records: Records,
    phase: Phase,
    /// Records that the kernel did not take yet, and how many bytes of them it has taken.
    unsent: (Vec<u8>, usize),
    /// The beginning of a record.
    partial: Vec<u8>,
    outgoing: Outgoing,
    /// Bytes of the request that were encrypted.
    encrypted: usize,
    answer: Answer,
    /// The length of the first answer, for exchanges that compare lengths alone.
    length: Option<usize>,
    /// What latency is measured from.
    pub since: Instant,
    /// When something happened last.
    pub touched: Instant,
}

impl Connection {
    /// Begins to connect.
    ///
    /// # Errors
    /// When the kernel refuses at once.
    pub fn open(
        target: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        buffers: &mut Buffers,
        since: Instant,
    ) -> Result<Self, Trouble> {
        let family = match target.ip() {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let records = Records::connect(config, name, &mut buffers.out)?;
        let unsent = (buffers.out.filled().to_vec(), 0);
        buffers.out.clear();
        Ok(Self {
            socket,
            records,
            phase: Phase::Connecting,
            unsent,
            partial: Vec::new(),
            outgoing: Outgoing::default(),
            encrypted: 0,
            answer: Answer::default(),
            length: None,
            since,
            touched: since,
        })
    }

    /// The request to write before [`Self::begin`].
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Sends what [`Self::outgoing`] holds.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn begin(&mut self, since: Instant, buffers: &mut Buffers) -> Result<(), Trouble> {
        self.phase = Phase::Busy;
        self.encrypted = 0;
        self.since = since;
        self.push(buffers)
    }

    /// Whether something is awaited from the server.
    pub fn is_waiting(&self) -> bool {
        self.phase != Phase::Ready
    }

    /// What was agreed on in the handshake.
    pub fn agreed(&self) -> String {
        self.records.agreed()
    }

    /// Takes an event of the socket.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn handle(&mut self, exchange: Exchange, ready: Ready, buffers: &mut Buffers) -> Result<Happened, Trouble> {
        let mut happened = Happened::default();
        if self.phase == Phase::Connecting {
            sockopt::socket_error(&self.socket)?.map_err(Trouble::Socket)?;
            if !ready.writable {
                return Ok(happened);
            }
            self.phase = Phase::Handshaking;
        }
        if ready.writable {
            self.push(buffers)?;
        }
        if ready.readable || ready.ended {
            self.pull(exchange, ready.ended, &mut happened, buffers)?;
        }
        Ok(happened)
    }

    /// Encrypts and sends as much as the kernel takes.
    fn push(&mut self, buffers: &mut Buffers) -> Result<(), Trouble> {
        loop {
            if self.phase == Phase::Connecting || !self.send(&mut buffers.out)? {
                return Ok(());
            }
            if self.phase != Phase::Busy {
                return Ok(());
            }
            let text = self.outgoing.text.len();
            let piece = if self.encrypted < text {
                &self.outgoing.text[self.encrypted..]
            } else {
                let body = self.outgoing.body.as_ref().map_or(&[][..], |body| &body.bytes);
                &body[(self.encrypted - text).min(body.len())..]
            };
            let piece = &piece[..piece.len().min(SEND_PIECE)];
            if piece.is_empty() {
                return Ok(());
            }
            self.encrypted += piece.len();
            self.records.encrypt(piece, &mut buffers.out)?;
        }
    }

    /// Sends what waits, then what is in `out`, which is empty afterwards. Whether the kernel took it all.
    fn send(&mut self, out: &mut Ciphertext) -> Result<bool, Trouble> {
        let (waiting, taken) = &mut self.unsent;
        while *taken < waiting.len() {
            match rustix::net::send(&self.socket, &waiting[*taken..], SendFlags::NOSIGNAL) {
                Ok(sent) => *taken += sent,
                Err(Errno::AGAIN) => {
                    waiting.extend_from_slice(out.filled());
                    out.clear();
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        waiting.clear();
        *taken = 0;
        let mut sent = 0;
        while sent < out.filled().len() {
            match rustix::net::send(&self.socket, &out.filled()[sent..], SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => {
                    waiting.extend_from_slice(&out.filled()[sent..]);
                    out.clear();
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        out.clear();
        Ok(true)
    }

    /// Reads all that is there, to the end if the server has sent one: only what comes later is told by another event.
    fn pull(
        &mut self,
        exchange: Exchange,
        ended: bool,
        happened: &mut Happened,
        buffers: &mut Buffers,
    ) -> Result<(), Trouble> {
        loop {
            let kept = self.partial.len();
            let Buffers { inbox, out } = buffers;
            inbox[..kept].copy_from_slice(&self.partial);
            let received = match rustix::net::recv(&self.socket, &mut inbox[kept..kept + RECEIVE], RecvFlags::empty()) {
                Ok((_, 0)) => return self.end(happened),
                Ok((_, received)) => received,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                // A server that closes with data unread, or in a hurry. Nothing was missing.
                Err(Errno::CONNRESET) if self.phase == Phase::Ready => return self.end(happened),
                Err(errno) => return Err(errno.into()),
            };
            let total = kept + received;
            let Self { records, answer, outgoing, phase, length, .. } = self;
            let expected = exchange.expected(outgoing, *length);
            let mut sink = |plaintext: &[u8]| {
                if *phase != Phase::Busy || happened.answered.is_some() {
                    return Err(Trouble::Unasked);
                }
                happened.answered = answer.feed(plaintext, expected)?;
                Ok(())
            };
            let used = records.process(&mut inbox[..total], out, &mut sink)?;
            self.partial.clear();
            self.partial.extend_from_slice(&inbox[used..total]);
            if let Some(complete) = happened.answered {
                self.phase = Phase::Ready;
                self.length = Some(complete.body);
            }
            if self.phase == Phase::Handshaking
                && let Some(kind) = self.records.handshake()
            {
                self.phase = Phase::Ready;
                happened.established = Some(kind == rustls::HandshakeKind::Resumed);
            }
            // What ends the handshake goes out together with the request that follows.
            if happened.established.is_none() && !buffers.out.filled().is_empty() {
                self.push(buffers)?;
            }
            if received < RECEIVE && !ended {
                return Ok(());
            }
        }
    }

    fn end(&self, happened: &mut Happened) -> Result<(), Trouble> {
        happened.closed = true;
        if self.phase == Phase::Ready { Ok(()) } else { Err(Trouble::Closed) }
    }

    /// Sends what the handshake left, if no request follows it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn flush(&mut self, buffers: &mut Buffers) -> Result<(), Trouble> {
        self.push(buffers)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
