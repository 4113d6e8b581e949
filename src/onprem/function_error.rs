//! What an invocation that failed is answered with: in the body of a whole answer, in the trailers of a stream.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use serde_json::json;

use super::epoch_ms;
use super::log_tail::LogTail;
use super::process::Fault;
use crate::lambda::host::{STREAM_ERROR, STREAM_ERROR_DETAILS};

/// Longest type of an error in a trailer, bytes.
const STREAM_ERROR_MAX: usize = 256;
/// Longest JSON of an error in a trailer, bytes. With the log's 4 KB, both in base64, it stays below 16 KB.
const STREAM_DETAILS_MAX: usize = 6 * 1024;

/// A function error: HTTP 200 with `X-Amz-Function-Error`, or the trailer of a stream.
#[derive(Debug)]
pub(super) struct FunctionError {
    /// JSON.
    pub(super) body: Bytes,
    /// For the REPORT line: only ends that the platform saw, not exceptions that the function reported.
    pub(super) status: Option<(&'static str, Option<&'static str>)>,
}

impl FunctionError {
    /// What Lambda answers when the environment, not the function, ended the invocation (`docs/fidelity.md#function-errors`).
    pub(super) fn of_platform(fault: Fault, request_id: &str, timeout: Duration) -> Self {
        let (error_type, what, status) = match fault {
            Fault::TimedOut => {
                let what = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
                ("Sandbox.Timedout", what, ("timeout", None))
            }
            Fault::Exited(exit) => ("Runtime.ExitError", exit.to_string(), ("error", Some("Runtime.ExitError"))),
            Fault::OutOfMemory => {
                let what = "Runtime exited with error: signal: killed".to_owned();
                ("Runtime.OutOfMemory", what, ("error", Some("Runtime.OutOfMemory")))
            }
        };
        let message = format!("RequestId: {request_id} Error: {what}");
        let body = json!({ "errorType": error_type, "errorMessage": message });
        Self { body: body.to_string().into(), status: Some(status) }
    }

    pub(super) fn too_large(limit: u64) -> Self {
        let message = format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).");
        Self {
            body: json!({ "errorMessage": message, "errorType": "Function.ResponseSizeTooLarge" }).to_string().into(),
            status: None,
        }
    }

    /// The process broke a stream off without dying.
    pub(super) fn truncated() -> Self {
        let body = json!({ "errorMessage": "Response stream was closed before its end", "errorType": "Runtime.TruncatedResponse" });
        Self { body: body.to_string().into(), status: None }
    }

    /// Says in the trailers of a stream how it ended: the error's type, and its JSON if that fits.
    pub(super) fn put_trailers(&self, trailers: &mut HeaderMap) {
        let error: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let cut = |text: &str, max: usize| text[..text.floor_char_boundary(max)].to_owned();
        let error_type = cut(error["errorType"].as_str().unwrap_or_default(), STREAM_ERROR_MAX);
        let name = HeaderValue::try_from(&error_type).ok().filter(|name| !name.is_empty());
        trailers.insert(STREAM_ERROR, name.unwrap_or(HeaderValue::from_static("Unhandled")));
        let mut details = self.body.clone();
        if details.len() > STREAM_DETAILS_MAX {
            // Without its stack trace, and the message cut: a reader of HTTP takes 16 KB of trailers at most. One character
            // of a message is six of JSON at worst.
            let message = cut(error["errorMessage"].as_str().unwrap_or_default(), STREAM_DETAILS_MAX / 8);
            details = json!({ "errorType": error_type, "errorMessage": message }).to_string().into();
        }
        if let Ok(value) = HeaderValue::try_from(BASE64.encode(details)) {
            trailers.insert(STREAM_ERROR_DETAILS, value);
        }
    }

    /// The platform's own line about it.
    pub(super) fn log(&self, log: &mut LogTail, request_id: &str) {
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&self.body) else { return };
        let message = body["errorMessage"].as_str().unwrap_or_default();
        match self.status {
            Some(("timeout", _)) => {
                let task = message.rsplit("Error: ").next().unwrap_or(message);
                let now = crate::time::UnixTime::from_nanos(epoch_ms().saturating_mul(1_000_000));
                let time = now.to_utc().strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
                log.platform(format_args!("{time} {request_id} {task}\n"));
            }
            Some((_, Some(error_type))) => log.platform(format_args!("{message}\n{error_type}")),
            Some((_, None)) | None => {}
        }
    }
}
