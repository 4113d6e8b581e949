//! The tunnel against an independent implementation: Scapy's IPsec layer opens what we seal and seals what we open.
//!
//! Needs Python with `scapy` and `cryptography`: in `$VPCE_CLIENTS`, in `target/clients` (both virtual environments), or
//! the machine's own `python3`. Without them the tests say so and check nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may read its environment and fail loudly"
)]

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use etherparse::PacketBuilder;
use vpce::config::{PathDirection, PathProfile};
use vpce::time::Moment;
use vpce::tunnel::keys::{SaKeys, TunnelKeys};
use vpce::tunnel::path::Link;
use vpce::tunnel::{Received, Side, TunnelEnd, batch};
use vpce::verdict::{Counters, Event, Reason};

const NOW: Moment = Moment::from_millis(1);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/esp_decrypt.py");

/// A Python that has Scapy, or nothing and a line that says so.
fn python() -> Option<PathBuf> {
    let environments = [
        std::env::var("VPCE_CLIENTS").ok().map(PathBuf::from),
        Some(concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients").into()),
    ];
    let own = environments.into_iter().flatten().map(|folder| folder.join("bin/python3"));
    let found = own.chain([PathBuf::from("python3")]).find(|python| {
        let check =
            Command::new(python).args(["-c", "import scapy.layers.ipsec, cryptography"]).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        println!("skipped: no Python with scapy and cryptography (VPCE_CLIENTS, target/clients, python3)");
    }
    found
}

/// Runs the script in `mode` on `packets`, and returns what it made of each.
fn scapy(python: &PathBuf, mode: &str, keys: &SaKeys, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let keymat = hex(&[&keys.key()[..], keys.salt()].concat());
    let mut child = Command::new(python)
        .args([SCRIPT, mode, &format!("{:08x}", keys.spi()), &keymat])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: String = packets.iter().map(|packet| hex(packet) + "\n").collect();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{mode} failed");
    String::from_utf8(output.stdout).unwrap().lines().map(unhex).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

/// Inner packets of both families and every padding, from empty to full.
fn inner_packets() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for payload_len in [0_usize, 1, 2, 3, 4, 100, 1397, 1398] {
        let payload: Vec<u8> = (0..payload_len).map(|at| at as u8).collect();
        let mut v4 = Vec::new();
        PacketBuilder::ipv4([10, 0, 1, 20], [192, 168, 10, 20], 64)
            .tcp(50_000, 8080, 7, 64_000)
            .write(&mut v4, &payload)
            .unwrap();
        packets.push(v4);
        let mut v6 = Vec::new();
        let (src, dst) = ([0xFD; 16], [0xFC; 16]);
        PacketBuilder::ipv6(src, dst, 64).udp(50_000, 53).write(&mut v6, &payload[..payload_len.min(1390)]).unwrap();
        packets.push(v6);
    }
    packets
}

/// The outer packet around a frame, as the kernel would build it.
fn outer(src: Ipv4Addr, dst: Ipv4Addr, frame: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(src.octets(), dst.octets(), 64).udp(4500, 4500).write(&mut packet, frame).unwrap();
    packet
}

fn keys() -> TunnelKeys {
    TunnelKeys::generate(NonZeroUsize::MIN, |bytes| aws_lc_rs::rand::fill(bytes).unwrap())
}

fn end(side: Side, keys: &TunnelKeys) -> TunnelEnd {
    let plain = PathDirection::default();
    let profile = PathProfile { name: "lan".into(), mtu: 1500, to_customer: plain, to_aws: plain };
    TunnelEnd::new(side, keys.pairs(), 1024, &profile, Arc::new(Link::new(&plain)), 1)
}

/// Seals `inner` with our code, in a tunnel of our own, and returns the outer packets.
fn sealed_by_us(end: &mut TunnelEnd, inner: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (aws, customer) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
    let counters = Counters::default();
    for packet in inner {
        end.send(0, packet, NOW, &counters).unwrap();
    }
    let mut outers = Vec::new();
    while let Some(transmit) = end.poll_transmit(NOW) {
        let mut bytes = transmit.bytes().to_vec();
        outers.extend(batch::frames(&mut bytes, transmit.segment_size()).map(|frame| outer(aws, customer, frame)));
        transmit.sent(usize::MAX);
    }
    outers
}

#[test]
fn scapy_opens_what_we_seal_and_finds_the_same_packets() {
    let Some(python) = python() else { return };
    let (keys, inner) = (keys(), inner_packets());
    let outers = sealed_by_us(&mut end(Side::Aws, &keys), &inner);
    assert_eq!(outers.len(), inner.len());
    assert_eq!(scapy(&python, "open", &keys.pairs()[0].to_customer, &outers), inner);
}

#[test]
fn we_open_what_scapy_seals_once_and_only_once() {
    let Some(python) = python() else { return };
    let (keys, inner) = (keys(), inner_packets());
    let outers = scapy(&python, "seal", &keys.pairs()[0].to_customer, &inner);
    let mut gateway = end(Side::Customer, &keys);
    let counters = Counters::default();
    for (outer, expected) in outers.iter().zip(&inner) {
        assert_eq!(outer[9], 17, "UDP around it");
        let mut frame = outer[28..].to_vec();
        match gateway.handle_frame(&mut frame, NOW, &counters) {
            Received::Packet { packet, sa: 0 } => assert_eq!(packet, expected),
            other => panic!("{other:?}"),
        }
        let again =
            gateway.handle_frame(&mut outer[28..].to_vec(), NOW, &counters) == Received::Denied(Reason::TunnelReplay);
        assert!(again, "a replay was accepted");
    }
    assert_eq!(counters.event(Event::FramesRx), inner.len() as u64);
}

#[test]
fn scapy_finds_our_packets_in_a_capture() {
    let Some(python) = python() else { return };
    let (keys, inner) = (keys(), inner_packets());
    let outers = sealed_by_us(&mut end(Side::Aws, &keys), &inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outer.pcap");
    // Classic pcap, raw IP (link type 101), no timestamps.
    let mut capture =
        [0xA1B2_C3D4_u32, 0x0002_0004_u32.rotate_left(16), 0, 0, 65_535, 101].map(u32::to_ne_bytes).concat();
    for outer in &outers {
        capture.extend([0, 0, outer.len() as u32, outer.len() as u32].map(u32::to_ne_bytes).concat());
        capture.extend(outer);
    }
    std::fs::write(&file, capture).unwrap();

    let key = &keys.pairs()[0].to_customer;
    let keymat = hex(&[&key.key()[..], key.salt()].concat());
    let output = Command::new(&python)
        .args([SCRIPT, "pcap", &format!("{:08x}", key.spi()), &keymat])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(unhex).collect();
    assert_eq!(found, inner);
}

#[test]
fn no_clear_text_of_an_inner_packet_is_in_the_outer_packets() {
    let (keys, inner) = (keys(), inner_packets());
    let outers = sealed_by_us(&mut end(Side::Aws, &keys), &inner);
    let addresses = [10, 0, 1, 20, 192, 168, 10, 20];
    assert!(inner[0].windows(8).any(|piece| piece == addresses), "it shows where it should");
    for outer in &outers {
        assert!(!outer.windows(8).any(|piece| piece == addresses), "the inner addresses show");
        assert!(!outer.windows(8).any(|piece| piece == [0, 1, 2, 3, 4, 5, 6, 7]), "the payload shows");
    }
}
