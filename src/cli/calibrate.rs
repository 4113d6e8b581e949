//! `vpce calibrate`: the machine's mood, for results that other programs measure. Hidden: `scripts/compare/run` asks for it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{self, Failure};
use crate::load::calibration;

/// Measure how long a cache line takes between two processors and back
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The two processors.
    #[arg(num_args = 2, required = true, value_names = ["A", "B"])]
    cpus: Vec<usize>,
}

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let pair = <[usize; 2]>::try_from(&arguments.cpus[..]).ok();
    output::print_json(&json!({ "round_trip_ns": pair.and_then(calibration::round_trip_ns) }));
    Ok(ExitCode::SUCCESS)
}
