//! HTTP answers, header by header.
//!
//! Header names are in lower case, as HTTP/2 wants them; names have no case (RFC 9110 §5.1), and AWS's own mix both. `Date`
//! and `Content-Length` are the writer's.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use uuid::Uuid;

use super::error::{ApiError, JSON};
use super::event_stream;
use super::host::{FUNCTION_ERROR, FunctionError, LOG_RESULT, TRACE_ID};
use super::ids::Trace;
use super::invoke::REQUEST_ID;

/// Largest answer of a function, bytes, as AWS prints it: 6 MB and 100 bytes.
pub const RESPONSE_MAX: usize = 6_291_556;

const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const REMAPPED_CONTENT_LENGTH: HeaderName = HeaderName::from_static("x-amzn-remapped-content-length");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What a synchronous invocation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Returned {
    /// The version that ran.
    pub version: String,
    /// Whether the function failed.
    pub function_error: Option<FunctionError>,
    /// The log's tail, base64.
    pub log_result: Option<HeaderValue>,
    /// What it returned, or its error.
    pub payload: Bytes,
}

impl Returned {
    /// In place of an answer over [`RESPONSE_MAX`].
    #[must_use]
    pub fn too_large(self) -> Self {
        let text = format!(
            r#"{{"errorMessage":"Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX} bytes).","errorType":"Function.ResponseSizeTooLarge"}}"#
        );
        Self { function_error: Some(FunctionError::Unhandled), payload: Bytes::from(text), ..self }
    }

    /// 200, whether the function failed or not.
    pub fn into_response(self, request_id: Uuid, trace: &Trace) -> Response<Bytes> {
        let mut response = invocation(StatusCode::OK, request_id, trace, self.payload);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        put(headers, EXECUTED_VERSION, &self.version);
        if let Some(error) = self.function_error {
            headers.insert(FUNCTION_ERROR, HeaderValue::from_static(error.name()));
        }
        if let Some(log) = self.log_result {
            headers.insert(LOG_RESULT, log);
        }
        response
    }
}

/// 202: an Event invocation was queued.
pub fn accepted(request_id: Uuid, trace: &Trace) -> Response<Bytes> {
    invocation(StatusCode::ACCEPTED, request_id, trace, Bytes::new())
}

/// 204: a dry run went well.
pub fn dry_run(request_id: Uuid, trace: &Trace) -> Response<Bytes> {
    invocation(StatusCode::NO_CONTENT, request_id, trace, Bytes::new())
}

/// 200 with an event stream; the body is what is there of it, or empty if it streams.
pub fn streamed(request_id: Uuid, trace: &Trace, version: &str, body: Bytes) -> Response<Bytes> {
    let mut response = invocation(StatusCode::OK, request_id, trace, body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    put(headers, EXECUTED_VERSION, version);
    response
}

/// 200 with a JSON document.
pub fn document(request_id: Uuid, value: &Value) -> Response<Bytes> {
    let mut response = answer(StatusCode::OK, request_id, Bytes::from(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// An error.
pub fn error(request_id: Uuid, error: ApiError) -> Response<Bytes> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(status, request_id, error.body);
    let headers = response.headers_mut();
    if let Some(content_type) = error.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if !error.code.is_empty() {
        headers.insert(ERROR_TYPE, HeaderValue::from_static(error.code));
    }
    headers.extend(error.headers);
    response
}

fn invocation(status: StatusCode, request_id: Uuid, trace: &Trace, body: Bytes) -> Response<Bytes> {
    let mut response = answer(status, request_id, body);
    let headers = response.headers_mut();
    headers.insert(REMAPPED_CONTENT_LENGTH, HeaderValue::from_static("0"));
    put(headers, TRACE_ID, &trace.to_response());
    response
}

fn answer(status: StatusCode, request_id: Uuid, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(response.headers_mut(), REQUEST_ID, request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    response
}

/// Versions, ids and traces are letters, digits and punctuation: always header values.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const ID_LINE: &str = "x-amzn-requestid: 00000000-0000-0000-0000-000000000007";
    const TRACE_LINE: &str = "x-amzn-trace-id: root=1-5fa456b2-beda73b8340f62daf4d397fe;sampled=0";
    const REMAPPED_LINE: &str = "x-amzn-remapped-content-length: 0";

    fn trace() -> Trace {
        Trace { root: "1-5fa456b2-beda73b8340f62daf4d397fe".into(), parent: "0".into(), is_sampled: false }
    }

    fn lines(response: &Response<Bytes>) -> (u16, Vec<String>) {
        let headers = response.headers().iter();
        let lines = headers.map(|(name, value)| format!("{}: {}", name.as_str(), value.to_str().unwrap()));
        (response.status().as_u16(), lines.collect())
    }

    fn returned() -> Returned {
        Returned {
            version: "$LATEST".into(),
            function_error: None,
            log_result: None,
            payload: Bytes::from_static(b"null"),
        }
    }

    #[test]
    fn a_success_has_the_recorded_headers() {
        let response = returned().into_response(ID, &trace());
        let expected =
            [ID_LINE, REMAPPED_LINE, TRACE_LINE, "content-type: application/json", "x-amz-executed-version: $LATEST"];
        assert_eq!(lines(&response), (200, expected.map(str::to_owned).to_vec()));
        assert_eq!(response.body(), "null");
    }

    #[test]
    fn a_function_error_is_a_200_with_one_header_more() {
        let response = Returned {
            function_error: Some(FunctionError::Unhandled),
            log_result: Some(HeaderValue::from_static("bG9n")),
            ..returned()
        }
        .into_response(ID, &trace());
        let (status, lines) = lines(&response);
        assert_eq!(status, 200);
        assert_eq!(lines[5..], ["x-amz-function-error: Unhandled", "x-amz-log-result: bG9n"]);
    }

    #[test]
    fn an_answer_over_the_limit_becomes_a_function_error() {
        let too_large = returned().too_large();
        assert_eq!(too_large.function_error, Some(FunctionError::Unhandled));
        assert_eq!(
            too_large.payload,
            r#"{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#
        );
    }

    #[test]
    fn event_and_dry_run_are_empty_and_name_no_version() {
        let common = [ID_LINE, REMAPPED_LINE, TRACE_LINE].map(str::to_owned).to_vec();
        assert_eq!(lines(&accepted(ID, &trace())), (202, common.clone()));
        assert_eq!(lines(&dry_run(ID, &trace())), (204, common));
        assert!(accepted(ID, &trace()).body().is_empty());
    }

    #[test]
    fn errors_carry_their_type_and_the_xml_one_carries_nothing() {
        let response = error(ID, ApiError::qualifier_mismatch());
        let expected = [ID_LINE, "content-type: application/json", "x-amzn-errortype: InvalidParameterValueException"];
        assert_eq!(lines(&response), (400, expected.map(str::to_owned).to_vec()));
        assert_eq!(lines(&error(ID, ApiError::unknown_operation())), (403, vec![ID_LINE.to_owned()]));
    }

    #[test]
    fn a_stream_says_so() {
        let (status, lines) = lines(&streamed(ID, &trace(), "1", Bytes::new()));
        assert_eq!(status, 200);
        assert_eq!(lines[3..], ["content-type: application/vnd.amazon.eventstream", "x-amz-executed-version: 1"]);
    }
}
