//! The error table: every refusal that a real client can provoke, with status, `x-amzn-ErrorType` and body as AWS sends them
//! (recordings and documentation: the facts, 4.4 and 5.2).

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::{HOST, arn};
use support::{Differences, Lab, Tun};

in_both_modes! {
    every_error_is_awss_byte_for_byte: [Clients];
    curl_gets_awss_bytes_over_h2_and_http_1_1: [Curl];
}

fn lab(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| Lab::quickstart(mode))
}

const NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_\\.]+)(:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
const QUALIFIER_PATTERN: &str = r"\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";
const UNPARSED: &str = "Could not parse request body into json: Could not parse payload into json: ";
const SOURCE: &str =
    r"\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: ";
const MISMATCH: &str = r#"{"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}"#;
const UNKNOWN_OPERATION: &str = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>";
const NO_TOKEN: &str = r#"{"message":"Missing Authentication Token"}"#;

/// Case, status, `x-amzn-ErrorType`, body. In bodies `{KEY}` is the caller's access key, `{STAMP}` a date as signatures
/// have it, `{DAY}` its first part, `{HEX}` a signature.
#[rustfmt::skip]
fn errors() -> Vec<(&'static str, u16, &'static str, String)> {
    let not_found = |name: &str| format!(r#"{{"Message":"Function not found: {}","Type":"User"}}"#, arn(name));
    let user = |text: &str| format!(r#"{{"Type":"User","message":"{text}"}}"#);
    let message = |text: &str| format!(r#"{{"message":"{text}"}}"#);
    let violation = |value: &str, field: &str, pattern: &str| format!(
        "Value '{value}' at '{field}' failed to satisfy constraint: Member must satisfy regular expression pattern: {pattern}");
    let one = |text: String| message(&format!("1 validation error detected: {text}"));
    let bad_name = |name: &str| one(violation(name, "functionName", NAME_PATTERN));
    let unparsed = |what: &str, column: u32| user(&format!("{UNPARSED}{what}{SOURCE}{column}]"));
    let too_large = |size: u32, kind: &str, limit: u32| user(&format!(
        "{size} byte payload is too large for the {kind} invocation type (limit {limit} bytes)"));
    let header = "AWS4-HMAC-SHA256 Credential={KEY}/{DAY}/us-east-2/lambda/aws4_request, SignedHeaders=host;x-amz-date, Signature={HEX}";
    let incomplete = |lacks: &str, header: &str| message(&format!("{lacks} Authorization={header}"));
    let (n65, n300) = ("n".repeat(65), "n".repeat(300));
    let bad_qualifier = violation("no good qualifier!", "qualifier", QUALIFIER_PATTERN);
    let [missing, invalid, denied] = ["ResourceNotFoundException", "ValidationException", "AccessDeniedException"];
    let [content, large] = ["InvalidRequestContentException", "RequestEntityTooLargeException"];
    let [signature, incomplete_signature] = ["InvalidSignatureException", "IncompleteSignatureException"];
    let [client, token] = ["UnrecognizedClientException", "MissingAuthenticationTokenException"];
    let unknown_client = message("The security token included in the request is invalid");
    let nothing = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
    vec![
        ("function_not_found", 404, missing, not_found("no-such-function:$LATEST")),
        ("function_not_found_arn", 404, missing, not_found("no-such-function:$LATEST")),
        ("get_function_not_found", 404, missing, not_found("no-such-function")),
        ("version_not_found", 404, missing, not_found("my-function:99")),
        ("alias_not_found", 404, missing, not_found("my-function:no-such-alias")),
        ("lower_case_latest", 404, missing, not_found("hello:$latest")),
        ("other_region", 404, missing, r#"{"Message":"Functions from 'us-west-2' are not reachable in this region ('us-east-2')","Type":"User"}"#.to_owned()),
        ("other_account", 403, denied, r#"{"Message":"User: arn:aws:iam::123456789012:user/Admin is not authorized to perform: lambda:InvokeFunction on resource: arn:aws:lambda:us-east-2:210987654321:function:hello because no resource-based policy allows the lambda:InvokeFunction action"}"#.to_owned()),
        ("qualifier_mismatch", 400, "InvalidParameterValueException", user("The derived qualifier from the function name does not match the specified qualifier.")),
        ("bad_name", 400, invalid, bad_name("no good name!")),
        ("bad_qualifier", 400, invalid, one(bad_qualifier.clone())),
        ("bad_name_and_qualifier", 400, invalid, message(&format!("2 validation errors detected: {bad_qualifier}; {}", violation("no good name!", "functionName", NAME_PATTERN)))),
        ("two_qualifiers", 400, invalid, bad_name(&arn("my-function:1:2"))),
        ("misspelt_latest", 400, invalid, bad_name(&arn("hello:$LATES"))),
        ("other_service_arn", 400, invalid, bad_name("arn:aws:s3:us-east-2:123456789012:function:hello")),
        ("arn_without_name", 404, missing, not_found("function:$LATEST")),
        ("name_of_65_characters", 404, missing, not_found(&format!("{n65}:$LATEST"))),
        ("name_of_300_characters", 400, invalid, one(format!("Value '{n300}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 256"))),
        ("bad_json", 400, content, unparsed("Unexpected character ('n' (code 110)): was expecting double-quote to start field name", 2)),
        ("bad_json_event", 400, content, unparsed("Unexpected character ('n' (code 110)): was expecting double-quote to start field name", 2)),
        ("control_character", 400, content, unparsed("Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", 1)),
        ("bad_utf8", 400, content, unparsed("Invalid UTF-8 start byte 0x87", 3)),
        ("payload_too_large", 413, large, too_large(6_291_478, "RequestResponse", 6_291_456)),
        ("payload_one_byte_too_large", 413, large, too_large(6_291_457, "RequestResponse", 6_291_456)),
        ("event_too_large", 413, large, too_large(1_048_577, "Event", 1_048_576)),
        ("bad_invocation_type", 400, invalid, one("Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]".to_owned())),
        ("bad_log_type", 400, invalid, one("Value 'Head' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]".to_owned())),
        ("bad_request_id", 400, content, user("The x-amzn-RequestId header is not a valid UUID string.")),
        ("unknown_path", 403, "", UNKNOWN_OPERATION.to_owned()),
        ("unknown_path_unsigned", 403, "", UNKNOWN_OPERATION.to_owned()),
        ("unknown_method", 403, "", UNKNOWN_OPERATION.to_owned()),
        ("root", 403, "", UNKNOWN_OPERATION.to_owned()),
        ("unsigned", 403, token, NO_TOKEN.to_owned()),
        ("unsigned_get", 403, token, NO_TOKEN.to_owned()),
        ("bearer_alone", 403, incomplete_signature, incomplete(nothing, "Bearer")),
        ("bearer_token", 403, incomplete_signature, message("'abcdef' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer abcdef'.")),
        ("empty_authorization", 403, incomplete_signature, incomplete(nothing, "")),
        ("no_date", 403, incomplete_signature, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.", header)),
        ("no_signature", 403, incomplete_signature, incomplete("Authorization header requires 'Signature' parameter.", &header.replace("Signature=", "Signatur="))),
        ("no_signed_headers", 403, incomplete_signature, incomplete("Authorization header requires 'SignedHeaders' parameter.", &header.replace("SignedHeaders=", "Signed="))),
        ("bad_date", 403, incomplete_signature, message("Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601")),
        ("sigv4a", 403, incomplete_signature, message("Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). ")),
        ("short_credential", 403, incomplete_signature, message("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{KEY}/{DAY}/us-east-2/lambda'")),
        ("host_not_signed", 403, signature, message("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")),
        ("amz_header_not_signed", 403, signature, message("'x-amz-log-type' must be a 'SignedHeader' in the AWS Authorization.")),
        ("unsigned_payload", 403, signature, MISMATCH.to_owned()),
        ("wrong_secret", 403, signature, MISMATCH.to_owned()),
        ("unknown_key", 403, client, unknown_client.clone()),
        ("unexpected_token", 403, client, unknown_client.clone()),
        ("signed_by_hand_other_keys", 403, client, unknown_client),
        ("tampered_body", 403, signature, MISMATCH.to_owned()),
        ("tampered_path", 403, signature, MISMATCH.to_owned()),
        ("tampered_hash", 403, signature, MISMATCH.to_owned()),
        ("expired", 403, signature, message("Signature expired: {STAMP} is now earlier than {STAMP} ({STAMP} - 5 min.)")),
        ("not_yet_current", 403, signature, message("Signature not yet current: {STAMP} is still later than {STAMP} ({STAMP} + 5 min.)")),
        ("wrong_region", 403, signature, message("Credential should be scoped to a valid Region, not 'us-west-2'.")),
        ("wrong_service", 403, signature, message("Credential should be scoped to correct service: 'lambda'.")),
        ("wrong_terminator", 403, signature, message("Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.")),
        ("wrong_scope_date", 403, signature, message("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150830' != '{DAY}', from '{STAMP}'.")),
    ]
}

/// Whether `text` is `template`, whose holes hold what they should.
fn fits(text: &str, template: &str) -> bool {
    let Some(start) =
        template.find("{STAMP}").into_iter().chain(template.find("{DAY}")).chain(template.find("{HEX}")).min()
    else {
        return text == template;
    };
    let (before, rest) = template.split_at(start);
    let (hole, after) = rest.split_once('}').unwrap();
    let (len, fine): (_, fn(usize, u8) -> bool) = match hole {
        "{STAMP" => (16, |at, byte| {
            if at == 8 {
                byte == b'T'
            } else if at == 15 {
                byte == b'Z'
            } else {
                byte.is_ascii_digit()
            }
        }),
        "{DAY" => (8, |_, byte| byte.is_ascii_digit()),
        _ => (64, |_, byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
    };
    let Some(held) = text.strip_prefix(before) else { return false };
    held.len() >= len
        && held.bytes().take(len).enumerate().all(|(at, byte)| fine(at, byte))
        && fits(&held[len..], after)
}

/// Seconds of the day in the `n`th date of a signature error.
fn stamp(text: &str, n: usize) -> i64 {
    let found = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == 16 && word.ends_with('Z'));
    let word = found.clone().nth(n).unwrap();
    let part = |at: usize| word[at..at + 2].parse::<i64>().unwrap();
    part(9) * 3600 + part(11) * 60 + part(13)
}

fn every_error_is_awss_byte_for_byte(mode: Tun) {
    let lab = lab(mode);
    let key = lab.status()["identities"][0]["access_key_id"].as_str().unwrap().to_owned();
    let outcomes = lab.client("app", "errors.py", &[]);
    let mut differences = Differences::default();
    let (errors, fine) = (errors(), ["content_type_not_json", "signed_by_hand", "signed_by_hand_slightly_late"]);
    assert_eq!(outcomes.as_object().unwrap().len(), errors.len() + fine.len(), "a case is not judged");
    for (case, status, kind, body) in &errors {
        let outcome = &outcomes[case];
        let headers = &outcome["headers"];
        differences.compare(case, "status", &outcome["status"], &json!(status));
        let kind = if kind.is_empty() { Value::Null } else { json!(kind) };
        differences.compare(case, "x-amzn-ErrorType", &headers["x-amzn-errortype"], &kind);
        let content_type = if kind.is_null() { Value::Null } else { json!("application/json") };
        differences.compare(case, "Content-Type", &headers["content-type"], &content_type);
        let (found, body) = (outcome["body"].as_str().unwrap_or_default(), body.replace("{KEY}", &key));
        if !fits(found, &body) {
            differences.compare(case, "body", &json!(found), &json!(body));
        }
        differences.compare(case, "Content-Length", &headers["content-length"], &json!(found.len().to_string()));
        let id = headers["x-amzn-requestid"].as_str().unwrap_or_default();
        differences.compare(case, "length of the request id", &json!(id.len()), &json!(36));
    }
    for case in fine {
        differences.compare(case, "status", &outcomes[case]["status"], &json!(200));
    }
    for (case, signed, limit) in [("expired", -600, -300), ("not_yet_current", 600, 300)] {
        let body = outcomes[case]["body"].as_str().unwrap();
        let now = stamp(body, 2);
        let apart = |n| (stamp(body, n) - now + 43_200).rem_euclid(86_400) - 43_200;
        // The clock may have ticked between signing and judging.
        if (apart(0) - signed).abs() > 5 || apart(1) != limit {
            differences.add(case, body);
        }
    }
    // Recorded lengths of real answers (`docs/fidelity.md#skew`).
    let length = |case: &str| outcomes[case]["headers"]["content-length"].clone();
    differences.compare("wrong_secret", "recorded length", &length("wrong_secret"), &json!("192"));
    differences.compare("expired", "recorded length", &length("expired"), &json!("114"));
    differences.judge();
}

fn curl_gets_awss_bytes_over_h2_and_http_1_1(mode: Tun) {
    let lab = lab(mode);
    let invocations = "/2015-03-31/functions/hello/invocations";
    for (option, protocol) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let ask = |arguments: &[&str], path: &str| {
            let url = format!("https://{HOST}{path}");
            let shown = "\n%{http_code} %{http_version} %{header_json}";
            let ran = lab.curl("app", &[&[option, "--write-out", shown], arguments, &[&url]].concat());
            let text = ran.ok();
            let (body, rest) = text.rsplit_once(&format!("\n403 {protocol} ")).unwrap_or_else(|| panic!("{text}"));
            (body.to_owned(), serde_json::from_str::<Value>(rest).unwrap())
        };
        let (body, headers) = ask(&[], "/");
        assert_eq!(body, UNKNOWN_OPERATION);
        assert!(headers.get("content-type").is_none(), "{headers}");
        let (body, headers) = ask(&["--data", "{}"], invocations);
        assert_eq!((body.as_str(), &headers["content-type"]), (NO_TOKEN, &json!(["application/json"])));
        assert_eq!(headers["x-amzn-errortype"], json!(["MissingAuthenticationTokenException"]));
        let (body, headers) =
            ask(&["--data", "{}", "--header", "Authorization: AWS4-HMAC-SHA256 garbage"], invocations);
        let wants = "'garbage' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 garbage'.";
        assert_eq!(body, json!({ "message": wants }).to_string());
        assert_eq!(headers["x-amzn-errortype"], json!(["IncompleteSignatureException"]));
        let (body, _) = ask(&["--request", "BREW"], "/%00/..%2f/garbage?%");
        assert_eq!(body, UNKNOWN_OPERATION);
    }
}

#[test]
fn templates_of_errors_are_strict() {
    let stamp = "20261123T160058Z";
    assert!(fits(&format!("at {stamp}!"), "at {STAMP}!"));
    assert!(!fits("at 20261123X160058Z!", "at {STAMP}!"));
    assert!(!fits(&format!("at {stamp}!?"), "at {STAMP}!"));
    assert!(fits(&format!("20261123/{}", "0f".repeat(32)), "{DAY}/{HEX}"));
    assert!(!fits(&format!("20261123/{}", "0F".repeat(32)), "{DAY}/{HEX}"));
}
