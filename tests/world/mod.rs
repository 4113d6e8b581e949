//! A world without a kernel: the engine, a client with a TCP and TLS stack of its own, and the far side of the tunnel.
//!
//! Time is virtual: [`World::run_until`] goes from deadline to deadline. Packets on the client's side can be lost, doubled
//! and swapped, by a seeded generator.

#![allow(dead_code, reason = "each test file uses its part of the world")]

mod client;
pub mod far_side;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use vpce::config::{Topology, builtin};
use vpce::engine::{Engine, EngineSetup, Output, Port, Snapshot};
use vpce::lambda::{AccessLog, AccessRecord};
use vpce::sigv4::{Credential, Keyring, Principal};
use vpce::time::{Moment, Now, UnixTime};
use vpce::tls::{LabCa, ServerSetup};
use vpce::tunnel::Side;
use vpce::tunnel::keys::TunnelKeys;
use vpce::tunnel::path::Link;
use vpce::verdict::Counters;

pub use client::Client;
pub use far_side::FarSide;

/// Noon of a day in November 2026: certificates and signatures are made for it.
pub const START: UnixTime = UnixTime::from_secs(1_795_435_200);

/// What happens to packets between client and eni.
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
    rng: u64,
    to_engine: Vec<(Port, Vec<u8>)>,
    from_engine: Packets,
    held_back: Option<Vec<u8>>,
}

/// Where access records go.
struct Records(Rc<RefCell<Vec<AccessRecord>>>);

impl AccessLog for Records {
    fn record(&self, record: AccessRecord) {
        self.0.borrow_mut().push(record);
    }
}

/// Packets the engine emitted.
#[derive(Default)]
pub struct Packets {
    pub packets: Vec<(Port, Vec<u8>)>,
    /// Takes nothing while set: a device that is full.
    pub full: bool,
}

impl Output for Packets {
    fn packet(&mut self, port: Port, buffer: &[u8]) -> bool {
        if !self.full {
            self.packets.push((port, buffer.to_vec()));
        }
        !self.full
    }
}

/// Access keys of the world's identities: name, id, secret.
pub const KEYS: [(&str, &str, &str); 2] =
    [("Admin", "AKIAADMINADMINADMIN1", "admin-secret"), ("MyUser", "AKIAMYUSERMYUSERMYU1", "myuser-secret")];

impl World {
    /// The quickstart lab.
    pub fn quickstart() -> Self {
        Self::new(builtin("quickstart").unwrap().check().unwrap())
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
            rng: 0x9e37_79b9_7f4a_7c15,
            to_engine: Vec::new(),
            from_engine: Packets::default(),
            held_back: None,
        }
    }

    /// Puts another topology in force.
    pub fn update(&mut self, topology: Topology, epoch: u64) {
        self.topology = Arc::new(topology);
        self.engine.update(&snapshot(epoch, &self.topology, &self.keyring));
    }

    /// A client on a VPC host that connects to the eni; returns its index.
    pub fn connect_from(&mut self, address: &str, port: u16) -> usize {
        let from = SocketAddr::new(address.parse().unwrap(), port);
        let eni = &self.topology.endpoint.enis[0];
        let to = match from.ip() {
            IpAddr::V4(_) => IpAddr::V4(eni.ipv4),
            IpAddr::V6(_) => IpAddr::V6(eni.ipv6.unwrap()),
        };
        self.clients.push(Client::new(&self.ca, from, SocketAddr::new(to, 443)));
        self.clients.len() - 1
    }

    /// Goes on until `done`, at most for `limit` of virtual time. Returns whether it was.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now.mono + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
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

    /// Takes the packets that went to nobody's connection.
    pub fn emitted(&mut self) -> &mut Packets {
        &mut self.from_engine
    }

    /// The count of an event or reason, by its code.
    pub fn count(&self, code: &str) -> u64 {
        self.engine.counters().nonzero().iter().find(|(_, known, _)| *known == code).map_or(0, |(_, _, n)| *n)
    }

    /// Exchanges packets at the present moment until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the world does not come to rest: {:?} {:?}", self.engine, self.engine.counters().nonzero());
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        self.engine.begin_turn(self.now);
        for index in 0..self.clients.len() {
            for packet in self.clients[index].poll(self.now.mono) {
                moved = true;
                self.cross(packet, true);
            }
        }
        if let Some(held) = self.held_back.take() {
            self.to_engine.push((Port::Eni(0), held));
        }
        for (port, mut buffer) in std::mem::take(&mut self.to_engine) {
            moved = true;
            self.engine.handle_packet(port, &mut buffer, &mut self.from_engine);
        }
        for (mut payload, segment) in self.far.poll(self.now) {
            moved = true;
            self.engine.handle_frames(&mut payload, segment, &mut self.from_engine);
        }
        moved |= self.engine.poll(&mut self.from_engine);
        moved |= self.far.take_frames(self.engine.tunnel(), self.now);
        for (port, buffer) in std::mem::take(&mut self.from_engine.packets) {
            moved = true;
            self.deliver(port, buffer);
        }
        moved
    }

    /// Brings a packet of a client to the engine, if the path lets it.
    fn cross(&mut self, packet: Vec<u8>, _: bool) {
        if self.chance(self.faults.loss) {
            return;
        }
        if self.chance(self.faults.duplication) {
            self.to_engine.push((Port::Eni(0), packet.clone()));
        }
        if self.held_back.is_none() && self.chance(self.faults.reordering) {
            self.held_back = Some(packet);
            return;
        }
        self.to_engine.push((Port::Eni(0), packet));
    }

    fn deliver(&mut self, port: Port, buffer: Vec<u8>) {
        let copies = match () {
            () if self.chance(self.faults.loss) => 0,
            () if self.chance(self.faults.duplication) => 2,
            () => 1,
        };
        let Some(client) = self.clients.iter_mut().find(|client| client.owns(&buffer)) else {
            self.unclaimed_mut().push((port, buffer));
            return;
        };
        for _ in 0..copies {
            client.receive(&buffer, self.now.mono);
        }
    }

    fn unclaimed_mut(&mut self) -> &mut Vec<(Port, Vec<u8>)> {
        &mut self.far.unclaimed
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        // xorshift64*: enough to scatter faults, and the same in every run.
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        per_mille > 0 && self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33 & 0x3ff < per_mille * 1_024 / 1_000
    }

    fn next_deadline(&mut self) -> Option<Moment> {
        let now = self.now.mono;
        let clients = self.clients.iter_mut().filter_map(|client| client.deadline(now));
        let others = [self.engine.next_deadline(), self.far.deadline(now)];
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
