//! The contract with the function host: HTTP/1.1 through the tunnel.
//!
//! The request has the path of the Lambda API, so that any server that answers it, the runtime interface emulator among
//! them, can be the host. What the emulator does not know travels in headers that such a server ignores.
//!
//! | request | |
//! | --- | --- |
//! | `POST /2015-03-31/functions/{name}/invocations` | the body is the payload; an empty one is sent as `{}` |
//! | `X-Vpce-Request-Id` | UUID of the invocation |
//! | `X-Vpce-Invoked-Function-Arn` | as invoked, qualifier included only if there was one |
//! | `X-Vpce-Function-Version` | `$LATEST` or a number |
//! | `X-Vpce-Deadline-Ms` | when the function's time is up, milliseconds since 1970 |
//! | `X-Amzn-Trace-Id` | `Root=…;Parent=…;Sampled=0` |
//! | `X-Amz-Client-Context` | base64, only if the caller gave one |
//! | `X-Amz-Log-Type` | `None` or `Tail` |
//! | `X-Vpce-Response-Mode` | `buffered` or `streaming` |
//! | `TE: trailers` | with `streaming` |
//!
//! | response | |
//! | --- | --- |
//! | 200 | the body is what the function returned, or its error |
//! | `X-Amz-Function-Error: Unhandled` | on function errors, time-outs and crashes among them |
//! | `X-Amz-Log-Result` | base64 of the log's last 4 KB, for `Tail` |
//! | trailers `X-Vpce-Stream-Error`, `X-Vpce-Stream-Error-Details`, `X-Amz-Log-Result` | streaming: how it ended; error type; base64 of the error's JSON |
//! | 404 | no such function there |
//! | 429 `{"Reason": …}` | its concurrency is used up; a [`ThrottleReason`] |
//! | anything else | the host's own trouble |

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use uuid::Uuid;

use super::catalog::Target;
use super::error::ThrottleReason;
use super::ids::Trace;
use crate::http::{FieldsByName, is_field_value, put_decimal};
use crate::time::{Moment, Now, UnixTime};

/// `X-Vpce-Request-Id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-vpce-request-id");
/// `X-Vpce-Invoked-Function-Arn`.
pub const INVOKED_FUNCTION_ARN: HeaderName = HeaderName::from_static("x-vpce-invoked-function-arn");
/// `X-Vpce-Function-Version`.
pub const FUNCTION_VERSION: HeaderName = HeaderName::from_static("x-vpce-function-version");
/// `X-Vpce-Deadline-Ms`.
pub const DEADLINE_MS: HeaderName = HeaderName::from_static("x-vpce-deadline-ms");
/// `X-Amzn-Trace-Id`.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// `X-Amz-Client-Context`.
pub const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("x-amz-client-context");
/// `X-Amz-Log-Type`.
pub const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
/// `X-Vpce-Response-Mode`.
pub const RESPONSE_MODE: HeaderName = HeaderName::from_static("x-vpce-response-mode");
/// `X-Amz-Function-Error`.
pub const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
/// `X-Amz-Log-Result`.
pub const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
/// `X-Vpce-Stream-Error`, a trailer.
pub const STREAM_ERROR: HeaderName = HeaderName::from_static("x-vpce-stream-error");
/// `X-Vpce-Stream-Error-Details`, a trailer: base64 of the error's JSON.
pub const STREAM_ERROR_DETAILS: HeaderName = HeaderName::from_static("x-vpce-stream-error-details");

/// Time the host gets beyond the function's own: 10 s to initialise (Lambda's limit for the init phase) and 5 s for the path.
pub const HOST_GRACE: Duration = Duration::from_secs(15);

/// Longest log tail passed on: base64 of 4 KB, rounded up.
const LOG_RESULT_MAX: usize = 8 * 1024;
/// Longest name of an error in a trailer.
const STREAM_ERROR_MAX: usize = 256;

/// `X-Amz-Log-Type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LogType {
    /// No log in the answer.
    #[default]
    None,
    /// The log's last 4 KB.
    Tail,
}

impl LogType {
    /// As written in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Tail => "Tail",
        }
    }
}

/// `X-Vpce-Response-Mode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ResponseMode {
    /// The answer at once.
    Buffered,
    /// The answer as the function writes it.
    Streaming,
}

impl ResponseMode {
    /// As written in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Streaming => "streaming",
        }
    }
}

/// One invocation, on its way to the function host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostRequest {
    /// What is invoked.
    pub target: Rc<Target>,
    /// The invocation's id, kept over retries.
    pub request_id: Uuid,
    /// When its time is up, on the wall clock.
    pub deadline: UnixTime,
    /// When to stop waiting for the host: answer [`HostError::TimedOut`] then.
    pub give_up: Moment,
    /// For the runtime.
    pub trace: Trace,
    /// Base64 JSON.
    pub client_context: Option<HeaderValue>,
    /// Whether a log tail is wanted.
    pub log_type: LogType,
    /// Whether the answer is wanted piece by piece.
    pub response_mode: ResponseMode,
    /// The event: JSON, or empty.
    pub payload: Bytes,
}

impl HostRequest {
    /// Starts the function's time.
    pub fn start(&mut self, now: Now) {
        let start = now.after(self.target.timeout);
        self.deadline = start.unix;
        self.give_up = start.mono + HOST_GRACE;
    }

    /// Bytes of what the caller sent: what a queue counts.
    pub fn held_bytes(&self) -> usize {
        let context = self.client_context.as_ref().map_or(0, HeaderValue::len);
        self.payload.len() + self.target.invoked_arn.len() + self.target.name.len() + context
    }

    /// The body as sent: the payload, or `{}` for none.
    pub fn body(&self) -> &Bytes {
        static NOTHING: Bytes = Bytes::from_static(b"{}");
        if self.payload.is_empty() { &NOTHING } else { &self.payload }
    }

    /// Appends the head as sent to a host at `authority` (`192.168.10.20:8080`), in front of [`HostRequest::body`].
    pub fn emit_head(&self, authority: &str, out: &mut Vec<u8>) {
        out.reserve(HEAD_USUAL);
        // A function name is letters, digits, `-`, `_` and `.`: always a path.
        debug_assert!(is_field_value(self.target.name.as_bytes()) && !self.target.name.contains(' '));
        out.extend_from_slice(b"POST /2015-03-31/functions/");
        out.extend_from_slice(self.target.name.as_bytes());
        out.extend_from_slice(b"/invocations HTTP/1.1\r\nHost: ");
        out.extend_from_slice(authority.as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: application/json\r\nX-Vpce-Request-Id: ");
        out.extend_from_slice(self.request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        put(out, b"\r\nX-Vpce-Invoked-Function-Arn: ", self.target.invoked_arn.as_bytes());
        put(out, b"\r\nX-Vpce-Function-Version: ", self.target.version.as_bytes());
        put(out, b"\r\nX-Amzn-Trace-Id: ", &self.trace.to_runtime());
        if let Some(context) = &self.client_context {
            put(out, b"\r\nX-Amz-Client-Context: ", context.as_bytes());
        }
        out.extend_from_slice(match self.log_type {
            LogType::None => b"\r\nX-Amz-Log-Type: None",
            LogType::Tail => b"\r\nX-Amz-Log-Type: Tail",
        });
        out.extend_from_slice(match self.response_mode {
            ResponseMode::Buffered => b"\r\nX-Vpce-Response-Mode: buffered",
            // Without TE the host may leave out the trailers that say how the stream ended (RFC 9110 §6.5.1).
            ResponseMode::Streaming => b"\r\nX-Vpce-Response-Mode: streaming\r\nTE: trailers",
        });
        out.extend_from_slice(b"\r\nX-Vpce-Deadline-Ms: ");
        put_decimal(out, self.deadline.millis());
        out.extend_from_slice(b"\r\nContent-Length: ");
        put_decimal(out, if self.payload.is_empty() { 2 } else { self.payload.len() as u64 });
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Bytes of a usual head.
const HEAD_USUAL: usize = 768;

/// Appends a field. A value that cannot be one cannot have come in as one; leaving it out is safe.
fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if is_field_value(value) {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

/// The function host's answer.
#[derive(Debug)]
pub struct HostResponse {
    /// HTTP status.
    pub status: u16,
    /// Whether the function failed.
    pub function_error: Option<FunctionError>,
    /// The log's tail, base64.
    pub log_result: Option<HeaderValue>,
    /// What the function returned.
    pub body: HostBody,
}

/// `X-Amz-Function-Error`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FunctionError {
    /// Reported by the function itself; old runtimes only.
    Handled,
    /// Everything else.
    Unhandled,
}

impl FunctionError {
    /// As written in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handled => "Handled",
            Self::Unhandled => "Unhandled",
        }
    }
}

impl HostResponse {
    /// Reads the host's status and header fields; `body` follows.
    pub fn new(status: u16, fields: &impl FieldsByName, body: HostBody) -> Self {
        let function_error = fields.field(FUNCTION_ERROR.as_str()).map(|value| match value {
            b"Handled" => FunctionError::Handled,
            _ => FunctionError::Unhandled,
        });
        Self { status, function_error, log_result: log_result(fields), body }
    }

    /// The reason in a 429's body. An unreadable one is the function's own limit: what a host that throttles has.
    pub fn throttle_reason(body: &[u8]) -> ThrottleReason {
        #[derive(serde::Deserialize)]
        struct Throttle {
            #[serde(rename = "Reason")]
            reason: String,
        }
        serde_json::from_slice::<Throttle>(body)
            .ok()
            .and_then(|throttle| ThrottleReason::parse(&throttle.reason))
            .unwrap_or(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded)
    }
}

/// How a stream ended, from its trailers.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct StreamEnd {
    /// The error's type, if the function failed.
    pub error: Option<String>,
    /// The error's JSON text.
    pub details: Option<String>,
    /// The log's tail, base64.
    pub log_result: Option<HeaderValue>,
}

impl StreamEnd {
    /// Reads a stream's trailers.
    pub fn from_trailers(trailers: &impl FieldsByName) -> Self {
        // Whatever its type is called, a stream that names an error did not end well.
        let fits = |error: &&str| !error.is_empty() && error.len() <= STREAM_ERROR_MAX;
        let error = trailers.field(STREAM_ERROR.as_str());
        let error = error.map(|error| ascii(error).filter(fits).unwrap_or("Unhandled"));
        let details = trailers
            .field(STREAM_ERROR_DETAILS.as_str())
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|json| String::from_utf8(json).ok());
        Self { error: error.map(str::to_owned), details, log_result: log_result(trailers) }
    }
}

fn ascii(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| text.is_ascii())
}

fn log_result(fields: &impl FieldsByName) -> Option<HeaderValue> {
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let value = fields.field(LOG_RESULT.as_str())?;
    let is_log = value.len() <= LOG_RESULT_MAX && value.iter().all(is_base64);
    HeaderValue::from_bytes(value).ok().filter(|_| is_log)
}

/// Why the function host did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum HostError {
    /// No connection to it.
    #[error("the function host cannot be reached")]
    Unreachable,
    /// No answer before [`HostRequest::give_up`].
    #[error("the function host did not answer in time")]
    TimedOut,
    /// The connection ended before the answer did.
    #[error("the function host's answer broke off")]
    Interrupted,
    /// An answer that is not HTTP.
    #[error("the function host's answer cannot be read")]
    Malformed,
    /// Too many invocations wait for the host already.
    #[error("too many invocations are waiting for the function host")]
    TooManyPending,
}

/// The body of the host's answer.
pub enum HostBody {
    /// All of it.
    Full(Bytes),
    /// As it comes; trailers, if any, are the last frame.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = HostError>>>),
}

impl std::fmt::Debug for HostBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(bytes) => f.debug_tuple("Full").field(&bytes.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Body for HostBody {
    type Data = Bytes;
    type Error = HostError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// The way to the function host. The engine implements it over the tunnel.
pub trait FunctionHost {
    /// Sends one invocation and waits for the head of its answer, at most until [`HostRequest::give_up`]; a body that
    /// streams must end in an error by itself when the host falls silent.
    ///
    /// # Errors
    /// [`HostError`] if there is no answer.
    fn invoke(&self, request: &HostRequest) -> impl Future<Output = Result<HostResponse, HostError>>;
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn target(version: &str) -> Target {
        Target {
            function: 0,
            name: "my-function".into(),
            version: version.into(),
            invoked_arn: "arn:aws:lambda:us-east-2:123456789012:function:my-function:1".into(),
            timeout: Duration::from_secs(3),
        }
    }

    fn request() -> HostRequest {
        HostRequest {
            target: Rc::new(target("1")),
            request_id: Uuid::from_u128(0x1234),
            deadline: UnixTime::default(),
            give_up: Moment::NEVER,
            trace: Trace { root: "1-0-0".into(), parent: "0".into(), is_sampled: false },
            client_context: Some(HeaderValue::from_static("e30=")),
            log_type: LogType::Tail,
            response_mode: ResponseMode::Buffered,
            payload: Bytes::from_static(b"{\"a\":1}"),
        }
    }

    #[test]
    fn the_request_to_the_host_is_the_contract() {
        let mut request = request();
        request.start(Now { mono: Moment::from_millis(1_000), unix: UnixTime::from_secs(1_700_000_000) });
        assert_eq!(request.give_up, Moment::from_millis(1_000) + Duration::from_secs(18));
        assert_eq!(
            head(&request),
            [
                "POST /2015-03-31/functions/my-function/invocations HTTP/1.1",
                "Host: 192.168.10.20:8080",
                "Content-Type: application/json",
                "X-Vpce-Request-Id: 00000000-0000-0000-0000-000000001234",
                "X-Vpce-Invoked-Function-Arn: arn:aws:lambda:us-east-2:123456789012:function:my-function:1",
                "X-Vpce-Function-Version: 1",
                "X-Amzn-Trace-Id: Root=1-0-0;Parent=0;Sampled=0",
                "X-Amz-Client-Context: e30=",
                "X-Amz-Log-Type: Tail",
                "X-Vpce-Response-Mode: buffered",
                "X-Vpce-Deadline-Ms: 1700000003000",
                "Content-Length: 7",
                "",
                "",
            ]
        );
        assert_eq!(request.body(), "{\"a\":1}");
        request.payload = Bytes::new();
        request.response_mode = ResponseMode::Streaming;
        request.log_type = LogType::None;
        let head = head(&request);
        for line in ["Content-Length: 2", "TE: trailers", "X-Vpce-Response-Mode: streaming", "X-Amz-Log-Type: None"] {
            assert!(head.contains(&line.to_owned()), "{line}");
        }
        assert_eq!(request.body(), "{}");
    }

    fn head(request: &HostRequest) -> Vec<String> {
        let mut head = Vec::new();
        request.emit_head("192.168.10.20:8080", &mut head);
        String::from_utf8(head).unwrap().split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn what_would_end_a_field_is_left_out_with_its_field() {
        for odd in ["a\r\nX-Odd: b", "a\nb", "a\0", "\x7f"] {
            let request = HostRequest { target: Rc::new(target(odd)), ..request() };
            let head = head(&request);
            assert_eq!((head.len(), head.iter().any(|line| line.contains("Function-Version"))), (13, false), "{odd:?}");
        }
    }

    #[test]
    fn an_answer_without_our_headers_is_a_success_without_extras() {
        let response = HostResponse::new(200, &HeaderMap::new(), HostBody::Full(Bytes::new()));
        assert_eq!((response.function_error, response.log_result), (None, None));
    }

    #[test]
    fn function_errors_and_logs_are_read_and_junk_is_left_out() {
        let mut headers = HeaderMap::new();
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
        headers.insert(LOG_RESULT, HeaderValue::from_static("bG9n"));
        let response = HostResponse::new(200, &headers, HostBody::Full(Bytes::new()));
        assert_eq!(response.function_error, Some(FunctionError::Unhandled));
        assert_eq!(response.log_result.unwrap(), "bG9n");
        headers.insert(LOG_RESULT, HeaderValue::from_static("not base64!"));
        assert_eq!(HostResponse::new(200, &headers, HostBody::Full(Bytes::new())).log_result, None);
        headers.insert(LOG_RESULT, HeaderValue::from_str(&"a".repeat(LOG_RESULT_MAX + 1)).unwrap());
        assert_eq!(HostResponse::new(200, &headers, HostBody::Full(Bytes::new())).log_result, None);
    }

    #[test]
    fn trailers_say_how_a_stream_ended() {
        let mut trailers = HeaderMap::new();
        assert_eq!(StreamEnd::from_trailers(&trailers), StreamEnd::default());
        trailers.insert(STREAM_ERROR, HeaderValue::from_static("Runtime.ExitError"));
        trailers.insert(STREAM_ERROR_DETAILS, HeaderValue::from_static("eyJhIjoxfQ=="));
        trailers.insert(LOG_RESULT, HeaderValue::from_static("bG9n"));
        let end = StreamEnd::from_trailers(&trailers);
        assert_eq!(end.error.as_deref(), Some("Runtime.ExitError"));
        assert_eq!(end.details.as_deref(), Some("{\"a\":1}"));
        assert_eq!(end.log_result.unwrap(), "bG9n");
        for odd in ["".to_owned(), "x".repeat(STREAM_ERROR_MAX + 1), "\u{e9}".to_owned()] {
            trailers.insert(STREAM_ERROR, HeaderValue::from_bytes(odd.as_bytes()).unwrap());
            assert_eq!(StreamEnd::from_trailers(&trailers).error.as_deref(), Some("Unhandled"), "{odd}");
        }
    }

    #[test]
    fn a_hosts_throttle_reason_is_passed_on_if_known() {
        let table: &[(&[u8], ThrottleReason)] = &[
            (br#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#, ThrottleReason::ConcurrentInvocationLimitExceeded),
            (br#"{"Reason":"Tired"}"#, ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded),
            (b"busy", ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded),
        ];
        for (body, reason) in table {
            assert_eq!(HostResponse::throttle_reason(body), *reason);
        }
    }
}
