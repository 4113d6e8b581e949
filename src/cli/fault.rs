//! `vpce fault`: things go wrong in a running lab, on purpose.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::lab::{chosen, list, word};
use super::output::{self, Failure, Output, table};
use crate::edge::{Fault, control};
use crate::lab::client;

/// Have something go wrong in a running lab, and mend it
#[derive(Debug, Args)]
#[command(
    after_help = "A fault stays until it is mended or the lab ends; `vpce lab status` shows it, `vpce lab reload` leaves it.\n\n\
                        Examples:\n  vpce fault az us-east-2a down\n  vpce fault az us-east-2a up"
)]
pub(super) struct Arguments {
    /// Name of the lab. Default: the only one that runs.
    #[arg(long, global = true, value_name = "NAME")]
    lab: Option<String>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Az(AzArguments),
}

/// Take the endpoint's enis of an availability zone out of service, or back
#[derive(Debug, Args)]
#[command(
    after_help = "What comes for these enis and what they send is dropped in silence (ENI_DOWN): connections hang, and those that \
                        have not timed out go on once the zone is up. The endpoint's names lead to the healthy enis alone; to \
                        all if none is. The name of the zone itself keeps its address. Hosts in the zone stay: only the \
                        endpoint's enis go. Reported is what was in flight, which the clients have to try again. A zone that is \
                        in that state already is no failure.\n\n\
                        Examples:\n  vpce fault az us-east-2a down\n  vpce fault az us-east-2a down -o json | jq .in_flight\n  \
                        vpce fault az us-east-2a up\n  vpce fault --lab second az us-east-2b down"
)]
struct AzArguments {
    /// Name of the zone, such as us-east-2a.
    zone: String,
    /// Whether its enis are to be out of service or in service.
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum State {
    /// Out of service.
    Down,
    /// In service.
    Up,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let What::Az(AzArguments { zone, state }) = &arguments.what;
    let (lab, directories) = chosen(arguments.lab.as_deref())?;
    if client::Supervisor::find(&directories).is_none() {
        return Err(client::not_running(&directories, &lab).into());
    }
    let request = json!({ "do": "fault", "zone": zone, "healthy": *state == State::Up });
    let mut answer = control::ask(&directories.endpoint_socket(), &request).map_err(|mut fault| {
        // Whoever cannot reach the endpoint has not used it wrongly.
        if fault.place.as_deref() != Some(zone.as_str()) {
            return Failure::ours(fault);
        }
        fault.place = Some(format!("lab {lab}"));
        Failure::usage(fault)
    })?;
    let told = json!({ "do": "health", "down": answer["down"] });
    control::ask(&directories.onprem_socket(), &told).map_err(|fault| {
        let half = "the enis are in that state, but the DNS forwarder on-premises does not know";
        Fault { what: format!("{half}: {}", fault.what), ..fault }.remedy("try again")
    })?;
    for key in ["connections", "in_flight"] {
        answer[key] = json!(list(&answer["enis"]).iter().filter_map(|eni| eni[key].as_u64()).sum::<u64>());
    }
    answer["lab"] = json!(lab);
    match output {
        Output::Json => output::print_json(&answer),
        Output::Text => output::print(&text(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Value) -> String {
    let [lab, zone, state] = ["lab", "zone", "state"].map(|key| word(&answer[key]));
    let already = if answer["changed"] == true { "" } else { " already" };
    let mut rows = vec![["eni", "IPv4", "IPv6", "connections", "in flight"].map(str::to_owned).to_vec()];
    let keys = ["id", "ipv4", "ipv6", "connections", "in_flight"];
    rows.extend(list(&answer["enis"]).iter().map(|eni| keys.map(|key| word(&eni[key])).to_vec()));
    let [healthy, total] = ["healthy_enis", "total_enis"].map(|key| word(&answer[key]));
    let names = match answer["healthy_enis"].as_u64() {
        Some(0) => "no eni is healthy: names lead to all of them".to_owned(),
        _ => format!("names lead to the healthy enis, {healthy} of {total}"),
    };
    format!("lab {lab}: {zone} is {state}{already}\n\n{}\n{names}\n", table(2, &rows))
}
