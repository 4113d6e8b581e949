//! `vpce onprem`: the customer gateway and the function host alone, in the current network namespace.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, control, plumbing};

/// Run the on-premises side alone, in the current network namespace
#[derive(Debug, Args)]
#[command(
    after_help = "A lab starts this by itself; it is for people who build their own network.\n\nExample:\n  vpce onprem my-lab.toml"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    side: SideArguments,
}

/// What fits into one frame of a tunnel over Ethernet: facts 7.1, AES-GCM with NAT traversal.
const INNER_MTU: u32 = 1438;

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    let (source, directories) = arguments.side.prepare()?;
    let queues = arguments.side.queues.into();
    let opened = plumbing::open_customer_gateway(&source.topology, arguments.side.tun, queues, INNER_MTU);
    let device = match opened {
        Ok(device) => device,
        Err(fault) => {
            // The supervisor shows it; without one it is shown here.
            let _: std::io::Result<()> = readiness.fail(&fault);
            return Err(fault.into());
        }
    };
    let offloads = device.offloads();
    let mode = device.mode();
    control::serve(&directories.onprem_socket(), move |request| match request["do"].as_str() {
        Some("status") => Ok(json!({ "tun": { "mode": mode, "offloads": offloads } })),
        _ => Err(Fault::new("no such request").remedy("ask for `status`")),
    })?;
    readiness.notify().map_err(|error| Fault::new(format!("the lab has gone: {error}")))?;
    termination.wait()?;
    Ok(ExitCode::SUCCESS)
}
