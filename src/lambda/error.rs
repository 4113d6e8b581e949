//! Errors as Lambda writes them: status, `x-amzn-ErrorType`, body bytes.
//!
//! Members stand in the order of Lambda's own answers (byte order of their names: `Message`, `Reason`, `Type`, `message`).
//! Which spelling of "message" an error has is fixed by its shape in the service model: errors of the service's own are
//! modelled and carry `Type`; errors of the framework in front of it (validation, signatures, authorisation) do not.

use bytes::Bytes;

use crate::verdict::Reason;

/// `Content-Type` of every JSON answer.
pub const JSON: &str = "application/json";

/// An answer other than success: a verdict on the request, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Value of `x-amzn-ErrorType`; empty if the answer has no such header.
    pub code: &'static str,
    /// The body, exactly as sent.
    pub body: Bytes,
    /// `Content-Type`; `None` sends none.
    pub content_type: Option<&'static str>,
    /// What it is counted as.
    pub reason: Reason,
}

/// Why an invocation was throttled: the `ThrottleReason` values of the service model that can happen here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ThrottleReason {
    /// The account's concurrency is used up.
    ConcurrentInvocationLimitExceeded,
    /// Too many asynchronous invocations of a function.
    FunctionInvocationRateLimitExceeded,
    /// The function's own concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// Too many invocations per second for the function's concurrency.
    ReservedFunctionInvocationRateLimitExceeded,
    /// Too many API requests.
    CallerRateLimitExceeded,
}

impl ThrottleReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::ConcurrentInvocationLimitExceeded,
        Self::FunctionInvocationRateLimitExceeded,
        Self::ReservedFunctionConcurrentInvocationLimitExceeded,
        Self::ReservedFunctionInvocationRateLimitExceeded,
        Self::CallerRateLimitExceeded,
    ];

    /// As written in the `Reason` member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::FunctionInvocationRateLimitExceeded => "FunctionInvocationRateLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::ReservedFunctionInvocationRateLimitExceeded => "ReservedFunctionInvocationRateLimitExceeded",
            Self::CallerRateLimitExceeded => "CallerRateLimitExceeded",
        }
    }

    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// API throttling and invocation throttling differ in one capital and one full stop.
    const fn message(self) -> &'static str {
        match self {
            Self::CallerRateLimitExceeded => "Rate exceeded",
            _ => "Rate Exceeded.",
        }
    }
}

/// How a modelled error spells its message member.
#[derive(Clone, Copy)]
enum Spelling {
    /// `Message`, before `Type`.
    Upper,
    /// `message`, after `Type`.
    Lower,
}

impl ApiError {
    /// An error of the framework in front of the service: `{"message":"…"}`. Signature errors have this form.
    pub fn framework(status: u16, code: &'static str, message: &str, reason: Reason) -> Self {
        let mut body = String::with_capacity(message.len() + 16);
        body.push_str("{\"message\":");
        push_json_string(&mut body, message);
        body.push('}');
        Self::json(status, code, body, reason)
    }

    /// `AccessDeniedException`, `{"Message":"User: … is not authorized to perform: …"}`; `reason` says which policy.
    pub fn access_denied(message: &str, reason: Reason) -> Self {
        let mut body = String::with_capacity(message.len() + 16);
        body.push_str("{\"Message\":");
        push_json_string(&mut body, message);
        body.push('}');
        Self::json(403, "AccessDeniedException", body, reason)
    }

    /// A path or method that is no operation: XML, without a content type and without an error-type header.
    pub fn unknown_operation() -> Self {
        const BODY: &str = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be \
                            authorized</Message>\n</AccessDeniedException>";
        Self {
            status: 403,
            code: "",
            body: Bytes::from_static(BODY.as_bytes()),
            content_type: None,
            reason: Reason::LambdaUnknownOperation,
        }
    }

    /// An operation of Lambda's that this endpoint does not have. Not an AWS answer: there every operation exists. 501 is
    /// not retried by SDKs, and `ServiceException` is an error they all know.
    pub fn not_supported(operation: &str) -> Self {
        let message = format!(
            "vpce does not support {operation} yet. It supports Invoke, InvokeAsync, InvokeWithResponseStream, \
             GetFunction, GetFunctionConfiguration, ListFunctions and GetAccountSettings."
        );
        Self::modelled(501, "ServiceException", Spelling::Upper, &message, Reason::LambdaUnknownOperation)
    }

    /// No such function or qualifier. Invoke gives `arn` with a qualifier even if none was asked for.
    pub fn function_not_found(arn: &str) -> Self {
        Self::not_found(&format!("Function not found: {arn}"))
    }

    /// An ARN of another region.
    pub fn other_region(theirs: &str, ours: &str) -> Self {
        Self::not_found(&format!("Functions from '{theirs}' are not reachable in this region ('{ours}')"))
    }

    fn not_found(message: &str) -> Self {
        Self::modelled(404, "ResourceNotFoundException", Spelling::Upper, message, Reason::LambdaNotFound)
    }

    /// A qualifier in the name and another one in the query.
    pub fn qualifier_mismatch() -> Self {
        Self::invalid_parameter("The derived qualifier from the function name does not match the specified qualifier.")
    }

    /// A parameter that is well-formed and still cannot be used.
    pub fn invalid_parameter(message: &str) -> Self {
        Self::modelled(400, "InvalidParameterValueException", Spelling::Lower, message, Reason::LambdaBadRequest)
    }

    /// A body or header that cannot be read.
    pub fn invalid_request_content(message: &str) -> Self {
        Self::modelled(400, "InvalidRequestContentException", Spelling::Lower, message, Reason::LambdaBadRequest)
    }

    /// A payload that is not JSON; `detail` is the parser's text.
    pub fn payload_not_json(detail: &str) -> Self {
        Self::invalid_request_content(&format!(
            "Could not parse request body into json: Could not parse payload into json: {detail}"
        ))
    }

    /// A payload over its limit; `invocation` is `RequestResponse` or `Event`.
    pub fn payload_too_large(size: u64, invocation: &str, limit: usize) -> Self {
        let message =
            format!("{size} byte payload is too large for the {invocation} invocation type (limit {limit} bytes)");
        Self::modelled(413, "RequestEntityTooLargeException", Spelling::Lower, &message, Reason::LambdaTooLarge)
    }

    /// A body over the limit of an operation that takes none.
    pub fn request_too_large(limit: usize) -> Self {
        let message = format!("Request must be smaller than {limit} bytes");
        Self::modelled(413, "RequestTooLargeException", Spelling::Lower, &message, Reason::LambdaTooLarge)
    }

    /// No capacity for another invocation now. Without `Retry-After`: AWS's recorded answers have none.
    pub fn throttled(why: ThrottleReason) -> Self {
        Self::too_many_requests(why, Reason::LambdaThrottled)
    }

    /// No room for another request's body now: throttling of the API, which AWS does before it knows the caller as well. A
    /// 503 is in none of Lambda's models; every SDK tries this one again, more and more slowly.
    pub fn no_room_for_body() -> Self {
        Self::too_many_requests(ThrottleReason::CallerRateLimitExceeded, Reason::LambdaBodyBudget)
    }

    fn too_many_requests(why: ThrottleReason, reason: Reason) -> Self {
        let body = format!(r#"{{"Reason":"{}","Type":"User","message":"{}"}}"#, why.name(), why.message());
        Self::json(429, "TooManyRequestsException", body, reason)
    }

    /// Our side of the endpoint, or the function host, failed.
    pub fn service(message: &str) -> Self {
        Self::modelled(500, "ServiceException", Spelling::Upper, message, Reason::LambdaHostUnavailable)
    }

    fn modelled(status: u16, code: &'static str, spelling: Spelling, message: &str, reason: Reason) -> Self {
        let fault = if status < 500 { "User" } else { "Service" };
        let mut body = String::with_capacity(message.len() + 40);
        match spelling {
            Spelling::Upper => {
                body.push_str("{\"Message\":");
                push_json_string(&mut body, message);
                body.push_str(",\"Type\":\"");
                body.push_str(fault);
                body.push_str("\"}");
            }
            Spelling::Lower => {
                body.push_str("{\"Type\":\"");
                body.push_str(fault);
                body.push_str("\",\"message\":");
                push_json_string(&mut body, message);
                body.push('}');
            }
        }
        Self::json(status, code, body, reason)
    }

    fn json(status: u16, code: &'static str, body: String, reason: Reason) -> Self {
        Self { status, code, body: Bytes::from(body), content_type: Some(JSON), reason }
    }
}

/// Constraints of the service model that a request breaks; the framework reports all of them in one answer.
#[derive(Clone, Default, Debug)]
pub struct Violations(Vec<String>);

impl Violations {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` of member `member` does not match `pattern`.
    pub fn pattern(&mut self, value: &str, member: &str, pattern: &str) {
        self.add(value, member, format_args!("satisfy regular expression pattern: {pattern}"));
    }

    /// `value` of member `member` is longer than `max` characters.
    pub fn too_long(&mut self, value: &str, member: &str, max: usize) {
        self.add(value, member, format_args!("have length less than or equal to {max}"));
    }

    /// `value` of member `member` is empty.
    pub fn empty(&mut self, member: &str) {
        self.add("", member, format_args!("have length greater than or equal to 1"));
    }

    /// `value` of member `member` is not one of `allowed`.
    pub fn not_in(&mut self, value: &str, member: &str, allowed: &[&str]) {
        self.add(value, member, format_args!("satisfy enum value set: [{}]", allowed.join(", ")));
    }

    /// `value` of member `member` is below `min`.
    pub fn below(&mut self, value: &str, member: &str, min: i64) {
        self.add(value, member, format_args!("have value greater than or equal to {min}"));
    }

    /// `value` of member `member` is above `max`.
    pub fn above(&mut self, value: &str, member: &str, max: i64) {
        self.add(value, member, format_args!("have value less than or equal to {max}"));
    }

    /// Adds what another check found.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn add(&mut self, value: &str, member: &str, must: std::fmt::Arguments<'_>) {
        self.0.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: Member must {must}"));
    }

    /// The `ValidationException` that names them all, if there are any.
    ///
    /// # Errors
    /// The exception.
    pub fn check(self) -> Result<(), ApiError> {
        let message = match self.0.as_slice() {
            [] => return Ok(()),
            [one] => format!("1 validation error detected: {one}"),
            many => format!("{} validation errors detected: {}", many.len(), many.join("; ")),
        };
        Err(ApiError::framework(400, "ValidationException", &message, Reason::LambdaBadRequest))
    }
}

/// Appends `text` as a JSON string, quotes included.
pub(crate) fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
