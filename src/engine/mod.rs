//! The whole endpoint without I/O: the one module that knows every stage.
//!
//! One engine belongs to one worker and shares nothing with another. The edge feeds it with [`Engine::handle_packet`] (from
//! a TUN device) and [`Engine::handle_frames`] (from the tunnel's socket), then calls [`Engine::poll`], which serves every
//! connection that has something to do and hands packets to an [`Output`]; frames for the tunnel wait in
//! [`Engine::tunnel`]. Nothing here reads a clock: each call brings the time of its turn, and [`Engine::next_deadline`] says
//! when to call again if nothing arrives.
//!
//! | file | idea |
//! | --- | --- |
//! | [`routes`] | where a packet is going |
//! | [`ingress`] | what becomes of a packet that arrives |
//! | [`egress`] | how a packet leaves |
//! | [`health`] | enis out of service, and what is in flight on them |
//! | [`forward`] | packets that only pass, between VPC and tunnel |
//! | [`client`] | a client's connection: TCP, TLS, HTTP |
//! | [`host`] | connections to the function host |
//! | [`authority`] | who is calling, and whether they may |
//! | [`serve`] | a request's way to the function host and back |
//! | [`ready`], [`timers`] | who has something to do, and when |

mod authority;
mod client;
mod egress;
mod forward;
mod health;
mod host;
mod ingress;
mod ready;
mod routes;
mod serve;
mod setup;
mod timers;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

pub use egress::{Output, Port};
pub use health::EniLoad;
pub use setup::{EngineSetup, PolicyFaults, Snapshot};

use self::client::{Client, ClientLimits};
use self::egress::Held;
use self::host::{HostConnection, HostPool};
use self::ready::{Parked, ReadyQueue, Task};
use self::routes::Routes;
use self::serve::{ServiceBody, Serving};
use self::timers::Timers;
use crate::dns::Resolver;
use crate::eni::{Denial, EniStage, FlowLogRecord};
use crate::flow::{EndCause, FlowId, TimerWheel};
use crate::packet::{FiveTuple, Protocol};
use crate::tcp::{PacketBuffer, TcpStage};
use crate::time::{Moment, Now};
use crate::tls::ServerSetup;
use crate::tunnel::TunnelEnd;
use crate::verdict::{Counters, Event, Reason};

/// Connections served in one call of [`Engine::poll`] before the edge looks for packets again.
const SERVE_BUDGET: usize = 256;

/// The endpoint, as one worker runs it.
pub struct Engine {
    now: Now,
    routes: Routes,
    eni: EniStage<u32>,
    tcp: TcpStage,
    tls: ServerSetup,
    clients: Slab<Client<ServiceBody>>,
    client_limits: ClientLimits,
    hosts: Slab<HostConnection>,
    host_ports: host::PortTable,
    host_pool: HostPool,
    timers: Timers,
    wheel: TimerWheel,
    ready: ReadyQueue,
    tunnel: TunnelEnd,
    /// Connections with packets for the tunnel, which had no room.
    tunnel_waiters: Parked,
    resolver: Resolver,
    serving: Serving,
    /// The snapshot that requests are judged by.
    current: Rc<RefCell<Arc<Snapshot>>>,
    counters: Arc<Counters>,
    offload: bool,
    out: PacketBuffer,
    held: Held,
    dns_answer: Vec<u8>,
    /// Complete, until the edge takes them.
    flow_records: Vec<FlowLogRecord>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("clients", &self.clients.len())
            .field("hosts", &self.hosts.len())
            .field("flows", self.eni.flows())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Tells the time of a turn. Call it first in each.
    pub fn begin_turn(&mut self, now: Now) {
        self.now = now;
        self.tls.set_time(now.unix);
        self.serving.set_time(now);
        self.timers.advance(now.mono);
    }

    /// Serves what has something to do, within a budget; packets go to `output`. Returns whether there is more to do now.
    pub fn poll(&mut self, output: &mut impl Output) -> bool {
        if !self.release_held(output) {
            return false;
        }
        self.expire();
        if !self.tunnel_waiters.is_empty() && self.tunnel.has_room(usize::from(self.tunnel.inner_mtu())) {
            self.tunnel_waiters.release();
        }
        for _ in 0..SERVE_BUDGET {
            let Some(task) = self.ready.pop() else { break };
            match task {
                Task::Client(slot) => self.drive_client(slot, output),
                Task::Host(slot) => self.drive_host(slot),
                Task::Events => self.serving.drive_events(),
            }
            if !self.held.is_empty() {
                return false;
            }
        }
        self.serving.start_due_events();
        self.open_hosts();
        self.tcp.count_recovery(&self.counters);
        self.ready.len() > 0
    }

    /// When to call [`Self::poll`] again if nothing arrives before. Frames for the tunnel have their own moment:
    /// [`TunnelEnd::next_deadline`].
    pub fn next_deadline(&self) -> Option<Moment> {
        if !self.held.is_empty() {
            // Nothing goes on before these are gone, so nothing else is worth waking for.
            return Some(self.now.mono + egress::OFFER_EVERY);
        }
        let deadlines = [
            self.wheel.next_deadline(),
            self.timers.next(),
            self.eni.next_deadline(self.now),
            self.serving.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The tunnel's end, whose frames the edge sends.
    pub fn tunnel(&mut self) -> &mut TunnelEnd {
        &mut self.tunnel
    }

    /// The counters of this worker.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Takes the flow-log records that are complete. Those beyond [`FLOW_RECORDS_MAX`] that nobody took are lost.
    pub fn take_flow_records(&mut self) -> Vec<FlowLogRecord> {
        std::mem::take(&mut self.flow_records)
    }

    /// The security-group rule that let the connection of `client` to `endpoint` in. `None` if there is no such flow, or it
    /// outlived its rule.
    pub fn rule_of(&self, client: SocketAddr, endpoint: SocketAddr) -> Option<String> {
        let tuple = FiveTuple::between(client, endpoint, Protocol::TCP)?;
        let (flow, _) = self.eni.flows().find(&tuple)?;
        self.eni.rule_of(flow).map(ToString::to_string)
    }

    /// The latest packets that were denied, oldest kind first.
    pub fn denials(&self) -> Vec<Denial> {
        self.eni.denials().cloned().collect()
    }

    /// Connections by kind: clients, connections to the function host, invocations under way.
    pub fn load(&self) -> [usize; 3] {
        [self.clients.len(), self.hosts.len(), self.host_pool.pending()]
    }

    /// The flows that are tracked or remembered: all, and those of unfinished handshakes.
    pub fn flows(&self) -> [usize; 2] {
        [self.eni.flows().len(), self.eni.flows().half_open_len()]
    }

    /// Bytes of request bodies that are held, or announced and on their way.
    pub fn body_bytes(&self) -> usize {
        self.serving.service().bodies().held()
    }

    /// TCP sockets in use, of both kinds of connections.
    pub fn sockets(&self) -> usize {
        self.tcp.live()
    }

    fn drive_client(&mut self, slot: usize, output: &mut impl Output) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.drive(self.now.mono, &self.client_limits, &self.counters);
        if let Some(until) = client.hold_acknowledgement(self.now.mono) {
            let phase = client.deadline(&self.client_limits).map(|(at, _)| at);
            schedule(&mut self.wheel, client_key(slot), Some(until), phase);
            return;
        }
        let emitted = self.emit_client(slot, output);
        self.rearm_client(slot, emitted);
    }

    /// Forgets a client that is over, or notes when it next needs attention.
    fn rearm_client(&mut self, slot: usize, emitted: bool) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if emitted && client.is_over() {
            self.forget_client(slot);
            return;
        }
        // What could not be emitted waits for room, not for a moment.
        let tcp = if emitted { self.tcp.poll_at(&mut client.tcp, self.now.mono) } else { None };
        let phase = client.deadline(&self.client_limits).map(|(at, _)| at);
        schedule(&mut self.wheel, client_key(slot), tcp, phase);
    }

    fn forget_client(&mut self, slot: usize) {
        if let Some(client) = self.clients.try_remove(slot) {
            self.wheel.cancel(client_key(slot));
            if self.eni.is_down(client.flow) {
                // Its last words, FIN or RST, went nowhere.
                self.close_flow(client.flow);
            }
            if let Some(owner) = self.eni.user_mut(client.flow) {
                *owner = None;
            }
            self.tcp.release(client.tcp);
        }
    }

    fn drive_host(&mut self, slot: usize) {
        let Some(host) = self.hosts.get_mut(slot) else { return };
        if host.drive(self.now.mono) {
            let deadline = host.deadline();
            schedule(&mut self.wheel, host_key(slot), Some(self.now.mono + host::ACK_WITHIN), deadline);
            return;
        }
        if !self.emit_host(slot) {
            return;
        }
        let Some(host) = self.hosts.get(slot) else { return };
        if host.is_over() {
            self.forget_host(slot);
            return;
        }
        let at = self.tcp.poll_at(&mut host.tcp.tcp.borrow_mut(), self.now.mono);
        let deadline = host.deadline();
        schedule(&mut self.wheel, host_key(slot), at, deadline);
    }

    fn forget_host(&mut self, slot: usize) {
        if let Some(mut host) = self.hosts.try_remove(slot) {
            // Whoever waits for an answer on it learns that there will be none.
            host.drive(self.now.mono);
            self.wheel.cancel(host_key(slot));
            self.host_ports.release(host.local_port);
            match host.into_tcp() {
                Some(tcp) => self.tcp.release(tcp),
                None => self.tcp.forget(),
            }
        }
    }

    /// Begins the connections that invocations wait for.
    fn open_hosts(&mut self) {
        for _ in 0..self.host_pool.take_wanted() {
            let attempt = self.host_pool.begin();
            let opened = self.host_ports.claim(self.hosts.vacant_key()).and_then(|port| {
                let connection = self.serving.connect(&mut self.tcp, port);
                if connection.is_none() {
                    self.host_ports.release(port);
                }
                connection.map(|tcp| (tcp, port))
            });
            let Some((tcp, port)) = opened else {
                self.host_pool.failed(attempt);
                continue;
            };
            let entry = self.hosts.vacant_entry();
            let slot = entry.key();
            let ready = self.ready.handle(Task::Host(slot));
            entry.insert(HostConnection::new(tcp, port, attempt, ready, self.host_pool.clone()));
            self.drive_host(slot);
        }
    }

    /// Ends what took too long, and wakes connections whose TCP has something to do by itself.
    fn expire(&mut self) {
        // What takes too long ends before the flow below it is forgotten, also when time leaps.
        let mut budget = EXPIRY_BUDGET;
        while let Some(key) = self.wheel.poll_expired(self.now.mono, &mut budget) {
            let slot = (key >> 1) as usize;
            if key & 1 == 1 {
                if let Some(host) = self.hosts.get(slot) {
                    host.ready.mark();
                }
            } else {
                self.expire_client(slot);
            }
        }
        for _ in 0..RECORD_BUDGET {
            let Some(record) = self.eni.poll_records(self.now) else { break };
            if self.flow_records.len() < FLOW_RECORDS_MAX {
                self.flow_records.push(record);
            }
        }
        while let Some(ended) = self.eni.poll_ended(self.now, &self.counters) {
            // The flow is gone without a word, as on AWS; so is its connection.
            if let Some(slot) = ended.user {
                if ended.cause == EndCause::HalfOpen {
                    self.counters.deny(Reason::TcpHandshakeTimeout);
                }
                self.drop_client(slot as usize);
            }
        }
    }

    fn expire_client(&mut self, slot: usize) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        match client.deadline(&self.client_limits) {
            Some((at, reason)) if at <= self.now.mono => {
                if let Some(reason) = reason {
                    self.counters.deny(reason);
                }
                if client.is_half_open() {
                    // Without a word: its source may be made up.
                    let flow = client.flow;
                    self.close_flow(flow);
                    self.forget_client(slot);
                } else {
                    client.expire(reason, self.now.mono);
                }
            }
            _ => client.ready.mark(),
        }
    }

    /// Ends a flow whose connection is over for a reason that no packet shows.
    fn close_flow(&mut self, flow: FlowId) {
        if self.eni.flows().get(flow).is_some_and(|entry| entry.ended().is_none()) {
            self.counters.count(Event::FlowClosed);
            self.eni.close(flow, self.now);
        }
    }

    /// Forgets a client whose flow ended, without telling it.
    pub(super) fn drop_client(&mut self, slot: usize) {
        if let Some(client) = self.clients.try_remove(slot) {
            self.wheel.cancel(client_key(slot));
            self.tcp.release(client.tcp);
        }
    }
}

/// Flow-log records that wait for the edge: as many as one window of one worker can have.
pub const FLOW_RECORDS_MAX: usize = 131_072;

/// Flow-log records that one turn may hand over: those of 100,000 flows would hold it up for ten milliseconds.
const RECORD_BUDGET: usize = 1_024;

/// Entries that one turn may expire.
const EXPIRY_BUDGET: u32 = 1_024;

/// The wheel's keys: clients are even, connections to the function host odd.
fn client_key(slot: usize) -> u32 {
    (slot as u32) << 1
}

fn host_key(slot: usize) -> u32 {
    (slot as u32) << 1 | 1
}

fn schedule(wheel: &mut TimerWheel, key: u32, a: Option<Moment>, b: Option<Moment>) {
    match [a, b].into_iter().flatten().min() {
        Some(at) => wheel.schedule(key, at),
        None => wheel.cancel(key),
    }
}
