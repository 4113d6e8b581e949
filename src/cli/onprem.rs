//! `vpce onprem`: the customer gateway and the function host alone, in the current network namespace.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, plumbing};
use crate::lab::secrets;
use crate::onprem::customer_gateway::device_mtu;
use crate::onprem::site::{self, SitePlan};

/// Run the on-premises side alone, in the current network namespace
#[derive(Debug, Args)]
#[command(
    after_help = "A lab starts this by itself; it is for people who build their own network.\n\nExample:\n  vpce onprem my-lab.toml"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    side: SideArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    match start(&arguments.side) {
        Ok(()) => readiness.notify().map_err(|error| Fault::new(format!("the lab has gone: {error}")))?,
        Err(failure) => return Err(failure.tell(readiness)),
    }
    termination.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn start(side: &SideArguments) -> Result<(), Failure> {
    let (source, directories) = side.prepare()?;
    let topology = Arc::new(source.topology);
    // One thread serves all SAs, so the device has one queue whatever the endpoint has.
    let mtu = device_mtu(&topology)?;
    let device = plumbing::open_customer_gateway(&topology, side.devices.tun, 1, mtu.into())?;
    let keys = secrets::load_tunnel_keys(&directories)?.for_workers(side.workers());
    let work_dir = directories.runtime.join("functions");
    site::start(SitePlan { topology, keys, device, work_dir, socket: directories.onprem_socket() })?;
    Ok(())
}
