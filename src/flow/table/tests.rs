use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::packet::testing::PacketSpec;
use crate::packet::{TcpFlags, parse};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const SYN_ACK: TcpFlags = SYN.union(ACK);
const FIN_ACK: TcpFlags = TcpFlags::FIN.union(ACK);
const RST: TcpFlags = TcpFlags::RST;
const SEED: FlowSeed = FlowSeed([11, 12]);

type Table = FlowTable<u8, u32>;

fn table(flows: u32, half_open: u32) -> Table {
    Table::new(FlowLimits { flows, half_open }, FlowTimeouts::default(), SEED)
}

fn secs(secs: u64) -> Moment {
    Moment::from_millis(secs * 1000)
}

fn meta(spec: &PacketSpec) -> PacketMeta {
    *parse(&spec.build()).unwrap().meta()
}

/// A TCP packet from the client's `port`.
fn tcp(port: u16, flags: TcpFlags, sequence: u32, acknowledgement: u32) -> PacketMeta {
    meta(&PacketSpec { src_port: port, flags, sequence, acknowledgement, ..PacketSpec::tcp4(b"") })
}

/// The answer to it.
fn reply(port: u16, flags: TcpFlags, sequence: u32, acknowledgement: u32) -> PacketMeta {
    meta(&PacketSpec { src_port: port, flags, sequence, acknowledgement, ..PacketSpec::tcp4(b"") }.reply())
}

fn open(table: &mut Table, port: u16, now: Moment) -> FlowId {
    table.open(&tcp(port, SYN, 99, 0), 7, 1, now).unwrap().id
}

fn establish(table: &mut Table, port: u16, now: Moment) -> FlowId {
    let id = open(table, port, now);
    assert_eq!(table.observe(id, Direction::Reply, &reply(port, SYN_ACK, 499, 100), now), Observed::Active);
    assert_eq!(table.observe(id, Direction::Original, &tcp(port, ACK, 100, 500), now), Observed::Established);
    id
}

fn close(table: &mut Table, port: u16, id: FlowId, now: Moment) {
    assert_eq!(table.observe(id, Direction::Original, &tcp(port, FIN_ACK, 100, 500), now), Observed::Active);
    assert_eq!(table.observe(id, Direction::Reply, &reply(port, FIN_ACK, 500, 101), now), Observed::Active);
    assert_eq!(table.observe(id, Direction::Original, &tcp(port, ACK, 101, 501), now), Observed::Closed);
}

#[test]
fn an_idle_time_out_shorter_than_the_handshakes_is_kept() {
    let timeouts = FlowTimeouts { tcp: Duration::from_secs(1), ..FlowTimeouts::default() };
    let mut table = Table::new(FlowLimits { flows: 4, half_open: 4 }, timeouts, SEED);
    let id = establish(&mut table, 1000, secs(1));
    assert_eq!(expire(&mut table, secs(3)), [(EndCause::Idle, None)]);
    let late = table.observe(id, Direction::Original, &tcp(1000, ACK, 100, 500), secs(3));
    assert_eq!(late, Observed::Late(Reason::FlowIdleExpired));
}

fn expire(table: &mut Table, now: Moment) -> Vec<(EndCause, Option<u32>)> {
    let mut budget = u32::MAX;
    std::iter::from_fn(|| table.poll_expired(now, &mut budget)).map(|ended| (ended.cause, ended.user)).collect()
}

#[test]
fn a_flow_is_found_from_both_sides_and_by_no_other_tuple() {
    for spec in [PacketSpec::tcp4(b""), PacketSpec::tcp6(b"")] {
        let mut table = table(4, 4);
        let syn = meta(&spec.clone().with_flags(SYN));
        let id = table.open(&syn, 7, 1, secs(1)).unwrap().id;
        assert_eq!(table.find(&syn.tuple()), Some((id, Direction::Original)));
        assert_eq!(table.find(&syn.tuple().reversed()), Some((id, Direction::Reply)));
        for other in [
            FiveTuple { src_port: 1, ..syn.tuple() },
            FiveTuple { dst_port: 1, ..syn.tuple() },
            FiveTuple { src_port: syn.tuple().dst_port, dst_port: syn.tuple().src_port, ..syn.tuple() },
            FiveTuple { protocol: Protocol::UDP, ..syn.tuple() },
        ] {
            assert_eq!(table.find(&other), None, "{other}");
        }
        let entry = table.get(id).unwrap();
        assert_eq!((entry.verdict, entry.epoch, entry.ended(), entry.tuple()), (7, 1, None, &syn.tuple()));
    }
}

#[test]
fn only_a_syn_opens_a_tcp_flow() {
    let mut table = table(4, 4);
    for flags in [ACK, SYN_ACK, FIN_ACK, RST, SYN.union(RST), SYN.union(TcpFlags::FIN)] {
        assert_eq!(table.open(&tcp(1, flags, 0, 0), 0, 1, secs(0)).err(), Some(Reason::FlowUnknown));
    }
    assert!(table.is_empty());
}

#[test]
fn an_entry_tells_when_its_flow_began_and_had_its_last_packet() {
    let mut table = table(4, 4);
    let id = establish(&mut table, 1, secs(0));
    close(&mut table, 1, id, secs(1));
    let entry = table.get(id).unwrap();
    assert_eq!((entry.first_seen(), entry.last_seen()), (secs(0), secs(1)));
}

#[test]
fn stragglers_of_a_closed_flow_are_late_and_a_syn_takes_its_place() {
    let mut table = table(1, 1);
    let old = establish(&mut table, 1, secs(0));
    table.get_mut(old).unwrap().user = Some(42);
    close(&mut table, 1, old, secs(1));
    let late = table.observe(old, Direction::Original, &tcp(1, ACK, 101, 501), secs(2));
    assert_eq!(late, Observed::Late(Reason::FlowClosed));
    let syn = tcp(1, SYN, 7000, 0);
    assert_eq!(table.observe(old, Direction::Original, &syn, secs(3)), Observed::Reopen);
    let opened = table.open(&syn, 8, 2, secs(3)).unwrap();
    let replaced = opened.replaced.unwrap();
    assert_eq!((replaced.id, replaced.cause, replaced.user), (old, EndCause::Closed, Some(42)));
    assert!(table.get(old).is_none() && table.get(opened.id).is_some());
    assert_eq!(old.index(), opened.id.index());
    assert_eq!(table.observe(old, Direction::Original, &syn, secs(3)), Observed::Late(Reason::FlowClosed));
}

#[test]
fn an_idle_flow_ends_at_its_timeout_and_is_remembered() {
    let mut table = table(4, 4);
    let id = establish(&mut table, 1, secs(0));
    table.get_mut(id).unwrap().user = Some(5);
    assert_eq!(table.observe(id, Direction::Original, &tcp(1, ACK, 100, 500), secs(100)), Observed::Active);
    assert!(expire(&mut table, Moment::from_nanos(secs(450).as_nanos() - 1)).is_empty());
    assert_eq!(expire(&mut table, secs(450)), [(EndCause::Idle, Some(5))]);
    assert_eq!((table.live_len(), table.len()), (0, 1));
    let late = table.observe(id, Direction::Original, &tcp(1, ACK, 100, 500), secs(451));
    assert_eq!(late, Observed::Late(Reason::FlowIdleExpired));
    assert_eq!(table.observe(id, Direction::Original, &tcp(1, SYN, 7, 0), secs(452)), Observed::Reopen);
    assert!(expire(&mut table, secs(800)).is_empty());
    assert_eq!((table.len(), table.next_deadline()), (0, None));
}

#[test]
fn a_handshake_that_is_not_finished_in_time_is_forgotten_however_often_the_syn_comes() {
    let mut table = table(4, 4);
    let id = open(&mut table, 1, secs(0));
    assert_eq!(table.observe(id, Direction::Original, &tcp(1, SYN, 99, 0), secs(9)), Observed::Active);
    assert_eq!(expire(&mut table, secs(10)), [(EndCause::HalfOpen, None)]);
    assert_eq!((table.len(), table.half_open_len()), (0, 0));
}

#[test]
fn udp_lives_longer_once_answered_and_other_protocols_longest() {
    let udp = meta(&PacketSpec::udp4(b"q"));
    let gre = meta(&PacketSpec { protocol: Protocol(47), ..PacketSpec::tcp4(b"") });
    let mut table = table(4, 4);
    table.open(&udp, 0, 1, secs(0)).unwrap();
    table.open(&gre, 0, 1, secs(0)).unwrap();
    assert_eq!(expire(&mut table, secs(30)), [(EndCause::Idle, None)]);
    let opened = table.open(&udp, 0, 1, secs(30)).unwrap();
    table.observe(opened.id, Direction::Reply, &meta(&PacketSpec::udp4(b"a").reply()), secs(31));
    assert!(expire(&mut table, secs(210)).is_empty());
    assert_eq!(expire(&mut table, secs(211)), [(EndCause::Idle, None)]);
    assert!(expire(&mut table, secs(599)).is_empty());
    assert_eq!(expire(&mut table, secs(600)), [(EndCause::Idle, None)]);
}

#[test]
fn limits_hold_and_ended_flows_give_way_longest_ended_first() {
    let mut table = table(3, 2);
    open(&mut table, 1, secs(0));
    open(&mut table, 2, secs(0));
    assert_eq!(table.open(&tcp(3, SYN, 9, 0), 0, 1, secs(0)).err(), Some(Reason::HalfOpenLimit));
    let mut table = self::table(3, 3);
    let ids: Vec<FlowId> = (1..=3).map(|port| establish(&mut table, port, secs(0))).collect();
    assert_eq!(table.open(&tcp(4, SYN, 9, 0), 0, 1, secs(0)).err(), Some(Reason::FlowLimit));
    close(&mut table, 2, ids[1], secs(1));
    table.close(ids[0], secs(1));
    let replaced = table.open(&tcp(4, SYN, 9, 0), 0, 1, secs(2)).unwrap().replaced.unwrap();
    assert_eq!((replaced.id, replaced.cause), (ids[1], EndCause::Closed));
    let replaced = table.open(&tcp(5, SYN, 9, 0), 0, 1, secs(2)).unwrap().replaced.unwrap();
    assert_eq!(replaced.id, ids[0]);
    assert_eq!(table.open(&tcp(6, SYN, 9, 0), 0, 1, secs(2)).err(), Some(Reason::FlowLimit));
}

#[test]
fn a_live_flow_is_not_opened_twice() {
    let mut table = table(4, 4);
    open(&mut table, 1, secs(0));
    assert_eq!(table.open(&tcp(1, SYN, 1, 0), 0, 1, secs(0)).err(), Some(Reason::FlowUnknown));
    assert_eq!((table.len(), table.half_open_len()), (1, 1));
}

/// The table as one would write it without thinking of speed.
#[derive(Default)]
struct Model {
    flows: HashMap<u16, ModelFlow>,
    endings: u64,
}

struct ModelFlow {
    track: TcpTrack,
    first_seen: Moment,
    last_seen: Moment,
    /// Cause, time, and which ending of all it was.
    ended: Option<(EndCause, Moment, u64)>,
}

impl ModelFlow {
    fn is_half_open(&self) -> bool {
        self.ended.is_none() && self.track.state().is_half_open()
    }

    fn deadline(&self) -> Moment {
        let timeouts = FlowTimeouts::default();
        match self.ended {
            Some((EndCause::Idle, at, _)) => at + timeouts.idle_memory,
            Some((_, at, _)) => at + timeouts.closed_memory,
            None if self.is_half_open() => self.first_seen + timeouts.tcp_half_open,
            None => self.last_seen + timeouts.tcp,
        }
    }
}

impl Model {
    fn end(&mut self, port: u16, cause: EndCause, now: Moment) {
        self.endings += 1;
        if let Some(flow) = self.flows.get_mut(&port) {
            flow.ended = Some((cause, now, self.endings));
        }
    }

    fn half_open(&self) -> usize {
        self.flows.values().filter(|flow| flow.is_half_open()).count()
    }

    /// What the flow of `port` makes of the packet; `None` if it leaves the five-tuple to a new flow.
    fn observe(&mut self, packet: &PacketMeta, direction: Direction, port: u16, now: Moment) -> Option<Observed> {
        let segment = TcpSegment::of(packet);
        let flow = self.flows.get_mut(&port)?;
        if matches!(flow.ended, Some((EndCause::Idle, ..))) {
            let begins_anew = segment.flags.opens() && direction == Direction::Original;
            return (!begins_anew).then_some(Observed::Late(Reason::FlowIdleExpired));
        }
        let was_half_open = flow.is_half_open();
        match flow.track.observe(direction, &segment) {
            TcpOutcome::Reopen => None,
            TcpOutcome::Late => Some(Observed::Late(Reason::FlowClosed)),
            TcpOutcome::To(state) => {
                flow.last_seen = now;
                if state.is_over() && flow.ended.is_none() {
                    self.end(port, EndCause::Closed, now);
                    Some(Observed::Closed)
                } else if was_half_open && !flow.is_half_open() {
                    Some(Observed::Established)
                } else {
                    Some(Observed::Active)
                }
            }
        }
    }

    fn open(&mut self, limits: FlowLimits, packet: &PacketMeta, port: u16, now: Moment) -> Result<(), Reason> {
        if !packet.tcp_flags().opens() {
            return Err(Reason::FlowUnknown);
        }
        if self.half_open() >= limits.half_open as usize {
            return Err(Reason::HalfOpenLimit);
        }
        if !self.flows.contains_key(&port) && self.flows.len() >= limits.flows as usize {
            let ended = self.flows.iter().filter_map(|(port, flow)| flow.ended.map(|(_, _, order)| (order, *port)));
            let victim = ended.min().ok_or(Reason::FlowLimit)?.1;
            self.flows.remove(&victim);
        }
        let track = TcpTrack::open(&TcpSegment::of(packet));
        self.flows.insert(port, ModelFlow { track, first_seen: now, last_seen: now, ended: None });
        Ok(())
    }

    /// What is due at `now`, earliest first.
    fn expire(&mut self, now: Moment) {
        while let Some((_, port)) = self
            .flows
            .iter()
            .map(|(port, flow)| (flow.deadline(), *port))
            .min()
            .filter(|(deadline, _)| *deadline <= now)
        {
            let flow = &self.flows[&port];
            if flow.ended.is_some() || flow.is_half_open() {
                self.flows.remove(&port);
            } else {
                self.end(port, EndCause::Idle, now);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_behaves_as_a_map_that_is_scanned_for_time(
        steps in prop::collection::vec((0u16..6, any::<bool>(), 0usize..6, prop_oneof![0u64..20, 0u64..500]), 1..150),
        limits in (2u32..6, 1u32..5),
    ) {
        let limits = FlowLimits { flows: limits.0, half_open: limits.1 };
        let mut table = Table::new(limits, FlowTimeouts::default(), SEED);
        let mut model = Model::default();
        let mut now = Moment::default();
        for (port, is_reply, kind, wait) in steps {
            // Step by step and off the second, so that the order in which flows end is one order.
            for _ in 0..wait {
                now += Duration::from_secs(1);
                expire(&mut table, now);
                model.expire(now);
            }
            now += Duration::from_millis(1);
            let (flags, sequence, acknowledgement) = [
                (SYN, 99, 0), (ACK, 100, 500), (FIN_ACK, 100, 500), (ACK, 101, 501), (RST, 100, 0), (SYN, 5000, 0),
            ][kind];
            let reply_of = [
                (SYN_ACK, 499, 100), (ACK, 500, 100), (FIN_ACK, 500, 101), (ACK, 501, 101), (RST, 500, 0), (SYN_ACK, 499, 100),
            ][kind];
            let (packet, direction) = if is_reply {
                (reply(port, reply_of.0, reply_of.1, reply_of.2), Direction::Reply)
            } else {
                (tcp(port, flags, sequence, acknowledgement), Direction::Original)
            };
            let expected = match model.observe(&packet, direction, port, now) {
                None => Err(model.open(limits, &packet, port, now)),
                Some(observed) => Ok(observed),
            };
            let observed = table.find(&packet.tuple()).map(|(id, found)| {
                assert_eq!(found, direction);
                table.observe(id, found, &packet, now)
            });
            let outcome = match observed {
                None | Some(Observed::Reopen) => Err(table.open(&packet, 0, 1, now).map(|_| ())),
                Some(observed) => Ok(observed),
            };
            prop_assert_eq!(outcome, expected);
            prop_assert_eq!(table.len(), model.flows.len());
            prop_assert_eq!(table.half_open_len(), model.half_open());
            prop_assert_eq!(table.live_len(), model.flows.values().filter(|flow| flow.ended.is_none()).count());
            prop_assert_eq!(table.iter().count(), table.len());
        }
    }
}
