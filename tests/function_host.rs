//! The function host over loopback, with real processes behind it. Tests that need Python 3 say so when they skip.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "the helpers of tests are tests")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use vpce::config::{Code, Function};
use vpce::onprem::{FunctionHost, HostSettings, Limits};

/// A function host of its own for one test.
struct Lab {
    host: FunctionHost,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Lab {
    async fn up(functions: Vec<Function>) -> Self {
        Self::up_with(functions, Limits::default()).await
    }

    async fn up_with(functions: Vec<Function>, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = HostSettings {
            region: "us-east-2".into(),
            partition: "aws".into(),
            account: "123456789012".into(),
            functions,
            search_path: python3().map(|python| python.parent().unwrap().into()),
            limits,
        };
        let host = FunctionHost::new(settings, &folder.path().join("work")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = host.clone();
        let served = tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Self { host, address, stop: Some(stop), served, folder }
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn invoke(&self, target: &str, headers: &[(&str, &str)], payload: &str) -> Answer {
        send(&mut self.connect().await, target, headers, Bytes::from(payload.to_owned())).await
    }

    async fn json(&self, target: &str, payload: &str) -> Value {
        let answer = self.invoke(target, &[], payload).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::OK, None), "{answer:?}");
        answer.json()
    }

    fn status(&self, name: &str) -> Value {
        let status = self.host.status();
        let functions = status["functions"].as_array().unwrap();
        functions.iter().find(|function| function["name"] == name).unwrap().clone()
    }

    fn pids(&self, name: &str) -> Vec<i64> {
        let status = self.status(name);
        status["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_i64().unwrap()).collect()
    }

    async fn down(mut self) {
        drop(self.stop.take());
        self.served.await.unwrap();
    }

    /// Lets the other tasks run until `reached`.
    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !reached(self) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(reached.is_ok(), "not reached within a minute: {}", self.host.status());
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn error(&self) -> Option<&str> {
        self.header("x-amz-function-error")
    }

    fn log(&self) -> String {
        decode(self.header("x-amz-log-result").expect("a log tail"))
    }
}

fn decode(base64: &str) -> String {
    String::from_utf8(BASE64.decode(base64).unwrap()).unwrap()
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    target: &str,
    headers: &[(&str, &str)],
    payload: Bytes,
) -> Answer {
    let mut request = Request::post(format!("/2015-03-31/functions/{target}/invocations")).header("host", "functions");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    connection.ready().await.unwrap();
    let response = connection.send_request(request.body(Full::new(payload)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
}

fn function(name: &str, code: Code) -> Function {
    Function {
        name: name.into(),
        runtime: "python3.11".into(),
        code,
        timeout: Duration::from_secs(30),
        memory_mb: 256,
        versions: vec![1],
        aliases: vec![("live".into(), "1".into())],
        concurrency: 4,
        environment: vec![],
        policy: None,
    }
}

fn python(name: &str, source: &str) -> Function {
    let code = Code::PythonInline { source: source.into(), handler: "code.handler".into() };
    function(name, code)
}

/// A custom runtime: an executable `bootstrap` in a folder of its own.
fn bootstrap(folder: &Path, name: &str, script: &str) -> Function {
    let path = folder.join(name);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("bootstrap"), script).unwrap();
    std::fs::set_permissions(path.join("bootstrap"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = "provided.al2023".into();
    Function { runtime, ..function(name, Code::Bootstrap { path, handler: "some.handler".into() }) }
}

/// The interpreter, not a shim in front of it that takes its time.
fn python3() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    });
    if found.is_none() {
        println!("skipped: python3 is not in PATH");
    }
    found.clone()
}

macro_rules! require_python {
    () => {
        match python3() {
            Some(python) => python,
            None => return,
        }
    };
}

fn alive(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

// ── the server ──

#[tokio::test]
async fn two_hundred_concurrent_echoes_each_get_their_own_payload() {
    let lab = Lab::up(vec![function("echo", Code::Echo)]).await;
    let mut calls = Vec::new();
    for number in 0..200 {
        let mut connection = lab.connect().await;
        calls.push(tokio::spawn(async move {
            let payload = json!({ "number": number }).to_string();
            let answer = send(&mut connection, "echo", &[], payload.clone().into()).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, &*payload));
            assert_eq!(answer.header("x-amz-executed-version"), Some("$LATEST"));
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(lab.status("echo")["invocations"], 200);
}

#[tokio::test]
async fn an_echo_of_nothing_is_an_empty_event_and_its_log_tail_has_no_init() {
    let lab = Lab::up(vec![function("echo", Code::Echo)]).await;
    let answer = lab.invoke("echo", &[("x-amz-log-type", "Tail"), ("x-vpce-request-id", "8f3c")], "").await;
    assert_eq!(answer.text(), "{}");
    let log = answer.log();
    assert!(log.starts_with("START RequestId: 8f3c Version: $LATEST\nEND RequestId: 8f3c\nREPORT "), "{log}");
    assert!(!log.contains("Init Duration"), "{log}");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_versions_resolve() {
    let lab = Lab::up(vec![function("echo", Code::Echo)]).await;
    let missing = lab.invoke("nobody", &[], "{}").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.header("x-amzn-errortype"), Some("ResourceNotFoundException"));
    assert_eq!(
        missing.text(),
        r#"{"Type":"User","Message":"Function not found: arn:aws:lambda:us-east-2:123456789012:function:nobody:$LATEST"}"#
    );
    for (target, version) in
        [("echo", "$LATEST"), ("echo:1", "1"), ("echo:live", "1"), ("echo%3Alive", "1"), ("echo:$LATEST", "$LATEST")]
    {
        let answer = lab.invoke(target, &[], "{}").await;
        assert_eq!(answer.header("x-amz-executed-version"), Some(version), "{target}");
    }
    assert_eq!(lab.invoke("echo:2", &[], "{}").await.status, StatusCode::NOT_FOUND);
    let header = lab.invoke("echo", &[("x-vpce-function-version", "1")], "{}").await;
    assert_eq!(header.header("x-amz-executed-version"), Some("1"));
}

#[tokio::test]
async fn a_payload_over_the_limit_is_413_with_its_size() {
    let lab = Lab::up(vec![function("echo", Code::Echo)]).await;
    let most = "x".repeat(6_291_456);
    assert_eq!(lab.invoke("echo", &[], &most).await.text().len(), most.len());
    let answer = lab.invoke("echo", &[], &format!("{most}y")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        answer.json()["message"],
        "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    );
}

#[tokio::test]
async fn headers_that_make_no_sense_are_400() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::up(vec![bootstrap(folder.path(), "custom", "#!/bin/sh\nexit 3\n")]).await;
    for header in [
        ("x-vpce-request-id", "../../init/error"),
        ("x-vpce-deadline-ms", "tomorrow"),
        ("x-amz-client-context", "bm90IGpzb24="),
    ] {
        let answer = lab.invoke("custom", &[header], "{}").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{header:?}");
    }
    assert_eq!(lab.status("custom")["cold_starts"], 0);
}

// ── processes ──

const HELLO: &str = include_str!("../netns/functions/hello/handler.py");

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

// ── failures ──

#[tokio::test]
async fn an_exception_is_answered_as_lambdas_python_answers_it() {
    require_python!();
    let source = "def handler(event, context):\n    print('about to fail')\n    helper()\n\n\ndef helper():\n    raise Exception('Handler fails')\n";
    let lab = Lab::up(vec![python("fails", source)]).await;
    let answer = lab.invoke("fails", &[("x-vpce-request-id", "id-7"), ("x-amz-log-type", "Tail")], "{}").await;
    assert_eq!((answer.status, answer.error()), (StatusCode::OK, Some("Unhandled")));
    let file = lab.folder.path().join("work/functions/fails/code.py");
    let expected = format!(
        concat!(
            r#"{{"errorMessage": "Handler fails", "errorType": "Exception", "requestId": "id-7", "stackTrace": ["#,
            r#""  File \"{0}\", line 3, in handler\n    helper()\n", "#,
            r#""  File \"{0}\", line 7, in helper\n    raise Exception('Handler fails')\n"]}}"#
        ),
        file.display()
    );
    assert_eq!(answer.text(), expected);
    let log = answer.log();
    let expected = format!(
        "START RequestId: id-7 Version: $LATEST\nabout to fail\n[ERROR] Exception: Handler fails\n\
         Traceback (most recent call last):\n\
         \u{a0}\u{a0}File \"{0}\", line 3, in handler\n\u{a0}\u{a0}\u{a0}\u{a0}helper()\n\
         \u{a0}\u{a0}File \"{0}\", line 7, in helper\n\u{a0}\u{a0}\u{a0}\u{a0}raise Exception('Handler fails')\n\
         END RequestId: id-7\nREPORT RequestId: id-7\tDuration: ",
        file.display()
    );
    assert!(log.starts_with(&expected), "{log}");
    // The process is none the worse for it.
    lab.invoke("fails", &[], "{}").await;
    assert_eq!((&lab.status("fails")["errors"], &lab.status("fails")["cold_starts"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn what_cannot_be_json_is_a_marshal_error_and_unusual_values_are_lambdas() {
    require_python!();
    let source = "import decimal\nVALUES = {'set': {1}, 'decimal': decimal.Decimal('2.50'), 'nothing': None, \
                  'bytes': b'raw \\xff', 'text': 'gr\\u00fc\\u00df'}\n\
                  def handler(event, context):\n    return VALUES[event]\n";
    let lab = Lab::up(vec![python("values", source)]).await;
    let refused = lab.invoke("values", &[("x-vpce-request-id", "id-8")], r#""set""#).await;
    assert_eq!(
        refused.text(),
        r#"{"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "id-8", "stackTrace": []}"#
    );
    assert_eq!(lab.invoke("values", &[], r#""nothing""#).await.text(), "null");
    assert_eq!(lab.json("values", r#""decimal""#).await, json!(2.5));
    assert_eq!(lab.json("values", r#""text""#).await, json!("grüß"));
    assert_eq!(&lab.invoke("values", &[], r#""bytes""#).await.body[..], b"raw \xff");
    let garbage = lab.invoke("values", &[], "{").await.json();
    assert_eq!(garbage["errorType"], "Runtime.UnmarshalError");
}

// Message texts: awslambdaric 4.2.2.
#[tokio::test]
async fn a_module_that_cannot_be_loaded_says_why_as_lambdas_python_does() {
    require_python!();
    let lab = Lab::up(vec![
        python("imports", "import no_such_module\n"),
        python("syntax", "def handler(event, context)\n    pass\n"),
        python("missing", "x = 1\n"),
        function("nowhere", Code::Python { path: "/no/such/folder".into(), handler: "app.handler".into() }),
        function("nameless", Code::Python { path: "/".into(), handler: "handler".into() }),
        python("raises", "1 / 0\n"),
    ])
    .await;
    let file = lab.folder.path().join("work/functions/syntax/code.py").display().to_string();
    for (name, error_type, message, stack) in [
        (
            "imports",
            "Runtime.ImportModuleError",
            "Unable to import module 'code': No module named 'no_such_module'",
            None,
        ),
        (
            "syntax",
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module 'code': expected ':' (code.py, line 1)",
            Some(format!("  File \"{file}\" Line 1\n    def handler(event, context)\n")),
        ),
        ("missing", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'code'", None),
        ("nowhere", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'app'", None),
        (
            "nameless",
            "Runtime.MalformedHandlerName",
            "Bad handler 'handler': not enough values to unpack (expected 2, got 1)",
            None,
        ),
        ("raises", "ZeroDivisionError", "division by zero", Some("frame of the module".into())),
    ] {
        let answer = lab.invoke(name, &[("x-amz-log-type", "Tail")], "{}").await;
        assert_eq!((answer.status, answer.error()), (StatusCode::OK, Some("Unhandled")), "{name}");
        let error = answer.json();
        assert_eq!((&error["errorType"], &error["errorMessage"]), (&json!(error_type), &json!(message)), "{name}");
        assert_eq!(error["requestId"], "", "{name}");
        match (name, stack) {
            ("raises", _) => {
                let frames = error["stackTrace"].as_array().unwrap();
                assert!(frames.last().unwrap().as_str().unwrap().ends_with("in <module>\n    1 / 0\n"), "{error}");
            }
            (_, stack) => assert_eq!(error["stackTrace"], json!(Vec::from_iter(stack)), "{name}"),
        }
        let log = answer.log();
        assert!(log.contains(&format!("[ERROR] {error_type}: {message}\n")), "{name}: {log}");
        assert!(log.trim_end().ends_with("Status: error"), "{name}: {log}");
        lab.until(|lab| lab.pids(name).is_empty()).await;
    }
}

#[tokio::test]
async fn a_function_that_takes_too_long_is_ended_and_the_next_call_starts_afresh() {
    require_python!();
    let source = "import time\ndef handler(event, context):\n    while event: time.sleep(60)\n    return 'ok'\n";
    let timeout = Duration::from_millis(150);
    let lab = Lab::up(vec![Function { timeout, ..python("slow", source) }]).await;
    let headers = [("x-vpce-request-id", "id-9"), ("x-amz-log-type", "Tail")];
    let answer = lab.invoke("slow", &headers, "true").await;
    assert_eq!((answer.status, answer.error()), (StatusCode::OK, Some("Unhandled")));
    assert_eq!(
        answer.text(),
        r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id-9 Error: Task timed out after 0.15 seconds"}"#
    );
    let log = answer.log();
    assert!(log.contains("Z id-9 Task timed out after 0.15 seconds\n\nEND RequestId: id-9\n"), "{log}");
    assert!(log.contains("\tDuration: 150.00 ms\tBilled Duration: 150 ms\t"), "{log}");
    assert!(log.ends_with("Status: timeout\n"), "{log}");
    lab.until(|lab| lab.pids("slow").is_empty()).await;
    assert_eq!(lab.json("slow", "false").await, json!("ok"));
    assert_eq!(lab.status("slow")["cold_starts"], 2);
}

#[tokio::test]
async fn an_invocation_whose_caller_has_given_up_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::up(vec![bootstrap(folder.path(), "custom", "#!/bin/sh\nexit 3\n")]).await;
    let answer = lab.invoke("custom", &[("x-vpce-deadline-ms", "1000")], "{}").await;
    assert_eq!(answer.json()["errorType"], "Sandbox.Timedout");
    assert_eq!(lab.status("custom")["cold_starts"], 0);
}

#[tokio::test]
async fn a_process_that_ends_during_an_invocation_is_an_exit_error() {
    require_python!();
    let source = "import os, signal, sys\ndef handler(event, context):\n    print('bye')\n    exec(event)\n    return 'still here'\n";
    let lab = Lab::up(vec![python("exits", source)]).await;
    for (code, what) in [
        ("sys.exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(127)", "Runtime exited with error: exit status 127"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "Runtime exited with error: signal: segmentation fault"),
    ] {
        let headers = [("x-vpce-request-id", "id-3"), ("x-amz-log-type", "Tail")];
        let answer = lab.invoke("exits", &headers, &json!(code).to_string()).await;
        assert_eq!(answer.error(), Some("Unhandled"));
        let expected =
            json!({ "errorType": "Runtime.ExitError", "errorMessage": format!("RequestId: id-3 Error: {what}") });
        assert_eq!(answer.text(), expected.to_string());
        let log = answer.log();
        let lines = format!("bye\nRequestId: id-3 Error: {what}\nRuntime.ExitError\nEND RequestId: id-3\n");
        assert!(log.contains(&lines), "{log}");
        assert!(log.ends_with("Status: error\tError Type: Runtime.ExitError\n"), "{log}");
    }
    assert_eq!(lab.json("exits", r#""pass""#).await, json!("still here"));
}

#[tokio::test]
async fn a_process_that_ends_before_it_asks_for_work_is_tried_twice() {
    let folder = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\necho start >> \"$LAMBDA_TASK_ROOT/starts\"\nexit 3\n";
    let lab = Lab::up(vec![bootstrap(folder.path(), "crashes", script)]).await;
    let answer = lab.invoke("crashes", &[("x-vpce-request-id", "id-4")], "{}").await;
    assert_eq!(
        answer.text(),
        r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: id-4 Error: Runtime exited with error: exit status 3"}"#
    );
    let starts = std::fs::read_to_string(folder.path().join("crashes/starts")).unwrap();
    assert_eq!(starts.lines().count(), 2);
}

#[tokio::test]
async fn an_init_phase_that_never_ends_becomes_part_of_the_invocation_and_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let timeout = Duration::from_millis(100);
    let forever = Function { timeout, ..bootstrap(folder.path(), "forever", "#!/bin/sh\nexec sleep 600\n") };
    let limits = Limits { init: Duration::from_millis(100), ..Limits::default() };
    let lab = Lab::up_with(vec![forever], limits).await;
    let answer = lab.invoke("forever", &[("x-vpce-request-id", "id-5")], "{}").await;
    assert_eq!(
        answer.text(),
        r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id-5 Error: Task timed out after 0.10 seconds"}"#
    );
    lab.until(|lab| lab.pids("forever").is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_started_is_an_invalid_entrypoint() {
    let folder = tempfile::tempdir().unwrap();
    let missing = function("missing", Code::Bootstrap { path: folder.path().into(), handler: "x".into() });
    let garbage = bootstrap(folder.path(), "garbage", "not a script");
    let forbidden = bootstrap(folder.path(), "forbidden", "#!/bin/sh\n");
    std::fs::set_permissions(folder.path().join("forbidden/bootstrap"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let lab = Lab::up(vec![missing, garbage, forbidden]).await;
    let folder = folder.path().display();
    for (name, why) in [
        ("missing", format!("Couldn't find valid bootstrap(s): [{folder}/bootstrap]")),
        ("garbage", format!("fork/exec {folder}/garbage/bootstrap: exec format error")),
        ("forbidden", format!("fork/exec {folder}/forbidden/bootstrap: permission denied")),
    ] {
        let answer = lab.invoke(name, &[("x-vpce-request-id", "id-6")], "{}").await;
        let message = format!("RequestId: id-6 Error: {why}");
        let expected = json!({ "errorType": "Runtime.InvalidEntrypoint", "errorMessage": message });
        assert_eq!((answer.error(), answer.text()), (Some("Unhandled"), &*expected.to_string()));
        assert_eq!(lab.status(name)["in_flight"], 0);
    }
}

#[tokio::test]
async fn without_python_a_python_function_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let settings = HostSettings {
        region: "us-east-2".into(),
        partition: "aws".into(),
        account: "123456789012".into(),
        functions: vec![python("hello", HELLO)],
        search_path: Some("/nowhere".into()),
        limits: Limits::default(),
    };
    let host = FunctionHost::new(settings, folder.path()).unwrap();
    assert_eq!(host.status()["python"]["state"], "missing");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move { host.serve(listener, std::future::pending()).await });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = send(&mut sender, "hello", &[], Bytes::new()).await;
    assert_eq!(answer.json()["errorType"], "Runtime.InvalidEntrypoint");
    assert!(answer.text().contains("python3 is not in PATH (/nowhere)"), "{}", answer.text());
    served.abort();
}

#[tokio::test]
async fn a_function_over_its_memory_is_ended() {
    require_python!();
    let source = "def handler(event, context):\n    hoard = []\n    while event: hoard.append(bytearray(b'x' * 1000000))\n    return 'ok'\n";
    let lab = Lab::up(vec![Function { memory_mb: 128, ..python("hoards", source) }]).await;
    let answer = lab.invoke("hoards", &[("x-vpce-request-id", "id-2"), ("x-amz-log-type", "Tail")], "true").await;
    assert_eq!(
        answer.text(),
        r#"{"errorType":"Runtime.OutOfMemory","errorMessage":"RequestId: id-2 Error: Runtime exited with error: signal: killed"}"#
    );
    let log = answer.log();
    assert!(log.ends_with("Status: error\tError Type: Runtime.OutOfMemory\n"), "{log}");
    let used: u64 = log.split("Max Memory Used: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(used > 128, "{log}");
    assert_eq!(lab.json("hoards", "false").await, json!("ok"));
}

#[tokio::test]
async fn a_response_over_the_limit_is_refused_on_both_sides() {
    require_python!();
    let source = "def handler(event, context):\n    return 'x' * (event - 2)\n";
    let lab = Lab::up(vec![python("large", source)]).await;
    assert_eq!(lab.json("large", "6291556").await.as_str().unwrap().len(), 6_291_554);
    let answer = lab.invoke("large", &[], "6291557").await;
    assert_eq!(answer.error(), Some("Unhandled"));
    assert_eq!(
        answer.text(),
        r#"{"errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}"#
    );
    // Our Python survives it, having been told 413.
    assert_eq!(lab.json("large", "4").await, json!("xx"));
    assert_eq!(lab.status("large")["cold_starts"], 1);
}

// ── logs ──

#[tokio::test]
async fn the_log_tail_is_of_this_invocation_alone() {
    require_python!();
    let source = "import logging\nprint('while starting')\n\
                  def handler(event, context):\n    print(event)\n    logging.warning('careful')\n    print('no newline', end='')\n";
    let lab = Lab::up(vec![python("logs", source)]).await;
    let cold = lab.invoke("logs", &[("x-vpce-request-id", "a"), ("x-amz-log-type", "Tail")], r#""first""#).await.log();
    let warm = lab.invoke("logs", &[("x-vpce-request-id", "b"), ("x-amz-log-type", "Tail")], r#""second""#).await.log();
    assert!(cold.starts_with("START RequestId: a Version: $LATEST\nfirst\n[WARNING]\t"), "{cold}");
    assert!(warm.starts_with("START RequestId: b Version: $LATEST\nsecond\n[WARNING]\t"), "{warm}");
    assert!(warm.contains("Z\tb\tcareful\nno newline\nEND RequestId: b\nREPORT RequestId: b\tDuration: "), "{warm}");
    assert!(cold.contains("\tMemory Size: 256 MB\tMax Memory Used: "), "{cold}");
    assert!(cold.contains("\tInit Duration: ") && cold.ends_with(" ms\t\n"), "{cold}");
    assert!(!warm.contains("Init Duration") && warm.ends_with(" MB\t\n"), "{warm}");
    let used: u64 = warm.split("Max Memory Used: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((3..256).contains(&used), "{warm}");
    assert_eq!(lab.invoke("logs", &[], "1").await.header("x-amz-log-result"), None);
}

#[tokio::test]
async fn a_long_log_is_cut_to_its_last_four_kilobytes() {
    require_python!();
    let source = "def handler(event, context):\n    for line in range(100000): print(line)\n";
    let lab = Lab::up(vec![python("chatty", source)]).await;
    let log = lab.invoke("chatty", &[("x-amz-log-type", "Tail")], "{}").await.log();
    assert_eq!(log.len(), 4096);
    assert!(log.contains("\n99998\n99999\nEND RequestId: "), "{log}");
}

// ── custom runtimes ──

/// A runtime in Python without our bootstrap. What it does with the event is the test's; `send` posts to the Runtime API.
fn custom_runtime(python: &Path, body: &str) -> String {
    format!(
        r#"#!{python}
import base64, http.client, json, os, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None, headers={{}}):
    api.request(method, "/2018-06-01/runtime/" + path, body, headers)
    response = api.getresponse()
    return response, response.read()
def stream(request_id, chunks, trailers={{}}, finish=True):
    api.putrequest("POST", f"/2018-06-01/runtime/invocation/{{request_id}}/response")
    api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    api.putheader("Transfer-Encoding", "chunked")
    api.putheader("Content-Type", "text/event-stream")
    for name in trailers: api.putheader("Trailer", name)
    api.endheaders()
    for chunk in chunks: api.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    if not finish:
        api.close()
        return None
    api.send(b"0\r\n" + b"".join(f"{{n}}: {{v}}\r\n".encode() for n, v in trailers.items()) + b"\r\n")
    response = api.getresponse()
    response.read()
    return response.status
while True:
    next, event = call("GET", "invocation/next")
    id = next.getheader("Lambda-Runtime-Aws-Request-Id")
    event = json.loads(event)
{body}"#,
        python = python.display()
    )
}

const STREAMING: [(&str, &str); 3] =
    [("x-vpce-response-mode", "streaming"), ("te", "trailers"), ("x-amz-log-type", "Tail")];

#[tokio::test]
async fn a_streamed_answer_arrives_part_by_part_with_its_log_in_a_trailer() {
    let python = require_python!();
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let script = custom_runtime(
        &python,
        r#"
    def chunks():
        yield b"first;"
        while not os.path.exists(event["gate"]): pass
        yield b"second"
    print("streaming", flush=True)
    stream(id, chunks())
"#,
    );
    let lab = Lab::up(vec![bootstrap(folder.path(), "streams", &script)]).await;
    let mut request = Request::post("/2015-03-31/functions/streams/invocations").header("host", "functions");
    for (name, value) in STREAMING {
        request = request.header(name, value);
    }
    let payload = json!({ "gate": gate }).to_string();
    let response = lab.connect().await.send_request(request.body(Full::new(payload.into())).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-amz-executed-version"], "$LATEST");
    let mut body = response.into_body();
    // The function is still at work: it waits for the gate that opens below.
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first;");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "second");
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    let log = decode(trailers["x-amz-log-result"].to_str().unwrap());
    assert!(log.contains("\nstreaming\nEND RequestId: "), "{log}");
    assert!(!trailers.contains_key("x-vpce-stream-error"));
    // To a caller who wants it whole, it comes whole.
    assert_eq!(lab.invoke("streams", &[], &json!({ "gate": gate }).to_string()).await.text(), "first;second");
    assert_eq!(lab.status("streams")["cold_starts"], 1);
}

#[tokio::test]
async fn an_error_in_mid_stream_comes_in_a_trailer() {
    let python = require_python!();
    let folder = tempfile::tempdir().unwrap();
    let script = custom_runtime(
        &python,
        r#"
    if event == "error":
        error = base64.b64encode(b'{"errorMessage":"ran dry","errorType":"Dry"}').decode()
        stream(id, [b"half"], {"Lambda-Runtime-Function-Error-Type": "Dry", "Lambda-Runtime-Function-Error-Body": error})
    elif event == "exit":
        stream(id, [b"half"], finish=False)
        sys.exit(9)
    elif event == "hang":
        def forever():
            yield b"half"
            while True: pass
        stream(id, forever())
"#,
    );
    let timeout = Duration::from_millis(500);
    let lab = Lab::up(vec![Function { timeout, ..bootstrap(folder.path(), "streams", &script) }]).await;
    for (event, expected) in [
        ("error", r#"{"errorMessage":"ran dry","errorType":"Dry"}"#),
        (
            "hang",
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id Error: Task timed out after 0.50 seconds"}"#,
        ),
    ] {
        let mut headers = STREAMING.to_vec();
        headers.push(("x-vpce-request-id", "id"));
        let answer = lab.invoke("streams", &headers, &json!(event).to_string()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "half"), "{event}");
        assert_eq!(decode(answer.trailers["x-vpce-stream-error"].to_str().unwrap()), expected);
    }
    // The stream breaks before the process is seen to end, or after: both are told.
    let answer = lab.invoke("streams", &STREAMING, r#""exit""#).await;
    let error: Value = serde_json::from_str(&decode(answer.trailers["x-vpce-stream-error"].to_str().unwrap())).unwrap();
    assert!(
        ["Runtime.TruncatedResponse", "Runtime.ExitError"].contains(&error["errorType"].as_str().unwrap()),
        "{error}"
    );
    // Whole, an error in mid-stream is a function error.
    let whole = lab.invoke("streams", &[], r#""error""#).await;
    assert_eq!((whole.error(), whole.text()), (Some("Unhandled"), r#"{"errorMessage":"ran dry","errorType":"Dry"}"#));
}

#[tokio::test]
async fn a_custom_runtime_is_refused_what_does_not_fit_its_state() {
    let python = require_python!();
    let folder = tempfile::tempdir().unwrap();
    let script = custom_runtime(
        &python,
        r#"
    said = []
    wrong = {"Lambda-Runtime-Invocation-Id": "not-this-one"}
    right = {"Lambda-Runtime-Invocation-Id": next.getheader("Lambda-Runtime-Invocation-Id")}
    for method, path, headers in [
        ("GET", "invocation/next", {}), ("POST", "init/error", {}), ("POST", "invocation/other/response", {}),
        ("POST", f"invocation/{id}/response", wrong), ("GET", "nonsense", {}),
    ]:
        response, body = call(method, path, "{}" if method == "POST" else None, headers)
        said.append([response.status, json.loads(body)["errorType"]])
    response, body = call("POST", f"invocation/{id}/response", json.dumps(said), right)
    assert (response.status, body) == (202, b'{"status":"OK"}'), body
    response, body = call("POST", f"invocation/{id}/response", "again", right)
    assert response.status == 403, response.status
"#,
    );
    let lab = Lab::up(vec![bootstrap(folder.path(), "probes", &script)]).await;
    for _ in 0..2 {
        assert_eq!(
            lab.json("probes", "{}").await,
            json!([
                [403, "InvalidStateTransition"],
                [403, "InvalidStateTransition"],
                [400, "InvalidRequestID"],
                [400, "InvalidInvocationId"],
                [404, "NotFound"],
            ])
        );
    }
    assert_eq!(lab.status("probes")["cold_starts"], 1);
}

#[tokio::test]
async fn an_error_without_a_body_is_described_by_its_header() {
    let python = require_python!();
    let folder = tempfile::tempdir().unwrap();
    let script = custom_runtime(
        &python,
        r#"
    call("POST", f"invocation/{id}/error", b"", {"Lambda-Runtime-Function-Error-Type": "Shop.Closed"})
"#,
    );
    let lab = Lab::up(vec![bootstrap(folder.path(), "terse", &script)]).await;
    let answer = lab.invoke("terse", &[], "{}").await;
    assert_eq!(answer.text(), r#"{"errorMessage":"","errorType":"Shop.Closed"}"#);
}

#[tokio::test]
async fn a_process_that_leaves_after_its_answer_is_replaced() {
    let python = require_python!();
    let folder = tempfile::tempdir().unwrap();
    let script = custom_runtime(
        &python,
        r#"
    call("POST", f"invocation/{id}/response", str(os.getpid()))
    sys.exit(0)
"#,
    );
    let once = Function { concurrency: 1, ..bootstrap(folder.path(), "once", &script) };
    let lab = Lab::up(vec![once]).await;
    let first = lab.json("once", "{}").await;
    let second = lab.json("once", "{}").await;
    assert_ne!(first, second);
    assert_eq!(lab.status("once")["errors"], 0);
}

// ── ends ──

#[tokio::test]
async fn when_the_host_ends_so_do_its_processes_and_what_they_started() {
    require_python!();
    let source = "import subprocess\ndef handler(event, context):\n    return subprocess.Popen(['sleep', '600']).pid\n";
    let lab = Lab::up(vec![python("parent", source)]).await;
    let child = lab.json("parent", "").await.as_i64().unwrap();
    let parent = lab.pids("parent")[0];
    assert!(alive(parent) && alive(child));
    let host = lab.host.clone();
    lab.down().await;
    assert!(!alive(parent));
    assert_eq!(host.status()["functions"][0]["processes"], json!([]));
    // An orphan's remains are collected by init, in its own time.
    while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_within_the_bound() {
    require_python!();
    let source =
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef handler(event, context): return 1\n";
    let limits = Limits { shutdown: Duration::from_millis(50), ..Limits::default() };
    let lab = Lab::up_with(vec![python("stubborn", source)], limits).await;
    lab.json("stubborn", "").await;
    let pid = lab.pids("stubborn")[0];
    lab.down().await;
    assert!(!alive(pid));
}

/// Plays both parts: started again by itself with `ROLE` set, it is the host that gets killed.
#[tokio::test]
async fn a_host_that_is_killed_leaves_no_process_behind() {
    const ROLE: &str = "VPCE_TEST_HOST_TO_KILL";
    require_python!();
    if std::env::var_os(ROLE).is_some() {
        let lab = Lab::up(vec![python("hello", HELLO)]).await;
        lab.json("hello", "").await;
        println!("\npid={}", lab.pids("hello")[0]);
        std::future::pending::<()>().await;
    }
    let mut host = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_host_that_is_killed_leaves_no_process_behind", "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let pid: i64 = loop {
        let line = lines.next_line().await.unwrap().expect("the host tells its process's id");
        if let Some(pid) = line.strip_prefix("pid=") {
            break pid.parse().unwrap();
        }
    };
    assert!(alive(pid));
    host.kill().await.unwrap();
    let gone = async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok(), "process {pid} outlived its host");
}

// ── the real thing ──

/// A Python with AWS's own runtime client, if someone installed one.
fn awslambdaric() -> Option<PathBuf> {
    let clients = std::env::var_os("VPCE_CLIENTS").map(PathBuf::from);
    let clients = clients.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients"));
    let python = clients.join("bin/python3");
    let import = Command::new(&python).args(["-c", "import awslambdaric"]).output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {} has no awslambdaric", clients.display());
    None
}

/// The same handler under AWS's own Python runtime client and under ours gives the same answers, byte for byte.
#[tokio::test]
async fn awslambdaric_works_and_agrees_with_our_python() {
    let Some(python3) = awslambdaric() else { return };
    let source = r#"
import decimal
def handler(event, context):
    if event == "raise": raise ValueError("no good")
    if event == "nested":
        try: {}["x"]
        except KeyError as error: raise RuntimeError("outer") from error
    if event == "set": return {1}
    if event == "number": return decimal.Decimal("2.5")
    return [event, context.function_version, context.invoked_function_arn, context.aws_request_id,
            context.memory_limit_in_mb, context.client_context.custom if context.client_context else None]
"#;
    let folder = tempfile::tempdir().unwrap();
    let script = format!("#!/bin/sh\nexec {} -m awslambdaric \"$_HANDLER\"\n", python3.display());
    let theirs = bootstrap(folder.path(), "theirs", &script);
    let root = folder.path().join("theirs");
    std::fs::write(root.join("app.py"), source).unwrap();
    let code = Code::Bootstrap { path: root.clone(), handler: "app.handler".into() };
    let theirs = Function { code, ..theirs };
    let ours = function("ours", Code::Python { path: root.clone(), handler: "app.handler".into() });
    std::fs::write(root.join("raises.py"), "def deep(): 1 / 0\ndeep()\n").unwrap();
    std::fs::write(root.join("syntax.py"), "x = (\n").unwrap();
    let mut functions = vec![theirs.clone(), ours];
    let broken = ["app.missing", "raises.handler", "syntax.handler", "nowhere.handler", "time.handler", "nodot"];
    for (number, handler) in broken.iter().enumerate() {
        let code = Code::Bootstrap { path: root.clone(), handler: (*handler).into() };
        functions.push(Function { name: format!("theirs-{number}"), code, ..theirs.clone() });
        let code = Code::Python { path: root.clone(), handler: (*handler).into() };
        functions.push(function(&format!("ours-{number}"), code));
    }
    let lab = Lab::up(functions).await;
    let context = BASE64.encode(r#"{"custom":{"k":"ü"}}"#);
    let headers = [
        ("x-vpce-request-id", "id-1"),
        ("x-vpce-invoked-function-arn", "arn:aws:lambda:us-east-2:123456789012:function:same"),
        ("x-amz-client-context", &*context),
    ];
    for event in
        [r#"{"a": "ü", "b": [1, 2.5, null, true]}"#, "\"raise\"", "\"nested\"", "\"number\"", "\"plain\"", "[]"]
    {
        let their_answer = lab.invoke("theirs", &headers, event).await;
        let our_answer = lab.invoke("ours", &headers, event).await;
        assert_eq!(their_answer.text(), our_answer.text(), "{event}");
        assert_eq!(their_answer.error(), our_answer.error(), "{event}");
    }
    for (number, handler) in broken.iter().enumerate() {
        let theirs = lab.invoke(&format!("theirs-{number}"), &headers, "{}").await;
        let ours = lab.invoke(&format!("ours-{number}"), &headers, "{}").await;
        assert_eq!((theirs.error(), theirs.text()), (ours.error(), ours.text()), "{handler}");
    }
    assert_eq!(lab.status("theirs")["cold_starts"], 1);
}
