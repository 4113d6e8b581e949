//! The tunnel allocates nothing per frame: neither sealing, queueing, batching and opening, nor the emulated path.

mod counting;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use vpce::config::{PathDirection, PathProfile};
use vpce::time::Moment;
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::tunnel::{Received, Side, TunnelEnd, batch, count_sent};
use vpce::verdict::{Counters, Event};

fn ends(direction: PathDirection) -> (TunnelEnd, TunnelEnd) {
    let profile = PathProfile { name: "test".into(), mtu: 1500, to_customer: direction, to_aws: direction };
    let mut next = 0_u8;
    let keys = TunnelKeys::generate(NonZeroUsize::MIN, |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(113);
            *byte = next;
        }
    });
    let end = |side: Side| {
        TunnelEnd::new(side, keys.pairs(), 1024, &profile, Arc::new(Link::new(side.direction(&profile))), 1)
    };
    (end(Side::Aws), end(Side::Customer))
}

/// Sends `turns` bursts of mixed sizes over the path, one millisecond apart, and returns what was allocated meanwhile.
fn allocations(direction: PathDirection, turns: u64) -> (u64, u64) {
    let (mut aws, mut customer) = ends(direction);
    let counters = Counters::default();
    let mut inner = vec![0x5A; 1438];
    let mut wire = vec![0; 1 << 16];
    let before = counting::made().0;
    for turn in 0..turns {
        let now = Moment::from_millis(turn);
        for n in 0..64_usize {
            let len = if n % 7 == 0 { 60 } else { 1438 };
            inner[0] = 0x45;
            inner[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            // Losses and a full queue are part of the path.
            _ = aws.send(0, &inner[..len], now, &counters);
        }
        while let Some(transmit) = aws.poll_transmit(now) {
            let (len, segment_size) = (transmit.bytes().len(), transmit.segment_size());
            wire[..len].copy_from_slice(transmit.bytes());
            count_sent(transmit.sent(len), len, &counters);
            for frame in batch::frames(&mut wire[..len], segment_size) {
                assert!(matches!(customer.handle_frame(frame, now, &counters), Received::Packet { .. }));
            }
        }
    }
    (counting::made().0 - before, counters.event(Event::FramesRx))
}

#[test]
fn a_hundred_thousand_frames_allocate_nothing() {
    let emulated = PathDirection {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        loss: 0.01,
        rate_bps: Some(1_250_000_000),
        rate_pps: Some(140_000),
        queue_bytes: 256 << 10,
    };
    for (direction, least) in [(PathDirection::default(), 102_400), (emulated, 90_000)] {
        let (allocated, crossed) = allocations(direction, 1_600);
        assert!(crossed >= least, "only {crossed} frames crossed");
        assert_eq!(allocated, 0, "over {crossed} frames");
    }
}

#[test]
fn the_counter_counts() {
    let before = counting::made().0;
    let boxed = std::hint::black_box(Box::new(7_u64));
    assert_eq!(counting::made().0, before + 1);
    drop(boxed);
}
