//! Bytes that mean harm: into the devices and out of the tunnel. Nothing panics, nothing stays, and who behaves is served.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use vpce::engine::Port;
use world::raw::{Tcp, udp};
use world::{World, invoke};

/// What is thrown at the engine.
#[derive(Clone, Debug)]
enum Missile {
    /// Anything from a device.
    Buffer(usize, Vec<u8>),
    /// A TCP segment whose bytes were changed, behind some virtio-net header.
    Segment { port: usize, header: [u8; 10], flags: u8, numbers: [u32; 2], payload: Vec<u8>, changes: Vec<(usize, u8)> },
    /// A datagram likewise, to somebody.
    Datagram { port: usize, to: usize, header: [u8; 10], payload: Vec<u8>, changes: Vec<(usize, u8)> },
    /// Anything from the tunnel's socket, cut into frames of some size.
    Frames(Vec<u8>, usize),
    /// A genuine frame around anything.
    Inner(Vec<u8>),
    /// A genuine frame around a packet whose bytes were changed.
    Passed { to: usize, payload: Vec<u8>, changes: Vec<(usize, u8)> },
    /// A genuine frame, cut or changed afterwards.
    Broken(usize, u8, usize),
}

const TO: [&str; 7] = [
    "10.0.1.100:443",
    "10.0.0.2:53",
    "10.0.1.53:53",
    "192.168.10.20:8080",
    "169.254.10.1:49152",
    "10.0.9.10:7",
    "192.168.10.10:80",
];

fn missile() -> impl Strategy<Value = Missile> {
    let changes = || vec((0..120_usize, any::<u8>()), 0..4);
    // Mostly what a header would say.
    let header = || {
        let plain = Just([0; 10]);
        let partial = (any::<u16>(), 0..5_u8).prop_map(|(size, kind)| {
            let [low, high] = size.to_le_bytes();
            [1, kind, 40, 0, low, high, 20, 0, 16, 0]
        });
        prop_oneof![plain, partial, any::<[u8; 10]>()]
    };
    prop_oneof![
        (0..3_usize, vec(any::<u8>(), 0..200)).prop_map(|(port, bytes)| Missile::Buffer(port, bytes)),
        (0..3_usize, header(), any::<u8>(), any::<[u32; 2]>(), vec(any::<u8>(), 0..3_000), changes()).prop_map(
            |(port, header, flags, numbers, payload, changes)| Missile::Segment {
                port,
                header,
                flags,
                numbers,
                payload,
                changes
            }
        ),
        (0..3_usize, 0..TO.len(), header(), vec(any::<u8>(), 0..3_000), changes())
            .prop_map(|(port, to, header, payload, changes)| Missile::Datagram { port, to, header, payload, changes }),
        (vec(any::<u8>(), 0..300), 0..400_usize).prop_map(|(bytes, size)| Missile::Frames(bytes, size)),
        vec(any::<u8>(), 0..200).prop_map(Missile::Inner),
        (0..TO.len(), vec(any::<u8>(), 0..1_300), changes()).prop_map(|(to, payload, changes)| Missile::Passed {
            to,
            payload,
            changes
        }),
        (0..200_usize, any::<u8>(), 0..200_usize).prop_map(|(at, value, len)| Missile::Broken(at, value, len)),
    ]
}

fn changed(mut packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, value) in changes {
        if let Some(byte) = packet.get_mut(at) {
            *byte = value;
        }
    }
    packet
}

fn throw(world: &mut World, missile: Missile) {
    let port = |n| [Port::Eni(0), Port::Router, Port::Eni(7)][n];
    // Somebody else's addresses: a segment that the live connection's peer would send may of course end it.
    let near = "10.0.1.77:40000".parse().unwrap();
    let far = "192.168.10.77:40000".parse().unwrap();
    let now = world.now;
    match missile {
        Missile::Buffer(n, bytes) => world.inject_buffer(port(n), bytes),
        Missile::Segment { port: n, header, flags, numbers: [sequence, acknowledgement], payload, changes } => {
            let names: String =
                "FSRPA".chars().enumerate().filter(|(n, _)| flags >> n & 1 == 1).map(|(_, c)| c).collect();
            let to = TO[0].parse().unwrap();
            let packet = Tcp { from: near, to, flags: &names, sequence, acknowledgement, payload: &payload }.build();
            world.inject_buffer(port(n), [&header[..], &changed(packet, &changes)].concat());
        }
        Missile::Datagram { port: n, to, header, payload, changes } => {
            let packet = udp(near, TO[to].parse().unwrap(), 64, &payload);
            world.inject_buffer(port(n), [&header[..], &changed(packet, &changes)].concat());
        }
        Missile::Frames(mut bytes, size) => world.receive_frames(&mut bytes, size),
        Missile::Inner(bytes) => {
            if let Some(mut frame) = world.far.seal(&bytes, now) {
                world.receive_frames(&mut frame, 0);
            }
        }
        Missile::Passed { to, payload, changes } => {
            let packet = changed(udp(far, TO[to].parse().unwrap(), 64, &payload), &changes);
            if let Some(mut frame) = world.far.seal(&packet, now) {
                world.receive_frames(&mut frame, 0);
            }
        }
        Missile::Broken(at, value, len) => {
            let packet = udp(far, "10.0.1.100:443".parse().unwrap(), 64, b"genuine");
            let mut frame = world.far.seal(&packet, now).unwrap();
            frame.truncate(len.max(1));
            let at = at % frame.len();
            frame[at] ^= value;
            world.receive_frames(&mut frame, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_nothing_panics_and_a_live_connection_goes_on(missiles in vec(missile(), 1..150)) {
        let mut world = World::quickstart();
        let client = world.connected("10.0.1.10", 50_000);
        world.request(client, invoke(b"1"));
        for missile in missiles {
            throw(&mut world, missile);
            world.step();
        }
        prop_assert_eq!(world.reply(client).body, b"1");
        prop_assert_eq!(world.call(client, invoke(b"2")).body, b"2");
        world.wind_down();
    }

    #[test]
    fn any_stream_of_bytes_on_a_connection_ends_it_or_is_served(chunks in vec(vec(any::<u8>(), 1..2_000), 1..20), inside in 0..3_u8) {
        let mut world = World::quickstart();
        let client = match inside {
            2 => world.connect_with("10.0.1.10", 50_000, b"h2"),
            _ => world.connect_from("10.0.1.10", 50_000),
        };
        for chunk in chunks {
            if inside == 0 { world.clients[client].write_raw(&chunk) } else { world.clients[client].write(&chunk) }
            world.settle();
        }
        world.run_for(std::time::Duration::from_secs(200));
        prop_assert_eq!(world.engine.load()[0], 0, "nobody stays for ever");
        world.wind_down();
    }
}
