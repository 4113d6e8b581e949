//! Answers, header by header, in the casing that AWS uses over HTTP/1.1 (recorded from answers of Lambda). How the body is
//! framed, and the date, are the connection's.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use uuid::Uuid;

use super::error::{ApiError, JSON};
use super::event_stream;
use super::host::FunctionError;
use super::ids::Trace;
use crate::http::{Fields, Response};

/// Largest answer of a function, bytes, as AWS prints it: 6 MB and 100 bytes.
pub const RESPONSE_MAX: usize = 6_291_556;

const CONTENT_TYPE: &str = "Content-Type";
const REQUEST_ID: &str = "x-amzn-RequestId";
const ERROR_TYPE: &str = "x-amzn-ErrorType";
const REMAPPED_CONTENT_LENGTH: &str = "x-amzn-Remapped-Content-Length";
const EXECUTED_VERSION: &str = "X-Amz-Executed-Version";
const FUNCTION_ERROR: &str = "X-Amz-Function-Error";
const LOG_RESULT: &str = "X-Amz-Log-Result";
const TRACE_ID: &str = "X-Amzn-Trace-Id";

/// What a synchronous invocation came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Returned {
    /// The version that ran.
    pub version: Rc<str>,
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
        let mut response = invocation(200, request_id, trace, self.payload);
        let fields = &mut response.fields;
        fields.push(CONTENT_TYPE, JSON);
        fields.push(EXECUTED_VERSION, &self.version);
        if let Some(error) = self.function_error {
            fields.push(FUNCTION_ERROR, error.name());
        }
        if let Some(log) = self.log_result {
            fields.push_bytes(LOG_RESULT, log.as_bytes());
        }
        response
    }
}

/// 202: an Event invocation was queued.
pub fn accepted(request_id: Uuid, trace: &Trace) -> Response<Bytes> {
    invocation(202, request_id, trace, Bytes::new())
}

/// 204: a dry run went well.
pub fn dry_run(request_id: Uuid, trace: &Trace) -> Response<Bytes> {
    invocation(204, request_id, trace, Bytes::new())
}

/// 200 with an event stream; the body is what is there of it, or empty if it streams.
pub fn streamed(request_id: Uuid, trace: &Trace, version: &str, body: Bytes) -> Response<Bytes> {
    let mut response = invocation(200, request_id, trace, body);
    response.fields.push(CONTENT_TYPE, event_stream::CONTENT_TYPE);
    response.fields.push(EXECUTED_VERSION, version);
    response
}

/// 200 with a JSON document.
pub fn document(request_id: Uuid, value: &Value) -> Response<Bytes> {
    let mut response = answer(200, request_id, Bytes::from(value.to_string()));
    response.fields.push(CONTENT_TYPE, JSON);
    response
}

/// An error.
pub fn error(request_id: Uuid, error: ApiError) -> Response<Bytes> {
    let mut response = answer(error.status, request_id, error.body);
    let fields = &mut response.fields;
    if let Some(content_type) = error.content_type {
        fields.push(CONTENT_TYPE, content_type);
    }
    if !error.code.is_empty() {
        fields.push(ERROR_TYPE, error.code);
    }
    response
}

fn invocation(status: u16, request_id: Uuid, trace: &Trace, body: Bytes) -> Response<Bytes> {
    let mut response = answer(status, request_id, body);
    response.fields.push(REMAPPED_CONTENT_LENGTH, "0");
    response.fields.push_bytes(TRACE_ID, &trace.to_response());
    response
}

fn answer(status: u16, request_id: Uuid, body: Bytes) -> Response<Bytes> {
    let mut fields = Fields::with_room();
    fields.push(REQUEST_ID, request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    Response { status, fields, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const ID_LINE: &str = "x-amzn-RequestId: 00000000-0000-0000-0000-000000000007";
    const TRACE_LINE: &str = "X-Amzn-Trace-Id: root=1-5fa456b2-beda73b8340f62daf4d397fe;sampled=0";
    const REMAPPED_LINE: &str = "x-amzn-Remapped-Content-Length: 0";

    fn trace() -> Trace {
        Trace { root: "1-5fa456b2-beda73b8340f62daf4d397fe".into(), parent: "0".into(), is_sampled: false }
    }

    fn lines(response: &Response<Bytes>) -> (u16, Vec<String>) {
        let lines = std::str::from_utf8(response.fields.lines()).unwrap();
        (response.status, lines.split_terminator("\r\n").map(str::to_owned).collect())
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
            [ID_LINE, REMAPPED_LINE, TRACE_LINE, "Content-Type: application/json", "X-Amz-Executed-Version: $LATEST"];
        assert_eq!(lines(&response), (200, expected.map(str::to_owned).to_vec()));
        assert_eq!(response.body, "null");
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
        assert_eq!(lines[5..], ["X-Amz-Function-Error: Unhandled", "X-Amz-Log-Result: bG9n"]);
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
        assert!(accepted(ID, &trace()).body.is_empty());
    }

    #[test]
    fn errors_carry_their_type_and_the_xml_one_carries_nothing() {
        let response = error(ID, ApiError::qualifier_mismatch());
        let expected = [ID_LINE, "Content-Type: application/json", "x-amzn-ErrorType: InvalidParameterValueException"];
        assert_eq!(lines(&response), (400, expected.map(str::to_owned).to_vec()));
        assert_eq!(lines(&error(ID, ApiError::unknown_operation())), (403, vec![ID_LINE.to_owned()]));
    }

    #[test]
    fn a_stream_says_so() {
        let (status, lines) = lines(&streamed(ID, &trace(), "1", Bytes::new()));
        assert_eq!(status, 200);
        assert_eq!(lines[3..], ["Content-Type: application/vnd.amazon.eventstream", "X-Amz-Executed-Version: 1"]);
    }
}
