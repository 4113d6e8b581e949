//! The parameters of an invocation: headers, and the payload's limits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use uuid::Uuid;

use super::error::{ApiError, Violations};
use super::host::{CLIENT_CONTEXT, LOG_TYPE, LogType};
use super::route::Operation;
use crate::http::RequestHead;

/// Largest payload of a synchronous invocation, bytes: 6 MB (Lambda quotas).
pub const SYNC_PAYLOAD_MAX: usize = 6_291_456;
/// Largest payload of an `Event` invocation, bytes: 1 MB since October 2025 (Lambda quotas).
pub const EVENT_PAYLOAD_MAX: usize = 1_048_576;
/// Largest payload of `InvokeAsync`, bytes: 256 KB.
pub const INVOKE_ASYNC_PAYLOAD_MAX: usize = 262_144;
/// Largest body of a request that is no invocation, bytes. None of the supported ones has a body.
pub const OTHER_BODY_MAX: usize = 65_536;
/// Longest `X-Amz-Client-Context`, bytes of base64 (Invoke API reference).
pub const CLIENT_CONTEXT_MAX: usize = 3583;
/// Longest `X-Amz-Tenant-Id`, characters (service model).
const TENANT_ID_MAX: usize = 256;

/// `X-Amz-Invocation-Type`.
pub const INVOCATION_TYPE: &str = "x-amz-invocation-type";
/// `X-Amz-Tenant-Id`.
const TENANT_ID: &str = "x-amz-tenant-id";
/// `X-Amz-Durable-Execution-Name`.
const DURABLE_EXECUTION_NAME: &str = "x-amz-durable-execution-name";
/// `x-amzn-RequestId`.
pub const REQUEST_ID: &str = "x-amzn-requestid";

/// How a function is invoked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum InvocationType {
    /// The caller waits for the answer.
    #[default]
    RequestResponse,
    /// The invocation is queued.
    Event,
    /// Everything is checked, nothing runs.
    DryRun,
}

impl InvocationType {
    /// As written in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestResponse => "RequestResponse",
            Self::Event => "Event",
            Self::DryRun => "DryRun",
        }
    }

    fn of(operation: Operation, head: &RequestHead) -> Result<Self, &str> {
        if operation == Operation::InvokeAsync {
            return Ok(Self::Event);
        }
        match header_text(head, INVOCATION_TYPE) {
            None | Some("RequestResponse") => Ok(Self::RequestResponse),
            Some("DryRun") => Ok(Self::DryRun),
            Some("Event") if operation == Operation::Invoke => Ok(Self::Event),
            Some(other) => Err(other),
        }
    }
}

/// Largest body for an operation, and the invocation type that sets it. Known before anything else of the request is.
pub fn payload_limit(operation: Operation, head: &RequestHead) -> (usize, &'static str) {
    match operation {
        Operation::InvokeAsync => (INVOKE_ASYNC_PAYLOAD_MAX, InvocationType::Event.name()),
        Operation::Invoke | Operation::InvokeWithResponseStream => match InvocationType::of(operation, head) {
            Ok(InvocationType::Event) => (EVENT_PAYLOAD_MAX, InvocationType::Event.name()),
            // An unknown type is refused later, and a dry run has the limit of the real one.
            _ => (SYNC_PAYLOAD_MAX, InvocationType::RequestResponse.name()),
        },
        _ => (OTHER_BODY_MAX, ""),
    }
}

/// The checked header parameters of an invocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvokeParameters {
    /// Whether the caller waits.
    pub invocation_type: InvocationType,
    /// Whether a log tail is wanted; never for `Event`.
    pub log_type: LogType,
    /// Passed on as it came; never for `Event`.
    pub client_context: Option<HeaderValue>,
}

impl InvokeParameters {
    /// What the service model constrains: broken constraints go to `violations`, to be reported with those of the name.
    pub fn validate(operation: Operation, head: &RequestHead, violations: &mut Violations) -> Self {
        let invocation_type = InvocationType::of(operation, head).unwrap_or_else(|other| {
            let all: &[_] = &["Event", "RequestResponse", "DryRun"];
            let allowed = if operation == Operation::Invoke { all } else { &all[1..] };
            violations.not_in(other, "invocationType", allowed);
            InvocationType::default()
        });
        let log_type = match header_text(head, LOG_TYPE.as_str()) {
            None | Some("None") => LogType::None,
            Some("Tail") => LogType::Tail,
            Some(other) => {
                violations.not_in(other, "logType", &["None", "Tail"]);
                LogType::None
            }
        };
        if let Some(tenant) = header_text(head, TENANT_ID) {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:/=+-@ ".contains(&b);
            if tenant.is_empty() || !tenant.bytes().all(fits) {
                violations.pattern(tenant, "tenantId", r"[a-zA-Z0-9\._:\/=+\-@ ]+");
            }
            if tenant.len() > TENANT_ID_MAX {
                violations.too_long(tenant, "tenantId", TENANT_ID_MAX);
            }
        }
        let waits = invocation_type != InvocationType::Event;
        Self {
            invocation_type,
            log_type: if waits { log_type } else { LogType::None },
            client_context: head
                .field(CLIENT_CONTEXT.as_str())
                .filter(|_| waits)
                .and_then(|value| HeaderValue::from_bytes(value).ok()),
        }
    }

    /// What the service itself checks, after the function was found.
    ///
    /// # Errors
    /// A client context that is no base64 JSON object or too long; a tenant or durable execution, which no function here
    /// has (own texts: AWS's are not known).
    pub fn check(&self, head: &RequestHead) -> Result<(), ApiError> {
        if let Some(context) = &self.client_context {
            if context.len() > CLIENT_CONTEXT_MAX {
                let message = format!("Client context must be at most {CLIENT_CONTEXT_MAX} bytes of Base64.");
                return Err(ApiError::invalid_request_content(&message));
            }
            let json = STANDARD.decode(context.as_bytes()).unwrap_or_default();
            if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&json).is_err() {
                let message = "Client context must be a valid Base64-encoded JSON object.";
                return Err(ApiError::invalid_request_content(message));
            }
        }
        if head.field(TENANT_ID).is_some() {
            let message = "The invoked function is not enabled with tenancy configuration.";
            return Err(ApiError::invalid_parameter(message));
        }
        if head.field(DURABLE_EXECUTION_NAME).is_some() {
            return Err(ApiError::invalid_parameter("The invoked function is not enabled with durable execution."));
        }
        Ok(())
    }
}

/// The id a caller chose for its invocation.
///
/// # Errors
/// `InvalidRequestContentException` if it is not a UUID (service model; the text is ours).
pub fn chosen_request_id(head: &RequestHead) -> Result<Option<Uuid>, ApiError> {
    let Some(value) = head.field(REQUEST_ID) else { return Ok(None) };
    // The hyphenated form only: the one that answers and logs show.
    let id = (value.len() == 36).then(|| Uuid::try_parse_ascii(value).ok()).flatten();
    id.map(Some)
        .ok_or_else(|| ApiError::invalid_request_content("The x-amzn-RequestId header is not a valid UUID string."))
}

/// A header's text; bytes beyond ASCII make it a text that nothing matches.
fn header_text<'h>(head: &'h RequestHead, name: &str) -> Option<&'h str> {
    head.field(name).map(|_| head.text(name).unwrap_or("\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> RequestHead {
        let mut request = http::Request::new(());
        for (name, value) in list {
            request.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        RequestHead::from_parts(&request.into_parts().0)
    }

    fn validate(operation: Operation, list: &[(&'static str, &str)]) -> Result<InvokeParameters, ApiError> {
        let mut violations = Violations::default();
        let parameters = InvokeParameters::validate(operation, &headers(list), &mut violations);
        violations.check().map(|()| parameters)
    }

    #[test]
    fn without_headers_the_caller_waits_and_gets_no_log() {
        let parameters = validate(Operation::Invoke, &[]).unwrap();
        assert_eq!((parameters.invocation_type, parameters.log_type), (InvocationType::RequestResponse, LogType::None));
    }

    #[test]
    fn each_invocation_type_has_its_limit() {
        let event = headers(&[("x-amz-invocation-type", "Event")]);
        let dry = headers(&[("x-amz-invocation-type", "DryRun")]);
        let none = headers(&[]);
        assert_eq!(payload_limit(Operation::Invoke, &none), (6_291_456, "RequestResponse"));
        assert_eq!(payload_limit(Operation::Invoke, &dry), (6_291_456, "RequestResponse"));
        assert_eq!(payload_limit(Operation::Invoke, &event), (1_048_576, "Event"));
        assert_eq!(payload_limit(Operation::InvokeAsync, &none), (262_144, "Event"));
        assert_eq!(payload_limit(Operation::InvokeWithResponseStream, &event), (6_291_456, "RequestResponse"));
        assert_eq!(payload_limit(Operation::GetFunction, &event).0, OTHER_BODY_MAX);
    }

    #[test]
    fn unknown_values_are_named_with_those_allowed() {
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let table: &[(Operation, Headers<'_>, &str)] = &[
            (
                Operation::Invoke,
                &[("x-amz-invocation-type", "event")],
                "1 validation error detected: Value 'event' at 'invocationType' failed to satisfy constraint: Member must \
                 satisfy enum value set: [Event, RequestResponse, DryRun]",
            ),
            (
                Operation::InvokeWithResponseStream,
                &[("x-amz-invocation-type", "Event")],
                "1 validation error detected: Value 'Event' at 'invocationType' failed to satisfy constraint: Member must \
                 satisfy enum value set: [RequestResponse, DryRun]",
            ),
            (
                Operation::Invoke,
                &[("x-amz-log-type", "Head"), ("x-amz-tenant-id", "a#b")],
                "2 validation errors detected: Value 'Head' at 'logType' failed to satisfy constraint: Member must satisfy \
                 enum value set: [None, Tail]; Value 'a#b' at 'tenantId' failed to satisfy constraint: Member must satisfy \
                 regular expression pattern: [a-zA-Z0-9\\._:\\/=+\\-@ ]+",
            ),
        ];
        for (operation, list, expected) in table {
            let error = validate(*operation, list).unwrap_err();
            let body: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
            assert_eq!(body["message"], *expected);
        }
    }

    #[test]
    fn log_and_client_context_are_for_callers_who_wait() {
        let list = [("x-amz-invocation-type", "Event"), ("x-amz-log-type", "Tail"), ("x-amz-client-context", "junk")];
        let parameters = validate(Operation::Invoke, &list).unwrap();
        assert_eq!((parameters.log_type, &parameters.client_context), (LogType::None, &None));
        assert_eq!(parameters.check(&headers(&list)), Ok(()));
    }

    #[test]
    fn a_client_context_is_base64_json_of_bounded_length() {
        let fits = STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(2677)));
        assert_eq!(fits.len(), 3580);
        let long = STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(2680)));
        for (context, is_ok) in
            [("e30=", true), (fits.as_str(), true), (long.as_str(), false), ("e30", false), ("W10=", false)]
        {
            let list = headers(&[("x-amz-client-context", context)]);
            let mut violations = Violations::default();
            let parameters = InvokeParameters::validate(Operation::Invoke, &list, &mut violations);
            let checked = parameters.check(&list);
            assert_eq!(checked.is_ok(), is_ok, "{} {checked:?}", context.len());
        }
    }

    #[test]
    fn tenants_and_durable_executions_are_refused_not_ignored() {
        for list in [headers(&[("x-amz-tenant-id", "t")]), headers(&[("x-amz-durable-execution-name", "d")])] {
            let parameters = InvokeParameters::validate(Operation::Invoke, &list, &mut Violations::default());
            assert_eq!(parameters.check(&list).unwrap_err().code, "InvalidParameterValueException");
        }
    }

    #[test]
    fn a_callers_request_id_must_be_a_uuid() {
        let id = "0b6a2410-385d-4069-be9f-2e5d987f7dc2";
        assert_eq!(chosen_request_id(&headers(&[])), Ok(None));
        assert_eq!(chosen_request_id(&headers(&[("x-amzn-requestid", id)])), Ok(Some(id.parse().unwrap())));
        for bad in ["", "1", "0b6a2410385d4069be9f2e5d987f7dc2", "{0b6a2410-385d-4069-be9f-2e5d987f7dc2}", "\u{e9}"] {
            let error = chosen_request_id(&headers(&[("x-amzn-requestid", bad)])).unwrap_err();
            assert_eq!((error.status, error.code), (400, "InvalidRequestContentException"), "{bad}");
        }
    }
}
