//! The Lambda Runtime API, version 2018-06-01: what a function's process talks to.
//!
//! Each process has a listener of its own, on an address of its own in 127.0.0.0/8 and a port the kernel picks. So the
//! address identifies the process, a straggler cannot reach its successor, and finding another's takes a search over 2^38
//! addresses. This is a guard against accidents, not against an attacker who runs as the same user.
//!
//! States of a slot ([`Phase`]): `Init` until the process first asks for an invocation, or reports that it cannot start
//! (`InitFailed`); then `Waiting` → `Running` → `Settling` (it has answered, but not asked for more) → `Waiting`.
//! A request that does not fit the state gets 403, an unknown request id 400, as from Lambda.
//!
//! Limits: [`CONNECTION_LIMIT`] connections; answers of [`RESPONSE_LIMIT`] bytes; errors likewise. `next` waits for ever.
//!
//! Source: AWS Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes".

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::lock;
use crate::lambda::body::{CollectError, collect};

/// Largest answer of a function, bytes: 6 MiB and 100, the number in Lambda's own message.
pub(super) const RESPONSE_LIMIT: usize = 6_291_556;
/// Connections that one process may have open to its Runtime API.
const CONNECTION_LIMIT: usize = 32;
/// Parts of a streamed answer that wait for the reader before the process has to.
const STREAM_PARTS: usize = 4;

/// An event on its way to a process.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    /// Ours, fresh for each attempt; a runtime that knows the header sends it back.
    pub(super) invocation_id: String,
    pub(super) arn: HeaderValue,
    pub(super) trace_id: HeaderValue,
    /// JSON, in ASCII.
    pub(super) client_context: Option<HeaderValue>,
    /// Milliseconds since 1970.
    pub(super) deadline_ms: u64,
    pub(super) payload: Bytes,
}

/// How a process answered.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The whole answer.
    Response(Bytes),
    /// The answer, part by part.
    Stream { content_type: Option<HeaderValue>, parts: mpsc::Receiver<Part> },
    /// An error it reported, as JSON.
    Error(Bytes),
    /// More than [`RESPONSE_LIMIT`].
    TooLarge,
}

/// A part of a streamed answer. A channel that closes without `End` means that the process broke off.
#[derive(Debug)]
pub(super) enum Part {
    Data(Bytes),
    /// The end, with the error that the process put into the trailers, as JSON.
    End(Option<Bytes>),
}

/// Where a process stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Init,
    InitFailed,
    Waiting,
    Running,
    Settling,
}

impl Phase {
    /// For status.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::InitFailed => "init_failed",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Settling => "settling",
        }
    }
}

/// One process's side of the Runtime API.
#[derive(Debug)]
pub(super) struct RuntimeSlot {
    state: Mutex<SlotState>,
    phase: watch::Sender<Phase>,
    work_arrived: Notify,
}

#[derive(Debug, Default)]
struct SlotState {
    /// Assigned, not yet fetched.
    work: Option<(Invocation, oneshot::Sender<Outcome>)>,
    /// Fetched.
    running: Option<Running>,
    /// What `init/error` said.
    init_error: Option<Bytes>,
}

#[derive(Debug)]
struct Running {
    request_id: String,
    invocation_id: String,
    /// Gone once an answer has begun to arrive.
    reply: Option<oneshot::Sender<Outcome>>,
    answered: bool,
}

/// A request that does not fit; becomes `{"errorMessage","errorType"}`.
#[derive(Debug)]
struct Refusal(StatusCode, &'static str, &'static str);

const WRONG_STATE: Refusal =
    Refusal(StatusCode::FORBIDDEN, "InvalidStateTransition", "The runtime may not do this in its current state");
const WRONG_REQUEST_ID: Refusal = Refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID");
const WRONG_INVOCATION_ID: Refusal = Refusal(StatusCode::BAD_REQUEST, "InvalidInvocationId", "Invalid invocation ID");
const NOT_FOUND: Refusal = Refusal(StatusCode::NOT_FOUND, "NotFound", "Not a path of the Runtime API 2018-06-01");
const BROKEN_BODY: Refusal = Refusal(StatusCode::BAD_REQUEST, "InvalidRequestBody", "The body could not be read");
const TOO_LARGE: Refusal = Refusal(
    StatusCode::PAYLOAD_TOO_LARGE,
    "RequestEntityTooLarge",
    "Exceeded maximum allowed payload size (6291556 bytes).",
);

impl SlotState {
    fn fetch(&mut self) -> Option<Invocation> {
        let (invocation, reply) = self.work.take()?;
        self.running = Some(Running {
            request_id: invocation.request_id.clone(),
            invocation_id: invocation.invocation_id.clone(),
            reply: Some(reply),
            answered: false,
        });
        Some(invocation)
    }
}

impl RuntimeSlot {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), phase: watch::Sender::new(Phase::Init), work_arrived: Notify::new() }
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Until the process has asked for its first invocation, or reported why it cannot: then its error, as JSON.
    pub(super) async fn started(&self) -> Result<(), Bytes> {
        let mut phase = self.phase.subscribe();
        let reached = phase.wait_for(|&phase| phase != Phase::Init).await.map(|phase| *phase);
        if matches!(reached, Ok(Phase::InitFailed)) {
            return Err(lock(&self.state).init_error.clone().unwrap_or_default());
        }
        Ok(())
    }

    /// Until the process asks for an invocation.
    pub(super) async fn waiting(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        phase.wait_for(|&phase| phase == Phase::Waiting).await.ok();
    }

    /// Hands an invocation to the process, which must be waiting; how it answers comes out of the channel.
    pub(super) fn assign(&self, invocation: Invocation) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        lock(&self.state).work = Some((invocation, reply));
        self.phase.send_replace(Phase::Running);
        self.work_arrived.notify_one();
        outcome
    }

    async fn next(&self) -> Result<Invocation, Refusal> {
        {
            let mut state = lock(&self.state);
            if self.phase() == Phase::InitFailed || state.running.as_ref().is_some_and(|running| !running.answered) {
                return Err(WRONG_STATE);
            }
            state.running = None;
            if state.work.is_none() && self.phase() != Phase::Waiting {
                self.phase.send_replace(Phase::Waiting);
            }
        }
        loop {
            if let Some(invocation) = lock(&self.state).fetch() {
                return Ok(invocation);
            }
            self.work_arrived.notified().await;
        }
    }

    /// Takes the right to answer the invocation in progress.
    fn claim(&self, request_id: &str, headers: &HeaderMap) -> Result<oneshot::Sender<Outcome>, Refusal> {
        let mut state = lock(&self.state);
        let running = state.running.as_mut().filter(|running| running.request_id == request_id);
        let running = running.ok_or(WRONG_REQUEST_ID)?;
        if headers.get(INVOCATION_ID).is_some_and(|id| id.as_bytes() != running.invocation_id.as_bytes()) {
            return Err(WRONG_INVOCATION_ID);
        }
        running.reply.take().ok_or(WRONG_STATE)
    }

    /// Gives the right back: the answer did not arrive whole.
    fn unclaim(&self, reply: oneshot::Sender<Outcome>) {
        if let Some(running) = &mut lock(&self.state).running {
            running.reply = Some(reply);
        }
    }

    fn settle(&self) {
        if let Some(running) = &mut lock(&self.state).running {
            running.answered = true;
        }
        self.phase.send_replace(Phase::Settling);
    }

    fn fail_init(&self, error: Bytes) -> Result<(), Refusal> {
        if self.phase() != Phase::Init {
            return Err(WRONG_STATE);
        }
        lock(&self.state).init_error = Some(error);
        self.phase.send_replace(Phase::InitFailed);
        Ok(())
    }
}

/// Opens a process's listener.
///
/// # Errors
/// If the loopback interface is down or no descriptor is left.
pub(super) async fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let random = uuid::Uuid::new_v4().into_bytes();
    // 127.1.0.1 to 127.254.255.254: not 127.0.0.1, where everything else listens, and no all-zeroes or all-ones host part.
    let [a, b, c] = [random[0] % 254 + 1, random[1], random[2] % 254 + 1];
    let listener = TcpListener::bind((Ipv4Addr::new(127, a, b, c), 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves one process, for ever: whoever started this ends it with the process.
pub(super) async fn serve(listener: TcpListener, slot: Arc<RuntimeSlot>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTION_LIMIT => {
                let Ok((stream, _)) = accepted else { continue };
                // Without it, the second segment of an answer waits 40 ms for a delayed acknowledgement.
                if stream.set_nodelay(true).is_err() { continue }
                let slot = slot.clone();
                let service = hyper::service::service_fn(move |request| {
                    let slot = slot.clone();
                    async move { Ok::<_, Infallible>(handle(&slot, request).await) }
                });
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .auto_date_header(false)
                        // As Lambda writes them, for clients that compare names by case.
                        .title_case_headers(true)
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn handle(slot: &RuntimeSlot, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
    let invocation = path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/'));
    let answer = match (&head.method, path, invocation) {
        (&Method::GET, "invocation/next", _) => {
            return slot.next().await.map_or_else(|refusal| refuse(&refusal), emit);
        }
        (&Method::POST, "init/error", _) => handle_init_error(slot, &head.headers, &mut body).await,
        (&Method::POST, _, Some((id, "response"))) => handle_response(slot, id, &head.headers, &mut body).await,
        (&Method::POST, _, Some((id, "error"))) => handle_error(slot, id, &head.headers, &mut body).await,
        _ => Err(NOT_FOUND),
    };
    // What is left is read, so that the process gets to see a refusal instead of a closed connection. The time it takes
    // is bounded by the time that the process has before it is ended.
    while let Some(Ok(_)) = body.frame().await {}
    match answer {
        Ok(()) => respond(StatusCode::ACCEPTED, Bytes::from_static(br#"{"status":"OK"}"#)),
        Err(refusal) => refuse(&refusal),
    }
}

async fn handle_response(
    slot: &RuntimeSlot,
    id: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<(), Refusal> {
    let reply = slot.claim(id, headers)?;
    if headers.get(RESPONSE_MODE).is_some_and(|mode| mode == "streaming") {
        return handle_stream(slot, reply, headers, body).await;
    }
    match read_limited(body).await {
        Ok(answer) => {
            // A receiver that is gone has timed out, and the process with it.
            reply.send(Outcome::Response(answer)).ok();
            slot.settle();
            Ok(())
        }
        Err(refusal) if refusal.0 == StatusCode::PAYLOAD_TOO_LARGE => {
            reply.send(Outcome::TooLarge).ok();
            slot.settle();
            Err(refusal)
        }
        Err(refusal) => {
            slot.unclaim(reply);
            Err(refusal)
        }
    }
}

async fn handle_stream(
    slot: &RuntimeSlot,
    reply: oneshot::Sender<Outcome>,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<(), Refusal> {
    let (sender, parts) = mpsc::channel(STREAM_PARTS);
    let content_type = headers.get(CONTENT_TYPE).cloned();
    reply.send(Outcome::Stream { content_type, parts }).ok();
    let mut fault = None;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            // Dropping the sender without an end tells the other side.
            drop(sender);
            slot.settle();
            return Err(BROKEN_BODY);
        };
        match frame.into_data() {
            // A reader that is gone is no reason to stop the function: the rest is thrown away.
            Ok(data) if !data.is_empty() => drop(sender.send(Part::Data(data)).await),
            Ok(_) => {}
            Err(frame) => fault = frame.into_trailers().ok().and_then(|trailers| stream_fault(&trailers)),
        }
    }
    sender.send(Part::End(fault)).await.ok();
    slot.settle();
    Ok(())
}

/// The error in a stream's trailers, as JSON: type in one, base64 of the JSON in the other.
fn stream_fault(trailers: &HeaderMap) -> Option<Bytes> {
    let error_type = trailers.get(ERROR_TYPE)?.to_str().unwrap_or("Unhandled");
    let body = trailers.get(ERROR_BODY).and_then(|body| BASE64.decode(body.as_bytes()).ok());
    let body = body.filter(|body| serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|json| json.is_object()));
    Some(body.map_or_else(|| error_of_type(error_type), Bytes::from))
}

fn error_of_type(error_type: &str) -> Bytes {
    serde_json::json!({ "errorMessage": "", "errorType": error_type }).to_string().into()
}

async fn handle_error(slot: &RuntimeSlot, id: &str, headers: &HeaderMap, body: &mut Incoming) -> Result<(), Refusal> {
    let reply = slot.claim(id, headers)?;
    match read_error(headers, body).await {
        Ok(error) => {
            reply.send(Outcome::Error(error)).ok();
            slot.settle();
            Ok(())
        }
        Err(refusal) => {
            slot.unclaim(reply);
            Err(refusal)
        }
    }
}

async fn handle_init_error(slot: &RuntimeSlot, headers: &HeaderMap, body: &mut Incoming) -> Result<(), Refusal> {
    slot.fail_init(read_error(headers, body).await?)
}

/// An error's JSON; one without a body is described by its header alone.
async fn read_error(headers: &HeaderMap, body: &mut Incoming) -> Result<Bytes, Refusal> {
    let error = read_limited(body).await?;
    if !error.is_empty() {
        return Ok(error);
    }
    let error_type = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    Ok(error_of_type(error_type.unwrap_or("Unhandled")))
}

async fn read_limited(body: &mut Incoming) -> Result<Bytes, Refusal> {
    collect(body, RESPONSE_LIMIT, 0, &mut ()).await.map_err(|error| match error {
        CollectError::TooLarge(_) | CollectError::NoRoom => TOO_LARGE,
        CollectError::Body(_) => BROKEN_BODY,
    })
}

fn emit(invocation: Invocation) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::OK, invocation.payload);
    let headers = response.headers_mut();
    let mut put = |name: &HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name.clone(), value);
        }
    };
    put(&REQUEST_ID, invocation.request_id);
    put(&INVOCATION_ID, invocation.invocation_id);
    put(&DEADLINE_MS, invocation.deadline_ms.to_string());
    headers.insert(INVOKED_ARN, invocation.arn);
    headers.insert(TRACE_ID, invocation.trace_id);
    if let Some(context) = invocation.client_context {
        headers.insert(CLIENT_CONTEXT, context);
    }
    response
}

fn refuse(refusal: &Refusal) -> Response<Full<Bytes>> {
    let Refusal(status, error_type, message) = refusal;
    let body = serde_json::json!({ "errorMessage": message, "errorType": error_type });
    respond(*status, body.to_string().into())
}

fn respond(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const INVOKED_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const ERROR_BODY: HeaderName = HeaderName::from_static("lambda-runtime-function-error-body");
