//! Where the control plane's APIs are reached: at their names inside the lab, and at a port of the machine outside.
//!
//! A socket belongs to the namespace in which it was made, whoever holds it. So both are made here, and the endpoint's process
//! takes them along.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::config::Topology;
use crate::edge::{Fault, OrFault};
use crate::lab::network::Network;

/// HTTPS, as at AWS.
const PORT: u16 = 443;

/// The two sockets.
#[derive(Debug)]
pub(super) struct ApiListeners {
    outside: TcpListener,
    inside: TcpListener,
    address: SocketAddr,
}

impl ApiListeners {
    /// The one on the loopback interface of the namespace that the calling thread is in, at a port that is free.
    pub(super) fn outside() -> Result<TcpListener, Fault> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_fault(|| "the APIs have no port on the loopback interface")
    }

    /// With the one inside the lab. The calling thread goes through the network's namespaces and ends in the router's.
    pub(super) fn new(outside: TcpListener, network: &Network, topology: &Topology) -> Result<Self, Fault> {
        let place = SocketAddr::from((topology.resolver.api_address, PORT));
        network.services.enter()?;
        let inside = TcpListener::bind(place).or_fault(|| format!("the APIs cannot listen on {place}"));
        network.router.enter()?;
        let address = outside.local_addr().or_fault(|| "a socket without an address")?;
        Ok(Self { outside, inside: inside?, address })
    }

    /// Where the APIs are for programs of the machine outside.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What tells `vpce endpoint` which descriptors they are.
    pub(super) fn to_arguments(&self) -> Vec<String> {
        let number = |listener: &TcpListener| listener.as_raw_fd().to_string();
        vec!["--api-sockets".to_owned(), number(&self.outside), number(&self.inside)]
    }

    pub(super) fn into_descriptors(self) -> Vec<OwnedFd> {
        vec![self.outside.into(), self.inside.into()]
    }
}
