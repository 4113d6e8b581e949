//! The HTTP side: paths, qualifiers, limits, echo.

use super::*;

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
