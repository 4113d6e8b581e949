//! Clients that are slow, half gone, or do not speak the protocol.

mod world;

use std::time::Duration;

use vpce::engine::Port;
use world::http2::Http2;
use world::raw::Tcp;
use world::{INVOKE, NAME, World, invoke, payload, signed};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const APP: &str = "10.0.1.10";

/// How long until the connection is gone or closed by the endpoint, and what was counted for it.
fn until_closed(world: &mut World, client: usize, limit: Duration) -> Duration {
    let start = world.now.mono;
    let done = |world: &mut World| world.clients[client].peer_closed || world.clients[client].is_closed();
    assert!(world.run_until(limit, done), "{:?} {:?}", world.engine, world.engine.counters().nonzero());
    world.now.mono.since(start)
}

#[test]
fn a_connection_that_never_finishes_its_tcp_handshake_is_forgotten_without_a_word() {
    let mut world = World::quickstart();
    let (from, to) = ("10.0.1.10:50000".parse().unwrap(), world.eni(APP.parse().unwrap()));
    world.inject(Port::Eni(0), &Tcp { from, to, flags: "S", sequence: 1, acknowledgement: 0, payload: b"" }.build());
    world.run_for(Duration::from_millis(9_900));
    assert_eq!((world.engine.load()[0], world.engine.flows()[1], world.engine.sockets()), (1, 1, 1));
    world.run_for(Duration::from_millis(200));
    assert_eq!((world.engine.load()[0], world.engine.flows()[1], world.engine.sockets()), (0, 0, 0));
    assert_eq!((world.count("TCP_HANDSHAKE_TIMEOUT"), world.count("TCP_RESET_TX")), (1, 0));
    assert!(!world.unclaimed.is_empty(), "SYN-ACKs");
    for (_, buffer) in &world.unclaimed {
        assert!(!vpce::packet::parse(&buffer[10..]).unwrap().tcp_flags().contains(vpce::packet::TcpFlags::RST));
    }
}

#[test]
fn a_client_that_says_nothing_after_tcp_is_reset_after_the_tls_handshakes_time() {
    let mut world = World::quickstart();
    let client = world.connect_from(APP, 50_000);
    world.clients[client].is_mute = true;
    let took = until_closed(&mut world, client, MINUTE);
    assert_eq!(took.as_secs(), 10);
    assert_eq!((world.count("TLS_HANDSHAKE_TIMEOUT"), world.count("TCP_RESET_TX"), world.engine.load()[0]), (1, 1, 0));
}

#[test]
fn an_idle_connection_is_closed_in_good_order_after_a_minute() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut world = World::quickstart();
        let client = world.connect_with(APP, 50_000, alpn);
        let took = until_closed(&mut world, client, 5 * MINUTE);
        assert_eq!(took.as_secs(), 60);
        assert!(world.clients[client].peer_closed, "with close_notify");
        assert_eq!((world.count("HTTP_IDLE_TIMEOUT"), world.count("TCP_RESET_TX")), (1, 0));
        // The client never closes its side: the connection does not wait for it for ever.
        world.run_for(11 * SECOND);
        assert_eq!(world.engine.load()[0], 0);
    }
}

#[test]
fn a_head_that_trickles_is_given_up_ten_seconds_after_its_first_byte() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.run_for(20 * SECOND);
    let start = world.now.mono;
    for _ in 0..9 {
        world.clients[client].write(b"x");
        world.run_for(SECOND);
        assert_eq!(world.count("HTTP_HEAD_TIMEOUT"), 0);
    }
    until_closed(&mut world, client, MINUTE);
    assert_eq!(world.now.mono.since(start).as_secs(), 10);
    assert_eq!((world.count("HTTP_HEAD_TIMEOUT"), world.engine.load()[0]), (1, 0));
}

#[test]
fn a_body_may_be_slow_but_not_silent() {
    let mut world = World::with(|topology| topology.settings.http_rate_grace = 5 * MINUTE);
    let client = world.connected(APP, 50_000);
    let bytes = signed("Admin", world.now.unix, invoke(b"\"abcdefgh\""));
    let (head, body) = bytes.split_at(bytes.len() - 10);
    world.clients[client].write(head);
    for byte in &body[..5] {
        world.run_for(25 * SECOND);
        world.clients[client].write(&[*byte]);
    }
    assert_eq!(world.count("HTTP_BODY_TIMEOUT"), 0);
    let took = until_closed(&mut world, client, 5 * MINUTE);
    assert_eq!((took.as_secs(), world.count("HTTP_BODY_TIMEOUT"), world.engine.load()[0]), (30, 1, 0));
    assert_eq!(world.records.borrow().len(), 1, "the request that was given up is on record");
}

#[test]
fn a_body_of_tiny_chunks_is_read_to_its_end() {
    for (chunk, len) in [(1, 60_000), (7, 100_000), (3_000, 900_000), (100_000, 900_000)] {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        let sent = payload(len);
        let whole = String::from_utf8(signed("Admin", world.now.unix, invoke(&sent))).unwrap();
        let head = whole.split_once("\r\n\r\n").unwrap().0;
        let head = head.replace(&format!("content-length: {len}"), "transfer-encoding: chunked");
        let mut bytes = format!("{head}\r\n\r\n").into_bytes();
        for piece in sent.chunks(chunk) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        world.clients[client].write(&bytes);
        let reply = world.reply(client);
        assert!(reply.status == 200 && reply.body == sent, "{chunk}: {}", reply.status);
        world.wind_down();
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_reset() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.clients[client].is_stalled = true;
    world.request(client, invoke(&payload(3_000_000)));
    world.run_for(29 * SECOND);
    assert_eq!(world.count("HTTP_BODY_TIMEOUT"), 0);
    world.run_for(3 * SECOND);
    assert_eq!((world.count("HTTP_BODY_TIMEOUT"), world.count("TCP_RESET_TX"), world.engine.load()[0]), (1, 1, 0));
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    for close in ["keep-alive", "close"] {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        // More than all buffers between them hold.
        let sent = payload(900_000);
        let request = http::Request::post(INVOKE).header("connection", close).body(&sent[..]).unwrap();
        world.clients[client].is_stalled = true;
        world.request(client, request);
        world.settle();
        // It looks at its socket every eight seconds.
        let mut reply = None;
        for _ in 0..400 {
            world.clients[client].take_received(16_384);
            world.run_for(8 * SECOND);
            reply = world.clients[client].reply();
            if reply.is_some() {
                break;
            }
        }
        let reply = reply.unwrap_or_else(|| panic!("{close}: {:?}", world.engine.counters().nonzero()));
        assert!(reply.status == 200 && reply.body == sent);
        world.wind_down();
    }
}

#[test]
fn a_half_closed_client_gets_no_answer_and_leaves_nothing() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.delay = 5 * SECOND;
    world.request(client, invoke(b"1"));
    assert!(world.run_until(SECOND, |world| world.far.invoked == 1));
    world.clients[client].half_close();
    let took = until_closed(&mut world, client, MINUTE);
    assert!(took < SECOND);
    world.run_for(20 * SECOND);
    assert_eq!(world.engine.load(), [0, 0, 0]);
    assert_eq!(world.count("TCP_RESET_TX"), 0);
}

#[test]
fn garbage_instead_of_tls_is_answered_with_an_alert_and_counted_once() {
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 4_000], &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]] {
        let mut world = World::quickstart();
        let client = world.connect_from(APP, 50_000);
        world.clients[client].is_mute = true;
        world.clients[client].write_raw(garbage);
        world.run_for(SECOND);
        assert_eq!(world.count("TLS_PROTOCOL"), 1, "{garbage:?}");
        world.wind_down();
    }
}

#[test]
fn a_client_that_goes_on_after_its_tls_failed_is_counted_once_and_ended_soon() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.clients[client].is_mute = true;
    for _ in 0..30 {
        world.clients[client].write_raw(&[0xa5; 20_000]);
        world.run_for(SECOND);
    }
    assert_eq!(world.count("TLS_PROTOCOL"), 1);
    assert_eq!(world.engine.load()[0], 0);
}

#[test]
fn random_bytes_in_place_of_http_are_refused_and_counted() {
    let mut world = World::quickstart();
    for round in 0..40 {
        let client = world.connected(APP, 50_000 + round);
        let len = 1 + world.random(3_000);
        let mut bytes: Vec<u8> = (0..len).map(|_| world.random(256) as u8).collect();
        bytes.extend_from_slice(b"\r\n\r\n");
        world.clients[client].write(&bytes);
        let took = until_closed(&mut world, client, MINUTE);
        assert!(took < 11 * SECOND);
    }
    let refused = world.count("HTTP_MALFORMED") + world.count("HTTP_HEAD_TIMEOUT");
    assert!(refused == 40 && world.count("HTTP_MALFORMED") > 30, "{:?}", world.engine.counters().nonzero());
    world.wind_down();
}

#[test]
fn random_bytes_in_place_of_http2_are_refused_and_counted() {
    let mut world = World::quickstart();
    for round in 0..20 {
        let client = world.connect_with(APP, 50_000 + round, b"h2");
        let mut bytes = if round % 2 == 0 { PREFACE.to_vec() } else { Vec::new() };
        bytes.extend((0..2_000).map(|_| world.random(256) as u8));
        world.clients[client].write(&bytes);
        until_closed(&mut world, client, 2 * MINUTE);
    }
    assert!(world.count("HTTP_MALFORMED") >= 18, "{:?}", world.engine.counters().nonzero());
    world.wind_down();
}

#[test]
fn a_head_over_a_megabyte_is_answered_431_and_counted() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    let mut head = format!("POST {INVOKE} HTTP/1.1\r\nHost: {NAME}\r\n").into_bytes();
    while head.len() < (1 << 20) + 100_000 {
        head.extend_from_slice(format!("x-{}: {}\r\n", head.len(), "v".repeat(60_000)).as_bytes());
    }
    world.clients[client].write(&head);
    assert_eq!(world.reply(client).status, 431);
    assert_eq!(world.count("HTTP_HEAD_TOO_LARGE"), 1);
    world.wind_down();
}

#[test]
fn a_head_just_under_a_megabyte_is_served() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    let mut request = http::Request::post(INVOKE);
    for n in 0..16 {
        request = request.header(format!("x-{n}"), "v".repeat(60_000));
    }
    assert_eq!(world.call(client, request.body(&b"1"[..]).unwrap()).status, 200);
    world.wind_down();
}

/// Each of these could mean one request to us and two to whoever stands in front of or behind us.
#[test]
fn a_request_of_two_lengths_never_becomes_two_requests() {
    let smuggled = String::from_utf8(signed("Admin", world::START, invoke(b"\"smuggled\""))).unwrap();
    let len = smuggled.len();
    for framing in [
        format!("Content-Length: 5\r\nContent-Length: {len}\r\n\r\n{smuggled}"),
        format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {len}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Content-Length : 0\r\n\r\n{smuggled}"),
        format!("Content-Length: +0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n{smuggled}"),
    ] {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        let head = format!("POST {INVOKE} HTTP/1.1\r\nHost: {NAME}\r\n{framing}");
        world.clients[client].write(head.as_bytes());
        world.run_for(SECOND);
        assert_eq!(world.far.invoked, 0, "{framing}");
        let reply = world.clients[client].reply().unwrap();
        assert!((400..500).contains(&reply.status) || reply.status == 501, "{framing}: {}", reply.status);
        until_closed(&mut world, client, MINUTE);
        assert!(world.count("HTTP_REQUEST") <= 1, "{framing}");
        world.wind_down();
    }
}

#[test]
fn a_syn_with_data_opens_a_connection_like_any_other() {
    let mut world = World::quickstart();
    let (from, to) = ("10.0.1.10:50000".parse().unwrap(), world.eni(APP.parse().unwrap()));
    let segment =
        |flags, sequence, acknowledgement, payload| Tcp { from, to, flags, sequence, acknowledgement, payload }.build();
    world.inject(Port::Eni(0), &segment("S", 100, 0, b"\x16\x03\x01"));
    world.settle();
    let (_, answer) = world.unclaimed.pop().unwrap();
    let answer = *vpce::packet::parse(&answer[10..]).unwrap().meta();
    assert_eq!(answer.tcp_acknowledgement(), 101, "the data is not acknowledged and comes again");
    let next = answer.tcp_sequence().wrapping_add(1);
    world.inject(Port::Eni(0), &segment("A", 101, next, b"GET /"));
    world.settle();
    assert_eq!((world.count("TCP_ESTABLISHED"), world.count("TLS_PROTOCOL")), (1, 1));
    world.wind_down();
}

#[test]
fn a_strangers_acknowledgement_does_not_end_a_handshake() {
    let mut world = World::quickstart();
    let client = world.connect_from(APP, 50_000);
    let (from, to) = world.clients[client].sockets();
    let syn = world.clients[client].poll(world.now.mono).pop().unwrap();
    let sequence = vpce::packet::parse(&syn[10..]).unwrap().tcp_sequence();
    world.depart(syn);
    // Between SYN and SYN-ACK, in the client's name: an acknowledgement of nothing that was sent.
    let stray = Tcp { from, to, flags: "A", sequence: sequence.wrapping_add(1), acknowledgement: 7, payload: b"" };
    world.inject(Port::Eni(0), &stray.build());
    assert_eq!(world.call(client, invoke(b"1")).status, 200);
    assert_eq!((world.count("FLOW_CREATED"), world.count("TCP_ESTABLISHED")), (1, 1),);
    world.wind_down();
}

#[test]
fn a_reset_before_the_handshakes_end_frees_the_connection_at_once() {
    let mut world = World::with(|topology| topology.settings.half_open_limit = 10);
    let to = world.eni(APP.parse().unwrap());
    for n in 0..1_000_u16 {
        let from = format!("10.0.1.10:{}", 2_000 + n).parse().unwrap();
        let segment = |flags, sequence| Tcp { from, to, flags, sequence, acknowledgement: 0, payload: b"" }.build();
        world.inject(Port::Eni(0), &segment("S", 7));
        world.inject(Port::Eni(0), &segment("R", 8));
        world.settle();
    }
    assert_eq!(world.engine.load()[0], 0);
    assert_eq!(world.engine.sockets(), 0);
    assert_eq!((world.count("FLOW_CREATED"), world.count("HALF_OPEN_LIMIT")), (1_000, 0));
    world.wind_down();
}

#[test]
fn a_syn_that_no_socket_takes_leaves_no_connection() {
    let mut world = World::quickstart();
    let to = world.eni(APP.parse().unwrap());
    for (n, flags) in ["SP", "SF", "SFP"].into_iter().enumerate() {
        let from = format!("10.0.1.10:{}", 2_000 + n).parse().unwrap();
        world.inject(Port::Eni(0), &Tcp { from, to, flags, sequence: 7, acknowledgement: 0, payload: b"" }.build());
        world.settle();
    }
    world.run_for(11 * SECOND);
    assert_eq!((world.engine.load()[0], world.engine.sockets()), (0, 0));
    world.wind_down();
}

#[test]
fn a_half_open_flood_is_capped_and_passes() {
    let mut world = World::with(|topology| topology.settings.half_open_limit = 200);
    let to = world.eni(APP.parse().unwrap());
    let flood = |world: &mut World, base: u32| {
        for n in 0..2_000_u32 {
            let from = format!("10.0.1.{}:{}", 110 + n % 100, 1_024 + base + n / 100).parse().unwrap();
            world.inject(
                Port::Eni(0),
                &Tcp { from, to, flags: "S", sequence: n, acknowledgement: 0, payload: b"" }.build(),
            );
        }
        world.settle();
    };
    let live = world.connected(APP, 60_000);
    flood(&mut world, 0);
    assert_eq!((world.engine.load()[0], world.engine.flows()[1], world.engine.sockets()), (201, 200, 201));
    assert_eq!(world.count("HALF_OPEN_LIMIT"), 1_800);
    assert_eq!(world.call(live, invoke(b"1")).status, 200, "who is connected is served");
    // A new client keeps trying, and gets in when the first of the flood have been forgotten.
    let client = world.connect_from(APP, 60_001);
    assert_eq!(world.call(client, invoke(b"2")).status, 200);
    assert!(world.count("TCP_HANDSHAKE_TIMEOUT") >= 1);
    for round in 1..5 {
        flood(&mut world, round * 100);
        assert!(world.engine.load()[0] <= 202);
    }
    world.wind_down();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[test]
fn many_http2_streams_share_one_connection() {
    let mut world = World::quickstart();
    world.far.delay = Duration::from_millis(20);
    let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), 1 << 20);
    // Three times as many as may be open together: the client waits for its turn.
    let answers: Vec<_> = (0..384).map(|n| http2.request(&world, invoke(n.to_string().as_bytes()))).collect();
    let all = |world: &mut World| {
        http2.pump(world);
        answers.iter().all(|answer| answer.borrow().is_some())
    };
    assert!(world.run_until(MINUTE, all), "{:?}", world.engine);
    for (n, answer) in answers.iter().enumerate() {
        let answer = answer.borrow_mut().take().unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, n.to_string().as_bytes()));
    }
    assert_eq!((world.count("TLS_HANDSHAKE"), world.count("HTTP_REQUEST")), (1, 384));
    drop(http2);
    world.wind_down();
}

#[test]
fn large_http2_uploads_and_downloads_go_through_small_windows() {
    for (window, streams, len) in [(65_535, 4, 1_000_000), (16_384, 1, 300_000), (1 << 20, 1, 6_291_456)] {
        let mut world = World::quickstart();
        let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), window);
        let sent = payload(len);
        let answers: Vec<_> = (0..streams).map(|_| http2.request(&world, invoke(&sent))).collect();
        let all = |world: &mut World| {
            http2.pump(world);
            answers.iter().all(|answer| answer.borrow().is_some())
        };
        assert!(world.run_until(MINUTE, all), "{:?} {:?}", world.engine, world.engine.counters().nonzero());
        for answer in &answers {
            let answer = answer.borrow_mut().take().unwrap().unwrap();
            assert!(answer.status() == 200 && answer.body()[..] == sent[..]);
        }
        drop(http2);
        world.wind_down();
    }
}

#[test]
fn a_client_that_reads_nothing_makes_the_endpoint_send_no_more_than_its_window() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = world::far_side::Behaviour::Echo;
    world.clients[client].is_stalled = true;
    let before = world.count("BYTES_TX");
    for _ in 0..20 {
        world.request(client, invoke(&payload(500_000)));
    }
    world.run_for(5 * SECOND);
    // The client's receive buffer of 256 KB, and headers.
    let emitted = world.count("BYTES_TX") - before;
    assert!(emitted < 300_000, "{emitted} bytes");
    // It took what fits its own buffers and leaves the rest with the client: requests are not read ahead of answers.
    assert!(world.far.invoked <= 2, "{} invocations", world.far.invoked);
    assert!(world.clients[client].unsent() > 8_000_000, "{}", world.clients[client].unsent());
    world.clients[client].is_stalled = false;
    for _ in 0..20 {
        assert_eq!(world.reply(client).body.len(), 500_000);
    }
    world.wind_down();
}

#[test]
fn a_slow_stream_reader_slows_the_function_host_down() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.clients[client].is_stalled = true;
    let path = INVOKE.replace("2015-03-31", "2021-11-15").replace("invocations", "response-streaming-invocations");
    let sent = payload(6_000_000);
    world.request(client, http::Request::post(path).body(&sent[..]).unwrap());
    world.run_for(5 * SECOND);
    assert_eq!(world.far.invoked, 1);
    // The tunnel carried the answer only as far as buffers reach: the host's TCP is held back.
    let received = world.count("FRAME_BYTES_RX");
    assert!(received < 3_000_000, "{received} bytes came through the tunnel");
    world.clients[client].is_stalled = false;
    let reply = world.reply(client);
    assert_eq!(reply.status, 200);
    assert!(reply.body.len() > sent.len());
    world.wind_down();
}

#[test]
fn an_http2_client_that_opens_no_window_is_reset() {
    let mut world = World::with(|topology| {
        topology.functions.iter_mut().find(|function| function.name == "echo").unwrap().timeout = 10 * MINUTE;
    });
    let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), 65_535);
    let path = INVOKE.replace("2015-03-31", "2021-11-15").replace("invocations", "response-streaming-invocations");
    let sent = payload(2_000_000);
    let _answer = http2.request(&world, http::Request::post(path).body(&sent[..]).unwrap());
    assert!(world.run_until(MINUTE, |world| {
        http2.pump(world);
        world.far.invoked == 1
    }));
    // TCP takes everything, HTTP/2 nothing more.
    world.run_for(29 * SECOND);
    assert_eq!(world.count("HTTP_BODY_TIMEOUT"), 0);
    world.run_for(2 * SECOND);
    assert_eq!((world.count("HTTP_BODY_TIMEOUT"), world.engine.load()[0]), (1, 0));
    drop(http2);
    world.wind_down();
}

#[test]
fn a_slow_http2_download_is_not_idle() {
    let mut world = World::quickstart();
    let http2 = Http2::new(world.connect_with(APP, 50_000, b"h2"), 65_535);
    let sent = payload(1_000_000);
    let answer = http2.request(&world, invoke(&sent));
    // A window's worth every ten seconds: two and a half minutes in all.
    let start = world.now.mono;
    while answer.borrow().is_none() {
        world.settle();
        http2.pump(&mut world);
        if world.far.invoked == 1 {
            world.run_for(10 * SECOND);
        }
        assert!(world.now.mono.since(start) < 10 * MINUTE);
    }
    assert!(world.now.mono.since(start) > 2 * MINUTE);
    assert!(answer.borrow_mut().take().unwrap().unwrap().body()[..] == sent[..]);
    assert_eq!(world.count("HTTP_IDLE_TIMEOUT"), 0);
    drop(http2);
    world.wind_down();
}

#[test]
fn rapid_resets_end_the_connection_and_are_counted() {
    let mut world = World::quickstart();
    let client = world.connect_with(APP, 50_000, b"h2");
    world.clients[client].write(PREFACE);
    world.settle();
    let mut frames = Vec::new();
    for n in 0..5_000_u32 {
        let id = (2 * n + 1).to_be_bytes();
        // HEADERS: GET https / with :authority, END_STREAM and END_HEADERS; then RST_STREAM with CANCEL.
        let block = [&[0x82, 0x87, 0x84, 0x41, NAME.len() as u8][..], NAME.as_bytes()].concat();
        frames.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
        frames.extend_from_slice(&id);
        frames.extend_from_slice(&block);
        frames.extend_from_slice(&[0, 0, 4, 3, 0]);
        frames.extend_from_slice(&id);
        frames.extend_from_slice(&8_u32.to_be_bytes());
    }
    world.clients[client].write(&frames);
    let took = until_closed(&mut world, client, MINUTE);
    assert!(took < SECOND, "{took:?}");
    assert!(world.count("HTTP_REQUEST") < 2_000, "{}", world.count("HTTP_REQUEST"));
    assert_eq!(world.count("HTTP_MALFORMED"), 1);
    world.wind_down();
}
