//! The whole stage, driven by a poll loop; host and authority are in-memory drivers with settings.

mod events;
mod streams;

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::digest::SHA256;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Frame;
use serde_json::json;

use super::*;
use crate::lambda::catalog::tests::catalog;
use crate::lambda::event_queue::{Disposition, EventOutcome};
use crate::lambda::event_stream::tests::{decode, kind};
use crate::lambda::host::{
    FUNCTION_ERROR, HostBody, HostError, HostRequest, LOG_RESULT, ResponseMode, STREAM_ERROR, STREAM_ERROR_DETAILS,
};
use crate::lambda::respond::RESPONSE_MAX;
use crate::sigv4::Principal;
use crate::time::{Now, UnixTime};
use crate::verdict::{Event, Reason};

const ARN: &str = "arn:aws:lambda:us-east-2:123456789012:function:my-function";
const INVOKE: &str = "/2015-03-31/functions/my-function/invocations";
const STREAM: &str = "/2021-11-15/functions/my-function/response-streaming-invocations";

/// A body of given frames; `None` is a moment of silence, an error the end.
struct Script<E>(VecDeque<Option<Result<Frame<Bytes>, E>>>);

impl<E: Unpin> Body for Script<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        match self.get_mut().0.pop_front() {
            None => Poll::Ready(None),
            Some(Some(frame)) => Poll::Ready(Some(frame)),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

fn data<E>(bytes: &[u8]) -> Option<Result<Frame<Bytes>, E>> {
    Some(Ok(Frame::data(Bytes::copy_from_slice(bytes))))
}

/// A number of chunks of 64 KB without an announced length.
struct Endless(Rc<Cell<usize>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = HostError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        Poll::Ready((left > 0).then(|| Ok(Frame::data(Bytes::from_static(&[b' '; 65_536])))))
    }
}

/// Answers with what it is told to, and remembers what it was asked.
#[derive(Default)]
struct Host {
    answers: RefCell<VecDeque<Result<HostResponse, HostError>>>,
    asked: RefCell<Vec<HostRequest>>,
}

impl FunctionHost for Host {
    async fn invoke(&self, request: &HostRequest) -> Result<HostResponse, HostError> {
        self.asked.borrow_mut().push(request.clone());
        let mut is_first = true;
        std::future::poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
        self.answers.borrow_mut().pop_front().unwrap_or(Err(HostError::Unreachable))
    }
}

/// Requires `authorization: NAME`; `Mallory` fails the signature, `Guest` the policy.
#[derive(Default)]
struct Desk {
    digest: Cell<[u8; 32]>,
    accesses: RefCell<Vec<(String, String, Option<usize>)>>,
}

impl Authority for Desk {
    type Pending = Rc<Principal>;
    type Caller = Rc<Principal>;
    type Permit = ();

    fn begin(&self, head: &RequestHead, _: &ConnectionInfo, _: Now) -> Result<Rc<Principal>, ApiError> {
        let name = head.text("authorization").ok_or_else(|| {
            let (code, message) = ("MissingAuthenticationTokenException", "Missing Authentication Token");
            ApiError::framework(403, code, message, Reason::SignatureMissing)
        })?;
        Ok(Rc::new(Principal::from_arn(&format!("arn:aws:iam::123456789012:user/{name}")).unwrap()))
    }

    fn finish(&self, pending: Rc<Principal>, body_sha256: &[u8; 32], _: Now) -> Result<Rc<Principal>, ApiError> {
        self.digest.set(*body_sha256);
        if pending.name == "Mallory" {
            return Err(ApiError::framework(403, "InvalidSignatureException", "No.", Reason::SignatureMismatch));
        }
        Ok(pending)
    }

    fn principal<'a>(&self, caller: &'a Rc<Principal>) -> &'a Rc<Principal> {
        caller
    }

    fn authorize(
        &self,
        caller: &Rc<Principal>,
        access: Access<'_>,
        _: &ConnectionInfo,
        _: Now,
    ) -> Result<(), ApiError> {
        self.accesses.borrow_mut().push((access.action.to_owned(), access.resource.to_owned(), access.function));
        if caller.name == "Guest" {
            return Err(ApiError::access_denied("Not you.", Reason::EndpointPolicyDeny));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Log(RefCell<Vec<AccessRecord>>);

impl AccessLog for Log {
    fn record(&self, record: &AccessRecord) {
        self.0.borrow_mut().push(record.clone());
    }
}

struct World {
    service: Service<Host, Desk>,
    clock: Rc<TurnClock>,
    counters: Arc<Counters>,
    log: Rc<Log>,
}

fn world() -> World {
    world_with(EventQueueLimits::default())
}

fn world_with(event_limits: EventQueueLimits) -> World {
    let now = Now { mono: Moment::from_millis(5), unix: UnixTime::from_secs(1_700_000_000) };
    let clock = Rc::new(TurnClock::new(now));
    let counters = Arc::new(Counters::default());
    let log = Rc::new(Log::default());
    let service = Service::new(ServiceParts {
        host: Host::default(),
        authority: Desk::default(),
        catalog: Arc::new(catalog()),
        clock: Rc::clone(&clock),
        counters: Arc::clone(&counters),
        log: Rc::clone(&log) as Rc<dyn AccessLog>,
        seed: [9; 32],
        event_limits,
        body_budget: 64 << 20,
    });
    World { service, clock, counters, log }
}

/// Polls to the end; each turn takes a millisecond.
fn drive<F: Future>(clock: &TurnClock, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = TaskContext::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        clock.set(clock.now().after(Duration::from_millis(1)));
    }
    panic!("the future never ends");
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn code(&self) -> &str {
        self.headers.get("x-amzn-errortype").map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl World {
    fn answer(&self, answer: Result<HostResponse, HostError>) {
        self.service.host.answers.borrow_mut().push_back(answer);
    }

    fn answers(&self, body: &'static str) {
        self.answer(Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Full(Bytes::from_static(body.as_bytes())))));
    }

    fn send<B: Body<Data = Bytes>>(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: B) -> Reply {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let connection = ConnectionInfo {
            client: "10.0.1.10:40000".parse().unwrap(),
            endpoint: "10.0.1.4:443".parse().unwrap(),
            eni: 0,
            is_secure: true,
        };
        let head = RequestHead::from_parts(&request.body(()).unwrap().into_parts().0);
        let Response { status, fields, body } = drive(&self.clock, self.service.handle(&connection, &head, body));
        let collected = drive(&self.clock, collect(body, usize::MAX, 0, &mut ()));
        Reply { status, headers: fields.to_map(), body: collected.unwrap().into() }
    }

    fn post(&self, uri: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut all = vec![("authorization", "Admin")];
        all.extend(headers);
        self.send(Method::POST, uri, &all, ResponseBody::full(Bytes::copy_from_slice(body.as_bytes())))
    }

    fn get(&self, uri: &str) -> Reply {
        self.send(Method::GET, uri, &[("authorization", "Admin")], ResponseBody::full(Bytes::new()))
    }

    fn asked(&self) -> Vec<HostRequest> {
        self.service.host.asked.borrow().clone()
    }

    fn last_record(&self) -> AccessRecord {
        self.log.0.borrow().last().unwrap().clone()
    }
}

#[test]
fn an_invocation_reaches_the_function_and_its_answer_comes_back() {
    let world = world();
    world.answers("\"hi\"");
    let reply = world.post(&format!("{INVOKE}?Qualifier=prod"), &[("x-amz-client-context", "e30=")], "{\"a\":1}");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"\"hi\"".as_slice()));
    assert_eq!(reply.headers["x-amz-executed-version"], "1");
    assert!(!reply.headers.contains_key("x-amz-function-error"));
    let [asked] = world.asked().try_into().unwrap();
    assert_eq!(*asked.target.invoked_arn, format!("{ARN}:prod"));
    assert_eq!((asked.target.function, &*asked.target.version), (1, "1"));
    assert_eq!(asked.payload, "{\"a\":1}");
    assert_eq!(asked.client_context.unwrap(), "e30=");
    assert_eq!(asked.response_mode, ResponseMode::Buffered);
    assert_eq!(asked.deadline, UnixTime::from_secs(1_700_000_003));
    assert_eq!(reply.headers["x-amzn-requestid"], asked.request_id.to_string());
    assert_eq!(reply.headers["x-amzn-trace-id"], format!("root={};sampled=0", asked.trace.root));
    assert_eq!(
        *world.service.authority.accesses.borrow(),
        [("lambda:InvokeFunction".to_owned(), format!("{ARN}:prod"), Some(1))]
    );
    let sha: [u8; 32] = aws_lc_rs::digest::digest(&SHA256, b"{\"a\":1}").as_ref().try_into().unwrap();
    assert_eq!(world.service.authority.digest.get(), sha);
    assert_eq!(
        world.counters.nonzero(),
        [
            (crate::verdict::Stage::Lambda, "INVOCATION_SENT", 1),
            (crate::verdict::Stage::Lambda, "INVOCATION_ANSWERED", 1)
        ]
    );
    let record = world.last_record();
    assert_eq!((record.status, record.bytes_rx, record.bytes_tx), (200, 7, 4));
    assert_eq!(
        record.principal.as_ref().map(|principal| &*principal.arn),
        Some("arn:aws:iam::123456789012:user/Admin")
    );
    assert_eq!((record.operation, record.version.as_deref()), (Some("Invoke"), Some("1")));
    assert_eq!(record.stages.host, Duration::from_millis(1));
}

#[test]
fn checks_come_in_their_documented_order() {
    let world = world();
    // Each request is wrong in everything below it in this table as well.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str, Reason);
    let table: [Row<'_>; 10] = [
        ("/nowhere", &[("x-pad", "huge")], 403, "", Reason::LambdaUnknownOperation),
        (INVOKE, &[("x-pad", "huge")], 403, "MissingAuthenticationTokenException", Reason::SignatureMissing),
        (
            "/2015-03-31/functions/a%20b/invocations",
            &[("authorization", "Mallory"), ("x-pad", "huge")],
            413,
            "RequestEntityTooLargeException",
            Reason::LambdaTooLarge,
        ),
        (
            "/2015-03-31/functions",
            &[("authorization", "Mallory")],
            403,
            "InvalidSignatureException",
            Reason::SignatureMismatch,
        ),
        (
            "/2015-03-31/functions",
            &[("authorization", "Guest")],
            501,
            "ServiceException",
            Reason::LambdaUnknownOperation,
        ),
        (
            "/2015-03-31/functions/us-west-2:nope:1/invocations?Qualifier=%20",
            &[("authorization", "Guest")],
            400,
            "ValidationException",
            Reason::LambdaBadRequest,
        ),
        (
            "/2015-03-31/functions/nope:1/invocations?Qualifier=2",
            &[("authorization", "Guest")],
            400,
            "InvalidParameterValueException",
            Reason::LambdaBadRequest,
        ),
        (
            "/2015-03-31/functions/nope/invocations",
            &[("authorization", "Guest")],
            403,
            "AccessDeniedException",
            Reason::EndpointPolicyDeny,
        ),
        (
            "/2015-03-31/functions/nope/invocations",
            &[("authorization", "Admin"), ("x-amzn-requestid", "1")],
            404,
            "ResourceNotFoundException",
            Reason::LambdaNotFound,
        ),
        (
            INVOKE,
            &[("authorization", "Admin"), ("x-amzn-requestid", "1")],
            400,
            "InvalidRequestContentException",
            Reason::LambdaBadRequest,
        ),
    ];
    for (uri, headers, status, code, reason) in table {
        let before = world.counters.reason(reason);
        let is_huge = headers.contains(&("x-pad", "huge"));
        let body = if is_huge { Bytes::from(vec![b'x'; 6_291_457]) } else { Bytes::from_static(b"not json") };
        let reply = world.send(Method::POST, uri, headers, ResponseBody::full(body));
        assert_eq!((reply.status, reply.code()), (status, code), "{uri}");
        assert_eq!(world.counters.reason(reason), before + 1, "{uri}");
        let record = world.last_record();
        assert_eq!((record.status, record.reason), (status, Some(reason)));
    }
    let reply = world.post(INVOKE, &[], "not json");
    assert!(reply.json()["message"].as_str().unwrap().starts_with(
        "Could not parse request body into json: Could not parse payload into json: Unrecognized token 'not'"
    ));
    assert!(world.asked().is_empty());
}

#[test]
fn creating_a_function_from_a_large_file_is_not_supported_rather_than_too_large() {
    let world = world();
    let reply = world.post("/2015-03-31/functions", &[], &"x".repeat(1 << 20));
    assert_eq!((reply.status, reply.code()), (501, "ServiceException"));
    assert!(reply.json()["Message"].as_str().unwrap().starts_with("vpce does not support CreateFunction yet."));
    let list = [("authorization", "Admin")];
    let body = ResponseBody::full(Bytes::from(vec![b'x'; 1 << 20]));
    let reply = world.send(Method::GET, "/2015-03-31/functions", &list, body);
    assert_eq!((reply.status, reply.code()), (413, "RequestTooLargeException"));
}

#[test]
fn a_missing_function_is_named_with_latest_by_invoke_and_without_by_get_function() {
    let world = world();
    let arn = "arn:aws:lambda:us-east-2:123456789012:function:nope";
    let not_found = |arn: &str| json!({ "Message": format!("Function not found: {arn}"), "Type": "User" });
    let table = [
        (world.post("/2015-03-31/functions/nope/invocations", &[], ""), format!("{arn}:$LATEST")),
        (world.post("/2014-11-13/functions/nope/invoke-async/", &[], ""), format!("{arn}:$LATEST")),
        (world.post("/2015-03-31/functions/nope:7/invocations", &[], ""), format!("{arn}:7")),
        (world.get("/2015-03-31/functions/nope"), arn.to_owned()),
        (world.get("/2015-03-31/functions/my-function?Qualifier=9"), format!("{ARN}:9")),
    ];
    for (reply, arn) in table {
        assert_eq!((reply.status, reply.json()), (404, not_found(&arn)));
    }
}

#[test]
fn read_operations_answer_from_the_catalog_under_their_own_actions() {
    let world = world();
    let function = world.get("/2015-03-31/functions/my-function");
    assert_eq!(function.json()["Configuration"]["FunctionArn"], ARN);
    assert_eq!(function.headers["content-type"], "application/json");
    assert_eq!(world.get("/2015-03-31/functions/my-function/configuration").json()["Version"], "$LATEST");
    assert_eq!(world.get("/2015-03-31/functions/?MaxItems=1").json()["Functions"][0]["FunctionName"], "echo");
    assert_eq!(world.get("/2016-08-19/account-settings").json()["AccountUsage"]["FunctionCount"], 2);
    let accesses = world.service.authority.accesses.borrow();
    let actions: Vec<_> = accesses.iter().map(|(action, resource, _)| (action.as_str(), resource.as_str())).collect();
    assert_eq!(
        actions,
        [
            ("lambda:GetFunction", ARN),
            ("lambda:GetFunctionConfiguration", ARN),
            ("lambda:ListFunctions", "*"),
            ("lambda:GetAccountSettings", "*"),
        ]
    );
}

#[test]
fn a_dry_run_checks_everything_and_runs_nothing() {
    let world = world();
    let dry = [("x-amz-invocation-type", "DryRun")];
    for uri in [INVOKE, STREAM] {
        let reply = world.post(uri, &dry, "{}");
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert!(!reply.headers.contains_key("x-amz-executed-version"));
    }
    assert_eq!(world.post(INVOKE, &dry, "{").status, 400);
    assert!(world.asked().is_empty());
}

#[test]
fn payloads_are_bounded_as_announced_and_as_they_come() {
    let world = world();
    let event = [("x-amz-invocation-type", "Event")];
    let json = |n: usize| format!("\"{}\"", "x".repeat(n - 2));
    assert_eq!(world.post(INVOKE, &event, &json(1_048_576)).status, 202);
    let reply = world.post(INVOKE, &event, &json(1_048_577));
    assert_eq!(reply.status, 413);
    assert_eq!(
        reply.json()["message"],
        "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    );
    let reply = world.post(INVOKE, &[], &json(6_291_478));
    assert_eq!(
        reply.json()["message"],
        "6291478 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    );
    // Chunked: no length is announced. The rest is read, or the client could miss the answer, but not without end.
    for (chunks, read) in [(100, 100), (1_000, 353)] {
        let left = Rc::new(Cell::new(chunks));
        let body = Endless(Rc::clone(&left));
        let reply = world.send(Method::POST, INVOKE, &[("authorization", "Admin")], body);
        assert_eq!((reply.status, reply.code()), (413, "RequestEntityTooLargeException"));
        assert_eq!(chunks - left.get(), read);
        assert!(reply.json()["message"].as_str().unwrap().starts_with(&format!("{} byte payload", read * 65_536)));
    }
    let broken = Script(VecDeque::from([data(b"{"), None, Some(Err(HostError::Interrupted))]));
    assert_eq!(world.send(Method::POST, INVOKE, &[("authorization", "Admin")], broken).status, 400);
    assert!(world.asked().is_empty());
}

#[test]
fn a_refused_requests_body_is_read_unless_the_client_waits_to_be_asked_for_it() {
    let world = world();
    for (uri, headers, left) in
        [(INVOKE, &[][..], 0), ("/no/such/path", &[], 0), (INVOKE, &[("expect", "100-continue")], 3)]
    {
        let chunks = Rc::new(Cell::new(3));
        let reply = world.send(Method::POST, uri, headers, Endless(Rc::clone(&chunks)));
        assert_eq!(reply.status, 403);
        assert_eq!(chunks.get(), left, "{uri} {headers:?}");
    }
    let endless = Rc::new(Cell::new(usize::MAX));
    world.send(Method::POST, INVOKE, &[], Endless(Rc::clone(&endless)));
    assert!(usize::MAX - endless.get() <= 257, "no more than 16 MB are read");
}

#[test]
fn a_body_in_pieces_is_one_payload() {
    let world = world();
    world.answers("null");
    let pieces = Script::<HostError>(VecDeque::from([data(b"{\"a\""), None, data(b":"), data(b"1}")]));
    assert_eq!(world.send(Method::POST, INVOKE, &[("authorization", "Admin")], pieces).status, 200);
    assert_eq!(world.asked()[0].payload, "{\"a\":1}");
}

#[test]
fn function_errors_are_200_with_a_header_and_logs_come_when_asked_for() {
    let world = world();
    let mut headers = HeaderMap::new();
    headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    headers.insert(LOG_RESULT, HeaderValue::from_static("bG9n"));
    let failed = || Ok(HostResponse::new(200, &headers, HostBody::Full(Bytes::from_static(b"{\"errorType\":\"E\"}"))));
    world.answer(failed());
    let reply = world.post(INVOKE, &[], "");
    assert_eq!((reply.status, reply.headers["x-amz-function-error"].to_str().unwrap()), (200, "Unhandled"));
    assert!(!reply.headers.contains_key("x-amz-log-result"));
    assert!(world.last_record().is_function_error);
    world.answer(failed());
    let reply = world.post(INVOKE, &[("x-amz-log-type", "Tail")], "");
    assert_eq!(reply.headers["x-amz-log-result"], "bG9n");
    assert_eq!(world.asked()[1].log_type, LogType::Tail);
}

#[test]
fn an_answer_over_the_limit_is_a_function_error() {
    let world = world();
    let full = |n| Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Full(Bytes::from(vec![b' '; n]))));
    world.answer(full(RESPONSE_MAX));
    assert_eq!(world.post(INVOKE, &[], "").body.len(), RESPONSE_MAX);
    world.answer(full(RESPONSE_MAX + 1));
    let reply = world.post(INVOKE, &[], "");
    assert_eq!((reply.status, reply.headers["x-amz-function-error"].to_str().unwrap()), (200, "Unhandled"));
    assert_eq!(reply.json()["errorType"], "Function.ResponseSizeTooLarge");
}

#[test]
fn trouble_with_the_host_is_an_error_of_the_service() {
    let world = world();
    let status = |status, body: &'static str| {
        Ok(HostResponse::new(status, &HeaderMap::new(), HostBody::Full(Bytes::from_static(body.as_bytes()))))
    };
    let broken = Script(VecDeque::from([data(b"12"), Some(Err(HostError::Interrupted))]));
    let broken = Ok(HostResponse::new(200, &HeaderMap::new(), HostBody::Stream(Box::pin(broken))));
    let reserved = r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded"}"#;
    let table = [
        (Err(HostError::Unreachable), 500, "The function host cannot be reached."),
        (Err(HostError::TimedOut), 500, "The function host did not answer in time."),
        (Err(HostError::Malformed), 500, "The function host's answer cannot be read."),
        (broken, 500, "The function host's answer broke off."),
        (status(503, ""), 500, "The function host answered with status 503."),
        (
            status(404, ""),
            404,
            "Function not found: arn:aws:lambda:us-east-2:123456789012:function:my-function:$LATEST",
        ),
        (status(429, reserved), 429, "Rate Exceeded."),
        (Err(HostError::TooManyPending), 429, "Rate Exceeded."),
    ];
    for (answer, status, message) in table {
        world.answer(answer);
        let reply = world.post(INVOKE, &[], "");
        let body = reply.json();
        let text = body.get("Message").or_else(|| body.get("message")).unwrap();
        assert_eq!((reply.status, text.as_str().unwrap()), (status, message));
    }
    assert_eq!(world.counters.reason(Reason::LambdaHostUnavailable), 5);
    assert_eq!(world.counters.reason(Reason::LambdaThrottled), 2);
}

#[test]
fn a_callers_request_id_and_trace_are_kept() {
    let world = world();
    world.answers("null");
    let id = "0b6a2410-385d-4069-be9f-2e5d987f7dc2";
    let trace = "Root=1-5fa456b2-beda73b8340f62daf4d397fe";
    let reply = world.post(INVOKE, &[("x-amzn-requestid", id), ("x-amzn-trace-id", trace)], "");
    assert_eq!(reply.headers["x-amzn-requestid"], id);
    assert_eq!(reply.headers["x-amzn-trace-id"], "root=1-5fa456b2-beda73b8340f62daf4d397fe;sampled=0");
    assert_eq!(world.asked()[0].request_id.to_string(), id);
}

#[test]
fn a_new_catalog_holds_from_the_next_request_on() {
    let world = world();
    let scope = catalog().scope().clone();
    let empty = Catalog::from_functions(scope, &[], UnixTime::default(), |_| None);
    world.service.set_catalog(Arc::new(empty));
    assert_eq!(world.post(INVOKE, &[], "").status, 404);
}
