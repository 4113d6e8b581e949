//! pcapng files (draft-ietf-opsawg-pcapng): sections, interfaces, packets, and the TLS secrets that decrypt them.
//!
//! Blocks are padded to 32 bits and written whole. A decryption secrets block must stand before the packets that need it,
//! which holds here because a session's secrets are known before its first encrypted record is sent.

use std::io::{self, Write};

use crate::time::UnixTime;

/// `LINKTYPE_RAW`: packets that begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;
/// `LINKTYPE_ETHERNET`.
const LINKTYPE_ETHERNET: u16 = 1;
/// Secrets in the format of the TLS key log file (`SSLKEYLOGFILE`).
const SECRETS_TLS_KEY_LOG: u32 = 0x544c_534b;
const BLOCK_SECTION: u32 = 0x0a0d_0d0a;
const BLOCK_INTERFACE: u32 = 1;
const BLOCK_STATISTICS: u32 = 5;
const BLOCK_PACKET: u32 = 6;
const BLOCK_SECRETS: u32 = 10;
const OPTION_IF_NAME: u16 = 2;
const OPTION_IF_TSRESOL: u16 = 9;
const OPTION_EPB_FLAGS: u16 = 2;
const OPTION_SHB_USERAPPL: u16 = 4;
const OPTION_ISB_RECEIVED: u16 = 4;
const OPTION_ISB_DROPPED_BY_SYSTEM: u16 = 7;

/// What an interface's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkType {
    /// An IP header.
    Raw,
    /// An Ethernet header.
    Ethernet,
}

/// Direction as seen from the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received by it.
    Inbound,
    /// Sent from it.
    Outbound,
}

/// Writes one section.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a section.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0, block: Vec::new() };
        writer.begin(BLOCK_SECTION);
        writer.u32(0x1a2b_3c4d);
        writer.u16(1);
        writer.u16(0);
        // The section's length is not known beforehand.
        writer.bytes(&u64::MAX.to_le_bytes());
        writer.option(OPTION_SHB_USERAPPL, concat!("vpce ", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.end_options();
        writer.finish()?;
        Ok(writer)
    }

    /// Adds an interface and returns its number. Times are in nanoseconds.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn interface(&mut self, name: &str, link: LinkType) -> io::Result<u32> {
        self.begin(BLOCK_INTERFACE);
        self.u16(match link {
            LinkType::Raw => LINKTYPE_RAW,
            LinkType::Ethernet => LINKTYPE_ETHERNET,
        });
        self.u16(0);
        // No limit on the captured length.
        self.u32(0);
        self.option(OPTION_IF_NAME, name.as_bytes());
        self.option(OPTION_IF_TSRESOL, &[9]);
        self.end_options();
        self.finish()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet of `wire_len` bytes, of which `bytes` were captured.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn packet(
        &mut self,
        interface: u32,
        at: UnixTime,
        direction: Direction,
        bytes: &[u8],
        wire_len: usize,
    ) -> io::Result<()> {
        self.begin(BLOCK_PACKET);
        self.u32(interface);
        self.time(at);
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.u32(u32::try_from(wire_len).unwrap_or(u32::MAX));
        self.bytes(bytes);
        self.pad();
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        self.option(OPTION_EPB_FLAGS, &flags.to_le_bytes());
        self.end_options();
        self.finish()
    }

    /// Writes lines of a TLS key log.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn tls_secrets(&mut self, lines: &str) -> io::Result<()> {
        self.begin(BLOCK_SECRETS);
        self.u32(SECRETS_TLS_KEY_LOG);
        self.u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        self.bytes(lines.as_bytes());
        self.pad();
        self.finish()
    }

    /// Writes how many packets crossed an interface until `at`, and how many of them are not in the file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn statistics(&mut self, interface: u32, at: UnixTime, seen: u64, lost: u64) -> io::Result<()> {
        self.begin(BLOCK_STATISTICS);
        self.u32(interface);
        self.time(at);
        self.option(OPTION_ISB_RECEIVED, &seen.to_le_bytes());
        self.option(OPTION_ISB_DROPPED_BY_SYSTEM, &lost.to_le_bytes());
        self.end_options();
        self.finish()
    }

    /// Hands what is buffered to the operating system.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        // The length, filled in by `finish`.
        self.u32(0);
    }

    fn finish(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.block.len() + 4).unwrap_or(u32::MAX);
        self.u32(len);
        self.block[4..8].copy_from_slice(&len.to_le_bytes());
        self.out.write_all(&self.block)
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.u16(code);
        self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.bytes(value);
        self.pad();
    }

    fn end_options(&mut self) {
        self.u32(0);
    }

    fn time(&mut self, at: UnixTime) {
        self.u32((at.nanos() >> 32) as u32);
        self.u32(at.nanos() as u32);
    }

    fn pad(&mut self) {
        while !self.block.len().is_multiple_of(4) {
            self.block.push(0);
        }
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into (type, body) and checks the framing of every block.
    fn blocks(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut at, mut blocks) = (0, Vec::new());
        while at < file.len() {
            let len = u32_at(at + 4) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(u32_at(at + len - 4) as usize, len, "both lengths of a block agree");
            blocks.push((u32_at(at), file[at + 8..at + len - 4].to_vec()));
            at += len;
        }
        blocks
    }

    #[test]
    fn a_file_holds_its_interfaces_secrets_and_packets_in_order() {
        let mut writer = PcapngWriter::new(Vec::new()).unwrap();
        let eni = writer.interface("eni-1", LinkType::Raw).unwrap();
        let outside = writer.interface("outside", LinkType::Ethernet).unwrap();
        assert_eq!((eni, outside), (0, 1));
        writer.tls_secrets("CLIENT_RANDOM 00 11\n").unwrap();
        let at = UnixTime::from_nanos(0x1122_3344_5566_7788);
        writer.packet(outside, at, Direction::Outbound, &[0xaa; 5], 9).unwrap();
        writer.statistics(eni, at, 7, 1).unwrap();

        let blocks = blocks(&writer.out);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [BLOCK_SECTION, BLOCK_INTERFACE, BLOCK_INTERFACE, BLOCK_SECRETS, BLOCK_PACKET, BLOCK_STATISTICS]
        );
        assert_eq!(blocks[1].1[..2], LINKTYPE_RAW.to_le_bytes());
        assert_eq!(blocks[2].1[..2], LINKTYPE_ETHERNET.to_le_bytes());
        assert_eq!(&blocks[3].1[8..28], b"CLIENT_RANDOM 00 11\n");
        let packet = &blocks[4].1;
        assert_eq!(packet[..12], [1, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55]);
        assert_eq!(packet[12..20], [5, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(packet[20..28], [0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0]);
        assert_eq!(packet[28..36], [2, 0, 4, 0, 2, 0, 0, 0], "sent by the interface");
        let statistics = &blocks[5].1;
        assert_eq!(statistics[12..24], [4, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(statistics[24..36], [7, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
