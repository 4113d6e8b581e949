//! What a function host may say over HTTP/1.1, and what is not believed: each answer belongs to one request, or to none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::time::Duration;

use http::Request;
use vpce::http::response_head::{FIELDS_MAX, HEAD_MAX};
use world::far_side::Act::{self, Abort, Close, Leave, Send, Wait};
use world::far_side::Behaviour;
use world::{INVOKE, Reply, World, invoke, payload};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(10);
const APP: &str = "10.0.1.10";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// What comes of an answer, and of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The caller gets `true`; the connection is used again.
    Kept,
    /// The caller gets `true`; the connection is not used again.
    Dropped,
    /// The caller gets an error; the connection is not used again.
    Refused,
}

fn script(acts: &[Act]) -> Behaviour {
    Behaviour::Script(acts.to_vec().leak())
}

fn streaming() -> Request<&'static [u8]> {
    let path = INVOKE.replace("2015-03-31", "2021-11-15").replace("invocations", "response-streaming-invocations");
    Request::post(path).body(&b"1"[..]).unwrap()
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn outcome(reply: &Reply) -> Option<bool> {
    match reply.status {
        200 if reply.body == b"true" => Some(true),
        500 if reply.headers["x-amzn-errortype"] == "ServiceException" => Some(false),
        _ => None,
    }
}

/// Has the host act so on one request after another, of one world and one client.
fn check_all(table: &[(&str, Vec<Act>, Outcome)]) {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    for (name, acts, expected) in table {
        check(&mut world, client, name, acts, *expected);
    }
    world.wind_down();
}

/// Has the host act so on one request, and looks at what came of it.
#[track_caller]
fn check(world: &mut World, client: usize, name: &str, acts: &[Act], expected: Outcome) {
    world.far.behaviour = Behaviour::Echo;
    assert_eq!(world.call(client, invoke(b"0")).body, b"0", "before: {name}");
    let (accepted, invoked) = (world.far.accepted, world.far.invoked);
    world.far.behaviour = script(acts);
    let reply = world.call(client, invoke(b"1"));
    assert_eq!(world.far.invoked, invoked + 1, "{name}: sent once");
    assert_eq!(outcome(&reply), Some(expected != Outcome::Refused), "{name}: {} {:?}", reply.status, reply.body);
    world.far.behaviour = Behaviour::Echo;
    world.run_for(SECOND);
    let reply = world.call(client, invoke(b"2"));
    assert_eq!((reply.status, &reply.body[..]), (200, &b"2"[..]), "after: {name}");
    assert_eq!(
        world.far.accepted == accepted,
        expected == Outcome::Kept,
        "{name}: whether the connection is used again"
    );
}

#[test]
fn an_answer_is_read_to_its_end_and_its_connection_used_again_if_both_sides_agree_where_that_is() {
    use Outcome::{Dropped, Kept, Refused};
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\ntrue\r\n0\r\nX-A: b\r\n\r\n";
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let closes = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ntrue";
    let until_close = b"HTTP/1.1 200 OK\r\n\r\ntrue";
    let cut = |bytes: &'static [u8]| bytes.chunks(1).flat_map(|byte| [Send(byte), Wait(SOON)]).collect::<Vec<_>>();
    let interims = |n| [&interim.repeat(n)[..], ANSWER].concat().leak();
    let table: &[(&str, Vec<Act>, Outcome)] = &[
        ("plain", vec![Send(ANSWER)], Kept),
        ("byte by byte", cut(ANSWER), Kept),
        ("head and body apart", vec![Send(&ANSWER[..38]), Wait(SOON), Send(&ANSWER[38..])], Kept),
        ("in chunks", vec![Send(chunked)], Kept),
        ("in chunks, byte by byte", cut(chunked), Kept),
        ("100 first", vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(SOON), Send(ANSWER)], Kept),
        ("100 and 103 at once", vec![Send(interims(2))], Kept),
        ("103 cut up", [cut(interim), vec![Send(ANSWER)]].concat(), Kept),
        ("sixteen interim answers", vec![Send(interims(16))], Kept),
        ("seventeen interim answers", vec![Send(interims(17))], Refused),
        ("another protocol", vec![Send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Send(ANSWER)], Refused),
        ("closes, as it said", vec![Send(closes), Close], Dropped),
        ("stays, though it said otherwise", vec![Send(closes)], Dropped),
        ("HTTP/1.0", vec![Send(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ntrue"), Close], Dropped),
        ("HTTP/1.0 without a length", vec![Send(b"HTTP/1.0 200 OK\r\n\r\ntrue"), Close], Dropped),
        ("until it closes", vec![Send(until_close), Wait(SOON), Close], Dropped),
        ("until it resets", vec![Send(until_close), Wait(SOON), Abort], Refused),
        ("closes right behind", vec![Send(ANSWER), Close], Dropped),
        ("leaves right behind", vec![Send(ANSWER), Leave], Dropped),
        ("resets a little later", vec![Send(ANSWER), Wait(SOON), Abort], Dropped),
    ];
    check_all(table);
}

#[test]
fn a_hostile_host_harms_one_invocation_and_one_connection() {
    use Outcome::{Dropped, Refused};
    let with =
        |fields: &str| -> &'static [u8] { format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\ntrue").into_bytes().leak() };
    let chunks = |body: &str| -> &'static [u8] {
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes().leak()
    };
    let large = || with(&format!("a: {}", "b".repeat(HEAD_MAX)));
    let table: &[(&str, Vec<Act>, Outcome)] = &[
        // two lengths
        ("two lengths", vec![Send(with("Content-Length: 4\r\nContent-Length: 5"))], Refused),
        ("a list of lengths", vec![Send(with("Content-Length: 4, 4"))], Refused),
        ("a length and chunks", vec![Send(with("Content-Length: 4\r\nTransfer-Encoding: chunked"))], Refused),
        ("another coding", vec![Send(with("Transfer-Encoding: gzip, chunked"))], Refused),
        ("a length with a sign", vec![Send(with("Content-Length: +4"))], Refused),
        ("a length beyond all", vec![Send(with("Content-Length: 18446744073709551620"))], Refused),
        ("a length that says nothing", vec![Send(with("Content-Length: four"))], Refused),
        // no HTTP
        ("garbage", vec![Send(b"\x16\x03\x01\x02\x00 hello")], Refused),
        ("garbage later", vec![Send(b"HTTP/1.1 200 OK\r\na\0: b"), Wait(SOON), Send(b"\r\n\r\n")], Refused),
        ("an empty line", vec![Send(b"\r\n"), Send(ANSWER)], Refused),
        ("bare line feeds", vec![Send(b"HTTP/1.1 200 OK\nContent-Length: 4\n\ntrue")], Refused),
        ("a folded field", vec![Send(with("Content-Length: 4\r\n X: y"))], Refused),
        ("white space before the colon", vec![Send(with("Content-Length : 4"))], Refused),
        ("HTTP/2", vec![Send(b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\ntrue")], Refused),
        ("a request", vec![Send(b"GET / HTTP/1.1\r\n\r\n")], Refused),
        // too much
        ("a large head", vec![Send(large())], Refused),
        ("a large head that does not end", vec![Send(&large()[..HEAD_MAX])], Refused),
        ("a large head in pieces", vec![Send(&large()[..30]), Wait(SOON), Send(&large()[30..])], Refused),
        ("many fields", vec![Send(with(&"a: b\r\n".repeat(FIELDS_MAX + 1)))], Refused),
        // too little
        ("nothing, and closes", vec![Wait(SOON), Close], Refused),
        ("nothing, and resets", vec![Wait(SOON), Abort], Refused),
        ("half a head, and closes", vec![Send(&ANSWER[..20]), Close], Refused),
        ("half a head, and resets", vec![Send(&ANSWER[..20]), Wait(SOON), Abort], Refused),
        ("an interim answer, and closes", vec![Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(SOON), Close], Refused),
        ("half a body, and closes", vec![Send(&ANSWER[..40]), Close], Refused),
        ("half a body, and resets", vec![Send(&ANSWER[..40]), Wait(SOON), Abort], Refused),
        ("half a chunk, and closes", vec![Send(chunks("8\r\ntrue")), Close], Refused),
        ("no last chunk, and closes", vec![Send(chunks("4\r\ntrue\r\n")), Close], Refused),
        ("half a trailer, and closes", vec![Send(chunks("4\r\ntrue\r\n0\r\nX-A: b\r\n")), Close], Refused),
        // chunks
        ("a chunk's size that is none", vec![Send(chunks("0x4\r\ntrue\r\n0\r\n\r\n"))], Refused),
        ("a chunk longer than it said", vec![Send(chunks("4\r\ntrue!\r\n0\r\n\r\n"))], Refused),
        ("bare line feeds in chunks", vec![Send(chunks("4\ntrue\n0\n\n"))], Refused),
        ("a trailer that is none", vec![Send(chunks("4\r\ntrue\r\n0\r\nGET / HTTP/1.1\r\n\r\n"))], Refused),
        // more behind
        ("more than it said", vec![Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue!")], Dropped),
        ("another answer behind", vec![Send([ANSWER, EVIL].concat().leak())], Dropped),
        ("another answer a little later", vec![Send(ANSWER), Wait(SOON), Send(EVIL)], Dropped),
        ("another answer behind chunks", vec![Send(chunks("4\r\ntrue\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))], Dropped),
        ("a body where none may be", vec![Send(b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\ntrue")], Refused),
        (
            "a body that says it is none",
            vec![Send(b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n"), Wait(SOON), Send(EVIL)],
            Refused,
        ),
    ];
    check_all(table);
}

#[test]
fn a_body_that_is_announced_as_too_long_is_not_waited_for() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = script(&[Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\ntrue")]);
    let reply = world.call(client, invoke(b"1"));
    assert_eq!((reply.status, &reply.headers["x-amz-function-error"]), (200, &"Unhandled".parse().unwrap()));
    assert!(contains(&reply.body, b"Function.ResponseSizeTooLarge"));
    world.far.behaviour = Behaviour::Echo;
    assert_eq!(world.call(client, invoke(b"2")).body, b"2");
    assert_eq!(world.far.accepted, 2);
    world.wind_down();
}

/// A world whose far side is 300 ms away.
fn distant() -> World {
    World::with(|topology| {
        topology.tunnel.path = "vpn".to_owned();
        let path = topology.paths.iter_mut().find(|path| path.name == "vpn").unwrap();
        path.to_aws.delay = Duration::from_millis(300);
    })
}

#[test]
fn what_was_said_before_a_request_was_heard_does_not_answer_it() {
    let mut world = distant();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = script(&[Send(ANSWER), Wait(10 * SOON), Send(EVIL)]);
    assert_eq!(world.call(client, invoke(b"1")).body, b"true");
    // Now it is on its way, and nobody knows yet.
    world.far.behaviour = Behaviour::Echo;
    let reply = world.call(client, invoke(b"2"));
    assert_eq!(outcome(&reply), Some(false), "{} {:?}", reply.status, reply.body);
    assert_eq!(world.far.invoked, 2, "the host may have run it: it is not sent again");
    assert_eq!(world.call(client, invoke(b"3")).body, b"3");
    assert_eq!(world.far.accepted, 2);
    world.wind_down();
}

#[test]
fn a_request_that_crosses_the_end_of_its_connection_is_sent_again() {
    for (name, acts) in
        [("FIN", [Send(ANSWER), Wait(10 * SOON), Leave]), ("RST", [Send(ANSWER), Wait(10 * SOON), Abort])]
    {
        let mut world = distant();
        let client = world.connected(APP, 50_000);
        world.far.behaviour = script(&acts);
        assert_eq!(world.call(client, invoke(b"1")).body, b"true");
        world.far.behaviour = Behaviour::Echo;
        assert_eq!(world.call(client, invoke(b"2")).body, b"2", "{name}");
        assert_eq!((world.far.accepted, world.far.invoked), (2, 2), "{name}: on another connection, and once");
        world.wind_down();
    }
}

#[test]
fn an_answer_that_comes_before_the_whole_request_was_sent_counts_and_its_connection_does_not() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::Eager;
    let reply = world.call(client, invoke(&payload(2_000_000)));
    assert_eq!((reply.status, &reply.body[..]), (200, &b"early"[..]));
    world.far.behaviour = Behaviour::Echo;
    let large = payload(2_000_000);
    assert!(world.call(client, invoke(&large)).body == large);
    assert_eq!(world.far.accepted, 2);
    world.run_for(20 * SECOND);
    assert_eq!(world.engine.load(), [1, 1, 0], "the first connection is gone");
    world.wind_down();
}

#[test]
fn a_stream_ends_as_its_trailers_say() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Vpce-Stream-Error\r\n\r\n5\r\nfirst\r\n";
    for (trailers, code) in [("", None), ("X-Vpce-Stream-Error: Runtime.ExitError\r\n", Some("Runtime.ExitError"))] {
        let end = format!("6\r\nsecond\r\n0\r\n{trailers}\r\n").into_bytes().leak();
        let whole = [head.as_bytes(), end].concat().leak();
        for acts in [vec![Send(whole)], vec![Send(head.as_bytes()), Wait(SECOND), Send(end)]] {
            let mut world = World::quickstart();
            let client = world.connected(APP, 50_000);
            world.far.behaviour = script(&acts);
            for _ in 0..2 {
                let reply = world.call(client, streaming());
                assert!(contains(&reply.body, b"first") && contains(&reply.body, b"second"));
                assert!(contains(&reply.body, b"InvokeComplete"));
                assert_eq!(contains(&reply.body, b"ErrorCode"), code.is_some(), "{trailers}");
                assert!(contains(&reply.body, code.unwrap_or("first").as_bytes()));
            }
            assert_eq!(world.far.accepted, 1, "the connection was used again");
            world.wind_down();
        }
    }
}

#[test]
fn a_stream_that_breaks_off_says_so() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let table: [(&str, &[Act]); 3] = [
        ("closes", &[Send(head), Wait(SOON), Close]),
        ("resets", &[Send(head), Wait(SOON), Abort]),
        ("garbage", &[Send(head), Wait(SOON), Send(b"garbage\r\n")]),
    ];
    for (name, acts) in table {
        let mut world = World::quickstart();
        let client = world.connected(APP, 50_000);
        world.far.behaviour = script(acts);
        let reply = world.call(client, streaming());
        assert!(contains(&reply.body, b"first") && contains(&reply.body, b"ServiceException"), "{name}");
        assert!(!contains(&reply.body, b"InvokeComplete"), "{name}");
        world.far.behaviour = Behaviour::Echo;
        assert_eq!(world.call(client, invoke(b"2")).body, b"2", "{name}");
        assert_eq!(world.far.accepted, 2, "{name}");
        world.wind_down();
    }
}

#[test]
fn a_client_that_reads_nothing_stops_the_host() {
    const LEN: usize = 8_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![b'x'; LEN]].concat().leak();
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = script(&[Send(answer)]);
    world.clients[client].is_stalled = true;
    world.request(client, streaming());
    world.run_for(SECOND);
    let unsent = world.far.unsent();
    // Two TCP connections' buffers, both ends, and the event stream's between them.
    assert!(unsent > LEN / 2, "the host sent {} bytes", LEN - unsent);
    world.run_for(SECOND);
    assert_eq!(world.far.unsent(), unsent, "it stands still");
    world.clients[client].is_stalled = false;
    let reply = world.reply(client);
    assert!(reply.body.len() > LEN && contains(&reply.body, b"InvokeComplete"), "{} bytes", reply.body.len());
    world.wind_down();
}

#[test]
fn an_answer_is_acknowledged_by_the_next_request_or_soon() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    assert_eq!(world.call(client, invoke(b"0")).body, b"0");
    world.run_for(SECOND);
    let before = world.far.frames();
    for _ in 0..50 {
        assert_eq!(world.call(client, invoke(b"1")).body, b"1");
    }
    let busy = world.far.frames() - before;
    assert_eq!(busy, 50, "a frame for each request");
    world.run_for(SOON);
    assert_eq!(world.far.frames() - before, 51, "the last answer's acknowledgement");
    // A host that waits for an acknowledgement before it goes on gets it.
    world.far.behaviour = script(&[Send(&ANSWER[..38]), Wait(SOON), Send(&ANSWER[38..])]);
    world.request(client, invoke(b"2"));
    world.settle();
    assert_eq!(world.far.frames() - before, 53, "the request, and its head's acknowledgement at once");
    assert_eq!(world.reply(client).body, b"true");
    world.wind_down();
}
