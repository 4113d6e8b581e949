//! What an engine is made from: a snapshot of the configuration, which may be replaced, and what stays for its life.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;

use super::authority::EndpointAuthority;
use super::client::ClientLimits;
use super::host::{CONNECTION_LIMIT, HostPool, PortTable, TunnelHost};
use super::ready::{Parked, ReadyQueue, Task};
use super::routes::Routes;
use super::serve::Serving;
use super::timers::Timers;
use super::{Engine, Held};
use crate::config::{PathProfile, PolicyText, Topology};
use crate::dns::Resolver;
use crate::eni::{EniSnapshot, EniStage, FlowLogSettings};
use crate::flow::{FlowSeed, TimerWheel};
use crate::lambda::{AccessLog, Catalog, CodeSummary, EventQueueLimits, ServiceParts};
use crate::policy::{Fault, ParseOptions, Policy, PolicyKind};
use crate::sigv4::{Keyring, Principal};
use crate::tcp::{PacketBuffer, TcpSetup, TcpStage};
use crate::time::{Now, TurnClock, UnixTime};
use crate::tls::ServerSetup;
use crate::tunnel::keys::SaPair;
use crate::tunnel::path::Link;
use crate::tunnel::{Side, TunnelEnd};
use crate::verdict::Counters;

/// A configuration in force: immutable, shared by all workers, replaced as a whole.
#[derive(Debug)]
pub struct Snapshot {
    /// Numbers snapshots; flows judged under an older one are judged again.
    pub epoch: u64,
    /// What it was made from.
    pub topology: Arc<Topology>,
    /// Who may sign.
    pub keyring: Keyring,
    /// The functions.
    pub catalog: Arc<Catalog>,
    enis: Arc<EniSnapshot>,
    endpoints: Vec<EndpointPolicy>,
    pub(super) function_policies: Vec<Option<Policy>>,
    pub(super) vpc_arn: String,
    identity_policies: HashMap<String, Vec<Policy>, foldhash::quality::RandomState>,
}

/// One endpoint, as requests through it are judged.
#[derive(Debug)]
pub(super) struct EndpointPolicy {
    pub(super) id: String,
    pub(super) policy: Policy,
    enis: Vec<u16>,
}

/// A policy document that AWS would refuse.
#[derive(Debug)]
pub struct PolicyFaults {
    /// The document.
    pub document: PolicyText,
    /// Everything wrong with it.
    pub faults: Vec<Fault>,
}

impl std::fmt::Display for PolicyFaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{}:{}: {}", self.document.origin, fault.line, fault.column, fault.message)?;
            if let Some(help) = &fault.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl Snapshot {
    /// Compiles the policies of a topology. `lenient` accepts forms that AWS refuses but people paste. `code` gives size
    /// and hash of a function's code, if known.
    ///
    /// # Errors
    /// Every document with faults.
    pub fn new(
        epoch: u64,
        topology: Arc<Topology>,
        keyring: Keyring,
        lenient: bool,
        now: UnixTime,
        code: impl Fn(usize) -> Option<CodeSummary>,
    ) -> Result<Self, Vec<PolicyFaults>> {
        let mut faults = Vec::new();
        let mut parse = |kind, document: &PolicyText| {
            Policy::parse_with(kind, &document.text, ParseOptions { lenient })
                .map_err(|found| faults.push(PolicyFaults { document: document.clone(), faults: found }))
                .ok()
        };
        let endpoints = topology.endpoints.iter().filter_map(|endpoint| {
            let policy = match &endpoint.policy {
                Some(document) => parse(PolicyKind::Endpoint, document)?,
                None => Policy::full_access(),
            };
            let enis = endpoint.enis.iter().map(|eni| eni.slot).collect();
            Some(EndpointPolicy { id: endpoint.id.clone(), policy, enis })
        });
        let endpoints = endpoints.collect();
        let mut identity_policies = HashMap::default();
        for identity in &topology.identities {
            let policies: Vec<_> =
                identity.policies.iter().filter_map(|document| parse(PolicyKind::Identity, document)).collect();
            identity_policies.insert(identity.arn.clone(), policies);
        }
        let function_policies = topology
            .functions
            .iter()
            .map(|function| function.policy.as_ref().and_then(|document| parse(PolicyKind::Resource, document)))
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let vpc_arn =
            format!("arn:{}:ec2:{}:{}:vpc/{}", topology.partition, topology.region, topology.account, topology.vpc.id);
        let catalog = Arc::new(Catalog::new(&topology, now, code));
        Ok(Self {
            epoch,
            enis: Arc::new(EniSnapshot::compile(&topology, epoch)),
            topology,
            keyring,
            catalog,
            endpoints,
            function_policies,
            vpc_arn,
            identity_policies,
        })
    }

    /// The endpoint that has the eni in this slot, and its number.
    pub(super) fn endpoint_of(&self, eni: usize) -> Option<(usize, &EndpointPolicy)> {
        let has_it = |endpoint: &EndpointPolicy| endpoint.enis.iter().any(|&slot| usize::from(slot) == eni);
        self.endpoints.iter().enumerate().find(|(_, endpoint)| has_it(endpoint))
    }

    /// The identity policies of a caller. Somebody without any may do nothing.
    pub(super) fn identity_policies(&self, principal: &Principal) -> &[Policy] {
        self.identity_policies.get(&principal.arn).map_or(&[], Vec::as_slice)
    }
}

/// What one worker's engine is made of.
pub struct EngineSetup {
    /// The configuration to begin with.
    pub snapshot: Arc<Snapshot>,
    /// This worker's number, from 0.
    pub worker: usize,
    /// How many there are.
    pub workers: usize,
    /// Certificate and protocols.
    pub tls: ServerSetup,
    /// This worker's security associations.
    pub sa: SaPair,
    /// The emulated path.
    pub path: PathProfile,
    /// The path's rate toward the customer, shared by all workers.
    pub link: Arc<Link>,
    /// This worker's counters.
    pub counters: Arc<Counters>,
    /// Where access records go.
    pub log: Rc<dyn AccessLog>,
    /// Random bytes, this worker's own.
    pub seed: [u8; 32],
    /// Whether the devices of the VPC segment and finish checksums.
    pub offload: bool,
    /// The time.
    pub now: Now,
}

impl std::fmt::Debug for EngineSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineSetup")
            .field("worker", &self.worker)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with nothing connected.
    pub fn new(setup: EngineSetup) -> Self {
        let EngineSetup { snapshot, worker, workers, tls, sa, path, link, counters, log, seed, offload, now } = setup;
        let topology = Arc::clone(&snapshot.topology);
        let settings = &topology.settings;
        let routes = Routes::new(&topology);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| seed[at + i]));
        let tunnel =
            TunnelEnd::new(Side::Aws, std::slice::from_ref(&sa), topology.tunnel.replay_window, &path, link, word(0));
        let inside = IpAddr::V4(topology.tunnel.aws_inside());
        let tcp = TcpStage::new(&TcpSetup {
            offload,
            vpc_mtu: usize::from(settings.mtu),
            tunnel_mtu: usize::from(tunnel.inner_mtu()),
            buffer: settings.tcp_buffer,
            // Each flow may have a connection, and they must not take those to the function host.
            limit: settings.flow_limit as usize + CONNECTION_LIMIT,
            seed: word(8),
        });
        let timers = Timers::default();
        let ready = ReadyQueue::default();
        let host_pool = HostPool::new(timers.clone());
        let current = Rc::new(RefCell::new(Arc::clone(&snapshot)));
        let host = topology.on_premises.function_host;
        let parts = ServiceParts {
            host: TunnelHost::new(host_pool.clone(), host),
            authority: EndpointAuthority::new(Rc::clone(&current), Arc::clone(&counters)),
            catalog: Arc::clone(&snapshot.catalog),
            clock: Rc::new(TurnClock::new(now)),
            counters: Arc::clone(&counters),
            log,
            seed,
            event_limits: EventQueueLimits::default(),
            body_budget: settings.http_body_budget,
        };
        let events = ready.handle(Task::Events);
        let serving = Serving::new(parts, events, inside, host);
        let flow_seed = FlowSeed([word(16), word(24)]);
        let flow_log = FlowLogSettings { window: settings.flow_log_interval, ..FlowLogSettings::default() };
        let eni = EniStage::new(Arc::clone(&snapshot.enis), flow_seed, flow_log, now);
        Self {
            now,
            eni,
            tcp,
            tls,
            clients: Slab::new(),
            client_limits: ClientLimits::from(settings),
            hosts: Slab::new(),
            host_ports: PortTable::new(worker, workers),
            host_pool,
            timers,
            wheel: TimerWheel::with_capacity(1_024),
            ready,
            tunnel,
            tunnel_waiters: Parked::default(),
            resolver: Resolver::new(&topology),
            serving,
            current,
            counters,
            offload,
            routes,
            out: PacketBuffer::default(),
            held: Held::default(),
            dns_answer: Vec::new(),
            flow_records: Vec::new(),
        }
    }

    /// Puts another snapshot in force. Known flows are judged again when their next packet comes; a tracked flow outlives
    /// the security-group rule that let it in, as on AWS. The connections of an eni that is no more end without a word: there
    /// is nobody left to say it. The tunnel, TLS and the enis' health stay as they are.
    pub fn update(&mut self, snapshot: &Arc<Snapshot>) {
        for orphan in self.eni.update(Arc::clone(&snapshot.enis), self.now) {
            self.drop_client(orphan as usize);
        }
        self.routes = Routes::new(&snapshot.topology);
        let settings = &snapshot.topology.settings;
        self.client_limits = ClientLimits::from(settings);
        self.serving.service().bodies().set_limit(settings.http_body_budget);
        self.resolver = Resolver::new(&snapshot.topology);
        self.resolver.set_all_health(self.eni.health().clone());
        self.serving.service().set_catalog(Arc::clone(&snapshot.catalog));
        self.current.replace(Arc::clone(snapshot));
    }
}
