//! `bootstrap` executables: the Runtime API from the other side, and streaming.

use vpce::lambda::host::StreamEnd;

use super::*;

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
    elif event == "long":
        deep = {"errorMessage": "too deep", "errorType": "Deep", "stackTrace": ["line"] * 1200}
        deep = base64.b64encode(json.dumps(deep).encode()).decode()
        stream(id, [b"half"], {"Lambda-Runtime-Function-Error-Type": "Deep", "Lambda-Runtime-Function-Error-Body": deep})
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
    for (event, error_type, expected) in [
        ("error", "Dry", r#"{"errorMessage":"ran dry","errorType":"Dry"}"#),
        (
            "hang",
            "Sandbox.Timedout",
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id Error: Task timed out after 0.50 seconds"}"#,
        ),
    ] {
        let mut headers = STREAMING.to_vec();
        headers.push(("x-vpce-request-id", "id"));
        let answer = lab.invoke("streams", &headers, &json!(event).to_string()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "half"), "{event}");
        // Read as the endpoint reads it: both ends of the contract in one test.
        let end = StreamEnd::from_trailers(&answer.trailers);
        assert_eq!((end.error.as_deref(), end.details.as_deref()), (Some(error_type), Some(expected)));
    }
    // A long stack trace is left out: a reader takes 16 KB of trailers at most, and would lose the stream's end otherwise.
    let answer = lab.invoke("streams", &STREAMING, r#""long""#).await;
    let end = StreamEnd::from_trailers(&answer.trailers);
    assert_eq!(
        (end.error.as_deref(), end.details.as_deref()),
        (Some("Deep"), Some(r#"{"errorType":"Deep","errorMessage":"too deep"}"#))
    );
    assert!(end.log_result.is_some());
    // The stream breaks before the process is seen to end, or after: both are told.
    let answer = lab.invoke("streams", &STREAMING, r#""exit""#).await;
    let error = StreamEnd::from_trailers(&answer.trailers).error.unwrap();
    assert!(["Runtime.TruncatedResponse", "Runtime.ExitError"].contains(&error.as_str()), "{error}");
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
