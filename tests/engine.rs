//! The whole endpoint in memory: handshake to invocation, over clean and faulty paths, with the far side well and ill.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::time::Duration;

use http::Request;
use world::World;

const INVOKE: &str = "/2015-03-31/functions/echo/invocations";
const MINUTE: Duration = Duration::from_secs(60);

fn invoke(path: &str, payload: &'static [u8]) -> Request<&'static [u8]> {
    Request::post(path).body(payload).unwrap()
}

#[test]
fn an_invocation_crosses_the_whole_path_over_ipv4_and_ipv6() {
    for address in ["10.0.1.10", "2001:db8:1234:1a01::a"] {
        let mut world = World::quickstart();
        let client = world.connect_from(address, 50_000);
        let now = world.now.unix;
        world.clients[client].request("Admin", now, invoke(INVOKE, br#"{"n":1}"#));
        let mut reply = None;
        assert!(world.run_until(MINUTE, |world| {
            reply = world.clients[client].reply();
            reply.is_some()
        }));
        let reply = reply.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &br#"{"n":1}"#[..]));
        assert_eq!(reply.headers["x-amz-executed-version"], "$LATEST");
        assert!(reply.headers["date"].to_str().unwrap().ends_with(" Nov 2026 12:00:00 GMT"), "{:?}", reply.headers);
        for (code, count) in [
            ("FLOW_CREATED", 1),
            ("TCP_ESTABLISHED", 1),
            ("TLS_HANDSHAKE", 1),
            ("SIGNATURE_VERIFIED", 1),
            ("POLICY_ALLOWED", 1),
            ("POLICY_DECISION_MADE", 1),
            ("INVOCATION_SENT", 1),
            ("INVOCATION_ANSWERED", 1),
            ("RULE_WALK", 1),
        ] {
            assert_eq!(world.count(code), count, "{code} over {address}");
        }
        let records = world.records.borrow();
        assert_eq!(records.len(), 1);
        let principal = records[0].principal.as_ref();
        assert_eq!(principal.map(|principal| &*principal.arn), Some("arn:aws:iam::123456789012:user/Admin"));
        assert_eq!((records[0].status, records[0].reason), (200, None));
    }
}
