//! `vpce endpoint`: the AWS side alone, in the current network namespace.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::Failure;
use super::{SideArguments, Termination};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, control, plumbing};

/// Run the endpoint alone, in the current network namespace
#[derive(Debug, Args)]
#[command(
    after_help = "A lab starts this by itself; it is for people who build their own network.\n\nExample:\n  vpce endpoint my-lab.toml"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    side: SideArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let termination = Termination::watch()?;
    let (source, directories) = arguments.side.prepare()?;
    let opened = plumbing::open_endpoint(&source.topology, arguments.side.tun, arguments.side.queues.into());
    let devices = match opened {
        Ok(devices) => devices,
        Err(fault) => {
            // The supervisor shows it; without one it is shown here.
            let _: std::io::Result<()> = readiness.fail(&fault);
            return Err(fault.into());
        }
    };
    let offloads = devices.vpc.offloads();
    let mode = devices.vpc.mode();
    control::serve(&directories.endpoint_socket(), move |request| match request["do"].as_str() {
        Some("status") => Ok(json!({ "tun": { "mode": mode, "offloads": offloads } })),
        _ => Err(Fault::new("no such request").remedy("ask for `status`")),
    })?;
    readiness.notify().map_err(|error| Fault::new(format!("the lab has gone: {error}")))?;
    termination.wait()?;
    Ok(ExitCode::SUCCESS)
}
