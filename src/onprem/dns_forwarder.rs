//! The DNS forwarder of the data centre: what on-premises hosts resolve through.
//!
//! Names of AWS (`amazonaws.com`, `api.aws`, `compute.internal` of the region) go to the resolver's inbound endpoint,
//! through the tunnel; names of the data centre's own machines and everything else it answers itself, as public DNS would.
//! Without an inbound endpoint AWS's names are answered as public DNS too: the private name then leads nowhere, as it does
//! on AWS when nobody set up forwarding.
//!
//! A forwarded query gets a fresh random id, and only an answer from the inbound endpoint with that id and the very same
//! question is taken, so that nobody off the path can slip one in (RFC 5452). It is otherwise passed on as it is.
//!
//! **Limits.** [`Settings::pending_limit`] queries wait at the same time; one more is answered SERVFAIL. One that waits
//! longer than [`Settings::timeout`] is answered SERVFAIL: clients give up after 5 s, and then know that somebody is there.
//! UDP only, nothing cached: what the endpoint's health does to its names is seen at once. Public DNS knows of it, too: the
//! forwarder is told which enis are down, for the names that it answers itself.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::config::Topology;
use crate::dns::{self, Answer, PAYLOAD, Resolver, View};
use crate::eni::EniHealth;
use crate::time::Moment;
use crate::verdict::{Counters, Event, Reason};

const DNS_PORT: u16 = 53;
/// Header of a message, and type and class behind a question's name.
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;
/// RCODE of a server that could not get an answer (RFC 1035 §4.1.1).
const SERVFAIL: u8 = 2;

/// Bounds of a forwarder.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Queries that wait for an answer at the same time.
    pub pending_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(2), pending_limit: 1024 }
    }
}

/// Serves port 53 of the topology's forwarder address until `shutdown` completes.
///
/// # Errors
/// A socket cannot be bound or read.
pub async fn run(topology: Arc<Topology>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let known = PublicView::fixed(&topology);
    run_counted(topology, known, Arc::new(Counters::default()), shutdown).await
}

/// What public DNS knows of the endpoints, as it changes.
#[derive(Clone, Debug)]
pub struct PublicView {
    /// With the endpoints that there are now.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// Which of their enis are down.
    pub health: watch::Receiver<EniHealth>,
}

impl PublicView {
    /// Of a topology that stays as it is.
    pub fn fixed(topology: &Arc<Topology>) -> Self {
        Self { topology: watch::channel(Arc::clone(topology)).1, health: watch::channel(EniHealth::default()).1 }
    }
}

/// The same, told of endpoints and their health, and counting what it does. Nobody else may write to `counters`.
///
/// # Errors
/// A socket cannot be bound or read.
pub async fn run_counted(
    topology: Arc<Topology>,
    known: PublicView,
    counters: Arc<Counters>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = topology.on_premises.dns_forwarder;
    let clients = bind(address, DNS_PORT).await?;
    let upstream = bind(address, 0).await?;
    let inbound_endpoint = topology.resolver.inbound_endpoint.map(|address| SocketAddr::from((address, DNS_PORT)));
    let (own, settings) = (Public::new(known), Settings::default());
    let forwarder = Forwarder::new(&topology, clients, upstream, inbound_endpoint, own, settings, counters);
    forwarder.serve(shutdown).await
}

async fn bind(address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("DNS forwarder on {address}:{port}: {error}"));
    UdpSocket::bind((address, port)).await.map_err(named)
}

/// A query that waits for the inbound endpoint's answer.
struct Pending {
    client: SocketAddr,
    client_id: [u8; 2],
    /// The query's question section, which the answer must repeat.
    question: Vec<u8>,
    deadline: Instant,
}

/// Public DNS and the data centre's own names.
struct Public {
    resolver: Resolver,
    known: PublicView,
}

impl Public {
    fn new(mut known: PublicView) -> Self {
        let resolver = Resolver::on_premises(&known.topology.borrow_and_update());
        Self { resolver, known }
    }

    fn answer(&mut self, query: &[u8], client: SocketAddr, answer: &mut Vec<u8>) -> Answer {
        let PublicView { topology, health } = &mut self.known;
        let is_other = topology.has_changed().unwrap_or(false);
        if is_other {
            self.resolver = Resolver::on_premises(&topology.borrow_and_update());
        }
        if is_other || health.has_changed().unwrap_or(false) {
            self.resolver.set_all_health(health.borrow_and_update().clone());
        }
        self.resolver.answer(View::Public, query, client.ip(), Moment::default(), answer)
    }
}

struct Forwarder {
    clients: UdpSocket,
    upstream: UdpSocket,
    inbound_endpoint: Option<SocketAddr>,
    /// Zones whose names the inbound endpoint is asked for.
    forwarded: Vec<Name>,
    own: Public,
    pending: HashMap<[u8; 2], Pending>,
    settings: Settings,
    counters: Arc<Counters>,
}

impl Forwarder {
    fn new(
        topology: &Topology,
        clients: UdpSocket,
        upstream: UdpSocket,
        inbound_endpoint: Option<SocketAddr>,
        own: Public,
        settings: Settings,
        counters: Arc<Counters>,
    ) -> Self {
        let dualstack = topology.service_host_dualstack();
        // `api.aws` behind `lambda.<region>.`.
        let api_suffix = dualstack.splitn(3, '.').nth(2).unwrap_or_default().to_owned();
        let zones = [topology.dns_suffix().to_owned(), api_suffix, topology.compute_zone()];
        let absolute = |zone: &String| {
            let mut name = Name::from_ascii(zone).ok()?;
            name.set_fqdn(true);
            Some(name)
        };
        Self {
            clients,
            upstream,
            inbound_endpoint,
            forwarded: zones.iter().filter_map(absolute).collect(),
            own,
            pending: HashMap::new(),
            settings,
            counters,
        }
    }

    async fn serve(mut self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut query = vec![0; usize::from(PAYLOAD)];
        let mut answer = vec![0; usize::from(u16::MAX)];
        loop {
            let deadline = self.pending.values().map(|pending| pending.deadline).min();
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                received = self.clients.recv_from(&mut query) => {
                    if let Some((length, client)) = arrived(received)? {
                        self.handle_query(&mut query[..length], client).await;
                    }
                }
                received = self.upstream.recv_from(&mut answer) => {
                    if let Some((length, source)) = arrived(received)? {
                        self.handle_answer(&mut answer[..length], source).await;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => self.expire().await,
            }
        }
    }

    async fn handle_query(&mut self, query: &mut [u8], client: SocketAddr) {
        let forwarded = dns::question(query).filter(|name| self.forwarded.iter().any(|zone| zone.zone_of(name)));
        match (forwarded, self.inbound_endpoint) {
            (Some(_), Some(inbound_endpoint)) => self.forward(query, client, inbound_endpoint).await,
            _ => self.answer_itself(query, client).await,
        }
    }

    async fn answer_itself(&mut self, query: &[u8], client: SocketAddr) {
        let mut answer = Vec::new();
        match self.own.answer(query, client, &mut answer) {
            Answer::Sent(event) => self.counters.count(event),
            Answer::Refused(reason) | Answer::Dropped(reason) => Counters::deny(&self.counters, reason),
        }
        if !answer.is_empty() {
            send(&self.clients, &answer, client).await;
        }
    }

    async fn forward(&mut self, query: &mut [u8], client: SocketAddr, inbound_endpoint: SocketAddr) {
        let (Some(question), Some(client_id)) = (question_section(query), query.first_chunk::<2>().copied()) else {
            Counters::deny(&self.counters, Reason::DnsMalformed);
            return;
        };
        let question = question.to_vec();
        let id = if self.pending.len() < self.settings.pending_limit { self.fresh_id() } else { None };
        let Some(id) = id else {
            Counters::deny(&self.counters, Reason::DnsForwardLimit);
            self.fail(client_id, &question, client).await;
            return;
        };
        query[..2].copy_from_slice(&id);
        if !send(&self.upstream, query, inbound_endpoint).await {
            Counters::deny(&self.counters, Reason::DnsForwardTimeout);
            self.fail(client_id, &question, client).await;
            return;
        }
        let deadline = Instant::now() + self.settings.timeout;
        self.pending.insert(id, Pending { client, client_id, question, deadline });
    }

    /// A random id that no pending query has. `None` if the random source fails or is stuck.
    fn fresh_id(&self) -> Option<[u8; 2]> {
        const TRIES: usize = 64;
        (0..TRIES).find_map(|_| {
            let mut id = [0; 2];
            aws_lc_rs::rand::fill(&mut id).ok()?;
            (!self.pending.contains_key(&id)).then_some(id)
        })
    }

    async fn handle_answer(&mut self, answer: &mut [u8], source: SocketAddr) {
        let id = answer.first_chunk::<2>().copied();
        let matching = id.filter(|id| {
            let pending = self.pending.get(id);
            pending.is_some_and(|pending| {
                Some(source) == self.inbound_endpoint
                    && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
                    && question_section(answer) == Some(&pending.question)
            })
        });
        let Some(pending) = matching.and_then(|id| self.pending.remove(&id)) else {
            Counters::deny(&self.counters, Reason::DnsMalformed);
            debug!(%source, "an answer to no pending query");
            return;
        };
        answer[..2].copy_from_slice(&pending.client_id);
        self.counters.count(Event::DnsAnswered);
        send(&self.clients, answer, pending.client).await;
    }

    /// Answers every query that has waited too long.
    async fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<_> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(pending) = self.pending.remove(&id) {
                Counters::deny(&self.counters, Reason::DnsForwardTimeout);
                self.fail(pending.client_id, &pending.question, pending.client).await;
            }
        }
    }

    /// SERVFAIL with the question repeated.
    async fn fail(&self, id: [u8; 2], question: &[u8], client: SocketAddr) {
        // QR, RD and RA are set; one question and nothing else.
        let mut answer = vec![id[0], id[1], 0x81, 0x80 | SERVFAIL, 0, 1, 0, 0, 0, 0, 0, 0];
        answer.extend_from_slice(question);
        send(&self.clients, &answer, client).await;
    }
}

/// What was received. An ICMP error that answers an earlier send arrives here too and concerns nobody who waits.
fn arrived(received: io::Result<(usize, SocketAddr)>) -> io::Result<Option<(usize, SocketAddr)>> {
    match received {
        Ok(arrived) => Ok(Some(arrived)),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

/// Whether it could be sent; the other side's time-out covers it if not.
async fn send(socket: &UdpSocket, message: &[u8], to: SocketAddr) -> bool {
    match socket.send_to(message, to).await {
        Ok(_) => true,
        Err(error) => {
            debug!(%to, %error, "cannot send");
            false
        }
    }
}

/// The bytes of a message's one question: an uncompressed name, type and class.
fn question_section(message: &[u8]) -> Option<&[u8]> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match usize::from(*message.get(at)?) {
            0 => break,
            length @ 1..=63 => at += 1 + length,
            _ => return None,
        }
    }
    message.get(HEADER..at + 1 + TYPE_AND_CLASS)
}

#[cfg(test)]
mod tests;
