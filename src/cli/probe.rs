//! `vpce probe`: one call of the demo, on the host where it is run. Hidden: people use an AWS client.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{self, Failure};
use crate::edge::probe::{self, Call};
use crate::edge::{Fault, OrFault};
use crate::sigv4::{Credential, Principal};

/// Call the endpoint once and say how long each step took
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
    /// How long to wait for each step, milliseconds.
    #[arg(long, default_value_t = 1_500, global = true)]
    patience_ms: u64,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Invoke a function.
    Invoke {
        host: String,
        /// Name, or name and qualifier: `my-function:1`.
        function: String,
        payload: String,
        /// Sign with a wrong secret.
        #[arg(long)]
        bad_signature: bool,
    },
    /// Ping an address.
    Ping { address: Ipv4Addr },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let patience = Duration::from_millis(arguments.patience_ms);
    let report = match &arguments.kind {
        Kind::Invoke { host, function, payload, bad_signature } => {
            let secret = variable("AWS_SECRET_ACCESS_KEY")?;
            let secret = if *bad_signature { secret.chars().rev().collect() } else { secret };
            // Only the key signs; who it belongs to is the endpoint's business.
            let nobody = Principal::from_arn("arn:aws:iam::000000000000:user/probe").or_fault(|| "no principal")?;
            let credential = Credential::new(variable("AWS_ACCESS_KEY_ID")?, secret, Arc::new(nobody));
            let report = probe::call(&Call {
                host,
                region: &variable("AWS_REGION")?,
                path: &format!("/2015-03-31/functions/{}/invocations", function.replace(':', "%3A")),
                payload: payload.as_bytes(),
                credential: &credential,
                ca_bundle: &PathBuf::from(OsString::from(variable("AWS_CA_BUNDLE")?)),
                patience,
            })?;
            serde_json::to_value(report).or_fault(|| "cannot phrase the report")?
        }
        Kind::Ping { address } => {
            let round_trip = probe::ping(*address, patience)?;
            serde_json::json!({ "round_trip_us": round_trip.map(|time| time.as_micros() as u64) })
        }
    };
    output::print_json(&report);
    Ok(ExitCode::SUCCESS)
}

fn variable(name: &str) -> Result<String, Fault> {
    std::env::var(name).map_err(|_| {
        Fault::new(format!("{name} is not set"))
            .remedy("run this on a host of a lab: vpce lab exec app -- vpce probe …")
    })
}
