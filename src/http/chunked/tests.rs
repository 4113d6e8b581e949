use proptest::prelude::*;

use super::*;

type Fields = Vec<(String, String)>;
/// Data, trailers, and how many bytes were consumed.
type Outcome = Result<(Vec<u8>, Fields, usize), ChunkError>;

/// Decodes what arrives in pieces. `None` if it is not complete.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Outcome> {
    let mut decoder = ChunkedDecoder::default();
    let (mut data, mut consumed) = (Vec::new(), 0);
    for mut input in pieces {
        loop {
            let decoded = match decoder.decode(input) {
                Ok(decoded) => decoded,
                Err(error) => return Some(Err(error)),
            };
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
                    assert!(decoder.is_end());
                    assert_eq!(decoder.decode(b"5"), Ok(Decoded { consumed: 0, piece: Piece::End }));
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let fields = decoder.trailers().iter().map(|(name, value)| (text(name), text(value))).collect();
                    return Some(Ok((data, fields, consumed)));
                }
            }
        }
    }
    assert!(!decoder.is_end());
    None
}

/// Decodes at once, byte by byte, and cut in two at every place: the outcome is always the same.
fn decoded(input: &[u8]) -> Option<Outcome> {
    let outcome = decode([input]);
    assert_eq!(decode(input.chunks(1)), outcome, "byte by byte: {:?}", input.escape_ascii().to_string());
    for at in 0..=input.len().min(200) {
        let (first, second) = input.split_at(at);
        assert_eq!(decode([first, second]), outcome, "cut at {at}: {:?}", input.escape_ascii().to_string());
    }
    outcome
}

#[test]
fn bodies_are_read_to_their_end_and_no_further() {
    type Case = (&'static [u8], &'static [u8], &'static [(&'static str, &'static str)]);
    let table: &[Case] = &[
        (b"0\r\n\r\n", b"", &[]),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", &[]),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", &[]),
        (b"0005\r\nhello\r\n0000000000000000\r\n\r\n", b"hello", &[]),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", &[]),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", &[]),
        (b"5;name\r\nhello\r\n0;a=\"b c\"\r\n\r\n", b"hello", &[]),
        (b"1;\x80\t \r\nx\r\n0\r\n\r\n", b"x", &[]),
        (b"0\r\nA: b\r\n\r\n", b"", &[("A", "b")]),
        (
            b"0\r\nx-a:1\r\nX-B: \t two words \t\r\nx-c:\r\n\r\n",
            b"",
            &[("x-a", "1"), ("X-B", "two words"), ("x-c", "")],
        ),
        (b"0\r\nx: a:b\r\n\r\n", b"", &[("x", "a:b")]),
    ];
    for (input, data, trailers) in table {
        let trailers: Fields = trailers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let expected = Some(Ok((data.to_vec(), trailers, input.len())));
        assert_eq!(decoded(input), expected, "{}", input.escape_ascii());
        let next = [input, &b"HTTP/1.1 200 OK\r\n"[..]].concat();
        assert_eq!(decoded(&next), expected, "with another message behind: {}", input.escape_ascii());
        for end in 0..input.len() {
            assert_eq!(decode([&input[..end]]), None, "cut off at {end}: {}", input.escape_ascii());
        }
    }
}

#[test]
fn what_others_read_in_different_ways_is_refused() {
    use ChunkError::{Extension, LineEnd, Size, Trailer};
    let table: &[(&[u8], ChunkError)] = &[
        // sizes
        (b"\r\n", Size),
        (b";x\r\n", Size),
        (b" 5\r\nhello", Size),
        (b"5 \r\nhello", Size),
        (b"5\t;x\r\nhello", Size),
        (b"+5\r\nhello", Size),
        (b"-1\r\n", Size),
        (b"0x5\r\nhello", Size),
        (b"5_0\r\n", Size),
        (b"5,5\r\n", Size),
        (b"g\r\n", Size),
        (b"\xb5\r\n", Size),
        (b"00000000000000005\r\nhello", Size),
        (b"10000000000000000\r\n", Size),
        (b"ffffffffffffffff0\r\n", Size),
        (b"5\0\r\nhello", Size),
        // line ends
        (b"5\nhello\n0\n\n", Size),
        (b"5\rhello", LineEnd),
        (b"5\r\rhello", LineEnd),
        (b"5\r\nhello\n0\r\n\r\n", LineEnd),
        (b"5\r\nhello0\r\n\r\n", LineEnd),
        (b"5\r\nhello\rX", LineEnd),
        (b"5\r\nhello!\r\n0\r\n\r\n", LineEnd),
        (b"4\r\nhello\r\n0\r\n\r\n", LineEnd),
        (b"0\r\n\rX", LineEnd),
        (b"0\r\na: b\r\r\n", LineEnd),
        (b"0\r\na: b\rc: d\r\n\r\n", LineEnd),
        // extensions
        (b"5;a\nhello", Extension),
        (b"5;a\0\r\nhello", Extension),
        (b"5;a\x7f\r\nhello", Extension),
        // trailers
        (b"0\r\n\n", Trailer),
        (b"0\r\n folded\r\n\r\n", Trailer),
        (b"0\r\na: b\r\n c\r\n\r\n", Trailer),
        (b"0\r\n: b\r\n\r\n", Trailer),
        (b"0\r\na : b\r\n\r\n", Trailer),
        (b"0\r\nab\r\n\r\n", Trailer),
        (b"0\r\na: b\n\r\n", Trailer),
        (b"0\r\na: \0\r\n\r\n", Trailer),
        (b"0\r\n\xe9: b\r\n\r\n", Trailer),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", Trailer),
    ];
    for (input, error) in table {
        assert_eq!(decoded(input), Some(Err(*error)), "{}", input.escape_ascii());
    }
}

#[test]
fn a_size_of_all_digits_is_a_number_and_its_data_is_taken_as_it_comes() {
    let mut decoder = ChunkedDecoder::default();
    let decoded = decoder.decode(b"fffffffffffffffF\r\nabc").unwrap();
    assert_eq!(decoded, Decoded { consumed: 21, piece: Piece::Data(18..21) });
    let decoded = decoder.decode(b"def").unwrap();
    assert_eq!(decoded, Decoded { consumed: 3, piece: Piece::Data(0..3) });
}

#[test]
fn limits_are_kept_to_the_byte() {
    let extension = |len: u16| [b"1;", "x".repeat(usize::from(len) - 1).as_bytes(), b"\r\n."].concat();
    assert_eq!(decode([&extension(EXTENSIONS_MAX)[..]]), None);
    assert_eq!(decode([&extension(EXTENSIONS_MAX + 1)[..]]), Some(Err(ChunkError::Extension)));
    let many = b"1;abc\r\n.\r\n".repeat(usize::from(EXTENSIONS_MAX) / 4);
    assert_eq!(decode([&many[..]]), None, "all together");
    assert_eq!(decode([&many[..], b"1;"]), Some(Err(ChunkError::Extension)));

    let fields = |count: u8| [b"0\r\n", "a:\r\n".repeat(usize::from(count)).as_bytes(), b"\r\n"].concat();
    let read = decode([&fields(TRAILER_FIELDS_MAX)[..]]).unwrap().unwrap();
    assert_eq!(read.1.len(), usize::from(TRAILER_FIELDS_MAX));
    assert_eq!(decode([&fields(TRAILER_FIELDS_MAX + 1)[..]]), Some(Err(ChunkError::TrailersTooLarge)));

    // The colon, and an LF for the line's end.
    let section = |len: usize| [b"0\r\na:", "b".repeat(len - 3).as_bytes(), b"\r\n\r\n"].concat();
    let read = decode([&section(TRAILERS_MAX)[..]]).unwrap().unwrap();
    assert_eq!(read.1[0].1.len(), TRAILERS_MAX - 3);
    assert_eq!(decode([&section(TRAILERS_MAX + 1)[..]]), Some(Err(ChunkError::TrailersTooLarge)));
}

#[test]
fn a_trailer_is_found_by_name_whatever_its_case_and_the_first_counts() {
    let mut decoder = ChunkedDecoder::default();
    assert!(decoder.trailers().is_empty());
    decoder.decode(b"0\r\nX-End: one\r\nx-end: two\r\n\r\n").unwrap();
    assert_eq!(decoder.trailers().get("x-eND"), Some(&b"one"[..]));
    assert_eq!((decoder.trailers().get("x-en"), decoder.trailers().is_empty()), (None, false));
}

#[test]
fn headers_are_lower_case_hexadecimal_without_zeros_in_front() {
    for len in [1, 9, 10, 15, 16, 255, 4_096, 0xdead_beef, usize::MAX] {
        let header = ChunkHeader::new(NonZeroUsize::new(len).unwrap());
        assert_eq!(header.as_bytes(), format!("{len:x}\r\n").as_bytes());
    }
}

proptest! {
    #[test]
    fn what_was_emitted_is_decoded_however_it_is_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut emitted = Vec::new();
        for chunk in &chunks {
            emitted.extend_from_slice(ChunkHeader::new(NonZeroUsize::new(chunk.len()).unwrap()).as_bytes());
            emitted.extend_from_slice(chunk);
            emitted.extend_from_slice(CHUNK_END);
        }
        emitted.extend_from_slice(LAST_CHUNK);
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(emitted.len() + 1)).chain([0, emitted.len()]).collect();
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &emitted[pair[0]..pair[1]]);
        prop_assert_eq!(decode(pieces), Some(Ok((chunks.concat(), Vec::new(), emitted.len()))));
    }

    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        input in prop::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b'f'), Just(b';'), Just(b':'), Just(b'a'), Just(b' '), any::<u8>()
        ], 0..40),
    ) {
        decoded(&input);
    }
}
