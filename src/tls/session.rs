//! One TLS session: records in, plaintext out, and back.
//!
//! States: waiting for the ClientHello, open (handshake or application data), failed (an alert may still have to go out).
//! Buffers are bounded by rustls: unread plaintext stops [`Session::ingest`], unsent records stop [`Session::write`].

use std::io::{self, BufRead, Read, Write};

use rustls::server::{Acceptor, ServerConnection};

use super::server::{Acceptance, ServerSetup};
use crate::verdict::Reason;

/// Unsent plaintext and records that rustls may hold for one session, bytes each.
const SEND_LIMIT: usize = 256 * 1024;

/// A fatal `unrecognized_name` alert in a plaintext record (RFC 8446 §5.1, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The application protocol that was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alpn {
    /// HTTP/1.1, also when the client offers no ALPN.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How a handshake ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeKind {
    /// With a certificate.
    Full,
    /// With a ticket.
    Resumed,
}

/// What came of feeding bytes to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ingest {
    /// Bytes taken; fewer than given means that plaintext must be read first.
    pub taken: usize,
    /// The handshake ended with these bytes.
    pub handshake: Option<HandshakeKind>,
    /// The session failed with these bytes; what is left to emit is an alert.
    pub failed: Option<Reason>,
}

/// A server-side TLS session.
pub struct Session {
    state: State,
    peer_closed: bool,
    was_read: bool,
}

enum State {
    Hello(Box<Acceptor>, ServerSetup),
    Open(Box<ServerConnection>),
    Failed(Vec<u8>),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Hello(..) => "hello",
            State::Open(_) => "open",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Session").field("state", &state).field("peer_closed", &self.peer_closed).finish()
    }
}

impl Session {
    /// A session that waits for a ClientHello.
    pub fn new(setup: &ServerSetup) -> Self {
        Self { state: State::Hello(Box::default(), setup.clone()), peer_closed: false, was_read: false }
    }

    /// Takes bytes that arrived on the TCP connection.
    pub fn ingest(&mut self, bytes: &[u8]) -> Ingest {
        let mut rest = bytes;
        let mut outcome = Ingest::default();
        while !rest.is_empty() && outcome.failed.is_none() {
            let before = rest.len();
            match &mut self.state {
                State::Hello(..) => self.ingest_hello(&mut rest, &mut outcome),
                State::Open(connection) => {
                    let handshaking = connection.is_handshaking();
                    let full = read_records(connection, &mut rest, &mut self.peer_closed, &mut outcome);
                    if handshaking && !connection.is_handshaking() {
                        outcome.handshake = Some(handshake_kind(connection));
                    }
                    if full {
                        break;
                    }
                }
                State::Failed(_) => rest = &[],
            }
            if rest.len() == before && !matches!(self.state, State::Open(_)) {
                break;
            }
        }
        outcome.taken = bytes.len() - rest.len();
        outcome
    }

    /// Takes the client's half-close.
    pub fn ingest_eof(&mut self) {
        self.peer_closed = true;
    }

    /// Moves plaintext into `buf`. `Ok(0)` is the end of the client's data.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Open(connection) => match connection.reader().read(buf) {
                Ok(n @ 1..) => {
                    self.was_read = true;
                    Ok(n)
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && self.peer_closed => Ok(0),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
            State::Hello(..) if !self.peer_closed => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(0),
        }
    }

    /// The next piece of plaintext, where rustls has it; [`Session::consume`] says how much of it was used. Empty is the end of
    /// the client's data.
    ///
    /// # Errors
    /// `WouldBlock` when there is none yet.
    pub fn chunk(&mut self) -> io::Result<&[u8]> {
        match &mut self.state {
            State::Open(connection) => match connection.reader().into_first_chunk() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && self.peer_closed => Ok(&[]),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(&[]),
                other => other,
            },
            State::Hello(..) if !self.peer_closed => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(&[]),
        }
    }

    /// Says how much of [`Session::chunk`] was used.
    pub fn consume(&mut self, bytes: usize) {
        if let State::Open(connection) = &mut self.state
            && bytes > 0
        {
            connection.reader().consume(bytes);
            self.was_read = true;
        }
    }

    /// Whether plaintext was read since this was last asked: [`Session::ingest`] may then take more.
    pub fn take_was_read(&mut self) -> bool {
        std::mem::take(&mut self.was_read)
    }

    /// Takes plaintext to send; returns how much was taken, 0 when the session's buffers are full.
    pub fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Open(connection) => connection.writer().write(plaintext),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says that no more plaintext will come: a `close_notify` follows what was written.
    pub fn close(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.send_close_notify();
        }
    }

    /// Gives back what large records took, when no more of them are expected soon. rustls sees to its read buffer only where
    /// it reads, so it is made to, from where nothing is.
    pub fn rest(&mut self) {
        if let State::Open(connection) = &mut self.state {
            // An error is all that can come of it.
            _ = connection.read_tls(&mut Silent);
        }
    }

    /// Whether there are records to emit.
    pub fn wants_emit(&self) -> bool {
        match &self.state {
            State::Hello(..) => false,
            State::Open(connection) => connection.wants_write(),
            State::Failed(alert) => !alert.is_empty(),
        }
    }

    /// Emits records through `send`, which returns how many bytes it took. Returns the bytes emitted.
    pub fn emit(&mut self, send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        match &mut self.state {
            State::Hello(..) => 0,
            State::Open(connection) => {
                let mut sink = Sink { send, taken: 0 };
                while connection.wants_write() {
                    let before = sink.taken;
                    // The sink never fails; 0 means that TCP's buffer is full.
                    if connection.write_tls(&mut sink).is_err() || sink.taken == before {
                        break;
                    }
                }
                sink.taken
            }
            State::Failed(alert) => {
                let taken = send(alert).min(alert.len());
                alert.drain(..taken);
                taken
            }
        }
    }

    /// Whether the handshake is over and data may flow.
    pub fn is_established(&self) -> bool {
        matches!(&self.state, State::Open(connection) if !connection.is_handshaking())
    }

    /// The protocol agreed on; meaningful once established.
    pub fn alpn(&self) -> Alpn {
        match &self.state {
            State::Open(connection) if connection.alpn_protocol() == Some(b"h2") => Alpn::Http2,
            _ => Alpn::Http1,
        }
    }

    fn ingest_hello(&mut self, rest: &mut &[u8], outcome: &mut Ingest) {
        let State::Hello(acceptor, setup) = &mut self.state else { return };
        let accepted = match acceptor.read_tls(rest) {
            Ok(_) => acceptor.accept(),
            Err(_) => {
                outcome.failed = Some(Reason::TlsProtocol);
                self.state = State::Failed(Vec::new());
                return;
            }
        };
        match accepted {
            Ok(None) => {}
            Ok(Some(accepted)) => match setup.accept(&accepted) {
                Acceptance::Serve(config) => match accepted.into_connection(config) {
                    Ok(mut connection) => {
                        connection.set_buffer_limit(Some(SEND_LIMIT));
                        self.state = State::Open(Box::new(connection));
                    }
                    Err((_, alert)) => self.fail_with(alert, outcome),
                },
                Acceptance::UnknownName => {
                    outcome.failed = Some(Reason::TlsUnknownName);
                    self.state = State::Failed(UNRECOGNIZED_NAME.to_vec());
                }
            },
            Err((_, alert)) => self.fail_with(alert, outcome),
        }
    }

    fn fail_with(&mut self, mut alert: rustls::server::AcceptedAlert, outcome: &mut Ingest) {
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        alert.write_all(&mut bytes).unwrap_or_default();
        outcome.failed = Some(Reason::TlsProtocol);
        self.state = State::Failed(bytes);
    }
}

/// Feeds records until `rest` is used up or unread plaintext stops it; returns whether the latter happened.
fn read_records(
    connection: &mut ServerConnection,
    rest: &mut &[u8],
    peer_closed: &mut bool,
    outcome: &mut Ingest,
) -> bool {
    match connection.read_tls(rest) {
        // rustls refuses more while decrypted data waits to be read.
        Err(_) => return true,
        Ok(0) => return true,
        Ok(_) => {}
    }
    match connection.process_new_packets() {
        Ok(state) => *peer_closed |= state.peer_has_closed(),
        // The alert that says so waits in the connection's own buffer: it stays open until that is emitted.
        Err(_) => outcome.failed = Some(Reason::TlsProtocol),
    }
    false
}

fn handshake_kind(connection: &ServerConnection) -> HandshakeKind {
    match connection.handshake_kind() {
        Some(rustls::HandshakeKind::Resumed) => HandshakeKind::Resumed,
        _ => HandshakeKind::Full,
    }
}

/// A source in which nothing is.
struct Silent;

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

struct Sink<'a> {
    send: &'a mut dyn FnMut(&[u8]) -> usize,
    taken: usize,
}

impl Write for Sink<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = (self.send)(buf).min(buf.len());
        self.taken += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
