use proptest::prelude::*;

use super::*;

fn keys() -> SaKeys {
    SaKeys::new(0x4a2c_bfe3, [7; 32], [9; 4]).unwrap()
}

fn pair() -> (OutboundSa, InboundSa) {
    (OutboundSa::new(&keys()), InboundSa::new(&keys(), 1024))
}

/// An IP packet of `len` bytes whose header says so.
fn inner(version: u8, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| at as u8).collect();
    packet[0] = version << 4 | 5;
    if version == 4 {
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
    }
    packet
}

fn sealed(outbound: &mut OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xEE; frame_len(inner.len())];
    let len = outbound.seal(inner, &mut frame).unwrap();
    assert_eq!(len, frame.len());
    frame
}

/// Seals a payload and trailer of the test's own making.
fn sealed_raw(sequence: u32, plain: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ESP_HEADROOM + plain.len() + ICV_LEN];
    frame[0..4].copy_from_slice(&keys().spi().to_be_bytes());
    frame[4..8].copy_from_slice(&sequence.to_be_bytes());
    frame[8..16].copy_from_slice(&u64::from(sequence).to_be_bytes());
    frame[16..16 + plain.len()].copy_from_slice(plain);
    Cipher::new(&keys()).seal(&mut frame).unwrap();
    frame
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The AES-256 case of section 4 of draft-mcgrew-gcm-test-01, the published test cases for RFC 4106: a whole ESP packet.
/// Its next header is not that of tunnel mode, so it is compared below the trailer.
#[test]
fn the_published_aes_256_test_case_comes_out_byte_for_byte() {
    let key = hex("abbccddef00112233445566778899aababbccddef00112233445566778899aab");
    let keys = SaKeys::new(0x4a2c_bfe3, key.try_into().unwrap(), [0x11, 0x22, 0x33, 0x44]).unwrap();
    let plain = hex("45000030 69a64000 80062690 c0a80102 9389155e 0a9e008b 2dc57ee0 00000000
                     70024000 20bf0000 020405b4 01010402 01020201");
    let header = hex("4a2cbfe3 00000002 01020304 05060708");
    let sealed = hex("ff425c9b 724599df 7a3bcd51 0194e00d 6a78107f 1b0b1cbf 06efae9d 65a5d763
                      748a6379 85771d34 7f054565 9f14e99d ef842d8e b335f4ee cfdbf831 824b4c49 15956c96");
    let packet = [&header[..], &sealed].concat();

    let mut frame = [&header[..], &plain, &[0; ICV_LEN]].concat();
    Cipher::new(&keys).seal(&mut frame).unwrap();
    assert_eq!(frame, packet);
    assert_eq!(Cipher::new(&keys).open(&mut frame).unwrap(), plain);

    // Through the front door it is genuine, and refused for the protocol inside.
    let mut frame = packet;
    let mut inbound = InboundSa::new(&keys, 64);
    assert_eq!(inbound.open(&mut frame), Err(Reason::TunnelMalformed));
    assert_eq!(inbound.highest_sequence(), 2);
}

#[test]
fn what_is_sealed_is_opened_at_every_padding_and_in_both_families() {
    let (mut outbound, mut inbound) = pair();
    for (version, shortest) in [(4, 20), (6, 40)] {
        for len in (shortest..shortest + 9).chain([1436, 1437, 1438, 9000]) {
            let packet = inner(version, len);
            let mut frame = sealed(&mut outbound, &packet);
            assert!(frame.len() <= ESP_HEADROOM + len + ESP_TAILROOM);
            assert_eq!((frame.len() - ESP_HEADROOM - ICV_LEN) % ALIGNMENT, 0);
            assert_eq!(inbound.open(&mut frame).unwrap(), packet);
        }
    }
}

#[test]
fn sequence_numbers_start_at_one_and_no_iv_repeats() {
    let (mut outbound, _) = pair();
    let packet = inner(4, 28);
    let frames: Vec<_> = (0..3).map(|_| sealed(&mut outbound, &packet)).collect();
    for (expected, frame) in (1_u32..).zip(&frames) {
        assert_eq!(word(frame, 0), 0x4a2c_bfe3);
        assert_eq!(word(frame, 4), expected);
        assert_eq!(frame[8..16], u64::from(expected).to_be_bytes());
    }
    assert!(frames[0][16..] != frames[1][16..], "the same packet looks different each time");
}

#[test]
fn a_second_life_of_the_same_keys_repeats_no_nonce_and_is_opened_all_the_same() {
    let packet = inner(4, 28);
    let frames = [1, 2].map(|life| sealed(&mut OutboundSa::new(&keys()).in_life(life), &packet));
    assert_eq!(frames[0][..8], frames[1][..8], "both begin with number 1");
    assert!(frames[0][8..16] != frames[1][8..16] && frames[0][16..] != frames[1][16..]);
    for mut frame in frames {
        assert_eq!(InboundSa::new(&keys(), 1024).open(&mut frame).unwrap(), packet);
    }
}

#[test]
fn the_clear_text_does_not_show_in_the_frame() {
    let (mut outbound, _) = pair();
    let packet = inner(4, 1400);
    let frame = sealed(&mut outbound, &packet);
    assert!(packet.windows(8).all(|piece| !frame.windows(8).any(|seen| seen == piece)));
}

#[test]
fn the_last_sequence_number_is_used_and_the_next_is_refused() {
    let (mut outbound, mut inbound) = pair();
    outbound.sequence = u32::MAX - 1;
    let packet = inner(4, 20);
    let mut last = sealed(&mut outbound, &packet);
    assert_eq!(inbound.open(&mut last).unwrap(), packet);
    let mut frame = [0; 64];
    for _ in 0..3 {
        assert_eq!(outbound.seal(&packet, &mut frame), Err(Reason::TunnelSequenceExhausted));
        assert_eq!(outbound.skip(), Err(Reason::TunnelSequenceExhausted));
    }
    assert_eq!(outbound.sequence(), u32::MAX);
    assert_eq!(frame[8..16], [0; 8], "no IV was written");
}

#[test]
fn a_skipped_number_is_never_used() {
    let (mut outbound, _) = pair();
    outbound.skip().unwrap();
    assert_eq!(word(&sealed(&mut outbound, &inner(4, 20)), 4), 2);
}

#[test]
fn a_replayed_frame_is_refused_and_a_late_one_is_not() {
    let (mut outbound, mut inbound) = pair();
    let packet = inner(4, 60);
    let frames: Vec<_> = (0..3).map(|_| sealed(&mut outbound, &packet)).collect();
    for (at, expected) in
        [(2, Ok(())), (0, Ok(())), (0, Err(Reason::TunnelReplay)), (1, Ok(())), (2, Err(Reason::TunnelReplay))]
    {
        assert_eq!(inbound.open(&mut frames[at].clone()).map(drop), expected);
    }
}

#[test]
fn a_forged_frame_does_not_move_the_window() {
    let (mut outbound, mut inbound) = pair();
    let mut genuine = sealed(&mut outbound, &inner(4, 60));
    let mut forged = genuine.clone();
    forged[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(inbound.open(&mut forged), Err(Reason::TunnelAuthentication));
    assert_eq!(inbound.highest_sequence(), 0);
    assert!(inbound.open(&mut genuine).is_ok());
}

#[test]
fn a_change_of_any_single_bit_is_refused() {
    let (mut outbound, mut inbound) = pair();
    // Number 3: no single bit makes it 0, which is refused for being a replay.
    outbound.skip().unwrap();
    outbound.skip().unwrap();
    let mut frame = sealed(&mut outbound, &inner(4, 45));
    for bit in 0..frame.len() * 8 {
        let mut tampered = frame.clone();
        tampered[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < 32 { Reason::TunnelUnknownSpi } else { Reason::TunnelAuthentication };
        assert_eq!(inbound.open(&mut tampered), Err(expected), "bit {bit}");
    }
    assert!(inbound.open(&mut frame).is_ok());
}

#[test]
fn a_frame_cut_short_or_made_longer_is_refused() {
    let (mut outbound, mut inbound) = pair();
    let frame = sealed(&mut outbound, &inner(4, 45));
    for len in 0..frame.len() {
        assert!(inbound.open(&mut frame[..len].to_vec()).is_err(), "{len} bytes");
    }
    for more in 1..9 {
        let mut longer = frame.clone();
        longer.resize(frame.len() + more, 0);
        assert!(inbound.open(&mut longer).is_err(), "{more} bytes more");
    }
}

#[test]
fn genuine_frames_with_a_wrong_inside_are_refused() {
    let packet = inner(4, 22);
    let plain = |trailer: &[u8]| [&packet[..], trailer].concat();
    let pad = |len: u8| (1..=len).collect::<Vec<u8>>();
    let cases: [(&str, Vec<u8>, Result<usize, Reason>); 11] = [
        ("no padding needed", plain(&[0, 4]), Ok(22)),
        ("more padding than needed", plain(&[1, 2, 3, 4, 4, 4]), Ok(22)),
        ("as much padding as there may be", [plain(&[]), vec![0], pad(255), vec![255, 4], vec![]].concat(), Ok(22)),
        ("padding beyond the inner packet's length", plain(&[9, 9, 9, 9, 0, 4]), Ok(22)),
        ("a dummy packet", plain(&[0, 59]), Ok(0)),
        ("padding of zeros", plain(&[0, 0, 0, 0, 4, 4]), Err(Reason::TunnelMalformed)),
        ("padding longer than the frame", plain(&[200, 4]), Err(Reason::TunnelMalformed)),
        ("IPv6 announced, IPv4 inside", plain(&[0, 41]), Err(Reason::TunnelMalformed)),
        ("TCP inside: transport mode", plain(&[0, 6]), Err(Reason::TunnelMalformed)),
        (
            "an IPv4 header that promises too much",
            [&inner(4, 26)[..22], &[0, 4]].concat(),
            Err(Reason::TunnelMalformed),
        ),
        ("nothing inside", vec![1, 2, 2, 4], Err(Reason::TunnelMalformed)),
    ];
    let mut inbound = InboundSa::new(&keys(), 64);
    for (sequence, (name, plain, expected)) in (1_u32..).zip(cases) {
        let opened = inbound.open(&mut sealed_raw(sequence, &plain)).map(|inner| inner.len());
        assert_eq!(opened, expected, "{name}");
    }
}

#[test]
fn only_whole_ip_packets_are_sealed_and_a_refusal_uses_no_number() {
    let (mut outbound, _) = pair();
    let mut frame = [0; 256];
    let mut wrong_length = inner(4, 40);
    wrong_length[3] = 41;
    for not_ip in [vec![], vec![0x45; 19], vec![0x60; 39], vec![0x50; 40], wrong_length] {
        assert_eq!(outbound.seal(&not_ip, &mut frame), Err(Reason::TunnelMalformed), "{not_ip:?}");
    }
    let packet = inner(4, 40);
    assert_eq!(outbound.seal(&packet, &mut frame[..frame_len(40) - 1]), Err(Reason::TunnelMtuExceeded));
    assert_eq!(outbound.seal(&packet, &mut []), Err(Reason::TunnelMtuExceeded));
    assert_eq!(outbound.sequence(), 0);
}

#[test]
fn the_first_bytes_tell_esp_from_ike_and_keepalive() {
    for (payload, expected) in [
        (&[0xFF][..], FrameKind::Keepalive),
        (&[0, 0, 0, 0, 1, 2], FrameKind::Ike),
        (&[0, 0, 1, 0], FrameKind::Esp(256)),
        (&[0xFF, 0xFF, 0xFF, 0xFF], FrameKind::Esp(u32::MAX)),
        (&[0xFE], FrameKind::Short),
        (&[1, 2, 3], FrameKind::Short),
        (&[], FrameKind::Short),
    ] {
        assert_eq!(FrameKind::of(payload), expected, "{payload:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(mut frame in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(InboundSa::new(&keys(), 64).open(&mut frame.clone()).is_err());
        if frame.len() >= 8 {
            frame[..4].copy_from_slice(&keys().spi().to_be_bytes());
            prop_assert!(InboundSa::new(&keys(), 64).open(&mut frame).is_err());
        }
    }

    #[test]
    fn genuine_frames_with_arbitrary_insides_never_panic(words in prop::collection::vec(any::<[u8; 4]>(), 1..80)) {
        let plain = words.concat();
        if let Ok(inner) = InboundSa::new(&keys(), 64).open(&mut sealed_raw(1, &plain)) {
            prop_assert!(inner.is_empty() || declared(inner).is_some_and(|(_, len)| len == inner.len()));
        }
    }
}
