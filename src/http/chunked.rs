//! The chunked transfer coding (RFC 9112 §7.1), decoded as it comes.
//!
//! [`ChunkedDecoder`] is given slices, cut anywhere, and says which part of each is data; it copies nothing and looks at each
//! byte of the framing once. It is strict where leniency has been used to smuggle requests: lines end in CR LF and nothing
//! else, a size is hexadecimal digits and nothing else, no line is folded. An extension is skipped, as RFC 9112 §7.1.1 wants.
//!
//! Limits: [`SIZE_DIGITS_MAX`], [`EXTENSIONS_MAX`], [`TRAILERS_MAX`], [`TRAILER_FIELDS_MAX`]. The length of the whole body
//! is its reader's business.

use std::num::NonZeroUsize;
use std::ops::Range;

/// Digits of a chunk's size at most, leading zeros among them: any such size is a `u64`.
pub const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of all chunk extensions of one body at most.
pub const EXTENSIONS_MAX: u16 = 4 * 1024;
/// Bytes of the trailer section at most, its last line left out.
pub const TRAILERS_MAX: usize = 16 * 1024;
/// Fields of the trailer section at most.
pub const TRAILER_FIELDS_MAX: u8 = 64;

/// Ends a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What [`ChunkedDecoder::decode`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Bytes of the input that are dealt with, the data among them. Give it the rest next.
    pub consumed: usize,
    /// What they were.
    pub piece: Piece,
}

/// A piece of a chunked body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Data: these bytes of the input, at least one.
    Data(Range<usize>),
    /// All of the input was framing; more is to come.
    NeedMore,
    /// The body and its trailers are complete. What follows in the input belongs to the next message.
    End,
}

/// Why a body cannot be read. Its connection cannot be used any more: where the next message begins is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum ChunkError {
    /// A size that is no hexadecimal number, or too long.
    #[error("a chunk's size is not a hexadecimal number of at most {SIZE_DIGITS_MAX} digits")]
    Size,
    /// An extension with a control character, or too many of them.
    #[error("a chunk's extension has a control character, or the body has more than {EXTENSIONS_MAX} bytes of them")]
    Extension,
    /// A line that does not end in CR LF, or data that goes on after its chunk.
    #[error("a chunk does not end in CR LF")]
    LineEnd,
    /// A trailer field that is none.
    #[error("a trailer field is malformed")]
    Trailer,
    /// Too many trailer fields, or too long ones.
    #[error("the trailer section has more than {TRAILER_FIELDS_MAX} fields or {TRAILERS_MAX} bytes")]
    TrailersTooLarge,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// So many digits of a size were read.
    Size(u8),
    Extension,
    /// LF after a size.
    SizeEnd,
    Data,
    /// CR after data.
    DataCr,
    /// LF after data.
    DataEnd,
    /// The first byte of a trailer field, or of the line that ends them.
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// LF after a trailer field.
    TrailerEnd,
    /// LF of the last line.
    LastLine,
    End,
}

/// Decodes one body.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The size that is read, then what is left of the chunk.
    left: u64,
    /// Bytes of extensions so far.
    extensions: u16,
    trailers: Trailers,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size(0), left: 0, extensions: 0, trailers: Trailers::default() }
    }
}

impl ChunkedDecoder {
    /// Looks at `input`, which begins where the last call ended, up to the next piece of data or the end of the body. After
    /// the end nothing more is consumed.
    ///
    /// # Errors
    /// [`ChunkError`]; the decoder is then not to be used again.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, ChunkError> {
        let mut at = 0;
        while self.state != State::End {
            if self.state == State::Data {
                let Some(rest) = input.len().checked_sub(at).filter(|rest| *rest > 0) else { break };
                let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
                self.left -= len as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Decoded { consumed: at + len, piece: Piece::Data(at..at + len) });
            }
            let Some(&byte) = input.get(at) else { break };
            self.state = self.framing(byte)?;
            at += 1;
        }
        let piece = if self.state == State::End { Piece::End } else { Piece::NeedMore };
        Ok(Decoded { consumed: at, piece })
    }

    /// Whether the body and its trailers are complete.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// The trailer fields, once the body is complete.
    pub fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    /// The state after one byte of framing.
    fn framing(&mut self, byte: u8) -> Result<State, ChunkError> {
        Ok(match (self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..) | State::Extension, b'\r') => State::SizeEnd,
            (State::Size(1..), b';') => self.extension()?,
            (State::Size(_), _) => return Err(ChunkError::Size),
            (State::Extension, byte) if is_text(byte) => self.extension()?,
            (State::Extension, _) => return Err(ChunkError::Extension),
            (State::SizeEnd, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => {
                self.left = 0;
                State::Size(0)
            }
            (State::TrailerStart, b'\r') => State::LastLine,
            (State::TrailerStart, byte) if is_token(byte) => {
                self.trailers.begin_field()?;
                self.trailer(byte, State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailer(byte, State::TrailerValue)?,
            (State::TrailerName, byte) if is_token(byte) => self.trailer(byte, State::TrailerName)?,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, byte) if is_text(byte) => self.trailer(byte, State::TrailerValue)?,
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => return Err(ChunkError::Trailer),
            (State::TrailerEnd, b'\n') => self.trailer(byte, State::TrailerStart)?,
            (State::LastLine, b'\n') => State::End,
            (State::SizeEnd | State::DataCr | State::DataEnd | State::TrailerEnd | State::LastLine, _) => {
                return Err(ChunkError::LineEnd);
            }
            // `decode` deals with these.
            (State::Data | State::End, _) => self.state,
        })
    }

    fn extension(&mut self) -> Result<State, ChunkError> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS_MAX { Err(ChunkError::Extension) } else { Ok(State::Extension) }
    }

    fn trailer(&mut self, byte: u8, next: State) -> Result<State, ChunkError> {
        self.trailers.push(byte)?;
        Ok(next)
    }
}

/// Visible, a space, a tab, or beyond ASCII (RFC 9110 §5.5).
const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// A character of a name (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// The fields after a body. A body without any costs no memory.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Trailers {
    /// `name:value` and LF, each as it came.
    lines: Vec<u8>,
    fields: u8,
}

impl Trailers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Names as they came and values without the white space around them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.split(|byte| *byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The value of the first field of this name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn begin_field(&mut self) -> Result<(), ChunkError> {
        if self.fields >= TRAILER_FIELDS_MAX {
            return Err(ChunkError::TrailersTooLarge);
        }
        self.fields += 1;
        Ok(())
    }

    fn push(&mut self, byte: u8) -> Result<(), ChunkError> {
        if self.lines.len() >= TRAILERS_MAX {
            return Err(ChunkError::TrailersTooLarge);
        }
        self.lines.push(byte);
        Ok(())
    }
}

/// The line before a chunk's data, made without an allocation. After the data comes [`CHUNK_END`], after the last chunk
/// [`LAST_CHUNK`].
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    bytes: [u8; Self::LEN_MAX],
    start: u8,
}

impl ChunkHeader {
    /// Bytes of a header at most.
    pub const LEN_MAX: usize = 2 * size_of::<usize>() + CHUNK_END.len();

    /// For so many bytes of data; a chunk of none would end the body.
    #[inline]
    pub fn new(len: NonZeroUsize) -> Self {
        let mut bytes = [0; Self::LEN_MAX];
        let mut start = Self::LEN_MAX - CHUNK_END.len();
        bytes[start..].copy_from_slice(CHUNK_END);
        let mut rest = len.get();
        while rest > 0 {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[rest & 0xf];
            rest >>= 4;
        }
        Self { bytes, start: start as u8 }
    }

    /// As sent.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

#[cfg(test)]
mod tests;
