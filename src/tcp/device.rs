//! The device smoltcp sees: at most one packet in, at most one packet out.

use std::num::NonZeroU16;

use smoltcp::phy::{Device, DeviceCapabilities, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

/// Bytes kept free in front of an emitted packet, for the virtio-net header or an ESP header.
pub const HEADROOM: usize = 32;

/// Largest packet smoltcp may emit. Forwarding adds 14 bytes of Ethernet header; above 65,535 in all the kernel would
/// segment in software.
pub(super) const SUPER_SEGMENT: usize = 65_521;

/// One packet that smoltcp emitted, with room in front of it.
#[derive(Debug)]
pub struct PacketBuffer {
    bytes: Box<[u8]>,
    len: usize,
    gso_size: u16,
}

impl Default for PacketBuffer {
    fn default() -> Self {
        Self { bytes: vec![0; HEADROOM + 65_536].into_boxed_slice(), len: 0, gso_size: 0 }
    }
}

impl PacketBuffer {
    /// Empties it.
    pub fn clear(&mut self) {
        self.len = 0;
        self.gso_size = 0;
    }

    /// Whether it holds no packet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[HEADROOM..HEADROOM + self.len]
    }

    /// The packet, to be changed in place.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[HEADROOM..HEADROOM + self.len]
    }

    /// The packet with `room` bytes in front of it, at most [`HEADROOM`].
    pub fn with_room(&mut self, room: usize) -> &mut [u8] {
        let start = HEADROOM.saturating_sub(room);
        &mut self.bytes[start..HEADROOM + self.len]
    }

    /// Payload bytes per segment if this is a super-segment, else 0.
    pub fn gso_size(&self) -> u16 {
        self.gso_size
    }

    /// Has a packet made elsewhere written into the buffer; `write` returns its length.
    pub fn fill_with(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let room = &mut self.bytes[HEADROOM..];
        let len = write(room).min(room.len());
        self.len = len;
        self.gso_size = 0;
    }
}

/// What a leg's device can do; the packets are given with each call.
#[derive(Debug)]
pub(super) struct SlotDevice {
    capabilities: DeviceCapabilities,
    /// Segment by the connection's real MSS where smoltcp was told a larger one.
    by_real_mss: bool,
}

impl SlotDevice {
    pub(super) fn new((capabilities, by_real_mss): (DeviceCapabilities, bool)) -> Self {
        Self { capabilities, by_real_mss }
    }

    pub(super) fn mtu(&self) -> usize {
        self.capabilities.max_transmission_unit
    }

    /// The device with these packets in its slots.
    pub(super) fn with<'a>(
        &'a mut self,
        rx: Option<&'a [u8]>,
        tx: &'a mut PacketBuffer,
        real_mss: u16,
    ) -> LoadedDevice<'a> {
        let real_mss = if self.by_real_mss { real_mss } else { 0 };
        LoadedDevice { capabilities: &self.capabilities, rx, tx, real_mss }
    }
}

/// A device for the length of one call.
pub(super) struct LoadedDevice<'a> {
    capabilities: &'a DeviceCapabilities,
    rx: Option<&'a [u8]>,
    tx: &'a mut PacketBuffer,
    real_mss: u16,
}

impl Device for LoadedDevice<'_> {
    type RxToken<'b>
        = Rx<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Tx<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let packet = self.rx.take()?;
        Some((Rx(packet), Tx { slot: self.tx, gso_size: None, real_mss: self.real_mss }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        // One packet per call: a second would overwrite the first.
        self.tx.is_empty().then_some(Tx { slot: self.tx, gso_size: None, real_mss: self.real_mss })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

pub(super) struct Rx<'a>(&'a [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Tx<'a> {
    slot: &'a mut PacketBuffer,
    gso_size: Option<NonZeroU16>,
    real_mss: u16,
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(&mut self.slot.bytes[HEADROOM..HEADROOM + len]);
        self.slot.len = len;
        self.slot.gso_size = self.gso_size.map_or(self.real_mss, NonZeroU16::get);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.gso_size = meta.segmentation_offload_size;
    }
}

/// The capabilities of each leg.
pub(super) mod capabilities {
    use std::num::NonZeroUsize;

    use smoltcp::phy::{Checksum, DeviceCapabilities, Medium};

    use super::SUPER_SEGMENT;
    use crate::tcp::TcpSetup;

    fn base(mtu: usize, tcp: Checksum) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = mtu;
        // Incoming checksums were verified before the packet got here.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = tcp;
        capabilities
    }

    /// IPv4 toward the VPC: smoltcp's own segmentation offload.
    pub(in crate::tcp) fn vpc_v4(setup: &TcpSetup) -> (DeviceCapabilities, bool) {
        if !setup.offload {
            return (base(setup.vpc_mtu, Checksum::Tx), false);
        }
        let mut capabilities = base(setup.vpc_mtu, Checksum::None);
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(SUPER_SEGMENT);
        (capabilities, false)
    }

    /// IPv6 toward the VPC: smoltcp 0.14.0 drops segments to be offloaded over IPv6, so it is shown a large MTU and the
    /// real MSS is kept beside the connection.
    pub(in crate::tcp) fn vpc_v6(setup: &TcpSetup) -> (DeviceCapabilities, bool) {
        if !setup.offload {
            return (base(setup.vpc_mtu, Checksum::Tx), false);
        }
        (base(SUPER_SEGMENT, Checksum::None), true)
    }

    /// Toward the tunnel: every packet fits, every checksum is ours.
    pub(in crate::tcp) fn tunnel(setup: &TcpSetup) -> (DeviceCapabilities, bool) {
        (base(setup.tunnel_mtu, Checksum::Tx), false)
    }
}
