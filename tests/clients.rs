//! Real clients inside a lab: AWS CLI, boto3, curl, and programs that look closer than those do.
//!
//! What is asserted is what came back over the wire. The clients themselves are tests/clients/*.py.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::{DUALSTACK, ENI, ENI6, HOST, REGIONAL, ZONAL, arn};
use support::{Differences, Lab, Ran, Tun, client, strings, timed, wait_for};

in_both_modes! {
    the_aws_cli_invokes_and_reads: [Clients];
    boto3_invokes_in_every_way: [Clients];
    boto3_reads_a_response_stream: [Clients];
    boto3_reads_what_there_is: [Clients];
    every_error_is_awss_byte_for_byte: [Clients];
    function_errors_are_http_200_with_awss_bodies: [Clients];
    a_throttled_function_answers_429: [Clients];
    the_policy_that_decides_is_named: [Clients];
    the_blogs_policy_lets_my_user_invoke_version_1_and_nobody_else: [Clients];
    curl_gets_awss_bytes_over_h2_and_http_1_1: [Curl];
    curl_invokes_over_both_ip_versions_and_every_name: [Curl];
    answers_have_the_headers_that_lambdas_have: [Curl];
    tls_ends_here_for_our_names_and_versions_only: [Clients];
    tls_sessions_are_resumed: [Clients];
    the_largest_payload_goes_both_ways: [Clients];
    sixty_four_callers_at_once_get_their_own_answers: [Clients];
    a_connection_is_used_again: [Clients];
    a_body_is_asked_for_and_may_come_in_chunks: [Clients];
    slow_clients_are_cut_off_and_counted: [Clients];
    an_event_invocation_is_queued_and_tried: [Clients];
    each_request_has_one_access_line: [Clients];
}

/// The quickstart lab with more functions, of which each fails in its own way.
fn lab(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| {
        let changes =
            [("builtin = \"echo\"", "builtin = \"echo\"\nconcurrency = 200"), ("name = \"fails\"", FUNCTIONS)];
        Lab::changed(&changes, &["--tun", mode.name()])
    })
}

const FUNCTIONS: &str = r#"name = "exits"
source = '''
import os
def handler(event, context):
    os._exit(event["status"])
'''

[[function]]
name = "sleeps"
timeout = "1s"
source = '''
import time
def handler(event, context):
    print("good night", flush=True)
    time.sleep(60)
'''

[[function]]
name = "returns-nothing"
source = '''
def handler(event, context):
    pass
'''

[[function]]
name = "returns-much"
source = '''
def handler(event, context):
    return "x" * 6291600
'''

[[function]]
name = "no-handler"
handler = "handler.missing"
source = '''
def handler(event, context):
    pass
'''

[[function]]
name = "throttled"
concurrency = 0
source = '''
def handler(event, context):
    pass
'''

[[function]]
name = "fails""#;

fn aws(lab: &Lab, identity: &str, arguments: &[&str]) -> Ran {
    lab.command(identity, "app", client("aws")).args(["--output", "json"]).args(arguments).output().unwrap().into()
}

/// `aws lambda invoke`: what it prints, and the payload it writes to a file.
fn cli_invoke(lab: &Lab, arguments: &[&str]) -> (Value, String) {
    let file = lab.folder().join("payload.json");
    let _: std::io::Result<()> = std::fs::remove_file(&file);
    let all = [&["lambda", "invoke"], arguments, &[file.to_str().unwrap()]].concat();
    (aws(lab, "Admin", &all).json(), std::fs::read_to_string(&file).unwrap())
}

fn the_aws_cli_invokes_and_reads(mode: Tun) {
    let lab = lab(mode);
    let (said, payload) = cli_invoke(lab, &["--function-name", "hello", "--payload", r#"{"name":"CLI"}"#]);
    assert_eq!(said, json!({ "StatusCode": 200, "ExecutedVersion": "$LATEST" }));
    assert!(payload.starts_with(r#"{"message": "Hello, CLI!", "version": "$LATEST""#), "{payload}");

    let partial = ["--function-name", "123456789012:function:my-function", "--qualifier", "1", "--log-type", "Tail"];
    let (said, payload) = cli_invoke(lab, &partial);
    assert_eq!((&said["StatusCode"], &said["ExecutedVersion"]), (&json!(200), &json!("1")));
    assert!(said["LogResult"].as_str().unwrap().starts_with("U1RBUlQgUmVxdWVzdElkOi"), "{said}"); // START RequestId:
    assert_eq!(serde_json::from_str::<Value>(&payload).unwrap()["invokedFunctionArn"], arn("my-function:1"));

    let name = arn("hello");
    let (said, payload) = cli_invoke(lab, &["--function-name", &name, "--invocation-type", "Event"]);
    assert_eq!((said, payload.as_str()), (json!({ "StatusCode": 202 }), ""));
    let (said, payload) = cli_invoke(lab, &["--function-name", &name, "--invocation-type", "DryRun"]);
    assert_eq!((said, payload.as_str()), (json!({ "StatusCode": 204 }), ""));

    let (said, payload) = cli_invoke(lab, &["--function-name", "fails", "--payload", r#"{"item":"ink"}"#]);
    assert_eq!(said["FunctionError"], "Unhandled");
    assert!(payload.contains(r#""errorMessage": "ink is out of stock", "errorType": "OutOfStock""#), "{payload}");

    let listed = aws(lab, "Admin", &["lambda", "list-functions", "--query", "Functions[].FunctionName"]).json();
    let all = ["hello", "echo", "my-function", "exits", "sleeps", "returns-nothing", "returns-much", "no-handler"];
    assert_eq!(listed, strings(all.into_iter().chain(["throttled", "fails"])));
    let function = aws(lab, "Admin", &["lambda", "get-function", "--function-name", "my-function"]).json();
    assert_eq!(function["Configuration"]["FunctionArn"], arn("my-function"));
    let account = aws(lab, "Admin", &["lambda", "get-account-settings"]).json();
    assert_eq!(account["AccountUsage"]["FunctionCount"], 10);

    let refused = aws(lab, "MyUser", &["lambda", "invoke", "--function-name", &arn("hello"), "/dev/null"]);
    assert_ne!(refused.code, 0);
    let text = "An error occurred (AccessDeniedException) when calling the Invoke operation: User: \
                arn:aws:iam::123412341234:user/MyUser is not authorized to perform: lambda:InvokeFunction on resource: \
                arn:aws:lambda:us-east-2:123456789012:function:hello because no resource-based policy allows the \
                lambda:InvokeFunction action";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
}

/// What an invocation should come to.
struct Invocation {
    status: u16,
    version: Option<&'static str>,
    payload: Payload,
}

enum Payload {
    Is(&'static str),
    /// JSON whose members are those given, and others beside.
    Has(Value),
}

impl Invocation {
    fn judge(&self, differences: &mut Differences, case: &str, outcome: &Value) {
        differences.compare(case, "status", &outcome["status"], &json!(self.status));
        differences.compare(case, "version", &outcome["result"]["executed_version"], &json!(self.version));
        differences.compare(
            case,
            "version header",
            &outcome["headers"]["x-amz-executed-version"],
            &json!(self.version),
        );
        let found = outcome["result"]["payload"].as_str().unwrap_or_default();
        match &self.payload {
            Payload::Is(text) => differences.compare(case, "payload", &json!(found), &json!(text)),
            Payload::Has(members) => {
                let found: Value = serde_json::from_str(found).unwrap_or_default();
                for (name, value) in members.as_object().unwrap() {
                    differences.compare(case, name, &found[name], value);
                }
                let id = &outcome["headers"]["x-amzn-requestid"];
                differences.compare(case, "request id", &found["requestId"], id);
            }
        }
    }
}

fn hello(name: &str) -> Invocation {
    let payload = Payload::Has(json!({ "message": format!("Hello, {name}!"), "version": "$LATEST" }));
    Invocation { status: 200, version: Some("$LATEST"), payload }
}

fn my_function(qualifier: Option<&str>, version: &'static str) -> Invocation {
    let arn = arn(&["my-function"].into_iter().chain(qualifier).collect::<Vec<_>>().join(":"));
    let payload = json!({ "version": version, "invokedFunctionArn": arn, "event": { "name": "world" } });
    Invocation { status: 200, version: Some(version), payload: Payload::Has(payload) }
}

fn empty(status: u16) -> Invocation {
    Invocation { status, version: None, payload: Payload::Is("") }
}

fn boto3_invokes_in_every_way(mode: Tun) {
    let outcomes = lab(mode).client("app", "invoke.py", &[]);
    let latest = Some("$LATEST");
    let echoed = |text| Invocation { status: 200, version: latest, payload: Payload::Is(text) };
    let failed = || {
        let payload = json!({ "errorMessage": "everything is out of stock", "errorType": "OutOfStock" });
        Invocation { status: 200, version: latest, payload: Payload::Has(payload) }
    };
    let expected = [
        ("request_response", hello("world")),
        ("request_response_named", hello("world")),
        ("no_payload", echoed("{}")),
        ("unicode", echoed(r#"{"text": "Grüße ☃ 🦀"}"#)),
        ("dry_run", empty(204)),
        ("event", empty(202)),
        ("log_tail", hello("world")),
        ("client_context", hello("world")),
        ("function_error", failed()),
        ("function_error_log_tail", failed()),
        ("qualifier_version", my_function(Some("1"), "1")),
        ("qualifier_latest", my_function(Some("$LATEST"), "$LATEST")),
        ("name_with_version", my_function(Some("1"), "1")),
        ("name_and_qualifier_agree", my_function(Some("1"), "1")),
        ("arn", hello("world")),
        ("arn_version", my_function(Some("1"), "1")),
        ("arn_latest", my_function(Some("$LATEST"), "$LATEST")),
        ("partial_arn", my_function(None, "$LATEST")),
        ("partial_arn_version", my_function(Some("1"), "1")),
        ("partial_arn_region", my_function(None, "$LATEST")),
        ("function_prefix", my_function(None, "$LATEST")),
    ];
    let mut differences = Differences::default();
    for (case, invocation) in &expected {
        invocation.judge(&mut differences, case, &outcomes[case]);
    }
    let apart = ["large", "invoke_async"];
    assert_eq!(outcomes.as_object().unwrap().len(), expected.len() + apart.len(), "a case is not judged");
    differences.compare("invoke_async", "status", &outcomes["invoke_async"]["status"], &json!(202));
    let large = outcomes["large"]["result"]["payload"].as_str().unwrap_or_default();
    let same = large.len() == 1_000_002 && large.trim_matches('"').bytes().all(|byte| byte == b'x');
    differences.compare("large", "same", &json!(same), &json!(true));
    for case in ["function_error", "function_error_log_tail"] {
        differences.compare(case, "function error", &outcomes[case]["result"]["function_error"], &json!("Unhandled"));
    }
    differences.compare("request_response", "log", &outcomes["request_response"]["result"]["log"], &Value::Null);
    for (case, line) in [("log_tail", "hello from hello, "), ("function_error_log_tail", "[ERROR] OutOfStock: ")] {
        let id = outcomes[case]["headers"]["x-amzn-requestid"].as_str().unwrap_or_default();
        let log = outcomes[case]["result"]["log"].as_str().unwrap_or_default();
        let pieces = [
            format!("START RequestId: {id} Version: $LATEST\n"),
            line.to_owned(),
            format!("END RequestId: {id}\nREPORT RequestId: {id}\tDuration: "),
            "Billed Duration: ".to_owned(),
            "\tMemory Size: 128 MB\tMax Memory Used: ".to_owned(),
        ];
        if pieces.iter().try_fold(log, |rest, piece| Some(rest.split_once(piece.as_str())?.1)).is_none() {
            differences.add(case, &format!("the log is not Lambda's: {log:?}"));
        }
    }
    differences.judge();
}

fn boto3_reads_a_response_stream(mode: Tun) {
    let outcomes = lab(mode).client("app", "stream.py", &[]);
    let mut differences = Differences::default();
    let expected = [
        ("hello", hello("world")),
        ("log_tail", hello("world")),
        ("arn_version", my_function(Some("1"), "1")),
        ("qualifier", my_function(Some("1"), "1")),
        ("dry_run", empty(204)),
    ];
    for (case, invocation) in &expected {
        invocation.judge(&mut differences, case, &outcomes[case]);
    }
    for case in ["hello", "arn_version", "large"] {
        let events = outcomes[case]["result"]["events"].as_array().unwrap();
        let (last, chunks) = events.split_last().unwrap();
        differences.compare(case, "last event", last, &json!({ "InvokeComplete": {} }));
        let only_chunks = !chunks.is_empty() && chunks.iter().all(|event| event["PayloadChunk"].is_string());
        differences.compare(case, "chunks before it", &json!(only_chunks), &json!(true));
        let kind = &outcomes[case]["headers"]["content-type"];
        differences.compare(case, "content type", kind, &json!("application/vnd.amazon.eventstream"));
    }
    let large = outcomes["large"]["result"]["payload"].as_str().unwrap_or_default();
    differences.compare("large", "length", &json!(large.len()), &json!(1_000_002));
    let log = &outcomes["log_tail"]["result"]["events"][1]["InvokeComplete"]["LogResult"];
    differences.compare(
        "log_tail",
        "log",
        &json!(log.as_str().is_some_and(|log| log.starts_with("U1RBUlQg"))),
        &json!(true),
    );
    let error = &outcomes["function_error"]["result"]["events"][0]["InvokeComplete"];
    differences.compare("function_error", "code", &error["ErrorCode"], &json!("Unhandled"));
    let details: Value = serde_json::from_str(error["ErrorDetails"].as_str().unwrap_or("null")).unwrap();
    differences.compare("function_error", "type", &details["errorType"], &json!("OutOfStock"));
    differences.compare("not_found", "code", &outcomes["not_found"]["code"], &json!("ResourceNotFoundException"));
    differences.judge();
}

fn boto3_reads_what_there_is(mode: Tun) {
    let outcomes = lab(mode).client("app", "read_only.py", &[]);
    let mut differences = Differences::default();
    let configuration =
        |case: &str| outcomes[case]["result"].get("Configuration").unwrap_or_else(|| &outcomes[case]["result"]);
    for (case, name, version, qualified) in [
        ("get_function", "hello", "$LATEST", "hello"),
        ("get_function_arn", "my-function", "$LATEST", "my-function"),
        ("get_function_version", "my-function", "1", "my-function:1"),
        ("get_function_configuration", "hello", "$LATEST", "hello"),
        ("get_function_configuration_version", "my-function", "1", "my-function:1"),
    ] {
        let found = configuration(case);
        differences.compare(case, "name", &found["FunctionName"], &json!(name));
        differences.compare(case, "version", &found["Version"], &json!(version));
        differences.compare(case, "ARN", &found["FunctionArn"], &json!(arn(qualified)));
        differences.compare(case, "state", &found["State"], &json!("Active"));
        differences.compare(case, "timeout", &found["Timeout"], &json!(3));
        differences.compare(case, "memory", &found["MemorySize"], &json!(128));
    }
    for case in ["get_function_not_found", "get_function_configuration_not_found"] {
        let body = format!(r#"{{"Message":"Function not found: {}","Type":"User"}}"#, arn("no-such-function"));
        differences.compare(case, "body", &outcomes[case]["body"], &json!(body));
    }
    let names =
        |functions: &Value| strings(functions.as_array().unwrap().iter().map(|f| f["FunctionArn"].as_str().unwrap()));
    let listed = names(&outcomes["list_functions"]["result"]["Functions"]);
    differences.compare("list_functions", "first", &listed[0], &json!(arn("hello")));
    differences.compare("list_functions", "length", &json!(listed.as_array().unwrap().len()), &json!(10));
    let all = names(&outcomes["list_functions_all"]["result"]["Functions"]);
    let versions = [arn("my-function:$LATEST"), arn("my-function:1")];
    let has = versions.iter().all(|arn| all.as_array().unwrap().contains(&json!(arn)));
    differences.compare("list_functions_all", "has both versions", &json!(has), &json!(true));
    let pages = outcomes["list_functions_pages"]["pages"].as_array().unwrap();
    let single = pages.len() == 10 && pages.iter().all(|page| page.as_array().unwrap().len() == 1);
    differences.compare("list_functions_pages", "ten pages of one", &json!(single), &json!(true));
    let settings = &outcomes["get_account_settings"]["result"];
    differences.compare("get_account_settings", "functions", &settings["AccountUsage"]["FunctionCount"], &json!(10));
    differences.judge();
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

fn function_errors_are_http_200_with_awss_bodies(mode: Tun) {
    let lab = lab(mode);
    let expected = [
        (
            "exits",
            json!({ "status": 0 }),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {ID} Error: Runtime exited without providing a reason"}"#,
        ),
        (
            "exits",
            json!({ "status": 127 }),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {ID} Error: Runtime exited with error: exit status 127"}"#,
        ),
        (
            "sleeps",
            json!({}),
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: {ID} Error: Task timed out after 1.00 seconds"}"#,
        ),
        (
            "returns-much",
            json!({}),
            r#"{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#,
        ),
    ];
    let quiet = [("returns-nothing", json!({})), ("no-handler", json!({}))];
    let all: Vec<(&str, Value)> =
        expected.iter().map(|(function, event, _)| (*function, event.clone())).chain(quiet).collect();
    let outcomes = lab.invoke_all("Admin", &all);
    let mut differences = Differences::default();
    for ((function, _, body), outcome) in expected.iter().zip(&outcomes) {
        let headers = &outcome["headers"];
        differences.compare(function, "status", &outcome["status"], &json!(200));
        differences.compare(function, "X-Amz-Function-Error", &headers["x-amz-function-error"], &json!("Unhandled"));
        let id = headers["x-amzn-requestid"].as_str().unwrap_or_default();
        differences.compare(function, "body", &outcome["result"]["payload"], &json!(body.replace("{ID}", id)));
    }
    let [.., nothing, missing] = &outcomes[..] else { unreachable!("as many outcomes as calls") };
    differences.compare("returns-nothing", "body", &nothing["result"]["payload"], &json!("null"));
    differences.compare("returns-nothing", "error", &nothing["result"]["function_error"], &Value::Null);
    differences.compare("no-handler", "error", &missing["result"]["function_error"], &json!("Unhandled"));
    let said = missing["result"]["payload"].as_str().unwrap_or_default();
    let names_it = said.contains("Runtime.HandlerNotFound");
    differences.compare("no-handler", "says what is missing", &json!(names_it), &json!(true));
    differences.judge();
}

fn a_throttled_function_answers_429(mode: Tun) {
    let outcome = lab(mode).invoke("throttled", json!({}));
    assert_eq!((&outcome["status"], &outcome["code"]), (&json!(429), &json!("TooManyRequestsException")), "{outcome}");
    let body =
        r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#;
    assert_eq!(outcome["body"], body);
    assert!(lab(mode).count("endpoint", "LAMBDA_THROTTLED") > 0);
}

fn denial(user: &str, function: &str, reason: &str) -> String {
    let arn = arn(function);
    format!(
        r#"{{"Message":"User: arn:aws:iam::{user} is not authorized to perform: lambda:InvokeFunction on resource: {arn} because {reason}"}}"#
    )
}

fn the_policy_that_decides_is_named(mode: Tun) {
    let lab = lab(mode);
    let before = lab.count("endpoint", "RESOURCE_POLICY_DENY");
    let (hello, version_1) = (arn("hello"), arn("my-function:1"));
    let calls = [(hello.as_str(), json!({})), (&version_1, json!({})), ("hello", json!({}))];
    let outcomes = lab.invoke_all("MyUser", &calls);
    let reason = "no resource-based policy allows the lambda:InvokeFunction action";
    assert_eq!(outcomes[0]["status"], 403);
    assert_eq!(outcomes[0]["body"], denial("123412341234:user/MyUser", "hello", reason));
    assert!(lab.count("endpoint", "RESOURCE_POLICY_DENY") > before);
    assert_eq!(outcomes[1]["status"], 200, "its resource policy lets the account in: {}", outcomes[1]);
    // A bare name means a function of the caller's own account, and MyUser is of another.
    let body = r#"{"Message":"Function not found: arn:aws:lambda:us-east-2:123412341234:function:hello:$LATEST","Type":"User"}"#;
    assert_eq!((&outcomes[2]["status"], &outcomes[2]["body"]), (&json!(404), &json!(body)));
}

fn the_blogs_policy_lets_my_user_invoke_version_1_and_nobody_else(mode: Tun) {
    let lab = Lab::builtin("blog", mode);
    let event = json!({});
    let names = ["my-function:1", "hello", "my-function"].map(arn);
    let mut outcomes = lab.invoke_all("MyUser", &names.each_ref().map(|name| (name.as_str(), event.clone())));
    assert_eq!(outcomes.remove(0)["status"], 200);
    outcomes.extend(lab.invoke_all("Admin", &[("my-function:1", event)]));
    let reason = "no VPC endpoint policy allows the lambda:InvokeFunction action";
    let (my_user, admin) = ("123412341234:user/MyUser", "123456789012:user/Admin");
    let mut differences = Differences::default();
    for ((user, function), outcome) in
        [(my_user, "hello"), (my_user, "my-function"), (admin, "my-function:1")].into_iter().zip(outcomes)
    {
        differences.compare(function, "status", &outcome["status"], &json!(403));
        differences.compare(function, "body", &outcome["body"], &json!(denial(user, function, reason)));
    }
    differences.judge();
    assert_eq!(lab.count("endpoint", "ENDPOINT_POLICY_DENY"), 3);
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

/// curl's arguments for a signed invocation of `echo`.
fn curl_invoke<'a>(lab: &Lab, url: &'a str, more: &[&'a str]) -> String {
    let status = lab.status();
    let key = |name: &str| status["identities"][0][name].as_str().unwrap().to_owned();
    let user = format!("{}:{}", key("access_key_id"), key("secret_access_key"));
    let signing = ["--aws-sigv4", "aws:amz:us-east-2:lambda", "--user", &user, "--data", r#"{"from":"curl"}"#];
    lab.curl("app", &[&signing, more, &[url]].concat()).ok()
}

fn curl_invokes_over_both_ip_versions_and_every_name(mode: Tun) {
    let lab = lab(mode);
    let shown = ["--write-out", " %{http_code} %{remote_ip} %{ssl_verify_result}"];
    for name in [HOST, DUALSTACK, REGIONAL, ZONAL] {
        let url = format!("https://{name}/2015-03-31/functions/echo/invocations");
        for (option, address) in [("--ipv4", ENI), ("--ipv6", ENI6)] {
            let said = curl_invoke(lab, &url, &[&shown[..], &[option]].concat());
            assert_eq!(said, format!(r#"{{"from":"curl"}} 200 {address} 0"#), "{name}");
        }
    }
}

fn answers_have_the_headers_that_lambdas_have(mode: Tun) {
    let lab = lab(mode);
    let url = format!("https://{HOST}/2015-03-31/functions/echo/invocations");
    let shown = ["--output", "/dev/null", "--write-out", "%{header_json}"];
    let ask = |more: &[&str]| -> Value {
        serde_json::from_str(&curl_invoke(lab, &url, &[&shown[..], more].concat())).unwrap()
    };
    let headers = ask(&["--http1.1"]);
    let names = ["connection", "content-length", "content-type", "date", "x-amz-executed-version"];
    let own = ["x-amzn-remapped-content-length", "x-amzn-requestid", "x-amzn-trace-id"];
    let mut found: Vec<&str> = headers.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, [&names[..], &own].concat());
    assert_eq!(headers["connection"], json!(["keep-alive"]));
    assert_eq!(headers["x-amzn-remapped-content-length"], json!(["0"]));
    let date = headers["date"][0].as_str().unwrap();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    let trace = headers["x-amzn-trace-id"][0].as_str().unwrap();
    assert!(trace.starts_with("root=1-") && trace.ends_with(";sampled=0"), "{trace}");
    assert!(ask(&["--http2"]).get("connection").is_none(), "HTTP/2 has no such header");
    assert_eq!(ask(&["--http1.1", "--header", "Connection: close"])["connection"], json!(["close"]));
}

fn tls_ends_here_for_our_names_and_versions_only(mode: Tun) {
    let lab = lab(mode);
    let before = lab.count("endpoint", "TLS_UNKNOWN_NAME");
    let found = lab.client("app", "wire.py", &["names"]);
    let names = json!([["DNS", HOST], ["DNS", DUALSTACK], ["DNS", "*.lambda.us-east-2.vpce.amazonaws.com"]]);
    for (case, version) in [
        ("public", "TLSv1.3"),
        ("dualstack", "TLSv1.3"),
        ("vpce", "TLSv1.3"),
        ("tls_1_2", "TLSv1.2"),
        ("tls_1_3", "TLSv1.3"),
    ] {
        assert_eq!((&found[case]["version"], &found[case]["names"]), (&json!(version), &names), "{case}: {found}");
    }
    for case in ["other_region", "other_service", "two_labels"] {
        assert_eq!(found[case]["alert"], "TLSV1_UNRECOGNIZED_NAME", "{case}");
    }
    let old = found["tls_1_1"]["alert"].as_str().unwrap_or_default();
    assert!(["TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE"].contains(&old), "{found}");
    assert_eq!(lab.count("endpoint", "TLS_UNKNOWN_NAME"), before + 3);
}

fn tls_sessions_are_resumed(mode: Tun) {
    let lab = lab(mode);
    let before = lab.count("endpoint", "TLS_RESUMED");
    let found = lab.client("app", "wire.py", &["resume"]);
    assert_eq!(found, json!({ "TLSv1_2": [false, true], "TLSv1_3": [false, true] }));
    assert!(lab.count("endpoint", "TLS_RESUMED") >= before + 2);
}

fn the_largest_payload_goes_both_ways(mode: Tun) {
    for host in ["app", "onprem"] {
        let outcome = lab(mode).client(host, "wire.py", &["large"]);
        assert_eq!(outcome["status"], 200, "{host}: {outcome}");
        assert_eq!(
            (&outcome["result"]["got"], &outcome["result"]["same"]),
            (&json!(6_291_456), &json!(true)),
            "{host}"
        );
    }
}

fn sixty_four_callers_at_once_get_their_own_answers(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["concurrent", "64"]);
    assert_eq!(outcome, json!({ "calls": 128, "wrong": [] }));
}

fn a_connection_is_used_again(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["keep_alive"]);
    let answers = outcome["answers"].as_array().unwrap();
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].clone()).collect();
    assert_eq!(statuses, [200, 403, 200]);
    assert!(answers.iter().all(|answer| answer["same_port"] == true), "{outcome}");
    assert_eq!((&answers[0]["body"], &answers[2]["body"]), (&json!(r#"{"turn": 0}"#), &json!(r#"{"turn": 2}"#)));
}

fn a_body_is_asked_for_and_may_come_in_chunks(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["expect"]);
    assert_eq!(outcome, json!({ "interim": "HTTP/1.1 100 Continue\r\n\r\n", "status": 200, "same": true }));
    assert_eq!(lab(mode).client("app", "wire.py", &["chunked"]), json!({ "status": 200, "same": true }));
}

fn slow_clients_are_cut_off_and_counted(mode: Tun) {
    let settings = "[endpoint.settings]\ntls_handshake_timeout = \"2s\"\nhttp_head_timeout = \"2s\"\n\
                    http_body_timeout = \"2s\"\nhttp_idle_timeout = \"2s\"\n\n[resolver]";
    let lab = Lab::changed(&[("[resolver]", settings)], &["--tun", mode.name()]);
    let outcomes = lab.client("app", "wire.py", &["slow", "15"]);
    for case in ["silent", "half_hello", "half_head", "half_body", "trickle", "idle"] {
        let end = outcomes[case]["end"].as_str().unwrap();
        assert_ne!(end, "still open", "{case}");
        // Between requests the connection ends in good order; nobody else is owed that.
        if case == "idle" {
            assert_eq!(end, "closed");
        }
    }
    let counted = ["TLS_HANDSHAKE_TIMEOUT", "HTTP_HEAD_TIMEOUT", "HTTP_BODY_TIMEOUT", "HTTP_IDLE_TIMEOUT"];
    assert_eq!(counted.map(|code| lab.count("endpoint", code)), [2, 2, 1, 1]);
}

fn an_event_invocation_is_queued_and_tried(mode: Tun) {
    let lab = lab(mode);
    let tried = |id: &str| {
        let rows = lab.access_log();
        rows.into_iter().find(|row| row["request_id"] == id && !row["event_outcome"].is_null())
    };
    let queued = lab.count("endpoint", "EVENT_QUEUED");
    let call = |function: &str| json!({ "FunctionName": function, "InvocationType": "Event" }).to_string();
    let outcomes = lab.client("app", "call.py", &["invoke", &call("hello"), "invoke", &call("fails")]);
    assert!(lab.count("endpoint", "EVENT_QUEUED") >= queued + 2);
    for (outcome, error) in [(&outcomes[0], false), (&outcomes[1], true)] {
        assert_eq!((&outcome["status"], &outcome["result"]["payload"]), (&json!(202), &json!("")));
        let id = outcome["headers"]["x-amzn-requestid"].as_str().unwrap().to_owned();
        let row = wait_for("the queued invocation was tried", 10, || tried(&id));
        assert_eq!(row["function_error"], error, "{row}");
    }
}

fn each_request_has_one_access_line(mode: Tun) {
    let lab = lab(mode);
    let outcome = lab.invoke_all("MyUser", &[(&arn("my-function:1"), json!({ "name": "access" }))]).remove(0);
    let id = outcome["headers"]["x-amzn-requestid"].as_str().unwrap();
    let rows = wait_for("the access line is written", 5, || {
        let rows: Vec<Value> = lab.access_log().into_iter().filter(|row| row["request_id"] == id).collect();
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(rows.len(), 1);
    let wants = [
        ("principal", json!("arn:aws:iam::123412341234:user/MyUser")),
        ("operation", json!("Invoke")),
        ("function", json!(arn("my-function:1"))),
        ("version", json!("1")),
        ("invocation_type", json!("RequestResponse")),
        ("verdict", json!("allow")),
        ("status", json!(200)),
        ("bytes_rx", json!(17)),
    ];
    for (key, value) in wants {
        assert_eq!(rows[0][key], value, "{key}");
    }
    assert!(
        rows[0]["client"].as_str().unwrap().contains("10.0.1.10")
            || rows[0]["client"].as_str().unwrap().contains("1a01::a")
    );
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

#[test]
fn a_lab_that_goes_leaves_nothing_behind() {
    if !support::has("a_lab_that_goes_leaves_nothing_behind", &[support::Need::Lab]) {
        return;
    }
    let lab = Lab::quickstart(Tun::Offload);
    let (folder, pid) = (lab.folder().to_owned(), lab.process("endpoint")["pid"].as_u64().unwrap());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let ((), took) = timed(|| drop(lab));
    assert!(!folder.exists(), "{took:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
