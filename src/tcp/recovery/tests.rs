use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use peer::{Peer, STREAM};

use crate::config::PathDirection;
use crate::tcp::{Connection, Leg, PacketBuffer, State, TcpSetup, TcpStage};
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
    queue: usize,
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
    queue: 2 << 20,
    duplication: 0,
    reordering: 0,
    seed: 1,
};

impl Trouble {
    fn direction(&self) -> PathDirection {
        let Self { delay, jitter, rate, loss, queue, .. } = *self;
        PathDirection { delay, jitter, loss, rate_bps: rate, queue_bytes: queue, ..PathDirection::default() }
    }
}

/// One direction, with its packets under way.
struct Way {
    path: PathEmulator,
    trouble: Trouble,
    rng: u64,
    flying: BTreeMap<(Moment, u64), Vec<u8>>,
    /// Packets that arrived or will, and packets given to it.
    sent: u64,
    offered: u64,
    /// Packets at the beginning that are spared.
    spared: u64,
    /// Ordinals of packets that are lost, from 1.
    lose: Vec<u64>,
    is_dead: bool,
}

impl Way {
    fn new(trouble: Trouble, salt: u64) -> Self {
        let (direction, seed) = (trouble.direction(), trouble.seed);
        // Not a multiple of the generator's own step, which would only shift one sequence.
        let seed = (seed * 2 + salt + 1).wrapping_mul(0xd1b5_4a32_d192_ed03).rotate_left(29);
        let path = PathEmulator::new(&direction, 1_500, Arc::new(Link::new(&direction)), PathRng::from_seed(seed));
        Self {
            path,
            trouble,
            rng: seed | 1,
            flying: BTreeMap::new(),
            sent: 0,
            offered: 0,
            spared: 0,
            lose: Vec::new(),
            is_dead: false,
        }
    }

    fn draw(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % 1_000
    }

    fn send(&mut self, packet: &[u8], now: Moment) {
        self.offered += 1;
        if self.is_dead || self.lose.contains(&self.offered) {
            return;
        }
        let copies = if self.draw() < self.trouble.duplication { 2 } else { 1 };
        for _ in 0..copies {
            let Ok(mut at) = self.path.admit(now, packet.len()) else {
                if self.offered > self.spared {
                    continue;
                }
                return self.keep(now + self.trouble.delay, packet);
            };
            if self.draw() < self.trouble.reordering {
                at += self.trouble.delay / 4;
            }
            self.keep(at, packet);
        }
    }

    fn keep(&mut self, at: Moment, packet: &[u8]) {
        self.sent += 1;
        self.flying.insert((at, self.sent), packet.to_vec());
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
    /// The sender has its turns so far apart, and takes everything that came until then before it sends.
    turn: Duration,
}

impl Net {
    /// The peer connects, as a client that downloads.
    fn download(leg: Leg, trouble: Trouble) -> Self {
        let (mut net, syn) = Self::new(leg, trouble, false);
        // It does not send its SYN again.
        net.back.spared = 1;
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
            turn: Duration::ZERO,
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
            let has_turn = self.turn_at(self.now) == self.now;
            while has_turn && let Some(mut packet) = self.back.arrived(self.now) {
                moved = true;
                if self.stage.ingress(&mut self.tcp, &mut packet, self.now, &mut self.out) {
                    self.there.send(self.out.packet(), self.now);
                }
                if self.turn.is_zero() {
                    self.fill(total);
                    self.emit();
                }
            }
            if has_turn {
                self.fill(total);
                self.emit();
                while self.tcp.take_made_room() {
                    self.fill(total);
                    self.emit();
                }
            }
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

    /// The sender's first turn from `at` on.
    fn turn_at(&self, at: Moment) -> Moment {
        let turn = self.turn.as_nanos() as u64;
        if turn == 0 { at } else { Moment::from_nanos(at.as_nanos().div_ceil(turn) * turn) }
    }

    /// When something happens next; the timers have ticks of a millisecond.
    fn next(&mut self) -> Option<Moment> {
        let own = self.stage.poll_at(&mut self.tcp, self.now);
        let tick = |at: Moment| Moment::from_millis(at.as_nanos().div_ceil(1_000_000));
        let at_turn = |at: Option<Moment>| at.map(|at| self.turn_at(at.max(self.now)));
        let next = [self.there.next(), at_turn(self.back.next()), self.peer.due(), at_turn(own.map(tick))];
        next.into_iter().flatten().min()
    }

    /// Goes to the next moment at which something happens. `false` if nothing will.
    fn advance(&mut self) -> bool {
        let Some(next) = self.next() else { return false };
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

    /// Sends so many bytes in all and closes; returns when the receiver has everything and the sender knows.
    fn transfer_and_close(&mut self, total: u64) {
        let start = self.now;
        loop {
            self.settle(total);
            if self.queued == total {
                self.tcp.close();
                self.emit();
            }
            let is_known = self.tcp.unacknowledged() == 0 && self.tcp.state() == State::FinWait2;
            if self.peer.has_fin && is_known {
                break;
            }
            assert!(self.advance(), "stalled at {} of {total}: {:?}", self.peer.next, self.tcp);
            assert!(self.now.since(start) < Duration::from_secs(3_600), "at {} of {total}", self.peer.next);
        }
        assert_eq!(self.peer.next, total + 1);
        self.stage.count_recovery(&self.counters);
    }

    fn count(&mut self, event: Event) -> u64 {
        self.stage.count_recovery(&self.counters);
        self.counters.event(event)
    }
}

const SIX_MEGABYTES: u64 = 6 << 20;

/// Milliseconds of each of so many transfers of six megabytes, sorted.
fn times(leg: Leg, loss: f64, seeds: u64) -> Vec<u128> {
    let one = |seed| Net::download(leg, Trouble { loss, seed, ..VPN }).transfer(SIX_MEGABYTES).as_millis();
    let mut times: Vec<_> = (0..seeds).map(one).collect();
    times.sort_unstable();
    times
}

#[test]
fn six_megabytes_through_a_lossy_tunnel_take_a_fraction_of_what_smoltcp_alone_takes() {
    // Loss, and at most so many milliseconds: half of the transfers, each of them. See docs/benchmarks.md.
    for (loss, median, worst) in [(0.0, 218, 218), (0.001, 245, 260), (0.01, 270, 320)] {
        let taken = times(Leg::Tunnel, loss, 10);
        println!("with recovery at {loss}: {taken:?}");
        assert!(taken[5] <= median && taken[9] <= worst, "{loss}: {taken:?}");
        // Toward the VPC there is smoltcp alone.
        let alone = times(Leg::Vpc, loss, 3);
        println!("smoltcp alone at {loss}: {alone:?}");
        assert!(alone[0] > 2 * median, "{loss}: {alone:?}");
    }
}

#[test]
fn delay_that_is_no_queue_makes_it_no_slower_than_any_other_tcp() {
    // Jitter as large as the delay: every loss looks like a full queue's. Without jitter CUBIC alone took 6,200 ms at 1 %.
    for (loss, within) in [(0.0, 400), (0.01, 11_000)] {
        let taken = Net::download(Leg::Tunnel, Trouble { jitter: MS(10), loss, ..VPN }).transfer(SIX_MEGABYTES);
        assert!(taken < MS(within), "{loss}: {taken:?}");
    }
}

#[test]
fn a_sender_that_has_few_turns_fills_its_window_in_each() {
    for (turn, within) in [(1, 260), (5, 320), (20, 700)] {
        let mut net = Net::download(Leg::Tunnel, VPN);
        net.turn = MS(turn);
        let taken = net.transfer(SIX_MEGABYTES);
        assert!(taken <= MS(within), "every {turn} ms: {taken:?} {:?}", net.counters.nonzero());
    }
}

#[test]
fn a_queue_that_overflows_is_no_chance_and_the_link_stays_full() {
    // The link, its queue, and how often it may drop: 6 MB are 4,500 segments.
    for (rate, queue, drops) in [(100_000_000, 2 << 20, 700), (20_000_000, 256 << 10, 400), (20_000_000, 32 << 10, 150)]
    {
        let mut net = Net::download(Leg::Tunnel, Trouble { rate: Some(rate), queue, ..VPN });
        let taken = net.transfer(SIX_MEGABYTES).as_secs_f64();
        let goodput = SIX_MEGABYTES as f64 * 8.0 / taken;
        assert!(goodput > 0.8 * rate as f64, "{rate} {queue}: {goodput}");
        let again = net.count(Event::TcpRetransmitted);
        assert!((1..=drops).contains(&again) && net.count(Event::TcpTimeout) == 0, "{rate} {queue}: {again}");
    }
}

#[test]
fn a_send_buffer_does_not_limit_what_is_under_way() {
    let mut net = Net::download(Leg::Tunnel, Trouble { rate: None, ..VPN });
    let mut most = 0;
    while net.peer.next < SIX_MEGABYTES {
        net.settle(SIX_MEGABYTES);
        most = most.max(net.tcp.unacknowledged());
        net.advance();
    }
    assert!((1 << 20..=(4 << 20) + 256 * 1024).contains(&most), "{most}");
}

/// What happens to a connection that sends `total` bytes and then FIN.
struct Case {
    name: &'static str,
    total: u64,
    /// Ordinals of packets that are lost on their way there, the handshake's included.
    lose: &'static [u64],
    /// Milliseconds within which all has arrived, and what is counted until then.
    within: u64,
    counts: [(Event, u64); 3],
}

#[test]
fn a_lost_segment_is_sent_again_soon_wherever_it_stood() {
    use Event::{TcpLossProbe, TcpRetransmitted, TcpTimeout};
    let counts = |again, probes, timeouts| [(TcpRetransmitted, again), (TcpLossProbe, probes), (TcpTimeout, timeouts)];
    // 13,900 bytes are ten segments, which the first window holds. The first packet there is SYN and ACK, the last FIN.
    let cases = [
        Case { name: "nothing", total: 13_900, lose: &[], within: 51, counts: counts(0, 0, 0) },
        Case { name: "the first", total: 13_900, lose: &[2], within: 71, counts: counts(1, 0, 0) },
        Case { name: "one amid", total: 13_900, lose: &[6], within: 71, counts: counts(1, 0, 0) },
        Case { name: "three amid", total: 13_900, lose: &[3, 5, 7], within: 71, counts: counts(3, 0, 0) },
        Case { name: "the last", total: 13_900, lose: &[11, 12], within: 225, counts: counts(1, 1, 0) },
        Case { name: "the last three", total: 13_900, lose: &[9, 10, 11, 12], within: 205, counts: counts(3, 1, 0) },
        Case { name: "the only one", total: 500, lose: &[2, 3], within: 155, counts: counts(1, 1, 0) },
        Case { name: "FIN alone", total: 500, lose: &[3], within: 205, counts: counts(0, 1, 0) },
        Case { name: "the only one, and a probe", total: 500, lose: &[2, 3, 4], within: 400, counts: counts(2, 1, 1) },
        Case { name: "what is sent again", total: 60_000, lose: &[6, 14], within: 450, counts: counts(2, 0, 0) },
    ];
    for Case { name, total, lose, within, counts } in cases {
        let mut net = Net::download(Leg::Tunnel, VPN);
        net.there.lose = lose.to_vec();
        let start = net.now;
        net.transfer_and_close(total);
        let taken = net.now.since(start);
        assert!(taken <= MS(within), "{name}: {taken:?} {:?}", net.counters.nonzero());
        for (event, count) in counts {
            assert_eq!(net.count(event), count, "{name}: {:?}", net.counters.nonzero());
        }
    }
}

#[test]
fn every_byte_arrives_whatever_the_path_does() {
    for seed in 0..200 {
        let pick = |at: u64| (seed * 7 + at * 13) % 5;
        let trouble = Trouble {
            loss: [0.0, 0.002, 0.02, 0.1, 0.25][pick(0) as usize],
            duplication: [0, 5, 50, 300, 0][pick(1) as usize],
            reordering: [0, 20, 200, 0, 500][pick(2) as usize],
            jitter: if seed % 2 == 0 { MS(1) } else { Duration::ZERO },
            rate: [None, Some(20_000_000), Some(1_250_000_000)][(seed % 3) as usize],
            seed,
            ..VPN
        };
        let mut net =
            if seed % 4 < 2 { Net::download(Leg::Tunnel, trouble) } else { Net::upload(Leg::Tunnel, trouble) };
        net.peer.has_sack = seed % 5 != 0;
        net.peer.buffer = [6 << 20, 64 << 10, 9_000][(seed % 7 % 3) as usize];
        net.transfer_and_close(20_000 + seed * 2_311);
        assert!(net.stage.chunks.limit() > 64 * 1024 && net.stage.chunks.is_whole(), "{trouble:?}: a copy was kept");
        assert_eq!(net.tcp.unacknowledged(), 0, "{trouble:?}");
    }
}

#[test]
fn reordering_alone_is_soon_no_loss() {
    let mut net = Net::download(Leg::Tunnel, Trouble { reordering: 50, ..VPN });
    let taken = net.transfer(SIX_MEGABYTES);
    assert!(taken < MS(2_500), "{taken:?} {:?}", net.counters.nonzero());
    let (again, arrived) = (net.count(Event::TcpRetransmitted), net.there.sent);
    assert!(again * 100 < arrived, "{again} of {arrived}");
    assert_eq!(net.count(Event::TcpSpurious), net.peer.duplicates, "each was reported");
}

#[test]
fn a_sequence_number_may_wrap_in_the_middle() {
    // A seed whose first sequence number lies less than 2 MB below the wrap.
    let seed = (0..).find(|seed| {
        let mut net = Net::upload(Leg::Tunnel, Trouble { seed: *seed, ..VPN });
        assert!(net.stage.poll_egress(&mut net.tcp, net.now, &mut net.out));
        u32::from_be_bytes(net.out.packet()[24..28].try_into().unwrap()) > u32::MAX - (2 << 20)
    });
    let mut net = Net::upload(Leg::Tunnel, Trouble { seed: seed.unwrap(), loss: 0.01, reordering: 20, ..VPN });
    net.transfer_and_close(4 << 20);
    assert!(net.count(Event::TcpRetransmitted) > 10);
}

#[test]
fn a_shut_window_is_probed_and_opens_again() {
    for loss in [0.0, 0.2] {
        let mut net = Net::download(Leg::Tunnel, Trouble { loss, seed: 3, ..VPN });
        (net.peer.buffer, net.peer.is_stalled) = (100_000, true);
        let until = net.now + Duration::from_secs(30);
        while net.now < until {
            net.settle(300_000);
            assert!(net.advance(), "the sender asks now and then");
        }
        // Less than the window's unit may be left.
        assert!(net.peer.next > 99_872 && net.tcp.unacknowledged() > 100_000, "{loss}: {}", net.peer.next);
        // It reads, and says nothing of it: the answer to a probe does.
        (net.peer.unread, net.peer.is_stalled) = (0, false);
        net.transfer_and_close(300_000);
    }
}

#[test]
fn what_a_receiver_throws_away_is_sent_again() {
    let mut net = Net::download(Leg::Tunnel, VPN);
    net.there.lose = vec![4, 14];
    while net.count(Event::TcpSelectiveAck) < 8 {
        net.settle(40_000);
        net.advance();
    }
    net.peer.renege();
    net.transfer_and_close(40_000);
    assert!(net.count(Event::TcpTimeout) > 0, "only a time-out tells");
}

#[test]
fn a_path_that_dies_is_given_up_in_time_and_nothing_is_kept() {
    let mut net = Net::download(Leg::Tunnel, VPN);
    net.transfer(10_000);
    net.tcp.set_liveness(Some(Duration::from_secs(4)), Some(Duration::from_secs(1)));
    net.there.is_dead = true;
    let start = net.now;
    net.queued = 0;
    while !net.tcp.is_over() {
        net.settle(100_000);
        assert!(net.advance() || net.tcp.is_over());
    }
    let taken = net.now.since(start);
    assert!(taken >= Duration::from_secs(4) && taken < Duration::from_secs(6), "{taken:?}");
    assert!(net.count(Event::TcpTimeout) >= 3, "{:?}", net.counters.nonzero());
    net.emit();
    assert!(net.stage.chunks.is_whole());
    assert_eq!(net.stage.poll_at(&mut net.tcp, net.now), None);
}

#[test]
fn keep_alives_go_out_while_nothing_is_under_way() {
    let mut net = Net::download(Leg::Tunnel, VPN);
    net.tcp.set_liveness(Some(Duration::from_secs(4)), Some(Duration::from_secs(1)));
    net.transfer(5_000);
    let (before, until) = (net.there.sent, net.now + Duration::from_secs(20));
    while net.now < until {
        net.settle(5_000);
        assert!(net.advance());
    }
    assert!((18..=22).contains(&(net.there.sent - before)) && net.tcp.is_established());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_counts_for_nothing() {
    let mut net = Net::download(Leg::Tunnel, VPN);
    net.transfer(10_000);
    net.settle(10_000);
    for ahead in [1, 1_000, 1 << 29] {
        let mut forged = net.peer.acknowledge(None);
        let ack = u32::from_be_bytes(forged[28..32].try_into().unwrap()).wrapping_add(ahead);
        forged[28..32].copy_from_slice(&ack.to_be_bytes());
        net.stage.ingress(&mut net.tcp, &mut forged, net.now, &mut net.out);
    }
    net.stage.count_recovery(&net.counters);
    assert_eq!(net.counters.reason(Reason::TcpAckInvalid), 3);
    net.transfer_and_close(50_000);
}

#[test]
fn two_transfers_share_a_link_and_fill_it() {
    for loss in [0.0, 0.01] {
        let trouble = Trouble { rate: Some(100_000_000), loss, ..VPN };
        let mut nets =
            [Net::download(Leg::Tunnel, trouble), Net::download(Leg::Tunnel, Trouble { seed: 2, ..trouble })];
        let link = Arc::new(Link::new(&trouble.direction()));
        for net in &mut nets {
            net.there.path = PathEmulator::new(&trouble.direction(), 1_500, Arc::clone(&link), PathRng::from_seed(9));
        }
        // The second comes when the first has filled the link.
        let start = nets[0].now;
        let mut ended = [None; 2];
        while ended.contains(&None) {
            for (index, net) in nets.iter_mut().enumerate() {
                if index == 0 || net.now.since(start) >= MS(200) {
                    net.settle(SIX_MEGABYTES);
                }
                if net.peer.next >= SIX_MEGABYTES {
                    ended[index].get_or_insert_with(|| net.now.since(start));
                }
            }
            let late = (nets[1].now.since(start) < MS(200)).then_some(start + MS(200));
            let next = [nets[0].next(), nets[1].next().filter(|_| late.is_none()), late].into_iter().flatten().min();
            let now = next.expect("something goes on").max(nets[0].now + Duration::from_micros(1));
            (nets[0].now, nets[1].now) = (now, now);
        }
        let [first, second] = ended.map(Option::unwrap_or_default);
        // Twelve megabytes at 93.5 Mbit/s of payload take 1,077 ms, and neither has to wait for the other.
        assert!(first.max(second) < MS(1_600), "{loss}: {first:?} {second:?}");
    }
}
