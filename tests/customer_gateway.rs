//! The customer gateway in real namespaces: kernel TCP in the VPC talks to kernel TCP on-premises through the tunnel.
//!
//! Each test runs this program again inside new namespaces (no root needed), builds the quickstart network there, and
//! plays the AWS side of the tunnel itself with a plain TUN device. Without user namespaces or /dev/net/tun the tests say
//! so and check nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test of real sockets and processes, which fails loudly"
)]

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vpce::config::{PathDirection, Topology, builtin};
use vpce::edge::namespace::{NetworkNamespace, write_id_maps};
use vpce::edge::plumbing;
use vpce::edge::sys::{Program, start_in_namespaces};
use vpce::edge::tun::{self, TunMode, TunQueue};
use vpce::edge::udp::{Receipt, TunnelSocket, flush};
use vpce::lab::network::Network;
use vpce::onprem::customer_gateway::{CustomerGateway, device_mtu};
use vpce::time::Moment;
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::tunnel::{Received, Side, TunnelEnd, batch};
use vpce::verdict::{Counters, Event, Reason};

/// Set inside: the test's name.
const INSIDE: &str = "VPCE_TEST_INSIDE";
/// Bytes that cross in each direction of a connection.
const BULK: usize = 4 << 20;
const HEADER: [u8; tun::HEADER_LEN] = [0; tun::HEADER_LEN];

/// Runs `body` in new namespaces: a second run of this program, for the test `name` alone.
fn inside(name: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body();
    }
    if let Err(fault) = tun::open_device_file() {
        return println!("skipped: {fault}");
    }
    let text = |text: &str| CString::new(text).unwrap();
    let path = std::env::current_exe().unwrap();
    let mut environment: Vec<_> = std::env::vars().map(|(name, value)| text(&format!("{name}={value}"))).collect();
    environment.push(text(&format!("{INSIDE}={name}")));
    let program = Program {
        path: text(path.to_str().unwrap()),
        arguments: ["test", "--exact", name, "--nocapture", "--test-threads=1"].map(text).into(),
        environment,
        descriptors: vec![
            std::io::stdin().as_fd().try_clone_to_owned().unwrap(),
            std::io::stderr().as_fd().try_clone_to_owned().unwrap(),
            std::io::stderr().as_fd().try_clone_to_owned().unwrap(),
        ],
    };
    let gated = match start_in_namespaces(&program) {
        Ok(gated) => gated,
        Err(error) => return println!("skipped: no user namespaces: {error}"),
    };
    write_id_maps(gated.pid()).unwrap();
    let pid = gated.open().unwrap();
    let (_, status) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0), "{name} failed inside its namespaces");
}

/// A network with a running gateway and the AWS side of its tunnel.
struct World {
    topology: Topology,
    network: Network,
    gateway: Arc<Counters>,
    aws: Arc<Counters>,
    stop: Box<dyn FnOnce()>,
}

impl World {
    /// `direction` is what the path does, either way.
    fn new(mode: TunMode, workers: usize, direction: PathDirection) -> Self {
        let mut topology = builtin("quickstart").unwrap().check().unwrap();
        let profile = topology.paths.iter_mut().find(|profile| profile.name == "lan").unwrap();
        (profile.mtu, profile.to_aws, profile.to_customer) = (1500, direction, direction);
        let profile = profile.clone();
        let network = Network::build(&topology).unwrap();
        let keys = TunnelKeys::generate(NonZeroUsize::new(workers).unwrap(), |bytes| {
            aws_lc_rs::rand::fill(bytes).unwrap();
        });

        network.customer_gateway.enter().unwrap();
        let mtu = device_mtu(&topology).unwrap().into();
        let device = plumbing::open_customer_gateway(&topology, mode, 1, mtu).unwrap();
        let mut gateway = CustomerGateway::open(&topology, &keys, device, 7).unwrap();
        let (gateway_counters, shutdown) = (gateway.counters(), gateway.shutdown());
        let gateway_thread = thread::spawn(move || gateway.run().unwrap());

        network.router.enter().unwrap();
        let device = plumbing::open_endpoint(&topology, TunMode::Plain, 1).unwrap();
        let tunnel = &topology.tunnel;
        let sockets: Vec<_> = (0..workers as u16)
            .map(|worker| {
                let port = tunnel.port + worker;
                TunnelSocket::open((tunnel.aws_outside, port).into(), (tunnel.customer_outside, port).into()).unwrap()
            })
            .collect();
        let link = Arc::new(Link::new(Side::Aws.direction(&profile)));
        let end = TunnelEnd::new(Side::Aws, keys.pairs(), tunnel.replay_window, &profile, link, 9);
        let (aws, stopped) = (Arc::new(Counters::default()), Arc::new(AtomicBool::new(false)));
        let far = AwsSide { device: device.vpc.into_queues().remove(0), sockets, end, counters: aws.clone() };
        let aws_thread = thread::spawn({
            let stopped = stopped.clone();
            move || far.run(&stopped)
        });
        let stop = Box::new(move || {
            shutdown.shut_down().unwrap();
            gateway_thread.join().unwrap();
            stopped.store(true, Ordering::Release);
            aws_thread.join().unwrap();
        });
        Self { topology, network, gateway: gateway_counters, aws, stop }
    }

    fn host(&self, name: &str) -> (NetworkNamespace, [IpAddr; 2]) {
        let host = self.topology.hosts.iter().find(|host| host.name == name).unwrap();
        let namespace = self.network.find(&self.topology, name).unwrap().try_clone().unwrap();
        (namespace, [host.ipv4.into(), host.ipv6.unwrap().into()])
    }

    /// A connection from one machine to another that carries [`BULK`] bytes there and back; how long connecting took.
    fn transfer(&self, from: &str, to: &str, v6: bool) -> Duration {
        let (from, _) = self.host(from);
        let (to, addresses) = self.host(to);
        let address = SocketAddr::from((addresses[usize::from(v6)], 8080));
        let (ready, listening) = std::sync::mpsc::channel();
        let echo = thread::spawn(move || {
            to.enter().unwrap();
            let listener = TcpListener::bind(address).unwrap();
            ready.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = vec![0; BULK];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let client = thread::spawn(move || {
            from.enter().unwrap();
            listening.recv().unwrap();
            let started = Instant::now();
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
            let took = started.elapsed();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let sent: Vec<u8> = (0..BULK as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            stream.write_all(&sent).unwrap();
            let mut returned = vec![0; BULK];
            stream.read_exact(&mut returned).unwrap();
            assert!(sent == returned, "the bytes came back changed");
            took
        });
        let took = client.join().unwrap();
        echo.join().unwrap();
        took
    }

    /// Waits until every frame sent was received, stops both sides and hands their counters over: gateway, AWS.
    fn stop(self) -> (Arc<Counters>, Arc<Counters>) {
        let arrived = |from: &Counters, to: &Counters| from.event(Event::FramesTx) == to.event(Event::FramesRx);
        wait_until(|| arrived(&self.gateway, &self.aws) && arrived(&self.aws, &self.gateway));
        (self.stop)();
        println!("gateway: {:?}", self.gateway.nonzero());
        println!("aws: {:?}", self.aws.nonzero());
        (self.gateway, self.aws)
    }
}

/// The AWS side of the tunnel, without an endpoint: packets from the VPC's router go into the tunnel, and back.
struct AwsSide {
    device: TunQueue,
    sockets: Vec<TunnelSocket>,
    end: TunnelEnd,
    counters: Arc<Counters>,
}

impl AwsSide {
    fn run(mut self, stopped: &AtomicBool) {
        let origin = Instant::now();
        let mut buffer = vec![0; 1 << 17];
        let mut turn = 0_usize;
        while !stopped.load(Ordering::Acquire) {
            let now = Moment::default() + origin.elapsed();
            while let Ok(len) = self.device.recv(&mut buffer) {
                // Every SA in turn: the gateway is to take whatever comes.
                turn += 1;
                let sa = turn % self.sockets.len();
                _ = self.end.send(sa, &buffer[tun::HEADER_LEN..len], now, &self.counters);
            }
            for socket in &self.sockets {
                while let Receipt::Payload { len, segment_size } = socket.recv(&mut buffer) {
                    for frame in batch::frames(&mut buffer[..len], segment_size) {
                        if let Received::Packet { packet, .. } = self.end.handle_frame(frame, now, &self.counters) {
                            self.device.send(&[&HEADER, &*packet].concat()).unwrap();
                        }
                    }
                }
            }
            flush(&mut self.end, &self.sockets, now, &self.counters);
            let now = Moment::default() + origin.elapsed();
            let wait = self.end.next_deadline().map_or(Duration::from_millis(50), |due| due.since(now));
            let mut fds: Vec<_> = self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            fds.push(PollFd::new(&self.device, PollFlags::IN));
            poll(&mut fds, Some(&Timespec::try_from(wait.min(Duration::from_millis(50))).unwrap())).unwrap();
        }
    }
}

/// No reason but these was counted.
fn only(counters: &Counters, reasons: &[Reason]) {
    let unexpected: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !reasons.contains(reason))
        .filter(|reason| counters.reason(**reason) != 0)
        .map(|reason| (reason.code(), counters.reason(*reason)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

fn bulk_crosses(mode: TunMode) {
    let world = World::new(mode, 2, PathDirection::default());
    for v6 in [false, true] {
        world.transfer("app", "onprem", v6);
        world.transfer("onprem", "app", v6);
    }
    let (gateway, aws) = world.stop();
    // Each of four connections has a SYN and a SYN-ACK, and both sides' links announce more than the tunnel carries.
    assert_eq!(gateway.event(Event::MssClamped), 8);
    let least = (8 * BULK / 1438) as u64;
    assert!(gateway.event(Event::Forwarded) > least);
    assert!(gateway.event(Event::FramesRx) - gateway.event(Event::PacketsTx) <= gateway.reason(Reason::CannotRoute));
    // The kernel's own multicast reports on its TUN devices belong nowhere.
    only(&gateway, &[Reason::CannotRoute]);
    only(&aws, &[]);
    let super_segments = gateway.event(Event::PacketsRx) < gateway.event(Event::FramesTx);
    assert_eq!(super_segments, mode == TunMode::Offload, "super-segments are the offloaded mode's");
}

#[test]
fn bulk_crosses_both_ways_in_both_families_with_offloads() {
    inside("bulk_crosses_both_ways_in_both_families_with_offloads", || bulk_crosses(TunMode::Offload));
}

#[test]
fn bulk_crosses_both_ways_in_both_families_without_offloads() {
    inside("bulk_crosses_both_ways_in_both_families_without_offloads", || bulk_crosses(TunMode::Plain));
}

#[test]
fn a_path_with_delay_loss_and_rate_slows_down_and_loses_but_carries_everything() {
    inside("a_path_with_delay_loss_and_rate_slows_down_and_loses_but_carries_everything", || {
        let direction = PathDirection {
            delay: Duration::from_millis(4),
            jitter: Duration::from_millis(1),
            loss: 0.002,
            rate_bps: Some(400_000_000),
            rate_pps: Some(140_000),
            queue_bytes: 256 << 10,
        };
        let world = World::new(TunMode::Offload, 1, direction);
        let took = world.transfer("app", "onprem", false);
        assert!(took >= Duration::from_millis(6), "connecting took {took:?}, less than both delays");
        let (gateway, aws) = world.stop();
        assert!(gateway.reason(Reason::TunnelLoss) + aws.reason(Reason::TunnelLoss) > 0);
        for counters in [&gateway, &aws] {
            only(counters, &[Reason::TunnelLoss, Reason::TunnelQueueFull, Reason::CannotRoute]);
        }
    });
}

#[test]
fn packets_that_do_not_belong_into_the_tunnel_are_counted_and_go_no_further() {
    inside("packets_that_do_not_belong_into_the_tunnel_are_counted_and_go_no_further", || {
        let world = World::new(TunMode::Offload, 1, PathDirection::default());
        // The gateway's own outside address is no address of the on-premises network.
        world.network.customer_gateway.enter().unwrap();
        let outside = SocketAddr::from((world.topology.tunnel.customer_outside, 0));
        let socket = std::net::UdpSocket::bind(outside).unwrap();
        for _ in 0..100 {
            socket.send_to(b"spoofed", SocketAddr::from(([10, 0, 1, 10], 9))).unwrap();
        }
        wait_until(|| world.gateway.reason(Reason::CannotRoute) >= 100);
        let (gateway, aws) = world.stop();
        assert_eq!((gateway.event(Event::FramesTx), aws.event(Event::FramesRx)), (0, 0));
        only(&gateway, &[Reason::CannotRoute]);
    });
}

#[test]
fn a_tunnel_that_was_dead_carries_packets_as_soon_as_the_other_end_is_there() {
    inside("a_tunnel_that_was_dead_carries_packets_as_soon_as_the_other_end_is_there", || {
        let mut world = World::new(TunMode::Offload, 1, PathDirection::default());
        (std::mem::replace(&mut world.stop, Box::new(|| ())))();
        drop(world);

        // The gateway alone: frames meet a closed port.
        let mut topology = builtin("quickstart").unwrap().check().unwrap();
        topology.tunnel.path = "lan".into();
        let network = Network::build(&topology).unwrap();
        let keys = TunnelKeys::generate(NonZeroUsize::MIN, |bytes| aws_lc_rs::rand::fill(bytes).unwrap());
        network.customer_gateway.enter().unwrap();
        let mtu = device_mtu(&topology).unwrap().into();
        let device = plumbing::open_customer_gateway(&topology, TunMode::Offload, 1, mtu).unwrap();
        let mut gateway = CustomerGateway::open(&topology, &keys, device, 7).unwrap();
        let (counters, shutdown) = (gateway.counters(), gateway.shutdown());
        let running = thread::spawn(move || gateway.run().unwrap());
        let socket = std::net::UdpSocket::bind(SocketAddr::from((topology.on_premises.router, 0))).unwrap();
        let target = SocketAddr::from(([10, 0, 1, 10], 9));
        // More than once: the kernel limits how many "port unreachable" it sends, to all namespaces together.
        wait_until(|| {
            _ = socket.send_to(b"into the void", target);
            counters.reason(Reason::TunnelUnreachable) > 0
        });

        network.router.enter().unwrap();
        let tunnel = &topology.tunnel;
        let aws =
            TunnelSocket::open((tunnel.aws_outside, tunnel.port).into(), (tunnel.customer_outside, tunnel.port).into())
                .unwrap();
        let mut buffer = vec![0; 1 << 16];
        wait_until(|| {
            _ = socket.send_to(b"somebody there", target);
            matches!(aws.recv(&mut buffer), Receipt::Payload { .. })
        });
        shutdown.shut_down().unwrap();
        running.join().unwrap();
    });
}

/// Waits for a state, not for a time.
fn wait_until(mut reached: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !reached() {
        assert!(Instant::now() < limit, "it never came to that");
        thread::yield_now();
    }
}
