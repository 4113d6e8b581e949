//! TLS records in memory: what the socket gave goes in, what it is to get comes out, and nothing is copied between.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use std::sync::Arc;

use thiserror::Error;

/// Why a TLS session ended.
#[derive(Debug, Error)]
pub enum TlsFault {
    /// What rustls says.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// Something in the wrong order.
    #[error("TLS: {0}")]
    State(&'static str),
}

/// Bytes on their way to a socket: a buffer that grows but is never cleared with zeros again.
#[derive(Debug, Default)]
pub struct Ciphertext {
    bytes: Vec<u8>,
    len: usize,
}

impl Ciphertext {
    /// What is in it.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Lets `write` append at least `room` bytes; it says how many it wrote, or how many it needs.
    fn append<E>(
        &mut self,
        room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Appending<E>>,
    ) -> Result<(), E> {
        let mut needed = room;
        loop {
            if self.bytes.len() < self.len + needed {
                self.bytes.resize(self.len + needed, 0);
            }
            match write(&mut self.bytes[self.len..]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(Appending::Needs(more)) => needed = more,
                Err(Appending::Failed(error)) => return Err(error),
            }
        }
    }
}

enum Appending<E> {
    Needs(usize),
    Failed(E),
}

impl<E> From<InsufficientSizeError> for Appending<E> {
    fn from(error: InsufficientSizeError) -> Self {
        Self::Needs(error.required_size)
    }
}

/// A client's TLS session.
pub struct Records {
    connection: UnbufferedClientConnection,
    peer_closed: bool,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("peer_closed", &self.peer_closed).finish_non_exhaustive()
    }
}

impl Records {
    /// A session with the server called `name`, and its first flight in `out`.
    ///
    /// # Errors
    /// When rustls refuses the configuration.
    pub fn connect(
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        out: &mut Ciphertext,
    ) -> Result<Self, TlsFault> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name.clone())?;
        let mut records = Self { connection, peer_closed: false };
        records.process(&mut [], out, &mut |_: &[u8]| Ok::<(), TlsFault>(()))?;
        Ok(records)
    }

    /// Takes records from the front of `input` and says how many bytes it used; the rest is part of a record. Plaintext
    /// goes to `sink`, what has to be answered is appended to `out`.
    ///
    /// # Errors
    /// When the session fails, or what `sink` says.
    pub fn process<E: From<TlsFault>>(
        &mut self,
        input: &mut [u8],
        out: &mut Ciphertext,
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[used..]);
            let state = state.map_err(|error| E::from(error.into()))?;
            let mut rests = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| E::from(error.into()))?;
                        discard += record.discard;
                        sink(record.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => out
                    .append(512, |room| match data.encode(room) {
                        Ok(written) => Ok(written),
                        Err(EncodeError::InsufficientSize(size)) => Err(size.into()),
                        Err(EncodeError::AlreadyEncoded) => {
                            Err(Appending::Failed(TlsFault::State("a record was encoded twice")))
                        }
                    })
                    .map_err(E::from)?,
                // It is in `out`, which is sent before anything else.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed => {
                    rests = true;
                }
                _ => return Err(TlsFault::State("early data at a client").into()),
            }
            used += discard;
            if rests {
                return Ok(used);
            }
        }
    }

    /// Appends records that hold `plaintext`.
    ///
    /// # Errors
    /// Before the handshake is over, or when the keys are used up.
    pub fn encrypt(&mut self, plaintext: &[u8], out: &mut Ciphertext) -> Result<(), TlsFault> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(TlsFault::State("nothing can be sent in this state"));
        };
        encrypt(&mut traffic, plaintext, out)
    }

    /// How the handshake was, once it is over.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        if self.connection.is_handshaking() { None } else { self.connection.handshake_kind() }
    }

    /// What was agreed on: `TLSv1_3 TLS13_AES_128_GCM_SHA256 X25519`.
    pub fn agreed(&self) -> String {
        let version = self.connection.protocol_version().map(|version| format!("{version:?}"));
        let suite = self.connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let group = self.connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        [version, suite, group].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Whether the server said that nothing more will come.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }
}

fn encrypt(
    traffic: &mut rustls::unbuffered::WriteTraffic<'_, ClientConnectionData>,
    plaintext: &[u8],
    out: &mut Ciphertext,
) -> Result<(), TlsFault> {
    // A record's header, type and tag take less than 64 bytes, and a record holds 16 KiB: RFC 8446 section 5.
    let room = plaintext.len() + 64 * (1 + plaintext.len() / 16_384);
    out.append(room, |room| match traffic.encrypt(plaintext, room) {
        Ok(written) => Ok(written),
        Err(EncryptError::InsufficientSize(size)) => Err(size.into()),
        Err(EncryptError::EncryptExhausted) => Err(Appending::Failed(TlsFault::State("the keys are used up"))),
    })
}
