//! Packets: views that prove their bounds were checked, checksums, the virtio-net header, bursts.
