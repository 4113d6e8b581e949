use super::*;

const SECOND: Moment = Moment::from_millis(1_000);

fn emulator(direction: PathDirection) -> PathEmulator {
    PathEmulator::new(&direction, 1500, Arc::new(Link::new(&direction)), PathRng::from_seed(1))
}

/// Offers packets of `len` bytes back to back for one second, and returns how many have arrived by its end.
fn packets_in_a_second(path: &mut PathEmulator, len: usize) -> usize {
    let mut now = Moment::default();
    let mut arrived = 0;
    while now <= SECOND {
        match path.admit(now, len) {
            Ok(arrival) => arrived += usize::from(arrival <= SECOND),
            Err(Reason::TunnelQueueFull) => now += Duration::from_micros(100),
            Err(other) => panic!("{other:?}"),
        }
    }
    arrived
}

#[test]
fn a_path_with_nothing_added_is_transparent() {
    let mut path = emulator(PathDirection { queue_bytes: 1, ..PathDirection::default() });
    assert!(path.is_transparent());
    let now = Moment::from_millis(7);
    for _ in 0..1000 {
        assert_eq!(path.admit(now, 1500), Ok(now));
    }
    assert_eq!(path.admit(now, 1501), Err(Reason::TunnelMtuExceeded));
}

#[test]
fn each_property_alone_makes_a_path_opaque() {
    let plain = PathDirection::default();
    for direction in [
        PathDirection { delay: Duration::from_nanos(1), ..plain },
        PathDirection { jitter: Duration::from_nanos(1), ..plain },
        PathDirection { loss: 1e-9, ..plain },
        PathDirection { rate_bps: Some(u64::MAX), ..plain },
        PathDirection { rate_pps: Some(1), ..plain },
    ] {
        assert!(!emulator(direction).is_transparent(), "{direction:?}");
    }
}

#[test]
fn the_bit_rate_is_exact() {
    // 1.25 Gbit/s (Site-to-Site VPN user guide) in packets of 1500 bytes: one every 9600 ns.
    let direction = PathDirection { rate_bps: Some(1_250_000_000), queue_bytes: 1 << 20, ..PathDirection::default() };
    assert_eq!(packets_in_a_second(&mut emulator(direction), 1500), 104_166);
    // A rate that no nanosecond divides: 3 bit/s less than a prime, in odd sizes.
    let direction = PathDirection { rate_bps: Some(999_999_937), queue_bytes: 1 << 20, ..PathDirection::default() };
    let exact = 999_999_937.0 / (8.0 * 1337.0);
    let counted = packets_in_a_second(&mut emulator(direction), 1337) as f64;
    assert!((counted - exact).abs() / exact < 1e-5, "{counted} instead of {exact}");
}

#[test]
fn the_packet_rate_binds_small_packets_and_the_bit_rate_large_ones() {
    let direction = PathDirection {
        rate_bps: Some(1_250_000_000),
        rate_pps: Some(140_000),
        queue_bytes: 1 << 20,
        ..PathDirection::default()
    };
    let small = packets_in_a_second(&mut emulator(direction), 100);
    assert!((139_999..=140_000).contains(&small), "{small}");
    assert_eq!(packets_in_a_second(&mut emulator(direction), 1500), 104_166);
}

#[test]
fn the_queue_holds_its_bytes_and_not_one_more() {
    let direction = PathDirection { rate_bps: Some(8_000), queue_bytes: 3_000, ..PathDirection::default() };
    let mut path = emulator(direction);
    let start = Moment::default();
    for second in 1..=3 {
        assert_eq!(path.admit(start, 1_000), Ok(Moment::from_millis(second * 1_000)));
    }
    assert_eq!(path.admit(start, 1), Err(Reason::TunnelQueueFull));
    // Half a second later 500 bytes have left.
    let later = Moment::from_millis(500);
    assert_eq!(path.admit(later, 501), Err(Reason::TunnelQueueFull));
    assert_eq!(path.admit(later, 500), Ok(Moment::from_millis(3_500)));
}

#[test]
fn an_idle_link_takes_a_packet_larger_than_its_queue() {
    let mut path = emulator(PathDirection { rate_bps: Some(8_000), queue_bytes: 0, ..PathDirection::default() });
    assert_eq!(path.admit(Moment::default(), 1_000), Ok(SECOND));
    assert_eq!(path.admit(Moment::default(), 1), Err(Reason::TunnelQueueFull));
    assert_eq!(path.admit(SECOND, 1_000), Ok(Moment::from_millis(2_000)));
}

#[test]
fn idle_time_earns_no_burst() {
    let mut path = emulator(PathDirection { rate_pps: Some(10), queue_bytes: 1 << 16, ..PathDirection::default() });
    let arrivals: Vec<_> = (0..3).map(|_| path.admit(SECOND, 100).unwrap().as_millis()).collect();
    assert_eq!(arrivals, [1_100, 1_200, 1_300]);
}

#[test]
fn workers_share_the_rate_of_a_link() {
    let direction = PathDirection { rate_bps: Some(8_000), queue_bytes: 9_000, ..PathDirection::default() };
    let link = Arc::new(Link::new(&direction));
    let mut workers = [1, 2].map(|seed| PathEmulator::new(&direction, 1500, link.clone(), PathRng::from_seed(seed)));
    let arrivals: Vec<_> =
        [0, 1, 0, 0].map(|worker: usize| workers[worker].admit(Moment::default(), 500).unwrap().as_millis()).into();
    assert_eq!(arrivals, [500, 1_000, 1_500, 2_000]);
}

#[test]
fn delay_and_jitter_stay_in_their_range_and_keep_the_order() {
    let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(4));
    let mut path = emulator(PathDirection { delay, jitter, ..PathDirection::default() });
    let (mut before, mut shortest, mut longest) = (Moment::default(), u128::MAX, 0);
    for turn in 0..20_000 {
        // Far enough apart for jitter to show, close enough for it to want to reorder.
        let now = Moment::from_nanos(turn * 3_000_000);
        let arrival = path.admit(now, 1500).unwrap();
        assert!(arrival >= before, "a frame overtook another");
        before = arrival;
        let took = arrival.since(now).as_nanos();
        (shortest, longest) = (shortest.min(took), longest.max(took));
    }
    assert!((6_000_000..6_100_000).contains(&shortest), "{shortest}");
    assert!((13_900_000..=14_000_000).contains(&longest), "{longest}");
}

#[test]
fn jitter_beyond_the_delay_never_sends_into_the_past() {
    let mut path = emulator(PathDirection { jitter: Duration::from_millis(5), ..PathDirection::default() });
    for turn in 0..1_000 {
        let now = Moment::from_millis(turn * 20);
        assert!(path.admit(now, 100).unwrap() >= now);
    }
}

#[test]
fn losses_come_at_their_rate_and_repeat_with_the_seed() {
    let direction = PathDirection { loss: 0.02, ..PathDirection::default() };
    let run = |seed| {
        let mut path = PathEmulator::new(&direction, 1500, Arc::new(Link::new(&direction)), PathRng::from_seed(seed));
        (0..200_000_u64).filter(|&at| path.admit(Moment::from_nanos(at), 100).is_err()).collect::<Vec<_>>()
    };
    let lost = run(42);
    // 4000 expected, standard deviation 63: five of them either way.
    assert!((3_687..=4_313).contains(&lost.len()), "{}", lost.len());
    assert_eq!(lost, run(42));
    assert_ne!(lost, run(43));
}

#[test]
fn a_loss_of_one_loses_everything_and_still_uses_the_link() {
    let direction = PathDirection { loss: 1.0, rate_bps: Some(8_000), queue_bytes: 1_000, ..PathDirection::default() };
    let mut path = emulator(direction);
    assert_eq!(path.admit(Moment::default(), 1_000), Err(Reason::TunnelLoss));
    assert_eq!(path.admit(Moment::default(), 1_000), Err(Reason::TunnelQueueFull));
}

#[test]
fn extreme_settings_neither_overflow_nor_panic() {
    let direction = PathDirection {
        delay: Duration::MAX,
        jitter: Duration::MAX,
        loss: f64::NAN,
        rate_bps: Some(0),
        rate_pps: Some(u64::MAX),
        queue_bytes: usize::MAX,
    };
    let mut path = emulator(direction);
    for now in [0, 1, u64::MAX / 2, u64::MAX] {
        assert!(path.admit(Moment::from_nanos(now), 1500).is_ok());
    }
    assert!(bytes_under_way(&direction) > 0);
}
