//! A body in the chunked coding, cut in three: the first two bytes say where. However it is cut, it comes to the same; and its
//! data, emitted again, is read as the same data.
#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use vpce::http::chunked::{CHUNK_END, ChunkError, ChunkHeader, ChunkedDecoder, LAST_CHUNK, Piece};

fuzz_target!(|data: &[u8]| {
    let [first, second, body @ ..] = data else { return };
    let place = |cut: u8| usize::from(cut) * body.len() / 256;
    let (from, to) = (place(*first.min(second)), place(*first.max(second)));
    let whole = decode(&[body]);
    assert_eq!(decode(&[&body[..from], &body[from..to], &body[to..]]), whole);
    let Ok((data, Some(consumed))) = whole else { return };
    assert!(data.len() + LAST_CHUNK.len() <= consumed && consumed <= body.len());
    let mut emitted = Vec::new();
    if let Some(len) = NonZeroUsize::new(data.len()) {
        emitted.extend_from_slice(ChunkHeader::new(len).as_bytes());
        emitted.extend_from_slice(&data);
        emitted.extend_from_slice(CHUNK_END);
    }
    emitted.extend_from_slice(LAST_CHUNK);
    assert_eq!(decode(&[&emitted]), Ok((data, Some(emitted.len()))));
});

/// The data, and how many bytes were consumed if the body is complete.
fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut data, mut consumed) = (Vec::new(), 0);
    for mut input in pieces.iter().copied() {
        loop {
            let decoded = decoder.decode(input)?;
            assert!(decoded.consumed <= input.len());
            consumed += decoded.consumed;
            match decoded.piece {
                Piece::Data(range) => {
                    assert!(!range.is_empty() && range.end == decoded.consumed);
                    data.extend_from_slice(&input[range]);
                    input = &input[decoded.consumed..];
                }
                Piece::NeedMore => {
                    assert_eq!(decoded.consumed, input.len());
                    break;
                }
                Piece::End => {
                    for (name, value) in decoder.trailers().iter() {
                        assert!(!name.is_empty() && !value.contains(&b'\r') && !value.contains(&b'\n'));
                    }
                    return Ok((data, Some(consumed)));
                }
            }
        }
    }
    Ok((data, None))
}
