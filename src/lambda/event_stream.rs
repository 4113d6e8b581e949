//! `application/vnd.amazon.eventstream`: the framing of streamed answers.
//!
//! A message is total length, headers length, CRC-32 of those eight bytes, headers, payload, CRC-32 of all before; numbers
//! are big-endian. A header is name length (1 byte), name, type 7 (string), value length (2 bytes), value. The order of the
//! headers on AWS's wire is not known; clients look them up by name.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// `Content-Type` of a stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Largest payload put into one message; a larger chunk becomes several. Clients limit messages to 16 MiB or more.
pub const CHUNK_MAX: usize = 256 * 1024;

const STRING: u8 = 7;
/// Lengths and their checksum, and the checksum at the end.
const OVERHEAD: usize = 16;

/// What the last event of a stream says; members that are `None` are left out.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InvokeComplete {
    /// The error's type, if the function failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The error's JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_details: Option<String>,
    /// The log's tail, base64, if the caller asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_result: Option<String>,
}

/// Emits a piece of the function's answer as one or more `PayloadChunk` events.
pub fn emit_payload(out: &mut BytesMut, payload: &[u8]) {
    for piece in payload.chunks(CHUNK_MAX) {
        let headers = [
            (":event-type", "PayloadChunk"),
            (":content-type", "application/octet-stream"),
            (":message-type", "event"),
        ];
        emit_message(out, &headers, piece);
    }
}

/// Emits the event that ends a stream.
pub fn emit_complete(out: &mut BytesMut, complete: &InvokeComplete) {
    // A struct of strings always serializes; an empty object would still end the stream.
    let json = serde_json::to_vec(complete).unwrap_or_else(|_| b"{}".to_vec());
    let headers =
        [(":event-type", "InvokeComplete"), (":content-type", "application/json"), (":message-type", "event")];
    emit_message(out, &headers, &json);
}

/// Emits an exception, which ends a stream that our side broke off.
pub fn emit_exception(out: &mut BytesMut, exception: &str, json: &[u8]) {
    let headers =
        [(":exception-type", exception), (":content-type", "application/json"), (":message-type", "exception")];
    emit_message(out, &headers, json);
}

/// A whole stream for an answer that is there at once.
pub fn emit_all(payload: &[u8], complete: &InvokeComplete) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 512);
    emit_payload(&mut out, payload);
    emit_complete(&mut out, complete);
    out.freeze()
}

fn emit_message(out: &mut BytesMut, headers: &[(&str, &str)], payload: &[u8]) {
    let start = out.len();
    let headers_len: usize = headers.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let total = OVERHEAD + headers_len + payload.len();
    out.reserve(total);
    // Pieces are at most CHUNK_MAX; error details are bounded by the payload limit. Both fit 32 bits.
    out.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(headers_len).unwrap_or(u32::MAX));
    out.put_u32(crc32fast::hash(&out[start..]));
    for (name, value) in headers {
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
        out.put_u8(STRING);
        out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out[start..]));
}

#[cfg(test)]
pub(crate) mod tests;
