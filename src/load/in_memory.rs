//! Packets of known flows through parse_meta, flow and verdict, in memory: what a packet costs before TCP sees it.
//!
//! One thread, no system calls, no device. The stages are the endpoint's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::{PacketBuilder, TcpHeader};

use super::machine::{CpuTime, Machine, ProcessUse, rss, thread_time};
use super::meter::Meter;
use super::report::Measured;
use super::window::Window;
use crate::config::Topology;
use crate::edge::{Fault, OrFault};
use crate::eni::{EniPacket, EniSnapshot, EniStage, FlowLogSettings, Ingress, Origin};
use crate::flow::FlowSeed;
use crate::packet::{VirtioHeader, parse_meta};
use crate::time::{Moment, Now, UnixTime};
use crate::verdict::{Counters, Reason};

/// Packets between two looks at the clock.
const BATCH: usize = 256;
/// Visits all flows in no order that a cache could guess, as it has no factor in common with their numbers.
const STRIDE: usize = 7919;
/// Bytes of payload in each packet.
const PAYLOAD: usize = 100;
/// Most flows: client addresses times ports.
const FLOWS: u32 = 1 << 20;

/// How far packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Way {
    /// Parsed and forgotten: what reading a packet costs at least.
    Parse,
    /// Parsed, found in the flow table, judged.
    Verdict,
}

/// Sends packets of `flows` known flows through the stages, until `is_stopped` says so or the time is over. The topology's
/// first eni must admit tcp/443 from its own subnet.
///
/// # Errors
/// When a packet meets another verdict than it should.
pub fn run(
    topology: &Topology,
    flows: u32,
    way: Way,
    [warm_up, duration]: [Duration; 2],
    is_stopped: impl Fn() -> bool,
) -> Result<Measured, Fault> {
    let now = Now { mono: Moment::from_millis(1), unix: UnixTime::from_secs(60) };
    let counters = Counters::default();
    let snapshot = Arc::new(EniSnapshot::compile(topology, 1));
    let seed = FlowSeed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
    let mut stage: EniStage<u32> = EniStage::new(snapshot, seed, FlowLogSettings::default(), now);
    let mut packets = Vec::new();
    for flow in 0..flows.min(FLOWS) {
        let mut syn = packet(topology, flow, true)?;
        let meta = parse_meta(&syn).map_err(denied)?;
        let first = EniPacket { bytes: &mut syn, meta: &meta, header: &VirtioHeader::default() };
        let verdict = stage.ingress(Origin::Vpc, first, now, &counters);
        if !matches!(verdict, Ingress::Deliver { first: true, .. }) {
            return Err(Fault::new(format!("a flow is not admitted: {verdict:?}")));
        }
        packets.push(packet(topology, flow, false)?);
    }
    let mut at = 0;
    let mut batch = |window: Option<&mut Window>| {
        let start = Instant::now();
        for _ in 0..BATCH {
            at = (at + STRIDE) % packets.len();
            let bytes = &mut packets[at];
            let meta = parse_meta(std::hint::black_box(bytes)).map_err(denied)?;
            if way == Way::Parse {
                std::hint::black_box(meta);
                continue;
            }
            let packet = EniPacket { bytes, meta: &meta, header: &VirtioHeader::default() };
            let verdict = stage.ingress(Origin::Vpc, packet, now, &counters);
            if !matches!(verdict, Ingress::Deliver { first: false, .. }) {
                return Err(Fault::new(format!("a packet of a known flow is not delivered: {verdict:?}")));
            }
        }
        if let Some(window) = window {
            window.packets(start.elapsed(), BATCH, PAYLOAD);
        }
        Ok(())
    };
    let machine = Machine::watch(&[])?;
    let warm = Instant::now() + warm_up;
    while Instant::now() < warm && !is_stopped() {
        batch(None)?;
    }
    let (mut meter, thread) = (Meter::begin(&machine), thread_time());
    let mut window = Window::new(meter.start(), duration, false);
    while Instant::now() < window.end && !is_stopped() {
        batch(Some(&mut window))?;
    }
    let thread = thread_time() - thread;
    meter.stop();
    let mut measured = meter.measured(&window, 0);
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    // No system calls: all of it is user time.
    let cpu = CpuTime { user_s: thread.as_secs_f64(), system_s: 0.0 };
    measured.processes =
        vec![ProcessUse { name: "thread".to_owned(), pid, cpu, rss_bytes: rss(pid).unwrap_or_default() }];
    // All of it is what is measured.
    (measured.load_generator, measured.load_generator_share) = (CpuTime::default(), 0.0);
    Ok(measured)
}

fn denied(reason: Reason) -> Fault {
    Fault::new(format!("a packet of our own is denied: {reason:?}"))
}

/// A TCP packet of this flow: its first one, or one with data.
fn packet(topology: &Topology, flow: u32, is_first: bool) -> Result<Vec<u8>, Fault> {
    let no_eni = || Fault::new("the topology has no eni");
    let (_, eni) = topology.enis().next().ok_or_else(no_eni)?;
    let subnet = topology.subnets.get(eni.subnet).ok_or_else(no_eni)?;
    // Addresses of the eni's subnet from 128 on, 64 of them, and as many ports of each as it takes.
    let client = u32::from(subnet.cidr.network()) + 128 + flow % 64;
    let port = u16::try_from(1024 + flow / 64).or_fault(|| "too many flows")?;
    let mut tcp = TcpHeader::new(port, 443, 1000 + u32::from(!is_first), 8192);
    (tcp.syn, tcp.ack) = (is_first, !is_first);
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(client.to_be_bytes(), eni.ipv4.octets(), 64).tcp_header(tcp);
    let payload = if is_first { &[][..] } else { &[0x5a; PAYLOAD] };
    builder.write(&mut bytes, payload).or_fault(|| "a packet cannot be made")?;
    Ok(bytes)
}
