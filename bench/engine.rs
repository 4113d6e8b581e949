//! The whole engine in memory: from a packet with a TLS record to the packet with the answer's, the tunnel sealed and opened.
//!
//! `engine/...` is the time inside the engine alone, read from the clock around each call into it; the client's TLS and the
//! far side's tunnel and TCP are left out. `world/...` is everything, for comparison. Each clock reading is part of what is
//! measured: an invocation over one connection has about a dozen.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails loudly")]

#[path = "../tests/counting/mod.rs"]
mod counting;
#[path = "../tests/world/mod.rs"]
mod world;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use vpce::engine::Port;
use world::{World, invoke, payload};

const APP: &str = "10.0.1.10";

fn nanos() -> usize {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as usize
}

fn allocations() -> usize {
    counting::made().0 as usize
}

/// One invocation of 128 bytes over each of `connections`, all under way together.
fn invocations(c: &mut Criterion, connections: u16) {
    let mut world = World::quickstart();
    let sent = payload(128);
    let clients: Vec<_> = (0..connections).map(|n| world.connected(APP, 40_000 + n)).collect();
    let round = |world: &mut World| {
        for &client in &clients {
            world.request(client, invoke(&sent));
        }
        world.settle();
        for &client in &clients {
            let reply = world.clients[client].reply().expect("an answer");
            assert!(reply.status == 200 && reply.body == sent);
        }
        world.records.borrow_mut().clear();
        world.advance(Duration::from_micros(20));
    };
    let mut group = c.benchmark_group(format!("invocations/{connections}_connections"));
    group.throughput(Throughput::Elements(u64::from(connections)));
    group.bench_function("engine", |b| {
        b.iter_custom(|rounds| {
            world.measure(nanos);
            (0..rounds).for_each(|_| round(&mut world));
            Duration::from_nanos(world.measured() as u64)
        });
    });
    group.bench_function("world", |b| b.iter(|| round(&mut world)));
    group.finish();
    world.measure(allocations);
    (0..100).for_each(|_| round(&mut world));
    let each = world.measured() as f64 / 100.0 / f64::from(connections);
    println!("invocations/{connections}_connections/engine: {each:.2} allocations per invocation");
}

/// TCP and TLS 1.3 handshake, with a certificate, and the connection's end.
fn handshakes(c: &mut Criterion) {
    let mut world = World::quickstart();
    let mut port = 1_024_u16;
    let mut round = |world: &mut World| {
        port = if port == 65_000 { 1_024 } else { port + 1 };
        let client = world.connect_from(APP, port);
        world.settle();
        assert!(!world.clients[client].tls.is_handshaking());
        world.clients[client].close();
        world.settle();
        world.forget_clients();
        world.advance(Duration::from_millis(1));
    };
    let mut group = c.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("engine", |b| {
        b.iter_custom(|rounds| {
            world.measure(nanos);
            (0..rounds).for_each(|_| round(&mut world));
            Duration::from_nanos(world.measured() as u64)
        });
    });
    group.bench_function("world", |b| b.iter(|| round(&mut world)));
    group.finish();
}

/// Packets of known flows that bring nothing new, in bursts of 64: one connection's, and each of another's.
fn acknowledgements(c: &mut Criterion) {
    const BURST: usize = 64;
    let mut group = c.benchmark_group("acknowledgement");
    group.throughput(Throughput::Elements(BURST as u64));
    for flows in [1, BURST] {
        let mut world = World::quickstart();
        let mut packets = Vec::new();
        for n in 0..flows {
            let client = world.connected(APP, 40_000 + n as u16);
            assert_eq!(world.call(client, invoke(b"1")).status, 200);
            packets.push(world.clients[client].acknowledgement());
        }
        let mut buffer = packets[0].clone();
        let mut output = world::Packets::default();
        let now = world.now;
        group.bench_function(format!("{flows}_flows"), |b| {
            b.iter(|| {
                world.engine.begin_turn(now);
                for n in 0..BURST {
                    // As a read from the device would: the engine may change the bytes.
                    buffer.copy_from_slice(&packets[n % flows]);
                    world.engine.handle_packet(Port::Eni(0), &mut buffer, &mut output);
                }
                world.engine.poll(&mut output)
            });
        });
        assert!(output.packets.is_empty());
    }
    group.finish();
}

/// Bytes that hyper reads and writes, without TLS or TCP.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<(Vec<u8>, Vec<u8>)>>);

impl Read for Memory {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let input = &mut self.0.borrow_mut().0;
        if input.is_empty() {
            return Poll::Pending;
        }
        let n = input.len().min(buf.remaining());
        buf.put_slice(&input[..n]);
        input.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().1.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// hyper alone, on both sides of an invocation: what it costs to have it inline.
fn hyper_inline(c: &mut Criterion) {
    let (sent, mut cx) = (payload(128), Context::from_waker(Waker::noop()));
    let mut group = c.benchmark_group("hyper");
    group.throughput(Throughput::Elements(1));

    let memory = Memory::default();
    let request = world::signed("Admin", world::START, invoke(&sent));
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut response = Response::new(Full::new(body));
        for (name, value) in [
            ("x-amzn-requestid", "0b6a2410-385d-4069-be9f-2e5d987f7dc2"),
            ("x-amzn-remapped-content-length", "0"),
            ("x-amzn-trace-id", "root=1-5fa456b2-beda73b8340f62daf4d397fe;sampled=0"),
            ("content-type", "application/json"),
            ("x-amz-executed-version", "$LATEST"),
        ] {
            response.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        Ok::<_, Infallible>(response)
    });
    let mut server = pin!(
        hyper::server::conn::http1::Builder::new()
            .max_buf_size(1 << 20)
            .header_read_timeout(None)
            .auto_date_header(false)
            .serve_connection(memory.clone(), service)
    );
    group.bench_function("server_http1", |b| {
        b.iter(|| {
            memory.0.borrow_mut().0.extend_from_slice(&request);
            assert!(server.as_mut().poll(&mut cx).is_pending());
            let mut memory = memory.0.borrow_mut();
            assert!(memory.1.ends_with(&sent));
            memory.1.clear();
        });
    });

    let memory = Memory::default();
    let handshake = pin!(hyper::client::conn::http1::handshake::<_, Full<Bytes>>(memory.clone()));
    let Poll::Ready(Ok((mut sender, connection))) = handshake.poll(&mut cx) else { panic!("no handshake") };
    let mut connection = pin!(connection);
    assert!(connection.as_mut().poll(&mut cx).is_pending(), "now it wants a request");
    let answer = [b"HTTP/1.1 200 OK\r\ncontent-length: 128\r\n\r\n", &sent[..]].concat();
    let payload = Bytes::from(sent.clone());
    let host_request = || {
        let mut request =
            Request::post("/2015-03-31/functions/echo/invocations").body(Full::new(payload.clone())).unwrap();
        for (name, value) in [
            ("host", "192.168.10.20:8080"),
            ("content-type", "application/json"),
            ("x-vpce-request-id", "0b6a2410-385d-4069-be9f-2e5d987f7dc2"),
            ("x-vpce-invoked-function-arn", "arn:aws:lambda:us-east-2:123456789012:function:echo"),
            ("x-vpce-function-version", "$LATEST"),
            ("x-amzn-trace-id", "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Parent=0;Sampled=0"),
            ("x-amz-log-type", "None"),
            ("x-vpce-response-mode", "buffered"),
            ("x-vpce-deadline-ms", "1795435203000"),
            ("content-length", "128"),
        ] {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        request
    };
    group.bench_function("client_http1", |b| {
        b.iter(|| {
            assert!(matches!(sender.poll_ready(&mut cx), Poll::Ready(Ok(()))));
            let mut response = pin!(sender.send_request(host_request()));
            assert!(response.as_mut().poll(&mut cx).is_pending() && connection.as_mut().poll(&mut cx).is_pending());
            {
                let mut memory = memory.0.borrow_mut();
                assert!(memory.1.ends_with(&payload));
                memory.1.clear();
                memory.0.extend_from_slice(&answer);
            }
            assert!(connection.as_mut().poll(&mut cx).is_pending());
            let Poll::Ready(Ok(response)) = response.as_mut().poll(&mut cx) else { panic!("no answer") };
            let mut body = pin!(response.into_body().collect());
            assert!(
                body.as_mut().poll(&mut cx).is_ready() || {
                    connection.as_mut().poll(&mut cx).is_pending() && body.as_mut().poll(&mut cx).is_ready()
                }
            );
            assert!(connection.as_mut().poll(&mut cx).is_pending());
        });
    });
    group.finish();
}

fn engine(c: &mut Criterion) {
    hyper_inline(c);
    invocations(c, 1);
    invocations(c, 64);
    handshakes(c);
    acknowledgements(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4)).sample_size(20);
    targets = engine
}
criterion_main!(benches);
