//! `vpce traffic`: what a benchmark sends beside invocations. Hidden: `vpce bench` starts it.
//!
//! It opens sockets on one or two hosts of a running lab, whose namespaces they then belong to, and works on both ends by
//! itself. For the ceiling it makes a router of its own between the hosts, which forwards as any Linux machine does.

#![expect(clippy::disallowed_types, reason = "the kernel's own sockets are what is measured here")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::load::time;
use super::output::{self, Failure};
use crate::edge::namespace::{self, NetworkNamespace};
use crate::edge::netlink::{self, Netlink, VethEnd, Via};
use crate::edge::{Fault, OrFault};
use crate::lab::client;
use crate::lab::network::{ON_PREMISES_MTU, VPC_MTU};
use crate::load::machine::{self, Machine, Watched};
use crate::load::report::Measured;
use crate::load::{bulk, datagrams};

/// The port that both ends of the traffic use.
const PORT: u16 = 5001;
/// The router of the ceiling: its two ends, and the hosts' ends of the cables (RFC 2544's range).
const DIRECT: [[Ipv4Addr; 2]; 2] = [
    [Ipv4Addr::new(198, 18, 1, 1), Ipv4Addr::new(198, 18, 1, 2)],
    [Ipv4Addr::new(198, 18, 2, 1), Ipv4Addr::new(198, 18, 2, 2)],
];
/// Interfaces of the ceiling.
const INTERFACES: [&str; 2] = ["ceiling0", "ceiling1"];

/// Send a benchmark's packets
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    kind: Kind,
    /// The lab.
    #[arg(long, required_unless_present = "namespaces")]
    lab: Option<String>,
    /// The host that begins.
    #[arg(long, required_unless_present = "namespaces")]
    from: Option<String>,
    /// The host that answers.
    #[arg(long)]
    to: Option<String>,
    /// Between two network namespaces that are not a lab's.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with_all = ["lab", "from", "to"], requires = "addresses")]
    namespaces: Option<Vec<PathBuf>>,
    /// Between the hosts' own addresses; else by a router of its own.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    addresses: Option<Vec<Ipv4Addr>>,
    /// The resolver.
    #[arg(long)]
    resolver: Option<SocketAddr>,
    /// The name that is asked for, and its address.
    #[arg(long, num_args = 2, value_names = ["NAME", "ADDRESS"])]
    question: Option<Vec<String>>,
    /// Datagrams in flight.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    in_flight: u16,
    /// Bytes of each datagram's payload.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(16..=1400))]
    payload: u16,
    #[arg(long, value_parser = time)]
    duration: Duration,
    #[arg(long, value_parser = time)]
    warm_up: Duration,
    #[arg(long)]
    cpu: Option<usize>,
    #[arg(long)]
    cpu_of: Vec<Watched>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// TCP as fast as it goes, one way.
    Bulk,
    /// UDP datagrams there and back.
    Datagrams,
    /// DNS questions.
    Resolve,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let machine = Machine::watch(&arguments.cpu_of)?;
    if let Some(cpu) = arguments.cpu {
        machine::pin_thread(&[cpu])?;
    }
    let (from, to) = hosts(arguments)?;
    let measured = match to {
        None => resolve(arguments, &from, &machine)?,
        Some(to) => {
            let hosts = [from, to];
            match arguments.addresses.as_deref() {
                Some([from, to]) => forward(arguments, &hosts, [*from, *to], &machine)?,
                _ => {
                    // No process is in the router's namespace: it lives as long as this handle.
                    let _router = lay_cables(&hosts)?;
                    forward(arguments, &hosts, DIRECT.map(|[_, host]| host), &machine)?
                }
            }
        }
    };
    output::print_json(&serde_json::to_value(&measured).or_fault(|| "cannot phrase the report")?);
    Ok(ExitCode::SUCCESS)
}

/// Where the traffic begins, and where it ends if that is another host.
fn hosts(arguments: &Arguments) -> Result<(NetworkNamespace, Option<NetworkNamespace>), Failure> {
    if let Some([from, to]) = arguments.namespaces.as_deref() {
        let open = |path: &Path| {
            let file = std::fs::File::open(path).or_fault(|| "no network namespace");
            file.map(|file| NetworkNamespace::from(OwnedFd::from(file))).map_err(|f| f.at(path.display().to_string()))
        };
        return Ok((open(from)?, Some(open(to)?)));
    }
    let (lab, directories) = super::lab::chosen(arguments.lab.as_deref())?;
    let name = arguments.from.as_deref().unwrap_or_default();
    let from = client::join(&directories, &lab, name)?;
    let to = arguments.to.as_deref().map(|to| client::join(&directories, &lab, to)).transpose()?;
    namespace::enter_user(&from.user)?;
    Ok((from.network.into(), to.map(|to| to.network.into())))
}

fn resolve(arguments: &Arguments, host: &NetworkNamespace, machine: &Machine) -> Result<Measured, Fault> {
    let usage = || Fault::new("`resolve` needs --resolver and --question");
    let resolver = arguments.resolver.ok_or_else(usage)?;
    let Some([name, address]) = arguments.question.as_deref() else { return Err(usage()) };
    let address = address.parse().or_fault(|| "not an address")?;
    let message = datagrams::question(name)?;
    host.enter()?;
    let socket = datagrams::socket((Ipv4Addr::UNSPECIFIED, 0).into(), Some(resolver))?;
    let answer = datagrams::Answer { address, known: Vec::new() };
    let content = datagrams::Content::Question { message, answer };
    datagrams::run(job(arguments, &socket, None, content), machine)
}

fn job<'a>(
    arguments: &Arguments,
    socket: &'a OwnedFd,
    mirror: Option<&'a OwnedFd>,
    content: datagrams::Content,
) -> datagrams::Job<'a> {
    datagrams::Job {
        socket,
        mirror,
        content,
        in_flight: arguments.in_flight.into(),
        warm_up: arguments.warm_up,
        duration: arguments.duration,
    }
}

fn forward(
    arguments: &Arguments,
    [from, to]: &[NetworkNamespace; 2],
    addresses: [Ipv4Addr; 2],
    machine: &Machine,
) -> Result<Measured, Fault> {
    let [here, there] = addresses.map(|address| SocketAddr::from((address, PORT)));
    to.enter()?;
    if arguments.kind == Kind::Datagrams {
        let mirror = datagrams::socket(there, Some(here))?;
        from.enter()?;
        let socket = datagrams::socket(here, Some(there))?;
        let content = datagrams::Content::Echo { length: arguments.payload.into() };
        return datagrams::run(job(arguments, &socket, Some(&mirror), content), machine);
    }
    let listener = TcpListener::bind(there).or_fault(|| format!("cannot listen on {there}"))?;
    from.enter()?;
    let sender = TcpStream::connect_timeout(&there, Duration::from_secs(5))
        .or_fault(|| format!("{here} does not reach {there}"))?;
    let (receiver, _) = listener.accept().or_fault(|| "nobody connected")?;
    for end in [&sender, &receiver] {
        end.set_nonblocking(true).or_fault(|| "cannot prepare a connection")?;
    }
    bulk::run(&sender.into(), &receiver.into(), arguments.warm_up, arguments.duration, machine)
}

/// A router with a cable to each of the hosts, of the same MTUs as the lab's own.
fn lay_cables(hosts: &[NetworkNamespace; 2]) -> Result<NetworkNamespace, Fault> {
    let router = NetworkNamespace::create()?;
    netlink::become_router()?;
    for (side, host) in hosts.iter().enumerate() {
        router.enter()?;
        let [router_address, host_address] = DIRECT[side];
        let last = u8::try_from(side).unwrap_or(0);
        let macs = [[2, 4, 198, 18, last, 1], [2, 4, 198, 18, last, 2]];
        let name = INTERFACES[side];
        let [here, there] = macs.map(|mac| VethEnd { name, mac });
        let netlink = Netlink::open()?;
        netlink.add_veth(here, there, host, if side == 0 { VPC_MTU } else { ON_PREMISES_MTU })?;
        let link = netlink.link(name)?;
        netlink.add_address(link, router_address.into(), 30)?;
        netlink.up(link)?;
        netlink.add_neighbour(link, host_address.into(), macs[1])?;
        host.enter()?;
        let netlink = Netlink::open()?;
        let link = netlink.link(name)?;
        netlink.add_address(link, host_address.into(), 30)?;
        netlink.up(link)?;
        netlink.add_neighbour(link, router_address.into(), macs[0])?;
        let [_, other] = DIRECT[1 - side];
        let other = ipnet::IpNet::from(std::net::IpAddr::V4(other));
        netlink.add_route(other, Via::Router(router_address.into(), link))?;
    }
    Ok(router)
}
