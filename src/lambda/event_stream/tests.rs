use super::*;

/// A decoded message: headers and payload.
pub(crate) type Message = (Vec<(String, String)>, Vec<u8>);

/// An independent, plain reading of the format; panics on anything wrong.
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<Message> {
    let word = |b: &[u8], at: usize| u32::from_be_bytes(b[at..at + 4].try_into().unwrap());
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let total = word(bytes, 0) as usize;
        let headers_len = word(bytes, 4) as usize;
        assert_eq!(word(bytes, 8), crc32fast::hash(&bytes[..8]), "prelude checksum");
        let (message, rest) = bytes.split_at(total);
        assert_eq!(word(message, total - 4), crc32fast::hash(&message[..total - 4]), "message checksum");
        let mut headers = &message[12..12 + headers_len];
        let mut found = Vec::new();
        while let [name_len, tail @ ..] = headers {
            let (name, tail) = tail.split_at(usize::from(*name_len));
            assert_eq!(tail[0], 7, "string header");
            let value_len = usize::from(u16::from_be_bytes([tail[1], tail[2]]));
            let (value, tail) = tail[3..].split_at(value_len);
            found.push((String::from_utf8(name.to_vec()).unwrap(), String::from_utf8(value.to_vec()).unwrap()));
            headers = tail;
        }
        messages.push((found, message[12 + headers_len..total - 4].to_vec()));
        bytes = rest;
    }
    messages
}

/// The `:event-type` or `:exception-type` of a message.
pub(crate) fn kind(message: &Message) -> &str {
    &message.0[0].1
}

/// Bytes that botocore 1.44.5's EventStreamBuffer parsed to PayloadChunk `hello` and InvokeComplete with LogResult `bG9n`.
const FIXTURE: &[u8] = include_bytes!("hello.eventstream");

#[test]
fn the_bytes_that_botocore_parsed_are_the_bytes_emitted() {
    let complete = InvokeComplete { log_result: Some("bG9n".into()), ..InvokeComplete::default() };
    assert_eq!(emit_all(b"hello", &complete), FIXTURE);
}

#[test]
fn messages_decode_to_what_went_in() {
    let mut out = BytesMut::new();
    emit_payload(&mut out, b"{\"a\":1}");
    emit_complete(
        &mut out,
        &InvokeComplete {
            error_code: Some("Runtime.ExitError".into()),
            error_details: Some("{\"errorMessage\":\"\\\"\"}".into()),
            log_result: None,
        },
    );
    emit_exception(&mut out, "ServiceException", b"{}");
    let messages = decode(&out);
    let header = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(
        messages[0],
        (
            vec![
                header(":event-type", "PayloadChunk"),
                header(":content-type", "application/octet-stream"),
                header(":message-type", "event")
            ],
            b"{\"a\":1}".to_vec()
        )
    );
    assert_eq!(kind(&messages[1]), "InvokeComplete");
    let complete: serde_json::Value = serde_json::from_slice(&messages[1].1).unwrap();
    assert_eq!(
        complete,
        serde_json::json!({"ErrorCode": "Runtime.ExitError", "ErrorDetails": "{\"errorMessage\":\"\\\"\"}"})
    );
    assert_eq!(messages[2].0[0], header(":exception-type", "ServiceException"));
    assert_eq!(messages[2].0[2], header(":message-type", "exception"));
}

#[test]
fn a_large_piece_becomes_several_chunks_and_an_empty_one_none() {
    let payload = vec![7; 2 * CHUNK_MAX + 1];
    let messages = decode(&emit_all(&payload, &InvokeComplete::default()));
    assert_eq!(messages.len(), 4);
    let joined: Vec<u8> = messages[..3].iter().flat_map(|message| message.1.clone()).collect();
    assert_eq!(joined, payload);
    let messages = decode(&emit_all(b"", &InvokeComplete::default()));
    assert_eq!((messages.len(), kind(&messages[0]), messages[0].1.as_slice()), (1, "InvokeComplete", b"{}".as_slice()));
}
