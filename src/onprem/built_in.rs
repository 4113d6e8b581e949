//! Functions that need no process: what the lab measures itself with.
//!
//! | `builtin` | event | answer |
//! | --- | --- | --- |
//! | `echo` | anything | the same |
//! | `sink` | anything | `{"bytes":N,"crc32":"8 hexadecimal digits"}`: how much came, and CRC-32 (IEEE) of it |
//! | `source` | `{"bytes":N}`, N from 2 to the largest answer | a JSON string of N bytes, quotes included, whose content is [`pattern`] |

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::invocation::{EXECUTED_VERSION, REQUEST_ID, ReplyBody, json_response};
use super::lock;
use super::log_tail::{LogTail, Report};
use super::pool::Tally;
use super::request::{read_payload, request_id, wants_tail};
use crate::config::{Code, Function};
use crate::lambda::host::{FUNCTION_ERROR, LOG_RESULT};

/// The period of [`pattern`], bytes.
pub const PERIOD: usize = 4096;

/// The event of `source`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    bytes: usize,
}

/// Carries an invocation of `function` out.
pub(super) async fn serve(
    function: &Function,
    tally: &Tally,
    version: String,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let tail = wants_tail(&request).then(Instant::now);
    let id = match request_id(&request) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let payload = match read_payload(request.into_body()).await {
        Ok(payload) => payload,
        Err(refusal) => return *refusal,
    };
    tally.invocations.fetch_add(1, Ordering::Relaxed);
    let mut response = match answer(&function.code, payload) {
        Ok(answer) => json_response(StatusCode::OK, answer),
        Err(error) => {
            let mut response = json_response(StatusCode::OK, error);
            response.headers_mut().insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
            response
        }
    };
    let headers = response.headers_mut();
    if let Some(since) = tail {
        let mut log = LogTail::default();
        log.start(&id, &version);
        log.end(&Report {
            request_id: &id,
            duration: since.elapsed(),
            memory_mb: function.memory_mb,
            // There is no process whose memory could be measured.
            max_memory_mb: 0,
            init: None,
            status: None,
        });
        if let Ok(log) = HeaderValue::try_from(BASE64.encode(log.tail())) {
            headers.insert(LOG_RESULT, log);
        }
    }
    if let Ok(version) = HeaderValue::try_from(version) {
        headers.insert(EXECUTED_VERSION, version);
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The answer of the built-in function `code` to `event`.
///
/// # Errors
/// As functions err: the JSON of an error that was raised.
fn answer(code: &Code, event: Bytes) -> Result<Bytes, Bytes> {
    match code {
        Code::Sink => {
            let crc = crc32fast::hash(&event);
            Ok(format!("{{\"bytes\":{},\"crc32\":\"{crc:08x}\"}}", event.len()).into())
        }
        Code::Source => {
            let wanted = serde_json::from_slice::<Wanted>(&event).ok().map(|wanted| wanted.bytes);
            let most = crate::lambda::respond::RESPONSE_MAX;
            let wanted = wanted.filter(|bytes| (2..=most).contains(bytes));
            wanted.map(text).ok_or_else(|| {
                let message = format!("the event is to be {{\"bytes\":N}}, with N from 2 to {most}");
                json!({ "errorMessage": message, "errorType": "ValueError" }).to_string().into()
            })
        }
        _ => Ok(event),
    }
}

/// A JSON string of `length` bytes. The last one is kept: who asks for one asks again.
pub fn text(length: usize) -> Bytes {
    static LAST: Mutex<Bytes> = Mutex::new(Bytes::new());
    let mut last = lock(&LAST);
    if last.len() != length {
        let content = pattern().take(length.saturating_sub(2));
        *last = [b'"'].into_iter().chain(content).chain([b'"']).collect();
    }
    last.clone()
}

/// Letters without end, the same every time, which begin again after [`PERIOD`].
pub fn pattern() -> impl Iterator<Item = u8> {
    let mut block = [0; PERIOD];
    let mut state = 1_u32;
    for byte in &mut block {
        // xorshift: any sequence without a short period would do, so that a piece out of place is noticed.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = b'a' + u8::try_from(state % 26).unwrap_or(0);
    }
    block.into_iter().cycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_answers_as_it_says() {
        let ask = |code: &Code, event: &'static str| answer(code, Bytes::from_static(event.as_bytes()));
        assert_eq!(ask(&Code::Echo, "[1]").expect("an answer"), "[1]");
        // The check value of CRC-32.
        assert_eq!(ask(&Code::Sink, "123456789").expect("an answer"), "{\"bytes\":9,\"crc32\":\"cbf43926\"}");
        let text = ask(&Code::Source, "{\"bytes\":5000}").expect("an answer");
        assert_eq!(text.len(), 5000);
        let string: String = serde_json::from_slice(&text).expect("a JSON string");
        assert_eq!(string.as_bytes()[..10], string.as_bytes()[PERIOD..PERIOD + 10]);
        for event in ["{}", "{\"bytes\":1}", "{\"bytes\":99999999}", "{\"bytes\":2,\"x\":1}", "\"5\""] {
            let error = ask(&Code::Source, event).expect_err(event);
            assert!(error.starts_with(b"{\"errorMessage\":\"the event is to be"), "{event}");
        }
    }
}
