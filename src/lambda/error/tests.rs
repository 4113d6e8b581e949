use super::*;

fn row(error: &ApiError) -> (u16, &str, Option<&str>, &str) {
    (error.status, error.code, error.content_type, std::str::from_utf8(&error.body).unwrap())
}

#[test]
fn every_row_of_the_error_table_has_its_exact_bytes() {
    let arn = "arn:aws:lambda:us-east-1:111111111111:function:nope:$LATEST";
    let mut one = Violations::default();
    one.pattern("a b", "functionName", "[a-z]+");
    let mut two = Violations::default();
    two.pattern("$LATES", "qualifier", "x|y");
    two.too_long("abc", "functionName", 2);
    let table = [
        (
            ApiError::function_not_found(arn),
            404,
            "ResourceNotFoundException",
            r#"{"Message":"Function not found: arn:aws:lambda:us-east-1:111111111111:function:nope:$LATEST","Type":"User"}"#,
        ),
        (
            ApiError::other_region("us-west-2", "us-east-1"),
            404,
            "ResourceNotFoundException",
            r#"{"Message":"Functions from 'us-west-2' are not reachable in this region ('us-east-1')","Type":"User"}"#,
        ),
        (
            ApiError::qualifier_mismatch(),
            400,
            "InvalidParameterValueException",
            r#"{"Type":"User","message":"The derived qualifier from the function name does not match the specified qualifier."}"#,
        ),
        (
            one.check().unwrap_err(),
            400,
            "ValidationException",
            r#"{"message":"1 validation error detected: Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"}"#,
        ),
        (
            two.check().unwrap_err(),
            400,
            "ValidationException",
            r#"{"message":"2 validation errors detected: Value '$LATES' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: x|y; Value 'abc' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 2"}"#,
        ),
        (
            ApiError::throttled(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded),
            429,
            "TooManyRequestsException",
            r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#,
        ),
        (
            ApiError::throttled(ThrottleReason::CallerRateLimitExceeded),
            429,
            "TooManyRequestsException",
            r#"{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate exceeded"}"#,
        ),
        (
            ApiError::payload_too_large(6_291_478, "RequestResponse", 6_291_456),
            413,
            "RequestEntityTooLargeException",
            r#"{"Type":"User","message":"6291478 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"}"#,
        ),
        (
            ApiError::payload_too_large(1_048_577, "Event", 1_048_576),
            413,
            "RequestEntityTooLargeException",
            r#"{"Type":"User","message":"1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"}"#,
        ),
        (
            ApiError::access_denied(
                "User: arn:aws:iam::123412341234:user/MyUser is not authorized to perform: lambda:InvokeFunction",
                Reason::EndpointPolicyDeny,
            ),
            403,
            "AccessDeniedException",
            r#"{"Message":"User: arn:aws:iam::123412341234:user/MyUser is not authorized to perform: lambda:InvokeFunction"}"#,
        ),
        (
            ApiError::payload_not_json("x\n at [y]"),
            400,
            "InvalidRequestContentException",
            r#"{"Type":"User","message":"Could not parse request body into json: Could not parse payload into json: x\n at [y]"}"#,
        ),
        (ApiError::service("it broke"), 500, "ServiceException", r#"{"Message":"it broke","Type":"Service"}"#),
        (
            ApiError::not_supported("CreateFunction"),
            501,
            "ServiceException",
            r#"{"Message":"vpce does not support CreateFunction yet. It supports Invoke, InvokeAsync, InvokeWithResponseStream, GetFunction, GetFunctionConfiguration, ListFunctions and GetAccountSettings.","Type":"Service"}"#,
        ),
    ];
    for (error, status, code, body) in table {
        assert_eq!(row(&error), (status, code, Some("application/json"), body));
    }
}

#[test]
fn an_unknown_operation_is_xml_without_a_content_type() {
    let error = ApiError::unknown_operation();
    assert_eq!(
        row(&error),
        (
            403,
            "",
            None,
            "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be \
             authorized</Message>\n</AccessDeniedException>"
        )
    );
}

#[test]
fn the_published_length_of_the_signature_mismatch_answer_comes_out() {
    let text = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                Access Key and signing method. Consult the service documentation for details.";
    let error = ApiError::framework(403, "InvalidSignatureException", text, Reason::SignatureMismatch);
    assert_eq!(error.body.len(), 192);
}

#[test]
fn whatever_the_value_is_the_body_stays_json() {
    for value in ["\"", "\\", "\u{0}\u{1f}", "a\nb\r\t\u{8}\u{c}", "é\u{2028}𝄞", "</script>"] {
        let mut violations = Violations::default();
        violations.pattern(value, "functionName", r"\d");
        let error = violations.check().unwrap_err();
        let parsed: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
        assert!(parsed["message"].as_str().unwrap().contains(&format!("Value '{value}'")), "{value:?}");
    }
}

#[test]
fn throttle_reasons_are_known_by_their_names() {
    for reason in ThrottleReason::ALL {
        assert_eq!(ThrottleReason::parse(reason.name()), Some(reason));
    }
    assert_eq!(ThrottleReason::parse("Because"), None);
}
