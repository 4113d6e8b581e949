//! Frames of the tunnel. Arbitrary ones never open; a sealed one opens once, and not at all when a bit of it changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vpce::tunnel::esp::{FrameKind, InboundSa, OutboundSa, frame_len};
use vpce::tunnel::keys::SaKeys;
use vpce::verdict::Reason;

const SPI: u32 = 0x1001;

fuzz_target!(|data: &[u8]| {
    let keys = SaKeys::new(SPI, [7; 32], [9; 4]).expect("not reserved");
    let _ = FrameKind::of(data);
    assert!(InboundSa::new(&keys, 1024).open(&mut data.to_vec()).is_err());
    // With the right SPI it gets further.
    let mut addressed = SPI.to_be_bytes().to_vec();
    addressed.extend_from_slice(data);
    assert!(InboundSa::new(&keys, 1024).open(&mut addressed).is_err());

    let [at, bit, inner @ ..] = data else { return };
    let mut outbound = OutboundSa::new(&keys);
    let mut frame = vec![0; frame_len(inner.len())];
    let Ok(len) = outbound.seal(inner, &mut frame) else { return };
    assert_eq!(len, frame.len());
    let mut inbound = InboundSa::new(&keys, 64);
    let mut changed = frame.clone();
    changed[usize::from(*at) * len / 256] ^= 1 << (bit % 8);
    assert!(inbound.open(&mut changed).is_err(), "a changed frame");
    assert_eq!(inbound.open(&mut frame.clone()).expect("a genuine frame"), inner);
    assert_eq!(inbound.open(&mut frame), Err(Reason::TunnelReplay));
});
