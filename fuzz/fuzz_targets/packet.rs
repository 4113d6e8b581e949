//! A packet as a TUN device hands it over: virtio-net header first. What is parsed agrees with etherparse; what is made
//! of it (segments, clamped options, hop limits) is parsed again and means the same.
#![no_main]

use etherparse::{SlicedPacket, TransportSlice};
use libfuzzer_sys::fuzz_target;
use vpce::packet::checksum::{ChecksumState, verify_transport};
use vpce::packet::{
    Merger, PacketView, Protocol, Run, Segmenter, VirtioHeader, clamp_mss, complete_checksum, decrement_hop_limit,
    emit_reset, mss_option, parse,
};

fuzz_target!(|data: &[u8]| {
    let Ok((header, bytes)) = VirtioHeader::parse(data) else { return };
    assert_eq!(header, VirtioHeader::parse(&header.emit()).expect("what is emitted is parsed").0);
    let Ok(view) = parse(bytes) else { return };
    assert!(view.payload_offset() + view.payload_len() <= view.packet_len());
    agree(&view);
    change(&view);
    if header.verify(&view).is_ok() {
        segment(header, &view);
    }
    let mut buffer = [0; 128];
    if let Some(len) = emit_reset(&view, &mut buffer) {
        let reset = parse(&buffer[..len]).expect("a reset is a packet");
        assert_eq!(reset.tuple(), view.tuple().reversed());
        assert!(verify_transport(&buffer, &reset));
    }
});

/// Where etherparse understands the transport, both read the same.
fn agree(view: &PacketView<'_>) {
    let Ok(theirs) = SlicedPacket::from_ip(view.bytes()) else { return };
    let (ports, payload) = match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => ((tcp.source_port(), tcp.destination_port()), tcp.payload()),
        Some(TransportSlice::Udp(udp)) => ((udp.source_port(), udp.destination_port()), udp.payload()),
        _ => return,
    };
    let tuple = view.tuple();
    assert_eq!((tuple.src_port, tuple.dst_port), ports);
    assert_eq!(view.payload(), payload);
}

/// The two changes on a packet's way keep it what it was, checksums included.
fn change(view: &PacketView<'_>) {
    let (mut bytes, mut meta) = (view.bytes().to_vec(), *view.meta());
    let was_right = verify_transport(&bytes, &meta);
    if clamp_mss(&mut bytes, &meta, ChecksumState::Complete, 1000) {
        assert_eq!(mss_option(&bytes, &meta), Some(1000));
    }
    assert_eq!(verify_transport(&bytes, &meta), was_right);
    if decrement_hop_limit(&mut bytes, &mut meta).is_ok() {
        assert_eq!(parse(&bytes).expect("still a packet").meta(), &meta);
    }
}

/// Segments carry the payload, no more and no less, and their checksums are right.
fn segment(header: VirtioHeader, view: &PacketView<'_>) {
    let mut segmenter = Segmenter::new(view.bytes(), view, &header).expect("the header fits the packet");
    assert_eq!(segmenter.remaining(), header.segment_count(view));
    assert_eq!(segmenter.packet_len_max(), header.packet_len_max(view));
    let (mut buffer, mut payload) = (vec![0; segmenter.packet_len_max()], Vec::new());
    let sums = header.needs_checksum && matches!(view.tuple().protocol, Protocol::TCP | Protocol::UDP);
    let (mut train, mut places) = (Vec::new(), Vec::new());
    while let Some(len) = segmenter.emit_next(&mut buffer).expect("the largest fits") {
        let segment = parse(&buffer[..len]).expect("a segment is a packet");
        assert_eq!(segment.tuple(), view.tuple());
        assert!(!sums || verify_transport(&buffer[..len], &segment), "a segment's checksum is complete");
        payload.extend_from_slice(segment.payload());
        // As in a receive: a header of the tunnel's before each.
        train.extend([0; 16]);
        places.push(train.len()..train.len() + segment.packet_len());
        train.extend_from_slice(segment.bytes());
    }
    assert_eq!(payload, view.payload());
    merge(train, places, view);
    if header.needs_checksum && header.segment_count(view) == 1 {
        let (mut bytes, mut header) = (view.bytes().to_vec(), header);
        complete_checksum(&mut header, &mut bytes).expect("the field lies inside");
        assert!(!header.needs_checksum);
    }
}

/// Segments that are merged again are packets with the same payload, and stand for as many packets.
fn merge(mut train: Vec<u8>, places: Vec<std::ops::Range<usize>>, view: &PacketView<'_>) {
    let (count, mut merger, mut runs) = (places.len(), Merger::default(), Vec::new());
    for place in places {
        let meta = *parse(&train[place.clone()]).expect("it was one").meta();
        let may_merge = verify_transport(&train[place.clone()], &meta);
        runs.extend(merger.push(&mut train, place, &meta, may_merge));
    }
    runs.extend(merger.finish());
    assert_eq!(runs.iter().map(Run::packets).sum::<usize>(), count);
    let mut payload = Vec::new();
    for run in runs {
        let header = run.finish(&mut train);
        let packet = parse(&train[run.range()]).expect("a run is a packet");
        assert_eq!(packet.meta(), run.meta());
        assert!(header.verify(&packet).is_ok() && header.segment_count(&packet) == run.packets());
        payload.extend_from_slice(packet.payload());
    }
    assert_eq!(payload, view.payload());
}
