//! ESP in tunnel mode with AES-256-GCM: one frame sealed or opened in place.
//!
//! Frame layout, which is also the UDP payload (RFC 4303 §2, RFC 4106 §4, RFC 3948 §2.1):
//!
//! ```text
//! | SPI 4 | sequence 4 | IV 8 | inner packet, padding 0..3, pad length 1, next header 1 | ICV 16 |
//! |<-- authenticated ->|      |<------------------- encrypted, authenticated ---------->|
//! ```
//!
//! Sequence numbers are 32 bits and stop before they wrap: 2^32 - 1 frames per SA. Extended sequence numbers are not used:
//! AWS does not document them for Site-to-Site VPN, and a spent SA is a verdict, never a reused nonce. The IV is 32 random
//! bits of this SA's life and the sequence number, so it is unique for the key (RFC 4106 §3.1): within a life because a
//! sequence number is never used twice, and if somebody starts a second life with the same keys, but for one chance in 2^32.
//!
//! Not here: key exchange (SAs are static, [`super::keys`]), fragmentation (the caller drops what does not fit), outer
//! headers (the kernel's).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::keys::SaKeys;
use super::replay::ReplayWindow;
use crate::verdict::Reason;

/// Bytes before the inner packet: SPI, sequence number, IV.
pub const ESP_HEADROOM: usize = 16;
/// Most bytes after the inner packet: padding, pad length, next header, ICV.
pub const ESP_TAILROOM: usize = ALIGNMENT - 1 + TRAILER_MIN + ICV_LEN;
/// The integrity check value, bytes (RFC 4106 §6: the full tag).
pub(super) const ICV_LEN: usize = 16;
/// Pad length and next header.
pub(super) const TRAILER_MIN: usize = 2;
/// The trailer ends on a four-byte boundary (RFC 4303 §2.4).
pub(super) const ALIGNMENT: usize = 4;

/// SPI and sequence number: what GCM authenticates without encrypting (RFC 4106 §5).
const AAD_LEN: usize = 8;
const NEXT_HEADER_IPV4: u8 = 4;
const NEXT_HEADER_IPV6: u8 = 41;
/// A dummy packet for traffic-flow confidentiality (RFC 4303 §2.6).
const NEXT_HEADER_NONE: u8 = 59;

/// The length of the frame that carries an inner packet of `inner_len` bytes.
pub const fn frame_len(inner_len: usize) -> usize {
    ESP_HEADROOM + (inner_len + TRAILER_MIN).next_multiple_of(ALIGNMENT) + ICV_LEN
}

/// What a UDP payload on the tunnel's port is, by its first bytes (RFC 3948 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// One byte 0xFF: a NAT keepalive, to be ignored.
    Keepalive,
    /// Four zero bytes: IKE behind a non-ESP marker. There is no IKE here.
    Ike,
    /// ESP of this SPI.
    Esp(u32),
    /// Too short to be any of them.
    Short,
}

impl FrameKind {
    /// Looks at the first bytes of a UDP payload.
    #[inline]
    pub fn of(payload: &[u8]) -> Self {
        match payload {
            [0xFF] => Self::Keepalive,
            [0, 0, 0, 0, ..] => Self::Ike,
            [a, b, c, d, ..] => Self::Esp(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => Self::Short,
        }
    }
}

/// The sending half of a security association.
#[derive(Debug)]
pub struct OutboundSa {
    cipher: Cipher,
    spi: u32,
    /// The first half of every IV.
    life: u32,
    /// The sequence number used last; 0 before the first frame.
    sequence: u32,
}

impl OutboundSa {
    /// An SA that has sent nothing.
    ///
    /// The keys must be fresh: an SA made twice from the same keys repeats nonces, which gives the traffic away.
    pub fn new(keys: &SaKeys) -> Self {
        Self { cipher: Cipher::new(keys), spi: keys.spi(), life: 0, sequence: 0 }
    }

    /// The same with random bits in its IVs, which keep nonces apart should these keys have been in use before. A second
    /// net, not a licence: a receiver that knows higher sequence numbers takes nothing from an SA that begins again.
    #[must_use]
    pub fn in_life(self, life: u32) -> Self {
        Self { life, ..self }
    }

    /// How many frames this SA has numbered.
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Copies `inner` into `out`, seals it there, and returns the frame's length.
    ///
    /// # Errors
    /// As [`Self::seal_in_place`].
    #[inline]
    pub fn seal(&mut self, inner: &[u8], out: &mut [u8]) -> Result<usize, Reason> {
        let place = out.get_mut(ESP_HEADROOM..ESP_HEADROOM + inner.len()).ok_or(Reason::TunnelMtuExceeded)?;
        place.copy_from_slice(inner);
        self.seal_in_place(out, inner.len())
    }

    /// Seals the inner packet that lies at [`ESP_HEADROOM`] in `buffer`, and returns the frame's length.
    ///
    /// # Errors
    /// [`Reason::TunnelMalformed`] if it is not an IP packet of exactly `inner_len` bytes, [`Reason::TunnelMtuExceeded`]
    /// if the buffer is shorter than [`frame_len`], [`Reason::TunnelSequenceExhausted`] if the SA is spent.
    #[inline]
    pub fn seal_in_place(&mut self, buffer: &mut [u8], inner_len: usize) -> Result<usize, Reason> {
        let len = frame_len(inner_len);
        let frame = buffer.get_mut(..len).ok_or(Reason::TunnelMtuExceeded)?;
        let inner = &frame[ESP_HEADROOM..ESP_HEADROOM + inner_len];
        let next_header = match declared(inner) {
            Some((next_header, declared_len)) if declared_len == inner_len => next_header,
            _ => return Err(Reason::TunnelMalformed),
        };
        let sequence = self.next_sequence()?;

        frame[0..4].copy_from_slice(&self.spi.to_be_bytes());
        frame[4..8].copy_from_slice(&sequence.to_be_bytes());
        frame[8..12].copy_from_slice(&self.life.to_be_bytes());
        frame[12..16].copy_from_slice(&sequence.to_be_bytes());
        let trailer = &mut frame[ESP_HEADROOM + inner_len..len - ICV_LEN];
        let pad_len = trailer.len() - TRAILER_MIN;
        // RFC 4303 §2.4: 1, 2, 3, …, then the pad length, then the next header.
        trailer[..pad_len].copy_from_slice(&[1, 2, 3][..pad_len]);
        trailer[pad_len] = pad_len as u8;
        trailer[pad_len + 1] = next_header;
        self.cipher.seal(frame)?;
        Ok(len)
    }

    /// Uses up one sequence number without a frame: what the receiver sees of a frame lost on the way.
    ///
    /// # Errors
    /// [`Reason::TunnelSequenceExhausted`] if the SA is spent.
    pub fn skip(&mut self) -> Result<(), Reason> {
        self.next_sequence().map(drop)
    }

    #[inline]
    fn next_sequence(&mut self) -> Result<u32, Reason> {
        self.sequence = self.sequence.checked_add(1).ok_or(Reason::TunnelSequenceExhausted)?;
        Ok(self.sequence)
    }
}

/// The receiving half of a security association.
#[derive(Debug)]
pub struct InboundSa {
    cipher: Cipher,
    spi: u32,
    replay: ReplayWindow,
}

impl InboundSa {
    /// An SA that has received nothing, with an anti-replay window of `replay_window` frames.
    pub fn new(keys: &SaKeys, replay_window: u16) -> Self {
        Self { cipher: Cipher::new(keys), spi: keys.spi(), replay: ReplayWindow::new(replay_window) }
    }

    /// The SPI its frames carry.
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// The highest sequence number received; 0 before the first.
    pub const fn highest_sequence(&self) -> u32 {
        self.replay.highest()
    }

    /// Opens `frame` in place and returns the inner packet in it, exactly as long as its IP header says.
    ///
    /// An empty slice is a dummy packet: genuine, to be ignored (RFC 4303 §2.6). What lies in `frame` after a denial is
    /// unspecified.
    ///
    /// # Errors
    /// [`Reason::TunnelUnknownSpi`], [`Reason::TunnelReplay`], [`Reason::TunnelAuthentication`], or
    /// [`Reason::TunnelMalformed`] for a frame whose length or inside does not fit ESP in tunnel mode.
    #[inline]
    pub fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8], Reason> {
        let payload_len =
            frame.len().checked_sub(ESP_HEADROOM + ICV_LEN).filter(|&len| len > 0 && len.is_multiple_of(ALIGNMENT));
        if payload_len.is_none() {
            return Err(Reason::TunnelMalformed);
        }
        let (spi, sequence) = (word(frame, 0), word(frame, 4));
        if spi != self.spi {
            return Err(Reason::TunnelUnknownSpi);
        }
        if !self.replay.admits(sequence) {
            return Err(Reason::TunnelReplay);
        }
        let plain = self.cipher.open(frame)?;
        self.replay.mark(sequence);
        strip(plain)
    }
}

/// Takes the trailer off, and traffic-flow-confidentiality padding beyond the inner packet's own length (RFC 4303 §2.7).
#[inline]
fn strip(plain: &mut [u8]) -> Result<&mut [u8], Reason> {
    let (rest, &[pad_len, next_header]) = plain.split_last_chunk::<TRAILER_MIN>().ok_or(Reason::TunnelMalformed)?;
    let payload_len = rest.len().checked_sub(usize::from(pad_len)).ok_or(Reason::TunnelMalformed)?;
    if !rest[payload_len..].iter().enumerate().all(|(at, &byte)| usize::from(byte) == at + 1) {
        return Err(Reason::TunnelMalformed);
    }
    if next_header == NEXT_HEADER_NONE {
        return Ok(&mut []);
    }
    match declared(&rest[..payload_len]) {
        Some((expected, len)) if expected == next_header && len <= payload_len => Ok(&mut plain[..len]),
        _ => Err(Reason::TunnelMalformed),
    }
}

/// The next header for an IP packet and the length its header declares; `None` if there is no IP header.
#[inline]
fn declared(inner: &[u8]) -> Option<(u8, usize)> {
    match inner.first()? >> 4 {
        4 if inner.len() >= 20 => {
            let len = usize::from(u16::from_be_bytes([inner[2], inner[3]]));
            (len >= 20).then_some((NEXT_HEADER_IPV4, len))
        }
        6 if inner.len() >= 40 => Some((NEXT_HEADER_IPV6, 40 + usize::from(u16::from_be_bytes([inner[4], inner[5]])))),
        _ => None,
    }
}

#[inline]
fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// AES-256-GCM as RFC 4106 uses it: the nonce is the SA's salt and the frame's IV.
struct Cipher {
    key: LessSafeKey,
    salt: [u8; 4],
}

impl Cipher {
    fn new(keys: &SaKeys) -> Self {
        #[expect(clippy::expect_used, reason = "the key's type has the algorithm's length")]
        let key = UnboundKey::new(&AES_256_GCM, keys.key()).expect("a 32-byte key fits AES-256");
        Self { key: LessSafeKey::new(key), salt: *keys.salt() }
    }

    #[inline]
    fn nonce(&self, header: &[u8]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&header[AAD_LEN..ESP_HEADROOM]);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts what lies between header and ICV, and writes the ICV.
    #[inline]
    fn seal(&self, frame: &mut [u8]) -> Result<(), Reason> {
        let (header, rest) = frame.split_at_mut(ESP_HEADROOM);
        let (plain, icv) = rest.split_at_mut(rest.len() - ICV_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(header), Aad::from(&header[..AAD_LEN]), plain)
            // The only thing that GCM refuses to seal is more than 2^36 bytes.
            .map_err(|_| Reason::TunnelMtuExceeded)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Checks the ICV and decrypts what lies between header and ICV.
    #[inline]
    fn open<'a>(&self, frame: &'a mut [u8]) -> Result<&'a mut [u8], Reason> {
        let (header, rest) = frame.split_at_mut(ESP_HEADROOM);
        self.key
            .open_in_place(self.nonce(header), Aad::from(&header[..AAD_LEN]), rest)
            .map_err(|_| Reason::TunnelAuthentication)
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AES-256-GCM")
    }
}

#[cfg(test)]
mod tests;
