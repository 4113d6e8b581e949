//! HTTP/1.1 as clients speak it to the whole endpoint: one request after another, in pieces, in chunks, asked for, given up.

mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::far_side::Behaviour;
use world::{INVOKE, NAME, World, invoke, payload, signed};

const SECOND: Duration = Duration::from_secs(1);
const APP: &str = "10.0.1.10";

/// The bytes of a signed invocation.
fn invocation(body: &[u8]) -> Vec<u8> {
    signed("Admin", world::START, invoke(body))
}

/// The same with other framing: lines added to the head, and the body as it goes over the wire.
fn reframed(body: &[u8], fields: &str, wire: &[u8]) -> Vec<u8> {
    let text = invocation(body);
    let text = String::from_utf8(text).expect("a head and a body of text");
    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
    let kept: Vec<_> =
        head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("content-length")).collect();
    [kept.join("\r\n").as_bytes(), b"\r\n", fields.as_bytes(), b"\r\n", wire].concat()
}

fn connected() -> (World, usize) {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    (world, client)
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let (mut world, client) = connected();
    let bodies: Vec<_> = (0..5_u8).map(|n| vec![b'1' + n; 3 + usize::from(n)]).collect();
    let together: Vec<u8> = bodies.iter().flat_map(|body| invocation(body)).collect();
    world.clients[client].write(&together);
    for body in &bodies {
        let reply = world.reply(client);
        assert_eq!((reply.status, &reply.body), (200, body));
        assert_eq!(reply.headers["connection"], "keep-alive");
    }
    assert_eq!(world.count("HTTP_REQUEST"), 5);
    world.wind_down();
}

#[test]
fn a_request_may_come_in_pieces_of_any_size() {
    for size in [1, 2, 3, 7, 64, 500] {
        let (mut world, client) = connected();
        let body = payload(300);
        for piece in invocation(&body).chunks(size) {
            world.clients[client].write(piece);
            world.settle();
        }
        let reply = world.reply(client);
        assert_eq!((reply.status, reply.body), (200, body), "{size}");
        world.wind_down();
    }
}

#[test]
fn a_chunked_body_is_signed_by_its_content() {
    let body = payload(5_000);
    for size in [1, 100, 4_999, 5_000] {
        let mut wire: Vec<u8> = body
            .chunks(size)
            .flat_map(|chunk| [format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .collect();
        wire.extend_from_slice(b"0;last\r\nX-Trailer: ignored\r\n\r\n");
        let (mut world, client) = connected();
        world.clients[client].write(&reframed(&body, "Transfer-Encoding: chunked\r\n", &wire));
        world.clients[client].write(&invocation(b"\"after\""));
        assert_eq!(
            (world.reply(client).body, world.reply(client).body),
            (body.clone(), b"\"after\"".to_vec()),
            "{size}"
        );
        world.wind_down();
    }
}

#[test]
fn a_client_that_waits_is_asked_for_its_body() {
    let (mut world, client) = connected();
    let body = payload(1_000);
    let fields = "Expect: 100-continue\r\nContent-Length: 1000\r\n";
    world.clients[client].write(&reframed(&body, fields, b""));
    let interim = world.reply(client);
    assert_eq!((interim.status, interim.body.len()), (100, 0));
    world.clients[client].write(&body);
    assert_eq!(world.reply(client).body, body);
    // One that is refused by its head is not asked, and the connection ends: its next bytes could be either.
    let head = format!("POST {INVOKE} HTTP/1.1\r\nHost: {NAME}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    world.clients[client].write(head.as_bytes());
    let refused = world.reply(client);
    assert_eq!((refused.status, refused.headers["connection"].to_str().unwrap()), (403, "close"));
    assert!(world.run_until(SECOND, |world| world.clients[client].peer_closed));
    world.wind_down();
}

#[test]
fn a_client_of_http_1_0_gets_one_answer_and_the_end() {
    let (mut world, client) = connected();
    let text = String::from_utf8(invocation(b"1")).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    world.clients[client].write(text.as_bytes());
    let reply = world.reply(client);
    assert_eq!((reply.status, reply.headers["connection"].to_str().unwrap()), (200, "close"));
    assert!(world.run_until(SECOND, |world| world.clients[client].peer_closed));
    world.wind_down();
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    let (mut world, client) = connected();
    world.clients[client].write(format!("HEAD /nothing HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes());
    world.clients[client].write(&invocation(b"2"));
    world.run_for(SECOND);
    let text = String::from_utf8(world.clients[client].received.clone()).unwrap();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n") && head.contains("\r\nContent-Length: 1"), "{head}");
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    world.wind_down();
}

#[test]
fn field_names_are_written_as_aws_writes_them() {
    let (mut world, client) = connected();
    world.clients[client].write(&invocation(b"3"));
    world.run_for(SECOND);
    let text = String::from_utf8(world.clients[client].received.clone()).unwrap();
    for name in [
        "Date",
        "Content-Type",
        "Content-Length",
        "Connection",
        "x-amzn-RequestId",
        "X-Amzn-Trace-Id",
        "X-Amz-Executed-Version",
    ] {
        assert_eq!(text.matches(&format!("\r\n{name}: ")).count(), 1, "{name} in {text}");
    }
    world.wind_down();
}

#[test]
fn a_client_that_leaves_while_its_function_runs_frees_its_connection() {
    let (mut world, client) = connected();
    world.far.behaviour = Behaviour::Silent;
    world.clients[client].write(&invocation(b"4"));
    world.run_for(SECOND);
    assert_eq!(world.engine.load()[2], 1, "under way");
    world.clients[client].close();
    world.run_for(SECOND);
    assert_eq!((world.engine.load()[0], world.engine.load()[2]), (0, 0));
}

#[test]
fn a_trickled_head_is_cut_off_when_its_time_is_up() {
    let (mut world, client) = connected();
    for byte in invocation(b"5").into_iter().take(30) {
        world.clients[client].write(&[byte]);
        world.run_for(SECOND);
        if world.clients[client].peer_closed || world.clients[client].is_closed() {
            break;
        }
    }
    assert_eq!((world.count("HTTP_HEAD_TIMEOUT"), world.count("HTTP_REQUEST")), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However requests are framed and cut into records, each is answered once, in order, with its own body.
    #[test]
    fn any_framing_and_any_cut_is_the_same_requests(
        requests in prop::collection::vec((0_usize..3_000, 0_usize..400), 1..6),
        cuts in prop::collection::vec(1_usize..2_500, 1..12),
    ) {
        let (mut world, client) = connected();
        let mut wire = Vec::new();
        for (len, chunk) in &requests {
            let body = payload(len + 2);
            if *chunk == 0 {
                wire.extend(invocation(&body));
            } else {
                let mut chunks: Vec<u8> = body.chunks(*chunk).flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat()).collect();
                chunks.extend_from_slice(b"0\r\n\r\n");
                wire.extend(reframed(&body, "Transfer-Encoding: chunked\r\n", &chunks));
            }
        }
        let (mut rest, mut cuts) = (&wire[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            world.clients[client].write(piece);
            world.settle();
            rest = later;
        }
        for (len, _) in &requests {
            let reply = world.reply(client);
            prop_assert_eq!((reply.status, reply.body), (200, payload(len + 2)));
        }
        prop_assert_eq!(world.count("HTTP_REQUEST"), requests.len() as u64);
        world.wind_down();
    }
}

#[test]
fn an_answer_carries_its_requests_acknowledgement() {
    let (mut world, client) = connected();
    let call = |world: &mut World| {
        let before = world.count("PACKETS_TX");
        assert_eq!(world.call(client, invoke(b"6")).status, 200);
        world.count("PACKETS_TX") - before
    };
    call(&mut world);
    assert_eq!((0..20).map(|_| call(&mut world)).collect::<Vec<_>>(), [1; 20]);
    // A function that takes its time does not leave the client in doubt.
    world.far.delay = SECOND;
    world.clients[client].write(&invocation(b"7"));
    let before = world.count("PACKETS_TX");
    world.run_for(Duration::from_millis(9));
    assert_eq!(world.count("PACKETS_TX") - before, 0);
    world.run_for(Duration::from_millis(2));
    assert_eq!(world.count("PACKETS_TX") - before, 1);
    assert_eq!(world.reply(client).status, 200);
    assert_eq!(world.count("PACKETS_TX") - before, 2);
    world.wind_down();
}
