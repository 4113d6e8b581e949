//! `vpce check`: all faults of a configuration at once.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::faults;
use super::output::{self, Failure, Output};
use crate::config::Topology;
use crate::lab::source::{self, SourceError};

/// Check a topology and its policies: all faults at once, with line and column
#[derive(Debug, Args)]
#[command(after_help = "Exits with 2 if there are faults. With `-o json` they, too, are on stdout.\n\nExamples:\n  \
                        vpce check netns/quickstart.toml\n  vpce check --lenient my-lab.toml\n  \
                        vpce check -o json my-lab.toml")]
pub(super) struct Arguments {
    /// A TOML file, or the name of a built-in topology: quickstart, blog.
    config: String,
    #[command(flatten)]
    policies: super::PolicyArguments,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let config = &arguments.config;
    let loaded = source::load(config, arguments.policies.lenient);
    match (output, loaded) {
        (Output::Text, Ok(source)) => output::print(&summary(config, &source.topology)),
        (Output::Json, Ok(source)) => {
            output::print_json(&report(config, &Value::Array(vec![]), Some(&source.topology)))
        }
        (Output::Json, Err(SourceError::Faults(faults))) => {
            output::print_json(&report(config, &faults::as_json(&faults), None));
            return Ok(ExitCode::from(2));
        }
        (_, Err(error)) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(config: &str, faults: &Value, topology: Option<&Topology>) -> Value {
    json!({ "config": config, "ok": topology.is_some(), "faults": faults, "topology": topology })
}

fn summary(config: &str, topology: &Topology) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let parts = [
        count(topology.subnets.len(), "subnet"),
        count(topology.enis().count(), "eni"),
        count(topology.hosts.len(), "host"),
        count(topology.functions.len(), "function"),
    ];
    format!("{config}: no faults; {} in {} has {}\n", topology.name, topology.region, parts.join(", "))
}
