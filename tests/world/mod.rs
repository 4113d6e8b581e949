//! A world without a kernel: the engine, clients with a TCP and TLS stack of their own, and the far side of the tunnel.
//!
//! Time is virtual: [`World::run_until`] goes from deadline to deadline. Packets between clients and engine can be lost,
//! doubled and swapped, by a seeded generator.

#![allow(dead_code, unused_imports, reason = "each test file uses its part of the world")]
#![expect(clippy::unwrap_used, reason = "a world that does not work fails loudly")]

mod client;
pub mod far_side;
pub mod http2;
pub mod raw;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use vpce::config::{Topology, builtin};
use vpce::engine::{Engine, EngineSetup, Output, Port, Snapshot};
use vpce::lambda::{AccessLog, AccessRecord};
use vpce::packet::parse;
use vpce::sigv4::{Credential, Keyring, Principal};
use vpce::time::{Moment, Now, UnixTime};
use vpce::tls::{LabCa, ServerSetup};
use vpce::tunnel::Side;
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::verdict::Counters;

pub use client::{Client, NAME, Reply, signed};
pub use far_side::FarSide;

/// Noon of a day in November 2026: certificates and signatures are made for it.
pub const START: UnixTime = UnixTime::from_secs(1_795_435_200);

/// What happens to packets between clients and engine, in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// In 1,000 packets.
    pub loss: u64,
    /// In 1,000 packets.
    pub duplication: u64,
    /// In 1,000 packets: swapped with the next.
    pub reordering: u64,
}

/// Everything.
pub struct World {
    pub engine: Engine,
    pub now: Now,
    pub topology: Arc<Topology>,
    pub ca: LabCa,
    pub far: FarSide,
    pub clients: Vec<Client>,
    pub records: Rc<RefCell<Vec<AccessRecord>>>,
    pub faults: Faults,
    pub keyring: Keyring,
    /// Packets of the engine that belonged to no client.
    pub unclaimed: Vec<(Port, Vec<u8>)>,
    meter: Meter,
    by_address: HashMap<(SocketAddr, SocketAddr), usize>,
    rng: u64,
    to_engine: Vec<(Port, Vec<u8>)>,
    from_engine: Packets,
    swapped: [Option<Vec<u8>>; 2],
}

/// Where access records go.
struct Records(Rc<RefCell<Vec<AccessRecord>>>);

impl AccessLog for Records {
    fn record(&self, record: &AccessRecord) {
        self.0.borrow_mut().push(record.clone());
    }
}

/// Packets the engine emitted.
#[derive(Default)]
pub struct Packets {
    pub packets: Vec<(Port, Vec<u8>)>,
    /// Takes nothing while set: a device that is full.
    pub full: bool,
    /// Packets refused while it was full.
    pub refused: usize,
    meter: Meter,
}

/// Something that is measured around each call into the engine, and not in the world around it: allocations, say.
#[derive(Clone, Copy)]
pub struct Meter {
    pub read: fn() -> usize,
    /// What was measured so far.
    pub total: usize,
}

impl Default for Meter {
    fn default() -> Self {
        Self { read: || 0, total: 0 }
    }
}

impl Meter {
    fn around<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let before = (self.read)();
        let result = run();
        // What is measured may shrink.
        self.total = self.total.wrapping_add((self.read)().wrapping_sub(before));
        result
    }
}

impl Output for Packets {
    fn packet(&mut self, port: Port, buffer: &[u8]) -> bool {
        if self.full {
            self.refused += 1;
        } else {
            let packets = &mut self.packets;
            self.meter.around(|| packets.push((port, buffer.to_vec())));
        }
        !self.full
    }
}

/// Access keys of the world's identities: name, id, secret.
pub const KEYS: [(&str, &str, &str); 2] =
    [("Admin", "AKIAADMINADMINADMIN1", "admin-secret"), ("MyUser", "AKIAMYUSERMYUSERMYU1", "myuser-secret")];

/// The quickstart lab, changed.
pub fn quickstart(change: impl FnOnce(&mut Topology)) -> Topology {
    let mut topology = builtin("quickstart").unwrap().check().unwrap();
    change(&mut topology);
    topology
}

impl World {
    /// The quickstart lab.
    pub fn quickstart() -> Self {
        Self::new(quickstart(|_| {}))
    }

    /// The quickstart lab, changed.
    pub fn with(change: impl FnOnce(&mut Topology)) -> Self {
        Self::new(quickstart(change))
    }

    /// Some lab, over its own path.
    pub fn new(topology: Topology) -> Self {
        let topology = Arc::new(topology);
        let now = Now { mono: Moment::from_millis(1_000), unix: START };
        let ca = LabCa::generate(now.unix).unwrap();
        let tls = ServerSetup::new(&ca, &topology.region, now.unix, None).unwrap();
        let keyring = keyring(&topology);
        let mut byte = 0_u8;
        let keys = TunnelKeys::generate(NonZeroUsize::MIN, |bytes| {
            bytes.fill_with(|| {
                byte = byte.wrapping_mul(31).wrapping_add(17);
                byte
            });
        });
        let path = topology.paths.iter().find(|path| path.name == topology.tunnel.path).unwrap().clone();
        let snapshot = snapshot(1, &topology, &keyring);
        let records = Rc::new(RefCell::new(Vec::new()));
        let engine = Engine::new(EngineSetup {
            snapshot,
            worker: 0,
            workers: 1,
            tls,
            sa: keys.pairs()[0].clone(),
            path: path.clone(),
            link: Arc::new(Link::new(Side::Aws.direction(&path))),
            counters: Arc::new(Counters::default()),
            log: Rc::new(Records(Rc::clone(&records))),
            seed: [7; 32],
            offload: true,
            now,
        });
        let far = FarSide::new(&topology, &keys, &path);
        Self {
            engine,
            now,
            topology,
            ca,
            far,
            clients: Vec::new(),
            records,
            faults: Faults::default(),
            keyring,
            unclaimed: Vec::new(),
            meter: Meter::default(),
            by_address: HashMap::new(),
            rng: 0x9e37_79b9_7f4a_7c15,
            to_engine: Vec::new(),
            from_engine: Packets::default(),
            swapped: [None, None],
        }
    }

    /// Makes other faults happen.
    pub fn seed(&mut self, seed: u64) {
        self.rng ^= (seed + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
    }

    /// Puts another topology in force.
    pub fn update(&mut self, epoch: u64, change: impl FnOnce(&mut Topology)) {
        let mut topology = Topology::clone(&self.topology);
        change(&mut topology);
        self.topology = Arc::new(topology);
        self.engine.update(&snapshot(epoch, &self.topology, &self.keyring));
    }

    /// Forgets clients that are closed, so that thousands may follow each other.
    pub fn forget_clients(&mut self) {
        assert!(self.clients.iter().all(Client::is_closed));
        self.clients.clear();
        self.by_address.clear();
        self.records.borrow_mut().clear();
    }

    /// The first eni's address in the family of `address`.
    pub fn eni(&self, address: IpAddr) -> SocketAddr {
        self.eni_number(0, address)
    }

    fn eni_number(&self, eni: usize, address: IpAddr) -> SocketAddr {
        let (_, eni) = self.topology.enis().nth(eni).unwrap();
        let ip = match address {
            IpAddr::V4(_) => IpAddr::V4(eni.ipv4),
            IpAddr::V6(_) => IpAddr::V6(eni.ipv6.unwrap()),
        };
        SocketAddr::new(ip, 443)
    }

    /// A client that connects to the eni, from the VPC or from on-premises; returns its index.
    pub fn connect_from(&mut self, address: &str, port: u16) -> usize {
        self.connect_with(address, port, b"http/1.1")
    }

    /// A client that offers one application protocol.
    pub fn connect_with(&mut self, address: &str, port: u16, alpn: &[u8]) -> usize {
        self.connect(0, address, port, alpn)
    }

    /// A client that connects to the eni of this index, those of all endpoints counted.
    pub fn connect_to(&mut self, eni: usize, address: &str, port: u16) -> usize {
        self.connect(eni, address, port, b"http/1.1")
    }

    fn connect(&mut self, eni: usize, address: &str, port: u16, alpn: &[u8]) -> usize {
        let local = SocketAddr::new(address.parse().unwrap(), port);
        self.connect_address(self.eni_number(eni, local.ip()), local, alpn)
    }

    /// A client that connects to whatever has this address.
    pub fn connect_address(&mut self, remote: SocketAddr, local: SocketAddr, alpn: &[u8]) -> usize {
        let is_far = self.is_far(local.ip());
        self.clients.push(Client::new(&self.ca, local, remote, alpn, is_far));
        self.by_address.insert((local, remote), self.clients.len() - 1);
        self.clients.len() - 1
    }

    /// Connects, and waits until TLS is there.
    pub fn connected(&mut self, address: &str, port: u16) -> usize {
        let client = self.connect_from(address, port);
        assert!(self.run_until(Duration::from_secs(60), |world| !world.clients[client].tls.is_handshaking()));
        client
    }

    /// Sends a request of `Admin`'s over a connection.
    pub fn request(&mut self, client: usize, request: http::Request<&[u8]>) {
        let now = self.now.unix;
        self.clients[client].request("Admin", now, request);
    }

    /// Sends a request and waits for its answer, at most an hour.
    pub fn call(&mut self, client: usize, request: http::Request<&[u8]>) -> Reply {
        self.request(client, request);
        self.reply(client)
    }

    /// Waits for an answer, at most an hour.
    pub fn reply(&mut self, client: usize) -> Reply {
        let mut reply = None;
        self.run_until(Duration::from_secs(3_600), |world| {
            reply = world.clients[client].reply();
            reply.is_some() || world.clients[client].is_closed()
        });
        reply.unwrap_or_else(|| panic!("no answer: {:?} {:?}", self.engine, self.engine.counters().nonzero()))
    }

    /// Goes on until `done`, at most for `limit` of virtual time. Returns whether it was.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now.mono + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if self.clients.iter().any(|client| client.is_dirty) {
                continue;
            }
            let next = self.next_deadline().unwrap_or(Moment::NEVER);
            if next > end {
                self.advance(end.since(self.now.mono));
                self.settle();
                return done(self);
            }
            self.advance(next.since(self.now.mono).max(Duration::from_micros(10)));
        }
    }

    /// The IPv4 addresses that the VPC's resolver gives, sorted.
    pub fn resolve(&mut self, name: &str) -> Vec<String> {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let (from, to) = ("10.0.1.10:5353".parse().unwrap(), "10.0.0.2:53".parse().unwrap());
        self.inject(Port::Router, &raw::udp(from, to, 64, &query.to_vec().unwrap()));
        self.settle();
        let (_, buffer) = self.unclaimed.pop().unwrap();
        let meta = *parse(&buffer[10..]).unwrap().meta();
        let answer = Message::from_vec(&buffer[10..][meta.payload_offset()..]).unwrap();
        let mut addresses: Vec<_> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Lets the world live for a while.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    /// Sends a packet made by hand toward the engine, without a virtio-net header.
    pub fn inject(&mut self, port: Port, packet: &[u8]) {
        let mut buffer = vec![0; 10];
        buffer.extend_from_slice(packet);
        self.to_engine.push((port, buffer));
    }

    /// Sends bytes toward the engine as a device would hand them over.
    pub fn inject_buffer(&mut self, port: Port, buffer: Vec<u8>) {
        self.to_engine.push((port, buffer));
    }

    /// Gives the engine what its tunnel's socket received.
    pub fn receive_frames(&mut self, payload: &mut [u8], segment_size: usize) {
        self.engine.begin_turn(self.now);
        self.engine.handle_frames(payload, segment_size, &mut self.from_engine);
    }

    /// Measures with `read` from now on.
    pub fn measure(&mut self, read: fn() -> usize) {
        self.meter = Meter { read, total: 0 };
        self.from_engine.meter = self.meter;
    }

    /// What was measured inside the engine since [`World::measure`].
    pub fn measured(&self) -> usize {
        self.meter.total.wrapping_sub(self.from_engine.meter.total)
    }

    /// The devices.
    pub fn devices(&mut self) -> &mut Packets {
        &mut self.from_engine
    }

    /// The count of an event or reason, by its code.
    pub fn count(&self, code: &str) -> u64 {
        self.engine.counters().nonzero().iter().find(|(_, known, _)| *known == code).map_or(0, |(_, _, n)| *n)
    }

    /// Exchanges packets at the present moment until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the world does not come to rest: {:?} {:?}", self.engine, self.engine.counters().nonzero());
    }

    /// Closes every client, waits until the engine has forgotten them and their flows, and checks that it kept nothing.
    pub fn wind_down(&mut self) {
        self.faults = Faults::default();
        for client in &mut self.clients {
            client.close();
        }
        self.run_for(Duration::from_secs(800));
        let [clients, hosts, pending] = self.engine.load();
        assert_eq!((clients, pending), (0, 0), "{:?}", self.engine.counters().nonzero());
        assert_eq!((self.engine.flows(), self.engine.body_bytes()), ([0, 0], 0));
        assert_eq!(self.engine.sockets(), hosts);
        let ended = self.count("FLOW_CLOSED") + self.count("FLOW_EXPIRED");
        assert_eq!(self.count("FLOW_CREATED"), ended, "{:?}", self.engine.counters().nonzero());
    }

    /// One exchange. Returns whether anything moved.
    pub fn step(&mut self) -> bool {
        self.step_without_socket(false)
    }

    /// One exchange in which the tunnel's socket takes nothing, if `blocked`.
    pub fn step_without_socket(&mut self, blocked: bool) -> bool {
        let mut moved = false;
        self.meter.around(|| self.engine.begin_turn(self.now));
        for index in 0..self.clients.len() {
            for packet in self.clients[index].poll(self.now.mono) {
                moved = true;
                for packet in self.faulty(0, packet) {
                    self.depart(packet);
                }
            }
        }
        for (port, mut buffer) in std::mem::take(&mut self.to_engine) {
            moved = true;
            self.meter.around(|| self.engine.handle_packet(port, &mut buffer, &mut self.from_engine));
        }
        for (mut payload, segment) in self.far.poll(self.now) {
            moved = true;
            self.meter.around(|| self.engine.handle_frames(&mut payload, segment, &mut self.from_engine));
        }
        moved |= self.meter.around(|| self.engine.poll(&mut self.from_engine));
        if !blocked {
            moved |= self.far.take_frames(self.engine.tunnel(), self.now);
        }
        for packet in std::mem::take(&mut self.far.forwarded) {
            let mut buffer = vec![0; 10];
            buffer.extend_from_slice(&packet);
            if self.owner(&buffer).is_none() {
                self.far.passed.push(packet);
            } else {
                self.arrive(buffer);
            }
            moved = true;
        }
        for (port, buffer) in std::mem::take(&mut self.from_engine.packets) {
            moved = true;
            self.deliver(port, buffer);
        }
        if !moved {
            moved = self.release_swapped();
        }
        moved
    }

    /// Brings a client's packet to the engine, or to its end of the tunnel.
    pub fn depart(&mut self, packet: Vec<u8>) {
        let tuple = parse(&packet[10..]).unwrap().tuple();
        if self.is_far(tuple.src()) {
            self.far.send(&packet[10..], self.now);
        } else {
            // What is no eni's the kernel gives to the router's device.
            let eni = self.topology.enis().find(|(_, eni)| eni.owns(tuple.dst()));
            let port = eni.map_or(Port::Router, |(_, eni)| Port::Eni(usize::from(eni.slot)));
            self.to_engine.push((port, packet));
        }
    }

    fn is_far(&self, address: IpAddr) -> bool {
        let on_premises = &self.topology.on_premises;
        match address {
            IpAddr::V4(a) => on_premises.cidr.contains(&a),
            IpAddr::V6(a) => on_premises.cidr6.is_some_and(|net| net.contains(&a)),
        }
    }

    fn deliver(&mut self, port: Port, buffer: Vec<u8>) {
        if self.owner(&buffer).is_none() {
            self.unclaimed.push((port, buffer));
        } else {
            self.arrive(buffer);
        }
    }

    /// Brings a packet to its client, if the path lets it.
    fn arrive(&mut self, buffer: Vec<u8>) {
        for packet in self.faulty(1, buffer) {
            if let Some(client) = self.owner(&packet) {
                self.clients[client].receive(&packet, self.now.mono);
            }
        }
    }

    /// The client that a packet from the engine is for.
    fn owner(&self, buffer: &[u8]) -> Option<usize> {
        let tuple = parse(&buffer[10..]).ok()?.tuple();
        self.by_address.get(&(tuple.dst_socket(), tuple.src_socket())).copied()
    }

    /// What arrives of a packet, with one that it overtook.
    fn faulty(&mut self, way: usize, packet: Vec<u8>) -> Vec<Vec<u8>> {
        let mut arriving = Vec::new();
        if !self.chance(self.faults.loss) {
            if self.chance(self.faults.duplication) {
                arriving.push(packet.clone());
            }
            if self.swapped[way].is_none() && self.chance(self.faults.reordering) {
                self.swapped[way] = Some(packet);
                return arriving;
            }
            arriving.push(packet);
        }
        arriving.extend(self.swapped[way].take());
        arriving
    }

    /// Nothing follows that could overtake them.
    fn release_swapped(&mut self) -> bool {
        let [to_engine, to_client] = std::mem::take(&mut self.swapped);
        let moved = to_engine.is_some() || to_client.is_some();
        if let Some(packet) = to_engine {
            self.depart(packet);
        }
        if let Some(packet) = to_client
            && let Some(client) = self.owner(&packet)
        {
            self.clients[client].receive(&packet, self.now.mono);
        }
        moved
    }

    /// A number below `limit`, the same in every run.
    pub fn random(&mut self, limit: u64) -> u64 {
        // xorshift64*
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        (self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random(1_000) < per_mille
    }

    fn next_deadline(&mut self) -> Option<Moment> {
        let now = self.now.mono;
        let clients = self.clients.iter_mut().filter_map(|client| client.deadline(now));
        let frames = self.engine.tunnel().next_deadline();
        let others = [self.engine.next_deadline(), frames, self.far.deadline(now)];
        clients.chain(others.into_iter().flatten()).min()
    }
}

fn keyring(topology: &Topology) -> Keyring {
    let credentials = topology.identities.iter().filter_map(|identity| {
        let (_, id, secret) = KEYS.iter().find(|(name, ..)| *name == identity.name)?;
        let principal = Arc::new(Principal::from_arn(&identity.arn).unwrap());
        Some(Credential::new(*id, *secret, principal))
    });
    Keyring::new(credentials).unwrap()
}

fn snapshot(epoch: u64, topology: &Arc<Topology>, keyring: &Keyring) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(epoch, Arc::clone(topology), keyring.clone(), false, START, |_| None).unwrap())
}

/// Where `echo` is invoked.
pub const INVOKE: &str = "/2015-03-31/functions/echo/invocations";

/// An invocation of `echo`.
pub fn invoke(payload: &[u8]) -> http::Request<&[u8]> {
    http::Request::post(INVOKE).body(payload).unwrap()
}

/// A JSON string of `len` bytes, different everywhere.
pub fn payload(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 24) as u8 % 26
    });
    let text = letters.take(len.saturating_sub(2));
    std::iter::once(b'"').chain(text).chain(std::iter::once(b'"')).collect()
}
