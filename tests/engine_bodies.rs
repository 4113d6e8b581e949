//! What request bodies may take of a worker's memory, and how slowly bodies may come and answers be taken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::time::Duration;

use http::Request;
use vpce::time::Moment;
use world::far_side::Behaviour;
use world::http2::Http2;
use world::{INVOKE, World, invoke, payload, signed};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const APP: &str = "10.0.1.10";
const STREAM: &str = "/2021-11-15/functions/echo/response-streaming-invocations";

/// A worker that holds so many bytes of bodies.
fn with_budget(bytes: usize) -> World {
    World::with(|topology| topology.settings.http_body_budget = bytes)
}

/// A request's bytes with its body in chunks of `size`, up to and without the last one.
fn chunked(world: &World, body: &[u8], size: usize) -> Vec<u8> {
    let whole = signed("Admin", world.now.unix, invoke(body));
    let head = String::from_utf8(whole[..whole.len() - body.len()].to_vec()).unwrap();
    let length = format!("content-length: {}", body.len());
    let mut bytes = head.replace(&length, "transfer-encoding: chunked").into_bytes();
    for piece in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn streams_over_the_budget_are_throttled_and_the_others_served() {
    let mut world = with_budget(100_000);
    // Payloads are held until the host answers.
    world.far.delay = 5 * SECOND;
    let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), 65_535);
    let large = payload(30_000);
    let answers: Vec<_> = (0..8).map(|_| http2.request(&world, invoke(&large))).collect();
    let until = |world: &mut World, done: &mut dyn FnMut(&World) -> bool| {
        assert!(world.run_until(MINUTE, |world| {
            http2.pump(world);
            done(world)
        }));
    };
    until(&mut world, &mut |world| world.far.invoked == 3);
    assert_eq!(world.engine.body_bytes(), 90_000);
    let small = http2.request(&world, invoke(b"1"));
    until(&mut world, &mut |_| small.borrow().is_some() && answers.iter().all(|answer| answer.borrow().is_some()));
    assert_eq!(small.take().unwrap().unwrap().status(), 200);
    let (mut served, mut refused) = (0, 0);
    for answer in answers {
        let answer = answer.take().unwrap().unwrap();
        if answer.status() == 200 {
            assert!(answer.body()[..] == large[..]);
            served += 1;
        } else {
            assert_eq!(answer.status().as_u16(), 429);
            assert_eq!(answer.headers()["x-amzn-errortype"], "TooManyRequestsException");
            let body = r#"{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate exceeded"}"#;
            assert_eq!(answer.body(), body);
            refused += 1;
        }
    }
    assert_eq!((served, refused, world.count("LAMBDA_BODY_BUDGET"), world.count("LAMBDA_THROTTLED")), (3, 5, 5, 0));
    assert_eq!(world.engine.body_bytes(), 0);
    let again = http2.request(&world, invoke(&large));
    until(&mut world, &mut |_| again.borrow().is_some());
    assert_eq!(again.take().unwrap().unwrap().status(), 200);
    drop(http2);
    world.wind_down();
}

#[test]
fn a_body_of_unknown_length_takes_room_as_it_grows_and_gives_it_back_when_refused() {
    let mut world = with_budget(50_000);
    let client = world.connected(APP, 50_000);
    let bytes = chunked(&world, &payload(40_000), 1_000);
    world.clients[client].write(&bytes);
    world.settle();
    assert_eq!(world.engine.body_bytes(), 40_000);
    let other = world.connected(APP, 50_001);
    assert_eq!(world.call(other, invoke(&payload(10_001))).status, 429);
    assert_eq!(world.call(other, invoke(&payload(10_000))).status, 200);
    world.clients[client].write(b"0\r\n\r\n");
    assert_eq!(world.reply(client).status, 200);
    // Too much in its middle: read to its end, not kept, and the connection goes on.
    let bytes = chunked(&world, &payload(60_000), 1_000);
    world.clients[client].write(&bytes);
    world.settle();
    assert_eq!(world.engine.body_bytes(), 0);
    world.clients[client].write(b"0\r\n\r\n");
    assert_eq!(world.reply(client).status, 429);
    assert_eq!(world.call(client, invoke(&payload(50_000))).status, 200);
    assert_eq!(world.count("LAMBDA_BODY_BUDGET"), 2);
    world.wind_down();
}

#[test]
fn a_body_whose_connection_ends_or_whose_request_is_refused_gives_its_room_back() {
    let mut world = World::quickstart();
    let body = payload(6_000_000);
    for (n, end) in ["reset", "silence", "close"].into_iter().enumerate() {
        let client = world.connected(APP, 50_000 + n as u16);
        let bytes = signed("Admin", world.now.unix, invoke(&body));
        world.clients[client].write(&bytes[..10_000]);
        world.settle();
        assert_eq!(world.engine.body_bytes(), 6_000_000, "what is announced is reserved");
        match end {
            "reset" => world.clients[client].reset(),
            "close" => world.clients[client].close(),
            _ => world.run_for(31 * SECOND),
        }
        world.settle();
        assert_eq!(world.engine.body_bytes(), 0, "{end}");
    }
    let client = world.connected(APP, 50_009);
    let mut bytes = signed("Admin", world.now.unix, invoke(&body[..100_000]));
    *bytes.last_mut().unwrap() ^= 1;
    world.clients[client].write(&bytes);
    assert_eq!((world.reply(client).status, world.count("SIGNATURE_MISMATCH")), (403, 1));
    assert_eq!(world.engine.body_bytes(), 0);
    world.wind_down();
}

#[test]
fn another_budget_counts_from_the_next_body_on() {
    let mut world = with_budget(10_000);
    let client = world.connected(APP, 50_000);
    assert_eq!(world.call(client, invoke(&payload(20_000))).status, 429);
    world.update(2, |topology| topology.settings.http_body_budget = 20_000);
    assert_eq!(world.call(client, invoke(&payload(20_000))).status, 200);
    world.wind_down();
}

/// Sends a body of 500,000 bytes, so many of them every ten seconds. Returns how many were sent before the end.
fn upload(world: &mut World, client: usize, every_ten_seconds: usize) -> usize {
    let bytes = signed("Admin", world.now.unix, invoke(&payload(500_000)));
    let (head, body) = bytes.split_at(bytes.len() - 500_000);
    world.clients[client].write(head);
    let mut sent = 0;
    for piece in body.chunks(every_ten_seconds) {
        world.run_for(10 * SECOND);
        if world.clients[client].is_closed() {
            break;
        }
        world.clients[client].write(piece);
        sent += piece.len();
    }
    sent
}

#[test]
fn a_body_that_trickles_ends_by_the_minimum_rate_and_not_before() {
    for bytes in [1, 1_024, 5_120, 8_192] {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        let start = world.now.mono;
        let sent = upload(&mut world, client, bytes);
        let (took, allowed) = (world.now.mono.since(start).as_secs(), 60 + sent as u64 / 1_024);
        assert!((allowed..=allowed + 10).contains(&took), "{bytes} bytes: {took} s, {sent} sent");
        assert_eq!((world.count("HTTP_TOO_SLOW"), world.count("TCP_RESET_TX")), (1, 1));
        assert_eq!((world.count("HTTP_BODY_TIMEOUT"), world.engine.load()[0], world.engine.body_bytes()), (0, 0, 0));
        assert_eq!(world.records.borrow().len(), 1, "the request that was given up is on record");
        world.wind_down();
    }
}

#[test]
fn an_upload_at_a_modest_steady_rate_is_served_however_long_it_takes() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    let start = world.now.mono;
    // 2 KiB/s: four minutes, and the signature is as old.
    assert_eq!(upload(&mut world, client, 20_480), 500_000);
    let reply = world.reply(client);
    assert!(reply.status == 200 && reply.body == payload(500_000), "{}", reply.status);
    assert!(world.now.mono.since(start) > 4 * MINUTE);
    assert_eq!(world.count("HTTP_TOO_SLOW"), 0);
    world.wind_down();
}

/// Takes 16 KiB of an answer every so often, until all of it is there or the connection ends.
fn download(world: &mut World, client: usize, every: Duration) -> Duration {
    let start = world.now.mono;
    while world.clients[client].reply().is_none() && !world.clients[client].is_closed() {
        world.clients[client].take_received(16_384);
        world.run_for(every);
        assert!(world.now.mono.since(start) < 60 * MINUTE);
    }
    world.now.mono.since(start)
}

#[test]
fn a_reader_that_drains_its_answer_too_slowly_is_ended() {
    // What is left after the client's own buffer waits in hyper, or in TLS and TCP alone while the connection closes.
    for (len, path, close) in [
        (900_000, INVOKE, "keep-alive"),
        (500_000, INVOKE, "keep-alive"),
        (500_000, INVOKE, "close"),
        (900_000, STREAM, "close"),
    ] {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        world.clients[client].is_stalled = true;
        let sent = payload(len);
        world.request(client, Request::post(path).header("connection", close).body(&sent[..]).unwrap());
        world.settle();
        // 655 bytes per second: never silent for long.
        let took = download(&mut world, client, 25 * SECOND);
        assert!((2 * MINUTE..6 * MINUTE).contains(&took), "{len} {close}: {took:?}");
        assert_eq!((world.count("HTTP_TOO_SLOW"), world.count("TCP_RESET_TX")), (1, 1), "{len} {close}");
        assert_eq!((world.count("HTTP_BODY_TIMEOUT"), world.engine.load()[0]), (0, 0));
        world.wind_down();
    }
}

#[test]
fn a_reader_that_opens_its_http2_window_too_slowly_is_ended() {
    let mut world = World::quickstart();
    let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), 16_384);
    let sent = payload(1_000_000);
    let answer = http2.request(&world, invoke(&sent));
    let mut start: Option<Moment> = None;
    while answer.borrow().is_none() {
        world.settle();
        http2.pump(&mut world);
        if world.far.invoked == 1 {
            let start = *start.get_or_insert(world.now.mono);
            world.run_for(25 * SECOND);
            assert!(world.now.mono.since(start) < 10 * MINUTE);
        }
    }
    assert!(answer.take().unwrap().is_err());
    assert_eq!((world.count("HTTP_TOO_SLOW"), world.count("HTTP_BODY_TIMEOUT")), (1, 0));
    assert_eq!(world.engine.load()[0], 0);
    drop(http2);
    world.wind_down();
}

#[test]
fn a_function_that_streams_slowly_for_minutes_is_not_its_clients_slowness() {
    for pause in [10 * SECOND, 90 * SECOND] {
        let mut world = World::with(|topology| {
            topology.functions.iter_mut().find(|function| function.name == "echo").unwrap().timeout = 15 * MINUTE;
        });
        world.far.behaviour = Behaviour::Drip(8, pause);
        let request = || Request::post(STREAM).body(&b"1"[..]).unwrap();
        let http1 = world.connected(APP, 50_000);
        world.request(http1, request());
        let http2 = Http2::new(world.connect_with(APP, 50_001, b"h2"), 65_535);
        let answer = http2.request(&world, request());
        assert!(world.run_until(20 * MINUTE, |world| {
            http2.pump(world);
            answer.borrow().is_some()
        }));
        let (first, second) = (world.reply(http1).body, answer.take().unwrap().unwrap().into_body());
        for body in [&first[..], &second[..]] {
            let drips = body.windows(4).filter(|window| window == b"drip").count();
            assert_eq!((drips, body.windows(14).any(|window| window == b"InvokeComplete")), (8, true), "{pause:?}");
        }
        assert_eq!(world.count("HTTP_TOO_SLOW"), 0);
        drop(http2);
        world.wind_down();
    }
}
