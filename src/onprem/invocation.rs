//! One invocation, from the moment it is admitted to its answer.
//!
//! It runs as a task of its own and goes on when its caller hangs up, as on AWS. Life of it: acquire a process; if it is
//! new, wait for its init phase; hand over the event; watch for answer, end, time-out and memory; log; answer; let the
//! process settle.
//!
//! The init phase has its own limit (AWS: 10 s) and does not count as duration. If it fails, it is tried once more as part
//! of the invocation, whose time-out then covers it (AWS: "suppressed init"); a second failure is the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRAILER};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::function_error::FunctionError;
use super::log_tail::Report;
use super::pool::{Admission, Grant, Lease, Pool, Seat, Throttle};
use super::process::{Fault, Process};
use super::runtime_api::{Invocation, Outcome, Part, RESPONSE_LIMIT};
use super::{epoch_ms, lock};
use crate::lambda::host::{FUNCTION_ERROR, LOG_RESULT};

/// Largest streamed answer, bytes. Lambda's quota.
const STREAM_LIMIT: u64 = 200 * 1024 * 1024;
/// Parts of a streamed answer that wait for the caller.
const STREAM_PARTS: usize = 4;

/// What the caller asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request_id: String,
    pub(super) version: String,
    pub(super) arn: HeaderValue,
    pub(super) trace_id: HeaderValue,
    pub(super) client_context: Option<HeaderValue>,
    pub(super) payload: Bytes,
    /// The end of the log is wanted.
    pub(super) tail: bool,
    /// The answer is wanted as it comes.
    pub(super) streaming: bool,
    /// When the caller gives up, milliseconds since 1970: an invocation is not started after that.
    pub(super) deadline_ms: Option<u64>,
}

/// A response's body: there already, or on its way.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Frame<Bytes>>),
}

/// An invocation in its process.
struct Run {
    lease: Lease,
    order: Order,
    started: Instant,
    deadline: Instant,
    init: Option<Duration>,
    /// The platform ended it: its process is of no more use.
    broken: bool,
}

/// Runs an invocation and sends its answer.
pub(super) async fn invoke(
    pool: Arc<Pool>,
    admission: Admission,
    order: Order,
    init_limit: Duration,
    reply: oneshot::Sender<Response<ReplyBody>>,
) {
    pool.tally.invocations.fetch_add(1, Ordering::Relaxed);
    if order.deadline_ms.is_some_and(|deadline| deadline <= epoch_ms()) {
        pool.tally.errors.fetch_add(1, Ordering::Relaxed);
        let error = FunctionError::of_platform(Fault::TimedOut, &order.request_id, pool.function.timeout);
        drop(admission);
        reply.send(answer(Err(error), &order, None)).ok();
        return;
    }
    let patience = order.deadline_ms.map_or(pool.function.timeout + init_limit, |deadline| {
        Duration::from_millis(deadline.saturating_sub(epoch_ms()))
    });
    let response = match pool.acquire(&order.version, Instant::now() + patience).await {
        Err(throttle) => throttled(throttle),
        Ok(Grant::Warm(lease)) => {
            let run = Run::begin(&pool, lease, order, None);
            return run.perform(&pool, admission, reply).await;
        }
        Ok(Grant::Start(seat)) => match start(&pool, seat, order, init_limit).await {
            Ok(run) => return run.perform(&pool, admission, reply).await,
            Err(response) => response,
        },
    };
    drop(admission);
    // A caller that is gone gets no answer.
    reply.send(response).ok();
}

/// Starts a process for an invocation: the init phase, and a second try within the invocation.
async fn start(pool: &Arc<Pool>, seat: Seat, order: Order, limit: Duration) -> Result<Run, Response<ReplyBody>> {
    pool.tally.cold_starts.fetch_add(1, Ordering::Relaxed);
    let begun = Instant::now();
    let lease = spawn(pool, seat, &order).await?;
    let ready = lease.process.watch_while(begun + limit, lease.process.slot.started()).await;
    if matches!(ready, Ok(Ok(()))) {
        return Ok(Run::begin(pool, lease, order, Some(begun.elapsed())));
    }
    tracing::debug!(function = pool.function.name, ?ready, "init phase failed, tried again with the invocation");
    let lease = spawn(pool, lease.retire(), &order).await?;
    let mut run = Run::begin(pool, lease, order, None);
    let process = run.lease.process.clone();
    let error = match process.watch_while(run.deadline, process.slot.started()).await {
        Ok(Ok(())) => return Ok(run),
        Ok(Err(reported)) => FunctionError { body: reported, status: Some(("error", None)) },
        Err(fault) => FunctionError::of_platform(fault, &run.order.request_id, pool.function.timeout),
    };
    let log = run.close(pool, Some(&error));
    Err(answer(Err(error), &run.order, log))
}

async fn spawn(pool: &Arc<Pool>, seat: Seat, order: &Order) -> Result<Lease, Response<ReplyBody>> {
    let function = &pool.function;
    match Process::start(&pool.launch, &function.name, &order.version, function.memory_mb).await {
        Ok(process) => {
            pool.register(&process);
            Ok(Lease::new(process, seat))
        }
        Err(why) => {
            tracing::warn!(function = function.name, why, "a process cannot be started");
            pool.tally.errors.fetch_add(1, Ordering::Relaxed);
            let message = format!("RequestId: {} Error: {why}", order.request_id);
            let body = json!({ "errorType": "Runtime.InvalidEntrypoint", "errorMessage": message });
            let error = FunctionError { body: body.to_string().into(), status: None };
            Err(answer(Err(error), order, None))
        }
    }
}

impl Run {
    /// The invocation's clock starts now.
    fn begin(pool: &Pool, lease: Lease, order: Order, init: Option<Duration>) -> Self {
        let started = Instant::now();
        let process = &lease.process;
        process.invocations.fetch_add(1, Ordering::Relaxed);
        if order.tail {
            // What was written before belongs to another invocation.
            process.drain_output();
            // Should it die, the kernel will not tell any more.
            process.memory_peak_mb();
        }
        lock(&process.log).start(&order.request_id, &order.version);
        Self { lease, order, started, deadline: started + pool.function.timeout, init, broken: false }
    }

    /// Hands the event over and answers.
    async fn perform(mut self, pool: &Arc<Pool>, admission: Admission, reply: oneshot::Sender<Response<ReplyBody>>) {
        let process = self.lease.process.clone();
        let timeout = pool.function.timeout;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let outcome = process.slot.assign(Invocation {
            request_id: self.order.request_id.clone(),
            invocation_id: uuid::Uuid::new_v4().to_string(),
            arn: self.order.arn.clone(),
            trace_id: self.order.trace_id.clone(),
            client_context: self.order.client_context.clone(),
            deadline_ms: epoch_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            payload: std::mem::take(&mut self.order.payload),
        });
        let result = match process.watch_while(self.deadline, outcome).await {
            Ok(Ok(Outcome::Response(body))) => Ok(body),
            Ok(Ok(Outcome::Error(body))) => Err(FunctionError { body, status: None }),
            Ok(Ok(Outcome::TooLarge)) => Err(FunctionError::too_large(RESPONSE_LIMIT as u64)),
            Ok(Ok(Outcome::Stream { content_type, parts })) if self.order.streaming => {
                return self.stream(pool, admission, reply, content_type, parts).await;
            }
            Ok(Ok(Outcome::Stream { parts, .. })) => self.gather(parts, timeout).await,
            // The slot drops the reply only with the process.
            Ok(Err(_)) => {
                let exit = process.exited().await;
                Err(FunctionError::of_platform(Fault::Exited(exit), &self.order.request_id, timeout))
            }
            Err(fault) => Err(FunctionError::of_platform(fault, &self.order.request_id, timeout)),
        };
        let log = self.close(pool, result.as_ref().err());
        let response = answer(result, &self.order, log);
        self.release(pool, admission);
        reply.send(response).ok();
    }

    /// A streamed answer to a caller who wants it whole.
    async fn gather(&self, mut parts: mpsc::Receiver<Part>, timeout: Duration) -> Result<Bytes, FunctionError> {
        let mut whole = BytesMut::new();
        loop {
            match self.lease.process.watch_while(self.deadline, parts.recv()).await {
                Ok(Some(Part::Data(data))) if whole.len() + data.len() <= RESPONSE_LIMIT => {
                    whole.extend_from_slice(&data);
                }
                Ok(Some(Part::Data(_))) => return Err(FunctionError::too_large(RESPONSE_LIMIT as u64)),
                Ok(Some(Part::End(None))) => return Ok(whole.freeze()),
                Ok(Some(Part::End(Some(body)))) => return Err(FunctionError { body, status: None }),
                Ok(None) => return Err(FunctionError::truncated()),
                Err(fault) => return Err(FunctionError::of_platform(fault, &self.order.request_id, timeout)),
            }
        }
    }

    /// A streamed answer as it comes: head now, parts as they arrive, what went wrong and the log in trailers.
    async fn stream(
        mut self,
        pool: &Arc<Pool>,
        admission: Admission,
        reply: oneshot::Sender<Response<ReplyBody>>,
        content_type: Option<HeaderValue>,
        mut parts: mpsc::Receiver<Part>,
    ) {
        let (sender, receiver) = mpsc::channel(STREAM_PARTS);
        let mut response = Response::new(ReplyBody::Stream(receiver));
        let octets = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, content_type.unwrap_or(octets));
        response.headers_mut().insert(
            TRAILER,
            HeaderValue::from_static("x-vpce-stream-error, x-vpce-stream-error-details, x-amz-log-result"),
        );
        self.order.put_version(response.headers_mut());
        reply.send(response).ok();

        let process = self.lease.process.clone();
        let mut sent = 0_u64;
        let fault = |fault| FunctionError::of_platform(fault, &self.order.request_id, pool.function.timeout);
        let error = loop {
            let data = match process.watch_while(self.deadline, parts.recv()).await {
                Ok(Some(Part::Data(data))) => data,
                Ok(Some(Part::End(None))) => break None,
                Ok(Some(Part::End(Some(body)))) => break Some(FunctionError { body, status: None }),
                Ok(None) => break Some(FunctionError::truncated()),
                Err(cause) => break Some(fault(cause)),
            };
            sent += data.len() as u64;
            if sent > STREAM_LIMIT {
                break Some(FunctionError::too_large(STREAM_LIMIT));
            }
            // A caller that is gone is no reason to stop: what follows is thrown away. One that is slow holds the function
            // up, at most until its time is over.
            if let Err(cause) = process.watch_while(self.deadline, sender.send(Frame::data(data))).await {
                break Some(fault(cause));
            }
        };
        let log = self.close(pool, error.as_ref());
        let mut trailers = HeaderMap::new();
        if let Some(error) = &error {
            error.put_trailers(&mut trailers);
        }
        if let Some(log) = log.and_then(|log| HeaderValue::try_from(BASE64.encode(log)).ok()) {
            trailers.insert(LOG_RESULT, log);
        }
        self.release(pool, admission);
        if !trailers.is_empty() {
            sender.send(Frame::trailers(trailers)).await.ok();
        }
    }

    /// Counts and logs the end; returns the log's end if it is wanted.
    fn close(&mut self, pool: &Pool, error: Option<&FunctionError>) -> Option<Vec<u8>> {
        if error.is_some() {
            pool.tally.errors.fetch_add(1, Ordering::Relaxed);
        }
        let status = error.and_then(|error| error.status);
        if status.is_some() {
            self.broken = true;
            self.lease.process.kill();
        }
        let timed_out = matches!(status, Some(("timeout", _)));
        let duration = if timed_out { pool.function.timeout } else { self.started.elapsed() };
        tracing::debug!(
            function = pool.function.name,
            request_id = self.order.request_id,
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            cold = self.init.is_some(),
            error = error.is_some(),
            "invocation ended"
        );
        if !self.order.tail {
            return None;
        }
        let process = &self.lease.process;
        process.drain_output();
        let max_memory_mb = process.memory_peak_mb();
        let mut log = lock(&process.log);
        if let Some(error) = error.filter(|error| error.status.is_some()) {
            error.log(&mut log, &self.order.request_id);
        }
        log.end(&Report {
            request_id: &self.order.request_id,
            duration,
            memory_mb: pool.function.memory_mb,
            max_memory_mb,
            init: self.init,
            status,
        });
        Some(log.tail().to_vec())
    }

    /// Lets the process settle, unless it is broken, and only then lets the next invocation in.
    fn release(self, pool: &Arc<Pool>, admission: Admission) {
        if self.broken {
            drop(self.lease)
        } else {
            pool.settle(self.lease, self.deadline)
        }
        drop(admission);
    }
}

impl Order {
    fn put_version(&self, headers: &mut HeaderMap) {
        if let Ok(version) = HeaderValue::try_from(&self.version) {
            headers.insert(EXECUTED_VERSION, version);
        }
        if let Ok(id) = HeaderValue::try_from(&self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

/// The response to a finished invocation.
fn answer(result: Result<Bytes, FunctionError>, order: &Order, log: Option<Vec<u8>>) -> Response<ReplyBody> {
    let failed = result.is_err();
    let body = result.unwrap_or_else(|error| error.body);
    let mut response = json_response(StatusCode::OK, body);
    let headers = response.headers_mut();
    order.put_version(headers);
    if failed {
        headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    }
    if let Some(Ok(log)) = log.map(|log| HeaderValue::try_from(BASE64.encode(log))) {
        headers.insert(LOG_RESULT, log);
    }
    response
}

/// 429 with Lambda's body.
pub(super) fn throttled(throttle: Throttle) -> Response<ReplyBody> {
    let body = json!({ "Reason": throttle.reason(), "Type": "User", "message": "Rate Exceeded." });
    error_response(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", &body)
}

/// A response with Lambda's error header.
pub(super) fn error_response(status: StatusCode, code: &'static str, body: &serde_json::Value) -> Response<ReplyBody> {
    let mut response = json_response(status, body.to_string().into());
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(code));
    response
}

/// A response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(Some(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Stream(frames) => frames.poll_recv(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Names of headers of ours and of AWS's.
pub(super) const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
