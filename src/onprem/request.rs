//! What an invocation request says, parsed once: nothing behind this file looks at a header or counts a byte again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde_json::{Value, json};

use super::function_host::LATEST;
use super::invocation::{Order, ReplyBody, error_response};
use crate::lambda::host::{
    CLIENT_CONTEXT, DEADLINE_MS, INVOKED_FUNCTION_ARN, LOG_TYPE, REQUEST_ID, RESPONSE_MODE, TRACE_ID,
};

/// Longest silence inside a request's body.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// Largest event, bytes. Lambda's limit for RequestResponse.
pub(super) const PAYLOAD_LIMIT: usize = 6_291_456;

impl Order {
    /// The order in a request's headers, its payload still to come.
    pub(super) fn parse(
        request: &Request<Incoming>,
        version: String,
        arn: impl Fn() -> String,
    ) -> Result<Self, Refusal> {
        let headers = request.headers();
        let given = |name: &HeaderName| headers.get(name).cloned();
        let client_context = match given(&CLIENT_CONTEXT) {
            None => None,
            Some(context) => Some(
                client_context(&context)
                    .ok_or_else(|| bad_request("Client context must be a valid Base64-encoded JSON object."))?,
            ),
        };
        let deadline_ms = match given(&DEADLINE_MS) {
            None => None,
            Some(value) => Some(
                value
                    .to_str()
                    .ok()
                    .and_then(|value| value.parse().ok())
                    .ok_or_else(|| bad_request("X-Vpce-Deadline-Ms must be milliseconds since 1970"))?,
            ),
        };
        let made = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        Ok(Self {
            request_id: request_id(request)?,
            version,
            arn: given(&INVOKED_FUNCTION_ARN).unwrap_or_else(|| made(arn())),
            trace_id: given(&TRACE_ID).unwrap_or_else(|| made(new_trace_id())),
            client_context,
            payload: Bytes::new(),
            tail: wants_tail(request),
            streaming: headers.get(&RESPONSE_MODE).is_some_and(|mode| mode == "streaming"),
            deadline_ms,
        })
    }
}

/// The caller's request id, or a new one. It becomes part of a path.
pub(super) fn request_id(request: &Request<Incoming>) -> Result<String, Refusal> {
    let Some(id) = request.headers().get(&REQUEST_ID) else {
        return Ok(uuid::Uuid::new_v4().to_string());
    };
    let id = id.to_str().unwrap_or_default();
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(bad_request("X-Vpce-Request-Id must be a UUID"));
    }
    Ok(id.to_owned())
}

/// Whether the end of the log is wanted.
pub(super) fn wants_tail(request: &Request<Incoming>) -> bool {
    request.headers().get(&LOG_TYPE).is_some_and(|log_type| log_type == "Tail")
}

/// The qualifier in a query.
pub(super) fn query_qualifier(query: Option<&str>) -> Option<&str> {
    let pair = query?.split('&').find_map(|pair| pair.strip_prefix("Qualifier="))?;
    Some(if pair == "%24LATEST" { LATEST } else { pair })
}

/// A client context as a header can carry it: JSON on one line, in ASCII.
fn client_context(base64: &HeaderValue) -> Option<HeaderValue> {
    let json: Value = serde_json::from_slice(&BASE64.decode(base64.as_bytes()).ok()?).ok()?;
    if !json.is_object() {
        return None;
    }
    let mut ascii = String::new();
    for unit in json.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    HeaderValue::try_from(ascii).ok()
}

/// A trace that is not sampled: `Root=1-<seconds>-<96 bits>;Parent=<64 bits>;Sampled=0`.
fn new_trace_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let parent = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{:08x}-{};Parent={};Sampled=0", super::epoch_ms() / 1000, &random[..24], &parent[..16])
}

/// The answer to a request that is not carried out; boxed, because the other outcome is small.
pub(super) type Refusal = Box<Response<ReplyBody>>;

fn refuse(status: StatusCode, code: &'static str, body: &Value) -> Refusal {
    Box::new(error_response(status, code, body))
}

fn bad_request(message: &str) -> Refusal {
    let body = json!({ "Type": "User", "message": message });
    refuse(StatusCode::BAD_REQUEST, "InvalidRequestContentException", &body)
}

/// An event, `{}` if there is none.
pub(super) async fn read_payload(mut body: Incoming) -> Result<Bytes, Refusal> {
    let mut length = 0;
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(BODY_SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(bad_request("The request's body could not be read")),
            Err(_) => {
                let body = json!({ "Type": "User", "message": "The request's body did not arrive in time" });
                return Err(refuse(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", &body));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > PAYLOAD_LIMIT {
            // Read on, up to a bound, so that the caller sees the answer instead of a reset connection.
            (first, joined) = (Bytes::new(), BytesMut::new());
            if length > 4 * PAYLOAD_LIMIT {
                break;
            }
        } else if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                joined.reserve(length.saturating_add(rest).min(PAYLOAD_LIMIT));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    if length > PAYLOAD_LIMIT {
        let message = format!(
            "{length} byte payload is too large for the RequestResponse invocation type (limit {PAYLOAD_LIMIT} bytes)"
        );
        let body = json!({ "Type": "User", "message": message });
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", &body));
    }
    Ok(match (length, joined.is_empty()) {
        (0, _) => Bytes::from_static(b"{}"),
        (_, true) => first,
        (_, false) => joined.freeze(),
    })
}
