//! The AWS CLI and boto3 inside a lab: they invoke, stream and read, and are told why not.
//!
//! What is asserted is what came back over the wire. The clients themselves are tests/clients/*.py.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::arn;
use support::{Differences, Lab, Ran, Tun, client, strings, wait_for};

in_both_modes! {
    the_aws_cli_invokes_and_reads: [Clients];
    boto3_invokes_in_every_way: [Clients];
    boto3_reads_a_response_stream: [Clients];
    boto3_reads_what_there_is: [Clients];
    function_errors_are_http_200_with_awss_bodies: [Clients];
    a_throttled_function_answers_429: [Clients];
    the_policy_that_decides_is_named: [Clients];
    the_blogs_policy_lets_my_user_invoke_version_1_and_nobody_else: [Clients];
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
