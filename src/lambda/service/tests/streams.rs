//! Answers that stream: framing, endings, back-pressure.

use super::*;

#[test]
fn a_stream_is_framed_as_it_comes_and_says_how_it_ended() {
    let world = world();
    let mut trailers = HeaderMap::new();
    trailers.insert(LOG_RESULT, HeaderValue::from_static("bG9n"));
    trailers.insert(STREAM_ERROR, HeaderValue::from_static("Runtime.ExitError"));
    trailers.insert(STREAM_ERROR_DETAILS, HeaderValue::from_static("e30="));
    let script = VecDeque::from([data(b"one"), None, data(b"two"), Some(Ok(Frame::trailers(trailers)))]);
    world.answer(Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Stream(Box::pin(Script(script))))));
    let reply = world.post(STREAM, &[("x-amz-log-type", "Tail")], "");
    assert_eq!(reply.headers["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(reply.headers["x-amz-executed-version"], "$LATEST");
    let messages = decode(&reply.body);
    assert_eq!(messages.iter().map(kind).collect::<Vec<_>>(), ["PayloadChunk", "PayloadChunk", "InvokeComplete"]);
    assert_eq!((messages[0].1.as_slice(), messages[1].1.as_slice()), (b"one".as_slice(), b"two".as_slice()));
    let complete: Value = serde_json::from_slice(&messages[2].1).unwrap();
    assert_eq!(complete, json!({"ErrorCode": "Runtime.ExitError", "ErrorDetails": "{}", "LogResult": "bG9n"}));
    assert_eq!(world.asked()[0].response_mode, ResponseMode::Streaming);
    let record = world.last_record();
    assert_eq!((record.status, record.is_function_error, record.bytes_tx), (200, true, reply.body.len() as u64));
}

#[test]
fn a_stream_that_breaks_off_ends_in_an_exception() {
    let world = world();
    let script = VecDeque::from([data(b"one"), Some(Err(HostError::Interrupted))]);
    world.answer(Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Stream(Box::pin(Script(script))))));
    let messages = decode(&world.post(STREAM, &[], "").body);
    assert_eq!(messages.iter().map(kind).collect::<Vec<_>>(), ["PayloadChunk", "ServiceException"]);
    assert_eq!(messages[1].1, br#"{"Message":"The function host's answer broke off.","Type":"Service"}"#);
    assert_eq!(world.last_record().reason, Some(Reason::LambdaHostUnavailable));
    assert_eq!(world.counters.reason(Reason::LambdaHostUnavailable), 1);
}

#[test]
fn a_host_that_does_not_stream_still_answers_a_stream() {
    let world = world();
    world.answers("\"hi\"");
    let messages = decode(&world.post(STREAM, &[], "").body);
    assert_eq!(messages.iter().map(kind).collect::<Vec<_>>(), ["PayloadChunk", "InvokeComplete"]);
    assert_eq!(messages[1].1, b"{}");
    let mut headers = HeaderMap::new();
    headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    world.answer(Ok(HostResponse::new(200, &headers, HostBody::Full(Bytes::from_static(b"{\"errorType\":\"E\"}")))));
    headers.insert(LOG_RESULT, HeaderValue::from_static("bG9n"));
    let messages = decode(&world.post(STREAM, &[], "").body);
    assert_eq!(messages.len(), 1);
    let complete: Value = serde_json::from_slice(&messages[0].1).unwrap();
    assert_eq!(complete, json!({"ErrorCode": "Unhandled", "ErrorDetails": "{\"errorType\":\"E\"}"}));
}

#[test]
fn a_stream_asks_the_host_only_when_it_is_asked() {
    let world = world();
    let script = (0..5).map(|_| data(b"x")).collect();
    world.answer(Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Stream(Box::pin(Script(script))))));
    let request = Request::builder().method(Method::POST).uri(STREAM).header("authorization", "Admin");
    let connection = ConnectionInfo {
        client: "10.0.1.10:40000".parse().unwrap(),
        endpoint: "10.0.1.4:443".parse().unwrap(),
        eni: 0,
        is_secure: true,
    };
    let head = RequestHead::from_parts(&request.body(()).unwrap().into_parts().0);
    let body = ResponseBody::full(Bytes::new());
    let mut response = drive(&world.clock, world.service.handle(&connection, &head, body));
    let mut cx = TaskContext::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut response.body).poll_frame(&mut cx) else { panic!("no frame") };
    assert_eq!(decode(frame.data_ref().unwrap()).len(), 1);
    assert!(world.log.0.borrow().is_empty(), "the request is not over");
    drop(response);
    let record = world.last_record();
    assert!(record.bytes_tx > 0 && record.bytes_tx < 200, "{record:?}");
}
