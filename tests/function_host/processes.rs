//! Warm reuse, versions, concurrency, context and environment.

use super::*;

#[tokio::test]
async fn a_python_function_runs_and_its_process_is_used_again() {
    require_python!();
    let lab = Lab::up(vec![python("hello", HELLO)]).await;
    let answer = lab.invoke("hello", &[("x-vpce-request-id", "id-1")], r#"{"name":"Ada"}"#).await;
    assert_eq!(answer.text(), r#"{"message": "Hello, Ada!", "version": "$LATEST", "requestId": "id-1"}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let pids = lab.pids("hello");
    for _ in 0..20 {
        assert_eq!(lab.json("hello", "").await["message"], "Hello, World!");
    }
    assert_eq!(lab.pids("hello"), pids);
    let status = lab.status("hello");
    assert_eq!((&status["invocations"], &status["cold_starts"]), (&json!(21), &json!(1)));
    assert_eq!(lab.host.status()["python"]["state"], "found");
}

#[tokio::test]
async fn each_version_has_processes_of_its_own() {
    require_python!();
    let lab = Lab::up(vec![Function { concurrency: 1, ..python("hello", HELLO) }]).await;
    assert_eq!(lab.json("hello", "").await["version"], "$LATEST");
    // The one process there may be is that of the other version: it makes room.
    assert_eq!(lab.json("hello:1", "").await["version"], "1");
    assert_eq!(lab.status("hello")["cold_starts"], 2);
    lab.until(|lab| lab.pids("hello").len() == 1).await;
}

const CONTEXT: &str = r#"
import os, sys
def handler(event, context):
    sys.stderr.write("to stderr\n")
    return {
        "event": event, "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
        "group": context.log_group_name, "stream": context.log_stream_name, "id": context.aws_request_id,
        "left": context.get_remaining_time_in_millis(), "custom": context.client_context.custom,
        "title": context.client_context.client.app_title, "identity": context.identity.cognito_identity_id,
        "cwd": os.getcwd(), "environ": dict(os.environ),
    }
"#;

#[tokio::test]
async fn the_context_and_the_environment_are_lambdas() {
    require_python!();
    let environment = vec![("TABLE".into(), "orders".into()), ("TZ".into(), "Europe/Berlin".into())];
    let lab = Lab::up(vec![Function { environment, ..python("context", CONTEXT) }]).await;
    let context = BASE64.encode(r#"{"custom":{"k":"ü😀"},"client":{"app_title":"t"}}"#);
    let arn = "arn:aws:lambda:us-east-2:123456789012:function:context:live";
    let answer = lab
        .invoke(
            "context",
            &[
                ("x-vpce-request-id", "6ea3b9a5-5d4c-4a3a-9d9b-000000000001"),
                ("x-vpce-invoked-function-arn", arn),
                ("x-vpce-function-version", "1"),
                ("x-amzn-trace-id", "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Sampled=1"),
                ("x-amz-client-context", &context),
            ],
            r#"{"a":[1,2]}"#,
        )
        .await
        .json();
    assert_eq!(answer["event"], json!({ "a": [1, 2] }));
    assert_eq!((&answer["arn"], &answer["memory"]), (&json!(arn), &json!("256")));
    assert_eq!((&answer["custom"], &answer["title"]), (&json!({ "k": "ü😀" }), &json!("t")));
    assert_eq!((&answer["id"], &answer["identity"]), (&json!("6ea3b9a5-5d4c-4a3a-9d9b-000000000001"), &Value::Null));
    let left = answer["left"].as_u64().unwrap();
    assert!(left > 0 && left <= 30_000, "{left}");
    assert!(answer["stream"].as_str().unwrap().contains("/[1]"), "{answer}");

    let environ = &answer["environ"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "context"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/context"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.11"),
        ("AWS_REGION", "us-east-2"),
        ("AWS_DEFAULT_REGION", "us-east-2"),
        ("_HANDLER", "code.handler"),
        ("_X_AMZN_TRACE_ID", "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Sampled=1"),
        ("TABLE", "orders"),
        ("TZ", "Europe/Berlin"),
        ("LANG", "en_US.UTF-8"),
    ] {
        assert_eq!(environ[name], value, "{name}");
    }
    assert_eq!(environ["LAMBDA_TASK_ROOT"], answer["cwd"]);
    // Ours stays ours: cargo always sets this one for a test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    for absent in ["CARGO_MANIFEST_DIR", "HOME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        assert_eq!(environ[absent], Value::Null, "{absent}");
    }
}

/// Waits for a file whose name is in the event, so that a test decides how long it takes.
const WAITS: &str = r#"
import os, time
def handler(event, context):
    open(event["begun"], "x").close()
    while not os.path.exists(event["go"]):
        time.sleep(0.001)
    return os.getpid()
"#;

#[tokio::test]
async fn concurrency_is_processes_side_by_side_and_more_is_throttled() {
    require_python!();
    let lab = Lab::up(vec![Function { concurrency: 2, ..python("waits", WAITS) }]).await;
    let go = lab.folder.path().join("go");
    let mut calls = Vec::new();
    for number in 0..2 {
        let begun = lab.folder.path().join(format!("begun-{number}"));
        let payload = json!({ "begun": begun, "go": go }).to_string();
        let mut connection = lab.connect().await;
        calls.push((begun, tokio::spawn(async move { send(&mut connection, "waits", &[], payload.into()).await })));
    }
    lab.until(|_| calls.iter().all(|(begun, _)| begun.exists())).await;
    assert_eq!(lab.status("waits")["in_flight"], 2);

    let refused = lab.invoke("waits", &[], "{}").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("x-amzn-errortype"), Some("TooManyRequestsException"));
    assert_eq!(
        refused.text(),
        r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
    );

    std::fs::write(&go, "").unwrap();
    let mut pids = Vec::new();
    for (_, call) in calls {
        pids.push(call.await.unwrap().json().as_i64().unwrap());
    }
    assert_ne!(pids[0], pids[1]);
    let status = lab.status("waits");
    assert_eq!((&status["in_flight"], &status["throttles"], &status["cold_starts"]), (&json!(0), &json!(1), &json!(2)));
}

#[tokio::test]
async fn one_at_a_time_is_enough_for_one_after_the_other() {
    require_python!();
    let lab = Lab::up(vec![Function { concurrency: 1, ..python("hello", HELLO) }]).await;
    let mut connection = lab.connect().await;
    for _ in 0..50 {
        let answer = send(&mut connection, "hello", &[], Bytes::from_static(b"{}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(lab.status("hello")["cold_starts"], 1);
}

#[tokio::test]
async fn the_host_ends_an_idle_process_of_one_function_to_start_one_of_another() {
    require_python!();
    let functions = vec![python("first", HELLO), python("second", HELLO)];
    let lab = Lab::up_with(functions, Limits { processes: 1, ..Limits::default() }).await;
    lab.json("first", "").await;
    lab.until(|lab| lab.status("first")["processes"][0]["state"] == "waiting").await;
    lab.json("second", "").await;
    lab.until(|lab| lab.pids("first").is_empty()).await;
    assert_eq!(lab.pids("second").len(), 1);
}

#[tokio::test]
async fn an_invocation_goes_on_when_its_caller_hangs_up() {
    require_python!();
    let lab = Lab::up(vec![python("waits", WAITS)]).await;
    let (begun, go) = (lab.folder.path().join("begun"), lab.folder.path().join("go"));
    let payload = json!({ "begun": begun, "go": go }).to_string();
    let mut connection = lab.connect().await;
    let call = tokio::spawn(async move { send(&mut connection, "waits", &[], payload.into()).await });
    lab.until(|_| begun.exists()).await;
    call.abort();
    lab.until(|lab| lab.host.status()["connections"] == 0).await;
    assert_eq!(lab.status("waits")["in_flight"], 1);
    std::fs::write(&go, "").unwrap();
    lab.until(|lab| lab.status("waits")["in_flight"] == 0).await;
    assert_eq!((&lab.status("waits")["errors"], lab.pids("waits").len()), (&json!(0), 1));
}
