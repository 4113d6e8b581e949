use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::keys::TunnelKeys;
use super::*;

const NOW: Moment = Moment::from_millis(1);

fn profile(direction: PathDirection) -> PathProfile {
    PathProfile { name: "test".into(), mtu: 1500, to_customer: direction, to_aws: direction }
}

fn keys(workers: usize) -> TunnelKeys {
    let mut next = 0_u8;
    TunnelKeys::generate(NonZeroUsize::new(workers).unwrap(), |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(5).wrapping_add(113);
            *byte = next;
        }
    })
}

fn end(side: Side, pairs: &[SaPair], profile: &PathProfile) -> TunnelEnd {
    TunnelEnd::new(side, pairs, 1024, profile, Arc::new(Link::new(side.direction(profile))), 1)
}

/// Both ends of a tunnel with one worker over a path.
fn both(direction: PathDirection) -> (TunnelEnd, TunnelEnd) {
    let (keys, profile) = (keys(1), profile(direction));
    (end(Side::Aws, keys.pairs(), &profile), end(Side::Customer, keys.pairs(), &profile))
}

fn packet(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5A; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet
}

/// Everything that `from` sends at `now` reaches `to`; returns the inner packets and the SA each came through.
fn cross(from: &mut TunnelEnd, to: &mut TunnelEnd, now: Moment, counters: &Counters) -> Vec<(Vec<u8>, usize)> {
    let mut received = Vec::new();
    while let Some(transmit) = from.poll_transmit(now) {
        let (mut payload, segment_size) = (transmit.bytes().to_vec(), transmit.segment_size());
        let frames = transmit.sent(payload.len());
        count_sent(frames, payload.len(), counters);
        for frame in batch::frames(&mut payload, segment_size) {
            if let Received::Packet { packet, sa } = to.handle_frame(frame, now, counters) {
                received.push((packet.to_vec(), sa));
            }
        }
    }
    received
}

#[test]
fn packets_cross_in_both_directions_in_order_and_are_counted() {
    let (mut aws, mut customer) = both(PathDirection::default());
    let counters = Counters::default();
    let sizes = [1438, 1438, 1438, 52, 600, 20];
    let sent: Vec<_> = sizes.map(packet).into();
    for packet in &sent {
        aws.send(0, packet, NOW, &counters).unwrap();
    }
    let there: Vec<_> = cross(&mut aws, &mut customer, NOW, &counters).into_iter().map(|(packet, _)| packet).collect();
    assert_eq!(there, sent);
    assert_eq!((customer.last_received(), aws.last_received()), (Some(NOW), None));

    customer.send(0, &sent[0], NOW, &counters).unwrap();
    assert_eq!(cross(&mut customer, &mut aws, NOW, &counters), [(sent[0].clone(), 0)]);

    let bytes: u64 = sizes.iter().chain([&1438]).map(|&len| frame_len(len) as u64).sum();
    for (event, expected) in
        [(Event::FramesTx, 7), (Event::FramesRx, 7), (Event::FrameBytesTx, bytes), (Event::FrameBytesRx, bytes)]
    {
        assert_eq!(counters.event(event), expected, "{event:?}");
    }
    assert_eq!(counters.nonzero().len(), 4, "nothing else was counted");
}

#[test]
fn the_gateway_tells_the_workers_sas_apart_and_each_worker_knows_only_its_own() {
    let (keys, profile) = (keys(3), profile(PathDirection::default()));
    let mut gateway = end(Side::Customer, keys.pairs(), &profile);
    let mut workers: Vec<_> = keys.pairs().chunks(1).map(|pair| end(Side::Aws, pair, &profile)).collect();
    let counters = Counters::default();
    for (sa, worker) in workers.iter_mut().enumerate() {
        worker.send(0, &packet(40 + sa), NOW, &counters).unwrap();
        assert_eq!(cross(worker, &mut gateway, NOW, &counters), [(packet(40 + sa), sa)]);
    }
    gateway.send(2, &packet(99), NOW, &counters).unwrap();
    let transmit = gateway.poll_transmit(NOW).unwrap();
    assert_eq!(transmit.sa(), 2);
    let mut frame = transmit.bytes().to_vec();
    let mut copy = frame.clone();
    let refused = workers[1].handle_frame(&mut copy, NOW, &counters);
    assert_eq!(refused, Received::Denied(Reason::TunnelUnknownSpi));
    assert!(matches!(workers[2].handle_frame(&mut frame, NOW, &counters), Received::Packet { sa: 0, .. }));
    assert_eq!(gateway.send(3, &packet(99), NOW, &counters), Err(Reason::TunnelMalformed), "there is no fourth");
}

#[test]
fn a_frame_reflected_to_its_sender_is_not_accepted() {
    let (mut aws, _) = both(PathDirection::default());
    let counters = Counters::default();
    aws.send(0, &packet(100), NOW, &counters).unwrap();
    let mut frame = aws.poll_transmit(NOW).unwrap().bytes().to_vec();
    assert_eq!(aws.handle_frame(&mut frame, NOW, &counters), Received::Denied(Reason::TunnelUnknownSpi));
}

#[test]
fn each_refusal_of_a_frame_is_counted_under_its_reason() {
    let (mut aws, mut customer) = both(PathDirection::default());
    let setup = Counters::default();
    aws.send(0, &packet(100), NOW, &setup).unwrap();
    let genuine = aws.poll_transmit(NOW).unwrap().bytes().to_vec();
    let mut tampered = genuine.clone();
    tampered[40] ^= 1;
    let mut other_spi = genuine.clone();
    other_spi[3] ^= 1;
    let cases = [
        (tampered, Some(Reason::TunnelAuthentication)),
        (other_spi, Some(Reason::TunnelUnknownSpi)),
        (vec![0; 60], Some(Reason::TunnelUnknownSpi)),
        (genuine[..30].to_vec(), Some(Reason::TunnelMalformed)),
        (vec![], Some(Reason::TunnelMalformed)),
        (vec![0xFF], None),
        (genuine.clone(), None),
        (genuine, Some(Reason::TunnelReplay)),
    ];
    for (mut frame, expected) in cases {
        let counters = Counters::default();
        let received = customer.handle_frame(&mut frame, NOW, &counters);
        match expected {
            Some(reason) => {
                assert_eq!(received, Received::Denied(reason));
                assert_eq!(counters.nonzero(), [(reason.stage(), reason.code(), 1)]);
            }
            None => assert!(!matches!(received, Received::Denied(_))),
        }
    }
}

#[test]
fn packets_that_do_not_fit_are_refused_before_a_number_is_used() {
    let (mut aws, _) = both(PathDirection::default());
    let counters = Counters::default();
    assert_eq!(aws.inner_mtu(), 1438);
    assert_eq!(aws.send(0, &packet(1439), NOW, &counters), Err(Reason::TunnelMtuExceeded));
    assert_eq!(counters.reason(Reason::TunnelMtuExceeded), 1);
    let grant = aws.grant(1439).unwrap();
    assert_eq!(grant.send(0, NOW, &counters), Err(Reason::TunnelMtuExceeded));
    assert_eq!((aws.outbound[0].sequence(), aws.queued_frames()), (0, 0));
}

#[test]
fn a_full_queue_refuses_and_takes_again_once_frames_were_sent() {
    let (mut aws, _) = both(PathDirection::default());
    let counters = Counters::default();
    let full = packet(1438);
    let mut taken = 0;
    while aws.has_room(full.len()) {
        aws.send(0, &full, NOW, &counters).unwrap();
        taken += 1;
    }
    assert_eq!(taken, SOCKET_QUEUE_BYTES / frame_len(1438));
    assert_eq!(aws.send(0, &full, NOW, &counters), Err(Reason::TunnelQueueFull));
    assert_eq!(counters.reason(Reason::TunnelQueueFull), 1);
    aws.poll_transmit(NOW).unwrap().sent(usize::MAX);
    assert!(aws.has_room(full.len()));
}

#[test]
fn a_packet_written_in_place_is_the_packet_sent() {
    let (mut aws, mut customer) = both(PathDirection::default());
    let counters = Counters::default();
    let mut grant = aws.grant(1000).unwrap();
    grant.truncate(500);
    grant.copy_from_slice(&packet(500));
    grant.send(0, NOW, &counters).unwrap();
    let _unused = aws.grant(1000);
    assert_eq!(cross(&mut aws, &mut customer, NOW, &counters), [(packet(500), 0)]);
}

#[test]
fn the_path_delays_frames_and_says_until_when() {
    let (mut aws, mut customer) = both(PathDirection { delay: Duration::from_millis(5), ..PathDirection::default() });
    let counters = Counters::default();
    assert_eq!(aws.next_deadline(), None);
    aws.send(0, &packet(100), NOW, &counters).unwrap();
    let due = NOW + Duration::from_millis(5);
    assert_eq!(aws.next_deadline(), Some(due));
    assert!(cross(&mut aws, &mut customer, Moment::from_nanos(due.as_nanos() - 1), &counters).is_empty());
    assert_eq!(cross(&mut aws, &mut customer, due, &counters).len(), 1);
}

#[test]
fn a_lost_frame_leaves_a_gap_and_no_trace_on_the_wire() {
    let (mut aws, mut customer) = both(PathDirection { loss: 0.5, ..PathDirection::default() });
    let counters = Counters::default();
    for _ in 0..100 {
        let outcome = aws.send(0, &packet(100), NOW, &counters);
        assert!(matches!(outcome, Ok(()) | Err(Reason::TunnelLoss)));
    }
    let lost = counters.reason(Reason::TunnelLoss);
    assert!((20..80).contains(&lost), "{lost}");
    assert_eq!(aws.outbound[0].sequence(), 100);
    assert_eq!(cross(&mut aws, &mut customer, NOW, &counters).len() as u64, 100 - lost);
}

#[test]
fn the_two_directions_of_a_path_are_apart() {
    let mut profile = profile(PathDirection::default());
    profile.to_aws.delay = Duration::from_millis(9);
    let keys = keys(1);
    let counters = Counters::default();
    for (side, expected) in [(Side::Aws, NOW), (Side::Customer, NOW + Duration::from_millis(9))] {
        let mut end = end(side, keys.pairs(), &profile);
        end.send(0, &packet(100), NOW, &counters).unwrap();
        assert_eq!(end.next_deadline(), Some(expected), "{side:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic_and_are_denied_or_ignored(
        frame in prop::collection::vec(any::<u8>(), 0..120),
        known_spi in any::<bool>(),
    ) {
        let (_, mut customer) = both(PathDirection::default());
        let counters = Counters::default();
        let mut frame = frame;
        if known_spi && frame.len() >= 4 {
            frame[..4].copy_from_slice(&customer.inbound[0].spi().to_be_bytes());
        }
        match customer.handle_frame(&mut frame, NOW, &counters) {
            Received::Denied(reason) => prop_assert_eq!(counters.reason(reason), 1),
            Received::Nothing => prop_assert_eq!(&frame, &[0xFF]),
            Received::Packet { .. } => prop_assert!(false, "a forged frame was accepted"),
        }
    }
}
