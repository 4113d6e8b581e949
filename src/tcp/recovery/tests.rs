use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use peer::{Peer, STREAM};

use crate::config::PathDirection;
use crate::tcp::{Connection, Leg, PacketBuffer, TcpSetup, TcpStage};
use crate::time::Moment;
use crate::tunnel::path::{Link, PathEmulator, PathRng};
use crate::verdict::{Counters, Event, Reason};

mod peer;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What the path does, in each direction.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    delay: Duration,
    jitter: Duration,
    rate: Option<u64>,
    loss: f64,
    /// In 1,000 packets.
    duplication: u64,
    /// In 1,000 packets: those come later by a quarter of the delay.
    reordering: u64,
    seed: u64,
}

const VPN: Trouble = Trouble {
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    rate: Some(1_250_000_000),
    loss: 0.0,
    duplication: 0,
    reordering: 0,
    seed: 1,
};

/// One direction, with its packets under way.
struct Way {
    path: PathEmulator,
    trouble: Trouble,
    rng: u64,
    flying: BTreeMap<(Moment, u64), Vec<u8>>,
    sent: u64,
}

impl Way {
    fn new(trouble: Trouble, salt: u64) -> Self {
        let Trouble { delay, jitter, rate, loss, seed, .. } = trouble;
        let direction =
            PathDirection { delay, jitter, loss, rate_bps: rate, queue_bytes: 2 << 20, ..PathDirection::default() };
        // Not a multiple of the generator's own step, which would only shift one sequence.
        let seed = (seed * 2 + salt + 1).wrapping_mul(0xd1b5_4a32_d192_ed03).rotate_left(29);
        let path = PathEmulator::new(&direction, 1_500, Arc::new(Link::new(&direction)), PathRng::from_seed(seed));
        Self { path, trouble, rng: seed | 1, flying: BTreeMap::new(), sent: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % 1_000
    }

    fn send(&mut self, packet: &[u8], now: Moment) {
        let copies = if self.draw() < self.trouble.duplication { 2 } else { 1 };
        for _ in 0..copies {
            let Ok(mut at) = self.path.admit(now, packet.len()) else { continue };
            if self.draw() < self.trouble.reordering {
                at += self.trouble.delay / 4;
            }
            self.sent += 1;
            self.flying.insert((at, self.sent), packet.to_vec());
        }
    }

    fn arrived(&mut self, now: Moment) -> Option<Vec<u8>> {
        let entry = self.flying.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn next(&self) -> Option<Moment> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }
}

/// A stage that sends, a receiver, and the path between.
struct Net {
    stage: TcpStage,
    tcp: Connection,
    peer: Peer,
    there: Way,
    back: Way,
    now: Moment,
    queued: u64,
    counters: Counters,
    out: PacketBuffer,
}

impl Net {
    /// The peer connects, as a client that downloads.
    fn download(leg: Leg, trouble: Trouble) -> Self {
        let (mut net, syn) = Self::new(leg, trouble, false);
        net.back.send(&syn, net.now);
        net
    }

    /// The peer is connected to, as a host that is uploaded to.
    fn upload(leg: Leg, trouble: Trouble) -> Self {
        Self::new(leg, trouble, true).0
    }

    fn new(leg: Leg, trouble: Trouble, connects: bool) -> (Self, Vec<u8>) {
        let here: SocketAddrV4 = "10.0.1.100:443".parse().unwrap();
        let there: SocketAddrV4 = "192.168.10.10:50000".parse().unwrap();
        let mut stage = TcpStage::new(&TcpSetup {
            addresses: vec![(*here.ip()).into()],
            offload: false,
            vpc_mtu: 1_438,
            tunnel_mtu: 1_438,
            buffer: 256 * 1024,
            limit: 4,
            seed: trouble.seed,
        });
        let (local, remote) = (SocketAddr::V4(here), SocketAddr::V4(there));
        let tcp = if connects { stage.connect(leg, local, remote) } else { stage.listen(leg, local) }.unwrap();
        let peer = Peer::new(there, here, (trouble.seed as u32).wrapping_mul(0x9e37_79b9));
        let syn = peer.syn();
        let net = Self {
            stage,
            tcp,
            peer,
            there: Way::new(trouble, 0),
            back: Way::new(trouble, 1),
            now: Moment::from_millis(1),
            queued: 0,
            counters: Counters::default(),
            out: PacketBuffer::default(),
        };
        (net, syn)
    }

    /// Queues what fits of a stream of `total` bytes.
    fn fill(&mut self, total: u64) {
        while self.queued < total {
            let sent = self.tcp.send(&STREAM[self.queued as usize..total as usize]) as u64;
            self.queued += sent;
            if sent == 0 {
                return;
            }
        }
    }

    /// Everything that happens at this moment.
    fn settle(&mut self, total: u64) {
        loop {
            let mut moved = false;
            while let Some(mut packet) = self.back.arrived(self.now) {
                moved = true;
                if self.stage.ingress(&mut self.tcp, &mut packet, self.now, &mut self.out) {
                    self.there.send(self.out.packet(), self.now);
                }
                self.fill(total);
                self.emit();
            }
            self.fill(total);
            self.emit();
            while let Some(packet) = self.there.arrived(self.now) {
                moved = true;
                if let Some(answer) = self.peer.receive(&packet, self.now) {
                    self.back.send(&answer, self.now);
                }
            }
            if self.peer.due().is_some_and(|at| at <= self.now) {
                moved = true;
                let answer = self.peer.acknowledge(None);
                self.back.send(&answer, self.now);
            }
            if !moved {
                return;
            }
        }
    }

    fn emit(&mut self) {
        while self.stage.poll_egress(&mut self.tcp, self.now, &mut self.out) {
            self.there.send(self.out.packet(), self.now);
        }
    }

    /// Goes to the next moment at which something happens; the timers have ticks of a millisecond. `false` if none will.
    fn advance(&mut self) -> bool {
        let own = self.stage.poll_at(&mut self.tcp, self.now);
        let tick = |at: Moment| Moment::from_millis(at.as_nanos().div_ceil(1_000_000));
        let next = [self.there.next(), self.back.next(), self.peer.due(), own.map(tick)];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        self.now = next.max(self.now + Duration::from_micros(1));
        true
    }

    /// Sends `total` bytes and returns how long it took until all had arrived.
    fn transfer(&mut self, total: u64) -> Duration {
        let start = self.now;
        while self.peer.next < total {
            self.settle(total);
            assert!(self.advance(), "stalled at {} of {total}: {:?}", self.peer.next, self.tcp);
            assert!(self.now.since(start) < Duration::from_secs(3_600), "at {} of {total}", self.peer.next);
        }
        self.stage.count_recovery(&self.counters);
        self.now.since(start)
    }

    fn count(&mut self, event: Event) -> u64 {
        self.stage.count_recovery(&self.counters);
        self.counters.event(event)
    }
}

const SIX_MEGABYTES: u64 = 6 << 20;

#[test]
fn measure() {
    for (name, leg) in [("recovery", Leg::Tunnel)] {
        for loss in [0.0, 0.001, 0.01] {
            let mut times: Vec<_> = (0..10)
                .map(|seed| {
                    let mut net = Net::download(leg, Trouble { loss, seed, ..VPN });
                    let time = net.transfer(SIX_MEGABYTES).as_millis();
                    if seed == 0 { println!("{:?} dups {}", net.counters.nonzero(), net.peer.duplicates); }
                    time
                })
                .collect();
            times.sort();
            println!("{name} {loss}: min {} median {} max {} ms; {:.1} Mbit/s", times[0], times[5], times[9], SIX_MEGABYTES as f64 * 8.0 / times[5] as f64 / 1e3);
        }
    }
}
