//! Two connections through a tunnel that loses, repeats, delays and forges. A script says what happens to which packet;
//! forged are sequence and acknowledgement numbers, windows, flags and options of packets without data. Nothing panics,
//! and what arrives is what was sent, from its beginning on.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vpce::tcp::{Connection, Leg, PacketBuffer, TcpSetup, TcpStage};
use vpce::time::Moment;

const BUFFER: usize = 16 * 1024;
/// Packets under way in one direction.
const FLYING: usize = 256;

struct End {
    stage: TcpStage,
    tcp: Connection,
    sent: usize,
    received: usize,
    inbox: Vec<Vec<u8>>,
}

fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b1) >> 13) as u8
}

impl End {
    fn new(addresses: [&str; 2], connects: bool) -> Self {
        let [local, remote] = addresses.map(|address| address.parse::<SocketAddr>().expect("an address"));
        let mut stage = TcpStage::new(&TcpSetup {
            offload: false,
            vpc_mtu: 1_500,
            tunnel_mtu: 1_438,
            buffer: BUFFER,
            limit: 1,
            seed: 7,
        });
        let tcp = if connects { stage.connect(Leg::Tunnel, local, remote) } else { stage.listen(Leg::Tunnel, local) };
        Self { stage, tcp: tcp.expect("the first is within the limit"), sent: 0, received: 0, inbox: Vec::new() }
    }

    fn send(&mut self, len: usize) {
        let data: Vec<u8> = (self.sent..self.sent + len).map(byte).collect();
        self.sent += self.tcp.send(&data);
    }

    fn read(&mut self) {
        let received = &mut self.received;
        while let Some(1..) = self.tcp.recv(|data| {
            assert!(data.iter().enumerate().all(|(n, b)| *b == byte(*received + n)), "the stream is what was sent");
            *received += data.len();
            data.len()
        }) {}
    }

    fn take(&mut self, mut packet: Vec<u8>, now: Moment, out: &mut PacketBuffer, other: &mut Vec<Vec<u8>>) {
        if self.stage.ingress(&mut self.tcp, &mut packet, now, out) && other.len() < FLYING {
            other.push(out.packet().to_vec());
        }
    }

    fn emit(&mut self, now: Moment, out: &mut PacketBuffer, other: &mut Vec<Vec<u8>>) {
        for _ in 0..FLYING {
            if !self.stage.poll_egress(&mut self.tcp, now, out) {
                return;
            }
            if other.len() < FLYING {
                other.push(out.packet().to_vec());
            }
        }
    }
}

/// Changes a packet without data, in TCP's header alone. Lengths stay as they are.
fn forge(packet: &mut [u8], at: u8, value: u8) {
    let header = usize::from(packet[32] >> 4) * 4;
    if packet.len() == 20 + header {
        let place = 4 + usize::from(at) % (header - 4);
        if place != 12 {
            packet[20 + place] = value;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut ends = [
        End::new(["10.0.1.100:443", "192.168.10.10:50000"], false),
        End::new(["192.168.10.10:50000", "10.0.1.100:443"], true),
    ];
    let (mut now, mut out) = (Moment::from_millis(1), PacketBuffer::default());
    for step in data.chunks_exact(3) {
        let [op, a, b] = *step else { continue };
        let (first, second) = ends.split_at_mut(1);
        let (one, two) = if op & 0x80 == 0 { (&mut first[0], &mut second[0]) } else { (&mut second[0], &mut first[0]) };
        let pick = usize::from(a) % one.inbox.len().max(1);
        match op % 10 {
            0..=2 if !one.inbox.is_empty() => {
                let packet = one.inbox.remove(0);
                one.take(packet, now, &mut out, &mut two.inbox);
            }
            3 if !one.inbox.is_empty() => drop(one.inbox.remove(pick)),
            4 if !one.inbox.is_empty() => {
                let packet = one.inbox[pick].clone();
                one.take(packet, now, &mut out, &mut two.inbox);
            }
            5 if !one.inbox.is_empty() => {
                let mut packet = one.inbox[pick].clone();
                forge(&mut packet, b, a);
                one.take(packet, now, &mut out, &mut two.inbox);
            }
            6 => one.send(usize::from(a) * usize::from(b)),
            7 => one.read(),
            8 => now += Duration::from_millis(u64::from(a) * u64::from(b & 15)),
            9 if a == 0 => one.tcp.close(),
            _ => now += Duration::from_micros(u64::from(a) * 64),
        }
        for (one, two) in [(0, 1), (1, 0)] {
            let mut inbox = std::mem::take(&mut ends[two].inbox);
            ends[one].emit(now, &mut out, &mut inbox);
            ends[two].inbox = inbox;
            let end = &mut ends[one];
            let _deadline = end.stage.poll_at(&mut end.tcp, now);
            assert!(end.tcp.unacknowledged() <= BUFFER + (4 << 20), "what is kept is bounded");
        }
    }
    let [mut one, mut two] = ends;
    one.read();
    two.read();
    assert!(one.received <= two.sent && two.received <= one.sent);
    one.stage.release(one.tcp);
    two.stage.release(two.tcp);
});
