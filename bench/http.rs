//! A request's head, from where rustls holds its bytes to the handler, and the answer's way back into a record.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;
mod handshake;

use std::cell::RefCell;
use std::future::Future;
use std::hint::black_box;
use std::io::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use handshake::Ends;
use http_body_util::Full;
use rustls::client::{ClientConnection, Resumption};
use rustls::version;
use vpce::http::{Activity, Connection, Fields, Limits, MinimumRate, Progress, Response, SharedSession};
use vpce::time::Moment;
use vpce::tls::Alpn;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    head: 64 << 10,
    head_timeout: SECOND,
    body_timeout: SECOND,
    idle_timeout: SECOND,
    rate: MinimumRate { bytes: 1_024, grace: SECOND },
};

/// An invocation as boto3 sends it, its signature included, and with more fields.
fn request(more: usize) -> Vec<u8> {
    let more: String = (0..more).map(|n| format!("x-amz-meta-{n}: {n:064}\r\n")).collect();
    format!(
        "POST /2015-03-31/functions/hello/invocations HTTP/1.1\r\n\
         Host: lambda.us-east-2.amazonaws.com\r\n\
         Accept-Encoding: identity\r\n\
         X-Amz-Invocation-Type: RequestResponse\r\n\
         X-Amz-Log-Type: Tail\r\n\
         User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.12 lang/python#3.13\r\n\
         X-Amz-Date: 20261123T150000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261123/us-east-2/lambda/aws4_request, \
         SignedHeaders=host;x-amz-date;x-amz-invocation-type;x-amz-log-type, \
         Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\r\n\
         amz-sdk-invocation-id: ef8a75d9-6e26-4e65-b4e1-46eceb4e9ad3\r\n\
         amz-sdk-request: attempt=1\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// An answer that is there at the second look, so that the head's part can be told from the answer's.
#[derive(Default)]
struct Later(bool);

impl Future for Later {
    type Output = Response<Full<Bytes>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !std::mem::replace(&mut self.0, true) {
            return Poll::Pending;
        }
        let mut fields = Fields::default();
        fields.push("content-type", "application/json");
        fields.push("x-amzn-requestid", "0b6a2410-385d-4069-be9f-2e5d987f7dc2");
        let body = Full::new(Bytes::from_static(br#""hello""#));
        Poll::Ready(Response { status: 200, fields, body })
    }
}

struct Bench {
    client: ClientConnection,
    session: SharedSession,
    connection: Connection<Full<Bytes>>,
}

impl Bench {
    fn new(ends: &Ends) -> Self {
        let (client, session, ..) = ends.handshake(&ends.client(&version::TLS13, Resumption::disabled()));
        let session = Rc::new(RefCell::new(session));
        let activity = Rc::new(Activity::new(Moment::from_millis(1), &LIMITS));
        let handler = Rc::new(|head, _| {
            black_box(head);
            Box::pin(Later::default()) as Pin<Box<dyn Future<Output = _>>>
        });
        let connection = Connection::new(Rc::clone(&session), Alpn::Http1, activity, &LIMITS, handler);
        Self { client, session, connection }
    }

    /// Brings a request to the session, opened, but not read.
    fn arrive(&mut self, request: &[u8]) {
        self.client.writer().write_all(request).expect("room");
        let mut records = Vec::with_capacity(request.len() + 64);
        while self.client.wants_write() {
            self.client.write_tls(&mut records).expect("in memory");
        }
        assert_eq!(self.session.borrow_mut().ingest(&records).taken, records.len());
    }

    /// The head is read and the handler asked; or, at the second call, the answer written.
    fn poll(&mut self) {
        let progress = self.connection.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(progress, Progress::Open));
    }

    /// Takes the answer's records away.
    fn leave(&mut self) {
        let mut sent = 0;
        self.session.borrow_mut().emit(&mut |bytes| {
            sent += bytes.len();
            bytes.len()
        });
        assert!(sent > 100, "there was an answer");
    }

    /// What reading the head took, and writing the answer.
    fn exchange(&mut self, request: &[u8]) -> [Duration; 2] {
        self.arrive(request);
        let start = Instant::now();
        self.poll();
        let read = Instant::now();
        self.poll();
        let written = read.elapsed();
        self.leave();
        [read - start, written]
    }
}

fn heads(c: &mut Criterion) {
    let ends = Ends::new();
    let mut group = c.benchmark_group("http");
    for (name, more) in [("11_fields", 0), ("40_fields", 29)] {
        let request = request(more);
        let mut bench = Bench::new(&ends);
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function(format!("head/{name}"), |b| {
            b.iter_custom(|times| (0..times).map(|_| bench.exchange(&request)[0]).sum());
        });
        let state = RefCell::new(bench);
        let prepare = || state.borrow_mut().arrive(&request);
        allocations::report(&format!("http/head/{name}"), prepare, |()| {
            state.borrow_mut().poll();
            // So that the next one finds the connection ready again; what the answer allocates is told below.
            Answered(&state)
        });
    }
    let (request, mut bench) = (request(0), Bench::new(&ends));
    group.throughput(Throughput::Elements(1));
    group.bench_function("answer/7_bytes", |b| {
        b.iter_custom(|times| (0..times).map(|_| bench.exchange(&request)[1]).sum());
    });
    group.finish();
    let state = RefCell::new(bench);
    let prepare = || {
        state.borrow_mut().arrive(&request);
        state.borrow_mut().poll();
    };
    allocations::report("http/answer/7_bytes", prepare, |()| {
        state.borrow_mut().poll();
        state.borrow_mut().leave();
    });
}

/// Has the answer written when it is dropped, which nobody counts.
struct Answered<'a>(&'a RefCell<Bench>);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        let mut bench = self.0.borrow_mut();
        bench.poll();
        bench.leave();
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
