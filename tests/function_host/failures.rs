//! Every way in which a function can fail, and what its caller sees.

use super::*;

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
            "Syntax error in module 'code': ",
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
        assert_eq!(error["errorType"], error_type, "{name}");
        let said = error["errorMessage"].as_str().unwrap();
        match name {
            // Each version of Python words it in its own way.
            "syntax" => assert!(said.starts_with(message) && said.ends_with(" (code.py, line 1)"), "{said}"),
            _ => assert_eq!(said, message, "{name}"),
        }
        assert_eq!(error["requestId"], "", "{name}");
        match (name, stack) {
            ("raises", _) => {
                let frames = error["stackTrace"].as_array().unwrap();
                assert!(frames.last().unwrap().as_str().unwrap().ends_with("in <module>\n    1 / 0\n"), "{error}");
            }
            (_, stack) => assert_eq!(error["stackTrace"], json!(Vec::from_iter(stack)), "{name}"),
        }
        let log = answer.log();
        assert!(log.contains(&format!("[ERROR] {error_type}: {said}\n")), "{name}: {log}");
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
