//! `vpce peer`: the other side of a benchmark's ceiling run, in a namespace of its own. Hidden: `vpce bench` starts it.
//!
//! It makes a network namespace, lays a cable from there to a host of a running lab, and serves on it until its standard
//! input ends. With it the namespace goes, and the cable.

#![expect(clippy::disallowed_types, reason = "the kernel's own sockets are what is measured here")]

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output::{self, Failure};
use crate::edge::clock::Clock;
use crate::edge::namespace::{self, NetworkNamespace};
use crate::edge::netlink::{self, Netlink, VethEnd};
use crate::edge::{Fault, OrFault};
use crate::lab::{client, secrets};
use crate::load::{datagrams, machine, resolver, server};
use crate::tls::ServerSetup;

/// Its address, and the host's on the same cable: a range for benchmarks (RFC 2544, RFC 6890).
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Both ends of the cable.
const INTERFACE: &str = "ceiling";
/// As the endpoint's.
const MTU: u32 = 8500;
/// Locally administered.
const MACS: [[u8; 6]; 2] = [[2, 3, 198, 18, 0, 1], [2, 3, 198, 18, 0, 2]];

/// Serve a benchmark's ceiling run
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(value_enum)]
    service: Service,
    /// The lab.
    #[arg(long)]
    lab: String,
    /// The host that is to reach it.
    #[arg(long)]
    host: String,
    /// What every name has as its address.
    #[arg(long, default_value_t = Ipv4Addr::UNSPECIFIED)]
    answer: Ipv4Addr,
    /// The processor to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Service {
    /// Lambda's API over TLS, as far as benchmarks use it.
    Https,
    /// A resolver that knows one answer.
    Dns,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (lab, directories) = super::lab::chosen(Some(&arguments.lab))?;
    if let Some(cpu) = arguments.cpu {
        machine::pin_thread(&[cpu])?;
    }
    machine::allow_files(machine::files_allowed())?;
    let now = Clock::start().now().unix;
    let ca = secrets::certificate_authority(&directories, now)?;
    let joined = client::join(&directories, &lab, &arguments.host)?;
    let region = joined.about["region"].as_str().unwrap_or_default().to_owned();
    namespace::enter_user(&joined.user)?;
    lay_cable(&NetworkNamespace::from(joined.network))?;
    let end: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().or_fault(|| "standard input is closed")?;
    match arguments.service {
        Service::Https => {
            let setup = ServerSetup::new(&ca, &region, now, None).or_fault(|| "TLS cannot be set up")?;
            let listener = TcpListener::bind((PEER, 443)).or_fault(|| "cannot listen")?;
            output::print("ready\n");
            server::serve(&listener, &end, setup)?;
        }
        Service::Dns => {
            let socket = datagrams::socket((PEER, 53).into(), None)?;
            output::print("ready\n");
            resolver::serve(&socket, &end, arguments.answer)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A namespace of our own, which the calling thread is in afterwards, with a cable to `host`.
fn lay_cable(host: &NetworkNamespace) -> Result<(), Fault> {
    let own = NetworkNamespace::create()?;
    netlink::become_host()?;
    let [here, there] = MACS.map(|mac| VethEnd { name: INTERFACE, mac });
    let netlink = Netlink::open()?;
    netlink.add_veth(here, there, host, MTU)?;
    let link = netlink.link(INTERFACE)?;
    netlink.add_address(link, PEER.into(), 30)?;
    netlink.up(link)?;
    netlink.add_neighbour(link, HOST.into(), MACS[1])?;
    host.enter()?;
    let netlink = Netlink::open()?;
    let link = netlink.link(INTERFACE)?;
    netlink.add_address(link, HOST.into(), 30)?;
    netlink.up(link)?;
    netlink.add_neighbour(link, PEER.into(), MACS[0])?;
    own.enter()
}
